"""What recipes refuse in one line, before anything is compiled."""

import ast
import re

import pytest

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.recipes import checks
from jax3dgan.training import schedule


def refusal(config, **flat):
  """The message about a config with these fields."""
  config = config.copy_and_resolve_references()
  config.update_from_flattened_dict({name.replace('__', '.'): v for name, v in flat.items()})
  with pytest.raises(UserError) as error:
    networks = generators.create(config), discriminators.create(config.discriminator)
    recipes.check(config, *networks, schedule.stages(config))
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.fixture(scope='module')
def eg3d():
  config = config_lib.tiny(config_lib.base_config('eg3d'))
  config.data.use_labels = True
  return config


def test_labels_have_the_numbers_of_a_camera(eg3d):
  text = refusal(eg3d, discriminator__label_dim=7)
  assert 'Set --config.discriminator.label_dim=25, or 0' in text
  assert 'model.label_dim is 7' in refusal(eg3d, model__label_dim=7)


def test_an_augmentation_that_is_off_has_no_probability(eg3d):
  assert 'Set --config.augment.name=fixed, or --config.augment.p=0.0.' in refusal(
    eg3d, augment__p=0.5
  )
  text = refusal(eg3d, augment__name='fixed', augment__p=0.5, augment__target=0.3)
  assert "augment.name is 'fixed'. Set --config.augment.name=ada" in text


def test_all_unused_fields_of_a_network_are_named_at_once():
  config = config_lib.tiny(config_lib.base_config('nerf'))
  text = refusal(config, model__plane_features=5, model__plane_std=0.5)
  assert 'plane_features is 5 and would be ignored' in text
  assert text.endswith('Set --config.model.plane_features=16 --config.model.plane_std=0.1.')
  assert "field is 'foo'. Choose one of mlp" in refusal(config, model__field='foo')


def test_a_stage_changes_nothing_that_is_not_used():
  config = config_lib.tiny(config_lib.base_config('nerf'))
  text = refusal(config, stages=(dict(from_step=1, lr_discriminator=1e-3),))
  assert 'config.stages[0] has lr_discriminator, which would be ignored' in text
  text = refusal(config, stages=(dict(from_step=1, low_resolution=4),))
  assert "low_resolution=4, which would be ignored: 'nerf' has no up-sampler" in text


def _accepted(config, flags):
  """Whether a config is, after the flags of a remedy."""
  config = config.copy_and_resolve_references()
  for name, value in re.findall(r"--config\.([\w.]+)='?(\([^)]*\)|\w+)", flags):
    config.update_from_flattened_dict({name: ast.literal_eval(value)})
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipes.check(config, *networks, schedule.stages(config))
  return True


@pytest.mark.parametrize(
  'discriminator, generator, resolution, remedies',
  [
    (dict(name='progressive', channels=(8, 8, 16, 16, 16)), None, 48, 2),  # 32, or 64
    (dict(name='progressive', channels=(8, 8, 16, 16, 16)), None, 256, 2),
    (dict(name='progressive', channels=(8, 8, 16, 16, 16)), None, 20, 1),  # 16
    (dict(name='stylegan2', channels=(8, 8, 4)), None, 48, 2),  # 16, or 64
    (dict(name='stylegan2', channels=(8, 8, 4)), None, 8, 2),  # fewer sizes
    (dict(name='stylegan2', channels=(8, 8, 4)), 'stylegan2', 32, 1),  # the generator makes 32²
  ],
)
def test_a_resolution_that_the_discriminator_does_not_take_has_remedies_that_work(
  discriminator, generator, resolution, remedies
):
  config = config_lib.base_config()
  config_lib.set_discriminator(config, **discriminator)
  config.loss.update(pose=0.0, latent=0.0)
  if discriminator['name'] == 'progressive':
    config.discriminator.latent_dim = config.discriminator.pose_dim = 0
  if generator:
    config_lib.set_model(config, generator, channels=(8, 8, 8, 8))
  config.batch_size = 8
  text = refusal(config, resolution=resolution)
  assert f'pixels, not {resolution}. Set --config.' in text
  said = text.partition(' Set ')[2].split(', or ')
  assert len(said) == remedies
  config.resolution = resolution
  assert all(_accepted(config, flags) for flags in said)


