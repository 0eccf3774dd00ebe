"""Checkpoints of a run, and the config beside them: all that is needed to go on, or to render.

A workdir holds `config.json` and `checkpoints/<step>/`. A checkpoint is written under a temporary
name and renamed when it is whole, so a killed run or a full disk leaves the earlier ones good.

In `train.py`:

  with checkpoints.Interruption() as interruption:
    saver = checkpoints.Checkpoints(workdir, every, keep, config=config)  # checks config.json
    state = saver.restore(jax.eval_shape(init)) or init()
    for step in ...:
      ...
      saver.save(step, state)  # by its policy, in the background
      if interruption.requested(step):
        saver.save(step, state, force=True)
        saver.close()
        raise KeyboardInterrupt  # main says that the same command goes on
    saver.save(step, state, force=True)
    saver.close()
"""

import contextlib
import errno
import json
import logging
import os
import pathlib
import signal
from typing import Any

import jax
import ml_collections
import numpy as np
from orbax.checkpoint import v1 as ocp

from jax3dgan.errors import UserError

CONFIG_FILE = 'config.json'
FOLDER = 'checkpoints'
# Fields that fix the shapes of the state; the others may change between two legs of a run.
_SHAPING = ('model', 'discriminator', 'ema.rates')

_DISK_ERRORS = {
  errno.ENOSPC: ('the disk is full', 'free some space, then run the same command'),
  errno.EDQUOT: ('the disk quota is used up', 'free some space, then run the same command'),
  errno.EROFS: ('it is read-only', 'choose another folder'),
  errno.EACCES: ('there is no permission to write there', 'choose another folder'),
  errno.EPERM: ('there is no permission to write there', 'choose another folder'),
  errno.ENOTDIR: ('part of its path is a file', 'choose another folder'),
}


def disk_error(error: BaseException, path) -> UserError | None:
  """Returns the one-line form of an error of the disk (full, read-only, …), or None for any other.

  TensorStore reports errors of the system in the text of a ValueError, hence the look at the text.
  """
  number = getattr(error, 'errno', None)
  if number not in _DISK_ERRORS:
    text = str(error)
    number = next((n for n in _DISK_ERRORS if os.strerror(n) in text), None)
  if number is None:
    return None
  cause, remedy = _DISK_ERRORS[number]
  return UserError(f'Cannot write to {path}: {cause}. Remedy: {remedy}.')


@contextlib.contextmanager
def _disk_errors_of(path):
  """Turns errors of the disk into a UserError."""
  try:
    yield
  except Exception as error:
    explained = disk_error(error, path)
    if explained is None:
      raise
    raise explained from error


# ---------------------------------------------------------------------------------------- config


def plain(value) -> Any:
  """Returns a config (or a part of one) as JSON's types; tuples become lists."""
  if isinstance(value, ml_collections.ConfigDict):
    value = value.to_dict()
  if isinstance(value, dict):
    return {key: plain(item) for key, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(item) for item in value]
  return value


def config_from(value) -> Any:
  """The inverse of `plain`: dicts become locked ConfigDicts and lists tuples."""
  if isinstance(value, dict):
    config = ml_collections.ConfigDict({k: config_from(v) for k, v in value.items()})
    return config.lock()
  if isinstance(value, list):
    return tuple(config_from(item) for item in value)
  return value


def load_config(workdir) -> ml_collections.ConfigDict:
  """Returns the config of the run in `workdir`; UserError where there is none."""
  path = pathlib.Path(workdir) / CONFIG_FILE
  try:
    return config_from(json.loads(path.read_text()))
  except FileNotFoundError:
    what = 'has no config.json' if path.parent.is_dir() else 'does not exist'
    raise UserError(f'{workdir} {what}: no run began there. Give the --workdir of a run.') from None
  except json.JSONDecodeError as error:
    raise UserError(f'{path} is damaged ({error}). Run the training command again.') from None


def differences(old: dict, new: dict, prefix: str = '') -> dict[str, tuple[Any, Any]]:
  """Returns {'a.b': (old value, new value)} for the fields of two plain configs that differ."""
  found = {}
  for key in sorted(old.keys() | new.keys()):
    a, b = old.get(key), new.get(key)
    if isinstance(a, dict) and isinstance(b, dict):
      found |= differences(a, b, f'{prefix}{key}.')
    elif a != b:
      found[prefix + key] = (a, b)
  return found


