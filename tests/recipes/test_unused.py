"""Fields without effect beside the values of others are refused in one line, by every recipe."""

import re

import pytest

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.evaluation import evaluate
from jax3dgan.recipes import unused
from jax3dgan.training import schedule


def refusal(recipe, model='', discriminator='', **flat):
  """The message about a recipe's config with these fields."""
  config = config_lib.base_config(recipe)
  if model:
    config_lib.set_model(config, model)
  if discriminator:
    config_lib.set_discriminator(config, discriminator)
  config = config_lib.tiny(config)
  config.update_from_flattened_dict({name.replace('__', '.'): v for name, v in flat.items()})
  networks = generators.create(config), discriminators.create(config.discriminator)
  with pytest.raises(UserError) as error:
    recipes.check(config, *networks, schedule.stages(config, None))
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize('recipe', ['pigan', 'graf'])
def test_noise_that_is_gone_at_once(recipe):
  text = refusal(recipe, loss__density_noise_steps=0)
  assert 'density_noise is 1.0 and would be ignored: it is gone after 0 steps' in text


def test_noise_of_no_density():
  flat = dict(discriminator='stylegan2', loss__pose=0.0, loss__density_noise=0.5)
  assert "'stylegan2' has no density" in refusal('pigan', 'stylegan2', **flat)


@pytest.mark.parametrize(
  'recipe, fields, words',
  [
    ('pigan', dict(loss__fade_steps=3), 'no size of images is faded in'),
    ('eg3d', dict(eg3d__density=1.0, eg3d__monotonic=5.0), "density_kind is not 'monotonic'"),
  ],
)
def test_fields_of_what_is_not_done(recipe, fields, words):
  assert re.search(words, refusal(recipe, **fields))


@pytest.mark.parametrize(
  'recipe, fields, said',
  [
    (
      'pigan',
      dict(loss__r1=0.0, loss__r1_every=4),
      'loss.r1_every (4) beside config.loss.r1 and config.loss.r2 of 0',
    ),
    ('pigan', dict(loss__top_k_interval=0, loss__top_k_floor=0.5), 'loss.top_k_floor (0.5) beside'),
    ('eg3d', dict(loss__pose_encoding='direction'), "pose_encoding ('direction') beside"),
    ('eg3d', dict(eg3d__density=0.0, eg3d__monotonic=5.0), 'eg3d.monotonic (5.0) beside'),
    ('stylesdf_stage1', dict(loss__r1=0.0, loss__r1_every=2), 'config.loss.r2 of 0'),
    (
      'stylesdf_stage1',
      dict(loss__eikonal=0.0, loss__minimal_surface=0.0, stylesdf__penalise_every=2),
      'penalise_every (2) beside config.loss.eikonal and config.loss.minimal_surface of 0',
    ),
    ('graf', dict(graf__scale_decay=0.0, graf__scale_images=1), 'config.graf.scale_decay of 0'),
    ('graf', dict(loss__density_noise=0.0, loss__density_noise_steps=7), 'noise_steps (7) beside'),
    (
      'hologan',
      dict(hologan__style=0.0, hologan__generator_style=False),
      'config.hologan.style of',
    ),
  ],
)
def test_what_says_more_of_a_term_without_weight_is_said(recipe, fields, said):
  """A weight of 0 trains: runs that differ in it may have it among them."""
  config = config_lib.base_config(recipe)
  if recipe == 'hologan':
    fields = fields | dict(discriminator__styles=False)
  config = config_lib.tiny(config)
  config.update_from_flattened_dict({name.replace('__', '.'): v for name, v in fields.items()})
  discriminator = discriminators.create(config.discriminator)
  recipes.check(config, generators.create(config), discriminator, schedule.stages(config, None))
  (note,) = [x for x in recipes.notes(config, discriminator) if x.startswith('Without effect')]
  assert said in note and '\n' not in note


def test_where_every_weight_counts_nothing_is_said():
  for recipe in recipes.RECIPES:
    config = config_lib.base_config(recipe)
    assert not unused.of_weights(config, recipes.create(recipe)), recipe


def test_rendering_options_that_the_generator_does_not_use():
  flat = dict(model__view_dependent=False, model__direction_frequencies=4)
  text = refusal('graf', **flat, render__lock_view_direction=True)
  assert "'graf' has colours that do not depend on the direction of view" in text
  assert 'lock_view_direction is True' in refusal('eg3d', render__lock_view_direction=True)
  assert "'eg3d' has no sines" in refusal('eg3d', render__saved_activations='phases')
  flat = dict(discriminator='stylegan2', loss__pose=0.0, render__num_coarse=9)
  assert "'stylegan2' has no field for rays" in refusal('pigan', 'stylegan2', **flat)
  text = refusal('eg3d', stages=(dict(from_step=1, last_interval='far'),))
  assert "stages[0] has last_interval=far, which would be ignored: the marcher 'midpoints'" in text


def test_importance_without_a_second_pass():
  flat = dict(render__num_fine=0, display__num_fine=0, render__importance='nerf')
  assert 'there is no second pass, num_fine is 0' in refusal('pigan', **flat)
  # Pictures may have one where training has none.
  config = config_lib.tiny(config_lib.base_config('pigan'))
  config.render.update(num_fine=0, importance='nerf')
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipes.check(config, *networks, schedule.stages(config, None))


@pytest.mark.parametrize(
  'field, value, words',
  [
    ('metrics', 'fid,foo', "config.eval.metrics has 'foo'"),
    ('cameras', 'front', "config.eval.cameras has 'front'"),
    ('resize', 'cubic', "config.eval.resize is 'cubic'. Choose one of half_pixel, tensorflow"),
    ('dims', 64, 'config.eval.dims is 64. Choose one of 0'),
  ],
)
def test_names_of_evaluation_are_checked_before_training(field, value, words):
  config = config_lib.base_config()
  evaluate.check(config)
  config.eval[field] = value
  with pytest.raises(UserError, match=words):
    evaluate.check(config)
