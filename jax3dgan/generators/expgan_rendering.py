"""Exp-GAN's volume rendering (ACCV 2022): a tri-plane, among whose samples along a ray the face
model's surface is one more (`rendering.rays.Surface`)."""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.cameras import Camera
from jax3dgan.fields.triplane import pad_planes, sample_planes
from jax3dgan.generators.base import Rendering, Scene
from jax3dgan.morphable import MorphableModel, maps, photo_cameras
from jax3dgan.nn import precision
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.rays import Rays

NUM_RGB = 3  # the first features are the auxiliary image's colours
# How Exp-GAN samples and composites, in RenderOptions' fields. The deepest sample takes what light
# is left.
MARCHING = dict(align_corners=False, density='relu', last_interval='infinite', last_back=True)


def shown(features):
  """Features [..., c] of samples with the first three as colours in (−1, 1)."""
  return jnp.concatenate([jnp.tanh(features[..., :NUM_RGB]), features[..., NUM_RGB:]], axis=-1)


@flax.struct.dataclass
class ExpGANScene(Scene):
  """A face before any camera.

  Attributes:
    planes: [b, 3, h + 2, w + 2, c] of the field.
    texture: [b, h, h, c] before the camera is added.
    vertices: [b, v, 3] of the face model's region.
    w: [b, w_dim].
  """

  planes: jax.Array
  texture: jax.Array
  vertices: jax.Array
  w: jax.Array


class Seen(NamedTuple):
  """What cameras [b] see of the face model.

  Attributes:
    uv: [b, s, s, 2] places on the texture in [−1, 1] (x right, y down), at the picture's pixels.
    inside: bool [b, s, s], which of these show it; None for means over all of them, as in the
      release.
    depth: [b, v, v] along each ray, finite.
    mask: bool [b, v, v], which rays meet it.
  """

  uv: jax.Array
  inside: jax.Array | None
  depth: jax.Array
  mask: jax.Array


@flax.struct.dataclass
class Training:
  """Pictures for a training step.

  Attributes:
    rendering: see `Rendering`.
    alpha: [b, v, v] of the face model's surface in each ray, 0 beside it.
    cover: [b, v, v] which share of the picture's pixels around each ray shows it.
    weight: [b, v, v] its share of each pixel.
  """

  rendering: Rendering
  alpha: jax.Array
  cover: jax.Array
  weight: jax.Array


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
    """Raw density [b, r, s] and features [b, r, s, f], see `shown`, at points [b, r, s, 3]."""
    del directions
    raw, features = self.decode(points)
    return raw, shown(features)

  def decode(self, points):
    """As a call, with the features as the decoder makes them."""
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


def rays_of(camera: Camera, size: int, options: RenderOptions, orthographic: float):
  """(rays [b, size²], cam2world [b, 3, 4] that the texture is told) of cameras [b]; see
  `ExpGAN.orthographic`."""
  if not orthographic:
    return rays_lib.camera_rays(camera, size, options.align_corners), camera.cam2world[:, :3]
  cam2world = photo_cameras.of_camera(camera, orthographic)
  return orthographic_rays(cam2world, size), cam2world


def see(
  face: MorphableModel, vertices, camera: Camera, resolution: int, size: int, options: RenderOptions
) -> Seen:
  """What cameras [b] see of vertices [b, v, 3]: depth at size² rays, texture at the pixels of
  pictures of resolution²; each at its own pixels' centres."""
  low = maps.perspective(face, vertices, camera, size)
  fine = low if resolution == size else maps.perspective(face, vertices, camera, resolution)
  depth = jnp.where(low.mask, low.depth, options.near)
  return Seen(fine.uv, fine.mask, depth, low.mask)


def see_orthographic(face: MorphableModel, vertices, cam2world, resolution: int, size: int) -> Seen:
  """The same of the release's cameras [b, 3, 4], as it does it: back faces are drawn, and a ray has
  the depth of the first pixel of its block."""
  seen = maps.orthographic(face, photo_cameras.to_camera(vertices, cam2world), resolution)
  every = resolution // size
  mask = jnp.all(seen.uv != 0, axis=-1)[:, ::every, ::every]
  return Seen(seen.uv, None, seen.depth_or_nearest[:, ::every, ::every], mask)


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
