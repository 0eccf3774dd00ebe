"""StyleNeRF's recipe: what a step changes, devices, what is refused in one line."""

import functools
import importlib

import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.generators import stylenerf_rendering
from jax3dgan.recipes import Now, Photos
from jax3dgan.training import checks as training_checks
from jax3dgan.training import schedule, streams
from jax3dgan.training import state as state_lib

NUM_STEPS = 6
LAST = -1  # the stage at which the networks have grown


@functools.cache
def trained():
  """The program, and its state and metrics after some steps."""
  program = tiny_steps.program(tiny_steps.stylenerf(), 1, False, LAST)
  return program, *program.run(NUM_STEPS)


def test_a_step_changes_what_is_trained():
  program, state, metrics = trained()
  fresh = jax.device_get(program.create())
  for network in ('generator', 'discriminator'):
    new, old = state.networks[network], fresh.networks[network]
    for path, leaf in jax.tree_util.tree_leaves_with_path(old):
      name = jax.tree_util.keystr(path)
      moved = functools.reduce(lambda tree, key: tree[key.key], path, new)
      assert np.any(np.asarray(leaf) != moved), name
  for key in ('powers', 'w_average'):
    old, new = fresh.buffers['generator'][key], state.buffers['generator'][key]
    assert np.all(old != new), key
  assert (
    0 < state.buffers['path_length'] < np.nanmean([m['generator/path_length'] for m in metrics])
  )
  lazy = ('path', 'r1')
  for of_step in metrics:
    assert all(np.isfinite(v) for k, v in of_step.items() if not any(x in k for x in lazy))
    assert of_step['generator/nerf_path'] > 0


def test_no_two_streams_of_a_step_share_a_key():
  config = tiny_steps.stylenerf()
  generator, recipe = generators.create(config), recipes.create('stylenerf')
  options, now = schedule.stages(config)[LAST].options, Now(0, 0)
  photos = Photos(np.zeros((tiny_steps.BATCH, 16, 16, 3), np.float32))

  def draw():
    data = jax.random.key_data(jax.random.key(0))
    key = streams.step_key(data, 0)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(tiny_steps.BATCH))
    for phase in phases(config):
      own = streams.named_keys(keys, phase.name)
      inputs = recipe.draw(own, phase.name, config, generator, photos, now, {})
      for renders in (inputs.keys, inputs.extras.get('path keys')):
        if renders is not None:
          stylenerf_rendering.draw(renders, 4, options, generator.background_samples, 1.0)

  # In each of three phases that render: z and mixing's, its place and whether, yaw and pitch; of
  # the foreground jitter, importance sampling and noise of two passes, of the background jitter and
  # noise. The same of the NeRF path, and its place; the path length's noise.
  tiny_steps.assert_no_shared_keys(tiny_steps.draws_of(draw), 3 * (6 + 6) + 6 + 1 + 1)


def test_lazy_terms_are_due_now_and_then():
  terms = ('generator/path_length', 'discriminator/r1')
  due = [tuple(bool(np.isfinite(m[term])) for term in terms) for m in trained()[2][:4]]
  assert due == [(True, True), (False, False), (True, False), (False, True)]


def phases(config):
  networks = generators.create(config), discriminators.create(config.discriminator)
  return state_lib.phases_of(config, *networks)


def test_the_papers_phases():
  config = config_lib.base_config('stylenerf')
  found = phases(config)
  assert [(p.name, p.network, p.every, p.lazy) for p in found] == [
    ('generator', 'generator', 1, False),
    ('path_length', 'generator', 4, True),
    ('discriminator', 'discriminator', 1, False),
    ('r1', 'discriminator', 16, True),
  ]
  factors = {name: factor for name, (_, factor) in state_lib.optimizers(config, found).items()}
  assert factors == {'generator': 4 / 5, 'discriminator': 16 / 17}
  config.loss.r1 = config.stylenerf.path_length = 0.0
  assert [p.name for p in phases(config)] == ['generator', 'discriminator']


