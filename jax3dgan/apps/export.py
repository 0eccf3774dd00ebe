"""Writes a generator as one file that runs without this package, or objects as 3D Gaussians.

python -m jax3dgan.apps.export --pretrained=toys --out=toys.zip
python -m jax3dgan.apps.export --workdir=runs/toys --out=toys.zip --resolution=64 --num_coarse=24
python -m jax3dgan.apps.export --workdir=runs/gaussians --splats=car.ply --seeds=0-3
"""

import argparse
import pathlib
import time
from collections.abc import Sequence

from jax3dgan import splats
from jax3dgan.apps import common
from jax3dgan.errors import UserError
from jax3dgan.runs import provenance

_PLATFORMS = 'cpu,cuda,tpu'
# Flags of either kind of file, with their defaults.
_OF_PROGRAMS = ('platforms', 'num_coarse', 'num_fine', 'ray_chunk', 'resolution')
_OF_SPLATS = ('seeds', 'w')


def _main(args: argparse.Namespace) -> None:
  if args.splats:
    _write_splats(args)
  else:
    _write_programs(args)


def _write_programs(args: argparse.Namespace) -> None:
  from jax3dgan import export

  model = common.load(args)
  names = ('num_coarse', 'num_fine', 'ray_chunk')
  overrides = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
  if overrides and not model.has_field:
    raise UserError(
      f'{model.name} has no field for rays to march through. Leave out --{min(overrides)}.'
    )
  record = provenance.record('export', args, model)
  platforms = (args.platforms or _PLATFORMS).split(',')
  start = time.perf_counter()
  facts = export.write(model, args.out, args.resolution, platforms, args.psi, record, **overrides)
  seconds = time.perf_counter() - start
  provenance.save_beside(args.out, record)
  size = pathlib.Path(args.out).stat().st_size / 2**20
  print(
    f'{args.out}: {model.name}, step {model.step:,}, {facts["options"]["resolution"]}², for '
    f'{", ".join(platforms)}; {size:.2f} MB in {seconds:.1f} s'
  )
  import jax

  if {'gpu': 'cuda'}.get(jax.default_backend(), jax.default_backend()) in platforms:
    worst = export.check(model, args.out, 2, args.resolution, **overrides)
    print(f'Read back: pictures and maps differ from those of the model by at most {worst:.1e}')


def _write_splats(args: argparse.Namespace) -> None:
  model = common.load(args)
  if not model.generator.has_gaussians:
    raise UserError(
      f'{model.name} has no Gaussians to write: it is a {model.config.model.name}. Write its '
      "surface with jax3dgan mesh, or take a model of Gaussians, such as 'gghead'."
    )
  args.seeds = [0] if args.seeds is None else args.seeds
  if args.w:
    w, names = common.styles(model, args)
    numbers = range(len(w))
  else:
    # One by one: in a batch the last digits, and so the bytes of the file, would differ.
    w = [model.map(model.latents([seed]), args.psi)[0] for seed in args.seeds]
    numbers, names = args.seeds, [f'seed {seed}' for seed in args.seeds]
  paths = common.paths_of(args.out, numbers)
  for own, name, number, path in zip(w, names, numbers, paths, strict=True):
    cloud = splats.of_gaussians(model.gaussians(own[None]))
    splats.write(path, cloud)
    provenance.save_beside(path, provenance.record('export', _record_of(args, number), model))
    size = path.stat().st_size / 2**20
    print(
      f'{path}: {name} of {model.name}, step {model.step:,}: {len(cloud.means):,} Gaussians, '
      f'{size:.2f} MB'
    )


def _record_of(args: argparse.Namespace, number: int) -> argparse.Namespace:
  """The flags of one file of Gaussians."""
  flags = {name: value for name, value in vars(args).items() if name not in _OF_PROGRAMS}
  return argparse.Namespace(**flags | ({} if args.w else {'seeds': [number]}))


def _check(args: argparse.Namespace) -> None:
  """UserError for flags that do not go together; `out` becomes the file that is written."""
  if bool(args.out) == bool(args.splats):
    raise UserError('Give either --out=x.zip, the generator, or --splats=x.ply, objects of it.')
  unsuitable = _OF_PROGRAMS if args.splats else _OF_SPLATS
  for name in unsuitable:
    if getattr(args, name) is not None:
      raise UserError(
        f'--{name} does not go with --{"splats" if args.splats else "out"}. Leave it out.'
      )
  if args.splats:
    splats.check(args.splats)
    args.out = args.splats
  elif pathlib.Path(args.out).suffix.lower() != '.zip':
    raise UserError(f'--out={args.out} must end in .zip')


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  flags = common.parser('export', __doc__, '.zip', depth=False)
  next(action for action in flags._actions if action.dest == 'out').required = False
  flags.add_argument('--platforms', help=f'to run on; default: {_PLATFORMS}')
  flags.add_argument('--num_coarse', type=int, help='samples per ray, first pass')
  flags.add_argument('--num_fine', type=int, help='samples per ray, second pass')
  flags.add_argument('--ray_chunk', type=int, help='rays of a picture at a time')
  flags.add_argument(
    '--splats',
    metavar='FILE',
    help=f'Gaussians to write instead: {", ".join(splats.ENDINGS)}',
  )
  flags.add_argument('--seeds', type=common.parse_seeds, help='whose Gaussians; default: 0')
  common.add_w(flags)
  args = common.parse(flags, argv)
  try:
    _check(args)
  except UserError as error:
    flags.error(str(error))
  common.run(_main, args)


if __name__ == '__main__':
  main()
