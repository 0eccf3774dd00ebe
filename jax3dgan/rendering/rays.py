"""Rays of a camera: one per pixel, row by row from the top left."""

import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.nn import precision


@flax.struct.dataclass
class Surface:
  """What rays [b, r] meet of a surface that no field describes, such as a mesh.

  Attributes:
    colour: [b, r, c].
    alpha: [b, r, 1] in [0, 1]; 0 where a ray meets nothing.
    depth: [b, r, 1] distance along the ray, finite.
  """

  colour: jax.Array
  alpha: jax.Array
  depth: jax.Array


@flax.struct.dataclass
class Rays:
  """Rays in world coordinates.

  Attributes:
    origins: [..., r, 3].
    directions: [..., r, 3], of unit length, so that distance along a ray is Euclidean distance.
    axis_cosine: [..., r, 1] cosine of the angle between a ray and its camera's axis; None where the
      camera is not known.
    surface: What they meet beside a field, which is one more sample of each; None for nothing.
  """

  origins: jax.Array
  directions: jax.Array
  axis_cosine: jax.Array | None = None
  surface: Surface | None = None


def pixel_grid(resolution: int, align_corners: bool = False):
  """Normalised pixel positions [r, 2] (u right, v down), r = row·resolution + column.

  Pixel centres at (i + ½)/resolution, or, with `align_corners`, from 0 to 1 with both ends
  included as π-GAN's release has them.
  """
  if align_corners:
    ticks = jnp.linspace(0.0, 1.0, resolution)
  else:
    ticks = (jnp.arange(resolution) + 0.5) / resolution
  v, u = jnp.meshgrid(ticks, ticks, indexing='ij')
  return jnp.stack([u.ravel(), v.ravel()], axis=-1)


def camera_rays(camera: Camera, resolution: int, align_corners: bool = False) -> Rays:
  """Rays through every pixel of a square image: [..., r, 3] for cameras [...]."""
  return rays_through(camera, pixel_grid(resolution, align_corners))


def rays_through(camera: Camera, uv) -> Rays:
  """Rays through normalised image positions uv [r, 2] or [..., r, 2] of cameras [...]:
  [..., r, 3]."""
  uv = jnp.asarray(uv, camera.cam2world.dtype)
  focal = jnp.stack([camera.intrinsics[..., 0, 0], camera.intrinsics[..., 1, 1]], axis=-1)
  centre = camera.intrinsics[..., :2, 2]
  skew = camera.intrinsics[..., 0, 1]
  y = (uv[..., 1] - centre[..., None, 1]) / focal[..., None, 1]  # [..., r]
  x = (uv[..., 0] - centre[..., None, 0] - skew[..., None] * y) / focal[..., None, 0]
  local = jnp.stack([x, y, jnp.ones_like(x)], axis=-1)
  length = jnp.linalg.norm(local, axis=-1, keepdims=True)
  local = local / length
  directions = precision.einsum('...ij,...rj->...ri', camera.cam2world[..., :3, :3], local)
  origins = jnp.broadcast_to(camera.origin[..., None, :], directions.shape)
  return Rays(origins, directions, 1 / length)
