"""GGHead's recipe: what a step changes, devices, random numbers, what is refused in one line."""

import functools

import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.errors import UserError
from jax3dgan.recipes import Now, Photos
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib

NUM_STEPS = 3
GIVEN = {'model.template': 'given', 'model.num_given': 64, 'model.start_scale': 0.04}


@functools.cache
def trained():
  """The program, and its state and metrics after some steps."""
  program = tiny_steps.gghead_program()
  return program, *program.run(NUM_STEPS)


def networks_of(config):
  return generators.create(config), discriminators.create(config.discriminator)


def check(config):
  recipes.check(config, *networks_of(config), schedule.stages(config))


def test_a_step_changes_what_is_trained():
  program, state, metrics = trained()
  fresh = jax.device_get(program.create())
  for network in ('generator', 'discriminator'):
    assert not tiny_steps.unmoved(state, fresh, network)
  old, new = fresh.buffers['generator'], state.buffers['generator']
  np.testing.assert_array_equal(new['noise_const'], old['noise_const'])
  assert np.abs(new['w_average'] - old['w_average']).max() > 0
  assert all(np.isfinite(of['generator/loss']) for of in metrics)


def test_late_terms_are_late_and_metrics_say_what_to_watch():
  _, _, metrics = trained()  # of 16 images each, late from 8 on
  assert metrics[0]['generator/beta'] == 0 and metrics[0]['generator/variation'] == 0
  assert metrics[1]['generator/beta'] > 0 and metrics[1]['generator/variation'] > 0
  # A fresh template is not stretched.
  assert metrics[0]['generator/stretch'] == 0 < metrics[1]['generator/stretch']
  for of_step in metrics:
    assert 0 < of_step['gaussians/opacity'] < 1 and 0 < of_step['gaussians/coverage'] < 1
    assert 0.02 < of_step['gaussians/scale'] < 0.1


@pytest.mark.thorough
def test_eight_devices_do_what_one_does(tmp_path):
  program, state, metrics = trained()
  expected = (state, metrics)
  found = tiny_steps.run_on_devices(
    'tiny_steps.gghead_program(8)', tmp_path / 'x.npz', NUM_STEPS, expected
  )
  assert tiny_steps.largest_difference(found[0].networks, state.networks) < 1e-4
  for ours, theirs in zip(found[1], metrics, strict=True):
    for name in ('generator/adversarial', 'generator/variation', 'discriminator/adversarial'):
      np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, err_msg=name)


def test_no_two_streams_of_a_phase_share_a_key():
  config = tiny_steps.gghead()
  generator, recipe = generators.create(config), recipes.create('gghead')
  labels = tiny_steps.labels(tiny_steps.BATCH)
  image = np.ones((tiny_steps.BATCH, 16, 16, 3), np.float32)
  photos = Photos(image, labels, labels, image[..., 0] - 0.25)

  grounds = []

  def draw():
    for i, phase in enumerate(('generator', 'discriminator', 'r1')):
      keys = jax.random.split(jax.random.wrap_key_data(np.uint32([3, i])), tiny_steps.BATCH)
      drawn = recipe.draw(keys, phase, config, generator, photos, Now(0, 0), {})
      if phase == 'generator':
        assert drawn.z.shape == (tiny_steps.BATCH, 8) and drawn.images is None
        grounds.append(drawn.extras['background'])
        assert grounds[0].shape == (tiny_steps.BATCH, 2, 3) and 'views' in drawn.extras
      else:
        # A quarter of each photo is its ground, of one colour.
        ground = drawn.images - 0.75
        np.testing.assert_allclose(ground - ground[:, :1, :1], 0, atol=1e-6)
        grounds.append(4 * ground[:, :1, 0])
        if phase == 'discriminator':
          grounds.append(drawn.extras['background'])
          assert 'views' not in drawn.extras

  drawn = tiny_steps.draws_of(draw)
  tiny_steps.assert_no_shared_keys(drawn, 6)
  # No two images have the same ground, neither of a pair of fake and photo.
  grounds = np.concatenate([np.reshape(x, (-1, 3)) for x in grounds])
  assert len(np.unique(grounds.round(4), axis=0)) == len(grounds) == 5 * tiny_steps.BATCH
  assert np.abs(grounds).max() <= 1.001 and grounds.min() < -0.9 and grounds.max() > 0.9


def test_the_papers_phases():
  config = config_lib.base_config('gghead')
  found = state_lib.phases_of(config, *networks_of(config))
  assert [(p.name, p.network, p.every, p.lazy) for p in found] == [
    ('generator', 'generator', 1, False),
    ('discriminator', 'discriminator', 1, False),
    ('r1', 'discriminator', 16, True),
  ]


@pytest.mark.parametrize(
  'fields, words',
  [
    ({'gghead.pose_swap': 0.9}, 'pose_swap is 0.9 and would be ignored'),
    ({'gghead.variation': 1.0}, 'map without cuts'),
    ({'gghead.stretch': 1.0, **GIVEN}, 'texels of a map'),
    ({'gghead.views': 0}, 'config.gghead.views to 1 or more'),
    ({'render.num_coarse': 5}, 'num_coarse is 5 and would be ignored'),
    ({'render.align_corners': True}, 'align_corners'),
    ({'render.last_back': True}, 'last_back'),
    ({'model.num_given': 5}, 'num_given is 5 and would be ignored'),
    ({'model.label_scale': 0.5}, 'label_scale is 0.5 and would be ignored'),
    ({'model.template': 'cube'}, 'Choose one of sphere, half_ellipsoid, ict, given'),
    ({'model.template': 'given'}, 'needs config.model.num_given'),
    ({'model.start_scale': 0.2}, 'must be above'),
    ({'model.scale_floor': 0.9}, 'must be above'),
    ({'discriminator.label_dim': 25, 'data.use_labels': False}, 'label_dim=0'),
    ({'render.white_back': False}, 'exchanges a white ground'),
  ],
)
def test_one_line_says_what_does_not_go_together(fields, words):
  config = tiny_steps.gghead(**{
    'gghead.variation': 0.0, 'gghead.stretch': 0.0, 'gghead.late_images': 0,
    'gghead.blur_images': 200_000, 'model.template': 'sphere', 'render.num_coarse': 12,
  })  # fmt: skip
  check(config)
  config.update_from_flattened_dict(fields)
  with pytest.raises(UserError, match=words) as error:
    check(config)
  assert '\n' not in str(error.value)