def _same_run(workdir: pathlib.Path, config: dict) -> None:
  """UserError where the run in `workdir` has other shapes than `config` asks for."""
  path = workdir / CONFIG_FILE
  if not path.exists():
    return
  changed = differences(plain(load_config(workdir)), config)
  fixed = {k: v for k, v in changed.items() if any(f'{k}.'.startswith(f'{s}.') for s in _SHAPING)}
  if fixed:
    fields = ', '.join(f'{k} is {old} there and {new} here' for k, (old, new) in fixed.items())
    raise UserError(
      f'{workdir} holds a checkpoint of another config: {fields}. '
      'Choose another --workdir, or set these fields as they are there.'
    )


def _replace_text(path: pathlib.Path, text: str) -> None:
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  temporary.write_text(text)
  temporary.replace(path)


# ----------------------------------------------------------------------------------- checkpoints


class _NotOrbax(logging.Filter):
  """Drops Orbax's own records: it logs each failure four times with its stack, then raises it."""

  def filter(self, record: logging.LogRecord) -> bool:
    return f'{os.sep}orbax{os.sep}' not in record.pathname


def _quiet() -> None:
  logger = logging.getLogger('absl')
  if not any(isinstance(f, _NotOrbax) for f in logger.filters):
    logger.addFilter(_NotOrbax())


class Checkpoints:
  """The checkpoints of one run.

  Args:
    workdir: The run's folder; made where it is missing.
    every: A checkpoint each so many steps (and when the machine is about to be taken away).
    keep: How many of the latest stay.
    config: Where given, it is compared with the run's config.json (UserError where the model is
      another one and checkpoints exist) and written there.
  """

  def __init__(self, workdir, every: int, keep: int, config=None):
    _quiet()
    self._workdir = pathlib.Path(workdir).resolve()
    training = ocp.training
    decide = training.save_decision_policies
    context = ocp.Context()
    # Made in the background, a folder on a read-only disk is a time-out instead of an error.
    context.asynchronous.create_directories_asynchronously = False
    with _disk_errors_of(self._workdir):
      self._workdir.mkdir(parents=True, exist_ok=True)
      if config is not None and steps(self._workdir):
        _same_run(self._workdir, plain(config))
      if config is not None and jax.process_index() == 0:
        _replace_text(self._workdir / CONFIG_FILE, json.dumps(plain(config), indent=2) + '\n')
      self._checkpointer = training.Checkpointer(
        self._workdir / FOLDER,
        context=context,
        save_decision_policy=decide.AnySavePolicy(
          [decide.FixedIntervalPolicy(every), decide.PreemptionCheckpointingPolicy()]
        ),
        preservation_policy=training.preservation_policies.LatestN(keep),
        cleanup_tmp_directories=True,
      )
    self._pending = None
    self._failed = False

  @property
  def latest_step(self) -> int | None:
    """The step of the latest whole checkpoint, or None."""
    latest = self._checkpointer.latest
    return None if latest is None else latest.step

  def save(self, step: int, state, force: bool = False) -> bool:
    """Saves `state` in the background where the policy says so, or `force`; True if it does.

    Returns as soon as the arrays are copied: they may be donated to the next step. A failure is
    raised (UserError for the disk) by the next call that saves, by `wait` or by `close`.
    """
    if not (force or self._checkpointer.should_save(step)):
      return False
    self.wait()
    if self.latest_step == step:
      return False
    with _disk_errors_of(self._workdir):
      self._pending = self._checkpointer.save_async(step, state, force=True)
    return True

  def restore(self, abstract_state):
    """Returns the latest state, or None where the run has no checkpoint yet.

    Args:
      abstract_state: The state's structure: its leaves are arrays or `jax.ShapeDtypeStruct`s, whose
        shardings are taken over (without one: the first local device).

    Raises:
      UserError: The checkpoint is of another structure or other shapes.
    """
    step = self.latest_step
    if step is None:
      return None
    self._check(abstract_state, self._checkpointer.metadata(step).metadata)
    return self._checkpointer.load(step, jax.tree.map(_abstract, abstract_state))

  def _check(self, expected, stored) -> None:
    expected, stored = _shapes(expected), _shapes(stored)
    for name in sorted(expected.keys() | stored.keys()):
      here, there = expected.get(name, 'absent'), stored.get(name, 'absent')
      if here != there:
        raise UserError(
          f'{self._workdir} holds a checkpoint of another config: {name} is {there} there and '
          f'{here} here. Choose another --workdir, or the config in its {CONFIG_FILE}.'
        )

  def wait(self) -> None:
    """Waits for a save that is under way; raises its failure."""
    pending, self._pending = self._pending, None
    if pending is not None:
      self._failed = True
      with _disk_errors_of(self._workdir):
        pending.result()
      self._failed = False

  def close(self) -> None:
    """Waits for a save that is under way, then lets go of everything."""
    try:
      self.wait()
    finally:
      # Orbax raises a failed save once more; it was raised by `wait` already.
      with contextlib.suppress(Exception) if self._failed else contextlib.nullcontext():
        self._checkpointer.close()


