"""Exp-GAN's volume rendering (ACCV 2022): a tri-plane, and the face model's surface as one more
sample of each ray."""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.fields.triplane import pad_planes, sample_planes
from jax3dgan.nn import precision
from jax3dgan.nn.cpu.sorting import ascending_order
from jax3dgan.nn.take import take
from jax3dgan.rendering import compositing
from jax3dgan.rendering.compositing import Composite
from jax3dgan.rendering.rays import Rays

NUM_RGB = 3  # the first features are the auxiliary image's colours


class Surface(NamedTuple):
  """What rays [b, r] meet of a surface.

  Attributes:
    colour: [b, r, c] features.
    alpha: [b, r] in [0, 1]; 0 where a ray meets nothing.
    depth: [b, r] along the ray, finite.
  """

  colour: jax.Array
  alpha: jax.Array
  depth: jax.Array


@flax.struct.dataclass
class Field:
  """A field of planes and the weights of its decoder, a pytree of arrays [b, ...] or [1, ...].

  Attributes:
    planes: [b, 3, h + 2, w + 2, c] padded, of (x, y), (x, z) and, transposed, (y, z).
    kernels, biases: of the decoder's two layers, [1, c, hidden], [1, hidden, features + 1], ...
    half, centre: the box that the planes span reaches from centre − half to centre + half, world
      units.
    matmul_dtype: policy of `precision.einsum`.
  """

  planes: jax.Array
  kernels: tuple
  biases: tuple
  half: tuple[float, float, float] = flax.struct.field(pytree_node=False, default=(2.5, 2.0, 2.5))
  centre: tuple[float, float, float] = flax.struct.field(pytree_node=False, default=(0, 0, -2.0))
  matmul_dtype: str = flax.struct.field(pytree_node=False, default='float32')

  @property
  def width(self) -> int:
    """Features of a point that are in memory."""
    return self.planes.shape[-1] + self.kernels[0].shape[-1]

  def scaled(self, points):
    """World points [..., 3] in the box [−1, 1]³."""
    centre, half = (np.asarray(x, points.dtype) for x in (self.centre, self.half))
    return (points - centre) / half

  def __call__(self, points, directions=None):
    """Raw density [b, r, s] and raw features [b, r, s, f] at points [b, r, s, 3]."""
    del directions
    b, r, s, _ = points.shape
    places = self.scaled(points).reshape(b, r * s, 3)
    # The sum of the planes' features, not the mean.
    x = 3 * sample_planes(self.planes, places, 2.0, 'fixed')
    x = jax.nn.leaky_relu(self._dense(x, 0), 0.01)
    x = self._dense(x, 1)
    return x[..., -1].reshape(b, r, s), x[..., :-1].reshape(b, r, s, -1)

  def _dense(self, x, i):
    return precision.rows_product(x, self.kernels[i][0], self.matmul_dtype) + self.biases[i][0]


def planes_of(image):
  """`Field.planes` of a backbone's image [b, h, h, 3c]: (x, y), (x, z), (y, z), columns first."""
  b, h, w, c = image.shape
  planes = jnp.moveaxis(image.reshape(b, h, w, 3, c // 3), 3, 1)
  planes = jnp.concatenate([planes[:, :2], jnp.swapaxes(planes[:, 2:], 2, 3)], axis=1)
  return pad_planes(planes)


def orthographic_rays(cam2world, size: int) -> Rays:
  """The release's rays: parallel, from a grid on the camera's square [−1, 1]² with both ends.

  Args:
    cam2world: [b, 3, 4] of a camera that looks along −z (x right, y up); it carries 1 / scale.
    size: rays on a side.

  Returns:
    Rays [b, size²], row by row from the top left. Directions are as long as the camera's unit, so
    that depth is in camera units.
  """
  ticks = np.linspace(-1, 1, size)
  y, x = np.meshgrid(-ticks, ticks, indexing='ij')
  places = np.stack([x.ravel(), y.ravel()], axis=-1).astype(cam2world.dtype)
  origins = precision.einsum('bij,rj->bri', cam2world[..., :2], places) + cam2world[:, None, :, 3]
  return Rays(origins, jnp.broadcast_to(-cam2world[:, None, :, 2], origins.shape))


def composite(raw, colour, depths, surface: Surface | None = None, noise=None) -> Composite:
  """Integrates samples, and the surface as one more of them, into pixels.

  The samples' alphas follow from their own distances, the last one's is 1 wherever there is any
  density; then the surface joins them. The first three features of every sample are colours, by
  tanh. The deepest sample takes what is left.

  Args:
    raw: [b, r, s] raw density.
    colour: [b, r, s, c] raw features.
    depths: [b, r, s] ascending.
    surface: None for none.
    noise: [b, r, s] added to the raw density.

  Returns:
    Composite; weights and depths are of the samples in ascending depth.
  """
  density = compositing.activate_density(raw, 'relu', noise)
  optical = density * compositing.intervals(depths, compositing.INFINITE_INTERVAL)
  if surface is not None:
    # An alpha of 1 would be an infinite depth, and have no gradient.
    alpha = jnp.minimum(surface.alpha, 1 - jnp.finfo(optical.dtype).epsneg)
    optical = jnp.concatenate([optical, -jnp.log1p(-alpha)[..., None]], axis=-1)
    colour = jnp.concatenate([colour, surface.colour[..., None, :]], axis=-2)
    depths = jnp.concatenate([depths, surface.depth[..., None]], axis=-1)
  colour = jnp.concatenate([jnp.tanh(colour[..., :NUM_RGB]), colour[..., NUM_RGB:]], axis=-1)
  order, places = ascending_order(depths)
  depths = take(depths, order)
  weights = compositing.ray_weights(take(optical, order), 1.0)
  opacity = jnp.sum(weights, axis=-1)
  weights = weights.at[..., -1].add(1 - opacity)
  pixel = compositing.blend(take(weights, places), colour)
  return Composite(pixel, jnp.sum(weights * depths, axis=-1), opacity, weights)
