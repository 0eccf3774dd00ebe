"""What the apps share: their flags, their errors, the views that show a pose prior."""

import argparse
import math
import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np

from jax3dgan.apps import provenance
from jax3dgan.errors import UserError

MIN_TILE = 128  # pixels on a side below which a picture is enlarged for people
KINDS = ('colour', 'depth', 'normals', 'opacity')  # what can be shown of a view
# Elevations, radians, at which a camera can stand upright: at a pole there is no up.
STANDING = (math.radians(-90), math.radians(90))


def parse_seeds(text: str) -> list[int]:
  """Returns the seeds of '0-3,7': [0, 1, 2, 3, 7]."""
  seeds = []
  for part in text.split(','):
    first, _, last = part.strip().partition('-')
    if not first.isdecimal() or (last and not last.isdecimal()) or part.strip().endswith('-'):
      raise argparse.ArgumentTypeError(f'{text!r} is not a list of seeds such as 0-3,7')
    seeds += range(int(first), int(last or first) + 1)
  if not seeds:
    raise argparse.ArgumentTypeError(f'{text!r} names no seed')
  return seeds


def parse_degrees(text: str) -> list[float]:
  """Returns the angles of '-40,0,40': [-40.0, 0.0, 40.0]."""
  return _numbers(text, 'degrees such as -40,0,40')


def parse_numbers(text: str) -> list[float]:
  """Returns the numbers of '0,0.5,1': [0.0, 0.5, 1.0]."""
  return _numbers(text, 'numbers such as 0,0.5,1')


def _numbers(text: str, what: str) -> list[float]:
  try:
    numbers = [float(part) for part in text.split(',')]
  except ValueError:
    numbers = [math.nan]
  if not all(map(math.isfinite, numbers)):
    raise argparse.ArgumentTypeError(f'{text!r} is not a list of {what}')
  return numbers


def parse_number(text: str) -> float:
  """Returns a number that is one: neither NaN nor infinite."""
  try:
    number = float(text)
  except ValueError:
    number = math.nan
  if not math.isfinite(number):
    raise argparse.ArgumentTypeError(f'{text!r} is not a number such as 0.7')
  return number


def parse_count(text: str) -> int:
  """Returns a whole number from 1."""
  if not text.strip().isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from 1')
  return int(text)


def parse_rate(text: str) -> float:
  """Returns frames per second, a number above 0."""
  rate = parse_number(text)
  if rate <= 0:
    raise argparse.ArgumentTypeError(f'{text!r} is no number of frames per second')
  return rate


def parse_kinds(text: str) -> list[str]:
  """Returns the kinds of 'colour,depth', in the order of `KINDS`."""
  kinds = [part.strip() for part in text.split(',')]
  unknown = [kind for kind in kinds if kind not in KINDS]
  if unknown:
    raise argparse.ArgumentTypeError(f'{unknown[0]!r} is none of {", ".join(KINDS)}')
  return [kind for kind in KINDS if kind in kinds]


