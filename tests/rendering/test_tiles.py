"""Images in tiles: the size of a tile changes cost and memory, not the picture."""

import dataclasses
import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras, generators
from jax3dgan.generators.pigan import PiGAN
from jax3dgan.nn import backend
from jax3dgan.nn.cpu import tiles
from jax3dgan.rendering.hierarchical import RenderOptions

GENERATOR = PiGAN(z_dim=4, hidden_dim=8, num_layers=2, mapping_dim=8, mapping_layers=1)
OPTIONS = RenderOptions(resolution=4, num_coarse=4, num_fine=4)
B, NUM_RAYS = 4, 16


def test_sizes_of_tiles():
  """As many rays as fit, of as many images as fit whole; accelerators take all at once."""
  floats = tiles._CPU_TILE // 100
  assert tiles.tile(B, 50, floats) == (2, 50)
  assert tiles.tile(B, 100, floats) == (1, 100)
  assert tiles.tile(B, 150, floats) == (1, 100)
  assert tiles.tile(B, 10, floats) == (4, 10)
  assert tiles.tile(1, 10, 10 * tiles._CPU_TILE) == (1, 1)
  with backend.lowering_for('tpu'):
    assert tiles.tile(B, 10**6, 10**6) == (B, 10**6)


def render(tile, options=OPTIONS, generator=GENERATOR):
  """Image and gradient of the parameters, in tiles of (images, rays)."""

  def loss(params, key):
    keys = jax.random.split(key, B)
    z = jax.vmap(lambda k: jax.random.normal(k, (4,)))(keys)
    camera = cameras.from_yaw_pitch(jnp.linspace(1.2, 1.8, B), jnp.full(B, 1.5))
    out = generator.apply({'params': params}, z, camera, keys, options, 0.5)
    return jnp.sum(out.image**2), out

  with mock.patch.object(tiles, 'tile', lambda *_: tile):
    params = generators.init_params(generator, jax.random.key(1))
    run = jax.jit(jax.grad(loss, has_aux=True))
    return jax.device_get(run(params, jax.random.key(2)))


@pytest.fixture(scope='module')
def whole():
  return render((B, NUM_RAYS))


def assert_same(actual, expected):
  for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-5 * np.abs(b).max())


@pytest.mark.parametrize(
  'tile, saved',
  [((2, NUM_RAYS), 'all'), ((3, NUM_RAYS), 'all'), ((1, 4), 'all'), ((4, 5), 'all')]
  + [((2, NUM_RAYS), 'phases')],
)
def test_tiles_give_the_same_images_and_gradients(tile, saved, whole):
  options = dataclasses.replace(OPTIONS, saved_activations=saved)
  gradient, out = render(tile, options)
  if saved == 'phases':  # 16 bits of phase
    np.testing.assert_allclose(out.image, whole[1].image, atol=2e-3)
    return
  assert out.image.shape == (B, 4, 4, 3) and out.depth.shape == out.opacity.shape == (B, 4, 4)
  assert_same((gradient, out), whole)


def test_images_share_what_is_one_for_all():
  """A learned grid of features is there once, not once for each image."""
  generator = GENERATOR.clone(embedding_channels=2, embedding_resolution=3, embedding_scale=1.0)
  assert_same(render((1, 8), generator=generator), render((B, NUM_RAYS), generator=generator))


def test_rays_of_a_tile_are_bounded_by_the_options():
  options = dataclasses.replace(OPTIONS, ray_chunk=4)
  params = generators.init_params(GENERATOR, jax.random.key(1))

  def image(params, z):
    camera = cameras.from_yaw_pitch(jnp.full(2, 1.5), jnp.full(2, 1.5))
    return GENERATOR.apply({'params': params}, z, camera, None, options).image

  program = str(jax.make_jaxpr(image)(params, jnp.zeros((2, 4))))
  assert 'length=4' in program  # 16 rays, four at a time


def test_memory_of_a_gradient():
  """64², 12 + 12 samples, hidden 256, in the CPU's 16 tiles: within 150 MiB, nothing is run."""
  generator = PiGAN()
  options = RenderOptions()
  assert tiles.tile(1, 64**2, 12 * 256) == (1, 341)  # of which the largest divisor is 256

  def loss(params, z, keys):
    camera = cameras.from_yaw_pitch(jnp.full(1, 1.5), jnp.full(1, 1.5))
    image = generator.apply({'params': params}, z, camera, keys, options, 0.5).image
    return jnp.mean(image**2)

  z = jax.ShapeDtypeStruct((1, 256), jnp.float32)
  init = functools.partial(generator.init, method='initialise')
  params = jax.eval_shape(init, jax.random.key(0), z)['params']
  keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
  compiled = jax.jit(jax.grad(loss)).lower(params, z, keys).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 150 * 2**20
