"""Tri-planes: the official arrays, and what a plane is."""

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_eg3d import error
from jax import test_util

from jax3dgan.fields import triplane


def official():
  return goldens.load('render_planes_decoder')


def padded(planes):
  """[b, 3, c, h, w] → ours."""
  return triplane.pad_planes(jnp.moveaxis(jnp.asarray(planes), 2, -1))


@pytest.mark.parametrize('axes', ['official', 'fixed'])
@pytest.mark.parametrize('box', [1.0, 1.6])
def test_features_are_the_official_ones(axes, box):
  arrays = official()
  ours = triplane.sample_planes(padded(arrays['planes']), arrays['xyz'], box, axes)
  name = f'features_{axes}_boxwarp{box:g}'
  assert error(ours, arrays[name].mean(1)) < 2e-6


def test_the_decoder_is_the_official_one():
  arrays = official()
  weights = [arrays[f'decoder.net.{i}.weight'].T for i in (0, 2)]
  params = {f'fc_{i}_kernel': w for i, w in enumerate(weights)}
  params |= {f'fc_{i}_bias': arrays[f'decoder.net.{2 * i}.bias'] for i in (0, 1)}
  decoder = triplane.TriplaneDecoder(32, 64)
  field = triplane.TriplaneField(
    padded(arrays['planes']), *decoder.apply({'params': params}, 6), 1.0, 'official'
  )
  # The golden decoder saw the mean of the official features.
  density, colour = field.decode(arrays['features_official_boxwarp1'].mean(1))
  assert error(density, arrays['decoder_sigma'][..., 0]) < 2e-6
  assert error(colour, arrays['decoder_rgb']) < 2e-6
  whole = field(arrays['xyz'][:, :, None], None)
  np.testing.assert_allclose(whole[0][..., 0], density, rtol=1e-5, atol=1e-5)


def test_fixed_planes_tell_all_three_coordinates():
  # Each plane holds its own column and row coordinate; of the official ones none knows y and z.
  ticks = (np.arange(8, dtype=np.float32) + 0.5) / 8 * 2 - 1  # pixel centres in ±1
  column, row = np.meshgrid(ticks, ticks)
  plane = np.stack([column, row], axis=-1)
  planes = triplane.pad_planes(jnp.broadcast_to(plane, (1, 3, 8, 8, 2)))
  points = np.random.default_rng(0).uniform(-0.4, 0.4, (1, 20, 3)).astype(np.float32)
  x, y, z = np.moveaxis(points * 2, -1, 0)
  for axes, columns, rows in [('official', x + x + z, y + z + x), ('fixed', x + x + z, y + z + y)]:
    ours = triplane.sample_planes(planes, points, 1.0, axes)
    np.testing.assert_allclose(ours[..., 0], columns / 3, atol=1e-6)
    np.testing.assert_allclose(ours[..., 1], rows / 3, atol=1e-6)


def test_outside_there_is_nothing():
  planes = triplane.pad_planes(jnp.ones((1, 3, 4, 4, 2)))
  inside = np.float32([[[0, 0, 0]]])
  outside = np.float32([[[0.7, 0.7, 0.7], [-9, 9, 1e6], [0, 0, -0.63]]])
  np.testing.assert_array_equal(triplane.sample_planes(planes, inside, 1.0), 1)
  values = triplane.sample_planes(planes, outside, 1.0)
  np.testing.assert_array_equal(values[0, :2], 0)
  # Beyond the last pixel's centre (±3/8) the value falls to zero within one pixel (±5/8).
  np.testing.assert_allclose(values[0, 2], 1 / 3, atol=1e-6)
  edge = np.float32([[[0, 0, 0.5]]])  # half-way
  np.testing.assert_allclose(triplane.sample_planes(planes, edge, 1.0), (1 + 0.5 + 0.5) / 3)


def test_gradients_reach_planes_and_points():
  rng = np.random.default_rng(0)
  planes = jnp.asarray(rng.normal(size=(1, 3, 6, 6, 2)), jnp.float32)
  points = jnp.asarray(rng.uniform(-0.3, 0.3, (1, 5, 3)), jnp.float32)

  def loss(planes, points):
    return jnp.sum(jnp.sin(triplane.sample_planes(triplane.pad_planes(planes), points, 1.0)))

  test_util.check_grads(
    jax.jit(loss), (planes, points), 1, modes=['rev'], rtol=2e-2, atol=1e-3, eps=1e-3
  )
