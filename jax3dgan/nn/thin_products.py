"""Products that sum over a handful of numbers: a field's first layer, which takes points.

A TPU's unit for products of matrices sums over 128 numbers at a time: summing over 3 costs as much
as over 128, and positions that are multiplied by frequencies of 30 and more need full precision,
six passes of bfloat16. As multiply-adds the products have float32's precision anywhere, and XLA
computes them together with the sine that follows.
"""

from jax3dgan.nn import backend, precision

_MOST = 4  # numbers that are summed over


def reference_product(weights, rows):
  """weights [b, h, k] · rows [b, n, k] → [b, h, n] as a product of matrices."""
  return precision.einsum('bhk,bnk->bhn', weights, rows)


def multiply_adds(weights, rows):
  """`reference_product` as k multiply-adds."""
  return sum(weights[:, :, i, None] * rows[:, None, :, i] for i in range(weights.shape[-1]))


def product(weights, rows):
  """weights [b, h, k] · rows [b, n, k] → [b, h, n] in full precision."""
  if weights.shape[-1] <= _MOST and backend.form('thin_product') == 'multiply_adds':
    return multiply_adds(weights, rows)
  return reference_product(weights, rows)
