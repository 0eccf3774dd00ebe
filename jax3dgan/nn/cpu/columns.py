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


def _product_of(weights, columns, *, policy):
  return reference_product(weights, columns, policy)


def _of_weights(g, weights, columns, *, policy):
  return precision.einsum('bhn,bkn->bhk', g, columns.astype(g.dtype), policy)


def _of_columns(g, weights, columns, *, policy):
  # The barrier keeps XLA from folding the transposition into the product.
  turned = jax.lax.optimization_barrier(jnp.swapaxes(weights, 1, 2))
  return _product(turned, g, policy=policy)


def _tangent_of_weights(dweights, weights, columns, *, policy):
  # Kept for the backward pass in half the bytes.
  rule = precision.get(policy)
  columns = columns if rule.inputs is None else precision.round_input(columns, rule.inputs)
  return _product(dweights, columns, policy=policy)


def _tangent_of_columns(dcolumns, weights, columns, *, policy):
  return _product(weights, dcolumns, policy=policy)


def _batch(args, axes, *, policy):
  size = next(x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None)
  weights, columns = (
    jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)
    for x, axis in zip(args, axes, strict=True)
  )
  y = _product(*(x.reshape(-1, *x.shape[2:]) for x in (weights, columns)), policy=policy)
  return y.reshape(size, -1, *y.shape[1:]), 0


_product = bilinear(
  'columns_product',
  _product_of,
  _of_weights,
  _of_columns,
  tangents=(_tangent_of_weights, _tangent_of_columns),
  batch=_batch,
)


def product(weights, columns, policy: str = 'float32'):
  """weights [b, h, k] · columns [b, k, n] → [b, h, n] under a policy of `nn.precision`."""
  policy = precision.of_weights(policy, *weights.shape[1:])
  # Of these two the backward products take the same policy.
  if backend.cpu_forms() and policy in ('float32', 'bfloat16'):
    return _product(weights, columns, policy=policy)
  return reference_product(weights, columns, policy)
