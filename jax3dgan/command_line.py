"""The flags of `main`, and what is wrong with those that were given, in one line."""

import difflib
import re
from collections.abc import Sequence

import ml_collections
from absl import flags
from ml_collections.config_flags import config_flags

from jax3dgan.errors import UserError

_KINDS = {
  int: 'a whole number',
  float: 'a number',
  bool: 'true or false',
  str: 'a text',
  tuple: "a tuple in quotes, such as '(1, 2)'",
}


def define_flags(argv: Sequence[str], config=None) -> flags.FlagValues:
  """Returns the flags, not parsed yet. Their own set, so that `main` may be called repeatedly.

  Args:
    argv: The program's name and its arguments.
    config: Whose fields are overridden, instead of those of a file that the arguments name.
  """
  values = flags.FlagValues()
  into = {'flag_values': values}
  if config is None:
    config_flags.DEFINE_config_file(
      'config', None, 'Name or file of a config, as configs/toys.py.', sys_argv=list(argv), **into
    )
  else:
    config_flags.DEFINE_config_dict('config', config, sys_argv=list(argv), **into)
  flags.DEFINE_enum('mode', 'train', ['train', 'eval'], 'What to do.', **into)
  flags.DEFINE_string('workdir', None, 'Folder of the run; runs/CONFIG by default.', **into)
  flags.DEFINE_string('pretrained', None, 'Model to evaluate: name or folder.', **into)
  flags.DEFINE_bool('debug', False, 'Show the whole stack of an error.', **into)
  flags.DEFINE_string('coordinator', '', 'host:port of process 0, for several machines.', **into)
  flags.DEFINE_integer('num_processes', 0, 'How many processes there are.', **into)
  flags.DEFINE_integer('process_id', 0, 'Which of them this is.', **into)
  flags.DEFINE_float('coordinator_timeout', 300, 'Seconds to wait for all to join.', **into)
  flags.DEFINE_integer('heartbeat_timeout', 60, 'Seconds of silence of a lost process.', **into)
  return values


def explain(error: Exception, argv: Sequence[str], path: str | None, config=None) -> UserError:
  """Returns the one-line form of an error of the flags.

  Args:
    error: What absl or ml_collections raised.
    argv: The program's name and its arguments.
    path: The config's file; None where it was not given.
    config: As of `define_flags`.
  """
  overrides = [a.lstrip('-') for a in argv if a.lstrip('-').startswith(('config.', 'noconfig.'))]
  missing = path is None and config is None
  if isinstance(error, config_flags.FlagOrderError) or (missing and overrides):
    return UserError(
      'Fields are set before the config is read. Put --config=FILE before --config.….'
    )
  if missing:
    return UserError(_first_line(error))
  if config is None:
    alone = define_flags(argv[:1])
    try:
      alone([argv[0], f'--config={path}'])
      config = alone.config
    except Exception as cause:  # whatever the config file, which is a program, raises
      return UserError(f'The config file {path} is wrong: {_first_line(cause)}')
  fields = _flat(config)
  for override in overrides:
    name, _, value = override.partition('=')
    name = name.removeprefix('no').removeprefix('config.')
    if name not in fields:
      return UserError(f'The config has no field {name!r}. {_nearest(name, fields)}')
    if f'config.{name}' in str(error):
      return UserError(f'--config.{name}={value} does not fit. {_expected(name, fields)}')
  if isinstance(error, flags.UnrecognizedFlagError):
    return UserError(f'There is no flag --{error.flagname}. {_meant(error.flagname, fields)}')
  return UserError(_first_line(error))


def _meant(name: str, fields: dict) -> str:
  """Which flag, or field of the config, a flag that does not exist may stand for."""
  of_program = [*define_flags(['main'])]
  if not (name in fields or any(field.rpartition('.')[2] == name for field in fields)):
    if near := difflib.get_close_matches(name, [f for f in of_program if f != 'config'], n=1):
      return f'Did you mean --{near[0]}?'
    if not difflib.get_close_matches(name, fields, n=1):
      return 'See python -m jax3dgan.main --help.'
  return f'Fields of the config are set with --config. in front. {_nearest(name, fields)}'


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
  if known:  # from ml_collections, for a field that a locked config does not have
    return f'there is no field {known[1]!r}. Did you mean {known[2]!r}?'
  # An error inside a config file comes with its stack; what happened is its last line.
  return lines[-1] if any(line.startswith('Traceback') for line in lines) else lines[0]
