"""GIRAFFE's recipe: what a step changes, streams, devices, what is refused in one line."""

import functools
import importlib

import goldens
import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import cameras, discriminators, generators, recipes
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.generators import giraffe_rendering
from jax3dgan.recipes import Now, Photos
from jax3dgan.recipes.giraffe import shortened
from jax3dgan.training import schedule, streams

NUM_STEPS = 3


@functools.cache
def trained():
  """The program, and its state and metrics after some steps, by the release's cameras."""
  program = tiny_steps.program(tiny_steps.giraffe(**{'compat.look_at_batch_norm': True}), 1)
  return program, *program.run(NUM_STEPS)


def test_a_step_changes_what_is_trained():
  program, state, metrics = trained()
  fresh = jax.device_get(program.create())
  for network in ('generator', 'discriminator'):
    new, old = state.networks[network], fresh.networks[network]
    moved = jax.tree.map(lambda a, b: np.any(np.asarray(a) != b), new, old)
    assert all(jax.tree.leaves(moved)), moved
  for of_step in metrics:
    assert all(np.isfinite(value) for value in of_step.values())
    assert of_step['discriminator/r1'] > 0


def test_no_two_streams_of_a_step_share_a_key():
  config = tiny_steps.giraffe()
  generator, recipe = generators.create(config), recipes.create('giraffe')
  photos = Photos(np.zeros((tiny_steps.BATCH, 16, 16, 3), np.float32))

  def draw():
    key = streams.step_key(jax.random.key_data(jax.random.key(0)), 0)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(tiny_steps.BATCH))
    for phase in ('generator', 'discriminator'):
      own = streams.named_keys(keys, phase)
      inputs = recipe.draw(own, phase, config, generator, photos, Now(0, 0), {})
      giraffe_rendering.draw(inputs.keys, 4, 4, 4, 1.0)

  # In each phase: z, yaw and pitch, size, place, turn, count, order and background's turn of the
  # objects, jitter and noise.
  tiny_steps.assert_no_shared_keys(tiny_steps.draws_of(draw), 2 * (1 + 2 + 6 + 2))


def check(config):
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipes.check(config, *networks, schedule.stages(config))


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'data.use_labels': True}, 'draws all cameras from the pose prior'),
    ({'render.num_fine': 4}, 'render.num_fine is 4, and GIRAFFE renders with 0 alone'),
    ({'render.white_back': True}, 'render.white_back is True'),
    ({'render.low_resolution': 8}, 'the neural renderer is made for 4²'),
    ({'model.counts': (0.5, 0.5)}, 'counts has 2 probabilities'),
    ({'model.counts': (0.5, 0.2, 0.2)}, 'probabilities sum to 1'),
    ({'model.placements': 0}, 'placements is how many'),
    ({'model.position_max': (-9.0, 0.0, 0.0)}, 'the smaller ones first'),
    ({'model.size_min': (0.0, 0.1, 0.1)}, 'positive half sizes'),
    ({'model.compat_linear_view': True}, 'compat_linear_view is True and would be ignored'),
    ({'model.background': False}, 'background is off'),
    ({'model.skip': 9}, 'Set --config.model.skip=2 or less, 0 for none'),
    ({'model.point_frequencies': 0}, 'Set --config.model.point_frequencies to 1 or more'),
    ({'model.background_dim': 0}, 'Set --config.model.background_dim to 1 or more'),
    ({'model.composition': 'mean'}, 'Choose one of sum, max'),
    ({'model.turns': (0.0, float('nan'))}, 'turns is .*Give two angles in degrees'),
    ({'model.background_turns': (0.0,)}, 'background_turns is .*Give two angles in degrees'),
    ({'render.importance': 'nerf'}, "importance is 'nerf' and would be ignored"),
    (
      {'compat.look_at_batch_norm': True, 'render.pivot': (0.0, 0.5, 0.0)},
      r"Set --config.render.pivot='\(0.0, 0.0, 0.0\)'",
    ),
    ({'resolution': 32}, 'makes images of 16², not 32²'),
    (
      {
        'compat.look_at_batch_norm': True,
        'stages': (dict(from_step=1, batch_size=8),),
      },
      'needs batches of one size',
    ),
  ],
)
def test_what_is_refused_in_one_line(fields, words):
  with pytest.raises(UserError, match=words) as error:
    check(tiny_steps.giraffe(**fields))
  assert '\n' not in str(error.value)


@pytest.mark.thorough
def test_several_devices_train_as_one(tmp_path):
  """With the release's cameras, whose axes depend on the whole batch."""
  _, state, metrics = trained()
  program = "tiny_steps.program(tiny_steps.giraffe(**{'compat.look_at_batch_norm': True}), 8)"
  file = tmp_path / 'several.npz'
  many = tiny_steps.run_on_devices(program, file, NUM_STEPS, (state, metrics))
  for expected, found in zip(metrics, many[1], strict=True):
    for key, value in expected.items():
      np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=1e-5, err_msg=key)
  assert tiny_steps.largest_difference(state.networks, many[0].networks) < 2e-4


@pytest.mark.parametrize('name', ['cars', 'chairs', 'wide'])
def test_cameras_by_their_own_norms_and_by_the_batchs(name):
  arrays = goldens.load('giraffe/scene')
  low, high = arrays[f'pose/{name}/range_u_v_r'].T[..., None]
  u, v, radius = low + arrays[f'pose/{name}/draw_u_v_r'] * (high - low)
  azimuth, elevation = 2 * np.pi * u, np.pi / 2 - np.arccos(1 - 2 * v)
  camera = cameras.orbit(azimuth, elevation, radius[:, None])

  def official(camera):
    pose = np.asarray(camera.cam2world)[:, [2, 0, 1, 3]]  # (z, x, y) of ours, y up and z backwards
    return pose * np.array([1, -1, -1, 1])

  compare = functools.partial(goldens.compare, 'giraffe/scene', relative=1e-6)
  compare(f'pose/{name}/c2w_one_by_one', official(camera))
  mesh = parallel.make_mesh(jax.devices()[:1])
  one = jax.jit(
    jax.shard_map(
      lambda camera: shortened(camera, 4), mesh=mesh, in_specs=jax.P(), out_specs=jax.P(),
      check_vma=False,
    )
  )  # fmt: skip
  compare(f'pose/{name}/c2w_as_released_batch4', official(one(camera)))


@pytest.mark.parametrize(
  'name, millions, size',
  [('cars', (0.748497, 2.802432), 256), ('celeba', (0.411595, 2.763776), 64),
   ('clevr', (0.195441, 2.802432), 256)],
)  # fmt: skip
def test_the_papers_networks(name, millions, size):
  config = importlib.import_module(f'configs.giraffe_{name}').get_config()
  networks = generators.create(config), discriminators.create(config.discriminator)
  for network, init, number in zip(
    networks, (generators.init_params, discriminators.init_params), millions, strict=True
  ):
    shapes = jax.eval_shape(functools.partial(init, network), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == round(1e6 * number)
  assert networks[0].resolution == config.resolution == size
  check(config)
