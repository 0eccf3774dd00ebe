"""Depthwise separable convolutions for StyleGAN2's blocks: a filter of its own for each channel,
then a product that mixes channels (Howard et al. 2017, arXiv 1704.04861).

A layer from c to f channels has k²c + cf numbers instead of k²cf, and in the limit of many channels
a k²-th of the products. It is the dense layer with the kernel W_kij = D_ki P_ij of filters D and a
matrix P. The product is computed where there are fewer pixels: after the filters, also where the
size shrinks, and before them where it grows; the filters are then of the result, W_kij = D_kj P_ij.

Modulated and demodulated as *Efficient 3D Gaussian Head Avatars for Edge Devices* (Farooq et al.
2026) does it: the style scales the input, and result j is divided by
σ_j = sqrt(Σ_ki (s_i W_kij)² + ε), the norm of the kernel of both factors. (A norm of the
filters alone would cancel the style.) Not taken over: that paper's instance normalisation of the
inputs and weight normalisation of both factors, in whose place is the equalised learning rate.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.nn import backend, precision
from jax3dgan.nn.cpu.depthwise import reference_depthwise, shifted_depthwise
from jax3dgan.nn.equalized import EqualizedDense, activate
from jax3dgan.nn.resample import fir_filter, repeat_border, upfirdn

_EPSILON = 1e-8  # as of `modulated_conv`


def depthwise_conv2d(x, kernel, padding: int = 0):
  """Correlates each channel of [b, h, w, c], zero-padded, with its own filter of [k, k, c].

  In full precision under any policy: it is no product of matrices.
  """
  form = shifted_depthwise if backend.cpu_forms() else reference_depthwise
  return form(x, kernel, padding)


def separable_conv2d_resample(
  x,
  depthwise,
  pointwise,
  fir=None,
  *,
  up: int = 1,
  down: int = 1,
  matmul_dtype: str = 'float32',
  border: str = 'zeros',
):
  """`resample.conv2d_resample` with the kernel W of the module.

  Args:
    x: [b, h, w, c].
    depthwise: [k, k, c], or [k, k, f] with `up`; k is odd.
    pointwise: [c, f].
    fir, up, down, border: see `conv2d_resample`; its default padding.
    matmul_dtype: policy of `nn.precision`, of the product.

  Returns:
    [b, h·up/down, w·up/down, f].
  """
  if 1 not in (up, down):
    raise ValueError('separable_conv2d_resample either up-samples or down-samples')
  if border == 'repeat' and down > 1:
    raise ValueError('only what keeps or enlarges the size has its border repeated')
  fir = fir_filter() if fir is None else fir
  k, n = depthwise.shape[0], len(fir)
  if up > 1:
    x = precision.rows_product(x, pointwise, matmul_dtype)
    edges = k // 2 + (n + up - 1) // 2, k // 2 + (n - up) // 2
    if border == 'repeat':
      reach = -(-edges[0] // up)
      x, edges = repeat_border(x, reach), tuple(edge - reach * up for edge in edges)
    return depthwise_conv2d(upfirdn(x, fir, up=up, padding=edges, gain=up**2), depthwise)
  if down > 1:
    # Filters of either kind in any order give the same; with all pixels that they reach, at the
    # borders too.
    x = depthwise_conv2d(x, depthwise, k - 1)
    edges = k // 2 + (n - down + 1) // 2 - (k - 1), k // 2 + (n - down) // 2 - (k - 1)
    x = upfirdn(x, fir, down=down, padding=edges)
  elif border == 'repeat' and k > 1:
    x = depthwise_conv2d(repeat_border(x, k // 2), depthwise)
  else:
    x = depthwise_conv2d(x, depthwise, k // 2)
  return precision.rows_product(x, pointwise, matmul_dtype)


def separable_demodulation(depthwise, pointwise, style, up: int = 1):
  """1/σ of each example's modulated kernel, see the module: style [b, c] → [b, f]."""
  power = jnp.sum(jnp.square(depthwise), axis=(0, 1))  # [c], or [f] with `up`
  squares = jnp.square(style) if up > 1 else jnp.square(style) * power
  total = precision.einsum('bc,cf->bf', squares, jnp.square(pointwise))
  return jax.lax.rsqrt((total * power if up > 1 else total) + _EPSILON)


def separable_modulated_conv2d(
  x, depthwise, pointwise, style, *, demodulate: bool = True, up: int = 1, **options
):
  """`modulated_conv.modulated_conv2d` with the kernel W of the module.

  Args:
    x: [b, h, w, c].
    depthwise, pointwise, up, options: see `separable_conv2d_resample`.
    style: [b, c], factors on the input channels.
    demodulate: whether to divide by σ, see the module.

  Returns:
    [b, h·up/down, w·up/down, f].
  """
  x = x * style[:, None, None].astype(x.dtype)
  y = separable_conv2d_resample(x, depthwise, pointwise, up=up, **options)
  if demodulate:
    y = y * separable_demodulation(depthwise, pointwise, style, up)[:, None, None].astype(y.dtype)
  return y


def _parameters(module, kernel_size, channels, features, up):
  """Filters and product of N(0, 1)."""
  init, filtered = nn.initializers.normal(1), features if up > 1 else channels
  return (
    module.param('depthwise', init, (kernel_size, kernel_size, filtered)),
    module.param('pointwise', init, (channels, features)),
  )


class SeparableModulatedConv(nn.Module):
  """`modulated_conv.ModulatedConv`, separable and demodulated.

  Parameters: `affine` (`EqualizedDense`, bias 1 at first), `depthwise` [k, k, c] (with `up`,
  [k, k, features]) and `pointwise` [c, features] of N(0, 1).
  """

  features: int
  kernel_size: int
  up: int = 1
  fir: tuple[float, ...] = (1, 3, 3, 1)
  matmul_dtype: str = 'float32'
  border: str = 'zeros'

  @nn.compact
  def __call__(self, x, w):
    """[b, h, w, c] and [b, w_dim] → [b, h·up, w·up, features]."""
    c = x.shape[-1]
    style = EqualizedDense(c, bias_init=1.0, name='affine')(w)
    return separable_modulated_conv2d(
      x,
      *_parameters(self, self.kernel_size, c, self.features, self.up),
      style,
      up=self.up,
      fir=fir_filter(self.fir),
      matmul_dtype=self.matmul_dtype,
      border=self.border,
    )


class EqualizedSeparableConv(nn.Module):
  """`equalized.EqualizedConv`, separable: parameters `depthwise` [k, k, c], `pointwise`
  [c, features], scaled at run time by 1/k and 1/√c, and `bias` [features].

  Attributes:
    features, kernel_size, activation, down, fir, clamp, matmul_dtype: see `EqualizedConv`.
  """

  features: int
  kernel_size: int
  activation: str = 'linear'
  down: int = 1
  fir: tuple[float, ...] = (1, 3, 3, 1)
  clamp: float | None = None
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, gain: float = 1.0):
    """[b, h, w, c] → [b, h/down, w/down, features]; `gain` is a factor on the result."""
    k, c = self.kernel_size, x.shape[-1]
    depthwise, pointwise = _parameters(self, k, c, self.features, 1)
    y = separable_conv2d_resample(
      x,
      depthwise * (1 / k),
      pointwise * (1 / math.sqrt(c)),
      fir_filter(self.fir),
      down=self.down,
      matmul_dtype=self.matmul_dtype,
    )
    y = y + self.param('bias', nn.initializers.zeros, (self.features,))
    clamp = None if self.clamp is None else self.clamp * gain
    return activate(y, self.activation, gain, clamp)
