"""Grids of points: the release's sheared one, closed forms, a field in the memory of one chunk."""

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


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_the_sheared_grid_is_the_official_one(dtype):
  arrays = goldens.load('extract_grid')
  with jax.enable_x64(True):
    points = jax.device_get(grid.grid_points(4, 0.3, sheared=True, dtype=dtype))
  goldens.compare('extract_grid', 'official_samples_N4_cube0p3', points[None], atol=3e-8)
  straight = grid.grid_points(4, 0.3)
  np.testing.assert_allclose(straight[0], arrays['voxel_origin'], atol=1e-7)
  np.testing.assert_allclose(straight[1] - straight[0], [0, 0, arrays['voxel_size']], atol=1e-7)
  # They agree where a row of z begins and y is at its start.
  np.testing.assert_allclose(points[::16], straight[::16], atol=1e-7)
  assert np.abs(points - straight).max() > 0.05


def test_the_grid_spans_the_cube():
  points = grid.grid_points(5, 2.0).reshape(5, 5, 5, 3)
  ticks = np.linspace(-1, 1, 5)
  expected = np.stack(np.meshgrid(ticks, ticks, ticks, indexing='ij'), -1)
  np.testing.assert_allclose(points, expected, atol=1e-6)
  with pytest.raises(UserError, match='1 points on a side'):
    grid.grid_points(1, 2.0)


class Ellipsoid(nn.Module):
  """A field in closed form: density 1 − |p / radii|, the radii being the style [b, 3]."""

  def query(self, w, points, directions=None):
    return 1 - jnp.linalg.norm(points / w[:, None], axis=-1), jnp.zeros_like(points)


@pytest.mark.parametrize('chunk', [7**3, 50, 10_000])
def test_a_field_on_the_grid(chunk):
  """Also where the last chunk is not full, and for one that is larger than the grid."""
  radii = np.float32([0.5, 0.7, 0.9])
  volume = grid.query_grid(Ellipsoid(), {}, radii, 7, 2.0, chunk)
  x, y, z = np.meshgrid(*[np.linspace(-1, 1, 7)] * 3, indexing='ij')
  expected = 1 - np.sqrt((x / 0.5) ** 2 + (y / 0.7) ** 2 + (z / 0.9) ** 2)
  assert volume.shape == (7, 7, 7)
  np.testing.assert_allclose(volume, expected, atol=2e-6)


@functools.cache
def pigan():
  """(generator, parameters, style) of the smallest size."""
  generator = PiGAN(z_dim=4, hidden_dim=8, num_layers=2, mapping_dim=8, mapping_layers=1)
  z = np.ones((1, 4), np.float32)

  @jax.jit
  def make(key):
    params = generator.init(key, z, method='initialise')
    return params['params'], generator.apply(params, z, method='map')[0]

  return generator, *make(jax.random.key(0))


def test_a_generator_on_the_grid_in_the_memory_of_one_chunk():
  generator, params, w = pigan()
  volume = grid.query_grid(generator, params, w, 16, 0.3, 500)
  points = grid.grid_points(16, 0.3)[None]
  query = jax.jit(lambda p, w: generator.apply({'params': p}, w[None], points, method='query'))
  np.testing.assert_allclose(volume.ravel(), query(params, w)[0][0], atol=1e-5)
  assert np.asarray(volume).std() > 1e-3

  def temporaries(chunk):
    lowered = grid.query_grid.lower(generator, params, w, 16, 0.3, chunk)
    return lowered.compile().memory_analysis().temp_size_in_bytes

  assert temporaries(500) < 0.3 * temporaries(4096)
