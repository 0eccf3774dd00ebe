"""NeRF's recipe: which pixels are compared, and what is refused in one line."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras, discriminators, generators, recipes
from jax3dgan import config as config_lib
from jax3dgan.errors import UserError
from jax3dgan.recipes import Networks, Now, Photos
from jax3dgan.training import schedule


def tiny(**flat):
  config = config_lib.tiny(config_lib.base_config('nerf'))
  with config.unlocked():
    config.update_from_flattened_dict({'resolution': 8, 'nerf.rays': 5, **flat})
    config.render.update(density='softplus', last_interval='far')
  return config


def test_the_loss_is_of_the_pixels_that_were_drawn():
  config = tiny()
  generator, recipe = generators.create(config), recipes.create('nerf')
  variables = generators.init(generator, jax.random.key(0))
  stage = schedule.stages(config)[0]
  (phase,) = recipe.phases(config, generator, None, stage)
  camera = cameras.orbit(jnp.array([0.3, 2.0]), jnp.array([0.4, 0.1]), 4.0, 40.0)

  @jax.jit
  def evaluate(variables, keys):
    out = generator.apply(
      variables, jnp.zeros((2, 0)), camera, None, stage.options, method='synthesize'
    )
    # Photos that the scene explains completely: what is compared is equal, pixel by pixel.
    photos = Photos(out.image, camera.label(), camera.label())
    inputs = recipe.draw(keys, phase.name, config, generator, photos, Now(0, 0), {})
    networks = Networks({'generator': variables['params']}, {})

    def error(inputs):
      return phase.loss(variables['params'], networks, inputs._replace(keys=None), Now(0, 0))[1]

    moved = {**inputs.extras, 'pixels': inputs.extras['pixels'][::-1]}
    return inputs, out.image, error(inputs), error(inputs._replace(extras=moved))

  inputs, images, terms, other = evaluate(variables, jax.random.split(jax.random.key(1), 2))
  pixels = inputs.extras['pixels']
  assert pixels.shape == (2, 5) and not np.array_equal(pixels[0], pixels[1])
  flat = 0.5 * (images.reshape(2, 64, 3) + 1)
  expected = np.take_along_axis(np.asarray(flat), np.asarray(pixels)[..., None], axis=1)
  np.testing.assert_allclose(inputs.extras['colours'], expected, atol=1e-6)
  assert terms.metrics['generator/mse'] < 1e-11 and terms.metrics['generator/coarse_mse'] > 1e-7
  assert other.metrics['generator/mse'] > 1e-6
  psnr = -10 * np.log10(other.metrics['generator/mse'])
  np.testing.assert_allclose(other.metrics['generator/psnr'], psnr, rtol=1e-5)


def refusal(config):
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  with pytest.raises(UserError) as caught:
    recipes.check(config, generator, discriminator, ())
  assert '\n' not in str(caught.value)
  return str(caught.value)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('data.use_labels', False, 'Set --config.data.use_labels=True'),
    ('data.flip', True, 'Set --config.data.flip=False'),
    ('nerf.rays', 0, 'Set --config.nerf.rays to 1 or more'),
    ('loss.coarse', -1.0, 'Set --config.loss.coarse to 0 or more'),
    ('render.low_resolution', 4, 'Set --config.render.low_resolution=0'),
    ('model.plane_features', 8, "the field is 'mlp'. Set --config.model.plane_features=16"),
  ],
)
def test_fields_that_are_refused(field, value, message):
  assert message in refusal(tiny(**{field: value}))


def test_a_coarse_loss_without_a_fine_pass():
  assert '--config.loss.coarse=1.0' in refusal(tiny(**{'render.num_fine': 0, 'loss.coarse': 0.5}))


def test_networks_that_are_refused():
  config = tiny()
  config_lib.set_model(config, 'pigan')
  assert "'pigan' has latents of 256 numbers" in refusal(config)
  config = tiny()
  config_lib.set_discriminator(config, 'progressive')
  assert "has no discriminator and would ignore 'progressive'" in refusal(config)


def test_data_that_does_not_fit():
  recipe, config = recipes.create('nerf'), tiny()
  framing = {'near': 2.0, 'far': 6.0}

  def data(background='white', **limits):
    scene = {'options': {'background': background}, 'framing': {**framing, **limits}}
    return types.SimpleNamespace(name='data/x', scene=scene)

  recipe.check_data(config, data())
  recipe.check_data(config, types.SimpleNamespace(scene={}))
  with pytest.raises(UserError, match='black background. Set --config.render.white_back=False'):
    recipe.check_data(config, data('black'))
  with pytest.raises(UserError, match='lies from 7 to 9. Set --config.render.near=7'):
    recipe.check_data(config, data(near=7.0, far=9.0))
