"""Writes a generator as one file that runs without this package, on CPU, GPU and TPU.

python -m jax3dgan.apps.export --pretrained=toys --out=toys.zip
python -m jax3dgan.apps.export --workdir=runs/toys --out=toys.zip --resolution=64 --num_coarse=24
"""

import argparse
import pathlib
import time
from collections.abc import Sequence

from jax3dgan.apps import common
from jax3dgan.runs import provenance


def _main(args: argparse.Namespace) -> None:
  from jax3dgan import export

  model = common.load(args)
  names = ('num_coarse', 'num_fine', 'ray_chunk')
  overrides = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
  record = provenance.record('export', args, model)
  platforms = args.platforms.split(',')
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


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  flags = common.parser('export', __doc__, '.zip', depth=False)
  flags.add_argument('--platforms', default='cpu,cuda,tpu', help='to run on; default: cpu,cuda,tpu')
  flags.add_argument('--num_coarse', type=int, help='samples per ray, first pass')
  flags.add_argument('--num_fine', type=int, help='samples per ray, second pass')
  flags.add_argument('--ray_chunk', type=int, help='rays of a picture at a time')
  args = common.parse(flags, argv)
  if pathlib.Path(args.out).suffix.lower() != '.zip':
    flags.error(f'--out={args.out} must end in .zip')
  common.run(_main, args)


if __name__ == '__main__':
  main()
