"""GRAF's training steps: what moves, random numbers, devices; what is refused in one line."""

import functools
import importlib
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.nn.spectral_norm import power_step
from jax3dgan.training import schedule

NUM_STEPS = 3
NUM_DEVICES = 8


def config_of(**fields):
  """GRAF of patches of 8² of images of 16², every switch of its step on but R1, which is half of
  the compilation and is compared with official arrays in test_graf_step."""
  config = importlib.import_module('configs.graf_celeba').get_test_config()
  config.resolution, config.batch_size = 16, tiny_steps.BATCH
  config.discriminator.channels = (4,)
  config.loss.r1 = 0.0
  config.graf.update(mirror=True, scale_images=tiny_steps.BATCH)
  # Otherwise a gradient of nothing but rounding would make a step as large as any other.
  config.optimizer.epsilon = 1e-2
  config.update_from_flattened_dict(fields)
  return config


@functools.cache
def trained():
  """The program, its state and metrics after some steps, its first step's draws."""
  program = tiny_steps.program(config_of(), 1, True)
  program.run()
  drawn = list(program.drawn)
  return program, *program.run(NUM_STEPS), drawn


def test_steps_change_networks_and_vectors():
  program, state, metrics, _ = trained()
  assert state.step == NUM_STEPS
  assert all(np.isfinite(v) for m in metrics for v in m.values()), metrics
  fresh = jax.device_get(program.create())
  for network in ('generator', 'discriminator'):
    old = dict(jax.tree_util.tree_leaves_with_path(fresh.networks[network]))
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.networks[network]):
      assert np.any(leaf != old[path]), path
  # Of a scale of images that has begun to fall.
  scales = [m['discriminator/least_scale'] for m in metrics]
  np.testing.assert_allclose(scales, [0.9] * 3, rtol=1e-6)
  # Each step has moved the vectors: they are near those of the kernels that there are now.
  for name, own in state.buffers['discriminator'].items():
    kernel = state.networks['discriminator'][name]['kernel']
    matrix = kernel.reshape(-1, kernel.shape[-1])
    u, _ = power_step(matrix, own['norm']['u'])
    assert np.vdot(u, own['norm']['u']) > 0.9, name
    np.testing.assert_allclose(np.linalg.norm(own['norm']['v']), 1, rtol=1e-5)


def test_the_vectors_move_three_times_a_step():
  """With photos, with fakes, and in the generator's phase, of the discriminator's new kernels."""
  program, *_ = trained()
  fresh = jax.device_get(program.create())
  after = program.run(1)[0]
  name = 'conv_0'
  u = fresh.buffers['discriminator'][name]['norm']['u']
  old, new = (x.networks['discriminator'][name]['kernel'] for x in (fresh, after))
  for kernel in (old, old, new):
    u, v = power_step(kernel.reshape(-1, kernel.shape[-1]), u)
  np.testing.assert_allclose(after.buffers['discriminator'][name]['norm']['u'], u, rtol=1e-4)
  np.testing.assert_allclose(after.buffers['discriminator'][name]['norm']['v'], v, atol=1e-5)


# Draws of an example in a step: in each of two phases z, yaw, pitch, the distance, the patch,
# whether it is mirrored, jitter and noise; and of a photo the patch and whether it is mirrored.
def test_no_two_streams_of_a_step_share_a_key():
  tiny_steps.assert_no_shared_keys(trained()[-1], 2 * 8 + 2)


_EIGHT = """
import sys
import jax
jax.config.update('jax_num_cpu_devices', 8)
sys.path[:0] = [{tests!r}, {own!r}]
import test_graf_train as t
program = t.tiny_steps.program(t.config_of(), t.NUM_DEVICES)
t.tiny_steps.save({file!r}, program.run(t.NUM_STEPS))
"""


@pytest.mark.thorough
def test_eight_devices_train_as_one(tmp_path):
  own, file = pathlib.Path(__file__).parent, tmp_path / 'eight.npz'
  code = _EIGHT.format(tests=str(own.parent), own=str(own), file=str(file))
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, timeout=600)
  assert done.returncode == 0, done.stderr[-3000:]
  _, state, metrics, _ = trained()
  many = tiny_steps.load(file, (state, metrics))
  for expected, found in zip(metrics, many[1], strict=True):
    for key in expected:
      np.testing.assert_allclose(found[key], expected[key], rtol=2e-4, atol=1e-5, err_msg=key)
  assert tiny_steps.largest_difference(state.networks, many[0].networks) < 2e-5
  assert tiny_steps.largest_difference(state.buffers, many[0].buffers) < 1e-4


def refusal(**flat):
  config = config_of(**{key.replace('__', '.'): value for key, value in flat.items()})
  networks = generators.create(config), discriminators.create(config.discriminator)
  with pytest.raises(UserError) as error:
    recipes.check(config, *networks, schedule.stages(config))
  assert '\n' not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize(
  ('field', 'value', 'message'),
  [
    ('data__use_labels', True, 'Set --config.data.use_labels=False'),
    ('resolution', 4, 'Set --config.resolution=8'),
    ('graf__min_scale', 0.0, 'Set --config.graf.min_scale to a number between 0 and 1'),
    ('graf__max_scale', 0.1, 'Set --config.graf.min_scale=0.1'),
    ('model__view_dependent', False, 'Set --config.model.direction_frequencies=4'),
    ('graf__min_scale', 0.95, 'above 0.9, from which the least scale falls'),
    ('loss__density_noise_steps', 0, 'Set --config.loss.density_noise_steps to 1 or more'),
    ('pose_prior__radius_std', 99.0, 'Set --config.pose_prior.radius_std below'),
    ('render__low_resolution', 4, 'Set --config.render.low_resolution=0'),
    ('render__box', 1.0, 'limits_radius has no effect with a box'),
  ],
)
def test_what_is_refused_in_one_line(field, value, message):
  fields = {'render__box': {'render__limits_along': 'ray'}}.get(field, {})
  assert message in refusal(**{field: value}, **fields)


def test_the_skip_layer_is_a_layer():
  generator = generators.create(config_of(**{'model.skip_layer': 9}))
  with pytest.raises(UserError, match='Set --config.model.skip_layer=1 or less, 0 for none'):
    jax.eval_shape(lambda: generators.init(generator, jax.random.key(0)))


def test_other_recipes_have_one_distance():
  from jax3dgan import config as config_lib

  config = config_lib.tiny(config_lib.base_config())
  config.pose_prior.radius_std = 0.1
  networks = generators.create(config), discriminators.create(config.discriminator)
  with pytest.raises(UserError, match='Set --config.pose_prior.radius_std=0.0'):
    recipes.check(config, *networks, schedule.stages(config))


def test_networks_have_the_published_sizes():
  config = importlib.import_module('configs.graf_carla').get_config()
  networks = generators.create(config), discriminators.create(config.discriminator)
  shapes = [
    jax.eval_shape(lambda n=network, i=init: i(n, jax.random.key(0)))['params']
    for network, init in zip(networks, (generators.init, discriminators.init), strict=True)
  ]
  sizes = [sum(x.size for x in jax.tree.leaves(s)) for s in shapes]
  assert sizes == [677_764, 2_635_776]
