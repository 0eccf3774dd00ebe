"""Trains a model: `python -m jax3dgan.main --config=configs/toys.py --workdir=runs/toys`.

Any field of the config is overridden on the command line: `--config.batch_size=32`. Running the
same command again goes on where the run stopped. `--mode=eval` measures the model of the workdir,
or, with `--pretrained=NAME`, one of the package; there `--config` may be left out, and is then that
of the model. Other flags: `--debug` shows the whole stack of an error;
`--coordinator=HOST:PORT --num_processes=N --process_id=I` join processes where no cluster manager
does it, within `--coordinator_timeout` seconds. The exit code is 1 after an error, 130 after Ctrl-C
and 0 after SIGTERM, or what JAX3DGAN_SIGTERM_EXIT_CODE says.
"""

import difflib
import os
import pathlib
import re
import signal
import sys
import traceback
from collections.abc import Sequence

import ml_collections
from absl import flags
from ml_collections.config_flags import config_flags

from jax3dgan.errors import UserError

_CONFIGS = pathlib.Path(__file__).resolve().parent.parent / 'configs'
_KINDS = {
  int: 'a whole number',
  float: 'a number',
  bool: 'true or false',
  str: 'a text',
  tuple: "a tuple in quotes, such as '(1, 2)'",
}
_OUT_OF_MEMORY = ('out of memory', 'Out of memory', 'Failed to allocate')


def define_flags(argv: Sequence[str], config=None) -> flags.FlagValues:
  """Returns the flags, not parsed yet. Their own set, so that `main` may be called repeatedly.

  Args:
    argv: The program's name and its arguments.
    config: Whose fields are overridden, instead of those of a file that the arguments name.
  """
  values = flags.FlagValues()
  own = {'flag_values': values}
  if config is None:
    config_flags.DEFINE_config_file(
      'config', None, 'File with get_config(), such as configs/toys.py.', sys_argv=list(argv), **own
    )
  else:
    config_flags.DEFINE_config_dict('config', config, sys_argv=list(argv), **own)
  flags.DEFINE_enum('mode', 'train', ['train', 'eval'], 'What to do.', **own)
  flags.DEFINE_string('workdir', None, 'Folder for checkpoints, metrics and pictures.', **own)
  flags.DEFINE_string('pretrained', None, 'Model of the package to evaluate.', **own)
  flags.DEFINE_bool('debug', False, 'Show the whole stack of an error.', **own)
  flags.DEFINE_string('coordinator', '', 'host:port of process 0, for several machines.', **own)
  flags.DEFINE_integer('num_processes', 0, 'How many processes there are.', **own)
  flags.DEFINE_integer('process_id', 0, 'Which of them this is.', **own)
  flags.DEFINE_float('coordinator_timeout', 300, 'Seconds to wait for the others.', **own)
  return values


def parse(argv: Sequence[str]) -> flags.FlagValues:
  """Returns the parsed flags of a command line.

  Args:
    argv: The program's name and its arguments.

  Raises:
    UserError: What is wrong with them, and the nearest right thing.
  """
  path, own = _argument(argv, 'config'), None
  if path is not None:
    _check_config_file(path)
  elif _argument(argv, 'mode') == 'eval':
    own = _own_config(_argument(argv, 'workdir'), _argument(argv, 'pretrained'))
  try:
    values = define_flags(argv, own)
    rest = values(list(argv))[1:]
  except Exception as error:
    raise _explain_flags(error, argv, path, own) from error
  if rest:
    raise UserError(f'{rest[0]!r} is not a flag. Flags begin with --, as --config=configs/toys.py.')
  if values.config is None:
    raise UserError(f'--config is missing. Choose one of {_config_files(_CONFIGS)}.')
  if values.pretrained and values.mode == 'train':
    raise UserError('--pretrained goes with --mode=eval. Leave it out to train.')
  if values.pretrained and not values.workdir:
    values.workdir = f'runs/{values.pretrained}_pretrained'
  if not values.workdir:
    raise UserError('--workdir is missing. Name a folder for the run, such as --workdir=runs/toys.')
  _, separator, rest = values.workdir.partition('://')
  if separator:
    raise UserError(
      f'--workdir={values.workdir} is no folder of this machine. Mount the bucket (for gs:// with '
      f'gcsfuse, see launch/README.md) and give the path below the mount, such as /mnt/{rest}.'
    )
  return values


