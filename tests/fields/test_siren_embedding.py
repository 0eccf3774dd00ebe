"""π-GAN's variant with a learned grid of features: the field against the formulas, its gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import x64

from jax3dgan import cameras, generators
from jax3dgan import config as config_lib
from jax3dgan.errors import UserError
from jax3dgan.fields.siren import FilmSiren
from jax3dgan.generators.pigan import PiGAN

B, R, S, HIDDEN, LAYERS, CHANNELS, SIDE, SCALE = 2, 3, 4, 16, 2, 5, 6, 2 / 0.24
FIELD = FilmSiren(
  HIDDEN, LAYERS, SCALE, embedding_channels=CHANNELS, embedding_resolution=SIDE, embedding_scale=0.5
)


@functools.cache
def inputs():
  """(parameters, points, unit directions, styles) in float64; some points leave the grid."""
  rng = np.random.default_rng(0)
  points = rng.uniform(-0.2, 0.2, (B, R, S, 3))
  directions = rng.normal(size=(B, R, 3))
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  styles = rng.normal(size=(B, LAYERS + 1, 2, HIDDEN)) * 0.3
  args = [x.astype(np.float32) for x in (points, directions, styles)]
  params = jax.device_get(jax.jit(FIELD.init)(jax.random.key(0), *args))['params']
  return jax.tree.map(np.float64, params), points, directions, styles


def formula(params, points, directions, styles):
  """(raw density, colour) layer by layer and point by point in NumPy."""

  def film(name, x, i):
    frequency, phase = (styles[:, i, j, None, None] for j in (0, 1))  # [b, 1, 1, h]
    linear = x @ params[f'{name}_kernel'] + params[f'{name}_bias']
    return np.sin((15 * frequency + 30) * linear + phase)

  x = points * SCALE
  at = (x[..., ::-1] + 1) / 2 * (SIDE - 1)  # z, y, x in samples of the grid
  features = [
    scipy.ndimage.map_coordinates(channel, np.moveaxis(at, -1, 0), order=1, mode='grid-constant')
    for channel in np.moveaxis(params['spatial_embeddings'], -1, 0)
  ]
  x = np.concatenate([np.stack(features, -1), x], -1)
  for i in range(LAYERS):
    x = film(f'film_{i}', x, i)
  raw = (x @ params['density_kernel'] + params['density_bias'])[..., 0]
  x = film('colour_film', np.concatenate([directions[:, :, None] + 0 * points, x], -1), LAYERS)
  return raw, 1 / (1 + np.exp(-(x @ params['colour_kernel'] + params['colour_bias'])))


def test_the_folded_field_is_the_formula():
  params, points, *rest = inputs()

  @x64.jit
  def run(params, points, directions, styles):
    folded = FIELD.apply({'params': params}, styles, method='fold')
    return folded(points, directions), folded.density(points.reshape(B, R * S, 3))

  (raw, colour), density = run(*inputs())
  expected_raw, expected_colour = formula(*inputs())
  np.testing.assert_allclose(raw, expected_raw, rtol=0, atol=1e-10)
  np.testing.assert_allclose(colour, expected_colour, rtol=0, atol=1e-10)
  np.testing.assert_allclose(density.reshape(raw.shape), raw, rtol=0, atol=1e-12)
  # The features matter inside the grid, and fade within an interval of 0.4 outside.
  empty = {**params, 'spatial_embeddings': 0 * params['spatial_embeddings']}
  without, _ = formula(empty, points, *rest)
  inside = (np.abs(points * SCALE) < 1).all(-1)
  outside = (np.abs(points * SCALE) > 1.4).any(-1)
  assert inside.any() and np.abs(raw - without)[inside].min() > 1e-4
  assert outside.any() and np.abs(raw - without)[outside].max() < 1e-12
  # In float32, the phases of up to a few hundred radians are rounded to 1e-5.
  (raw, colour), _ = run(*jax.tree.map(np.float32, inputs()))
  assert raw.dtype == colour.dtype == np.float32
  np.testing.assert_allclose(raw, expected_raw, atol=2e-4)
  np.testing.assert_allclose(colour, expected_colour, atol=2e-4)


def test_gradients_reach_the_grid():
  """Along random directions, against finite differences of the formula."""
  params, *rest = inputs()
  rng = np.random.default_rng(1)

  def total(raw, colour, xp):
    return xp.sum(xp.sin(raw)) + xp.sum(xp.cos(3 * colour))

  @x64.jit
  def gradient(params):
    return jax.grad(lambda p: total(*FIELD.apply({'params': p}, *rest), jnp))(params)

  actual = gradient(params)
  for name in ('spatial_embeddings', 'film_0_kernel'):
    along = rng.normal(size=params[name].shape)
    up, down = (
      total(*formula({**params, name: params[name] + step * along}, *rest), np)
      for step in (1e-6, -1e-6)
    )
    slope = np.vdot(actual[name], along)
    assert abs(slope) > 1e-2
    np.testing.assert_allclose((up - down) / 2e-6, slope, rtol=1e-6)


def test_initialisation():
  """Normal times the scale; the first layer counts the features among its inputs."""
  field = FilmSiren(64, 1, embedding_channels=32, embedding_resolution=16, embedding_scale=0.01)
  args = [jnp.zeros(shape) for shape in ((1, 1, 1, 3), (1, 1, 3), (1, 2, 2, 64))]
  params = jax.device_get(jax.jit(field.init)(jax.random.key(0), *args))['params']
  grid = params['spatial_embeddings']
  assert grid.shape == (16, 16, 16, 32) and grid.dtype == np.float32
  np.testing.assert_allclose(grid.std(), 0.01, rtol=0.01)
  assert abs(grid.mean()) < 4 * 0.01 / grid.size**0.5
  kernel = params['film_0_kernel']
  assert kernel.shape == (35, 64)
  assert 0.98 / 35 < np.abs(kernel).max() <= 1 / 35
  assert params['film_0_bias'].max() <= 35**-0.5


def test_sizes_of_the_release():
  for hidden, side in ((128, 96), (256, 64)):
    generator = PiGAN(hidden_dim=hidden, embedding_channels=32, embedding_resolution=side)
    params = jax.eval_shape(lambda g=generator: generators.init_params(g, jax.random.key(0)))
    plain = PiGAN(hidden_dim=hidden)
    without = jax.eval_shape(lambda g=plain: generators.init_params(g, jax.random.key(0)))
    count, other = (sum(x.size for x in jax.tree.leaves(tree)) for tree in (params, without))
    assert count - other == 32 * side**3 + 32 * hidden
    assert 'spatial_embeddings' not in without['field']


def test_a_config_may_ask_for_it():
  config = config_lib.base_config()
  assert config_lib.tiny(config).model.embedding_resolution == 64  # of no account
  config.model.embedding_channels = CHANNELS
  config = config_lib.tiny(config)
  assert (config.model.embedding_channels, config.model.embedding_resolution) == (CHANNELS, 4)
  config.model.update(embedding_channels=CHANNELS, embedding_resolution=1)
  with pytest.raises(UserError, match='embedding_resolution of 1 is no grid'):
    generators.init_params(generators.create(config), jax.random.key(0))
  config.model.update(embedding_channels=CHANNELS, embedding_resolution=SIDE)
  generator = generators.create(config)
  params = generators.init_params(generator, jax.random.key(0))
  assert params['field']['spatial_embeddings'].shape == (SIDE, SIDE, SIDE, CHANNELS)
  options = generators.render_options(config, resolution=8, ray_chunk=16)
  camera = cameras.orbit(np.array([0.0, 0.5]), 0.1)

  @jax.jit
  def gradient(params):
    z = jnp.ones((2, generator.z_dim))

    def mean(params):
      return jnp.mean(generator.apply({'params': params}, z, camera, None, options).image ** 2)

    return jax.grad(mean)(params)

  gradient = np.asarray(gradient(params)['field']['spatial_embeddings'])
  assert np.isfinite(gradient).all()
  # All around the middle of the grid, which every ray of the frontal views crosses.
  assert np.count_nonzero(np.abs(gradient).max(-1)) > 0.3 * SIDE**3
