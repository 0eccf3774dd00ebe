"""Modulated convolution (StyleGAN2, Karras et al. 2020, Sec. 2.2 and App. B).

Each example has its own kernel: the shared one with its input channels scaled by the example's
style and, demodulated, its output channels scaled to unit norm. Both are factors on channels, so
they are put on the input and on the result, and all examples share one convolution. (Kernels of
their own would make a grouped convolution, which is slow, and which XLA does not split over
devices.)
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.nn import precision
from jax3dgan.nn.equalized import EqualizedDense, activate
from jax3dgan.nn.resample import conv2d_resample, fir_filter
from jax3dgan.nn.separable_conv import SeparableModulatedConv

_EPSILON = 1e-8


def demodulation(kernel, style):
  """1/norm of each example's modulated kernels: [k, k, c, f], [b, c] → [b, f]."""
  power = jnp.sum(jnp.square(kernel), axis=(0, 1))  # [c, f]
  return jax.lax.rsqrt(precision.einsum('bc,cf->bf', jnp.square(style), power) + _EPSILON)


def modulated_conv2d(
  x,
  kernel,
  style,
  *,
  demodulate: bool = True,
  up: int = 1,
  down: int = 1,
  fir=None,
  padding: int | None = None,
  matmul_dtype: str = 'float32',
  border: str = 'zeros',
):
  """Correlates each image with the kernel that its style makes.

  Args:
    x: [b, h, w, c].
    kernel: [k, k, c, f].
    style: [b, c], factors on the input channels.
    demodulate: whether to divide by the norm of the modulated kernel.
    up, down, fir, padding, border: see `resample.conv2d_resample`.
    matmul_dtype: policy of `nn.precision`; the norms are computed in float32.

  Returns:
    [b, h·up/down, w·up/down, f] with the default padding.
  """
  convolve = functools.partial(
    conv2d_resample,
    fir=fir,
    up=up,
    down=down,
    padding=padding,
    matmul_dtype=matmul_dtype,
    border=border,
  )
  factors = demodulation(kernel, style) if demodulate else None
  if x.shape[0] == 1 and precision.get(matmul_dtype).inputs is None:
    # Then the kernel is all examples' own, and has fewer numbers than the images.
    kernel = kernel * style[0, :, None]
    return convolve(x, (kernel if factors is None else kernel * factors[0]).astype(x.dtype))
  y = convolve(x * style[:, None, None].astype(x.dtype), kernel)
  return y if factors is None else y * factors[:, None, None].astype(y.dtype)


class ModulatedConv(nn.Module):
  """A modulated convolution whose style is an affine map of w.

  Parameters: `affine` (`EqualizedDense`, bias 1 at first), `kernel` [k, k, c, features] of N(0, 1).
  Without demodulation the style is scaled by 1/√(k²c) instead, the equalised learning rate.
  """

  features: int
  kernel_size: int
  demodulate: bool = True
  up: int = 1
  fir: tuple[float, ...] = (1, 3, 3, 1)
  matmul_dtype: str = 'float32'
  border: str = 'zeros'

  @nn.compact
  def __call__(self, x, w):
    """[b, h, w, c] and [b, w_dim] → [b, h·up, w·up, features]."""
    k, c = self.kernel_size, x.shape[-1]
    style = EqualizedDense(c, bias_init=1.0, name='affine')(w)
    kernel = self.param('kernel', nn.initializers.normal(1), (k, k, c, self.features))
    if not self.demodulate:
      style = style * (1 / math.sqrt(k * k * c))
    return modulated_conv2d(
      x,
      kernel,
      style,
      demodulate=self.demodulate,
      up=self.up,
      fir=fir_filter(self.fir),
      matmul_dtype=self.matmul_dtype,
      border=self.border,
    )


class SynthesisLayer(nn.Module):
  """Modulated convolution, noise, bias, leaky ReLU.

  Parameters: `conv` (`ModulatedConv`, or `SeparableModulatedConv` with `separable`), `bias`
  [features], `noise_strength` (a scalar), all but the first 0 at first. `border`: of
  `resample.BORDERS`, what the kernel sees beyond the image.
  """

  features: int
  kernel_size: int = 3
  up: int = 1
  activation: str = 'lrelu'
  use_noise: bool = True
  clamp: float | None = None
  matmul_dtype: str = 'float32'
  border: str = 'zeros'
  separable: bool = False

  @nn.compact
  def __call__(self, x, w, noise=None, gain: float = 1.0):
    """[b, h, w, c] → [b, h·up, w·up, features].

    Args:
      w: [b, w_dim].
      noise: [b or 1, h·up, w·up, 1] normals; None for none.
      gain: factor on the result.
    """
    kind = SeparableModulatedConv if self.separable else ModulatedConv
    conv = kind(
      self.features,
      self.kernel_size,
      up=self.up,
      matmul_dtype=self.matmul_dtype,
      border=self.border,
      name='conv',
    )
    x = conv(x, w)
    if self.use_noise:
      strength = self.param('noise_strength', nn.initializers.zeros, ())
      if noise is not None:
        x = x + strength * noise
    x = x + self.param('bias', nn.initializers.zeros, (self.features,))
    return activate(x, self.activation, gain, None if self.clamp is None else self.clamp * gain)


class ToRGB(nn.Module):
  """1x1 modulated convolution without demodulation, and a bias: features to an image.

  Parameters: `conv` (`ModulatedConv`), `bias` [image_channels].
  """

  image_channels: int = 3
  clamp: float | None = None
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, w):
    """[b, h, w, c] and [b, w_dim] → [b, h, w, image_channels]."""
    conv = ModulatedConv(
      self.image_channels, 1, demodulate=False, matmul_dtype=self.matmul_dtype, name='conv'
    )
    x = conv(x, w) + self.param('bias', nn.initializers.zeros, (self.image_channels,))
    return activate(x, 'linear', clamp=self.clamp)
