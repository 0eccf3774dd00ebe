"""CGS-GAN's parts: the code of points, their splitting, and the heads (Barthel et al., NeurIPS
2025, arXiv 2505.17590, Sec. 3 and App. A)."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.generators import cgsgan_hierarchy
from jax3dgan.nn import precision
from jax3dgan.nn.equalized import EqualizedDense
from jax3dgan.nn.siren_init import uniform_bound, uniform_fan_in

_ENTRIES = 512  # of a table of codes along an axis


class PointCode(nn.Module):
  """Half of the code of a point is sines of an affine map of its place (learned Fourier features:
  Anokhin et al., CVPR 2021, arXiv 2011.13775), half the sum of three tables' entries, one of each
  axis, over √3.

  The paper does not say where entries are, and how they begin: here on both ends of [−1, 1] and
  equally apart between them, from N(0, 1), which the √3 suggests.

  Parameters: `kernel` [3, c/2] and `bias` [c/2] of the waves, `tables` [3, 512, c/2].

  Attributes:
    features: length c of a code, even.
  """

  features: int

  @nn.compact
  def __call__(self, points):
    """Points [n, 3] in [−1, 1] → codes [n, features]."""
    half = self.features // 2
    kernel = self.param('kernel', uniform_bound(math.sqrt(9 / 3)), (3, half))
    bias = self.param('bias', uniform_fan_in(3), (half,))
    waves = jnp.sin(precision.rows_product(points, kernel) + bias)
    tables = self.param('tables', nn.initializers.normal(1), (3, _ENTRIES, half))
    place = (points.T + 1) * ((_ENTRIES - 1) / 2)  # [3, n]
    low = jnp.clip(jnp.floor(place), 0, _ENTRIES - 2)
    share = (place - low)[..., None]
    low = low.astype(jnp.int32)[..., None]
    below, above = (jnp.take_along_axis(tables, low + i, axis=1) for i in (0, 1))  # [3, n, c/2]
    of_axes = jnp.sum(below + share * (above - below), axis=0) * (1 / math.sqrt(3))
    return jnp.concatenate([waves, of_axes], axis=-1)


class Splitting(nn.Module):
  """Sub-pixel up-sampling of points: `points` gives each its r, beside `skip`, which all r share.

  Attributes:
    ratio: r.
    features: channels of the points.
    matmul_dtype: policy of `nn.precision`.
  """

  ratio: int
  features: int
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x):
    """[b, n, c] → [b, n·ratio, features]; the ratio points of one are consecutive."""
    b, n, _ = x.shape

    def dense(name, features, activation='linear'):
      return EqualizedDense(features, activation, matmul_dtype=self.matmul_dtype, name=name)(x)

    y = dense('points', self.ratio * self.features, 'lrelu')
    y = y.reshape(b, n, self.ratio, self.features) + dense('skip', self.features)[:, :, None]
    return (math.sqrt(0.5) * y).reshape(b, n * self.ratio, self.features)


_GAINS = cgsgan_hierarchy.Attributes(1.0, 0.1, 0.1, 1.0, 1.0)  # of weights at first
_BIASES = cgsgan_hierarchy.Attributes(0.0, -1.0, 0.0, 0.0, 0.0)


def _columns(values):
  """[14] of a number for each of the attributes."""
  sizes = cgsgan_hierarchy.SIZES
  return jnp.concatenate([jnp.full(n, x) for n, x in zip(sizes, values, strict=True)])


class Heads(nn.Module):
  """Linear layers of all attributes as one product, always in float32: positions need it.

  Parameters: `kernel` [c, 14] and `bias` [14]: position 3, scale 3, rotation 4, colour 3,
  opacity 1.
  """

  @nn.compact
  def __call__(self, x) -> cgsgan_hierarchy.Attributes:
    """[b, n, c] → attributes [b, n, ...] relative to the anchors'."""
    c = x.shape[-1]

    def init(key, shape):
      return _columns(_GAINS) * jax.random.normal(key, shape)

    kernel = self.param('kernel', init, (c, sum(cgsgan_hierarchy.SIZES)))
    bias = self.param('bias', lambda key, shape: _columns(_BIASES), kernel.shape[1:])
    y = precision.rows_product(x * (1 / math.sqrt(c)), kernel) + bias
    return cgsgan_hierarchy.split(y)
