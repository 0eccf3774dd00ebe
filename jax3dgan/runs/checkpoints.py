"""Checkpoints of a run: all that is needed to continue it, or to render.

A workdir contains `config.json` and `checkpoints/<step>/`. A checkpoint is written under a
temporary name and renamed when it is complete, so a killed run or a full disk leaves the earlier
ones intact.
When it is read, its arrays are compared with their checksums: a damaged checkpoint is reported and
moved to `damaged/`, and the one before it is used. A checkpoint that cannot be read for another
reason stays where it is, and the run ends (see `read_failures`). After each save its structure is
read back, so that no run replaces good checkpoints by ones that cannot be read.

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
        raise KeyboardInterrupt  # main prints that the same command continues the run
    saver.save(step, state, force=True)
    saver.close()
"""

import contextlib
import functools
import logging
import os
import shutil
from collections.abc import Callable

import jax
from orbax.checkpoint import v1 as ocp

from jax3dgan import config_json
from jax3dgan.devices import agreement
from jax3dgan.errors import UserError
from jax3dgan.runs import checksums, plain_paths, restoring, state_trees, workdirs
from jax3dgan.runs.checkpoint_files import (
  CHECKSUMS,
  FOLDER,
  metadata_of,
  path_of,
  read,
  read_variables,
  steps,
)
from jax3dgan.runs.read_failures import Damaged

DAMAGED = 'damaged'  # the folder that damaged checkpoints are moved to
ON_ERROR = ('warn', 'stop')
_TEMPORARY = 'orbax-checkpoint-tmp'  # in the names of Orbax's temporary folders


class _WithoutOrbax(logging.Filter):
  """Drops Orbax's log records: it logs each failure four times with its stack, then raises it."""

  def filter(self, record: logging.LogRecord) -> bool:
    return f'{os.sep}orbax{os.sep}' not in record.pathname


def _silence_orbax() -> None:
  logger = logging.getLogger('absl')
  if not any(isinstance(f, _WithoutOrbax) for f in logger.filters):
    logger.addFilter(_WithoutOrbax())


