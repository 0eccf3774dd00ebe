"""A field on a grid of points: closed forms, in the memory of one chunk."""

import functools

import flax.linen as nn
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.generators.pigan import PiGAN
from jax3dgan.rendering import grid


def test_the_grid_spans_the_cube():
  points = grid.grid_points(np.arange(5**3), 5, 2.0).reshape(5, 5, 5, 3)
  ticks = np.linspace(-1, 1, 5)
  expected = np.stack(np.meshgrid(ticks, ticks, ticks, indexing='ij'), -1)
  np.testing.assert_allclose(points, expected, atol=1e-6)
  with pytest.raises(UserError, match='1 points on a side'):
    grid.grid_points(np.arange(1), 1, 2.0)


def test_it_begins_where_the_official_one_does():
  """The release's own goes astray: it does not round x and y down (docs/parity.md)."""
  arrays = goldens.load('extract_grid')
  points = grid.grid_points(np.arange(2), 4, 0.3)
  np.testing.assert_allclose(points[0], arrays['voxel_origin'], atol=1e-7)
  np.testing.assert_allclose(points[1] - points[0], [0, 0, arrays['voxel_size']], atol=1e-7)


class Ellipsoid(nn.Module):
  """A field in closed form: density 1 − |p / radii|, the radii being the style [b, 3]."""

  def query(self, w, points, directions=None):
    return 1 - jnp.linalg.norm(points / w[:, None], axis=-1), jnp.zeros_like(points)


@pytest.mark.parametrize('chunk', [7**3, 50, 10_000])
def test_a_field_on_the_grid(chunk):
  """Also where the last chunk is not full, and for one that is larger than the grid."""
  radii = np.float32([[0.5, 0.7, 0.9]])
  volume = grid.query_planes(Ellipsoid(), {}, radii, 0, 7, 7, 2.0, chunk)
  x, y, z = np.meshgrid(*[np.linspace(-1, 1, 7)] * 3, indexing='ij')
  expected = 1 - np.sqrt((x / 0.5) ** 2 + (y / 0.7) ** 2 + (z / 0.9) ** 2)
  assert volume.shape == (7, 7, 7)
  np.testing.assert_allclose(volume, expected, atol=2e-6)


@functools.cache
def pigan():
  """(generator, variables, style [1, ...]) of the smallest size."""
  generator = PiGAN(z_dim=4, hidden_dim=8, num_layers=2, mapping_dim=8, mapping_layers=1)
  z = np.ones((1, 4), np.float32)

  @jax.jit
  def make(key):
    variables = generator.init(key, z, method='initialise')
    return variables, generator.apply(variables, z, method='map')

  return generator, *make(jax.random.key(0))


def test_a_generator_on_the_grid_in_the_memory_of_one_chunk():
  generator, variables, w = pigan()
  volume = grid.query_planes(generator, variables, w, 0, 16, 16, 0.3, 500)
  points = grid.grid_points(np.arange(16**3), 16, 0.3)[None]
  query = jax.jit(lambda v, w: generator.apply(v, w, points, method='query'))
  np.testing.assert_allclose(volume.ravel(), query(variables, w)[0][0], atol=1e-5)
  assert np.asarray(volume).std() > 1e-3

  def temporaries(chunk):
    lowered = grid.query_planes.lower(generator, variables, w, 0, 16, 16, 0.3, chunk)
    return lowered.compile().memory_analysis().temp_size_in_bytes

  assert temporaries(500) < 0.3 * temporaries(4096)
