"""The folder of a run: its config.json, and errors of its disk."""

import contextlib
import errno
import json
import os
import pathlib

import ml_collections

from jax3dgan import atomic, json_text
from jax3dgan.config_json import config_from, differences, plain
from jax3dgan.errors import UserError
from jax3dgan.old_configs import complete
from jax3dgan.runs import plain_paths, read_failures

CONFIG_FILE = 'config.json'
CHECKPOINTS = 'checkpoints'  # the folder in it
# Fields that determine the shapes of the state or the meaning of its numbers; the others may change
# when a run is continued.
_FIXED_FIELDS = ('recipe', 'model', 'discriminator', 'ema.rates')
_NAMES = ('recipe', 'model.name', 'discriminator.name')  # each stands for other fields
# Except for these, which only set the precision in which the same network is computed.
_FREE_FIELDS = ('model.matmul_dtype', 'discriminator.matmul_dtype')
# Say where a run computes and how far it goes, not what it computes.
_OF_MACHINES = ('platform', 'num_steps')
# Says what a run began from: in a run that goes on it stays as it is written.
_OF_BEGINNINGS = ('init_from',)
_MAX_CHANGES = 8  # that are named in one line

_DISK_ERRORS = {
  errno.ENOSPC: ('the disk is full', 'free some space, then run the same command'),
  errno.EDQUOT: ('the disk quota is used up', 'free some space, then run the same command'),
  errno.EROFS: ('it is read-only', 'choose another folder'),
  errno.EACCES: ('there is no permission to write there', 'choose another folder'),
  errno.EPERM: ('there is no permission to write there', 'choose another folder'),
  errno.EEXIST: ('part of its path is a file', 'choose another folder'),
  errno.ENOTDIR: ('part of its path is a file', 'choose another folder'),
}


def disk_error(error: BaseException, path) -> UserError | None:
  """Returns the one-line form of an error of the disk (full, read-only, …), or None for any other.

  TensorStore reports errors of the system only in the text of a ValueError.
  """
  number = getattr(error, 'errno', None)
  if number not in _DISK_ERRORS:
    text = str(error)
    number = next((n for n in _DISK_ERRORS if os.strerror(n) in text), None)
  if number is None:
    return None
  cause, remedy = _DISK_ERRORS[number]
  return UserError(f'Cannot write to {path}: {cause}. Remedy: {remedy}.')


def outage(error: BaseException, path) -> UserError | None:
  """Returns the one-line form of an error of a file system that fails, or None for any other."""
  if not isinstance(error, OSError | ValueError):
    return None
  kind, cause = read_failures.of_error(error) or (None, '')
  if kind is not read_failures.Kind.FILE_SYSTEM:
    return None
  return UserError(
    f'The file system of {path} fails ({cause}). Remedy: check the disk or the connection to it, '
    'then run the same command.'
  )


@contextlib.contextmanager
def disk_errors(path):
  """Turns errors of the disk into a UserError; around work on files alone."""
  try:
    yield
  except Exception as error:
    explained = disk_error(error, path) or outage(error, path)
    if explained is None:
      raise
    raise explained from error


@contextlib.contextmanager
def disk_warnings(path, say):
  """Turns errors of the disk into a warning: for files that a run does not depend on."""
  try:
    with disk_errors(path):
      yield
  except UserError as error:
    if not isinstance(error.__cause__, OSError | ValueError):
      raise
    say(f'Warning: {error}')


def load_config(workdir) -> ml_collections.ConfigDict:
  """Returns the config of the run in `workdir`; UserError where there is none."""
  path = pathlib.Path(workdir) / CONFIG_FILE
  try:
    return _read_config(path)
  except FileNotFoundError:
    what = 'has no config.json' if path.parent.is_dir() else 'does not exist'
    raise UserError(f'{workdir} {what}: no run began there. Give the --workdir of a run.') from None
  except ValueError as error:
    raise UserError(
      f'{path} is damaged ({error}). Run the training command again: it writes the file anew.'
    ) from None


