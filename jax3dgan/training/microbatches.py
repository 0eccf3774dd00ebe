"""Gradients of a batch that does not fit into memory: a scan over equal parts of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def split(tree, num: int):
  """Leaves [b, ...] → [num, b / num, ...]."""
  return jax.tree.map(lambda x: x.reshape(num, x.shape[0] // num, *x.shape[1:]), tree)


def mean(fn: Callable, inputs, num: int, weights=None):
  """The mean over `num` micro-batches of fn(inputs), a pytree; the inputs' leaves are [b, ...].

  Args:
    weights: [num], factors of the micro-batches, or None for 1. What has the factor 0 is left out,
      also where it is not finite.
  """

  def weighted(tree, weight):
    return jax.tree.map(lambda x: jnp.where(weight > 0, weight * x, jnp.zeros_like(x)), tree)

  if num == 1:
    return fn(inputs) if weights is None else weighted(fn(inputs), weights[0])
  inputs = split(inputs, num)
  shapes = jax.eval_shape(fn, jax.tree.map(lambda x: x[0], inputs))
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

  def body(total, step):
    part, weight = step
    result = fn(part) if weight is None else weighted(fn(part), weight)
    return jax.tree.map(jnp.add, total, result), None

  total, _ = jax.lax.scan(body, zeros, (inputs, weights))
  return jax.tree.map(lambda x: x / num, total)
