"""Regularisation of the density by differences between neighbouring points (EG3D, Chan et al. 2022,
arXiv 2112.07945, supplement): without it, clouds hang in the empty space of tri-planes.

Losses are pure functions of a density and of points; to draw the points is up to the step. A
density is a callable, points [b, n, 3] → [b, n] (or [b, n, 1]), not yet softplus'd. Weights and
points are the caller's. EG3D's two kinds, every fourth step with four times the weight:

* l1: .25 `l1` of 1,000 points and neighbours at N(0, .004²);
* monotonic: 10 `monotonic` of 2,000 points and those 1/256 of the box's side behind them, and .25
  `l1` of 1,000 points and neighbours at N(0, (side/256)²).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def uniform_points(keys, num: int = 1000, extent: float = 1.0):
  """Points [b, num, 3] in the cube [−extent, extent]³, from per-example keys [b].

  EG3D draws from [−1, 1]³ whatever the size of its box.
  """

  def draw(key):
    return jax.random.uniform(key, (num, 3), minval=-extent, maxval=extent)

  return jax.vmap(draw)(keys)


def normal_offsets(keys, num: int = 1000, std: float = 0.004):
  """Steps [b, num, 3] from points to neighbours: N(0, std²), from per-example keys [b]."""
  return std * jax.vmap(lambda key: jax.random.normal(key, (num, 3)))(keys)


def backward_offset(distance: float):
  """The step [3] from the frontal camera, on +z, away: by `distance` along −z."""
  return jnp.array([0.0, 0.0, -distance])


def pairs(density_fn: Callable, points, neighbours):
  """The density at points and at neighbours [b, n, 3], in one call: two arrays [b, n]."""
  both = density_fn(jnp.concatenate([points, neighbours], axis=1))
  both = both.reshape(both.shape[0], -1)
  return both[:, : points.shape[1]], both[:, points.shape[1] :]


def l1(density_fn: Callable, points, neighbours):
  """Mean of |density(point) − density(neighbour)|, a scalar."""
  a, b = pairs(density_fn, points, neighbours)
  return jnp.abs(a - b).mean()


def monotonic(density_fn: Callable, points, behind, detach: bool = True):
  """Mean of max(0, density(point) − density(behind)), a scalar: what is solid stays so inwards.

  Args:
    points, behind: [b, n, 3]; behind are those farther from the frontal camera.
    detach: no gradient goes to the density of `points`: what lies behind is filled, nothing in
      front is emptied.
  """
  front, back = pairs(density_fn, points, behind)
  if detach:
    front = jax.lax.stop_gradient(front)
  return jax.nn.relu(front - back).mean()
