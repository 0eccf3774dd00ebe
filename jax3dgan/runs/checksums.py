"""Checksums of the arrays of a state, by which damaged checkpoint files are detected.

CRC-32C of the bytes of each array, in the metadata of the checkpoint: a disk that changes bits
returns other numbers without any error.
"""

from collections.abc import Mapping

import google_crc32c
import jax
import numpy as np


def leaf(array) -> str:
  """The checksum of an array; of a replicated one, that of its first copy."""
  data = np.ascontiguousarray(_one_copy(array)).reshape(-1).view(np.uint8)
  data.flags.writeable = False  # of this view: the function takes no buffer that may change
  return f'{google_crc32c.value(data):08x}'


def tree(values) -> dict[str, str]:
  """Checksums by the leaves' names, 'ema/0.999/mapping/bias'."""
  leaves = jax.tree_util.tree_leaves_with_path(values)
  copies = [(name(path), _one_copy(array)) for path, array in leaves]
  for _, array in copies:
    if isinstance(array, jax.Array):
      array.copy_to_host_async()  # of all, before anything waits for one
  return {key: leaf(array) for key, array in copies}


def _one_copy(array):
  """The first copy of a replicated array."""
  if isinstance(array, jax.Array) and array.is_fully_replicated:
    return array.addressable_data(0)
  return array


def name(path) -> str:
  """The name of a leaf, independent of the classes of its containers."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def damaged(values, expected: Mapping[str, str], prefix: str = '') -> list[str]:
  """The names of the leaves whose checksums differ from `expected`; a leaf without one passes."""
  found = {prefix + key: value for key, value in tree(values).items()}
  return [key for key, value in found.items() if expected.get(key, value) != value]
