"""GIRAFFE's neural renderer (Niemeyer & Geiger, CVPR 2021, arXiv 2011.12100, Sec. 3.3 and Fig. 3):
features of a few pixels to an image, by 3x3 convolutions that each follow a doubling of the size.

Each size adds its share to the colours, which are enlarged by interpolation and a blur. Images are
[b, h, w, c].
"""

import functools

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.nn import precision
from jax3dgan.nn.conv import conv2d, torch_uniform

UPSAMPLING = ('nearest', 'bilinear')


def interpolating(size: int) -> np.ndarray:
  """[2·size, size]: linear interpolation between pixel centres."""
  places = (np.arange(2 * size) + 0.5) / 2 - 0.5
  low = np.floor(places).astype(int)
  matrix = np.zeros((2 * size, size))
  for i, (j, share) in enumerate(zip(low, places - low, strict=True)):
    matrix[i, max(j, 0)] += 1 - share
    matrix[i, min(j + 1, size - 1)] += share
  return matrix


def blurred(matrix: np.ndarray) -> np.ndarray:
  """Each row of a matrix and its neighbours, [1, 2, 1]/4; beyond the border they are mirrored."""
  padded = np.pad(matrix, ((1, 1), (0, 0)), mode='reflect')
  return 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]


@functools.cache
def _enlarging(size: int, dtype: str) -> np.ndarray:
  """[2·size, size]: both, one after the other."""
  return blurred(interpolating(size)).astype(dtype)


def enlarge(x, mode: str):
  """[b, h, w, c] → [b, 2h, 2w, c].

  Args:
    mode: 'nearest', or 'bilinear': with a blur.
  """
  if mode == 'nearest':
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
  rows, columns = (_enlarging(n, x.dtype.name) for n in x.shape[1:3])
  y = precision.einsum('ih,bhwc->biwc', rows, x)
  return precision.einsum('jw,biwc->bijc', columns, y)


def _normalise(x, epsilon: float = 1e-5):
  """Each feature of each image to mean 0 and variance 1 over its pixels (instance norm)."""
  x = x - jnp.mean(x, axis=(1, 2), keepdims=True)
  return x / jnp.sqrt(jnp.mean(jnp.square(x), axis=(1, 2), keepdims=True) + epsilon)


class _Layer(nn.Module):
  """A convolution that keeps the size, of images or of walls."""

  features: int
  size: int
  matmul_dtype: str

  @nn.compact
  def __call__(self, x, wall: bool):
    init = torch_uniform(self.size**2 * x.shape[-1])
    kernel = self.param('kernel', init, (self.size, self.size, x.shape[-1], self.features))
    bias = self.param('bias', init, (self.features,))
    if wall:
      return precision.rows_product(x, kernel.sum((0, 1)), self.matmul_dtype) + bias
    return conv2d(x, kernel, bias, padding=self.size // 2, matmul_dtype=self.matmul_dtype)


class NeuralRenderer(nn.Module):
  """The parameters: `conv_in` where there is a `width`, `conv_{i}` of each size, `rgb_{i}` of the
  features and of each size (`rgb` alone without skips); each `kernel` and `bias`.

  Attributes:
    channels: features of each size, each twice as large as the one before.
    width: 1x1 convolution to so many features first; 0 for none.
    skips: whether each size adds to the colours; otherwise a 1x1 convolution makes them at last.
    features, colours: how each is enlarged, see `UPSAMPLING`.
    norm: whether features are normalised before their activation.
    matmul_dtype: policy of `nn.precision`.
  """

  channels: tuple[int, ...] = (64, 32)
  width: int = 0
  skips: bool = True
  features: str = 'nearest'
  colours: str = 'bilinear'
  norm: bool = False
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x, wall: bool = False):
    """Features [b, h, w, c] → colours [b, h·2^n, w·2^n, 3], before a sigmoid.

    Args:
      wall: instead [..., c] → [..., 3]: the colour, far from a border, of an image with the same
        features everywhere; without the norm, which would leave nothing of them.
    """
    for mode in (self.features, self.colours):
      if mode not in UPSAMPLING:
        raise UserError(f"No upsampling is called '{mode}'. Choose one of {', '.join(UPSAMPLING)}.")

    def conv(x, name, features, size=3):
      return _Layer(features, size, self.matmul_dtype, name=name)(x, wall)

    def larger(x, mode):
      return x if wall else enlarge(x, mode)

    rgb = larger(conv(x, 'rgb_0', 3), self.colours) if self.skips else 0.0
    if self.width:
      x = conv(x, 'conv_in', self.width, 1)
    for i, features in enumerate(self.channels):
      x = conv(larger(x, self.features), f'conv_{i}', features)
      x = nn.leaky_relu(_normalise(x) if self.norm and not wall else x, 0.2)
      if self.skips:
        rgb = rgb + conv(x, f'rgb_{i + 1}', 3)
        rgb = larger(rgb, self.colours) if i + 1 < len(self.channels) else rgb
    return rgb if self.skips else conv(x, 'rgb', 3, 1)
