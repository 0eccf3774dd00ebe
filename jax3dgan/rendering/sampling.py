"""Where to sample a ray: stratified depths, and importance sampling of a piecewise-constant
density.

Pure functions of arrays. Random numbers come in as arrays (`None` means deterministic), so that a
test or another framework can supply the same ones.
"""

import jax.numpy as jnp

# π-GAN adds this to every weight, twice, so that empty rays still get samples everywhere.
_WEIGHT_FLOOR = 1e-5
# Below this a bin of the cumulative distribution counts as empty; its samples fall on its lower
# edge.
_EMPTY_BIN = 1e-5


def stratified_depths(
  near, far, num_samples: int, u=None, strata: str = 'centred', spacing: str = 'linear'
):
  """One depth per stratum of [near, far].

  Args:
    near, far: distances along the unit ray, scalars or [..., 1].
    num_samples: s.
    u: [..., s] uniforms in [0, 1), or None for deterministic depths.
    strata: 'centred': around `s` evenly spaced depths with both ends included (π-GAN); 'forward':
      from each of them up to the next, so that the last one may lie a stratum behind `far` (EG3D).
      Without u both give the evenly spaced depths themselves.
    spacing: 'linear', or 'disparity': even in 1/depth.

  Returns:
    depths, ascending, of u's shape, or [s] or [..., s].
  """
  step = 1 / max(num_samples - 1, 1)
  if spacing == 'linear':
    # jnp.linspace puts the samples of per-ray limits last as well.
    near, far = (jnp.squeeze(x, -1) if jnp.ndim(x) else x for x in (near, far))
    centres = jnp.linspace(near, far, num_samples, axis=-1)
    if u is None:
      return centres
    shift = u - 0.5 if strata == 'centred' else u
    return centres.astype(u.dtype) + shift * (step * jnp.expand_dims(far - near, -1))
  even = jnp.linspace(0.0, 1.0, num_samples)
  if u is not None:
    even = even.astype(u.dtype) + (u - 0.5 if strata == 'centred' else u) * step
  return 1 / ((1 - even) / near + even / far)


def box_limits(origins, directions, side):
  """Where rays enter and leave a cube around the origin with faces along the axes.

  Args:
    origins, directions: [..., 3].
    side: of the cube, world units.

  Returns:
    near, far: [..., 1] distances, near at least 0; −1 and −2 for a ray that misses the cube.
  """
  # A direction along a face divides by zero; its ±infinity is what the comparisons want.
  inverse = 1 / directions
  a, b = (-side / 2 - origins) * inverse, (side / 2 - origins) * inverse
  near = jnp.max(jnp.minimum(a, b), axis=-1, keepdims=True)
  far = jnp.min(jnp.maximum(a, b), axis=-1, keepdims=True)
  hit = near <= far
  return jnp.where(hit, near, -1.0), jnp.where(hit, far, -2.0)


def fill_missing_limits(near, far):
  """Gives rays that miss the cube (near −1, far −2) the limits that EG3D's release gives them.

  They start at the least start of the others and end at the greatest START of the others. Where no
  ray hits, −1 and −2 stay.
  """
  hit = far > near
  some = jnp.any(hit)
  first = jnp.min(jnp.where(hit, near, jnp.inf))
  last = jnp.max(jnp.where(hit, near, -jnp.inf))
  return (
    jnp.where(hit | ~some, near, first.astype(near.dtype)),
    jnp.where(hit | ~some, far, last.astype(far.dtype)),
  )


def importance_sample(bins, weights, u, right: bool = False):
  """Inverse-transform samples of a piecewise-constant density (NeRF, Sec. 5.2, in π-GAN's form).

  Args:
    bins: [..., n + 1] edges, ascending.
    weights: [..., n] non-negative, need not sum to one.
    u: [..., k] uniforms in [0, 1].
    right: whether a u that falls on an edge belongs to the bin behind it (EG3D) or before it.

  Returns:
    samples [..., k], in the order of u.
  """
  weights = weights + _WEIGHT_FLOOR
  pdf = weights / jnp.sum(weights, axis=-1, keepdims=True)
  cdf = jnp.cumsum(pdf, axis=-1)
  cdf = jnp.concatenate([jnp.zeros_like(cdf[..., :1]), cdf], axis=-1)  # [..., n + 1]
  compare = jnp.less_equal if right else jnp.less
  # The first edge that is not below u, or that is above it.
  index = jnp.sum(compare(cdf[..., None, :], u[..., :, None]), axis=-1)
  below = jnp.maximum(index - 1, 0)
  above = jnp.minimum(index, cdf.shape[-1] - 1)

  def take(values, at):
    return jnp.take_along_axis(values, at, axis=-1)

  cdf_below, bin_below = take(cdf, below), take(bins, below)
  width = take(cdf, above) - cdf_below
  width = jnp.where(width < _EMPTY_BIN, 1.0, width)
  return bin_below + (u - cdf_below) / width * (take(bins, above) - bin_below)


def importance_depths(depths, weights, u):
  """Fine depths of a ray from its coarse weights, as π-GAN draws them.

  Args:
    depths: [..., s] ascending coarse depths, s >= 3.
    weights: [..., s] their compositing weights.
    u: [..., k] uniforms; see `midpoint_uniforms` for deterministic ones.

  Returns:
    [..., k] depths between the first and the last mid-point, unsorted.
  """
  mid_points = 0.5 * (depths[..., 1:] + depths[..., :-1])  # [..., s - 1]
  return importance_sample(mid_points, weights[..., 1:-1] + _WEIGHT_FLOOR, u)


def smoothed_importance_depths(depths, weights, u):
  """Fine depths of a ray from its coarse weights, as EG3D draws them.

  Weights are widened (the greater of two neighbours, then the mean of two, then 0.01 more), so
  that thin surfaces are not missed. As in the release the edges are those of the mid-points from
  the first on, though the first weight is left out.

  Args:
    depths: [..., s] ascending coarse depths, s >= 4.
    weights: [..., s − 1] weights between them (`compositing.march_midpoints`).
    u: [..., k] uniforms.

  Returns:
    [..., k] depths, unsorted.
  """
  mid_points = 0.5 * (depths[..., 1:] + depths[..., :-1])  # [..., s - 1]
  edge = jnp.full_like(weights[..., :1], -jnp.inf)
  wide = jnp.maximum(
    jnp.concatenate([edge, weights], axis=-1), jnp.concatenate([weights, edge], axis=-1)
  )  # [..., s]
  smooth = 0.5 * (wide[..., 1:] + wide[..., :-1]) + 0.01  # [..., s - 1]
  inner = smooth[..., 1:-1]
  return importance_sample(mid_points[..., : inner.shape[-1] + 1], inner, u, right=True)


def midpoint_uniforms(num_samples: int):
  """The deterministic stand-in for sorted uniforms: the centres of k equal parts of [0, 1], [k]."""
  return (jnp.arange(num_samples) + 0.5) / num_samples
