"""The start of a signed distance."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras, generators
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

  @jax.jit
  def run(variables, keys):
    fitted = sphere_init.fit(config, generator, variables, jax.random.key(1))
    points = sphere_init.draw_points(keys, config, prior, options)
    z = jax.random.normal(jax.random.key(2), (8, generator.z_dim))

    def distances(params):
      own = {'params': params}
      w = generator.apply(own, z, method='map')
      return generator.apply(own, w, points, method='distance')

    sphere = signed_distance.sphere(points, 0.3)
    errors = [jnp.abs(distances(p) - sphere).mean() for p in (variables['params'], fitted)]
    return fitted, errors, points

  fitted, (before, after), points = run(variables, jax.random.split(jax.random.key(3), 8))
  assert after < 0.5 * before, (before, after)
  # Between the planes of near and far of cameras at distance 1.
  assert 0.5 < np.abs(np.linalg.norm(points, axis=-1)).max() < 1.0
  old = dict(jax.tree_util.tree_leaves_with_path(variables['params']))
  for path, leaf in jax.tree_util.tree_leaves_with_path(fitted):
    name = jax.tree_util.keystr(path)
    stays = 'mapping' in name or 'gamma' in name or '_beta_' in name or "'beta'" in name
    stays = stays or 'view' in name or 'rgb' in name
    assert np.array_equal(leaf, old[path]) == stays, name
