"""Checksums of the arrays of a state, so that a damaged file is not taken for a checkpoint.

CRC-32C of the bytes of each array, kept in the checkpoint's own metadata: a storage that loses or
turns bits gives other numbers without any error.
"""

from collections.abc import Mapping

import google_crc32c
import jax
import numpy as np


def leaf(array) -> str:
  """The checksum of one array, replicated ones by their first copy."""
  if isinstance(array, jax.Array) and array.is_fully_replicated:
    array = array.addressable_data(0)
  data = np.ascontiguousarray(array)
  return f'{google_crc32c.value(data.tobytes()):08x}'


def tree(values) -> dict[str, str]:
  """Checksums by the leaves' names, 'ema/0.999/mapping/bias'."""
  leaves = jax.tree_util.tree_leaves_with_path(values)
  return {name(path): leaf(array) for path, array in leaves}


def name(path) -> str:
  """The name of a leaf, however its containers are called."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def damaged(values, expected: Mapping[str, str], prefix: str = '') -> list[str]:
  """The leaves of `values` that are not what `expected` says; those it does not name pass."""
  found = {prefix + key: value for key, value in tree(values).items()}
  return [key for key, value in found.items() if expected.get(key, value) != value]