def _read_config(path: pathlib.Path) -> ml_collections.ConfigDict:
  """A config.json; ValueError where it is none."""
  value = json.loads(path.read_text(encoding='utf-8-sig'))
  if not isinstance(value, dict):
    raise ValueError('it holds no config')
  return config_from(value)


def check_free(workdir, overwrite: bool) -> None:
  """Raises a UserError if `workdir` has a run, unless it is to be overwritten, or can have none."""
  workdir = plain_paths.checked(workdir)
  saved = any(path.name.isdigit() for path in (workdir / CHECKPOINTS).glob('*'))
  if ((workdir / CONFIG_FILE).exists() or saved) and not overwrite:
    raise UserError(
      f'{workdir} has a run already. Choose another --workdir, or add --overwrite to delete it.'
    )


def check_same_run(workdir: pathlib.Path, config: dict) -> str:
  """Compares the run in `workdir` with a plain config.

  Returns:
    A line that names the fields in which a run that goes on differs from what it was, or says that
    they cannot be read; '' for none.

  Raises:
    UserError: It has another model.
  """
  path = workdir / CONFIG_FILE
  if not path.exists():
    return ''
  try:
    before = _read_config(path)
  except ValueError as error:
    return f'{path} was damaged ({error}) and is written anew, without a look at what changed.'
  changed = differences(plain(before), config)
  fixed = {
    k: v for k, v in changed.items() if any(f'{k}.'.startswith(f'{s}.') for s in _FIXED_FIELDS)
  }
  # In a run that is older than a field, the field has its default.
  completed = differences(plain(complete(before)), config)
  fixed = {k: v for k, v in fixed.items() if k in completed and k not in _FREE_FIELDS}
  # Another class has other fields too, which say nothing.
  fixed = {k: v for k, v in fixed.items() if k in _NAMES} or fixed
  if fixed:
    fields = ', '.join(f'{k} is {old} there and {new} here' for k, (old, new) in fixed.items())
    raise UserError(
      f'{workdir} holds a checkpoint of another config: {fields}. '
      'Choose another --workdir, or set these fields as they are there.'
    )
  unsaid = (*_OF_MACHINES, *_OF_BEGINNINGS)
  return _changes({k: v for k, v in completed.items() if k in changed and k not in unsaid})


def with_beginnings(workdir: pathlib.Path, config: dict) -> dict:
  """A plain config of a run that goes on, with what the run in `workdir` began from."""
  try:
    before = plain(_read_config(workdir / CONFIG_FILE))
  except (FileNotFoundError, ValueError):
    return config
  return {**config, **{field: before.get(field, '') for field in _OF_BEGINNINGS}}


def _changes(changed: dict) -> str:
  if not changed:
    return ''
  shown = [f'{k} was {_short(old)} and is {_short(new)}' for k, (old, new) in changed.items()]
  more = f'; and {len(shown) - _MAX_CHANGES} more fields' if len(shown) > _MAX_CHANGES else ''
  return f'Changed since this run last started: {"; ".join(shown[:_MAX_CHANGES])}{more}.'


def _short(value) -> str:
  text = repr(value)
  return text if len(text) <= 60 else f'{text[:57]}...'


def check_same_model(trained, config, name: str) -> None:
  """Raises a UserError if `config` describes another model than the one that was trained."""
  changed = differences(plain(trained.model), plain(config.model), 'model.')
  changed = {key: pair for key, pair in changed.items() if key not in _FREE_FIELDS}
  if changed:
    fields = ', '.join(f'{k} is {old} there and {new} here' for k, (old, new) in changed.items())
    raise UserError(
      f'{name} is a model of another config: {fields}. Give the config of its training, or leave '
      'out --config.'
    )


def save_config(workdir: pathlib.Path, config: dict) -> None:
  """Writes config.json atomically."""
  atomic.write(workdir / CONFIG_FILE, json_text.dumps(config).encode())
