"""Reading checkpoints: which steps a workdir has, and subtrees of a checkpoint, verified.

`checkpoints.Checkpoints` writes them; apps need only this module.
"""

import contextlib
import os
import pathlib
import sys
from typing import Any

import jax
import numpy as np
from orbax import checkpoint as ocp_v0
from orbax.checkpoint import v1 as ocp

from jax3dgan import generators
from jax3dgan.errors import UserError
from jax3dgan.runs import checksums, old_checkpoints, plain_paths, read_failures, workdirs
from jax3dgan.runs.read_failures import Damaged

FOLDER = workdirs.CHECKPOINTS
CHECKSUMS = 'checksums'  # in a checkpoint's metadata


def path_of(workdir, step: int) -> plain_paths.PlainPath:
  """The folder of a checkpoint."""
  return plain_paths.PlainPath(plain_paths.checked(workdir)) / FOLDER / str(step)


def metadata_of(path):
  """The metadata of a checkpoint; raises `Damaged` if they are not those of a state."""
  metadata = ocp.metadata(path)
  # Orbax reads a file that is truncated, or that it may not open, as a checkpoint without arrays.
  if not jax.tree.leaves(metadata.metadata):
    raise Damaged('its metadata are empty')
  return metadata


def steps(workdir) -> list[int]:
  """Returns the steps of the whole checkpoints in `workdir`, in ascending order.

  Raises:
    UserError: The folder is there and cannot be read: that is not a run without checkpoints.
  """
  folder = pathlib.Path(workdir) / FOLDER
  return read_failures.read(lambda: _list(folder), folder, _to_stderr)


def _list(folder: pathlib.Path) -> list[int]:
  try:
    with os.scandir(folder) as entries:
      return sorted(int(x.name) for x in entries if x.name.isdecimal() and x.is_dir())
  except (FileNotFoundError, NotADirectoryError):
    return []


def _to_stderr(line: str) -> None:
  print(line, file=sys.stderr)


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
  path = path_of(workdir, step)
  try:
    return step, read_failures.read(lambda: _read(path, keys), path, _to_stderr)
  except Damaged as error:
    others = [other for other in available if other != step]
    remedy = 'Train again.'
    if others:
      remedy = f'Take another, such as --step={others[-1]} (of main: --config.eval.step).'
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
  try:
    metadata = metadata_of(path)
    if old_checkpoints.is_old(metadata.metadata):
      return old_checkpoints.part(keys, load(path, old_checkpoints.old_keys(keys), metadata))
    return load(path, keys, metadata)
  except Exception as error:
    if path.exists():
      raise
    raise UserError(
      f'{path} was deleted while it was read: the run that trains there keeps only its latest '
      'checkpoints. Run the same command again.'
    ) from error


def load(path, keys, metadata):
  """The subtree at `keys` of a checkpoint as NumPy arrays that have their checksums.

  Of several processes each reads for itself: none waits for another one.

  Raises:
    Damaged: An array is not what was saved.
    UserError: There is no such subtree.
    Exception: What Orbax and TensorStore raise, see `read_failures`.
  """
  tree = metadata.metadata
  for key in keys:
    if key not in tree:
      raise UserError(f'The checkpoint {path} has no {key!r}. There are: {sorted(tree)}.')
    tree = tree[key]
  wanted = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), tree)
  kinds = jax.tree.map(lambda leaf: ocp_v0.RestoreArgs(restore_type=np.ndarray), tree)
  for key in reversed(keys):
    wanted, kinds = {key: wanted}, {key: kinds}
  # `ocp.load` waits for all processes, and each must have called it as often as the others.
  with contextlib.closing(ocp_v0.PyTreeCheckpointHandler()) as handler:
    loaded = handler.restore(
      _arrays_of(path),
      args=ocp_v0.args.PyTreeRestore(item=wanted, restore_args=kinds, partial_restore=True),
    )
  wrong = checksums.damaged(loaded, (metadata.custom_metadata or {}).get(CHECKSUMS, {}))
  if wrong:
    raise Damaged(f'{wrong[0]} is not what was saved')
  for key in keys:
    loaded = loaded[key]
  return loaded


def _arrays_of(path):
  """The folder of the arrays in a checkpoint: its name depends on Orbax's version."""
  for folder in (path / 'state', path / 'pytree', path):
    if (folder / '_METADATA').exists():
      return folder
  raise Damaged('its metadata are missing')
