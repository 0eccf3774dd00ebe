"""Trilinear interpolation of features on a grid in space."""

import itertools

import jax.numpy as jnp


def sample_grid(grid, points):
  """Features of points in a grid that spans [−1, 1]³, zero around it.

  The outermost samples are at ±1. Beyond them the features fade to zero over one interval, as if
  the next layer of samples were zero.

  Args:
    grid: [d, h, w, c], samples along z, y and x.
    points: [..., 3] (x, y, z).

  Returns:
    [..., c], differentiable in the grid and, within a cell, in the points.
  """
  d, h, w, c = grid.shape
  sizes = jnp.array([w, h, d])
  position = (points + 1) * (0.5 * (sizes - 1)).astype(points.dtype)
  low = jnp.floor(position)
  fraction = position - low
  flat = grid.reshape(d * h * w, c)
  result = 0.0
  for corner in itertools.product((0, 1), repeat=3):  # eight gathers of [..., c], not one of eight
    at = low + jnp.array(corner, low.dtype)
    inside = jnp.all((at >= 0) & (at <= (sizes - 1).astype(at.dtype)), axis=-1)
    weight = jnp.prod(jnp.where(jnp.array(corner, bool), fraction, 1 - fraction), axis=-1)
    x, y, z = jnp.moveaxis(jnp.clip(at, 0, sizes - 1).astype(jnp.int32), -1, 0)
    result += jnp.where(inside, weight, 0.0)[..., None] * flat[(z * h + y) * w + x]
  return result
