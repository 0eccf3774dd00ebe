"""The state of a run from one of its checkpoints: the same step in all processes."""

import dataclasses
import sys
import time
from collections.abc import Callable

import jax

from jax3dgan.augment import AdaState
from jax3dgan.devices import agreement
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoint_files, old_checkpoints, read_failures, state_trees, workdirs
from jax3dgan.runs.read_failures import Damaged

_AUGMENT = 'augment'  # among a state's buffers
# Seconds between comparisons of what the processes list: network file systems have caches.
_LISTING_DELAYS = (1, 2, 4, 8)


def agreed_steps(workdir) -> list[int]:
  """The steps of the whole checkpoints in `workdir`, the same in all processes.

  Raises:
    UserError: The processes list different ones, or one of them cannot list any.
  """
  for delay in (*_LISTING_DELAYS, None):
    listed = agreement.together(lambda: checkpoint_files.steps(workdir), f'they read {workdir}')
    problem = listing_difference(workdir, agreement.exchange(listed))
    if not problem:
      return listed
    if delay is None:
      raise UserError(problem)
    time.sleep(delay)


def listing_difference(workdir, lists: list[list[int]]) -> str:
  """How the first process that lists other steps than process 0 differs; '' if none does."""
  for process, other in enumerate(lists):
    if other != lists[0]:
      return (
        f'In {workdir}, process {process} has the checkpoints {other} and process 0 has '
        f'{lists[0]}. Give all processes a --workdir on a file system that they share.'
      )
  return ''


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What came of reading a checkpoint.

  Attributes:
    kind: 'read', 'damaged' or 'failed'.
    text: Why it is damaged, or the error.
  """

  kind: str
  text: str | None = None


def decide(outcomes: list[Outcome]) -> Outcome:
  """What all processes do after each has tried to read the same checkpoint.

  A failure ends the run, also beside damage: what failed says nothing about the checkpoint, and it
  stays where it is. Damage in one process is damage for all.

  Args:
    outcomes: Of the processes, in their order.
  """
  for kind in ('failed', 'damaged'):
    texts = [outcome.text if outcome.kind == kind else None for outcome in outcomes]
    if any(text is not None for text in texts):
      return Outcome(kind, agreement.of_processes(texts))
  return Outcome('read')


def read_together(read: Callable, path, say: Callable[[str], None]):
  """Returns `read()`, the checkpoint in `path`; called by all processes, which end alike.

  Raises:
    Damaged: In at least one process, and it failed in none.
    UserError: It failed in one process; the text names it.
    Exception: An error of the program, in the process that has it.
  """
  state, error = None, None
  index = jax.process_index()
  # Only process 0 shows its progress.
  own = say if index == 0 else lambda line: print(f'Process {index}: {line}', file=sys.stderr)
  try:
    state = read_failures.read(read, path, own)
    outcome = Outcome('read')
  except Damaged as damage:
    outcome = Outcome('damaged', str(damage))
  except Exception as failure:
    error, outcome = failure, Outcome('failed', agreement.first_line(failure))
  pairs = agreement.exchange(dataclasses.astuple(outcome), f'they read {path}')
  together = decide([Outcome(*pair) for pair in pairs])
  if together.kind == 'read':
    return state
  if together.kind == 'damaged':
    raise Damaged(together.text)
  if error is not None and (jax.process_count() == 1 or not isinstance(error, UserError)):
    raise error
  raise UserError(together.text) from error


def read_state(path, expected, augment_p: float):
  """The state of a checkpoint, on the devices of `expected`.

  Args:
    path: The folder of the checkpoint.
    expected: The state's structure: its leaves are arrays or `jax.ShapeDtypeStruct`s, whose
      shardings are used (without one: the first local device).
    augment_p: The probability of a new augmentation, where the checkpoint has none.

  Raises:
    UserError: The checkpoint has other leaves or shapes.
    Exception: See `checkpoint_files.load`.
  """
  metadata = checkpoint_files.metadata_of(path)
  stored = metadata.metadata
  is_old = old_checkpoints.is_old(stored)
  stored = old_checkpoints.upgrade(stored) if is_old else stored
  abstract = jax.tree.map(state_trees.abstract, expected)
  starts_augmentation = _starts_augmentation(expected, stored)
  if starts_augmentation:
    buffers = {name: x for name, x in abstract.buffers.items() if name != _AUGMENT}
    in_file = abstract.replace(buffers=buffers)
  else:
    in_file = abstract
  _check(path, in_file, stored)
  arrays = checkpoint_files.load(path, (), metadata)
  arrays = old_checkpoints.part((), arrays) if is_old else arrays
  state = state_trees.on_devices(arrays, in_file)
  if starts_augmentation:
    initial = state_trees.on_devices(AdaState.create(augment_p), abstract.buffers[_AUGMENT])
    state = state.replace(buffers={**state.buffers, _AUGMENT: initial})
  return state


def _starts_augmentation(expected, stored) -> bool:
  """Whether the expected state has an augmentation and the stored one does not."""
  prefix = f'buffers/{_AUGMENT}/'
  return _AUGMENT in getattr(expected, 'buffers', {}) and not any(
    name.startswith(prefix) for name in state_trees.shapes(stored)
  )


def _check(path, expected, stored) -> None:
  expected, stored = state_trees.shapes(expected), state_trees.shapes(stored)
  for name in sorted(expected.keys() | stored.keys()):
    asked, saved = expected.get(name, 'absent'), stored.get(name, 'absent')
    if asked != saved:
      raise UserError(
        f'{path} is a checkpoint of another config: {name} is {saved} there and {asked} here. '
        f'Choose another --workdir, or the config in its {workdirs.CONFIG_FILE}.'
      )
