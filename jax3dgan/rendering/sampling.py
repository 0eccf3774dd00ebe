"""Where to sample a ray: stratified depths, and importance sampling of a piecewise-constant
density.

Pure functions of arrays. Random numbers come in as arrays (`None` means deterministic), so that a
test or another framework can supply the same ones.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.nn.cpu.sorting import ascending_order
from jax3dgan.nn.take import take

# Added to every weight, so that empty rays still get samples everywhere: by NeRF once, by π-GAN's
# release twice.
_WEIGHT_FLOOR = 1e-5
# Below this a bin of the cumulative distribution counts as empty; its samples fall on its lower
# edge.
_EMPTY_BIN = 1e-5
# Components of a unit direction below this count as this: the ray runs along a face.
_PARALLEL = 1e-9
# Sampling starts at least this share of the cube's side away from a camera inside it: 1/distance is
# finite.
_NEAREST = 1e-4


def stratified_depths(
  near, far, num_samples: int, u=None, strata: str = 'centred', spacing: str = 'linear'
):
  """One depth per stratum of [near, far].

  Args:
    near, far: distances along the unit ray, scalars or [..., 1].
    num_samples: s.
    u: [..., s] uniforms in [0, 1), or [..., 1] for all samples of a ray; None for deterministic
      depths.
    strata: 'centred': around `s` evenly spaced depths with both ends included (π-GAN); 'forward':
      from each of them up to the next, so that the last one may be a stratum behind `far` (EG3D).
      'between': around each of them between its mid-points with its neighbours, so that none is
      outside of [near, far] (NeRF, StyleNeRF). Without u these give the evenly spaced depths
      themselves. 'cells': in `s` equal parts of [near, far]; without u at their beginnings
      (StyleSDF).
    spacing: 'linear', or 'disparity': even in 1/depth.

  Returns:
    depths, ascending, [s] or [..., s].
  """
  cells = strata == 'cells'
  step = 1 / num_samples if cells else 1 / max(num_samples - 1, 1)
  if spacing == 'linear':
    # jnp.linspace puts the samples of per-ray limits last as well.
    near, far = (jnp.squeeze(x, -1) if jnp.ndim(x) else x for x in (near, far))
    centres = jnp.linspace(near, far, num_samples, endpoint=not cells, axis=-1)
    if u is None:
      return centres
    shift = _shift(u, strata, num_samples)
    return centres.astype(u.dtype) + shift * (step * jnp.expand_dims(far - near, -1))
  even = jnp.linspace(0.0, 1.0, num_samples, endpoint=not cells)
  if u is not None:
    even = even.astype(u.dtype) + _shift(u, strata, num_samples) * step
  return 1 / ((1 - even) / near + even / far)


def _shift(u, strata: str, num_samples: int):
  """From evenly spaced depths to random ones, in strata, of uniforms u [..., s or 1]."""
  if strata in ('forward', 'cells'):
    return u
  shift = u - 0.5
  if strata == 'between' and num_samples > 1:
    index = jnp.arange(num_samples)  # the strata of both ends are halves
    shift = jnp.where(
      index == 0, 0.5 * u, jnp.where(index == num_samples - 1, 0.5 * (u - 1), shift)
    )
  return shift


def axis_limits(axis_cosine, near, far) -> 'Limits':
  """Where rays meet the planes across their camera's axis at the distances near and far.

  Args:
    axis_cosine: [..., 1] cosine of the angle between a ray and the axis, positive.
    near, far: scalars or [..., 1], world units.
  """
  hit = jnp.ones(axis_cosine.shape, bool)
  return Limits(near / axis_cosine, far / axis_cosine, hit)


class Limits(NamedTuple):
  """Where rays are sampled.

  Attributes:
    near, far: [..., 1] distances.
    hit: [..., 1] whether there is anything between them: a ray without it shows the background.
  """

  near: jax.Array
  far: jax.Array
  hit: jax.Array


def box_limits(origins, directions, side: float) -> Limits:
  """Where rays enter and leave a cube around the world's origin with faces along the axes.

  Of one ray alone. A ray that misses the cube gets distances at which it passes the ball around the
  cube, so that its samples are finite and ascending, and `hit` is False.

  Args:
    origins, directions: [..., 3]; directions of unit length.
    side: of the cube, world units.
  """
  # A direction along a face would divide by zero.
  directions = jnp.where(jnp.abs(directions) < _PARALLEL, _PARALLEL, directions)
  a, b = (-side / 2 - origins) / directions, (side / 2 - origins) / directions
  near = jnp.max(jnp.minimum(a, b), axis=-1, keepdims=True)
  far = jnp.min(jnp.maximum(a, b), axis=-1, keepdims=True)
  nearest = _NEAREST * side  # of a camera inside the cube
  near = jnp.maximum(near, nearest)
  hit = near < far
  # The distance to the cube's centre; its derivative is finite in the centre itself.
  centre = jnp.sqrt(jnp.sum(jnp.square(origins), axis=-1, keepdims=True) + _PARALLEL**2)
  radius = math.sqrt(3) / 2 * side
  near = jnp.where(hit, near, jnp.maximum(centre - radius, nearest))
  return Limits(near, jnp.where(hit, far, centre + radius), hit)


def release_box_limits(origins, directions, side: float) -> Limits:
  """`box_limits` as EG3D's release has them, for comparison with it.

  Rays that miss the cube are sampled from the least start of all the other rays to their greatest
  START, and what is there counts: a pixel depends on which rays are rendered with it. Where no ray
  hits, all are sampled from −1 to −2.
  """
  near, far, hit = box_limits(origins, directions, side)
  some = jnp.any(hit)
  first = jnp.min(jnp.where(hit, near, jnp.inf))
  last = jnp.max(jnp.where(hit, near, -jnp.inf))
  near = jnp.where(hit, near, jnp.where(some, first, -1.0))
  return Limits(near, jnp.where(hit, far, jnp.where(some, last, -2.0)), jnp.ones_like(hit))


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
  cdf_below, bin_below = take(cdf, below), take(bins, below)
  width = take(cdf, above) - cdf_below
  width = jnp.where(width < _EMPTY_BIN, 1.0, width)
  return bin_below + (u - cdf_below) / width * (take(bins, above) - bin_below)


def importance_depths(depths, weights, u, floor: float = _WEIGHT_FLOOR):
  """Fine depths of a ray from its coarse weights, as π-GAN draws them.

  NeRF's and StyleNeRF's do the same, but add the floor of 1e-5 to the weights once, not twice, and
  are deterministic at `edge_uniforms`.

  Args:
    depths: [..., s] ascending coarse depths, s >= 3.
    weights: [..., s] their compositing weights.
    u: [..., k] uniforms; see `midpoint_uniforms` for deterministic ones.
    floor: added to the weights beside that of `importance_sample`.

  Returns:
    [..., k] depths between the first and the last mid-point, unsorted.
  """
  mid_points = 0.5 * (depths[..., 1:] + depths[..., :-1])  # [..., s - 1]
  return importance_sample(mid_points, weights[..., 1:-1] + floor, u)


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


def robust_depths(depths, weights, u, nucleus: float = 0.98):
  """Fine depths of a ray, stratified over the bins that hold nearly all of its weight (WYSIWYG,
  Trevithick et al., CVPR 2024, arXiv 2401.02411, Sec. 4.3).

  A bin is what is nearer to a coarse sample than to the others. The smallest set of bins with a
  share of at least `nucleus` of the weight is sampled evenly: of k samples c bins get ⌊k/c⌋ each,
  the heaviest ones one more, and each has a stratum of its bin for itself. What remains of fog and
  of noise outside of the set draws no sample. As every bin has its coarse sample, which is
  integrated too, no interval is longer than from there to the next: the paper, which integrates the
  fine samples alone, has to clip their intervals.

  Args:
    depths: [..., s] ascending coarse depths, s >= 2.
    weights: [..., s] theirs, or [..., s − 1] between them (`compositing.march_midpoints`).
    u: [..., k] uniforms: where in its stratum a sample is.
    nucleus: τ; with 1 all bins are in the set.

  Returns:
    [..., k] depths, ascending.
  """
  num = depths.shape[-1]
  if weights.shape[-1] == num - 1:  # of a sample: the mean of both sides
    ends = (weights[..., :1], weights[..., -1:])
    weights = 0.5 * (
      jnp.concatenate([ends[0], weights], axis=-1) + jnp.concatenate([weights, ends[1]], axis=-1)
    )
  mid_points = 0.5 * (depths[..., 1:] + depths[..., :-1])
  edges = jnp.concatenate([depths[..., :1], mid_points, depths[..., -1:]], axis=-1)  # [..., s + 1]
  shares = weights + _WEIGHT_FLOOR
  shares = shares / jnp.sum(shares, axis=-1, keepdims=True)
  _, rank = ascending_order(-shares)
  kept = jnp.ones(shares.shape, bool)
  if nucleus < 1:
    heavier = rank[..., None, :] < rank[..., :, None]
    kept = jnp.sum(jnp.where(heavier, shares[..., None, :], 0), axis=-1) < nucleus
  size = jnp.sum(kept, axis=-1, keepdims=True)
  k = u.shape[-1]
  counts = jnp.where(kept, k // size + (rank < k % size), 0)
  ends = jnp.cumsum(counts, axis=-1)
  index = jnp.broadcast_to(jnp.arange(k), u.shape)
  of = jnp.sum(ends[..., None, :] <= index[..., :, None], axis=-1)  # the bin of each sample
  count, low, high = take(counts, of), take(edges, of), take(edges, of + 1)
  stratum = index - (take(ends, of) - count)
  return low + (high - low) * (stratum + u) / count


def centre_uniforms(num_samples: int):
  """The deterministic stand-in for uniforms of strata: their centres, [k]."""
  return jnp.full(num_samples, 0.5)


def midpoint_uniforms(num_samples: int):
  """The deterministic stand-in for sorted uniforms: the centres of k equal parts of [0, 1], [k]."""
  return (jnp.arange(num_samples) + 0.5) / num_samples


def edge_uniforms(num_samples: int):
  """Instead, as in NeRF: evenly spaced with both ends included, [k]."""
  return jnp.linspace(0.0, 1.0, num_samples)
