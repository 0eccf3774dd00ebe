"""Flags and error handling that all apps share."""

import argparse
import math
import os
import pathlib
import sys
from collections.abc import Callable, Sequence

import numpy as np

from jax3dgan import programs
from jax3dgan.errors import UserError
from jax3dgan.pictures import display
from jax3dgan.runs import provenance

_SLOWEST, _FASTEST = 0.01, 1000.0  # frames per second that ffmpeg takes
# Flags of files that are read and that are written.
_INPUTS = ('input', 'w', 'labels', 'directions', 'cameras', 'curve', 'like', 'person')
_OUTPUTS = ('out', 'save', 'preview')


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
  """Returns a finite number."""
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
  """Returns frames per second, a number that video files can have."""
  rate = parse_number(text)
  if not _SLOWEST <= rate <= _FASTEST:
    raise argparse.ArgumentTypeError(
      f'{text!r} is not a number of frames per second from {_SLOWEST:g} to {_FASTEST:g}'
    )
  return rate


def parse_kinds(text: str) -> list[str]:
  """Returns the kinds of 'colour,depth', in the order of `pictures.display.KINDS`."""
  kinds = [part.strip() for part in text.split(',')]
  unknown = [kind for kind in kinds if kind not in display.KINDS]
  if unknown:
    raise argparse.ArgumentTypeError(f'{unknown[0]!r} is none of {", ".join(display.KINDS)}')
  return [kind for kind in display.KINDS if kind in kinds]


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
    endings: The endings of `--out`; None if there is no file to write.
    seeds: The default of `--seeds`; None for an app without it.
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
  # `parse` checks that one is given, since --repeat can provide it.
  source = flags.add_mutually_exclusive_group()
  source.add_argument('--workdir', help='folder of a run; its latest checkpoint is used')
  source.add_argument(
    '--pretrained',
    metavar='NAME',
    help='model of the package, such as toys; a folder with config.json and model.safetensors; or '
    'user/model on the Hugging Face Hub',
  )
  if endings is not None:
    flags.add_argument('--out', required=True, help=f'file to write: {endings}')
    flags.add_argument('--repeat', metavar='FILE', help='repeat the command that made this file')
  if seeds is not None:
    flags.add_argument(
      '--seeds', type=parse_seeds, default=seeds, help=f'which latents, as 0-3,7; default: {seeds}'
    )
  flags.add_argument(
    '--psi',
    type=parse_number,
    help='truncation: 1 for none, 0 for the average, above 1 for more than there was in training; '
    'the config has a default',
  )
  flags.add_argument(
    '--resolution', type=parse_count, help='pixels on a side; default: that of training'
  )
  flags.add_argument('--ema', help="a run's average of the parameters, by its rate, such as 0.999")
  flags.add_argument('--step', type=int, help="a run's checkpoint; default: the latest")
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
      help=f'some of {",".join(display.KINDS)}, each of the same views; default: colour',
    )
  flags.set_defaults(app=name)
  return flags


