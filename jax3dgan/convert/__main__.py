"""Official PyTorch weights to a workdir, and back.

  python -m jax3dgan.convert --from=pigan --input=generator.pth --workdir=runs/celeba
  python -m jax3dgan.convert --from=eg3d --input=ffhq512-128.pkl --workdir=runs/ffhq
  python -m jax3dgan.convert --from=stylesdf --input=ffhq1024x1024.pt --workdir=runs/sdf
  python -m jax3dgan.convert --from=stylenerf --input=ffhq_512.pkl --workdir=runs/stylenerf
  python -m jax3dgan.convert --from=graf --input=carla_128.pt --curriculum=carla --workdir=runs/graf
  python -m jax3dgan.convert --from=giraffe --input=cars256.pt --curriculum=cars --workdir=runs/cars
  python -m jax3dgan.convert --from=gghead --input=gghead_ffhq512.pkl --workdir=runs/heads
  python -m jax3dgan.convert --from=expgan --input=model.ckpt --face_model=F.npz --workdir=runs/exp
  python -m jax3dgan.convert --from=nerf-npz --input=lego.npz --workdir=runs/lego
  python -m jax3dgan.convert --to=npz --workdir=runs/celeba --output=weights.npz
  python -m jax3dgan.convert --to=torch --workdir=runs/celeba --output=state_dict.pth
  python -m jax3dgan.convert --to=safetensors --workdir=runs/celeba --output=weights.safetensors

Neither needs PyTorch, and nothing in a file is executed: see docs/convert.md.
"""

import argparse
import importlib
import pathlib
import sys
from collections.abc import Sequence

from jax3dgan import programs
from jax3dgan.convert import (
  curricula,
  eg3d_curricula,
  expgan_curricula,
  gghead_curricula,
  giraffe_curricula,
  graf_curricula,
  stylenerf_curricula,
  stylesdf_curricula,
)
from jax3dgan.convert.workdir import save_networks
from jax3dgan.errors import UserError


class _Parser(argparse.ArgumentParser):
  def error(self, message):
    raise UserError(f'{message}. See python -m jax3dgan.convert --help.')


