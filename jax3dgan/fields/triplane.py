"""Tri-planes: a radiance field whose features are on three planes (EG3D, Chan et al., CVPR 2022,
arXiv 2112.07945, Sec. 4.2).

A point is projected onto the planes, each gives the features there by bilinear interpolation, and
a small network makes density and colour features of their mean. There is no view direction.
"""

import math

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.nn import precision
from jax3dgan.nn.cpu.planes import sum_on_planes
from jax3dgan.nn.cpu.softplus import softplus

# Which coordinates of a point (x, y, z) are a plane's column and row. 'official' is what the
# release does and every published checkpoint depends on: its second and third planes both have x
# and z. 'fixed' has a plane of y and z.
PLANE_AXES = {'official': ((0, 1), (0, 2), (2, 0)), 'fixed': ((0, 1), (0, 2), (2, 1))}


def pad_planes(planes):
  """[b, 3, h, w, c] with a border of zeros, [b, 3, h + 2, w + 2, c]: what is outside."""
  return jnp.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))


def sample_planes(padded, points, box: float, axes: str = 'official'):
  """The mean features of the three planes at points.

  Args:
    padded: [b, 3, h + 2, w + 2, c], or [1, ...] for all, see `pad_planes`.
    points: [b, n, 3].
    box: side of the cube that the planes span, world units.
    axes: of `PLANE_AXES`.

  Returns:
    [b, n, c]; bilinear between the pixels' centres, towards zero outside of them.
  """
  _, _, h, w, _ = padded.shape
  columns, rows = (list(of_planes) for of_planes in zip(*PLANE_AXES[axes], strict=True))
  scaled = points * (2 / box)
  # In pixels of the padded planes; what is further out is zero like the border.
  x, y = _pixels(scaled[..., columns], w), _pixels(scaled[..., rows], h)
  return sum_on_planes(padded, x, y) * (1 / 3)


def _pixels(x, size):
  """Coordinates in ±1 to positions in `size` pixels of which the outermost ones are the border."""
  return jnp.clip(((x + 1) * (size - 2) + 1) / 2, 0, size - 1)


@flax.struct.dataclass
class TriplaneField:
  """A field of planes and decoder weights: a pytree of arrays [b, ...] (or [1, ...], shared).

  Attributes:
    planes: [b, 3, h + 2, w + 2, c] padded.
    kernels, biases: the decoder's two layers, [1, c, hidden], [1, hidden, 1 + features], [1, ...].
    box, axes: see `sample_planes`.
    matmul_dtype: policy of `precision.einsum`.
  """

  planes: jax.Array
  kernels: tuple
  biases: tuple
  box: float = flax.struct.field(pytree_node=False, default=1.0)
  axes: str = flax.struct.field(pytree_node=False, default='official')
  matmul_dtype: str = flax.struct.field(pytree_node=False, default='float32')

  @property
  def width(self) -> int:
    """Features of a point that are in memory: those of the planes, and the hidden ones.

    The twelve corners do not: they are fused with their sum.
    """
    return self.planes.shape[-1] + self.kernels[0].shape[-1]

  def __call__(self, points, directions=None):
    """Raw density [b, r, s] and colour features [b, r, s, f] in about [0, 1] at points
    [b, r, s, 3]."""
    del directions
    b, r, s, _ = points.shape
    features = sample_planes(self.planes, points.reshape(b, r * s, 3), self.box, self.axes)
    density, colour = self.decode(features)
    return density.reshape(b, r, s), colour.reshape(b, r, s, -1)

  def decode(self, features):
    """[b, n, c] → raw density [b, n] and colour features [b, n, f]."""
    # One product for the whole batch: the weights are shared.
    x = softplus(self._dense(features, 0))
    x = self._dense(x, 1)
    # A little more than a sigmoid, so that black and white can be reached (the release's).
    return x[..., 0], jax.nn.sigmoid(x[..., 1:]) * (1 + 2 * 0.001) - 0.001

  def _dense(self, x, layer):
    kernel, bias = self.kernels[layer][0], self.biases[layer][0]
    return precision.rows_product(x, kernel, self.matmul_dtype) + bias


class TriplaneDecoder(nn.Module):
  """The decoder's parameters: `fc_{0,1}_{kernel,bias}`, with an equalised learning rate.

  Attributes:
    features: colour features of a point.
    hidden: width of the hidden layer.
    lr_multiplier: see `nn.equalized`.
  """

  features: int = 32
  hidden: int = 64
  lr_multiplier: float = 1.0

  @nn.compact
  def __call__(self, in_features: int) -> tuple[tuple, tuple]:
    """(kernels, biases) of a `TriplaneField`, scaled."""
    sizes, m = (in_features, self.hidden, 1 + self.features), self.lr_multiplier
    kernels, biases = [], []
    for i, (fan_in, fan_out) in enumerate(zip(sizes, sizes[1:], strict=False)):
      kernel = self.param(f'fc_{i}_kernel', nn.initializers.normal(1 / m), (fan_in, fan_out))
      bias = self.param(f'fc_{i}_bias', nn.initializers.zeros, (fan_out,))
      kernels.append(kernel[None] * (m / math.sqrt(fan_in)))
      biases.append(bias[None] * m)
    return tuple(kernels), tuple(biases)