def parser(
  name: str,
  doc: str,
  endings: str | None = None,
  seeds: str | None = None,
  depth: bool = True,
  show: bool = False,
) -> argparse.ArgumentParser:
  """Returns a parser with the flags that every app has.

  Args:
    name: The app's, a module of `jax3dgan.apps`.
    doc: Its docstring: the first line describes it, the rest (examples) closes its help.
    endings: What `--out` may end in; None where there is no file to write.
    seeds: The default of `--seeds`; None where there are none.
    depth: Whether there is `--depth`.
    show: Whether there is `--show`.
  """
  description, _, examples = doc.partition('\n')
  flags = argparse.ArgumentParser(
    prog=f'jax3dgan {name}',
    description=description,
    epilog=examples.strip() or None,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  # Which of them: see `parse`, since --repeat brings one too.
  source = flags.add_mutually_exclusive_group()
  source.add_argument('--workdir', help='folder of a run; its latest checkpoint is used')
  source.add_argument('--pretrained', metavar='NAME', help='model of the package, such as toys')
  if endings is not None:
    flags.add_argument('--out', required=True, help=f'file to write: {endings}')
    flags.add_argument('--repeat', metavar='FILE', help='make again what made this file')
  if seeds is not None:
    flags.add_argument(
      '--seeds', type=parse_seeds, default=seeds, help=f'which latents, as 0-3,7; default: {seeds}'
    )
  flags.add_argument(
    '--psi', type=parse_number, help='truncation, 0 to 1; the config has a default'
  )
  flags.add_argument(
    '--resolution', type=parse_count, help='pixels on a side; default: that of training'
  )
  flags.add_argument('--ema', help='rate of the average of the parameters, such as 0.999')
  flags.add_argument('--step', type=int, help='checkpoint; default: the latest')
  if depth:
    flags.add_argument(
      '--depth', action=argparse.BooleanOptionalAction, default=False, help='depth maps too'
    )
  if show:
    flags.add_argument(
      '--show',
      type=parse_kinds,
      default=['colour'],
      metavar='KINDS',
      help=f'some of {",".join(KINDS)}, side by side; default: colour',
    )
  flags.set_defaults(app=name)
  return flags


def parse(flags: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
  """Returns the flags of `parser` as given, those of a `--repeat` filled in."""
  return provenance.parse(flags, argv, flags.get_default('app'), ('workdir', 'pretrained'))


def load(args: argparse.Namespace):
  """Returns the generator that the flags ask for."""
  from jax3dgan import trained
  from jax3dgan.devices import compilation

  compilation.use_cache()
  model = trained.load(args.workdir, args.pretrained, ema=args.ema, step=args.step)
  then = getattr(args, 'weights_then', None)
  if then not in (None, provenance.fingerprint(model.params)):
    print(
      f'Warning: the weights of {model.name} are not those that made {args.repeat}.',
      file=sys.stderr,
    )
  return model


def add_w(flags: argparse.ArgumentParser) -> None:
  """Adds `--w`, styles from a file in place of those of seeds; see `styles`."""
  flags.add_argument(
    '--w', metavar='FILE', help='styles instead of seeds: an inverted photo (its NAME.npz)'
  )


def styles(model, args: argparse.Namespace) -> tuple[np.ndarray, list[str]]:
  """Returns the styles w [n, ...] that the flags ask for, of seeds or of `--w`, and their names.

  Raises:
    UserError: The file has no styles, or those of another model.
  """
  if not args.w:
    w = np.asarray(model.map(model.latents(args.seeds), args.psi))
    return w, [f'seed {seed}' for seed in args.seeds]
  shape = model.average_w.shape
  try:
    with np.load(args.w, allow_pickle=False) as file:
      w = np.asarray(file['w'], np.float32)
  except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
    raise UserError(
      f"--w={args.w} holds no styles ({error}). Give an npz file with an array 'w'."
    ) from None
  if w.shape == shape:
    w = w[None]
  if w.shape[1:] != shape or not len(w) or not np.isfinite(w).all():
    raise UserError(
      f'--w={args.w}: styles {w.shape} are not finite and [n, {", ".join(map(str, shape))}], as '
      f'those of {model.name} are. Give styles of this model.'
    )
  name = pathlib.Path(args.w).stem
  return w, [name if len(w) == 1 else f'{name} {i}' for i in range(len(w))]


def run(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
  """Calls `main(args)`; an error that the user can mend is one line and exit code 1."""
  from jax3dgan.runs.workdirs import disk_error

  try:
    # Now rather than after the rendering: a folder that cannot be made.
    pathlib.Path(args.out).parent.mkdir(parents=True, exist_ok=True)
    main(args)
  except UserError as error:
    sys.exit(f'Error: {error}')
  except OSError as error:
    explained = disk_error(error, args.out)
    if explained is None:
      raise
    sys.exit(f'Error: {explained}')
  except KeyboardInterrupt:
    sys.exit(130)


def check_camera(model, remedy: str) -> None:
  """UserError, with what to do instead, where the generator's images have no camera."""
  if not model.has_camera:
    raise UserError(f'{model.name} is a 2D model: its images have no camera to move. {remedy}')


def check_pitch(degrees: Sequence[float] | None) -> None:
  """UserError for elevations in degrees that no upright camera has."""
  for angle in degrees or ():
    if not -90 <= angle <= 90:
      raise UserError(
        f'A camera cannot stand {angle:g}° above the horizon. Give a pitch from -90 (below) to 90.'
      )


def kinds_of(args: argparse.Namespace) -> tuple[str, ...]:
  """Returns what the flags --show and --depth ask for."""
  return with_depth(args.show, args.depth)


def with_depth(show: Sequence[str], depth: bool) -> tuple[str, ...]:
  """Returns kinds in the order of `KINDS`, depth among them if it is asked for."""
  return tuple(k for k in KINDS if k in show or (depth and k == 'depth'))


def check_kinds(model, kinds: Sequence[str]) -> None:
  """UserError, with what to do instead, where the generator cannot show them."""
  unknown = [kind for kind in kinds if kind not in KINDS]
  if unknown or not kinds:
    raise UserError(f'Nothing to show is called {unknown}. There are: {", ".join(KINDS)}.')
  if 'depth' in kinds and not model.has_depth:
    raise UserError(f'{model.name} has no depth: its generator has no field. Leave out --depth.')
  if set(kinds) != {'colour'} and not model.has_depth:
    raise UserError(
      f'{model.name} has no {" and no ".join(k for k in kinds if k != "colour")}: its generator '
      'has no field. Use --show=colour.'
    )


def check_numbers(psi: float | None = None, resolution: int | None = None) -> None:
  """UserError for a truncation that is no number, or a picture without pixels."""
  if psi is not None and not math.isfinite(psi):
    raise UserError(f'A truncation of {psi} is no number. Set psi between 0 and 1.')
  if resolution is not None and resolution < 1:
    raise UserError(f'A picture of {resolution}² has no pixels. Set a resolution from 1.')


def goes_round(model) -> bool:
  """Whether the cameras of training go all the way round."""
  from jax3dgan import cameras  # JAX, which the help text need not wait for

  return cameras.goes_round(model.yaw_half_range)


def show_views(model, num: int) -> np.ndarray:
  """Returns azimuths [num] in radians that show an object well.

  From the front to the back where the cameras of training go all the way round; otherwise from one
  end of their range to the other.
  """
  if goes_round(model):
    return np.linspace(0, math.pi, num)
  return np.linspace(-1, 1, num) * model.yaw_half_range


def show_azimuth(model) -> float:
  """Returns the azimuth of a single picture, radians: a three-quarter view, or the front."""
  return math.radians(40) if goes_round(model) else 0.0


def enlargement(resolution: int) -> int:
  """Returns by which whole factor to enlarge a picture for people."""
  return max(math.ceil(MIN_TILE / resolution), 1)


def depth_picture(model, rendering, limits=None) -> np.ndarray:
  """Returns the depth maps of a rendering in colours, uint8 [n, h, w, 3]."""
  from jax3dgan import viz

  depth, opacity = rendering.depth, rendering.opacity
  if depth is None:
    raise UserError(f'{model.name} has no depth: its generator has no field. Leave out --depth.')
  if model.options().last_back:  # what passes counts as the last sample: every pixel is solid
    return viz.colour_depth(depth, limits=limits)
  return viz.colour_depth(viz.surface_depth(depth, opacity), opacity, limits)