class Checkpoints:
  """The checkpoints of one run.

  Args:
    workdir: The run's folder; made where it is missing.
    every: Steps between two checkpoints; there is one more when the machine is about to be
      preempted.
    keep: Number of the latest checkpoints that are kept; the one before the latest also until the
      latest has been read back.
    config: If given, it is compared with the run's config.json (UserError if the model differs and
      there are checkpoints) and written there.
    on_error: 'stop' raises if the disk refuses a save; 'warn' prints it and continues without that
      checkpoint, except in `close`, which raises. With several processes, which have to agree, it
      is always 'stop'.
    say: Called with one line for a save that failed, while a file system does not answer, and for
      fields of the config that changed since the run's config.json.
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
    _silence_orbax()
    if on_error not in ON_ERROR:
      raise UserError(
        f'config.checkpoint.on_error is {on_error!r}. Set it to one of {", ".join(ON_ERROR)}.'
      )
    self._warns = on_error == 'warn' and jax.process_count() == 1
    self._say = say
    self._workdir = plain_paths.checked(workdir)
    self._every, self._keep = every, keep
    config = None if config is None else config_json.plain(config)
    self._augment_p = (config or {}).get('augment', {}).get('p', 0.0)
    agreement.together(lambda: self._prepare(config))
    self._reports = []  # of damaged checkpoints, until `restore` prints them
    for step in restoring.agreed_steps(self._workdir):
      # Orbax reads the metadata of all checkpoints when it opens a folder.
      path = path_of(self._workdir, step)
      try:
        restoring.read_together(lambda path=path: metadata_of(path), path, say)
      except Damaged as error:
        self._put_aside(step, error)
    with workdirs.disk_errors(self._workdir):
      self._checkpointer = self._open()
    self._pending, self._saving = None, None
    self._latest = max(restoring.agreed_steps(self._workdir), default=None)

  def _prepare(self, config: dict | None) -> None:
    with workdirs.disk_errors(self._workdir):
      self._workdir.mkdir(parents=True, exist_ok=True)
      # Of a run that goes on, it is replaced when it is certain that the run does.
      self._config = config
      if config is not None and steps(self._workdir):
        changes = workdirs.check_same_run(self._workdir, config)
        if changes and jax.process_index() == 0:
          self._say(changes)
        self._config = workdirs.with_beginnings(self._workdir, config)
      else:
        self._write_config()

  def _write_config(self) -> None:
    config, self._config = self._config, None
    if config is not None and jax.process_index() == 0:
      with workdirs.disk_errors(self._workdir):
        workdirs.save_config(self._workdir, config)

  def _open(self):
    training = ocp.training
    decide = training.save_decision_policies
    context = ocp.Context()
    # In the background, creating a folder on a read-only disk gives a timeout instead of an error.
    context.asynchronous.create_directories_asynchronously = False
    return training.Checkpointer(
      plain_paths.PlainPath(self._workdir / FOLDER),
      context=context,
      save_decision_policy=decide.AnySavePolicy(
        [decide.FixedIntervalPolicy(self._every), decide.PreemptionCheckpointingPolicy()]
      ),
      # The one before the latest is kept until the latest has been read back.
      preservation_policy=training.preservation_policies.LatestN(max(2, self._keep)),
      cleanup_tmp_directories=True,
    )

  def should_save(self, step: int) -> bool:
    """Whether the policy asks for a checkpoint after `step`."""
    return self._checkpointer.should_save(step)

  @property
  def latest_step(self) -> int | None:
    """The step of the latest whole checkpoint, or None."""
    return self._latest

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
    self._write_config()
    sums = {CHECKSUMS: checksums.tree(state)}
    # A forced save is the last one: there is no later one that could succeed.
    with self._disk(step, self._warns and not force):
      self._pending = self._checkpointer.save_async(step, state, force=True, custom_metadata=sums)
      self._saving = (step, state_trees.shapes(state))
    return self._pending is not None

  def restore(self, abstract_state, say: Callable[[str], None] = print):
    """Returns the latest state that is intact, or None if the run has no checkpoint yet.

    All processes call it, and take the same step or raise.

    Args:
      abstract_state: The state's structure: its leaves are arrays or `jax.ShapeDtypeStruct`s, whose
        shardings are used (without one: the first local device).
      say: Called with one line for a damaged checkpoint, and while a file system does not answer.

    Raises:
      UserError: The checkpoint is of another structure or other shapes, or it cannot be read, or
        all are damaged.
    """
    for step in reversed(restoring.agreed_steps(self._workdir)):
      path = path_of(self._workdir, step)
      read_state = functools.partial(restoring.read_state, path, abstract_state, self._augment_p)
      try:
        state = restoring.read_together(read_state, path, say)
      except Damaged as error:
        self._checkpointer.close()
        self._put_aside(step, error)
        self._checkpointer = self._open()
        self._latest = None
        continue
      reports, self._reports = self._reports, []
      if reports:
        say(f'{" ".join(reports)} Going on from step {step:,}.')
      self._latest = step
      self._write_config()
      return state
    if self._reports:
      raise UserError(
        f'{" ".join(self._reports)} {self._workdir} has no other one. Restore one from a copy, or '
        'choose another --workdir to start again.'
      )
    return None

  def _put_aside(self, step: int, error: Damaged) -> None:
    """Moves a damaged checkpoint; called by all processes."""
    target = self._workdir / DAMAGED / str(step)
    self._reports.append(
      f'The checkpoint of step {step:,} is damaged ({error}); it was moved to {target}.'
    )

    def move():
      if jax.process_index() == 0:
        with workdirs.disk_errors(self._workdir):
          target.parent.mkdir(exist_ok=True)
          if target.exists():
            shutil.rmtree(target)
          (self._workdir / FOLDER / str(step)).rename(target)

    agreement.together(move)

  def wait(self) -> None:
    """Waits for a save in progress; raises or prints its failure, see `on_error`."""
    self._wait(self._warns)

  def _wait(self, warns: bool) -> None:
    pending, self._pending = self._pending, None
    if pending is not None:
      (step, shapes), saved = self._saving, False
      with self._disk(step, warns):
        pending.result()
        saved = True
      if saved:
        self._read_back(step, shapes)
        self._latest = step

  def _read_back(self, step: int, shapes: dict) -> None:
    """Raises a UserError if a checkpoint does not have all arrays, before older ones are lost."""
    path = path_of(self._workdir, step)

    def check():
      if state_trees.shapes(metadata_of(path).metadata) != shapes:
        raise Damaged('it does not have all arrays')

    try:
      restoring.read_together(check, path, self._say)
    except Damaged as error:
      raise UserError(
        f'{path} was written and cannot be read back: {error}. The run ends before it replaces the '
        'earlier ones. Check the disk, or choose another --workdir.'
      ) from error
    if self._keep == 1:
      for older in restoring.agreed_steps(self._workdir):
        if older < step:
          self._checkpointer.delete(older)

  @contextlib.contextmanager
  def _disk(self, step: int, warns: bool):
    """Around a save: after an error of the disk, deletes the incomplete files."""
    try:
      with workdirs.disk_errors(self._workdir):
        yield
    except Exception as error:
      self._pending = None
      # Orbax would raise the failure again, and it believes that the step is saved.
      with contextlib.suppress(Exception):
        self._checkpointer.close()
      if jax.process_count() == 1:
        for path in (self._workdir / FOLDER).glob(f'*{_TEMPORARY}*'):
          shutil.rmtree(path, ignore_errors=True)
      with workdirs.disk_errors(self._workdir):
        self._checkpointer = self._open()
      if not (warns and isinstance(error, UserError)):
        raise
      cause, _, remedy = str(error).partition(' Remedy: ')
      last = self.latest_step
      kept = 'There is none yet' if last is None else f'The one of step {last:,} is kept'
      self._say(
        f'Warning: the checkpoint of step {step:,} is not saved. {cause} {kept}; training goes on '
        f'and tries again at the next. Remedy: {remedy.split(",")[0].rstrip(".")}.'
      )

  def close(self) -> None:
    """Waits for a save in progress, raises its failure, and releases all resources."""
    try:
      self._wait(warns=False)
    finally:
      self._checkpointer.close()


__all__ = ['DAMAGED', 'FOLDER', 'Checkpoints', 'read', 'read_variables', 'steps']
