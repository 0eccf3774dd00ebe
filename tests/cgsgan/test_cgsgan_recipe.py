"""CGS-GAN's recipe: rolled cameras, what a step changes, devices, random numbers, refusals."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_steps

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.nn import batch_axis
from jax3dgan.recipes import Now, Photos, views
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib


@functools.cache
def trained():
  """The program, and its state and metrics after a step."""
  program = tiny_steps.cgsgan_program()
  return program, *program.run(1)


def networks_of(config):
  return generators.create(config), discriminators.create(config.discriminator)


def check(config):
  recipes.check(config, *networks_of(config), schedule.stages(config))


def test_a_step_changes_what_is_trained():
  program, state, (metrics,) = trained()
  fresh = jax.device_get(program.create())
  moved = jax.tree.map(
    lambda a, b: float(np.abs(a - b).max()), state.networks, fresh.networks
  )  # fmt: skip
  # Gains of 0 hide the blocks, and the style, from the first step alone.
  hidden = ('attention', 'mlp_in', 'mlp_out', 'mlp_scale', 'mlp_offset')
  hidden += ('attention_scale', 'attention_offset')
  still = [
    jax.tree_util.keystr(path)
    for path, x in jax.tree_util.tree_leaves_with_path(moved)
    if not x and not any(f"'{name}'" in jax.tree_util.keystr(path) for name in hidden)
  ]
  assert all("['mapping']" in name and 'generator' in name for name in still), still
  gains = moved['generator']['blocks_0']['attention_gain']
  assert gains['kernel'] > 0 and gains['bias'] > 0
  # Adam's first step is the rate.
  rate = program.config.optimizer.lr_generator
  assert 0 < moved['generator']['points'] < 0.0101 * rate
  assert moved['generator']['heads_0']['kernel'] > 0.9 * rate
  assert np.isfinite(metrics['generator/loss']) and metrics['generator/neighbours'] > 0
  assert 0 < metrics['gaussians/coverage'] < 1


@pytest.mark.thorough  # a process and a program of its own
def test_several_devices_do_what_one_does(tmp_path):
  program, state, metrics = trained()
  found = tiny_steps.run_on_devices(
    'tiny_steps.cgsgan_program(4)', tmp_path / 'x.npz', 1, (state, metrics), num_devices=4
  )
  assert tiny_steps.largest_difference(found[0].networks, state.networks) < 1e-4
  for name in ('generator/adversarial', 'generator/neighbours', 'discriminator/adversarial'):
    np.testing.assert_allclose(found[1][0][name], metrics[0][name], rtol=1e-3, err_msg=name)


@pytest.mark.parametrize('batch_size', [8, 7])
def test_cameras_are_rolled_through_the_whole_batch(batch_size):
  """Whatever the devices; those beyond the batch give none."""
  label = np.arange(8.0, dtype=np.float32)[:, None] + np.zeros(25, np.float32)

  def rolled(label):
    return views.rolled(label, 4, batch_size)

  alone = rolled(jnp.asarray(label))
  for view in range(3):
    # A batch with each camera of the batch once.
    expected = (np.arange(8) + view + 1) % batch_size
    np.testing.assert_array_equal(alone[:, view, 0], expected)
  with batch_axis.divided('data', 4):
    divided = jax.vmap(rolled, axis_name='data')(label.reshape(4, 2, 25))
  np.testing.assert_array_equal(divided.reshape(8, 3, 25), alone)


def test_no_two_streams_of_a_phase_share_a_key():
  config = tiny_steps.cgsgan()
  generator, recipe = generators.create(config), recipes.create('cgsgan')
  labels = tiny_steps.labels(tiny_steps.BATCH)
  image = np.zeros((tiny_steps.BATCH, 16, 16, 3), np.float32)
  photos = Photos(image, labels, labels, image[..., 0])

  def draw():
    for i, phase in enumerate(('generator', 'discriminator')):
      keys = jax.random.split(jax.random.wrap_key_data(np.uint32([3, i])), tiny_steps.BATCH)
      drawn = recipe.draw(keys, phase, config, generator, photos, Now(0, 0), {})
      assert drawn.z.shape == (tiny_steps.BATCH, 8) and drawn.condition is None
      assert (drawn.images is None) == (phase == 'generator')

  tiny_steps.assert_no_shared_keys(tiny_steps.draws_of(draw), 9)


def test_the_papers_phases_and_clipping():
  config = config_lib.base_config('cgsgan')
  found = state_lib.phases_of(config, *networks_of(config))
  assert [(p.name, p.network, p.every, p.lazy) for p in found] == [
    ('generator', 'generator', 1, False),
    ('discriminator', 'discriminator', 1, False),
    ('r1', 'discriminator', 16, True),
  ]
  config.optimizer.update(name='rmsprop', beta2=0.0, epsilon=1e8)  # the clipped gradient, scaled
  for network, bound in (('generator', 20.0), ('discriminator', 5.0)):
    transform, _ = state_lib.optimizers(config, found[:2])[network]
    gradients = {'x': jnp.full(4, 100.0)}
    updates, _ = transform.update(gradients, transform.init(gradients))
    assert abs(1e8 * optax.tree.norm(updates) - bound) < 1e-3 * bound


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'render.white_back': False}, 'random_background exchanges a white ground'),
    ({'cgsgan.views': 17}, 'more than the 16 cameras of a batch'),
    ({'cgsgan.views': 0}, 'config.cgsgan.views to 1 or more'),
    ({'model.ratios': (1,), 'model.channels': (8,)}, 'there are no anchors'),
    ({'render.num_coarse': 5}, 'num_coarse is 5 and would be ignored'),
    ({'render.align_corners': True}, 'align_corners'),
    ({'discriminator.label_dim': 25, 'data.use_labels': False}, 'label_dim=0'),
  ],
)
def test_one_line_says_what_does_not_go_together(fields, words):
  config = tiny_steps.cgsgan()
  check(config)
  config.update_from_flattened_dict(fields)
  with pytest.raises(UserError, match=words) as error:
    check(config)
  assert '\n' not in str(error.value)
