"""Rows of 16 to 96 numbers in ascending order, by counting: how many are before a number is its
place.

XLA's sort takes a CPU longer, and the inverse permutation, which gradients need, comes with it:
merging and marching samples takes .56 of the time, with the gradient .6. Accelerators take the same
form; what it gains there is not measured. There numbers are brought into the order by comparison as
well, see `nn.take`.
"""

import jax.numpy as jnp

from jax3dgan.nn import backend
from jax3dgan.nn import take as take_lib
from jax3dgan.nn.primitives import linear


def reference_ascending_order(x):
  """`ascending_order` by sorting."""
  order = jnp.argsort(x, axis=-1, stable=True).astype(jnp.int32)
  return order, jnp.argsort(order, axis=-1).astype(jnp.int32)


def ascending_order(x):
  """The order of numbers [..., n], equal ones in theirs.

  Returns:
    order [..., n], which number is at each place, and places [..., n], at which place each number
    is: permutations that are each other's inverse.
  """
  if not backend.own_forms():
    return reference_ascending_order(x)
  index = jnp.arange(x.shape[-1], dtype=jnp.int32)
  one, other = x[..., :, None], x[..., None, :]
  before = (other < one) | ((other == one) & (index < index[:, None]))
  places = jnp.sum(before, axis=-1, dtype=jnp.int32)
  # The inverse permutation, by counting as well.
  order = jnp.sum(
    jnp.where(places[..., None, :] == index[:, None], index, 0), axis=-1, dtype=jnp.int32
  )
  return order, places


def reference_permuted(x, order, inverse):
  """`permuted`, left to autodiff, which scatters the cotangent."""
  del inverse
  index = order if x.ndim == order.ndim else order[..., None]
  return jnp.take_along_axis(x, index, axis=order.ndim - 1)


def _apply(x, order, inverse):
  # Rows of several numbers are gathered well on any platform.
  if x.ndim == order.ndim and backend.form('permuted') == 'compare':
    return take_lib.compared(x, order)
  return reference_permuted(x, order, inverse)


_permuted = linear(
  'permuted',
  _apply,
  # The transpose of a permutation is its inverse.
  lambda g, x, order, inverse: _permuted(g, inverse, order),
)


def permuted(x, order, inverse):
  """Values [..., n(, c)] in an order [..., n], whose inverse permutation is given too."""
  run = _permuted if backend.own_forms() else reference_permuted
  return run(x, order, inverse)
