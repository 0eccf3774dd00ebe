"""GRAF's generator in the library: what training and apps rely on."""

import dataclasses
import functools
import importlib
import math

import jax
import numpy as np

from jax3dgan import cameras, editing, generators, trained
from jax3dgan.evaluation import fakes
from jax3dgan.generators import graf

SIZE = 8


@functools.cache
def model() -> trained.Trained:
  """An untrained one, with cameras of several distances, whose world is turned."""
  config = importlib.import_module('configs.graf_celeba').get_test_config()
  config.model.update(azimuth=0.7, shape_dim=4, appearance_dim=3)
  generator = generators.create(config)
  return trained.Trained(config, generator, generators.init(generator, jax.random.key(0)), 0, 'x')


def test_images_parts_and_points_are_of_one_field():
  own = model()
  options = dataclasses.replace(own.options(SIZE), num_coarse=4)
  z = jax.random.normal(jax.random.key(1), (2, own.generator.z_dim))
  # Near and far go with the camera: from elsewhere the same space is seen.
  camera = cameras.orbit(np.array([0.3, -0.2]), np.array([0.1, 0.2]), np.array([[9.5], [10.5]]))

  @jax.jit
  def run(variables):
    apply = functools.partial(own.generator.apply, variables)
    w = apply(z, method='map')
    whole = apply(w, camera, None, options, method='synthesize')
    return whole, apply(w, camera, 1, 2, options, method='synthesize_part')

  whole, part = run(own.variables)
  flat = whole.image.reshape(2, SIZE**2, 3)
  assert np.ptp(flat) > 1e-4
  np.testing.assert_allclose(part.image, flat[:, SIZE**2 // 2 :], atol=1e-6)


def test_styles():
  own = model()
  z = np.random.default_rng(0).normal(size=(2, 7)).astype(np.float32)
  w = np.asarray(own.generator.apply(own.variables, z, method='map'))
  assert w.shape == (2, 2, 4) and own.generator.num_ws == 2
  np.testing.assert_array_equal(w[:, 0], z[:, :4])
  np.testing.assert_array_equal(w[:, 1], np.pad(z[:, 4:], ((0, 0), (0, 1))))
  average = own.generator.apply(own.variables, method='average_w')
  half = own.generator.apply(own.variables, z, None, 0.5, average, method='map')
  np.testing.assert_allclose(half, 0.5 * w)


def test_closed_form_directions_of_the_shape():
  config = importlib.import_module('configs.graf_carla').get_test_config()
  generator = generators.create(config)
  variables = generators.init(generator, jax.random.key(0))
  own = trained.Trained(config, generator, variables, 0, 'x')
  found = editing.sefa(own, 2, (0, 0), num=8)
  field = variables['params']['field']
  assert generator.style_rows().keys() == {f'field/{x}' for x in field if 'code' in x}
  maps = np.concatenate([field[f'layer_{i}_code_kernel'] for i in (0, 1)], axis=1)
  values, axes = np.linalg.eigh(maps @ maps.T)
  shape = found.vectors[0][0]  # `--layers=0-0` moves this row alone
  assert abs(shape @ axes[:, -1]) > 0.999 * np.linalg.norm(shape)


def test_cameras_of_an_evaluation_have_several_distances():
  own = model()
  z = graf.release_prior((0.0, 0.25), (0.32899, 0.45642), 0.5)
  assert {k: own.config.pose_prior[k] for k in z} == z
  assert z['yaw_std'] == math.pi / 4
  prior = cameras.pose_prior(**own.config.pose_prior)
  radii = np.asarray(
    jax.jit(jax.vmap(lambda key: cameras.sample_radius(prior, key, 10.0)))(
      jax.random.split(jax.random.key(0), 64)
    )
  )
  assert 9.5 <= radii.min() < 9.7 and 10.3 < radii.max() <= 10.5
  images = next(fakes.Fakes(own, batch_size=2).batches(2))
  assert images.shape == (2, own.resolution, own.resolution, 3)
