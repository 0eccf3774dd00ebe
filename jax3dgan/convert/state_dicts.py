"""Weights of a network of a release, as they are in its file."""

import numpy as np

from jax3dgan.convert import modules, official, wrapped
from jax3dgan.convert.values import Inert, show
from jax3dgan.errors import UserError


def weights(where: str, value) -> dict[str, np.ndarray]:
  """float32 by official names of a module or a state dict.

  Args:
    where: The file, and the network in it, for messages.

  Raises:
    UserError: It is neither, or has too many weights, or none that are numbers.
  """
  try:
    arrays = wrapped.plain_names(modules.state_dict(value))
  except UserError as error:
    raise UserError(f'{where}: {error}') from None
  if len(arrays) > official.MAX_WEIGHTS:
    raise UserError(f'{where} has {len(arrays):,} weights. Give a file of the release.')
  return {key: official.float32(where, key, array) for key, array in arrays.items()}


def of_entry(path, name: str, value, release: str) -> dict[str, np.ndarray]:
  """`weights` of an entry of a checkpoint of state dicts.

  Args:
    release: Whose checkpoint it should be, such as 'GRAF'.
  """
  if not wrapped.is_state_dict(value):
    what = repr(value) if isinstance(value, Inert) else show(value)
    raise UserError(f'{path}: {name} is {what} and no state dict. Give a checkpoint of {release}.')
  return weights(f'{path}, {name}', value)
