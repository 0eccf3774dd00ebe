"""GIRAFFE's volume rendering (Niemeyer & Geiger, CVPR 2021, arXiv 2011.12100, Sec. 3.2): the
features of pixels of several feature fields. Pure functions of layers, scenes, rays and numbers.
"""

from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.fields.giraffe import FieldLayers
from jax3dgan.generators.base import Scene
from jax3dgan.generators.giraffe_scene import Poses
from jax3dgan.nn.cpu import tiles
from jax3dgan.rendering import compositing, composition, hierarchical, passes, sampling
from jax3dgan.rendering.hierarchical import divisor
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.rays import Rays

# How GIRAFFE samples and composites, in RenderOptions' fields.
MARCHING = dict(
  align_corners=True,
  density='relu',
  last_interval='infinite',
  limits_along='axis',
  strata='between',
  num_fine=0,
)
MARGIN = 1.1  # A box ends a tenth behind its faces (the release's).


@flax.struct.dataclass
class GIRAFFEScene(Scene):
  """Objects and their background, before any camera.

  Attributes:
    shape, appearance: [b, n, latent_dim] codes of the objects.
    background_shape, background_appearance: [b, background_dim].
    poses: see `Poses`.
  """

  shape: jax.Array
  appearance: jax.Array
  background_shape: jax.Array
  background_appearance: jax.Array
  poses: Poses


@flax.struct.dataclass
class Fields:
  """The layers of all fields.

  Attributes:
    objects: shared by the objects.
    background: None without one.
    largest: (x, y, z) half sizes that no object exceeds, which say how many samples its window has.
    mode: see `composition.compose`.
  """

  objects: FieldLayers
  background: FieldLayers | None
  largest: tuple[float, ...] = flax.struct.field(pytree_node=False)
  mode: str = flax.struct.field(pytree_node=False, default='sum')


class Draws(NamedTuple):
  """The random numbers of a rendering; None in a place means deterministic there.

  Attributes:
    jitter: [b, r, s] uniforms that place the samples in their strata.
    noise: [b, r, n + 1, s] normals on the raw densities, the background's last, times noise_std.
  """

  jitter: Any = None
  noise: Any = None


class Pixels(NamedTuple):
  """What rays [b, r] show.

  Attributes:
    features: [b, r, f].
    depth, opacity: [b, r]; depth is the expected distance, with `last_back` to the last sample for
      what passes all.
    shares: [b, r, n + 1] of what is seen, of each object and of the background; they sum to the
      opacity, or with `last_back` to 1.
  """

  features: jax.Array
  depth: jax.Array
  opacity: jax.Array
  shares: jax.Array


def draw(keys, num_rays: int, num_samples: int, num_fields: int, noise_std) -> Draws:
  """Draws for per-example keys [b]; for keys None none, and draws as they are."""
  if keys is None or isinstance(keys, Draws):
    return keys or Draws()
  silent = isinstance(noise_std, int | float) and noise_std == 0

  def one(key):
    jitter, own = jax.random.split(key)
    noise = None if silent else jax.random.normal(own, (num_rays, num_fields, num_samples))
    return Draws(jax.random.uniform(jitter, (num_rays, num_samples)), noise)

  return jax.vmap(one)(keys)


def turned(vectors, angle):
  """Vectors [..., 3] turned by −angle [...] about the vertical axis: from the world to a box."""
  x, y, z = jnp.moveaxis(vectors, -1, 0)
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  turned = jnp.broadcast_arrays(cos * x - sin * z, y, sin * x + cos * z)
  return jnp.stack(turned, axis=-1)


def to_box(poses: Poses, points, directions):
  """World points and directions [b, m, 3] in the boxes of the objects, [b, n, m, 3] each."""
  angle, size = poses.turn[:, :, None], poses.size[:, :, None]
  moved = points[:, None] - poses.position[:, :, None]
  return turned(moved, angle) / size, turned(directions[:, None], angle) / size


def _unit(v):
  return v / jnp.linalg.norm(v, axis=-1, keepdims=True)


def window_size(fields: Fields, options: RenderOptions) -> int:
  """Samples of a ray at which an object's field is evaluated, at most."""
  diagonal = 2 * MARGIN * sum(half**2 for half in fields.largest) ** 0.5
  return composition.window_size(diagonal, options.near, options.far, options.num_coarse)


def object_densities(fields: Fields, scene: GIRAFFEScene, points, directions, noise=0.0):
  """Densities [b, n, r, k] and hidden features [b, n, r, k, h] of the objects.

  Args:
    points, directions: [b, n, r, k, 3] and [b, n, r, 3] in the objects' boxes.
    noise: [b, n, r, k] on the raw densities.
  """
  b, n = points.shape[:2]

  def flat(x):
    return x.reshape(b * n, *x.shape[2:])

  raw, hidden = fields.objects(
    flat(points), flat(_unit(directions)), flat(scene.shape), flat(scene.appearance)
  )
  raw, hidden = (x.reshape(b, n, *x.shape[1:]) for x in (raw, hidden))
  inside = jnp.all(jnp.abs(points) <= MARGIN, axis=-1)
  density = jnp.where(inside, jax.nn.relu(raw + noise), 0.0)
  return density * scene.poses.presence[:, :, None, None], hidden


def query(fields: Fields, scene: GIRAFFEScene, points, directions):
  """(density [b, n], features [b, n, f]) of all objects together at points [b, n, 3], seen in
  directions [b, n, 3]."""
  points, directions = to_box(scene.poses, points, directions)
  density, hidden = object_densities(fields, scene, points[..., None, :], directions)
  features = fields.objects.head(hidden)[..., 0, :]  # [b, n, m, f]
  density = density[..., 0]
  total = jnp.sum(density, axis=1)
  shares = density / jnp.where(total == 0, 1.0, total)[:, None]
  return total, jnp.sum(shares[..., None] * features, axis=1)


