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


def stratified_depths(near, far, num_samples: int, u=None):
  """One depth per stratum of [near, far].

  The strata are centred on `num_samples` evenly spaced depths with both ends included (π-GAN).

  Args:
    near, far: scalars, distances along the unit ray.
    num_samples: s.
    u: [..., s] uniforms in [0, 1), or None for the centres themselves, [s].

  Returns:
    depths, ascending, of u's shape or [s].
  """
  centres = jnp.linspace(near, far, num_samples)
  if u is None:
    return centres
  spacing = (far - near) / max(num_samples - 1, 1)
  return centres.astype(u.dtype) + (u - 0.5) * spacing


def importance_sample(bins, weights, u):
  """Inverse-transform samples of a piecewise-constant density (NeRF, Sec. 5.2, in π-GAN's form).

  Args:
    bins: [..., n + 1] edges, ascending.
    weights: [..., n] non-negative, need not sum to one.
    u: [..., k] uniforms in [0, 1].

  Returns:
    samples [..., k], in the order of u.
  """
  weights = weights + _WEIGHT_FLOOR
  pdf = weights / jnp.sum(weights, axis=-1, keepdims=True)
  cdf = jnp.cumsum(pdf, axis=-1)
  cdf = jnp.concatenate([jnp.zeros_like(cdf[..., :1]), cdf], axis=-1)  # [..., n + 1]
  index = jnp.sum(
    cdf[..., None, :] < u[..., :, None], axis=-1
  )  # the first edge that is not below u
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


def midpoint_uniforms(num_samples: int):
  """The deterministic stand-in for sorted uniforms: the centres of k equal parts of [0, 1], [k]."""
  return (jnp.arange(num_samples) + 0.5) / num_samples