def _argument(argv: Sequence[str], flag: str) -> str | None:
  for arg, after in zip(argv, [*argv[1:], ''], strict=True):
    name, equals, value = arg.partition('=')
    if name in (f'--{flag}', f'-{flag}'):
      return value if equals else after
  return None


def _own_config(workdir: str | None, pretrained: str | None) -> ml_collections.ConfigDict:
  """The config of the model that is to be evaluated."""
  from jax3dgan import trained

  if not workdir and not pretrained:
    raise UserError('Say what to evaluate: --workdir=DIR of a run, or --pretrained=NAME.')
  return trained.config_of(workdir, pretrained)


def _config_files(folder: pathlib.Path) -> str:
  names = sorted(os.path.relpath(path) for path in folder.glob('*.py')) if folder.is_dir() else []
  return (
    ', '.join(f'--config={name}' for name in names) or 'the files in configs/ of the repository'
  )


def _check_config_file(path: str) -> None:
  file = pathlib.Path(path)
  if file.is_file():
    return
  folder = file.parent if any(file.parent.glob('*.py')) else _CONFIGS
  near = difflib.get_close_matches(file.name, [p.name for p in folder.glob('*.py')], n=1)
  if near:
    remedy = f'Did you mean --config={os.path.relpath(folder / near[0])}?'
  else:
    remedy = f'There are: {_config_files(folder)}.'
  raise UserError(f'The config file {path} does not exist. {remedy}')


def _explain_flags(
  error: Exception, argv: Sequence[str], path: str | None, config=None
) -> UserError:
  """Returns the one-line form of an error of the flags; see `define_flags` for `config`."""
  overrides = [a.lstrip('-') for a in argv if a.lstrip('-').startswith(('config.', 'noconfig.'))]
  missing = path is None and config is None
  if isinstance(error, config_flags.FlagOrderError) or (missing and overrides):
    return UserError('Fields are set before they are there. Put --config=FILE before --config.….')
  if missing:
    return UserError(_first_line(error))
  if config is None:
    alone = define_flags(argv[:1])
    try:
      alone([argv[0], f'--config={path}'])
      config = alone.config
    except Exception as own:  # whatever the config file, which is a program, raises
      return UserError(f'The config file {path} is wrong: {_first_line(own)}')
  fields = _flat(config)
  for override in overrides:
    name, _, value = override.partition('=')
    name = name.removeprefix('no').removeprefix('config.')
    if name not in fields:
      return UserError(f'The config has no field {name!r}. {_nearest(name, fields)}')
    if f'config.{name}' in str(error):
      return UserError(f'--config.{name}={value} does not fit. {_expected(name, fields)}')
  return UserError(_first_line(error))


def _expected(name: str, fields: dict) -> str:
  now = fields[name]
  if isinstance(now, ml_collections.ConfigDict):
    return f'It is a group: set its fields, such as --config.{name}.{next(iter(now))}.'
  kind = _KINDS.get(type(now), 'a value of the same type')
  return f'Give {kind}; the config has {now!r}.'


def _flat(config, prefix: str = '') -> dict:
  fields = {}
  for key in config:
    fields[prefix + key] = config[key]
    if isinstance(config[key], ml_collections.ConfigDict):
      fields |= _flat(config[key], f'{prefix}{key}.')
  return fields


def _nearest(name: str, fields: dict) -> str:
  group, _, last = name.rpartition('.')
  # A name cut short, or the right name in the wrong place.
  near = [field for field in fields if field.startswith(name)]
  near = near or [field for field in fields if field.rpartition('.')[2] == last]
  siblings = [field for field in fields if field.rpartition('.')[0] == group]
  if siblings:  # a slip of the fingers; the group's own name does not count as likeness
    names = [field.rpartition('.')[2] for field in siblings]
    prefix = f'{group}.' if group else ''
    near = near or [prefix + field for field in difflib.get_close_matches(last, names, n=1)]
  else:
    near = near or difflib.get_close_matches(name, fields, n=1)
  if near:
    return f'Did you mean --config.{near[0]}?'
  top = [field for field in fields if '.' not in field]
  return f'It has: {", ".join(siblings or top)}.'


