"""Modulated 1x1 convolutions as products of matrices (StyleGAN2, Karras et al. 2020, Sec. 2.2).

A 1x1 kernel is a matrix [c, f]. Each example's own is made once, with its style and its norm in it,
and applied to however many rows there are, pixels or samples along rays: a product for each
example, without a pass over the rows for the style and another for the norm. (Larger kernels would
make a grouped convolution instead, see `modulated_conv`.)
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.nn import precision
from jax3dgan.nn.equalized import EqualizedDense

_EPSILON = 1e-8


def modulated_kernel(kernel, style, demodulate: bool = True):
  """Kernels [b, c, f] of each example: [c, f] with its input channels scaled by a style [b, c].

  Args:
    demodulate: scales output channels to unit norm; otherwise 1/√c, the equalised learning rate.
  """
  if not demodulate:
    return kernel * (style * (1 / math.sqrt(kernel.shape[0])))[:, :, None]
  kernel = kernel * style[:, :, None]
  return kernel * jax.lax.rsqrt(jnp.sum(jnp.square(kernel), axis=1, keepdims=True) + _EPSILON)


def product(x, kernel, policy: str = 'float32'):
  """[b, ..., c] times [b, c, f], or [1, c, f] for all → [b, ..., f], under a policy of
  `nn.precision`."""
  if kernel.shape[0] == 1:
    return precision.rows_product(x, kernel[0], policy)
  rows = x.reshape(x.shape[0], -1, x.shape[-1])
  policy = precision.of_weights(policy, *kernel.shape[1:])
  return precision.einsum('bnc,bcf->bnf', rows, kernel, policy).reshape(*x.shape[:-1], -1)


class ModulatedDense(nn.Module):
  """The kernels and the bias of a modulated layer.

  Parameters: `affine` (`EqualizedDense`, bias 1 at first), `kernel` [c, features] of N(0, 1),
  `bias` [features].

  Attributes:
    features: f, width.
    demodulate: see `modulated_kernel`.
    bias_init: the bias at first.
  """

  features: int
  demodulate: bool = True
  bias_init: float = 0.0

  @nn.compact
  def __call__(self, in_features: int, w):
    """Style w [b, w_dim] → kernels [b, in_features, features] and bias [1, features]."""
    style = EqualizedDense(in_features, bias_init=1.0, name='affine')(w)
    kernel = self.param('kernel', nn.initializers.normal(1), (in_features, self.features))
    bias = self.param('bias', nn.initializers.constant(self.bias_init), (self.features,))
    return modulated_kernel(kernel, style, self.demodulate), bias[None]


class Linear(nn.Module):
  """A layer that all examples share: `kernel` [c, features], `bias` [features], 0 at first.

  Attributes:
    features: width.
    equalized: whether the kernel is of N(0, 1) and scaled by 1/√c; otherwise it is as it is, of
      N(0, 2/c).
  """

  features: int
  equalized: bool = False

  @nn.compact
  def __call__(self, in_features: int):
    """Kernel [1, in_features, features] and bias [1, features]."""
    init = nn.initializers.normal(1) if self.equalized else nn.initializers.he_normal()
    kernel = self.param('kernel', init, (in_features, self.features))
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    return kernel[None] * (1 / math.sqrt(in_features) if self.equalized else 1.0), bias[None]