def _abstract(leaf):
  if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
    sharding = getattr(leaf, 'sharding', None)
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
  return leaf


def _shapes(tree) -> dict[str, list[int]]:
  """Returns {'a/b/0': shape} for the leaves, however their containers are called."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): list(getattr(leaf, 'shape', ()))
    for path, leaf in leaves
  }


def steps(workdir) -> list[int]:
  """Returns the steps of the whole checkpoints in `workdir`, in ascending order."""
  folder = pathlib.Path(workdir) / FOLDER
  return sorted(int(p.name) for p in folder.glob('*') if p.name.isdigit() and p.is_dir())


def read(workdir, *keys: str, step: int | None = None) -> tuple[int, Any]:
  """Reads a part of a checkpoint alone, as NumPy arrays: `read(workdir, 'ema', '0.999')`.

  Args:
    workdir: The folder of a run.
    *keys: The way from the state to the part.
    step: The checkpoint's step; None for the latest.

  Returns:
    The step and the part.

  Raises:
    UserError: No such checkpoint, or no such part in it (the parts that there are get named).
  """
  there = steps(workdir)
  if not there:
    raise UserError(f'{workdir} has no checkpoint yet. Train first, or wait for the first one.')
  step = there[-1] if step is None else step
  if step not in there:
    raise UserError(f'{workdir} has no checkpoint of step {step}. There are: {there}.')
  path = pathlib.Path(workdir).resolve() / FOLDER / str(step)
  part = ocp.metadata(path).metadata
  for key in keys:
    if key not in part:
      raise UserError(f'The checkpoint {path} has no {key!r}. There are: {sorted(part)}.')
    part = part[key]
  wanted = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), part)
  for key in reversed(keys):
    wanted = {key: wanted}
  context = ocp.Context()
  context.pytree.loading.partial_load = True
  with context:
    loaded = ocp.load(path, wanted)
  for key in keys:
    loaded = loaded[key]
  return step, loaded


# ---------------------------------------------------------------------------------- interruption


class Interruption:
  """Turns Ctrl-C and SIGTERM into a request to stop after the step, with the state saved.

  A second signal stops at once. With several processes JAX agrees on the step, so that all of them
  save the same one.
  """

  _SIGNALS = (signal.SIGINT, signal.SIGTERM)

  def __init__(self):
    self._signal = None
    self._before = {}

  def __enter__(self):
    if jax.process_count() == 1:
      # A thread other than the main one (a notebook's, a test's) may not set handlers.
      with contextlib.suppress(ValueError):
        for number in self._SIGNALS:
          self._before[number] = signal.signal(number, self._note)
    return self

  def __exit__(self, *exception):
    for number, handler in self._before.items():
      signal.signal(number, handler)
    self._before = {}

  def _note(self, number, frame):
    del frame
    if self._signal is not None:
      raise KeyboardInterrupt
    self._signal = number

  def requested(self, step: int) -> bool:
    """Returns whether to stop after `step`."""
    if jax.process_count() == 1:
      return self._signal is not None
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)
