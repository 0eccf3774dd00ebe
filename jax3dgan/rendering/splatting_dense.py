"""Every pixel with every Gaussian: the plain form of splatting, which the tiled one is compared
with."""

import jax
import jax.numpy as jnp

from jax3dgan.nn import precision
from jax3dgan.rendering.splatting_projection import LARGEST_ALPHA, LEAST_ALPHA, STOP, Projected
from jax3dgan.rendering.splatting_projection import cuda_tiles as cuda_tiles_of


def composite(
  projected: Projected,
  features,
  size: tuple[int, int],
  *,
  stop: bool = False,
  straight_through: bool = False,
  cuda_tiles: bool = False,
):
  """Σ w·feature [i, h, w, f] and the transmittance [i, h, w] behind all.

  Args:
    projected: [i, n].
    features: [i, n, f].
    size: (height, width).
    stop, straight_through, cuda_tiles: See `splatting.Splatting`.
  """
  height, width = size
  # Stable: equal depths by index. What is not valid has no opacity, wherever it comes.
  order = jnp.argsort(projected.depths, axis=1, stable=True)

  def ordered(x):
    return jnp.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), axis=1)

  tiles = ordered(cuda_tiles_of(projected, size)) if cuda_tiles else None
  projected, features = jax.tree.map(ordered, projected), ordered(features)
  xs = jnp.arange(width, dtype=features.dtype) + 0.5
  columns = jnp.arange(width) // 16

  @jax.checkpoint
  def row(y):
    a, b, c = (projected.conics[..., None, j] for j in range(3))
    dx = projected.means[..., None, 0] - xs  # [i, n, w]
    dy = projected.means[..., None, 1] - (y + 0.5)
    exponent = -0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy
    raw = projected.opacities[..., None] * jnp.exp(exponent)
    alpha = jnp.minimum(raw, LARGEST_ALPHA)
    if straight_through:
      alpha = raw + jax.lax.stop_gradient(alpha - raw)
    drawn = raw >= LEAST_ALPHA
    if tiles is not None:
      left, top, right, bottom = (tiles[..., None, j] for j in range(4))
      line = y.astype(jnp.int32) // 16
      drawn &= (left <= columns) & (columns < right) & (top <= line) & (line < bottom)
    alpha = jnp.where(drawn, alpha, 0)
    if stop:
      # The transmittance only falls: what follows the Gaussian that ends a pixel is beyond, too.
      left_over = jnp.cumprod(1 - jax.lax.stop_gradient(alpha), axis=1)
      alpha = jnp.where(left_over >= STOP, alpha, 0)
    after = jnp.cumprod(1 - alpha, axis=1)
    before = jnp.concatenate([jnp.ones_like(after[:, :1]), after[:, :-1]], axis=1)
    total = precision.einsum('inw,inf->iwf', alpha * before, features)
    return total, after[:, -1]

  total, transmittance = jax.lax.map(row, jnp.arange(height, dtype=features.dtype))
  return jnp.moveaxis(total, 0, 1), jnp.moveaxis(transmittance, 0, 1)
