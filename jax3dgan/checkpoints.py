"""Checkpoints of a run: all that is needed to go on, or to render.

A workdir holds `config.json` and `checkpoints/<step>/`. A checkpoint is written under a temporary
name and renamed when it is whole, so a killed run or a full disk leaves the earlier ones good.

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
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jax3dgan import workdirs
from jax3dgan.errors import UserError

FOLDER = workdirs.CHECKPOINTS


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
    config = None if config is None else workdirs.plain(config)
    with workdirs.disk_errors(self._workdir):
      self._workdir.mkdir(parents=True, exist_ok=True)
      if config is not None and steps(self._workdir):
        workdirs.check_same_run(self._workdir, config)
      if config is not None and jax.process_index() == 0:
        workdirs.save_config(self._workdir, config)
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
    with workdirs.disk_errors(self._workdir):
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
          f'{here} here. Choose another --workdir, or the config in its {workdirs.CONFIG_FILE}.'
        )

  def wait(self) -> None:
    """Waits for a save that is under way; raises its failure."""
    pending, self._pending = self._pending, None
    if pending is not None:
      self._failed = True
      with workdirs.disk_errors(self._workdir):
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