def parse(flags: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
  """Returns the flags, with those of a record from `--repeat` as defaults."""
  argv = programs.arguments(argv)
  return provenance.parse(flags, argv, flags.get_default('app'), ('workdir', 'pretrained'))


def refuse(flags: argparse.ArgumentParser, args, names: Sequence[str], because: str) -> None:
  """Ends the program with one line where one of these flags is given: it has no effect.

  Args:
    names: Attributes of `args`; one at its default, or at that of `--repeat`, is not given.
    because: Goes on after 'has no effect': 'with --mix: ...'.
  """
  actions = {action.dest: action for action in flags._actions}
  for name in names:
    default = flags.get_default(name)
    if isinstance(default, str) and actions[name].type:  # as on the command line
      default = actions[name].type(default)
    if getattr(args, name) != default:
      flags.error(f'--{name} has no effect {because}. Leave out either.')


def load(args: argparse.Namespace):
  """Returns the generator that the flags ask for; of a single scene one of the seeds stays."""
  from jax3dgan import trained
  from jax3dgan.devices import compilation, platforms

  compilation.use_cache()
  platforms.start()
  model = trained.load(args.workdir, args.pretrained, ema=args.ema, step=args.step)
  recorded = getattr(args, 'recorded_weights', None)
  if recorded not in (None, provenance.fingerprint(model.params)):
    print(
      f'Warning: the weights of {model.name} are not those that made {args.repeat}.',
      file=sys.stderr,
    )
  if not model.generator.z_dim and len(getattr(args, 'seeds', None) or ()) > 1:
    args.seeds = args.seeds[:1]  # the others would show the same again
  return model


def add_w(flags: argparse.ArgumentParser) -> None:
  """Adds `--w`, styles from a file in place of those of seeds; see `styles`."""
  flags.add_argument(
    '--w',
    metavar='FILE',
    help='styles instead of seeds: NAME.npz of an inverted photo, or an npy file',
  )


def add_expression(flags: argparse.ArgumentParser) -> None:
  """Adds `--expression`, of faces that follow a face model; see `styles`."""
  flags.add_argument(
    '--expression', metavar='WORDS', help='of everybody, as smile or jawOpen:0.7; see express'
  )


def with_expression(model, args: argparse.Namespace, w, seeds=None) -> np.ndarray:
  """Returns styles w [n, ...], of seeds [n] where there are some, with the expression of the flags;
  w itself without one.

  Raises:
    UserError: There is no such expression, or the model has none.
  """
  text = getattr(args, 'expression', None)
  if not text:
    return w
  from jax3dgan.trained import expressions

  faces = expressions.Faces(model)
  told = expressions.parse(text, faces.names)
  if len(told) != 1:
    raise UserError(
      f'--expression={text} is {len(told)} expressions. Join them with +, or give one.'
    )
  people = faces.of_styles(w) if seeds is None else faces.of_seeds(seeds)
  return faces.styles(people, next(iter(told.values())), args.psi)


def refuse_beside_w(flags: argparse.ArgumentParser, args, names=('seeds', 'psi')) -> None:
  """Ends the program with one line where flags of latents are given beside `--w`."""
  if args.w:
    refuse(flags, args, names, 'with --w, whose styles are shown as they are')


def styles(model, args: argparse.Namespace, flag: str = '--w') -> tuple[np.ndarray, list[str]]:
  """Returns the styles w [n, ...] that the flags ask for, of seeds or of `--w`, and their names.

  Args:
    flag: That names the file, for messages.

  Raises:
    UserError: The file has no styles, or those of another model.
  """
  if not args.w:
    w = np.asarray(model.map(model.latents(args.seeds), args.psi))
    return with_expression(model, args, w, args.seeds), [f'seed {seed}' for seed in args.seeds]
  w, shape = _array(args.w, flag), model.w_shape
  if w.shape == shape:
    w = w[None]
  elif len(shape) == 2 and w.shape[1:] in (shape[1:], (1, *shape[1:])) and model.rows_are_alike():
    w = np.broadcast_to(w.reshape(len(w), 1, -1), (len(w), *shape))  # one style for all layers
  if w.shape[1:] != shape or not len(w):
    raise UserError(
      f'{flag}={args.w}: its styles are {list(w.shape)}, and those of {model.name} are '
      f'[n, {", ".join(map(str, shape))}]. Give styles of this model.'
    )
  if not np.isfinite(w).all():
    raise UserError(f'{flag}={args.w}: its styles are not finite. Make the file again.')
  name, w = pathlib.Path(args.w).stem, with_expression(model, args, w)
  return w, [name if len(w) == 1 else f'{name} {i}' for i in range(len(w))]


def num_seeds(seeds: Sequence[int]) -> str:
  """'1 seed', '2 seeds', for a line."""
  return f'{len(seeds)} seed{"" if len(seeds) == 1 else "s"}'


def paths_of(path, seeds: Sequence[int]) -> list[pathlib.Path]:
  """The file of each seed: `path` for one seed, STEM_0000.ENDING with the seed for several."""
  path = pathlib.Path(path)
  if len(seeds) == 1:
    return [path]
  return [path.with_name(f'{path.stem}_{seed:04d}{path.suffix}') for seed in seeds]


def _array(path, flag: str) -> np.ndarray:
  """The array of an npy file, or 'w' of an npz file, as float32."""
  try:
    with open(path, 'rb') as content:
      file = np.load(content, allow_pickle=False)
      return np.asarray(file if isinstance(file, np.ndarray) else file['w'], np.float32)
  except Exception as error:  # NumPy and zipfile raise a dozen kinds on other files
    raise UserError(
      f'{flag}={path} holds no styles ({error}). Give an npy file, or an npz file with an array '
      "'w'."
    ) from None


def check_files(args: argparse.Namespace) -> None:
  """Raises a UserError if a file that is written is also one that is read, or another output."""
  taken = {}
  for name in (*_INPUTS, *_OUTPUTS):
    value = getattr(args, name, None)
    if isinstance(value, str) and (name in _OUTPUTS or os.path.isfile(value)):
      other = taken.setdefault(os.path.realpath(value), name)
      if other != name and name in _OUTPUTS:
        raise UserError(
          f'--{name}={value} would replace the file of --{other}. Choose another --{name}.'
        )


def run(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> None:
  """Calls `main(args)`; an error that the user can fix is one line and exit code 1."""
  from jax3dgan.runs.workdirs import disk_error

  try:
    check_files(args)
    # Before the rendering, so that a folder that cannot be made is reported at once.
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


def kinds_of(args: argparse.Namespace) -> tuple[str, ...]:
  """Returns what the flags --show and --depth ask for."""
  return display.with_depth(args.show, args.depth)
