"""Trilinear sampling: the official arrays, closed forms, its gradient."""

import goldens
import jax
import numpy as np
import pytest
import x64

from jax3dgan.rendering import trilinear

sample_grid = x64.jit(trilinear.sample_grid)
D, H, W = SHAPE = 3, 5, 6


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_samples_match_official(dtype):
  """Inside, on the faces, partly and wholly outside."""
  arrays = goldens.load('volume_edge_cases')
  grid = np.moveaxis(arrays['grid/grid'][0], 0, -1).astype(dtype)
  points = arrays['grid/points'].astype(dtype)
  assert grid.shape[:3] == SHAPE
  assert (np.abs(points) > 1).any() and (np.abs(points) < 1).all(-1).any()
  features = sample_grid(grid, points)
  assert features.dtype == dtype
  goldens.compare('volume_edge_cases', 'grid/features', features, atol=1e-6)


def samples_at():
  """The positions of the grid's own samples, [d, h, w, 3] (x, y, z)."""
  z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing='ij')
  return np.stack([x, y, z], -1)


def test_a_multilinear_function_is_exact():
  def function(p):
    x, y, z = np.moveaxis(p, -1, 0)
    return np.stack([1 + x - 2 * y + 3 * z, x * y - y * z + x * y * z], -1)

  points = np.random.default_rng(0).uniform(-1, 1, (2, 40, 3))
  actual = sample_grid(function(samples_at()), points)
  np.testing.assert_allclose(actual, function(points), rtol=0, atol=1e-13)


def test_features_fade_within_one_interval_outside():
  ones = np.ones((*SHAPE, 1))
  # Beyond +x: intervals of 2/5; beyond −z: of 1; both together.
  beyond = np.array([0.0, 0.25, 0.5, 0.999, 1.0, 1.5, 1e12])
  x = sample_grid(ones, np.stack([1 + 0.4 * beyond, 0 * beyond, 0 * beyond], -1))
  z = sample_grid(ones, np.stack([0 * beyond, 0 * beyond, -1 - beyond], -1))
  corner = sample_grid(ones, np.stack([1 + 0.4 * beyond, 0 * beyond, -1 - beyond], -1))
  expected = np.maximum(1 - beyond, 0)
  np.testing.assert_allclose(x[:, 0], expected, atol=1e-12)
  np.testing.assert_allclose(z[:, 0], expected, atol=1e-12)
  np.testing.assert_allclose(corner[:, 0], expected**2, atol=1e-12)


def test_the_gradient_of_the_grid_is_the_interpolation_transposed():
  """<J g, v> = <g, Jᵀ v>, and the weights of an inner point add up to one."""
  rng = np.random.default_rng(1)
  grid, points = rng.normal(size=(*SHAPE, 4)), rng.uniform(-1.3, 1.3, (2, 40, 3))
  cotangent = rng.normal(size=(2, 40, 4))

  @x64.jit
  def both(grid, points, cotangent):
    value, transpose = jax.vjp(lambda g: trilinear.sample_grid(g, points), grid)
    one = jax.grad(lambda g: trilinear.sample_grid(g, 0.3 * points[0, :1]).sum())(grid)
    return value, transpose(cotangent)[0], one

  value, gradient, one = both(grid, points, cotangent)
  np.testing.assert_allclose(np.vdot(value, cotangent), np.vdot(grid, gradient), rtol=1e-12)
  np.testing.assert_allclose(one.sum((0, 1, 2)), np.ones(4), rtol=1e-12)
  assert (one != 0).sum() == 8 * 4
