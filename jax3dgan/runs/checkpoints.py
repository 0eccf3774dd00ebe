"""Checkpoints of a run: all that is needed to go on, or to render.

A workdir holds `config.json` and `checkpoints/<step>/`. A checkpoint is written under a temporary
name and renamed when it is whole, so a killed run or a full disk leaves the earlier ones good. Its
arrays are compared with their checksums when they are read: one that was damaged later is named and
put aside into `damaged/`, and the one before serves.

In `train.py`:

  with interruption.Interruption() as stop:
    saver = checkpoints.Checkpoints(workdir, every, keep, config=config)  # checks config.json
    state = saver.restore(jax.eval_shape(init)) or init()
    for step in ...:
      ...
      saver.save(step, state)  # by its policy, in the background
      if stop.requested(step):
        saver.save(step, state, force=True)
        saver.close()
        raise KeyboardInterrupt  # main says that the same command goes on
    saver.save(step, state, force=True)
    saver.close()
"""

import contextlib
import logging
import os
import pathlib
import shutil
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from jax3dgan import config_json
from jax3dgan.augment import AdaState
from jax3dgan.errors import UserError
from jax3dgan.runs import checksums, old_checkpoints, workdirs
from jax3dgan.runs.checkpoint_files import (
  CHECKSUMS,
  FOLDER,
  Damaged,
  damage,
  metadata_of,
  read,
  read_variables,
  steps,
  verify,
)

