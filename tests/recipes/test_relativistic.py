"""R3GAN's loss under the recipes: what their phases are of, values and gradients, refusals."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_steps

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.recipes import Networks, Now, Photos
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib

R3GAN = {'loss.adversarial': 'relativistic', 'loss.r1': 0.6, 'loss.r2': 0.2}
EVERY = {'loss.r1_every': 1}


def tiny(name, **fields):
  config = importlib.import_module(f'configs.{name}').get_test_config()
  config.update_from_flattened_dict(fields)
  return config


# The smallest config of each recipe that has the loss. EG3D's adaptive augmentation has not.
CONFIGS = {
  'pigan': lambda: tiny_steps.pigan(**EVERY),
  'eg3d': lambda: tiny_steps.eg3d(**{'augment.name': 'none'}, **EVERY),
  'pose_free': lambda: tiny_steps.pose_free(**EVERY),
  'stylenerf': lambda: tiny_steps.stylenerf(**EVERY),
  'gghead': lambda: tiny_steps.gghead(**EVERY),
  'cgsgan': lambda: tiny_steps.cgsgan(**EVERY),
  'giraffe': tiny_steps.giraffe,
  'graf': lambda: tiny('graf_toys'),
  'stylesdf_stage1': lambda: tiny('stylesdf_stage1_toys', **{'stylesdf.sphere_steps': 0}, **EVERY),
  'stylesdf': lambda: tiny(
    'stylesdf_toys', **{'init_from': '', 'stylesdf.random_renderer': True}, **EVERY
  ),
}
RECIPES = [name for name in CONFIGS if name != 'pose_free']


def with_loss(name, **fields):
  config = CONFIGS[name]()
  config.update_from_flattened_dict(R3GAN | fields)
  return config


def networks_of(config):
  return generators.create(config), discriminators.create(config.discriminator)


def check(config):
  recipes.check(config, *networks_of(config), schedule.stages(config))


def test_every_adversarial_recipe_has_it_but_two():
  fields = {name: recipes.create(name).groups.get('loss') for name in recipes.RECIPES}
  has = {name for name, loss in fields.items() if 'r2' in getattr(loss, '__dataclass_fields__', {})}
  adversarial = {name for name in fields if recipes.create(name).discriminator != 'none'}
  assert has == adversarial - {'hologan', 'expgan'} == set(RECIPES)
  assert all('adversarial' in fields[name].__dataclass_fields__ for name in has)


@pytest.mark.parametrize('name', RECIPES)
def test_phases_get_photos_and_fakes_where_their_losses_are_of_them(name):
  """And a config that has not the loss has the phases of before."""
  plain, every = CONFIGS[name](), with_loss(name)
  check(every)
  generator, discriminator = networks_of(plain)
  stage = schedule.stages(plain)[0]
  b, size = 4, stage.resolution
  keys = jax.random.split(jax.random.key(0), b)
  label = jnp.zeros((b, 25)) if plain.data.use_labels else None
  image = jnp.zeros((b, size, size, 3))

  def drawn(config, phase):
    def draw():
      photos = Photos(image, label, label, image[..., 0])
      recipe = recipes.create(config.recipe)
      return recipe.draw(keys, phase, config, generator, photos, Now(0, 0), {})

    return jax.eval_shape(draw)

  assert drawn(plain, 'generator').images is None
  of_generator = drawn(every, 'generator')
  assert of_generator.images.shape == image.shape and of_generator.z is not None
  labels = (of_generator.image_label, drawn(plain, 'discriminator').image_label)
  assert jax.tree.structure(labels[0]) == jax.tree.structure(labels[1])
  if 'r1_every' not in plain.loss:
    return
  every.loss.r1_every = 4
  names = [phase.name for phase in state_lib.phases_of(every, generator, discriminator)]
  if name == 'pigan':  # lazy within the discriminator's phase
    return
  assert 'r1' in names
  assert drawn(every, 'r1').z is not None and drawn(every, 'r1').images is not None
  every.loss.r2 = 0.0
  assert drawn(every, 'r1').z is None and drawn(every, 'r1').images is not None
  every.loss.update(r1=0.0, r2=0.2)
  assert state_lib.phases_of(every, generator, discriminator)[-1].name in ('r1', 'generator')
  every.loss.r1_every = 1
  assert 'r1' not in [x.name for x in state_lib.phases_of(every, generator, discriminator)]


def of_images(recipe, **fields):
  """The config of a 2D generator and a discriminator of single images."""
  config = config_lib.base_config(recipe)
  config_lib.set_model(config, 'stylegan2')
  config_lib.set_discriminator(config, 'coordconv')
  config = config_lib.tiny(config)
  config.resolution, config.batch_size = 8, 4
  config.model.update(generators.create(config).tiny(8))
  config.discriminator.update(discriminators.create(config.discriminator).tiny(8))
  if recipe == 'pigan':
    config.loss.update(pose=0.0, top_k_interval=0, density_noise=0.0)
  else:
    config.eg3d.update(density=0.0, blur=0.0)
  config.update_from_flattened_dict(fields)
  return config


@pytest.mark.parametrize('recipe', [pytest.param('pigan', marks=pytest.mark.thorough), 'eg3d'])
def test_values_and_gradients_are_those_of_the_formulas(recipe):
  """Of both networks, by a computation that shares nothing but the networks with the recipe's."""
  config = of_images(recipe, **R3GAN, **EVERY)
  generator, discriminator = networks_of(config)
  stage, now = schedule.stages(config)[0], Now(0, 0)
  image = np.random.default_rng(1).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
  keys = jax.random.split(jax.random.key(2), 4)

  def logits(params, x):
    return discriminator.apply({'params': params}, x).logits

  @jax.jit
  def run(image):
    state = state_lib.create(config, generator, discriminator)
    networks = Networks(state.networks, state.buffers)
    found, wanted = {}, {}
    phases = recipes.create(recipe).phases(config, generator, discriminator, stage)
    assert [phase.name for phase in phases if phase.name == 'r1'] == []
    for phase in phases:
      inputs = recipes.create(recipe).draw(
        keys, phase.name, config, generator, Photos(image), now, state.buffers
      )
      params = networks.params[phase.network]
      gradients, (value, _) = phase.gradients(params, networks, inputs, now)
      found[phase.name] = value, gradients

      def fakes(params, inputs=inputs):
        variables = networks.variables('generator', params)
        w = generator.apply(variables, inputs.z, method='map')
        return generator.apply(
          variables, w, inputs.camera, inputs.keys, stage.options, method='synthesize'
        ).image

      def norms(params, images):
        one = jax.vmap(jax.grad(lambda x: logits(params, x[None])[0]))(images)
        return jnp.sum(one**2, axis=(1, 2, 3))

      def formula(params, phase=phase, fakes=fakes):
        if phase.network == 'generator':
          judge = networks.params['discriminator']
          difference = logits(judge, image) - logits(judge, fakes(params))
          return jnp.log1p(jnp.exp(difference)).mean()
        made = fakes(networks.params['generator'])
        difference = logits(params, made) - logits(params, image)
        penalties = 0.3 * norms(params, image) + 0.1 * norms(params, made)
        return (jnp.log1p(jnp.exp(difference)) + penalties).mean()

      wanted[phase.name] = jax.value_and_grad(formula)(params)
    return found, wanted

  found, wanted = jax.device_get(run(image))
  assert found.keys() == {'generator', 'discriminator'}
  for name, (value, gradients) in wanted.items():
    np.testing.assert_allclose(found[name][0], value, rtol=1e-5, err_msg=name)
    off = optax.tree.norm(jax.tree.map(np.subtract, found[name][1], gradients))
    assert off < 1e-4 * optax.tree.norm(gradients), name


@pytest.mark.thorough  # a program of each recipe
@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('every', [1, 2])
def test_every_recipe_takes_steps_with_it(name, every):
  config = with_loss(name)
  if 'r1_every' in config.loss:
    config.loss.r1_every = every
  elif every > 1:
    pytest.skip('R1 is of every step')
  _, metrics = tiny_steps.Program(config).run(2)
  for term in ('discriminator/loss', 'discriminator/r2', 'generator/loss'):
    values = [of_step[term] for of_step in metrics]
    assert np.isfinite(values[0]) and values[0] != 0, (term, values)
    assert every > 1 or np.isfinite(values[1]), (term, values)


@pytest.mark.parametrize(
  'name, fields, words',
  [
    ('pigan', {'loss.adversarial': 'hinge'}, 'Choose one of non_saturating, relativistic'),
    ('eg3d', {'augment.name': 'ada'}, 'have no zero.*augment.name=fixed'),
  ],
)
def test_one_line_says_what_does_not_go_together(name, fields, words):
  config = with_loss(name, **fields)
  with pytest.raises(UserError, match=words) as error:
    check(config)
  assert '\n' not in str(error.value)
