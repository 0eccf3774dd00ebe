"""Renderings of a signed distance by sphere tracing, for people who move a camera.

A pixel takes some evaluations of the distance and one of the colour, in place of one of both for
each sample of a ray. What is seen is the surface at distance 0: the volume rendering of a field
whose β is small shows the same, that of one with a larger β (early in training) is foggier. An
up-sampler is left out: the picture is the field's own, of any size.
"""

import dataclasses
import functools
import weakref

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.generators import Rendering
from jax3dgan.rendering import rays, sphere_tracing, surfaces
from jax3dgan.rendering.sphere_tracing import Tracing

SHADED = 'shaded'  # a kind of picture: the surface in grey, lit from the camera
_NUM_STYLES, _NUM_POINTS = 4, 1024  # for the Lipschitz factor: styles, and points of each


def can_trace(model) -> bool:
  """Whether a model has a signed distance to trace."""
  return model.has_field and model.generator.field_kind == 'sdf'


class Tracer:
  """Renders a model's signed distances.

  Args:
    model: A `trained.Trained`.
    tracing: See `sphere_tracing.Tracing`.

  Raises:
    UserError: Its field is a density.
  """

  def __init__(self, model, tracing: Tracing = sphere_tracing.DEFAULT):
    if not can_trace(model):
      raise UserError(
        f'{model.name} has no signed distance to trace. Render it, or take a model with one, such '
        'as StyleSDF.'
      )
    self._model, self._tracing = model, tracing
    self._generator = model.generator.without_super_resolution()

  def render(self, w, camera, resolution: int, kind: str = 'colour') -> Rendering:
    """A rendering [1, ...], NumPy arrays.

    Args:
      w: [1, ...] a style.
      camera: [1].
      resolution: Pixels on a side.
      kind: What will be shown: 'colour', 'depth', 'normals', 'opacity' or `SHADED`. The image is
        the surface in grey for the last, black where the kind needs none. Depth counts with
        opacity, as in a volume rendering; the opacity is 0 or 1, 1 everywhere for a field whose
        last sample is opaque.
    """
    options = dataclasses.replace(self._model.options(), resolution=resolution, low_resolution=0)
    inputs = (
      self._model.variables,
      w,
      camera,
      options,
      self._tracing,
      kind,
      lipschitz_of(self._model),
    )
    return jax.tree.map(np.asarray, _trace(self._generator, *inputs))


_LIPSCHITZ: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # of models


def lipschitz_of(model) -> float:
  """How steep the distances of some styles of a model are at most, where cameras of training look;
  see `sphere_tracing.lipschitz_factor`.

  Raises:
    UserError: The field is not finite.
  """
  if model in _LIPSCHITZ:
    return _LIPSCHITZ[model]
  random = np.random.default_rng(0)
  w = model.map(model.latents(range(_NUM_STYLES if model.generator.z_dim else 1)))
  azimuth = random.uniform(-1, 1, _NUM_POINTS) * model.yaw_half_range
  lines = jax.tree.map(np.asarray, rays.camera_rays(model.orbit(azimuth), 2))
  options = model.options()
  depth = random.uniform(options.near, options.far, (_NUM_POINTS, 1))
  at = np.arange(_NUM_POINTS), np.arange(_NUM_POINTS) % 4  # one of the four rays of each camera
  points = np.float32(lines.origins[at] + depth * lines.directions[at])
  steepest = float(_steepest(model.generator, model.variables, w, points))
  if not np.isfinite(steepest):
    raise UserError(f'The field of {model.name} is not finite. Take an earlier checkpoint.')
  _LIPSCHITZ[model] = steepest
  return steepest


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _trace(generator, variables, w, camera, options, tracing, kind, lipschitz) -> Rendering:
  def query(points, directions=None):
    return generator.apply(variables, w, points, directions, method='query')

  def distance(points):
    return query(points)[0]

  def colour(points, directions):
    return generator.colours_of(query(points, directions)[1])

  out = surfaces.render(
    distance,
    colour if kind == 'colour' else None,
    camera,
    options,
    tracing,
    lipschitz,
    has_normals=kind in ('normals', SHADED),
  )
  size = (len(out.hit), options.resolution, options.resolution)
  # Beyond a last sample that is opaque there is nothing to see through to.
  solid = options.last_interval == 'infinite' or options.last_back
  opacity = jnp.ones(size) if solid else out.hit.reshape(size).astype(jnp.float32)
  normals = None
  if kind == 'colour':
    image = out.colour
  elif kind == SHADED:
    image = surfaces.shade(out.normals, out.directions, out.hit)
  else:
    image = jnp.zeros((*out.hit.shape, 3))
  if out.normals is not None:
    rotation = camera.cam2world[:, None, :3, :3]
    normals = jnp.sum(rotation * out.normals[..., None], axis=-2).reshape(*size, 3)
  return Rendering(
    image=2 * image.reshape(*size, 3) - 1,
    depth=out.depth.reshape(size) * opacity,
    opacity=opacity,
    normals=normals,
  )


@functools.partial(jax.jit, static_argnums=0)
def _steepest(generator, variables, w, points):
  def distance(points):
    return generator.apply(variables, w, points, method='query')[0]

  return sphere_tracing.lipschitz_factor(distance, jnp.stack([points] * len(w)))