def parse(argv: Sequence[str]) -> argparse.Namespace:
  """Returns the flags, checked; UserError says what is wrong with them."""
  flags = _Parser(
    prog='python -m jax3dgan.convert',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  way = flags.add_mutually_exclusive_group(required=True)
  way.add_argument('--from', dest='release', choices=[*_IMPORTS], help='release of the files')
  way.add_argument(
    '--to', choices=['npz', 'torch', 'safetensors'], help='write the weights of a workdir'
  )
  flags.add_argument('--workdir', required=True, help='folder of the run to make or to read')
  flags.add_argument(
    '--step',
    type=int,
    help='with --from: steps of training, where a file says none; with --to: the checkpoint, '
    'default: the latest',
  )
  there = flags.add_argument_group('with --from')
  there.add_argument(
    '--input',
    metavar='FILE',
    help="π-GAN's generator, whole or a state dict; EG3D's pickle; StyleSDF's, "
    "StyleNeRF's, GRAF's, GIRAFFE's, GGHead's or Exp-GAN's checkpoint; a NeRF's npz",
  )
  there.add_argument(
    '--ema',
    metavar='FILE',
    action='append',
    help='moving average of a π-GAN; may be given repeatedly',
  )
  there.add_argument(
    '--discriminator',
    metavar='FILE',
    help='of a π-GAN, to train on with; default: a fresh one',
  )
  there.add_argument(
    '--curriculum',
    choices=sorted(set().union(*(of.CURRICULA for of in _CURRICULA.values()))),
    help='cameras and training; default: that of the files',
  )
  there.add_argument(
    '--field',
    choices=['spatial', 'tall'],
    help="a π-GAN's field, where a state dict does not say it",
  )
  there.add_argument(
    '--entry',
    metavar='NAME',
    help='the generator in a file with several, as ema or model/generator',
  )
  there.add_argument(
    '--low_resolution',
    type=int,
    metavar='PIXELS',
    help="that an EG3D renders, where a state dict does not say it; default: the release's last",
  )
  there.add_argument(
    '--face_model',
    metavar='FILE',
    help='the face model of an Exp-GAN, an npz of FLAME (docs/morphable.md); without it its volume '
    'is shown alone',
  )
  there.add_argument(
    '--num_identity',
    type=int,
    metavar='NUMBERS',
    help='of identity that an Exp-GAN is told, which its weights do not say; default: 100',
  )
  there.add_argument('--overwrite', action='store_true', help='delete the run in the workdir')
  back = flags.add_argument_group('with --to')
  back.add_argument('--output', metavar='FILE', help='file to write')
  back.add_argument(
    '--weights', choices=['ema', 'raw'], help='moving average (default) or weights of training'
  )
  args = flags.parse_args(argv)
  needed, unsuitable = ('input', _EXPORT_FLAGS) if args.release else ('output', _IMPORT_FLAGS)
  if getattr(args, needed) is None:
    raise UserError(f'--{needed} is missing. Give the path of a file.')
  for name in unsuitable:
    if getattr(args, name):
      raise UserError(f'--{name} does not go with {"--from" if args.release else "--to"}.')
  if args.release not in (None, 'pigan'):
    for name in _PIGAN_FLAGS:
      if getattr(args, name):
        raise UserError(
          f'--{name} goes with --from=pigan alone: a file of --from={args.release} holds all its '
          'networks. Leave it out.'
        )
  for name in ('curriculum', 'entry'):
    if getattr(args, name) and args.release == 'nerf-npz':
      raise UserError(f'--{name} does not go with --from=nerf-npz. Leave it out.')
  if args.low_resolution is not None:
    if args.release != 'eg3d':
      raise UserError('--low_resolution goes with --from=eg3d alone. Leave it out.')
    if not 1 <= args.low_resolution <= 1024:
      raise UserError(f'--low_resolution is {args.low_resolution}. Give pixels, such as 128.')
  for name in _EXPGAN_FLAGS:
    if getattr(args, name) is not None and args.release != 'expgan':
      raise UserError(f'--{name} goes with --from=expgan alone. Leave it out.')
  if args.num_identity is not None and args.num_identity < 1:
    raise UserError(f'--num_identity is {args.num_identity}. Give a number such as 100.')
  known = _CURRICULA.get(args.release)
  if args.curriculum and args.curriculum not in known.CURRICULA:
    raise UserError(
      f'--curriculum={args.curriculum} does not go with --from={args.release}. Choose one of '
      f'{", ".join(known.CURRICULA)}.'
    )
  if args.step is not None and not 0 <= args.step < 2**31:
    raise UserError(f'--step is {args.step}. Give the number of training steps, such as 200000.')
  return args


_IMPORT_FLAGS = (
  'input',
  'ema',
  'discriminator',
  'curriculum',
  'field',
  'entry',
  'low_resolution',
  'face_model',
  'num_identity',
  'overwrite',
)
_EXPORT_FLAGS = ('output', 'weights')
_PIGAN_FLAGS = ('ema', 'discriminator', 'field')
_EXPGAN_FLAGS = ('face_model', 'num_identity')
_CURRICULA = {
  'pigan': curricula,
  'eg3d': eg3d_curricula,
  'stylesdf': stylesdf_curricula,
  'stylenerf': stylenerf_curricula,
  'graf': graf_curricula,
  'giraffe': giraffe_curricula,
  'gghead': gghead_curricula,
  'expgan': expgan_curricula,
}


def say(text: str) -> None:
  """Writes a line of progress."""
  print(text, flush=True)


def convert_checkpoint(args: argparse.Namespace) -> None:
  """`--from=eg3d` and others: makes a workdir of a file with all networks."""
  from jax3dgan.runs import workdirs

  workdir = pathlib.Path(args.workdir)
  workdirs.check_free(workdir, args.overwrite)
  own = {}
  if args.release == 'eg3d':
    own.update(curriculum=args.curriculum, low_resolution=args.low_resolution)
  if args.release == 'expgan':
    own.update({name: getattr(args, name) for name in _EXPGAN_FLAGS})
  # Modules of runs are imported later: JAX takes a second, which a refused file need not wait for.
  reader = importlib.import_module(f'jax3dgan.convert.{args.release}')
  checkpoint = reader.read_checkpoint(_reading(args.input), say, entry=args.entry, **own)
  from jax3dgan.devices import compilation, platforms

  runs = importlib.import_module(f'jax3dgan.convert.{args.release}_runs')
  compilation.use_cache()
  platforms.start()
  curriculum = args.curriculum or runs.curriculum_of(args.input, checkpoint)
  config = runs.config_for(args.input, curriculum, checkpoint)
  step, known = runs.step_of(curriculum, checkpoint, config)
  if args.step is not None:
    step, known = args.step, 'by --step'
  say(f'Writing {workdir} ...')
  save_networks(workdir, config, step, checkpoint, args.overwrite)
  for line in runs.summary(args.workdir, curriculum, config, step, known, checkpoint):
    say(line)


def convert_nerf(args: argparse.Namespace) -> None:
  """`--from=nerf-npz`: makes a workdir."""
  from jax3dgan.runs import workdirs

  workdir = pathlib.Path(args.workdir)
  workdirs.check_free(workdir, args.overwrite)
  from jax3dgan.convert import nerf_npz
  from jax3dgan.convert import workdir as workdir_lib
  from jax3dgan.devices import compilation, platforms

  arrays = nerf_npz.read(_reading(args.input))
  compilation.use_cache()
  platforms.start()
  step = args.step or 0
  say(f'Writing {workdir} ...')
  config, num = nerf_npz.create(workdir, arrays, args.input, step, args.overwrite)
  model = config.model
  say(
    f'NeRF: {num:,} parameters, {"two networks" if model.two_networks else "one network"} of '
    f'{model.num_layers} layers of {model.hidden_dim}; its world is turned from z up to y up.'
  )
  say(next(workdir_lib.commands(args.workdir, config, step, 'configs/nerf_lego.py', [])))


def convert(args: argparse.Namespace) -> None:
  """`--from=pigan`: makes a workdir."""
  # `pigan_runs` is imported later: JAX takes a second, which a refused file need not wait for.
  from jax3dgan.convert import official, official_discriminator
  from jax3dgan.runs import workdirs

  workdir = pathlib.Path(args.workdir)
  workdirs.check_free(workdir, args.overwrite)
  generator = official.read_generator(_reading(args.input), args.field, args.entry)
  averages = [official.read_average(_reading(path), generator) for path in args.ema or ()]
  rates = [average.rate for average in averages]
  if len(set(rates)) < len(rates):
    raise UserError(f'Two of the --ema files have the decay {rates[0]}. Give one for each decay.')
  discriminator = None
  if args.discriminator:
    discriminator = official_discriminator.read_discriminator(_reading(args.discriminator))
  step = generator.step if args.step is None else args.step
  if step is None:
    raise UserError(
      f'{args.input} says nothing of its step. Give --step, such as 200000: it decides the '
      'resolution and where training goes on.'
    )
  from jax3dgan.convert import pigan_runs
  from jax3dgan.devices import compilation, platforms

  compilation.use_cache()
  platforms.start()
  curriculum = args.curriculum or pigan_runs.curriculum_of(generator, discriminator)
  config = pigan_runs.config_for(curriculum, generator, averages, discriminator)
  say(f'Writing {workdir} ...')
  pigan_runs.create(workdir, config, step, generator, averages, discriminator, args.overwrite)
  for line in _summary(args, config, curriculum, step, generator, averages, discriminator):
    say(line)


def _reading(path: str) -> str:
  file = pathlib.Path(path)
  size = f' ({file.stat().st_size / 1e3:,.0f} kB)' if file.is_file() else ''
  say(f'Reading {path}{size} ...')
  return path


def _summary(args, config, curriculum, step, generator, averages, discriminator):
  from jax3dgan.convert import pigan_runs, workdir

  model = generator.model
  num = sum(value.size for value in generator.weights.values())
  grid = ''
  if model.get('embedding_channels'):
    grid = f', {model["embedding_channels"]} features on a grid of {model["embedding_resolution"]}³'
  yield (
    f'Generator: {generator.class_name or args.field or "spatial"}, {num:,} parameters '
    f'(z {model["z_dim"]}, {model["num_layers"]} layers of {model["hidden_dim"]}{grid}), '
    f'step {step:,}.'
  )
  for rate in config.ema.rates:
    average = next((average for average in averages if average.rate == rate), None)
    if average is None:
      yield f"EMA {rate}: the generator's own weights."
    else:
      updates = '' if average.num_updates is None else f' after {average.num_updates:,} updates'
      shown = ', shown' if rate == config.ema.display_rate else ''
      yield f'EMA {rate}: {args.ema[averages.index(average)]}{updates}{shown}.'
  if discriminator is None:
    yield 'Discriminator: a fresh one; give --discriminator before training on.'
  else:
    fields = config.discriminator
    heads = f'latent {fields.latent_dim}, pose {fields.pose_dim}' if fields.pose_dim else 'no heads'
    yield (
      f'Discriminator: {discriminator.class_name or "state dict"}, {fields.block} blocks, '
      f'{2 ** len(fields.channels)}² and below, {heads}.'
    )
  yield f'Config: {curriculum}, rendered as the release does (density relu, last interval 1e10).'
  yield from workdir.commands(
    args.workdir, config, step, f'configs/{curriculum}.py', pigan_runs.overrides(config, curriculum)
  )


def export(args: argparse.Namespace) -> None:
  """`--to`: writes the weights of a workdir."""
  from jax3dgan.convert import runs, write
  from jax3dgan.runs import workdirs

  say(f'Reading {args.workdir} ...')
  released = runs.release(args.workdir, args.weights or 'ema', args.step)
  with workdirs.disk_errors(args.output):
    getattr(write, args.to)(args.output, released.weights)
  num = sum(value.size for value in released.weights.values())
  of = released.class_name
  if of not in ('TriPlaneGenerator', 'Generator'):  # the class of a field inside of a generator
    of = f'ImplicitGenerator3d with {of}'
  say(
    f'{args.output}: {len(released.weights)} arrays, {num:,} parameters, {released.source} of step '
    f'{released.step:,}, for {of}.'
  )
  if args.to == 'torch':
    say(f"Read it with torch.load('{args.output}', weights_only=True).")


_IMPORTS = {
  'pigan': convert,
  'eg3d': convert_checkpoint,
  'stylesdf': convert_checkpoint,
  'stylenerf': convert_checkpoint,
  'graf': convert_checkpoint,
  'giraffe': convert_checkpoint,
  'gghead': convert_checkpoint,
  'expgan': convert_checkpoint,
  'nerf-npz': convert_nerf,
}


def main(argv: Sequence[str] | None = None) -> int:
  """The program; returns its exit code."""
  try:
    args = parse(programs.arguments(argv))
    _IMPORTS.get(args.release, export)(args)
    return 0
  except UserError as error:
    print(f'Error: {error}', file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    return 130


if __name__ == '__main__':
  sys.exit(main())
