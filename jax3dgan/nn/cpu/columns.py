"""Products of small weights with many columns.

A field multiplies weights [h, k] with features of many points. With points as columns, [k, n], the
product and both of its backward products have the many points last, the form that XLA's CPU back
end computes fastest: the gradient of a field takes three quarters of the time that it takes with
points as rows. Left to autodiff, the cotangent of the columns, weightsᵀ·g, takes the transpose of
the left factor, for which that back end has only a slow product and copies. Here the small weights
are transposed first. `benchmarks/techniques.py` measures it.
"""

import jax
import jax.numpy as jnp

from jax3dgan.nn import backend, precision
from jax3dgan.nn.primitives import bilinear


def reference_product(weights, columns, policy: str = 'float32'):
  """weights [b, h, k] · columns [b, k, n] → [b, h, n], left to autodiff."""
  return precision.einsum('bhk,bkn->bhn', weights, columns, policy)


def _of_weights(g, weights, columns):
  return precision.einsum('bhn,bkn->bhk', g, columns)


def _of_columns(g, weights, columns):
  # The barrier keeps XLA from folding the transposition into the product.
  return _product(jax.lax.optimization_barrier(jnp.swapaxes(weights, 1, 2)), g)


def _batch(args, axes):
  size = next(x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None)
  weights, columns = (
    jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
    for x, axis in zip(args, axes, strict=True)
  )
  y = _product(*(x.reshape(-1, *x.shape[2:]) for x in (weights, columns)))
  return y.reshape(size, -1, *y.shape[1:]), 0


_product = bilinear('columns_product', reference_product, _of_weights, _of_columns, batch=_batch)


def product(weights, columns, policy: str = 'float32'):
  """weights [b, h, k] · columns [b, k, n] → [b, h, n] under a policy of `nn.precision`."""
  if backend.cpu_forms() and policy == 'float32':
    return _product(weights, columns)
  return reference_product(weights, columns, policy)
