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
  if isinstance(array, jax.Array) and array.is_fully_replicated:
    array = array.addressable_data(0)
  data = np.ascontiguousarray(array)
  return f'{google_crc32c.value(data.tobytes()):08x}'


def tree(values) -> dict[str, str]:
  """Checksums by the leaves' names, 'ema/0.999/mapping/bias'."""
  leaves = jax.tree_util.tree_leaves_with_path(values)
  return {name(path): leaf(array) for path, array in leaves}


def name(path) -> str:
  """The name of a leaf, independent of the classes of its containers."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def damaged(values, expected: Mapping[str, str], prefix: str = '') -> list[str]:
  """The names of the leaves whose checksums differ from `expected`; a leaf without one passes."""
  found = {prefix + key: value for key, value in tree(values).items()}
  return [key for key, value in found.items() if expected.get(key, value) != value]
