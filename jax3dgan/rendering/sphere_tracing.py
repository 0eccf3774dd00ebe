"""Sphere tracing: where rays meet the surface of a signed distance, in few evaluations (Hart 1996).

A ball of the distance's radius around a point is free of the surface, so a ray may go on by it.
Steps are longer than that by a factor and taken back where two balls do not touch (Keinert et al.
2014); once a ray is inside, the crossing is enclosed and found by the secant. A bundle of rays may
share the first part of its way: a cone is free as long as the balls around its axis contain its
section.

A learned distance is steeper than 1 in places: divided by a Lipschitz factor, it is a lower bound.

Pure functions; a distance is a callable, points [..., 3] → [...] world units, negative inside.
There are no gradients through the depth.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.options import RenderOptions

_CHUNK = 2**12  # rays whose steps are taken together; the last of them ends the steps of all


class Tracing(NamedTuple):
  """How to trace; hashable.

  Attributes:
    num_steps: At most so many evaluations of a ray, those of its cone apart.
    relaxation: Factor of a step, in [1, 2).
    tolerance: Distance at which a ray has arrived, as a share of far − near.
    cone: Pixels on a side of the bundles that begin together; 1 for none.
    cone_steps: Evaluations of a bundle.
  """

  num_steps: int = 12
  relaxation: float = 1.3
  tolerance: float = 2e-3
  cone: int = 4
  cone_steps: int = 6


DEFAULT = Tracing()


class Hits(NamedTuple):
  """Where rays [...] end.

  Attributes:
    depth: [...] distance along the ray of the surface, or the far end.
    hit: [...] whether there is a surface.
    num_steps: Evaluations of each ray that were computed.
  """

  depth: jax.Array
  hit: jax.Array
  num_steps: jax.Array


def trace(
  distance,
  origins,
  directions,
  near,
  far,
  tracing: Tracing = DEFAULT,
  lipschitz=1.0,
  start=None,
) -> Hits:
  """The first crossing from outside to inside on each ray.

  Args:
    distance: See the module.
    origins, directions: [..., 3], directions of unit length.
    near, far: [...] or scalars: the part of the ray. A ray that begins inside has its surface at
      near.
    tracing: See `Tracing`.
    lipschitz: At least as large as the length of the distance's gradient, and as 1.
    start: [...] up to where a ray is known to be free; None for near.
  """
  shape = origins.shape[:-1]
  near, far = (jnp.broadcast_to(jnp.asarray(x, origins.dtype), shape) for x in (near, far))
  start = near if start is None else start
  tolerance = tracing.tolerance * (far - near)
  first = jnp.zeros(shape, origins.dtype)

  def going(state):
    step, *_, done = state
    return (step < tracing.num_steps) & ~jnp.all(done)

  def advance(state):
    # From the last point outside, at `low`, to the next one, `t`; `high` is inside, or beyond far.
    step, t, low, at_low, high, at_high, factor, done = state
    raw = distance(origins + t[..., None] * directions)
    free = raw / lipschitz
    missed = (t - low > at_low + jnp.abs(free)) & (factor > 1)  # between two balls that are apart
    inside = (free <= 0) & ~missed
    outside = (free > 0) & ~missed
    low, at_low = jnp.where(outside, t, low), jnp.where(outside, free, at_low)
    high, at_high = jnp.where(inside, t, high), jnp.where(inside, free, at_high)
    factor = jnp.where(missed, 1.0, factor)
    enclosed = jnp.isfinite(high)
    secant = _crossing(low, at_low, high, at_high)
    arrived = jnp.abs(raw) < tolerance
    beyond = outside & (t >= far)
    following = jnp.where(enclosed, secant, jnp.minimum(low + factor * at_low, far))
    done = done | beyond | (arrived & ~missed) | (enclosed & (high - low < tolerance))
    return step + 1, following, low, at_low, high, at_high, factor, done

  state = (
    jnp.int32(0),
    start,
    start,
    first,
    jnp.full(shape, jnp.inf, origins.dtype),
    first,
    jnp.full(shape, tracing.relaxation, origins.dtype),
    jnp.zeros(shape, bool),
  )
  step, _, low, at_low, high, at_high, _, _ = jax.lax.while_loop(going, advance, state)
  enclosed = jnp.isfinite(high)
  depth = jnp.where(enclosed, _crossing(low, at_low, high, at_high), low + at_low)
  close = at_low * lipschitz < tolerance  # touched, or arrived at
  hit = (enclosed | close) & (depth < far)
  return Hits(jnp.where(hit, depth, far), hit, jnp.broadcast_to(step, shape))


def _crossing(low, at_low, high, at_high):
  """Where the line through two values, of which the second is not positive, is zero."""
  width = jnp.where(jnp.isfinite(high), high - low, 0.0)
  return low + width * at_low / jnp.maximum(at_low - at_high, 1e-30)


def cone_depths(distance, origins, directions, spread, near, far, num_steps: int, lipschitz=1.0):
  """Depths [...] up to which all rays of a cone are free of the surface.

  Args:
    distance, lipschitz: See `trace`.
    origins, directions: [..., 3] of the cones' axes.
    spread: [...] largest distance of a ray's direction from its axis' direction.
    near, far: [...] or scalars.
    num_steps: Evaluations.
  """
  shape = origins.shape[:-1]
  near, far = (jnp.broadcast_to(jnp.asarray(x, origins.dtype), shape) for x in (near, far))

  def advance(_, state):
    t, is_free = state
    free = distance(origins + t[..., None] * directions) / lipschitz - t * spread
    is_free &= free > 0
    # A ball of radius d at t contains the section at t + s where s + spread · (t + s) ≤ d.
    return jnp.where(is_free, jnp.minimum(t + free / (1 + spread), far), t), is_free

  begin = (near, jnp.ones(shape, bool))
  return jax.lax.fori_loop(0, num_steps, advance, begin)[0]


class Traced(NamedTuple):
  """Images of a surface, n = resolution² pixels in their rows.

  Attributes:
    colour: [b, n, 3] in [0, 1], of the field at the surface; where there is none, white or black
      as the options say, or the field's at the far end; None where it is not wanted.
    depth: [b, n] distance along the ray; at the far end where there is no surface.
    hit: [b, n] whether there is one.
    normals: [b, n, 3] unit vectors, outwards, world space; 0 where there is no surface; None where
      they are not wanted, since they take a gradient.
    num_steps: [b, n] evaluations of each ray.
    directions: [b, n, 3] of the rays.
  """

  colour: jax.Array | None
  depth: jax.Array
  hit: jax.Array
  normals: jax.Array | None
  num_steps: jax.Array
  directions: jax.Array


def render(
  distance,
  colour,
  camera: Camera,
  options: RenderOptions,
  tracing: Tracing = DEFAULT,
  lipschitz=1.0,
  has_normals: bool = True,
) -> Traced:
  """Images of a surface from cameras [b], in the memory of some thousand rays.

  Args:
    distance: Points [b, n, 3] → signed distances [b, n].
    colour: Points and unit view directions [b, n, 3] → colours [b, n, 3] in [0, 1]; None for none.
    options: Its resolution, ends of rays (`limits_along`, not a box), pixel grid, view direction
      and white background.
    tracing, lipschitz: See `trace`.
    has_normals: Whether normals are wanted.
  """
  size, (b, *_) = options.resolution, camera.cam2world.shape
  side = tracing.cone if size % tracing.cone == 0 else 1
  uv = rays_lib.pixel_grid(size, options.align_corners).reshape(size, size, 2)
  tiles = uv.reshape(size // side, side, size // side, side, 2).transpose(0, 2, 1, 3, 4)
  tiles = tiles.reshape(-1, side**2, 2)  # bundle by bundle
  rays = rays_lib.rays_through(camera, tiles.reshape(-1, 2))
  bundles = size**2 // side**2
  near, far = _limits(rays, options)
  begin = near
  if side > 1:
    axes = rays_lib.rays_through(camera, tiles.mean(1))
    apart = rays.directions.reshape(b, bundles, side**2, 3) - axes.directions[:, :, None]
    spread = jnp.linalg.norm(apart, axis=-1).max(-1)
    # The rays of a bundle have ends that differ a little: all of them are between the outer ones.
    ends = near.reshape(b, bundles, -1).min(-1), far.reshape(b, bundles, -1).max(-1)
    free = cone_depths(
      distance, axes.origins, axes.directions, spread, *ends, tracing.cone_steps, lipschitz
    )
    begin = jnp.clip(jnp.repeat(free, side**2, axis=1), near, far)

  def background(rgb, hit):
    if options.white_back:
      return jnp.where(hit[..., None], rgb, 1.0)
    if options.last_interval == 'far' and not options.last_back:
      return jnp.where(hit[..., None], rgb, 0.0)
    return rgb  # the last sample's, at the far end

  def part(inputs):
    origins, directions, start, near, far = inputs
    hits = trace(distance, origins, directions, near, far, tracing, lipschitz, start)
    points = origins + hits.depth[..., None] * directions
    rgb, normals = None, None
    if colour is not None:
      front = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0], points.dtype), points.shape)
      rgb = colour(points, front if options.lock_view_direction else directions)
      rgb = background(rgb, hits.hit)
    if has_normals:
      normals = jnp.where(hits.hit[..., None], unit_normals(distance, points), 0.0)
    return Traced(rgb, hits.depth, hits.hit, normals, hits.num_steps, directions)

  out = _in_chunks(part, (rays.origins, rays.directions, begin, near, far), size**2)

  def in_rows(x):
    x = x.reshape(b, size // side, size // side, side, side, *x.shape[2:])
    return jnp.swapaxes(x, 2, 3).reshape(b, size**2, *x.shape[5:])

  return jax.tree.map(in_rows, out)


def _limits(rays, options: RenderOptions):
  """Ends [b, r] of each ray."""
  cosine = rays.axis_cosine[..., 0] if options.limits_along == 'axis' else 1.0
  shape = rays.origins.shape[:-1]
  return tuple(
    jnp.broadcast_to(x / cosine, shape).astype(rays.origins.dtype)
    for x in (options.near, options.far)
  )


def _in_chunks(function, inputs, num: int):
  """function(inputs), leaves [b, n, ...], chunk by chunk of the second axis."""
  if num <= _CHUNK:
    return function(inputs)
  count = -(-num // _CHUNK)
  size = -(-num // count)
  padded = [
    jnp.concatenate([x, jnp.repeat(x[:, -1:], count * size - num, axis=1)], axis=1) for x in inputs
  ]
  chunks = [jnp.moveaxis(x.reshape(len(x), count, size, *x.shape[2:]), 1, 0) for x in padded]
  out = jax.lax.map(function, tuple(chunks))

  def joined(x):
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape(len(x), count * size, *x.shape[3:])[:, :num]

  return jax.tree.map(joined, out)


def gradients(distance, points):
  """Gradients [..., 3] of a distance in points [..., 3], each of which has its own value alone."""
  value, pull_back = jax.vjp(distance, points)
  return pull_back(jnp.ones_like(value))[0]


def unit_normals(distance, points):
  """Unit normals [..., 3] of the level sets through points [..., 3], towards larger distances; 0
  where the gradient is 0."""
  gradient = gradients(distance, points)
  length = jnp.sqrt(jnp.maximum(jnp.sum(gradient**2, axis=-1, keepdims=True), 1e-24))
  return gradient / length


def lipschitz_factor(distance, points, margin: float = 1.05):
  """A factor for `trace`: the steepest of some points [..., 3] of a learned distance, with a
  margin; at least 1."""
  gradient = gradients(distance, points)
  return jnp.maximum(margin * jnp.sqrt(jnp.sum(gradient**2, axis=-1).max()), 1.0)


def shade(normals, directions, hit, ambient: float = 0.25):
  """Greys [..., 3] in [0, 1] of a matt surface that is lit from the camera; white where there is
  none.

  Args:
    normals, directions: [..., 3] unit vectors; rays' directions, away from the camera.
    hit: [...].
    ambient: Light on what is seen edge on.
  """
  facing = jnp.maximum(-jnp.sum(normals * directions, axis=-1), 0.0)
  grey = jnp.where(hit, ambient + (1 - ambient) * facing, 1.0)
  return jnp.broadcast_to(grey[..., None], (*grey.shape, 3))
