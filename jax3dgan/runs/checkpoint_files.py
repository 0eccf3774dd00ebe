"""Reading checkpoints: which steps a workdir has, and subtrees of a checkpoint, verified.

`checkpoints.Checkpoints` writes them; apps need only this module.
"""

import contextlib
import logging
import pathlib
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jax3dgan import generators
from jax3dgan.errors import UserError
from jax3dgan.runs import checksums, old_checkpoints, workdirs

FOLDER = workdirs.CHECKPOINTS
CHECKSUMS = 'checksums'  # in a checkpoint's metadata


class Damaged(Exception):
  """A checkpoint whose files differ from what was saved."""


@contextlib.contextmanager
def damage():
  """Turns all errors of Orbax and TensorStore about broken files into `Damaged`."""
  # It logs a stack trace for each task that ran beside the one that failed.
  asyncio_logger = logging.getLogger('asyncio')
  level = asyncio_logger.level
  asyncio_logger.setLevel(logging.CRITICAL)
  try:
    yield
  except (UserError, Damaged):
    raise
  except Exception as error:
    raise Damaged(_first_line(error)) from error
  finally:
    asyncio_logger.setLevel(level)


def metadata_of(path):
  """The metadata of a checkpoint; raises `Damaged` if they are not those of a state."""
  with damage():
    metadata = ocp.metadata(path)
    # A truncated file is read as a checkpoint without arrays.
    if not jax.tree.leaves(metadata.metadata):
      raise Damaged('its metadata are empty')
    return metadata


def verify(values, metadata) -> None:
  """Raises `Damaged` if arrays do not have the checksums in the metadata."""
  wrong = checksums.damaged(values, (metadata.custom_metadata or {}).get(CHECKSUMS, {}))
  if wrong:
    raise Damaged(f'{wrong[0]} is not what was saved')


def _first_line(error: BaseException) -> str:
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  return (lines[0] if lines else type(error).__name__)[:160]


def steps(workdir) -> list[int]:
  """Returns the steps of the whole checkpoints in `workdir`, in ascending order."""
  folder = pathlib.Path(workdir) / FOLDER
  return sorted(int(p.name) for p in folder.glob('*') if p.name.isdigit() and p.is_dir())


def read(workdir, *keys: str, step: int | None = None) -> tuple[int, Any]:
  """Reads a subtree of a checkpoint as NumPy arrays: `read(workdir, 'ema', 'generator', '0.999')`.

  Checkpoints of earlier versions are read too.

  Args:
    workdir: The folder of a run.
    *keys: The path of the subtree in the state.
    step: The checkpoint's step; None for the latest.

  Returns:
    The step and the subtree.

  Raises:
    UserError: No such checkpoint, or no such subtree; the message lists what there is.
  """
  available = steps(workdir)
  if not available:
    raise UserError(f'{workdir} has no checkpoint yet. Train first, or wait for the first one.')
  step = available[-1] if step is None else step
  if step not in available:
    raise UserError(f'{workdir} has no checkpoint of step {step}. There are: {available}.')
  path = pathlib.Path(workdir).resolve() / FOLDER / str(step)
  try:
    return step, _read(path, keys)
  except Damaged as error:
    others = [other for other in available if other != step]
    remedy = f'Take another, such as --step={others[-1]}.' if others else 'Train again.'
    raise UserError(f'The checkpoint {path} is damaged ({error}). {remedy}') from error


def read_variables(
  workdir, generator, rate: str | None = None, step: int | None = None
) -> tuple[int, dict]:
  """Reads a generator's variables: its parameters, and its buffers where it has any.

  Args:
    workdir: The folder of a run.
    generator: The Flax module.
    rate: Of the moving average; None for the parameters of training.
    step: The checkpoint's step; None for the latest.

  Raises:
    UserError: See `read`.
  """
  keys = ('networks', 'generator') if rate is None else ('ema', 'generator', rate)
  step, params = read(workdir, *keys, step=step)
  if not generators.has_buffers(generator):
    return step, {'params': params}
  return step, {'params': params, 'buffers': read(workdir, 'buffers', 'generator', step=step)[1]}


def _read(path, keys):
  metadata = metadata_of(path)
  tree = metadata.metadata
  if old_checkpoints.is_old(tree):
    return old_checkpoints.part(keys, _load(path, old_checkpoints.old_keys(keys), metadata))
  return _load(path, keys, metadata)


def _load(path, keys, metadata):
  tree = metadata.metadata
  for key in keys:
    if key not in tree:
      raise UserError(f'The checkpoint {path} has no {key!r}. There are: {sorted(tree)}.')
    tree = tree[key]
  abstract = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree)
  for key in reversed(keys):
    abstract = {key: abstract}
  context = ocp.Context()
  context.pytree.loading.partial_load = True
  with damage(), context:
    loaded = ocp.load(path, abstract)
  verify(loaded, metadata)
  for key in keys:
    loaded = loaded[key]
  return loaded
