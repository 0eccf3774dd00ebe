"""Products of small weights with many columns, forward and backward as a CPU likes them.

A field multiplies weights [h, k] with features of many points. With points as columns, [k, n], the
product and both of its backward products have the many points last, the form that XLA's CPU back
end computes best: the gradient of a field takes three quarters of the time that it takes with
points as rows. One thing is in the way: the cotangent of the columns, weightsᵀ·g, asks for the
transpose of the left factor, for which that back end has only a slow product and copies. Here the
small weights are transposed first. `benchmarks/techniques.py` measures it.
"""

import functools

import jax
import jax.numpy as jnp

from jax3dgan.nn import backend, precision


def reference_product(weights, columns, policy: str = 'float32'):
  """weights [b, h, k] · columns [b, k, n] → [b, h, n], left to autodiff."""
  return precision.einsum('bhk,bkn->bhn', weights, columns, policy)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _product(weights, columns, policy):
  return reference_product(weights, columns, policy)


def _forward(weights, columns, policy):
  return reference_product(weights, columns, policy), (weights, columns)


def _backward(policy, saved, g):
  weights, columns = saved
  # The barrier keeps XLA from folding the transposition into the product.
  transposed = jax.lax.optimization_barrier(jnp.swapaxes(weights, 1, 2))
  # `product` again, so that a gradient of this gradient is as fast.
  return precision.einsum('bhn,bkn->bhk', g, columns, policy), _product(transposed, g, policy)


_product.defvjp(_forward, _backward)


def product(weights, columns, policy: str = 'float32'):
  """weights [b, h, k] · columns [b, k, n] → [b, h, n] under a policy of `nn.precision`.

  Reverse-mode derivatives of any order. On a CPU in full precision not forward mode, for which
  there is `reference_product`.
  """
  if backend.platform() == 'cpu' and policy == 'float32':
    return _product(weights, columns, policy)
  return reference_product(weights, columns, policy)
