"""Numbers of short rows by their index.

A TPU gathers single numbers one after another. Comparing the index with every place and summing
what it selects costs n operations for each number, but these are in registers and XLA computes them
together with what follows.
"""

import jax.numpy as jnp

from jax3dgan.nn import backend


def reference_take(values, index):
  """`take` by a gather."""
  return jnp.take_along_axis(values, index, axis=-1)


def compared(values, index):
  """`take` by comparison and sum."""
  places = jnp.arange(values.shape[-1])
  # Selected, not multiplied: what is not taken may be infinite.
  selected = jnp.where(index[..., :, None] == places, values[..., None, :], 0)
  return jnp.sum(selected, axis=-1, dtype=values.dtype)


def take(values, index):
  """values [..., n] at index [..., k], each within 0 and n − 1 → [..., k]."""
  return (
    compared(values, index) if backend.form('take') == 'compare' else reference_take(values, index)
  )
