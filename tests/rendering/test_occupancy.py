"""Samples that are denser where a grid says that something may be, and how the grid is learned."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64
from test_hierarchical import OPTIONS, PARAMS, make_rays, sphere, waves

from jax3dgan.errors import UserError
from jax3dgan.rendering import hierarchical, occupancy
from jax3dgan.rendering.occupancy import EmphasisedLimits, Occupancy

SIDE = 8


def ball(radius: float) -> Occupancy:
  """A grid that is full where a ball at the origin may be."""
  centres = (np.arange(SIDE) + 0.5) / SIDE - 0.5
  x, y, z = np.meshgrid(centres, centres, centres, indexing='ij')
  near = np.sqrt(x**2 + y**2 + z**2) < radius + np.sqrt(3) / 2 / SIDE
  return Occupancy(jnp.asarray(near, jnp.float32), 1.0)


def test_samples_are_placed_by_hand():
  """One ray from 0 to 32, full from 8 to 16: 8 + .1 · 24 long."""
  emphasis = np.where((np.arange(32) >= 8) & (np.arange(32) < 16), 1.0, 0.1)
  limits = EmphasisedLimits(np.zeros(1), np.full(1, 32.0), np.ones(1, bool), emphasis)
  place = x64.jit(lambda u: (occupancy.place(limits, u), occupancy.stretched_limits(limits)))
  u = np.array([-0.5, 0.0, 0.4, 0.8, 4.8, 8.8, 9.6, 10.4, 11.0])
  placed, stretched = place(u)
  np.testing.assert_allclose(stretched.far, [10.4], rtol=1e-12)
  np.testing.assert_allclose(
    placed.depths, [-0.5, 0, 4, 8, 12, 16, 24, 32, 32.6], rtol=0, atol=1e-9
  )
  # On an edge either side is right.
  np.testing.assert_allclose(placed.interval[[0, 2, 4, 6, 8]], [1, 10, 1, 10, 1], rtol=1e-9)


def limits_of(rays, grid, options=OPTIONS):
  return hierarchical.ray_limits(rays, options, grid)


def test_cells_are_looked_up_where_rays_pass_them():
  """Parts of rays in a ball are full, those a cell's diagonal away from it are empty."""
  rays = make_rays()
  limits = limits_of(rays, ball(0.2))
  middles = OPTIONS.near + (np.arange(32) + 0.5) / 32 * (OPTIONS.far - OPTIONS.near)
  away = np.linalg.norm(np.asarray(hierarchical.points_at(rays, middles)), axis=-1)
  full = np.asarray(limits.emphasis) == 1
  assert full[away < 0.2].all() and (away < 0.2).any()
  assert not full[away > 0.2 + np.sqrt(3) / SIDE].any()
  np.testing.assert_allclose(limits.emphasis[~full], occupancy.FLOOR)


@pytest.mark.parametrize('marcher', ['samples', 'midpoints'])
def test_a_full_or_an_empty_grid_samples_evenly(marcher):
  """Then nothing is stretched against anything else: the picture is that without a grid."""
  density = dict(marcher=marcher, density='softplus', strata='cells')
  options = dataclasses.replace(OPTIONS, **density)
  rays = make_rays(np.float64)
  render = x64.jit(
    lambda grid: hierarchical.render_rays(
      waves(np.float64(PARAMS)), rays, options, limits=limits_of(rays, grid, options)
    )
  )
  expected = x64.jit(lambda: hierarchical.render_rays(waves(np.float64(PARAMS)), rays, options))()
  for cells in (np.ones((SIDE,) * 3), np.zeros((SIDE,) * 3)):
    out = render(Occupancy(cells, 9.0))
    np.testing.assert_allclose(out.colour, expected.colour, rtol=0, atol=1e-12)
    np.testing.assert_allclose(out.depth, expected.depth, rtol=0, atol=1e-12)


def test_pictures_converge_to_those_without_a_grid_and_sooner():
  """A ball in an empty box: less error at as few samples; with many the same, fog and all."""
  rays, grid = make_rays(), ball(0.25)
  fields = {'fog': waves(PARAMS), 'ball': sphere(0.25, 8.0)}

  def colours(name, num, has_grid):
    options = dataclasses.replace(OPTIONS, num_coarse=num, num_fine=0, density='relu')
    limits = limits_of(rays, grid, options) if has_grid else None
    render = lambda: hierarchical.render_rays(fields[name], rays, options, limits=limits)  # noqa: E731
    return np.asarray(jax.jit(render)().colour)

  truth = colours('ball', 300, False)
  errors = [np.sqrt(np.mean((colours('ball', 10, on) - truth) ** 2)) for on in (False, True)]
  assert errors[1] < 0.7 * errors[0], errors
  # Where the grid is wrong nothing is lost.
  np.testing.assert_allclose(colours('fog', 300, True), colours('fog', 300, False), atol=0.02)


def test_samples_even_in_disparity_are_refused():
  options = dataclasses.replace(OPTIONS, spacing='disparity')
  with pytest.raises(UserError, match="'disparity'.*occupancy=0"):
    limits_of(make_rays(), ball(0.2), options)


def test_a_cell_has_one_point_of_its_own():
  points = np.asarray(occupancy.cell_points(jax.random.key(0), 4, 2.0))
  cells = np.floor((points + 1) * 2).astype(int)
  assert np.array_equal(cells, np.argwhere(np.ones((4, 4, 4))))
  assert np.unique(points - cells / 2).size > 190
