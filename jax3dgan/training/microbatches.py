"""Gradients of a batch that does not fit into memory: a scan over equal parts of it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def split(tree, num: int):
  """Leaves [b, ...] → [num, b / num, ...]."""
  return jax.tree.map(lambda x: x.reshape(num, x.shape[0] // num, *x.shape[1:]), tree)


def mean(fn: Callable, inputs, num: int):
  """The mean over `num` micro-batches of fn(inputs), a pytree; the inputs' leaves are [b, ...]."""
  if num == 1:
    return fn(inputs)
  inputs = split(inputs, num)
  shapes = jax.eval_shape(fn, jax.tree.map(lambda x: x[0], inputs))
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

  def body(total, part):
    return jax.tree.map(jnp.add, total, fn(part)), None

  total, _ = jax.lax.scan(body, zeros, inputs)
  return jax.tree.map(lambda x: x / num, total)
