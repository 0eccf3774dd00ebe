"""What every part of the library does with a generator."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras, generators
from jax3dgan import config as config_lib
from jax3dgan.convert import pigan
from jax3dgan.errors import UserError
from jax3dgan.generators.pigan import PiGAN
from jax3dgan.rendering import hierarchical, rays

RESOLUTION = 8


@functools.cache
def tiny():
  """(generator, parameters, options, camera of two)."""
  config = config_lib.tiny(config_lib.base_config())
  generator = generators.create(config)
  options = generators.render_options(config, resolution=RESOLUTION, density='softplus')
  camera = cameras.orbit(np.array([0.0, 0.3]), 0.1)
  return generator, generators.init_params(generator, jax.random.key(0)), options, camera


def styles(num=2):
  generator, params, *_ = tiny()
  z = jax.random.normal(jax.random.key(1), (num, generator.z_dim))
  return generator.apply({'params': params}, z, method='map')


@functools.cache
def synthesizer(noise_std=0.0, ray_chunk=0):
  generator, params, options, camera = tiny()
  options = hierarchical.dataclasses.replace(options, ray_chunk=ray_chunk)

  @jax.jit
  def run(w, key):
    variables = {'params': params}
    return generator.apply(variables, w, camera, key, options, noise_std, method='synthesize')

  return lambda *args: jax.device_get(run(*args))


def test_released_size_has_the_official_parameters():
  generator = PiGAN(z_dim=16, hidden_dim=32)
  params = jax.eval_shape(lambda: generators.init_params(generator, jax.random.key(0)))
  paths = {tuple(k.key for k in path): leaf for path, leaf in jax.tree.leaves_with_path(params)}
  assert paths.keys() == {path for path, _ in pigan.names()}
  assert paths['mapping', 'out', 'kernel'].shape == (256, 576)
  full = jax.eval_shape(lambda: generators.init_params(PiGAN(), jax.random.key(0)))
  sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in full.items()}
  assert sizes == {'field': 529_156, 'mapping': 1_381_632}


def test_initialisation_depends_on_the_key():
  generator, params, *_ = tiny()
  other = generators.init_params(generator, jax.random.key(1))
  assert all(
    np.abs(a - b).max() > 0
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(other), strict=True)
  )


def test_a_rendering_is_that_of_its_field():
  generator, params, options, camera = tiny()
  w = styles()
  out = synthesizer()(w, None)
  assert out.image.shape == (2, RESOLUTION, RESOLUTION, 3) and out.low_res is None
  assert out.depth.shape == out.opacity.shape == (2, RESOLUTION, RESOLUTION)

  @jax.jit
  def direct(w):
    field = generator.apply({'params': params}, w, method=lambda g, w: g.field.fold(w))
    every = rays.camera_rays(camera, RESOLUTION, options.align_corners)
    return hierarchical.render_rays(field, every, options)

  expected = direct(w)
  image = 2 * expected.colour.reshape(out.image.shape) - 1
  np.testing.assert_allclose(out.image, image, atol=1e-5)
  np.testing.assert_allclose(out.depth.reshape(2, -1), expected.depth, atol=1e-5)
  np.testing.assert_allclose(out.opacity.reshape(2, -1), expected.opacity, atol=1e-5)


@pytest.mark.parametrize('ray_chunk', [0, 16])
def test_keys_are_per_example(ray_chunk):
  render, w = synthesizer(0.5, ray_chunk), styles()
  keys = jax.random.split(jax.random.key(2), 2)
  out = render(w, keys)
  np.testing.assert_array_equal(render(w, keys).image, out.image)
  other = render(w, jnp.stack([keys[0], jax.random.key(9)]))
  np.testing.assert_array_equal(other.image[0], out.image[0])
  assert np.abs(other.image[1] - out.image[1]).max() > 1e-4


def test_chunks_of_a_deterministic_image():
  w = styles()
  whole, parts = synthesizer()(w, None), synthesizer(0.0, 16)(w, None)
  jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), parts, whole)


def test_noise_is_drawn_with_keys_alone():
  generator, params, options, camera = tiny()
  w, keys = styles(), jax.random.split(jax.random.key(2), 2)

  @jax.jit
  def run(noise_std):
    variables = {'params': params}
    return generator.apply(variables, w, camera, keys, options, noise_std, method='synthesize')

  silent = run(0.0).image
  np.testing.assert_allclose(silent, synthesizer()(w, keys).image, atol=1e-5)
  assert np.abs(run(3.0).image - silent).max() > 1e-3
  np.testing.assert_allclose(
    synthesizer(0.5)(w, None).image, synthesizer()(w, None).image, atol=1e-6
  )


def test_query_asks_the_field_from_the_front():
  generator, params, *_ = tiny()
  w = styles()
  points = np.random.default_rng(0).uniform(-0.1, 0.1, (2, 5, 3)).astype(np.float32)
  front = np.broadcast_to(np.float32([0, 0, -1]), points.shape)

  @jax.jit
  def run(w, points):
    query = functools.partial(generator.apply, {'params': params}, method='query')
    field = generator.apply({'params': params}, w, method=lambda g, w: g.field.fold(w))
    return (
      query(w, points),
      query(w, points, front),
      query(w, points, -front),
      field(points[:, None], front[:, :1]),
    )

  (density, colour), default, behind, direct = run(w, points)
  assert density.shape == (2, 5) and colour.shape == (2, 5, 3)
  np.testing.assert_allclose(density, default[0], atol=1e-6)
  np.testing.assert_allclose(colour, default[1], atol=1e-6)
  np.testing.assert_allclose(density, direct[0][:, 0], atol=1e-5)
  np.testing.assert_allclose(colour, direct[1][:, 0], atol=1e-5)
  assert np.abs(behind[1] - colour).max() > 1e-4


def test_calling_is_mapping_and_synthesizing():
  generator, params, options, camera = tiny()
  z = jax.random.normal(jax.random.key(1), (2, generator.z_dim))
  out = jax.jit(lambda z: generator.apply({'params': params}, z, camera, options=options))(z)
  np.testing.assert_allclose(out.image, synthesizer()(styles(), None).image, atol=1e-5)


def test_truncation_towards_the_average():
  generator, params, *_ = tiny()
  average = generators.average_w(generator, {'params': params}, jax.random.key(5), num=20_000)
  many = np.asarray(styles(20_000))
  assert average.shape == many.shape[1:]
  # Two means of 20,000: six standard deviations of their difference, over all entries.
  scale = many.std(0) * np.sqrt(2 / 20_000)
  assert np.abs((average - many.mean(0)) / scale).max() < 6
  z = jax.random.normal(jax.random.key(1), (2, generator.z_dim))
  half = generator.apply({'params': params}, z, None, 0.5, average, method='map')
  np.testing.assert_allclose(half, (styles() + average) / 2, atol=1e-5)


def test_render_options_of_a_config():
  config = config_lib.base_config()
  config.render.last_back = True
  config.display.num_coarse, config.display.num_fine = 30, 31
  options = generators.render_options(config)
  assert (options.resolution, options.num_coarse, options.num_fine) == (64, 12, 12)
  assert options.last_back and options.density == 'softplus' and options.near == 0.88
  assert hash(options) == hash(generators.render_options(config))
  shown = generators.render_options(config, display=True, resolution=128, ray_chunk=7)
  assert (shown.resolution, shown.num_coarse, shown.num_fine) == (128, 30, 31)
  assert not shown.last_back and shown.ray_chunk == 7 and shown.far == options.far
  config.display.last_back = None  # as in training
  assert generators.render_options(config, display=True).last_back


def test_errors_of_models():
  config = config_lib.base_config()
  config.model.name = 'pi-gan'
  with pytest.raises(UserError, match="'pi-gan'.*pigan"):
    generators.create(config)
  config = config_lib.base_config()
  with config.unlocked():
    config.model.width = 3
  with pytest.raises(UserError, match="model.width is not a field of the generator 'pigan'"):
    generators.create(config)


def test_truncation_without_the_average_is_refused():
  generator, params, *_ = tiny()
  z = np.zeros((1, generator.z_dim), np.float32)
  with pytest.raises(UserError, match='average_w'):
    generator.apply({'params': params}, z, truncation_psi=0.7, method='map')
