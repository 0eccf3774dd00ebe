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

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

_SIZES = 4  # so many numbers of rays are evaluated together: all, half of them, a quarter ...
_STEPS = 2  # evaluations before those that are done are sorted out
_GRAZING = 8  # tolerances within which a ray that has used up its steps counts as a hit


class Tracing(NamedTuple):
  """How to trace; hashable.

  Attributes:
    num_steps: At most so many evaluations of a ray, those of its cone apart.
    relaxation: Factor of a step, in [1, 2).
    tolerance: Distance at which a ray has arrived, as a share of far − near.
    cone: Pixels on a side of the bundles that begin together; 1 for none.
    cone_steps: Evaluations of a bundle.
  """

  num_steps: int = 24
  relaxation: float = 1.3
  tolerance: float = 1e-3
  cone: int = 4
  cone_steps: int = 16


DEFAULT = Tracing()


class Hits(NamedTuple):
  """Where rays [...] end.

  Attributes:
    depth: [...] distance along the ray of the surface, or the far end.
    hit: [...] whether there is a surface.
    num_steps: Evaluations of each ray.
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
  start = near if start is None else jnp.broadcast_to(start, shape)
  tolerance = tracing.tolerance * (far - near)
  zero = jnp.zeros(shape, origins.dtype)
  rays = _Rays(
    origins=origins,
    directions=directions,
    far=far,
    tolerance=tolerance,
    t=start,
    low=start,
    at_low=zero,
    high=jnp.full(shape, jnp.inf, origins.dtype),
    at_high=zero,
    slope=jnp.ones(shape, origins.dtype),
    factor=jnp.full(shape, tracing.relaxation, origins.dtype),
    done=start >= far,
    num_steps=jnp.zeros(shape, jnp.int32),
  )
  # Rays arrive after few steps or, where they graze a surface, after many: only those that are on
  # their way are evaluated, in the smallest of some sizes that holds them.
  sizes = [max(shape[-1] >> i, 1) for i in range(_SIZES)]

  def some(size: int, rays: _Rays) -> _Rays:
    index = jnp.argsort(rays.done, axis=-1)[..., :size]  # those on their way first
    return _put(rays, index, every(_taken(rays, index)))

  def every(rays: _Rays) -> _Rays:
    advance = lambda _, rays: _advanced(distance, rays, lipschitz)  # noqa: E731
    return jax.lax.fori_loop(0, _STEPS, advance, rays)

  def going(state):
    done_rounds, rays = state
    return (done_rounds * _STEPS < tracing.num_steps) & ~jnp.all(rays.done)

  def proceed(state):
    done_rounds, rays = state
    count = jnp.sum(~rays.done, axis=-1).max()
    which = sum((count <= size).astype(jnp.int32) for size in sizes[1:])
    branches = [every, *(functools.partial(some, size) for size in sizes[1:])]
    return done_rounds + 1, jax.lax.switch(which, branches, rays)

  _, rays = jax.lax.while_loop(going, proceed, (jnp.int32(0), rays))
  enclosed = jnp.isfinite(rays.high)
  # From outside, the rest of the way is as steep as the last step was.
  rest = rays.at_low / jnp.clip(rays.slope, 0.1, 1.0)
  depth = jnp.where(enclosed, _crossing(rays), rays.low + rest)
  close = rays.at_low * lipschitz < _GRAZING * tolerance  # has arrived, or nearly, beside a surface
  hit = (enclosed | close) & (depth < far)
  return Hits(jnp.where(hit, depth, far), hit, rays.num_steps)


class _Rays(NamedTuple):
  """Rays [...] on their way.

  Attributes:
    origins, directions, far, tolerance: See `trace`; the tolerance is in world units.
    t: Where the distance is asked next.
    low, at_low: The last point outside, and the length that is free from there.
    high, at_high: The nearest point inside, infinite for none, and its value.
    slope: By which the free length fell from the last point outside but one to the last.
    factor: Of the steps.
    done: Whether a ray has arrived, or ended.
    num_steps: Evaluations so far.
  """

  origins: jax.Array
  directions: jax.Array
  far: jax.Array
  tolerance: jax.Array
  t: jax.Array
  low: jax.Array
  at_low: jax.Array
  high: jax.Array
  at_high: jax.Array
  slope: jax.Array
  factor: jax.Array
  done: jax.Array
  num_steps: jax.Array


def _taken(rays: _Rays, index) -> _Rays:
  vectors = {'origins', 'directions'}
  take = jnp.take_along_axis
  return _Rays(
    *(
      take(x, index[..., None], axis=-2) if name in vectors else take(x, index, axis=-1)
      for name, x in zip(_Rays._fields, rays, strict=True)
    )
  )


def _put(rays: _Rays, index, part: _Rays) -> _Rays:
  constant = {'origins', 'directions', 'far', 'tolerance'}
  return _Rays(
    *(
      x if name in constant else jnp.put_along_axis(x, index, new, axis=-1, inplace=False)
      for name, x, new in zip(_Rays._fields, rays, part, strict=True)
    )
  )


def _advanced(distance, rays: _Rays, lipschitz) -> _Rays:
  """Rays after one evaluation of each; those that are done stay what they are."""
  t, low, at_low, far = rays.t, rays.low, rays.at_low, rays.far
  raw = distance(rays.origins + t[..., None] * rays.directions)
  free = raw / lipschitz
  missed = (t - low > at_low + jnp.abs(free)) & (rays.factor > 1)  # two balls that are apart
  inside, outside = (free <= 0) & ~missed, (free > 0) & ~missed
  new = rays._replace(
    low=jnp.where(outside, t, low),
    at_low=jnp.where(outside, free, at_low),
    high=jnp.where(inside, t, rays.high),
    at_high=jnp.where(inside, free, rays.at_high),
    slope=jnp.where(outside & (t > low), (at_low - free) / jnp.maximum(t - low, 1e-12), rays.slope),
    factor=jnp.where(missed, 1.0, rays.factor),
    num_steps=rays.num_steps + 1,
  )
  enclosed = jnp.isfinite(new.high)
  following = jnp.minimum(new.low + new.factor * new.at_low, far)
  arrived = (jnp.abs(raw) < rays.tolerance) & ~missed
  beyond = outside & (t >= far)
  narrow = enclosed & (new.high - new.low < rays.tolerance)
  new = new._replace(
    t=jnp.where(enclosed, _crossing(new), following), done=arrived | beyond | narrow
  )
  return _Rays(
    rays.origins,
    rays.directions,
    far,
    rays.tolerance,
    *(jnp.where(rays.done, old, x) for old, x in zip(rays[4:], new[4:], strict=True)),
  )


def _crossing(rays: _Rays):
  """Where the line through the values at both ends, of which the second is not positive, is 0."""
  width = jnp.where(jnp.isfinite(rays.high), rays.high - rays.low, 0.0)
  return rays.low + width * rays.at_low / jnp.maximum(rays.at_low - rays.at_high, 1e-30)


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


def gradients(distance, points):
  """Gradients [..., 3] of a distance in points [..., 3], each of which has its own value alone."""
  value, pull_back = jax.vjp(distance, points)
  return pull_back(jnp.ones_like(value))[0]


def lipschitz_factor(distance, points, quantile: float = 0.9, margin: float = 1.05):
  """A factor for `trace`, at least 1: how steep a learned distance is at some points [..., 3].

  Args:
    distance, points: See `gradients`.
    quantile: Share of the points that are not steeper. A few are much steeper than all others, and
      a ray that steps too far there is inside, which is noticed.
    margin: Factor on it.
  """
  steepness = jnp.sqrt(jnp.sum(gradients(distance, points) ** 2, axis=-1))
  return jnp.maximum(margin * jnp.quantile(steepness, quantile), 1.0)
