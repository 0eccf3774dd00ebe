"""Tri-planes: a radiance field whose features lie on three planes (EG3D, Chan et al., CVPR 2022,
arXiv 2112.07945, Sec. 4.2).

A point is projected onto the planes, each gives the features there by bilinear interpolation, and
a small network makes density and colour features of their mean. There is no view direction.
"""

import functools
import math

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.nn import precision
from jax3dgan.nn.softplus import softplus

# Which coordinates of a point (x, y, z) are a plane's column and row. 'official' is what the
# release does and every published checkpoint depends on: its second and third planes both hold x
# and z. 'fixed' has a plane of y and z.
PLANE_AXES = {'official': ((0, 1), (0, 2), (2, 0)), 'fixed': ((0, 1), (0, 2), (2, 1))}


def pad_planes(planes):
  """[b, 3, h, w, c] with a border of zeros, [b, 3, h + 2, w + 2, c]: what lies outside."""
  return jnp.pad(planes, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
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
  _, _, h, w, c = padded.shape
  first, fx, fy = _corners(points, h, w, box, axes)
  flat = padded.reshape(-1, 3 * h * w, c)
  if flat.shape[0] == 1:  # one scene, seen by all
    flat, gather = flat[0], lambda flat, i: flat[i]
  else:
    gather = jax.vmap(lambda plane, i: plane[i])
  # Twelve gathers that XLA fuses with their sum, not one of twelve corners: 50 times as fast on a
  # CPU, and nothing twelve times as large as the result lies in memory.
  total = 0.0
  for offset, weight in _weights(fx, fy, w):
    for plane in range(3):
      total += weight[..., plane, None] * gather(flat, first[..., plane] + offset)
  return total * (1 / 3)


def _corners(points, h, w, box, axes):
  """Of the pixel up left of points, plane by plane: its place in 3·h·w, [b, n, 3], and how far to
  the right and down of it the points are."""
  columns, rows = zip(*PLANE_AXES[axes], strict=True)
  scaled = points * (2 / box)
  # In pixels of the padded planes; what lies further out is as zero as the border.
  x, y = _pixels(scaled[..., columns], w), _pixels(scaled[..., rows], h)
  x0, y0 = (jnp.minimum(jnp.floor(v), size - 2) for v, size in ((x, w), (y, h)))
  first = (jnp.arange(3) * h + y0.astype(jnp.int32)) * w + x0.astype(jnp.int32)
  return first, x - x0, y - y0


def _weights(fx, fy, w):
  """(offset, weight [b, n, 3]) of the four pixels around points."""
  return (
    (0, (1 - fy) * (1 - fx)),
    (1, (1 - fy) * fx),
    (w, fy * (1 - fx)),
    (w + 1, fy * fx),
  )


def _sample_forward(padded, points, box, axes):
  return sample_planes(padded, points, box, axes), (padded, points)


def _sample_backward(box, axes, saved, g):
  """Left to autodiff each corner is scattered on its own; two neighbours at once are faster, and
  the points' gradient, which few want, is computed apart."""
  padded, points = saved
  b, _, h, w, c = padded.shape
  first, fx, fy = _corners(points, h, w, box, axes)
  weights = _products_of_weights(fx, fy) * (1 / 3)
  updates = weights[..., None] * g[:, :, None, None, None]  # [b, n, 3, 2, 2, c]
  index = jnp.stack([first, first + w], axis=-1)  # both rows
  index = index.reshape(b if b > 1 else 1, -1)
  updates = updates.reshape(*index.shape, 2 * c)
  numbers = jax.lax.ScatterDimensionNumbers(
    update_window_dims=(1,), inserted_window_dims=(), scatter_dims_to_operand_dims=(0,)
  )

  def collect(index, updates):
    zeros = jnp.zeros(3 * h * w * c, g.dtype)
    return jax.lax.scatter_add(zeros, c * index[:, None], updates, numbers)

  of_planes = jax.vmap(collect)(index, updates).reshape(padded.shape)
  return of_planes, _points_gradient(padded, points, box, axes, g)


def _products_of_weights(fx, fy):
  """The weights of `_weights`, [b, n, 3, row, column].

  As a product with a constant matrix, which XLA does not compute anew for every feature, as it does
  what it fuses: the updates of a scatter in a third of the time on a CPU.
  """
  terms = jnp.stack([jnp.ones_like(fx), fx, fy, fx * fy], axis=-1)
  # (1 − y)(1 − x), (1 − y) x, y (1 − x), y x as sums of the terms.
  sums = np.array([[1, 0, 0, 0], [-1, 1, 0, 0], [-1, 0, 1, 0], [1, -1, -1, 1]], fx.dtype)
  return precision.einsum('bnpi,ij->bnpj', terms, sums).reshape(*fx.shape, 2, 2)


def _points_gradient(padded, points, box, axes, g):
  """Σ_c g · ∂features/∂point, [b, n, 3]."""
  _, _, h, w, c = padded.shape
  columns, rows = zip(*PLANE_AXES[axes], strict=True)
  first, fx, fy = _corners(points, h, w, box, axes)
  flat = padded.reshape(-1, 3 * h * w, c)
  flat = jnp.broadcast_to(flat, (points.shape[0], *flat.shape[1:]))
  gather = jax.vmap(lambda plane, i: plane[i])
  a, b, d, e = (
    jnp.stack(
      [jnp.sum(gather(flat, first[..., p] + offset) * g, axis=-1) for p in range(3)], axis=-1
    )
    for offset in (0, 1, w, w + 1)
  )  # [b, n, 3], the four pixels of each plane
  along_x = (1 - fy) * (b - a) + fy * (e - d)
  along_y = (1 - fx) * (d - a) + fx * (e - b)
  scaled = points * (2 / box)
  # Beyond the border nothing changes.
  along_x *= jnp.abs((scaled[..., columns] + 1) * (w - 2) + 1 - (w - 1)) < w - 1
  along_y *= jnp.abs((scaled[..., rows] + 1) * (h - 2) + 1 - (h - 1)) < h - 1
  total = jnp.zeros_like(points)
  for plane in range(3):
    total = total.at[..., columns[plane]].add(along_x[..., plane] * ((w - 2) / box / 3))
    total = total.at[..., rows[plane]].add(along_y[..., plane] * ((h - 2) / box / 3))
  return total


sample_planes.defvjp(_sample_forward, _sample_backward)


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
    """Features of a point that lie in memory: those of the planes, and the hidden ones.

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