@pytest.mark.parametrize(
  'name, millions, sizes',
  [
    ('ffhq256', (5.26, 23.1), (32, 64, 128, 256)),
    ('ffhq512', (5.41, 27.8), (32, 64, 128, 256, 512)),
    ('ffhq1024', (5.48, 27.8), (32, 64, 128, 256, 512, 1024)),
  ],
)
def test_the_papers_networks_and_growth(name, millions, sizes):
  config = importlib.import_module(f'configs.stylenerf_{name}').get_config()
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  for number, init, module in zip(
    millions,
    (generators.init_params, discriminators.init_params),
    (generator, discriminator),
    strict=True,
  ):
    shapes = jax.eval_shape(functools.partial(init, module), jax.random.key(0))
    found = sum(leaf.size for leaf in jax.tree.leaves(shapes)) / 1e6
    assert abs(found - number) < 0.05 if number > 10 else abs(found - number) < 0.005
  stages = schedule.stages(config)
  assert tuple(stage.resolution for stage in stages) == sizes
  # From 500 to 5,000 kimg, one size after another, each faded in until the next one comes.
  ends = [stage.position for stage in stages[1:]]
  ends.append(ends[-1] + config.loss.fade_steps * config.batch_size)
  expected = 500_000 + np.arange(len(sizes)) * 4_500_000 / (len(sizes) - 1)
  np.testing.assert_allclose(ends, expected, atol=100)
  assert schedule.fade(stages[1], stages[2].from_step, config.loss.fade_steps) == 1
  assert abs(config.num_steps * config.batch_size - 25e6) < 100


def check(config):
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipes.check(config, *networks, schedule.stages(config))


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'data.use_labels': True}, 'draws all cameras from the pose prior'),
    ({'loss.pose_encoding': 'angles'}, 'pose_dim is 3. Set --config.discriminator.pose_dim=2'),
    ({'stylenerf.nerf_path_pixels': 3}, 'does not divide images of 8².*nerf_path_pixels=2'),
    ({'stylenerf.nerf_path_pixels': 5000}, 'more than the pixels .*nerf_path_pixels=16'),
    ({'stylenerf.mixing': 1.5}, 'Set --config.stylenerf.mixing to a number from 0 to 1'),
    (
      {
        'num_steps': 20,
        'stages': (dict(from_step=3, resolution=16), dict(from_step=8, resolution=8)),
      },
      'new at step 3 grow again at step 8. Set --config.loss.fade_steps=5',
    ),
    ({'stages': ()}, 'fade_steps is 8 and would be ignored: all images have one size'),
    ({'resolution': 32}, 'makes images of 8², 16², not 32²'),
    ({'model.channels': ()}, 'there is none: config.model.channels is'),
    ({'render.low_resolution': 4}, 'the up-sampler is made for 8²'),
    ({'render.white_back': True}, 'white_back would be ignored'),
    ({'render.last_back': True}, 'model.background would be ignored: with config.render.last_back'),
    ({'render.last_interval': 'infinite'}, 'last_interval=.infinite. no light passes'),
  ],
)
def test_what_is_refused_in_one_line(fields, words):
  with pytest.raises(UserError, match=words) as error:
    check(tiny_steps.stylenerf(**fields))
  assert '\n' not in str(error.value)


@pytest.mark.thorough
def test_several_devices_train_as_one(tmp_path):
  """Eight devices, whose discriminator compares four images of two of them."""
  _, state, metrics = trained()
  program = f'tiny_steps.program(tiny_steps.stylenerf(), 8, False, {LAST})'
  file = tmp_path / 'several.npz'
  many = tiny_steps.run_on_devices(program, file, NUM_STEPS, (state, metrics))
  for expected, found in zip(metrics, many[1], strict=True):
    for key, value in expected.items():
      np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=1e-5, err_msg=key)
  assert tiny_steps.largest_difference(state.networks, many[0].networks) < 2e-4
  assert tiny_steps.largest_difference(state.buffers, many[0].buffers) < 1e-5


def test_the_rendering_alone_can_be_trained():
  config = importlib.import_module('configs.stylenerf_toys').get_test_config()
  with config.unlocked():
    config.model.update(channels=(), upsampling_border='zeros')
    config.stylenerf.update(nerf_path=0.0, nerf_path_pixels=16)
  training_checks.check(config)
  check(config)
  config.discriminator.channels = ()
  with pytest.raises(UserError, match='config.discriminator.channels is'):
    training_checks.check(config)
