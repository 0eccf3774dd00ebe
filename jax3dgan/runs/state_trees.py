"""States as trees: their structure without values, shapes by name, arrays by name on devices."""

import jax
import numpy as np

from jax3dgan.runs import checksums


def abstract(leaf):
  """A `jax.ShapeDtypeStruct` with a sharding of an array or another one; other leaves unchanged.

  Without a sharding it gets that of the first local device.
  """
  if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic):
    sharding = getattr(leaf, 'sharding', None)
    sharding = sharding or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
  return leaf


def shapes(tree) -> dict[str, list[int]]:
  """Returns {'a/b/0': shape} for the leaves, whatever the classes of their containers."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {checksums.name(path): list(getattr(leaf, 'shape', ())) for path, leaf in leaves}


def on_devices(arrays, expected):
  """Arrays by nested names as a state of this structure, on its devices.

  No process waits for another one.
  """
  leaves = jax.tree_util.tree_leaves_with_path(arrays)
  named = {checksums.name(path): leaf for path, leaf in leaves}

  def place(path, leaf):
    array = np.asarray(named[checksums.name(path)], leaf.dtype)
    return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: array[index])

  return jax.tree_util.tree_map_with_path(place, expected)