def _first_line(error: BaseException) -> str:
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  if not lines:
    return type(error).__name__
  known = re.search(r'Key "(\w+)" does not exist.*Did you mean "(\w+)"', ' '.join(lines))
  if known:  # ml_collections' own words for a field that a locked config does not have
    return f'there is no field {known[1]!r}. Did you mean {known[2]!r}?'
  # An error inside a config file comes with its stack; what happened is its last line.
  return lines[-1] if any(line.startswith('Traceback') for line in lines) else lines[0]


def explain(error: Exception, workdir: str) -> UserError | None:
  """Returns the one-line form of an error that the user can mend, or None for a fault of ours."""
  if isinstance(error, UserError):
    return error
  from jax3dgan.devices import hosts
  from jax3dgan.runs.workdirs import disk_error

  if lost := hosts.lost(error):
    return lost
  if isinstance(error, OSError):
    return disk_error(error, error.filename or workdir)
  text = str(error)
  if 'RESOURCE_EXHAUSTED' in text and any(words in text for words in _OUT_OF_MEMORY):
    return UserError(
      'The device has not enough memory for a step. Split the batch: --config.micro_batches=2 or '
      'more, or render fewer rays at a time: --config.render.ray_chunk=1024.'
    )
  return None


def run(values: flags.FlagValues) -> None:
  """Joins the other processes, if any, and does what the mode says."""
  from jax3dgan.devices import compilation, cpu_devices, hosts, parallel

  compilation.use_cache()
  parallel.initialize(
    values.coordinator, values.num_processes, values.process_id, values.coordinator_timeout
  )
  if values.mode == 'train':
    cpu_devices.use(values.config)
  hosts.check_same(
    values.config, mode=values.mode, workdir=values.workdir, pretrained=values.pretrained
  )
  if values.mode == 'eval':
    from jax3dgan.evaluation import evaluate

    evaluate.run(values.config, values.workdir, values.pretrained)
    return
  from jax3dgan import train

  train.run(values.config, values.workdir)


def _stopped(workdir: str, argv: Sequence[str]) -> str:
  from jax3dgan.runs import checkpoints

  steps = checkpoints.steps(workdir)
  state = f'saved at step {steps[-1]:,}' if steps else 'nothing was saved yet'
  command = ' '.join(['python -m jax3dgan.main', *argv[1:]])
  return f'Stopped; {state}. The same command goes on from there: {command}'


def main(argv: Sequence[str] | None = None) -> int:
  """The program; returns its exit code."""
  argv = list(sys.argv if argv is None else argv)
  if any(a in ('-h', '--help', '-help') for a in argv[1:]):
    print(f'{__doc__}\n{define_flags(argv[:1]).get_help()}')
    return 0
  debug = any(a.lstrip('-') in ('debug', 'debug=true') for a in argv[1:])
  values, before = None, signal.getsignal(signal.SIGTERM)
  try:
    values = parse(argv)
    from jax3dgan.runs import interruption

    # A polite kill is as good as Ctrl-C, also before and after the steps.
    signal.signal(signal.SIGTERM, interruption.on_sigterm)
    run(values)
    return 0
  except KeyboardInterrupt as stop:
    training = values is not None and values.mode == 'train'
    print('\n' + _stopped(values.workdir, argv) if training else '\nStopped.', file=sys.stderr)
    from jax3dgan.runs import interruption

    return interruption.exit_code(stop)
  except Exception as error:
    explained = explain(error, values.workdir if values else '')
    shows_stack = explained is None or debug
    if not shows_stack:
      print(f'Error: {explained}', file=sys.stderr)
    from jax3dgan.devices import hosts

    if hosts.several():
      if shows_stack:
        traceback.print_exc()
      hosts.leave(1)
    if shows_stack:
      raise
    return 1
  finally:
    signal.signal(signal.SIGTERM, before)


if __name__ == '__main__':
  sys.exit(main())
