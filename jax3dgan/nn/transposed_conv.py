"""Transposed convolutions of images and voxels whose result has the stride times their size, as
TensorFlow's 'SAME' has it: the gradient of a strided convolution in its input.

  y[s·i + t − p] += x[i]·w[t],  t = 0 … k − 1,  p = ⌊(k − s)/2⌋, cut to s·n places an axis.
"""

import flax.linen as nn
import jax.numpy as jnp

from jax3dgan.nn import backend, precision, rounded_conv
from jax3dgan.nn.cpu import convolution

FORMS = ('lax', 'patches', 'slices')


def choose_implementation(num_axes: int, stride: int) -> str:
  """One of `FORMS`: the fastest one on the platform of this trace.

  On a CPU XLA has no kernels for three axes (value and gradients of 16 examples of 8³ to 16³, 64 to
  32 channels: 1,630 ms, as 'patches' 79; 16³, stride 1, 32 channels: 398 and 674, as 'slices' 185),
  nor for the gradients of two (256 to 64 channels, 16² to 32²: 1,132 and 42).
  """
  if not backend.cpu_forms():
    return 'lax'
  return 'slices' if num_axes == 3 and stride == 1 else 'patches'


def conv_transpose(x, kernel, stride: int, matmul_dtype='float32', implementation=None):
  """[b, n, n, c] → [b, s·n, s·n, f], or [b, n, n, n, c] → [b, s·n, s·n, s·n, f].

  Args:
    x: images or voxels.
    kernel: w [k, k, c, f], or [k, k, k, c, f]; k is the stride s or more.
    stride: s.
    matmul_dtype: policy of `nn.precision`.
    implementation: one of `FORMS`, instead of the choice by platform.
  """
  num_axes, k = kernel.ndim - 2, kernel.shape[0]
  implementation = implementation or choose_implementation(num_axes, stride)
  before = (k - stride) // 2
  if implementation == 'slices':
    return _by_slices(x, kernel, before, matmul_dtype)
  flipped = jnp.flip(kernel, range(num_axes))
  if implementation == 'patches':
    y = convolution.patches_conv_transpose(x, flipped, stride, matmul_dtype)
    for axis in range(1, num_axes + 1):
      size = stride * x.shape[axis]
      y = convolution.pad_axis(y, axis, -before, size + before - y.shape[axis])
    return y
  return dilated_conv(x, flipped, stride, (k - 1 - before, stride - 1 + before), matmul_dtype)


def dilated_conv(x, kernel, dilation: int, padding: convolution.Padding, policy: str):
  """`convolution.reference_conv` of images or voxels with `dilation` − 1 zeros between two pixels,
  under a policy of `nn.precision`.

  XLA multiplies no zeros, neither here nor in the gradients: with the zeros inserted by a `pad` it
  folds that into the convolution, but not into the gradients, which are then `dilation`² times as
  many products.
  """
  rule = precision.get(policy)
  if rule.inputs is not None:
    return rounded_conv.conv(x, kernel, 1, padding, policy, dilation)
  return convolution.reference_conv(x, kernel, 1, padding, dilation, precision=rule.precision)


def _by_slices(x, kernel, before: int, policy: str):
  """`conv_transpose` of voxels with stride 1 and an odd k: one convolution of all slices as images
  gives the shares of each slice's k neighbours, and shifted sums collect them."""
  b, depth, h, w, c = x.shape
  k, f = kernel.shape[0], kernel.shape[-1]
  of_slices = jnp.moveaxis(kernel[:, ::-1, ::-1], 0, 3).reshape(k, k, c, k * f)
  images = x.reshape(b * depth, h, w, c)
  if precision.get(policy).inputs is None:
    shares = convolution.canonical_conv(images, of_slices, before)
  else:
    shares = rounded_conv.conv(images, of_slices, 1, before, policy)
  y = convolution.collect(shares.reshape(b, depth, h, w, k, f), 1, 4, 1)
  return convolution.pad_axis(y, 1, -before, depth + before - y.shape[1])


class ConvTranspose(nn.Module):
  """A layer: parameters `kernel` [k, ..., c, features] and `bias` [features].

  Attributes:
    features: channels of the result.
    kernel_size, stride: k and s.
    kernel_init: of the kernel.
    matmul_dtype: policy of `nn.precision`.
  """

  features: int
  kernel_size: int
  stride: int
  kernel_init: nn.initializers.Initializer = nn.initializers.normal(0.02)
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x):
    """See `conv_transpose`."""
    sizes = (self.kernel_size,) * (x.ndim - 2)
    kernel = self.param('kernel', self.kernel_init, (*sizes, x.shape[-1], self.features))
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    return conv_transpose(x, kernel, self.stride, self.matmul_dtype) + bias
