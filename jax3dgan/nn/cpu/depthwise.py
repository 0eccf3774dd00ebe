"""Depthwise convolutions as sums of shifted products, with the gradients written out.

XLA's CPU back end runs a convolution with a group for each channel, and its gradients, as plain
loops. Shifted products of whole images are fused to one pass. Of their sums over pixels, which the
kernel's gradient is, XLA makes a loop for each channel that jumps through memory; here up to
`_TERMS` parts of the batch are added term by term first, which is again one pass, and a product
with ones adds up the rest. For 16 images of 64², 32 channels, on one core: 1.4 ms instead of 42,
the kernel's gradient 4 ms instead of 44.

Images are [b, h, w, c], kernels [k, k, c].
"""

import itertools

import jax
import jax.numpy as jnp

from jax3dgan.nn import precision
from jax3dgan.nn.cpu.convolution import reference_conv
from jax3dgan.nn.primitives import bilinear

# Parts that are added in one expression: as many as the batch has, within what compiles fast.
_TERMS = 16


def reference_depthwise(x, kernel, padding: int = 0):
  """XLA's own, left to autodiff."""
  return reference_conv(
    x,
    kernel[:, :, None],
    1,
    padding,
    feature_group_count=x.shape[-1],
    precision=jax.lax.Precision.HIGHEST,
  )


def _padded(x, padding):
  return jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def _taps(k):
  return itertools.product(range(k), range(k))


def _shifted(x, kernel, *, padding):
  k, x = kernel.shape[0], _padded(x, padding)
  h, w = (size - k + 1 for size in x.shape[1:3])
  products = (kernel[i, j] * x[:, i : i + h, j : j + w] for i, j in _taps(k))
  return sum(products, next(products))


def _transposed(g, x, kernel, *, padding):
  """The cotangent of the input."""
  del x
  return _depthwise(g, kernel[::-1, ::-1], padding=kernel.shape[0] - 1 - padding)


def _correlated(x, g, *, padding):
  """[b, h, w, c] and the cotangent [b, h', w', c] → [k, k, c]."""
  b, h, w, c = g.shape
  k, x = x.shape[1] + 2 * padding - h + 1, _padded(x, padding)
  parts = max(n for n in range(1, min(b, _TERMS) + 1) if b % n == 0)
  x, g = (a.reshape(parts, b // parts, *a.shape[1:]) for a in (x, g))

  def summed(i, j):
    products = (g[n] * x[n, :, i : i + h, j : j + w] for n in range(parts))
    return sum(products, next(products))

  sums = jnp.stack([summed(i, j) for i, j in _taps(k)]).reshape(k * k, -1, c)
  return precision.einsum('n,tnc->tc', jnp.ones(sums.shape[1], x.dtype), sums).reshape(k, k, c)


_depthwise = bilinear(
  'depthwise',
  _shifted,
  _transposed,
  lambda g, x, kernel, *, padding: _kernel_gradient(x, g, padding=padding),
)
_kernel_gradient = bilinear(
  'depthwise_kernel_gradient',
  _correlated,
  lambda kernel, x, g, *, padding: _transposed(g, x, kernel, padding=padding),
  lambda kernel, x, g, *, padding: _depthwise(x, kernel, padding=padding),
)


def shifted_depthwise(x, kernel, padding: int = 0):
  """`reference_depthwise` of a square kernel, in full precision."""
  return _depthwise(x, kernel, padding=padding)
