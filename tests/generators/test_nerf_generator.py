"""NeRF's generator: its three fields, its two networks, a scene without a latent."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras, generators
from jax3dgan import config as config_lib
from jax3dgan.errors import UserError
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.options import RenderOptions

OPTIONS = RenderOptions(
  8, 2.0, 6.0, 4, 4, last_interval='far', white_back=True, align_corners=False
)


def build(field='mlp', two_networks=True, **fields):
  config = config_lib.base_config('nerf')
  box = {'box': 3.0} if field == 'triplane' else {}
  config_lib.set_model(config, 'nerf', field=field, two_networks=two_networks, **box, **fields)
  generator = generators.create(config_lib.tiny(config))
  return generator, generators.init(generator, jax.random.key(0))


def camera(count=1):
  return cameras.orbit(jnp.linspace(0.3, 2.0, count), jnp.full(count, 0.4), 4.0, 40.0)


@pytest.mark.parametrize('field', ['mlp', 'siren', 'triplane'])
def test_a_picture_is_of_the_field(field):
  """Rays, parts of a picture and points agree, for each field."""
  generator, variables = build(field)
  w = jnp.zeros((2, 0))
  views = camera(2)

  @jax.jit
  def evaluate(variables):
    whole = generator.apply(variables, w, views, None, OPTIONS, method='synthesize')
    part = generator.apply(variables, w, views, 1, 2, OPTIONS, method='synthesize_part')
    rays = rays_lib.camera_rays(views, 8)
    rays = jax.tree.map(lambda x: x[:, 20:24], rays)
    some = generator.apply(variables, w, rays, None, OPTIONS, method='render_rays')
    return whole, part, some

  whole, part, some = evaluate(variables)
  flat = whole.image.reshape(2, 64, 3)
  assert np.ptp(flat) > 1e-3 and whole.depth.shape == (2, 8, 8)
  np.testing.assert_allclose(part.image, flat[:, 32:], atol=1e-6)
  np.testing.assert_allclose(2 * some.colour - 1, flat[:, 20:24], atol=1e-6)


def test_the_fine_pass_has_its_own_network():
  generator, variables = build()
  w, view = jnp.zeros((1, 0)), camera()
  render = jax.jit(
    lambda variables: generator.apply(
      variables, w, rays_lib.camera_rays(view, 8), None, OPTIONS, 0.0, True, method='render_rays'
    )
  )
  before = render(variables)
  assert before.coarse.colour.shape == before.colour.shape == (1, 64, 3)
  params = variables['params']
  # Another colour of the coarse network alone changes the coarse picture alone.
  coarse = {**params['coarse_network'], 'rgb_bias': params['coarse_network']['rgb_bias'] + 1}
  after = render({'params': {**params, 'coarse_network': coarse}})
  assert jnp.abs(after.coarse.colour - before.coarse.colour).max() > 0.05
  np.testing.assert_array_equal(after.colour, before.colour)
  # Without a fine pass the picture is the fine network's, which is also what `query` gives.
  single = dataclasses.replace(OPTIONS, num_fine=0)
  alone = jax.jit(
    lambda variables: generator.apply(variables, w, view, None, single, method='synthesize').image
  )
  np.testing.assert_array_equal(
    alone({'params': {**params, 'coarse_network': coarse}}), alone(variables)
  )


def query(generator, variables, points):
  evaluate = lambda v: generator.apply(v, jnp.zeros((1, 0)), points, method='query')  # noqa: E731
  return jax.jit(evaluate)(variables)


def test_a_siren_without_styles_has_frequencies_of_30():
  generator, variables = build('siren', two_networks=False, input_scale=0.5)
  points = np.random.default_rng(0).uniform(-1, 1, (1, 5, 3)).astype(np.float32)
  density, _ = query(generator, variables, points)
  p = jax.tree.map(lambda x: np.asarray(x, float), variables['params']['network'])
  x = np.sin(30 * (points[0] * 0.5 @ p['film_0_kernel'] + p['film_0_bias']))
  x = np.sin(30 * (x @ p['film_1_kernel'] + p['film_1_bias']))
  expected = x @ p['density_kernel'] + p['density_bias']
  np.testing.assert_allclose(density[0], expected[:, 0], atol=1e-4)


def test_the_gain_is_of_the_density_alone():
  plain, variables = build('triplane', two_networks=False)
  gained = plain.clone(density_gain=5.0)
  points = np.random.default_rng(0).uniform(-1, 1, (1, 5, 3)).astype(np.float32)
  a, b = (query(g, variables, points) for g in (plain, gained))
  np.testing.assert_allclose(b[0], 5 * a[0], rtol=1e-6)
  np.testing.assert_array_equal(b[1], a[1])


def test_a_scene_has_no_latent():
  generator, variables = build()
  assert generator.z_dim == 0
  w = generator.apply(variables, np.zeros((3, 0)), method='map')
  assert w.shape == (3, 0)
  assert generators.average_w(generator, variables, jax.random.key(0)).shape == (0,)


def test_fields_that_do_not_go_together():
  config = config_lib.base_config('nerf')
  for fields, message in (
    ({'field': 'hash'}, "config.model.field is 'hash'. Choose one of mlp, siren, triplane"),
    ({'field': 'triplane'}, 'Set --config.model.box'),
  ):
    config_lib.set_model(config, 'nerf', **fields)
    with pytest.raises(UserError, match=message):
      generators.init(generators.create(config), jax.random.key(0))
