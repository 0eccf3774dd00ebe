"""The start of a signed distance."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras, generators, recipes
from jax3dgan.fields import signed_distance
from jax3dgan.recipes import sphere_init


def test_every_latent_becomes_about_the_same_sphere():
  """What makes styles stays as it was drawn, so that latents differ still."""
  config = importlib.import_module('configs.stylesdf_stage1_toys').get_test_config()
  config.stylesdf.update(sphere_steps=150, sphere_rays=16, sphere_lr=5e-3, sphere_radius=0.3)
  config.batch_size = 8
  generator = generators.create(config)
  variables = generators.init(generator, jax.random.key(0))
  prior, options = cameras.pose_prior(**config.pose_prior), generators.render_options(config)

  reports = []
  fitted = sphere_init.fit(
    config, generator, variables, jax.random.key(1), lambda *report: reports.append(report)
  )

  @jax.jit
  def judged(variables, fitted, keys):
    points = sphere_init.draw_points(keys, config, prior, options)
    z = jax.random.normal(jax.random.key(2), (8, generator.z_dim))

    def distances(params):
      own = {'params': params}
      w = generator.apply(own, z, method='map')
      return generator.apply(own, w, points, method='distance')

    sphere = signed_distance.sphere(points, 0.3)
    errors = [jnp.abs(distances(p) - sphere).mean() for p in (variables['params'], fitted)]
    return errors, points

  (before, after), points = judged(variables, fitted, jax.random.split(jax.random.key(3), 8))
  assert after < 0.5 * before, (before, after)
  # Between the planes of near and far of cameras at distance 1.
  assert 0.5 < np.abs(np.linalg.norm(points, axis=-1)).max() < 1.0
  old = dict(jax.tree_util.tree_leaves_with_path(variables['params']))
  for path, leaf in jax.tree_util.tree_leaves_with_path(fitted):
    name = jax.tree_util.keystr(path)
    stays = 'mapping' in name or 'gamma' in name or '_beta_' in name or "'beta'" in name
    stays = stays or 'view' in name or 'rgb' in name
    assert np.array_equal(leaf, old[path]) == stays, name
  # How far slopes are from 1 is said: 1 where there are none, and ripples where they are steep.
  field, key = fitted['field'], jax.random.key(4)
  flat, steep = (
    sphere_init.slope_error(
      config,
      generator,
      {'params': {**fitted, 'field': {**field, 'distance_kernel': x * field['distance_kernel']}}},
      key,
    )
    for x in (0.0, 20.0)
  )
  np.testing.assert_allclose(flat, 1.0, rtol=1e-6)
  assert steep > 10 and 'These are ripples' in sphere_init.describe(steep)
  assert 'ripples' not in sphere_init.describe(flat)
  done = [report[0] for report in reports]
  assert done[:2] == [0, 1] and done[-1] == 150 and done == sorted(set(done))
  assert {report[1:] for report in reports} == {(150, 'spheres')}


def test_fields_of_another_run_are_not_fitted_again():
  """A run that begins from another's weights keeps them, and loses no time."""
  config = importlib.import_module('configs.stylesdf_stage1_toys').get_test_config()
  generator = generators.create(config)
  shapes = jax.eval_shape(lambda: generators.init(generator, jax.random.key(0)))
  networks = recipes.Networks({'generator': shapes['params']}, {})
  names = sphere_init.fitted_names(shapes['params'])
  assert 'beta' in names and 'film_0_kernel' in names and 'film_0_gamma_kernel' not in names
  given = frozenset(f'generator/field/{name}' for name in names)

  def report(*_):
    raise KeyboardInterrupt

  recipe = recipes.create(config.recipe)
  assert recipe.warm_up(config, generator, networks, given, report) is networks
  with pytest.raises(KeyboardInterrupt):  # one of them is missing
    missing = given - {'generator/field/beta'}
    recipe.warm_up(config, generator, networks, missing, report)
