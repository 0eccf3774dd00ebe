"""HoloGAN's recipe: what a step changes, its phases, devices, what is refused in one line."""

import functools
import importlib

import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.generators.hologan import uniform_latents
from jax3dgan.nn import spectral_norm
from jax3dgan.recipes import Now, Photos
from jax3dgan.rendering import rigid_transform
from jax3dgan.training import schedule, streams
from jax3dgan.training import state as state_lib

NUM_STEPS = 3


@functools.cache
def trained():
  """The program, and its state and metrics after some steps."""
  program = tiny_steps.program(tiny_steps.hologan())
  return program, *program.run(NUM_STEPS)


def networks_of(config):
  return generators.create(config), discriminators.create(config.discriminator)


def test_a_step_changes_what_is_trained():
  program, state, metrics = trained()
  fresh = jax.device_get(program.create())
  for network in ('generator', 'discriminator'):
    assert not tiny_steps.unmoved(state, fresh, network)
  assert all(np.isfinite(value) for of_step in metrics for value in of_step.values())
  counts = {name: int(moments[1].count) for name, moments in state.optimizers.items()}
  assert counts == {'discriminator': NUM_STEPS, 'generator': 2 * NUM_STEPS}


def test_the_power_iterations_make_one_step_a_step():
  program, _, _ = trained()
  fresh = jax.device_get(program.create())
  state, _ = program.run(1, state=program.create())
  block, buffers = (x['discriminator']['block_1'] for x in (fresh.networks, fresh.buffers))
  matrix = block['kernel'].reshape(-1, block['kernel'].shape[-1])
  expected, _ = spectral_norm.power_step(matrix, buffers['norm']['u'])
  np.testing.assert_allclose(
    state.buffers['discriminator']['block_1']['norm']['u'], expected, atol=1e-6
  )


def test_the_papers_phases():
  """The generator's steps are of the discriminator's latents and cameras."""
  config = config_lib.base_config('hologan')
  found = state_lib.phases_of(config, *networks_of(config))
  assert [(p.name, p.network) for p in found] == [
    ('discriminator', 'discriminator'),
    ('generator', 'generator'),
    ('generator_2', 'generator'),
  ]
  assert len({p.stream for p in found}) == 1 and found[0].stream
  config.hologan.generator_steps = 1
  assert len(state_lib.phases_of(config, *networks_of(config))) == 2


def test_scales_are_random_where_distances_are():
  config = tiny_steps.hologan()
  config.pose_prior.radius_std = 0.2 * config.render.radius
  generator, recipe = generators.create(config), recipes.create('hologan')
  recipes.check(config, *networks_of(config), schedule.stages(config))
  keys = jax.random.split(jax.random.key(0), 64)
  photos = Photos(np.zeros((64, 16, 16, 3), np.float32))
  camera = recipe.draw(keys, 'images', config, generator, photos, Now(0, 0), {}).camera
  scale = np.asarray(rigid_transform.view_of(camera, 4, generator.fov_degrees).scale)
  assert 1 / 1.2 <= scale.min() < 0.9 and 1.1 < scale.max() <= 1 / 0.8


def test_no_two_streams_of_a_phase_share_a_key():
  config = tiny_steps.hologan()
  generator, recipe = generators.create(config), recipes.create('hologan')
  photos = Photos(np.zeros((tiny_steps.BATCH, 16, 16, 3), np.float32))

  def draw():
    key = streams.step_key(jax.random.key_data(jax.random.key(0)), 0)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(tiny_steps.BATCH))
    inputs = recipe.draw(
      streams.named_keys(keys, 'images'), 'generator', config, generator, photos, Now(0, 0), {}
    )
    jax.vmap(jax.random.uniform)(inputs.keys)  # of generators that render at random

  tiny_steps.assert_no_shared_keys(tiny_steps.draws_of(draw), 4)  # z, yaw, pitch, rendering


def test_latents_are_uniform():
  z = np.random.default_rng(0).standard_normal(20_000, np.float32)
  u = np.sort(uniform_latents(z))
  np.testing.assert_allclose(u, np.linspace(-1, 1, len(u)), atol=0.03)


def check(config):
  recipes.check(config, *networks_of(config), schedule.stages(config))


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'data.use_labels': True}, 'draws all cameras from the pose prior'),
    ({'hologan.style': 0.0}, 'styles is on and would not be trained'),
    ({'discriminator.styles': False}, 'has no style discriminators'),
    ({'hologan.generator_steps': 0}, 'Set --config.hologan.generator_steps to'),
    ({'discriminator.latent_dim': 3}, 'latent_dim is 3. Set --config.discriminator.latent_dim=8'),
    ({'resolution': 32}, 'makes images of 16², not 32²'),
    ({'render.white_back': True}, 'white_back is True and would be ignored'),
    ({'render.num_coarse': 48}, 'num_coarse is 48 and would be ignored.* has no field for rays'),
    ({'display.num_fine': 0}, 'Set --config.display.num_fine=24'),
    ({'stages': (dict(from_step=1, num_coarse=8),)}, r'stages\[0\] has num_coarse=8, which would'),
    ({'render.fov_degrees': 12.0}, 'at 4.24 of their size. Set --config.model.fov_degrees=12'),
  ],
)
def test_what_is_refused_in_one_line(fields, words):
  with pytest.raises(UserError, match=words) as error:
    check(tiny_steps.hologan(**fields))
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['celeba64', 'cars128'])
def test_the_papers_configs(name):
  config = importlib.import_module(f'configs.hologan_{name}').get_config()
  check(config)
  shapes = jax.eval_shape(functools.partial(state_lib.create, config, *networks_of(config)))
  counts = {
    network: sum(leaf.size for leaf in jax.tree.leaves(params))
    for network, params in shapes.networks.items()
  }
  expected = {'celeba64': (7_797_251, 5_381_761), 'cars128': (8_029_475, 19_550_725)}[name]
  assert (counts['generator'], counts['discriminator']) == expected


@pytest.mark.thorough
def test_several_devices_train_as_one(tmp_path):
  _, state, metrics = trained()
  program = 'tiny_steps.program(tiny_steps.hologan(), 8)'
  file = tmp_path / 'several.npz'
  many = tiny_steps.run_on_devices(program, file, NUM_STEPS, (state, metrics))
  for expected, found in zip(metrics, many[1], strict=True):
    for key, value in expected.items():
      np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=1e-5, err_msg=key)
  assert tiny_steps.largest_difference(state.buffers, many[0].buffers) < 1e-4
  assert tiny_steps.largest_difference(state.networks, many[0].networks) < 2e-3
