"""A decoder of feature maps: StyleGAN2's blocks from a rendered map upwards (StyleSDF, Or-El et
al., CVPR 2022, arXiv 2112.11427, Sec. 3.3)."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from jax3dgan.nn.modulated_conv import SynthesisLayer, ToRGB
from jax3dgan.nn.stylegan2 import SynthesisBlock


class FirstBlock(nn.Module):
  """`conv1` and `torgb` at the size of the features.

  Attributes:
    features: channels; use_noise, matmul_dtype, border: see `SynthesisLayer`.
  """

  features: int
  use_noise: bool = True
  matmul_dtype: str = 'float32'
  border: str = 'zeros'

  @nn.compact
  def __call__(self, x, w, noise):
    """x [b, h, w, c], w [b, 2, w_dim], noise [b or 1, h, w, 1] or None → x and an image."""
    conv = SynthesisLayer(
      self.features,
      use_noise=self.use_noise,
      matmul_dtype=self.matmul_dtype,
      border=self.border,
      name='conv1',
    )
    x = conv(x, w[:, 0], noise)
    return x, ToRGB(3, matmul_dtype=self.matmul_dtype, name='torgb')(x, w[:, 1])


class StyleDecoder(nn.Module):
  """Features and styles to an image: block `b{size}` of each size, whose to-RGB results add up.

  Attributes:
    channels: features at the size of the input, twice it, four times it, ...
    size: pixels on a side of the input.
    use_noise, matmul_dtype, border: see `SynthesisLayer`.
  """

  channels: tuple[int, ...]
  size: int
  use_noise: bool = True
  matmul_dtype: str = 'float32'
  border: str = 'zeros'

  @property
  def num_ws(self) -> int:
    """How many styles: two of the first size, two more of each other one, whose first convolution
    shares that of the to-RGB before."""
    return 2 * len(self.channels)

  @property
  def noise_sizes(self) -> tuple[int, ...]:
    """Pixels on a side of each layer's noise."""
    return (self.size, *(self.size << i for i in range(1, len(self.channels)) for _ in range(2)))

  def draw_noise(self, keys) -> list[jax.Array]:
    """Noise of every layer, [b, h, w, 1] each, from per-example keys [b]."""
    sizes = [size**2 for size in self.noise_sizes]
    flat = jax.vmap(lambda key: jax.random.normal(key, (sum(sizes),)))(keys)
    return self.split_noise(flat)

  def split_noise(self, flat) -> list[jax.Array]:
    """Noise of every layer, [b, h, w, 1] each, of numbers [b, n] for all."""
    noise, start = [], 0
    for size in self.noise_sizes:
      noise.append(flat[:, start : start + size**2].reshape(-1, size, size, 1))
      start += size**2
    return noise

  @nn.compact
  def __call__(self, x, w, noise: Sequence | None = None):
    """Features x [b, size, size, c] and styles w [b, num_ws, w_dim] → images [b, r, r, 3].

    Args:
      noise: one [b or 1, h, w, 1] for each of `noise_sizes`; None for none.
    """
    noise = [None] * len(self.noise_sizes) if noise is None else noise
    shared = dict(use_noise=self.use_noise, matmul_dtype=self.matmul_dtype, border=self.border)
    first = FirstBlock(self.channels[0], name=f'b{self.size}', **shared)
    x, image = first(x, w[:, :2], noise[0])
    for i, features in enumerate(self.channels[1:]):
      block = SynthesisBlock(features, name=f'b{self.size << (i + 1)}', **shared)
      x, image = block(x, image, w[:, 2 * i + 1 : 2 * i + 4], noise[2 * i + 1 : 2 * i + 3])
    return image
