"""A signed distance from depth maps (Curless and Levoy, SIGGRAPH 1996), for models that have depth
without a field, as Gaussians: their meshes are those of what cameras all around see."""

import dataclasses
import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras, trained
from jax3dgan.generators import Generator, Scene
from jax3dgan.rendering import depth_maps

NUM_AZIMUTHS, ELEVATIONS = 12, (-0.6, 0.1, 0.9)  # cameras; radians
RESOLUTION = 128  # pixels on a side of the depth maps
_VOXELS = 3.0  # of a grid, within which a distance counts


@flax.struct.dataclass
class Views(Scene):
  """What v cameras see of an object.

  Attributes:
    distance: [1, v, h, w] of the surface along the ray, world units.
    solid: [1, v, h, w] bool, where there is one.
    image: [1, v, h, w, 3] in [0, 1].
    camera: Leaves [1, v, ...].
  """

  distance: jax.Array
  solid: jax.Array
  image: jax.Array
  camera: cameras.Camera


class Fusion(Generator):
  """The field of `Views`, without parameters.

  Attributes:
    truncation: The largest distance that a view tells; behind a surface by more it tells nothing.
  """

  truncation: float = 0.02

  has_field = True
  field_kind = 'sdf'

  def query(self, w: Views, points, directions=None):
    """Signed distances [1, n], positive outside, and colours [1, n, 3] at points [1, n, 3].

    The mean of what the views say: a view says the distance to the surface in front of it, along
    the ray, and that whatever is on a ray into the background is outside. A point that all views
    have something in front of is inside, one that none has in its picture outside.
    """
    del directions
    end = self.truncation
    sums = [0.0, 0.0, 0.0, 0.0]  # distances, weights, colours, weights of colours
    seen = False
    for view in range(w.distance.shape[1]):
      camera = jax.tree.map(lambda x, i=view: x[0, i], w.camera)
      away, index, inside = _pixels(camera, points[0], w.distance.shape[2:])
      solid = w.solid[0, view].reshape(-1)[index]
      difference = jnp.where(solid, w.distance[0, view].reshape(-1)[index] - away, end)
      tells = inside & (difference > -end)
      near = tells & solid & (difference < end)
      colour = w.image[0, view].reshape(-1, 3)[index]
      terms = (
        jnp.where(tells, jnp.minimum(difference, end), 0),
        tells,
        jnp.where(near[:, None], colour, 0),
        near[:, None],
      )
      sums = [total + term for total, term in zip(sums, terms, strict=True)]
      seen |= inside
    unknown = jnp.where(seen, -end, end)
    distance = jnp.where(sums[1] > 0, sums[0] / jnp.maximum(sums[1], 1), unknown)
    colours = jnp.where(sums[3] > 0, sums[2] / jnp.maximum(sums[3], 1), 0.5)
    return distance[None], colours[None]


def _pixels(camera, points, size):
  """Of points [n, 3]: the distance from a camera, the number of the pixel that they are in, and
  whether they are in its picture, [n] each."""
  height, width = size
  uv, depth = cameras.project(camera, points)
  inside = (depth > 1e-3) & jnp.all((uv >= 0) & (uv < 1), axis=-1)
  u, v = jnp.moveaxis(jnp.where(inside[:, None], uv, 0), -1, 0)
  index = (v * height).astype(jnp.int32) * width + (u * width).astype(jnp.int32)
  return jnp.linalg.norm(points - camera.origin, axis=-1), index, inside


@dataclasses.dataclass(eq=False)
class Fused(trained.Trained):
  """A model with depth as one with a field: its scenes are `Views`.

  Attributes:
    source: The model itself.
  """

  source: trained.Trained | None = None

  def prepare(self, w):
    """What the cameras see of a style [1, ...] or a scene of the model."""
    return w if isinstance(w, Views) else views_of(self.source, w)

  @property
  def w_shape(self):
    """See `Trained.w_shape`."""
    return self.source.w_shape

  @functools.cached_property
  def average_w(self):
    """See `Trained.average_w`."""
    return self.source.average_w


def views_of(model, w) -> Views:
  """What cameras all around see of a style [1, ...] or a scene."""
  azimuths = 2 * np.pi * np.arange(NUM_AZIMUTHS) / NUM_AZIMUTHS
  azimuths, elevations = (x.ravel() for x in np.meshgrid(azimuths, ELEVATIONS))
  camera = jax.tree.map(np.asarray, model.orbit(azimuths, elevations))
  out = model.render(w, camera, model.generator.resolution or RESOLUTION)
  distance, solid = depth_maps.surface(out, model.options())
  return Views(
    np.float32(distance)[None],
    solid[None],
    np.clip(0.5 * (out.image + 1), 0, 1)[None],
    jax.tree.map(lambda x: x[None], camera),
  )


def of_depth(model, step: float) -> Fused:
  """A model with depth as one with a field.

  Args:
    model: A `trained.Trained` without a field.
    step: Between the points of a grid that the field will be asked at, world units.
  """
  return Fused(
    model.config,
    Fusion(truncation=_VOXELS * step),
    {'params': {}},
    model.step,
    model.name,
    model.devices,
    source=model,
  )


def is_needed(model) -> bool:
  """Whether a model has depth and no field, or one that is not all that pictures show."""
  return model.has_depth and (not model.has_field or model.generator.has_surface)
