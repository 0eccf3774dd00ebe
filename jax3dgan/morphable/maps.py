"""What a camera sees of a morphable model's region: depth, and where on the texture it is."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan import cameras
from jax3dgan.cameras import Camera
from jax3dgan.morphable.model import MorphableModel
from jax3dgan.rendering import mesh_raster


class Maps(NamedTuple):
  """Maps of pixels [b, h, h]. No gradient goes through them.

  Attributes:
    uv: [b, h, h, 2] places on a texture in [−1, 1]² (x right, y down); 0 beside the region.
    depth: [b, h, h] along the ray; inf beside the region.
    mask: bool [b, h, h].
    nearest: [b] the smallest depth of any vertex.
  """

  uv: jax.Array
  depth: jax.Array
  mask: jax.Array
  nearest: jax.Array

  @property
  def depth_or_nearest(self):
    """Depth that is finite, as Exp-GAN has it: beside the region it is that of the nearest vertex,
    and counts for nothing."""
    return jnp.where(self.mask, self.depth, self.nearest[:, None, None])


def perspective(
  model: MorphableModel, vertices, camera: Camera, resolution: int, cull: bool = True
) -> Maps:
  """Of cameras [b]; depth is the distance along the ray through a pixel's centre.

  Args:
    vertices: [b, v, 3] of the model, in the world of the cameras.
    cull: Whether the insides of what is turned away are not drawn: beyond the outline of a turned
      face, something else would be seen there.
  """
  size = (resolution, resolution)
  hits = mesh_raster.rasterize_camera(camera, vertices, model.region, size, cull)
  distance = jnp.linalg.norm(vertices - camera.origin[:, None], axis=-1)
  return _maps(model, hits, distance)


def orthographic(model: MorphableModel, vertices, resolution: int, cull: bool = False) -> Maps:
  """Along −z of vertices [b, v, 3] in a camera's coordinates, on [−1, 1]²; depth is −z."""
  size = (resolution, resolution)
  hits = mesh_raster.rasterize_orthographic(vertices, model.region, size, cull)
  return _maps(model, hits, -vertices[..., 2])


def project_landmarks(model: MorphableModel, vertices, camera: Camera):
  """Where landmarks of vertices [b, v, 3] are in the picture, [b, l, 2] (0..1, u right, v down)."""
  return cameras.project(camera, model.landmarks(vertices))[0]


def _maps(model, hits, depth):
  uv = mesh_raster.interpolate(hits, model.texture_places)
  nearest = jax.lax.stop_gradient(depth.min(-1))
  return Maps(uv, hits.depth, hits.mask, nearest)