def background_densities(fields: Fields, scene: GIRAFFEScene, points, directions, noise=0.0):
  """Densities [b, r, s] and hidden features [b, r, s, h] of the background.

  Args:
    points, directions: [b, r, s, 3] and [b, r, 3] in the world.
    noise: [b, r, s] on the raw densities.
  """
  angle = scene.poses.background_turn[:, None]
  points = turned(points, angle[..., None])
  directions = _unit(turned(directions, angle))
  raw, hidden = fields.background(
    points, directions, scene.background_shape, scene.background_appearance
  )
  density = jax.nn.relu(raw + noise)
  return density * scene.poses.background_presence[:, None, None], hidden


def _aggregated(layers: FieldLayers, weights, hidden):
  """Features [..., f] of samples with weights [..., s] and hidden features [..., s, h]."""
  if layers.squashes:
    return compositing.blend(weights, layers.head(hidden))
  return layers.head(compositing.blend(weights, hidden), jnp.sum(weights, axis=-1))


def render_rays(
  fields: Fields, scene: GIRAFFEScene, rays: Rays, draws: Draws, options: RenderOptions, noise_std=0
) -> Pixels:
  """Renders rays [b, r]; all samples are in memory at once."""
  num, size = options.num_coarse, window_size(fields, options)
  limits = hierarchical.ray_limits(rays, options)
  near, far = (options.near, options.far) if limits is None else limits[:2]
  distances = sampling.stratified_depths(near, far, num, draws.jitter, options.strata)
  distances = jnp.broadcast_to(distances, (*rays.directions.shape[:2], num))  # [b, r, s]
  noise = None if draws.noise is None else noise_std * jnp.moveaxis(draws.noise, 2, 1)

  origins, directions = to_box(scene.poses, rays.origins, rays.directions)  # [b, n, r, 3]
  start = composition.window_start(origins, directions, distances[:, None], MARGIN, size)
  near_box = jnp.broadcast_to(distances[:, None], (*origins.shape[:3], num))
  near_box = composition.to_window(near_box, start, size)  # [b, n, r, k]
  points = origins[..., None, :] + near_box[..., None] * directions[..., None, :]
  of_objects = 0.0 if noise is None else composition.to_window(noise[:, :-1], start, size)
  density, hidden = object_densities(fields, scene, points, directions, of_objects)
  densities = composition.from_window(density, start, num)  # [b, n, r, s]
  if fields.background is not None:
    points = hierarchical.points_at(rays, distances)
    of_background = 0.0 if noise is None else noise[:, -1]
    behind, behind_hidden = background_densities(
      fields, scene, points, rays.directions, of_background
    )
    densities = jnp.concatenate([densities, behind[:, None]], axis=1)

  total, shares = composition.compose(densities, fields.mode)
  last = passes.last_interval(distances, options, limits)
  deltas = compositing.intervals(distances, last)
  # Of unit length but for cameras of `compat.look_at_batch_norm`.
  deltas = deltas * jnp.linalg.norm(rays.directions, axis=-1, keepdims=True)
  weights = compositing.ray_weights(total, deltas)  # [b, r, s]
  seen = weights[:, None] * shares
  depth, opacity = jnp.sum(weights * distances, axis=-1), jnp.sum(weights, axis=-1)
  if options.last_back:  # what passes all samples shows the background at the last one
    seen = seen.at[:, -1, :, -1].add(1 - opacity)
    depth = depth + (1 - opacity) * distances[..., -1]
  n = origins.shape[1]
  of_window = composition.to_window(seen[:, :n], start, size)
  if fields.objects.squashes:
    features = jnp.sum(_aggregated(fields.objects, of_window, hidden), axis=1)
  else:  # one head for all
    blended = jnp.sum(compositing.blend(of_window, hidden), axis=1)
    features = fields.objects.head(blended, jnp.sum(of_window, axis=(1, -1)))
  if fields.background is not None:
    features = features + _aggregated(fields.background, seen[:, n], behind_hidden)
  return Pixels(
    features,
    depth,
    opacity,
    jnp.moveaxis(jnp.sum(seen, axis=-1), 1, -1),
  )


def render(
  fields: Fields, scene: GIRAFFEScene, rays: Rays, draws: Draws, options: RenderOptions, noise_std=0
) -> Pixels:
  """`render_rays` in chunks of a size that suits the platform and `options.ray_chunk`, each
  rematerialised in the backward pass."""
  b, r = rays.directions.shape[:2]
  n = scene.shape.shape[1]
  floats = n * window_size(fields, options) * fields.objects.width
  if fields.background is not None:
    floats = max(floats, options.num_coarse * fields.background.width)
  images, num_rays = tiles.tile(b, r, floats)
  num_rays = max(num_rays // (b if images < b else 1), 1)  # all images at once
  size = divisor(r, min(num_rays, options.ray_chunk or r))

  def chunk(rays, draws):
    return render_rays(fields, scene, rays, draws, options, noise_std)

  if size == r:
    return chunk(rays, draws)
  parts = jax.tree.map(
    lambda x: jnp.moveaxis(x.reshape(b, r // size, size, *x.shape[2:]), 1, 0), (rays, draws)
  )
  out = jax.lax.map(jax.checkpoint(lambda part: chunk(*part)), parts)
  return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(b, r, *x.shape[3:]), out)