DAMAGED = 'damaged'  # where checkpoints go that cannot be read
ON_ERROR = ('warn', 'stop')
_AUGMENT = 'augment'  # among a state's buffers
_TEMPORARY = 'orbax-checkpoint-tmp'  # in the names of Orbax's temporary folders


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
    on_error: 'stop' raises where the disk refuses a save; 'warn' says so and goes on without it, up
      to `close`, which raises. Of several processes, which have to agree, it is always 'stop'.
    say: Is told of a save that failed, in one line.
  """

  def __init__(
    self,
    workdir,
    every: int,
    keep: int,
    config=None,
    on_error: str = 'stop',
    say: Callable[[str], None] = print,
  ):
    _quiet()
    if on_error not in ON_ERROR:
      raise UserError(
        f'config.checkpoint.on_error is {on_error!r}. Set it to one of {", ".join(ON_ERROR)}.'
      )
    self._warns = on_error == 'warn' and jax.process_count() == 1
    self._say = say
    self._workdir = pathlib.Path(workdir).resolve()
    self._every, self._keep = every, keep
    config = None if config is None else config_json.plain(config)
    self._augment_p = (config or {}).get('augment', {}).get('p', 0.0)
    with workdirs.disk_errors(self._workdir):
      self._workdir.mkdir(parents=True, exist_ok=True)
      if config is not None and steps(self._workdir):
        workdirs.check_same_run(self._workdir, config)
      if config is not None and jax.process_index() == 0:
        workdirs.save_config(self._workdir, config)
    self._told = []  # of checkpoints put aside before `restore` had somebody to tell
    for step in steps(self._workdir):
      # The files that say what a checkpoint is; Orbax reads those of all when it opens a folder.
      try:
        metadata_of(self._workdir / FOLDER / str(step))
      except Damaged as error:
        self._put_aside(step, error)
    with workdirs.disk_errors(self._workdir):
      self._checkpointer = self._open()
    self._pending, self._saving = None, None

  def _open(self):
    training = ocp.training
    decide = training.save_decision_policies
    context = ocp.Context()
    # Made in the background, a folder on a read-only disk is a time-out instead of an error.
    context.asynchronous.create_directories_asynchronously = False
    # Leaves are compared in `_check`. Parts without one (None: augmentation that is off) may be
    # missing from what an earlier version saved.
    context.pytree.loading.partial_load = True
    return training.Checkpointer(
      self._workdir / FOLDER,
      context=context,
      save_decision_policy=decide.AnySavePolicy(
        [decide.FixedIntervalPolicy(self._every), decide.PreemptionCheckpointingPolicy()]
      ),
      preservation_policy=training.preservation_policies.LatestN(self._keep),
      cleanup_tmp_directories=True,
    )

  def should_save(self, step: int) -> bool:
    """Whether the policy wants a checkpoint after `step`."""
    return self._checkpointer.should_save(step)

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
    sums = {CHECKSUMS: checksums.tree(state)}
    # What is forced is the last that there will be: nothing would try again.
    with self._disk(step, self._warns and not force):
      self._pending = self._checkpointer.save_async(step, state, force=True, custom_metadata=sums)
      self._saving = step
    return self._pending is not None

  def restore(self, abstract_state, say: Callable[[str], None] = print):
    """Returns the latest state that is whole, or None where the run has no checkpoint yet.

    Args:
      abstract_state: The state's structure: its leaves are arrays or `jax.ShapeDtypeStruct`s, whose
        shardings are taken over (without one: the first local device).
      say: Is told of a damaged checkpoint, in one line.

    Raises:
      UserError: The checkpoint is of another structure or other shapes, or all are damaged.
    """
    for step in reversed(steps(self._workdir)):
      try:
        state = self._load(step, abstract_state)
      except Damaged as error:
        self._checkpointer.close()
        self._put_aside(step, error)
        self._checkpointer = self._open()
        continue
      self._tell(say, f'Going on from step {step:,}.')
      return state
    if self._told:
      raise UserError(
        f'{" ".join(self._told)} No other is left in {self._workdir}. Bring one back from a copy, '
        'or choose another --workdir to begin anew.'
      )
    return None

  def _tell(self, say, then: str) -> None:
    told, self._told = self._told, []
    if told:
      say(f'{" ".join(told)} {then}')

  def _load(self, step: int, abstract_state):
    path = self._workdir / FOLDER / str(step)
    metadata = metadata_of(path)
    stored = metadata.metadata
    is_old = old_checkpoints.is_old(stored)
    stored = old_checkpoints.upgrade(stored) if is_old else stored
    begins = _without_augmentation(abstract_state, stored)
    wanted = abstract_state
    if begins:
      buffers = {name: x for name, x in wanted.buffers.items() if name != _AUGMENT}
      wanted = wanted.replace(buffers=buffers)
    self._check(wanted, stored)
    wanted = jax.tree.map(_abstract, wanted)
    if is_old:
      state = _placed(read(self._workdir, step=step)[1], wanted)
    else:
      with damage():
        state = self._checkpointer.load(step, wanted)
      verify(state, metadata)
    if begins:
      fresh = AdaState.create(self._augment_p)
      shardings = jax.tree.map(
        lambda leaf: _abstract(leaf).sharding, abstract_state.buffers[_AUGMENT]
      )
      fresh = jax.device_put(fresh, shardings)
      state = state.replace(buffers={**state.buffers, _AUGMENT: fresh})
    return state

  def _put_aside(self, step: int, error: Exception) -> None:
    aside = self._workdir / DAMAGED / str(step)
    self._told.append(f'The checkpoint of step {step:,} is damaged ({error}); put into {aside}.')
    if jax.process_index() == 0:
      with workdirs.disk_errors(self._workdir):
        aside.parent.mkdir(exist_ok=True)
        if aside.exists():
          shutil.rmtree(aside)
        (self._workdir / FOLDER / str(step)).rename(aside)
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices(f'damaged checkpoint {step}')

  def _check(self, expected, stored) -> None:
    expected, stored = _shapes(expected), _shapes(stored)
    for name in sorted(expected.keys() | stored.keys()):
      here, there = expected.get(name, 'absent'), stored.get(name, 'absent')
      if here != there:
        raise UserError(
          f'{self._workdir} holds a checkpoint of another config: {name} is {there} there and '
          f'{here} here. Choose another --workdir, or the config in its {workdirs.CONFIG_FILE}.'
        )

  def wait(self) -> None:
    """Waits for a save that is under way; raises its failure, or tells it, see `on_error`."""
    self._wait(self._warns)

  def _wait(self, warns: bool) -> None:
    pending, self._pending = self._pending, None
    if pending is not None:
      with self._disk(self._saving, warns):
        pending.result()

  @contextlib.contextmanager
  def _disk(self, step: int, warns: bool):
    """Around a save: after an error of the disk, what was half written is gone."""
    try:
      with workdirs.disk_errors(self._workdir):
        yield
    except Exception as error:
      self._pending = None
      # Orbax would raise the failure once more, and holds the step for saved.
      with contextlib.suppress(Exception):
        self._checkpointer.close()
      if jax.process_count() == 1:
        for path in (self._workdir / FOLDER).glob(f'*{_TEMPORARY}*'):
          shutil.rmtree(path, ignore_errors=True)
      with workdirs.disk_errors(self._workdir):
        self._checkpointer = self._open()
      if not (warns and isinstance(error, UserError)):
        raise
      cause = str(error).split(' Remedy')[0]
      last = self.latest_step
      kept = 'There is none yet' if last is None else f'The one of step {last:,} is kept'
      self._say(
        f'Warning: the checkpoint of step {step:,} is not saved. {cause} {kept}; training goes on '
        f'and tries again at the next. Remedy: free some space.'
      )

  def close(self) -> None:
    """Waits for a save that is under way, raising its failure, then lets go of everything."""
    try:
      self._wait(warns=False)
    finally:
      self._checkpointer.close()


def _without_augmentation(expected, stored) -> bool:
  """Whether a state with an augmentation goes on from one without, which then begins."""
  prefix = f'buffers/{_AUGMENT}/'
  return _AUGMENT in getattr(expected, 'buffers', {}) and not any(
    name.startswith(prefix) for name in _shapes(stored)
  )


def _placed(arrays: dict, wanted):
  """Arrays by nested names as a state of this structure, on its devices."""
  named = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(arrays)}

  def place(path, leaf):
    array = np.asarray(named[_name(path)], leaf.dtype)
    return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: array[index])

  return jax.tree_util.tree_map_with_path(place, wanted)


def _name(path) -> str:
  return jax.tree_util.keystr(path, simple=True, separator='/')


def _abstract(leaf):
  if isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct)):
    sharding = getattr(leaf, 'sharding', None)
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
  return leaf


def _shapes(tree) -> dict[str, list[int]]:
  """Returns {'a/b/0': shape} for the leaves, however their containers are called."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {_name(path): list(getattr(leaf, 'shape', ())) for path, leaf in leaves}


__all__ = ['DAMAGED', 'FOLDER', 'Checkpoints', 'read', 'read_variables', 'steps']