def test_a_resolution_of_a_stage_is_set_in_the_stage():
  config = config_lib.tiny(config_lib.base_config())
  text = refusal(config, stages=(dict(from_step=1, resolution=24),))
  assert (
    'not 24. Set in config.stages[0] resolution=16, or in config.stages[0] resolution=32' in text
  )
  stages = tuple(dict(from_step=i, resolution=8 << i) for i in (1, 2, 3))
  text = refusal(config, stages=stages, num_steps=9)
  assert 'not 64' in text  # the largest, whose channels serve all
  config.update(stages=stages, num_steps=9)
  assert _accepted(config, text.rpartition(', or ')[2])


def test_pictures_that_cannot_be_rendered_are_refused_before_training():
  config = config_lib.tiny(config_lib.base_config())
  text = refusal(config, display__num_coarse=1)
  assert text.startswith('config.display, whose fields come before config.render: num_coarse 1 is')
  assert refusal(config, render__far=0.5).startswith(
    'config.render: Rays from near 0.88 to far 0.5'
  )
  text = refusal(config, stages=(dict(from_step=1, num_coarse=1),))
  assert text.startswith('config.stages[0]: num_coarse 1 is too small')


_DECODER = dict(stylesdf__random_renderer=True, model__decoder_channels=(8, 8))


@pytest.mark.parametrize(
  'name, fields, words',
  [
    ('giraffe', dict(display__num_fine=4), 'config.display, .* GIRAFFE renders with 0 alone'),
    ('graf', dict(render__density='field'), "'graf' gives a raw density"),
    ('stylesdf_stage1', dict(model__z_dim=0), 'a single scene without latents'),
    (
      'stylesdf',
      dict(_DECODER, model__low_resolution=0),
      'the decoder has nothing to begin with',
    ),
    ('stylenerf', dict(model__low_resolution=0), 'the up-sampler has nothing to begin with'),
    ('stylenerf', dict(discriminator__channels=(8,)), 'has too few entries for images of'),
  ],
)
def test_what_would_fail_later_is_refused_before_training(name, fields, words):
  config = config_lib.tiny(config_lib.base_config(name))
  assert re.search(words, refusal(config, **fields))


def test_the_remedy_of_a_head_is_not_one_that_is_refused_next():
  config = config_lib.tiny(config_lib.base_config())
  config_lib.set_model(config, 'stylegan2', channels=(8, 8, 8))
  config.discriminator.latent_dim = config.loss.latent = 0
  text = refusal(config, loss__pose=0.5)
  assert "images of 'stylegan2' do not depend on the camera. Set --config.loss.pose=0." in text


@pytest.mark.parametrize('recipe', ['pigan', 'eg3d', 'stylesdf_stage1', 'stylesdf', 'stylenerf'])
def test_heads_that_no_loss_trains_are_named(recipe):
  config = config_lib.tiny(config_lib.base_config(recipe))
  config.discriminator.pose_dim = 2
  trains = 'pose' in config.loss
  if 'latent' in config.loss:
    config.discriminator.latent_dim, config.loss.latent = 8, 0.5
  for weight in (1.0, 0.0) if trains else (None,):
    if trains:
      config.loss.pose = weight
    note = checks.untrained_heads(config, discriminators.create(config.discriminator))
    assert note == (
      ''
      if weight
      else 'No loss trains what config.discriminator.pose_dim adds to the discriminator. Without '
      'it: --config.discriminator.pose_dim=0.'
    )
  if 'latent' in config.loss:
    config.loss.latent = 0.0
    note = checks.untrained_heads(config, discriminators.create(config.discriminator))
    assert note.count('_dim=0') == 2 and '\n' not in note


def test_without_heads_there_is_nothing_to_train():
  for recipe in ('nerf', 'stylesdf'):
    config = config_lib.base_config(recipe)
    assert not checks.untrained_heads(config, discriminators.create(config.discriminator))


def test_cameras_that_there_are_none_of_are_refused_before_training(eg3d):
  text = refusal(eg3d, pose_prior__name='gaussain')
  assert text.startswith("config.pose_prior: No pose prior is called 'gaussain'. Choose one of gau")
  assert refusal(eg3d, pose_prior__name='mixture').startswith('config.pose_prior: A mixture of')
