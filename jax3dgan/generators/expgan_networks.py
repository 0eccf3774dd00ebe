"""Exp-GAN's networks behind the mapping and in front of the rendering (ACCV 2022): the texture of
the face model's surface, and the up-sampler."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.nn import resample
from jax3dgan.nn.conv import Conv, torch_uniform
from jax3dgan.nn.cpu.planes import sum_on_planes
from jax3dgan.nn.equalized import EqualizedDense
from jax3dgan.nn.modulated_conv import SynthesisLayer
from jax3dgan.nn.stylegan2 import SynthesisBlock

_POSE_LR = 0.01


class TextureHead(nn.Module):
  """A plane of features and a camera to the texture: features and an alpha.

  Parameters: `pose_0`, `pose_1` (`EqualizedDense`), whose result is added to the plane; `conv`.

  Attributes:
    features: of the texture, beside alpha.
    hidden: width of the camera's network.
    matmul_dtype: policy of `nn.precision` of the convolution.
  """

  features: int = 32
  hidden: int = 32
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, plane, cam2world):
    """plane [b, h, h, c] and [b, 3, 4] → texture [b, h, h, features + 1], the last raw alpha."""
    code = cam2world.reshape(len(cam2world), 12)
    code = EqualizedDense(self.hidden, 'lrelu', lr_multiplier=_POSE_LR, name='pose_0')(code)
    code = EqualizedDense(plane.shape[-1], lr_multiplier=_POSE_LR, name='pose_1')(code)
    x = jax.nn.leaky_relu(plane + code[:, None, None], 0.2)
    own = dict(padding=1, matmul_dtype=self.matmul_dtype)
    return Conv(self.features + 1, 3, name='conv', **own)(x)


class PlanesDecoder(nn.Module):
  """The weights of `expgan_rendering.Field`: two dense layers, `fc_{0,1}_{kernel,bias}`.

  Attributes:
    features: of a point, beside its density.
    hidden: width of the layer between.
  """

  features: int = 32
  hidden: int = 64

  @nn.compact
  def __call__(self, in_features: int) -> tuple[tuple, tuple]:
    """(kernels, biases), [1, ...] each."""
    sizes, kernels, biases = (in_features, self.hidden, self.features + 1), [], []
    for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
      init = torch_uniform(fan_in)
      kernels.append(self.param(f'fc_{i}_kernel', init, (fan_in, fan_out))[None])
      biases.append(self.param(f'fc_{i}_bias', init, (fan_out,))[None])
    return tuple(kernels), tuple(biases)


def sample_texture(texture, uv, mask, size: int, seen=None):
  """What a surface shows in each ray: features [b, v, v, c] and alpha [b, v, v], 0 beside it.

  Args:
    texture: [b, h, h, c + 1] of `TextureHead`, its outermost pixels' centres at ±1.
    uv: [b, s, s, 2] places on it in [−1, 1] (x right, y down), of the output's pixels.
    mask: bool [b, v, v], where rays meet the surface.
    size: v, rays on a side; a divisor of s.
    seen: bool [b, s, s], of which of these pixels the means are that make one of `size`; None for
      all, as in the release, where those beside the surface show the texture's middle.
  """
  b, h, w, _ = texture.shape
  s = uv.shape[1]
  # A rounding of barycentric coordinates is no place outside.
  x, y = (
    jnp.clip((uv[..., i] + 1) * (0.5 * (n - 1)), 0, n - 1).reshape(b, s * s, 1)
    for i, n in ((0, w), (1, h))
  )
  values = sum_on_planes(texture[:, None], x, y).reshape(b, s, s, -1)
  values = jnp.concatenate([values[..., :-1], jax.nn.sigmoid(values[..., -1:])], axis=-1)
  if seen is None:
    values = resample.resize_bilinear(values, size, antialias=False)
  else:
    share = resample.resize_bilinear(seen[..., None].astype(values.dtype), size, antialias=False)
    values = resample.resize_bilinear(jnp.where(seen[..., None], values, 0), size, antialias=False)
    mask = mask & (share[..., 0] > 0)
    values = values / jnp.where(share > 0, share, 1)
  values = jnp.where(mask[..., None], values, 0)
  return values[..., :-1], values[..., -1]


class Upsampler(nn.Module):
  """A map of features to an image: `conv1` at its size, then blocks `b{size}` of twice, four times,
  ... its size, whose to-RGB results add up; there is none at its own size.

  Attributes:
    channels: features at the size of the input, twice it, ...
    matmul_dtype: see `SynthesisLayer`.
  """

  channels: tuple[int, ...] = (512, 256, 128)
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, w):
    """Features x [b, v, v, c] and style w [b, w_dim] → images [b, r, r, 3] in (−1, 1)."""
    size = x.shape[1]
    shared = dict(use_noise=False, matmul_dtype=self.matmul_dtype)
    x, image = SynthesisLayer(self.channels[0], name='conv1', **shared)(x, w), None
    styles = jnp.broadcast_to(w[:, None], (len(w), 3, w.shape[-1]))
    for i, features in enumerate(self.channels[1:], 1):
      block = SynthesisBlock(features, name=f'b{size << i}', **shared)
      x, image = block(x, image, styles, (None, None))
    return jnp.tanh(image)
