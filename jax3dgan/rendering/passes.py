"""What a pass of the hierarchical rendering computes of its samples: where they lie, how long their
intervals are, the weights by which the next pass chooses its samples, and the Composite."""

import functools

import jax
import jax.numpy as jnp

from jax3dgan.rendering import compositing, occupancy, sampling
from jax3dgan.rendering.compositing import Composite
from jax3dgan.rendering.occupancy import EmphasisedLimits
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.sampling import Limits


def last_interval(depths, options: RenderOptions, limits: Limits | None):
  """The length [...] of the interval behind the last of samples at depths [..., s]; a scalar where
  it is the same for all."""
  if options.last_interval == 'infinite':
    return compositing.INFINITE_INTERVAL
  if options.last_interval == 'none':
    return 0.0
  near, far = (options.near, options.far) if limits is None else (x[..., 0] for x in limits[:2])
  half_stratum = 0.5 * (far - near) / max(options.num_coarse - 1, 1)
  end = far if options.strata == 'cells' else far + half_stratum
  return jnp.maximum(end - depths[..., -1], 0.0)


def _hit(limits: Limits | None):
  return None if limits is None else limits.hit[..., 0]


def placed(depths, options: RenderOptions, limits, spread: EmphasisedLimits | None):
  """(distances [b, r, s], lengths of their intervals) of samples at these depths, which are
  stretched where samples are not dense alike; otherwise they are the distances, and None."""
  if spread is None:
    return depths, None
  there = occupancy.place(spread, depths)
  last = last_interval(depths, options, limits)
  return there.depths, occupancy.intervals(depths, there, options, last)


def weights(raw, depths, options: RenderOptions, limits, noise, spread):
  """What the importance sampling takes: weights [b, r, s], or [b, r, s − 1] of 'midpoints'."""
  depths, deltas = placed(depths, options, limits, spread)
  if options.marcher == 'midpoints':
    return compositing.midpoint_weights(raw, depths, options.density, _hit(limits), deltas)
  density = compositing.activate_density(raw, options.density, noise)
  if deltas is None:
    deltas = compositing.intervals(depths, last_interval(depths, options, limits))
  return compositing.ray_weights(density, deltas, _hit(limits))


def march(
  raw, colour, depths, options: RenderOptions, limits, noise, spread, merged=None, surface=None
) -> Composite:
  """The Composite of samples in ascending depth; `noise` [b, r, s] is added to raw densities."""
  distances, deltas = placed(depths, options, limits, spread)
  common = dict(white_back=options.white_back, hit=_hit(limits), merged=merged, deltas=deltas)
  if options.marcher == 'midpoints':
    return compositing.march_midpoints(raw, colour, distances, activation=options.density, **common)
  density = compositing.activate_density(raw, options.density, noise)
  last = last_interval(depths, options, limits)
  return compositing.composite(
    density,
    colour,
    distances,
    last_interval=last,
    last_back=options.last_back,
    surface=surface,
    **common,
  )


def fine_depths(depths, weights, u, options: RenderOptions):
  """[b, r, k] depths, unsorted, from the weights of coarse ones [b, r, s]."""
  choose, uniforms = {
    'weights': (sampling.importance_depths, sampling.midpoint_uniforms),
    'nerf': (functools.partial(sampling.importance_depths, floor=0.0), sampling.edge_uniforms),
    'smoothed': (sampling.smoothed_importance_depths, sampling.midpoint_uniforms),
    'robust': (
      functools.partial(sampling.robust_depths, nucleus=options.nucleus),
      sampling.centre_uniforms,
    ),
  }[options.importance]
  if u is None:
    u = uniforms(options.num_fine)
  elif options.fine_jitter == 'strata':
    u = (jnp.arange(options.num_fine) + u) / options.num_fine
  u = jnp.broadcast_to(u, (*depths.shape[:-1], options.num_fine)).astype(depths.dtype)
  return jax.lax.stop_gradient(choose(depths, weights, u))
