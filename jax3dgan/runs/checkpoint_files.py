"""The files of checkpoints: which there are, whether they are what was saved, parts of them.

Made by `checkpoints.Checkpoints`; the apps need no more than this.
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
  """A checkpoint that cannot be what was saved."""


@contextlib.contextmanager
def damage():
  """Turns whatever Orbax and TensorStore say of broken files into `Damaged`."""
  unheard = logging.getLogger('asyncio')  # tasks beside the one that failed, with their stacks
  level = unheard.level
  unheard.setLevel(logging.CRITICAL)
  try:
    yield
  except (UserError, Damaged):
    raise
  except Exception as error:
    raise Damaged(_first_line(error)) from error
  finally:
    unheard.setLevel(level)


def metadata_of(path):
  """What a checkpoint says of itself; `Damaged` where it cannot be one of ours."""
  with damage():
    metadata = ocp.metadata(path)
    # Cut short, it reads as a checkpoint without arrays.
    if not jax.tree.leaves(metadata.metadata):
      raise Damaged('its metadata are empty')
    return metadata


def verify(values, metadata) -> None:
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
  """Reads a part of a checkpoint alone, as NumPy arrays: `read(workdir, 'ema',
  'generator', '0.999')`. Those of earlier versions too.

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
  try:
    return step, _read(path, keys)
  except Damaged as error:
    others = [other for other in there if other != step]
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
  part = metadata.metadata
  if old_checkpoints.is_old(part):
    return old_checkpoints.part(keys, _load(path, old_checkpoints.old_keys(keys), metadata))
  return _load(path, keys, metadata)


def _load(path, keys, metadata):
  part = metadata.metadata
  for key in keys:
    if key not in part:
      raise UserError(f'The checkpoint {path} has no {key!r}. There are: {sorted(part)}.')
    part = part[key]
  wanted = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), part)
  for key in reversed(keys):
    wanted = {key: wanted}
  context = ocp.Context()
  context.pytree.loading.partial_load = True
  with damage(), context:
    loaded = ocp.load(path, wanted)
  verify(loaded, metadata)
  for key in keys:
    loaded = loaded[key]
  return loaded
