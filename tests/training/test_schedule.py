"""Stages of training: positions, fades, and mistakes in a config."""

import pytest

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, trained
from jax3dgan.errors import UserError
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib


def config_with(*stages, **fields):
  config = config_lib.base_config()
  config.update(dict(num_steps=1000, resolution=32, batch_size=8) | fields)
  config.stages = tuple(stages)
  return config


STAGES = (
  dict(from_step=100, resolution=64, batch_size=4, lr_generator=1e-5),
  dict(from_step=300, num_coarse=24, micro_batches=2),
  dict(from_step=700, resolution=128),
)


def test_stages_add_up():
  stages = schedule.stages(config_with(*STAGES))
  assert [(s.from_step, s.to_step) for s in stages] == [
    (0, 100),
    (100, 300),
    (300, 700),
    (700, 1000),
  ]
  assert [s.resolution for s in stages] == [32, 64, 64, 128]
  # What a stage does not name stays.
  assert [s.batch_size for s in stages] == [8, 4, 4, 4]
  assert [s.micro_batches for s in stages] == [1, 1, 2, 2]
  assert [s.learning_rates['generator'] for s in stages] == [6e-5, 1e-5, 1e-5, 1e-5]
  assert [(s.options.num_coarse, s.options.num_fine) for s in stages] == [(12, 12)] * 2 + [
    (24, 12)
  ] * 2
  assert [s.position for s in stages] == [0, 800, 1600, 3200]


def test_positions_are_continuous_and_count_images():
  stages = schedule.stages(config_with(*STAGES))
  for before, after in zip(stages[:-1], stages[1:], strict=True):
    assert before.position_at(before.to_step) == after.position_at(after.from_step)
  consumed = 0
  for step in range(1000):
    stage = schedule.stage_at(stages, step)
    assert stage.from_step <= step < stage.to_step and stage.position_at(step) == consumed
    consumed += stage.batch_size
  assert schedule.stage_at(stages, 5000) == stages[-1]


def test_a_resolution_fades_in_from_its_first_step():
  stages = schedule.stages(config_with(*STAGES))
  # The third stage has the resolution of the second: its fade goes on.
  assert [s.fade_from for s in stages] == [None, 100, 100, 700]
  assert schedule.fade(stages[0], 50, 400) == 1.0
  assert [schedule.fade(stages[1], s, 400) for s in (100, 200)] == [0, 0.25]
  assert [schedule.fade(stages[2], s, 400) for s in (300, 499, 500, 699)] == [0.5, 0.9975, 1, 1]
  assert schedule.fade(stages[3], 700, 400) == 0
  assert schedule.fade(stages[3], 700, 0) == 1.0


def test_stages_that_keep_the_batch_size_refresh_nothing_in_the_release():
  stages = (
    dict(from_step=100, resolution=64, lr_generator=1e-5, num_coarse=24),
    dict(from_step=300, batch_size=4),
    dict(from_step=700, resolution=128, batch_size=4, lr_discriminator=1e-4),
  )
  ours, theirs = (config_with(*stages) for _ in range(2))
  theirs.compat.refresh_with_batch_size = True
  ours, theirs = schedule.stages(ours), schedule.stages(theirs)
  assert [s.learning_rates['generator'] for s in ours] == [6e-5, 1e-5, 1e-5, 1e-5]
  assert [s.learning_rates['generator'] for s in theirs] == [6e-5, 6e-5, 1e-5, 1e-5]
  assert [s.learning_rates['discriminator'] for s in ours] == [2e-4, 2e-4, 2e-4, 1e-4]
  assert [s.learning_rates['discriminator'] for s in theirs] == [2e-4] * 4
  assert [s.fade_from for s in ours] == [None, 100, 100, 700]
  assert [s.fade_from for s in theirs] == [None, None, 100, 100]
  for name in ('resolution', 'batch_size', 'options', 'position'):
    assert [getattr(s, name) for s in ours] == [getattr(s, name) for s in theirs]


def test_one_stage():
  (stage,) = schedule.stages(config_with())
  assert (stage.from_step, stage.to_step, stage.fade_from, stage.position) == (0, 1000, None, 0)


def test_stages_after_the_last_step_are_left_out():
  """A short run of a long config never compiles them."""
  stages = schedule.stages(config_with(*STAGES, num_steps=200))
  assert [s.from_step for s in stages] == [0, 100]
  assert [s.from_step for s in schedule.stages(config_with(*STAGES, num_steps=100))] == [0]
  assert len(schedule.stages(config_with(num_steps=0))) == 1


@pytest.mark.parametrize('starts', [(100, 100), (300, 200), (0,), (-5,)])
def test_unordered_stages(starts):
  with pytest.raises(UserError, match='later from_step'):
    schedule.stages(config_with(*(dict(from_step=s) for s in starts)))


@pytest.mark.parametrize('stage', [dict(resolution=64), dict(from_step='soon'), 'stage'])
def test_malformed_stages(stage):
  config = config_lib.base_config()
  with config.unlocked():
    config.stages = (stage,)
  with pytest.raises(UserError, match='Give a tuple of dict'):
    schedule.stages(config)


def test_unknown_fields():
  with pytest.raises(UserError, match=r"stages\[1\] has an unknown field 'lr'.*lr_generator"):
    schedule.stages(config_with(STAGES[0], dict(from_step=200, lr=1e-3)))


def test_micro_batches_are_fewer_on_more_devices():
  config = config_with()
  config.batch_size, config.micro_batches = 56, 2
  (one,), (eight,) = schedule.stages(config), schedule.stages(config, 8)
  assert (one.micro_batches, eight.micro_batches) == (2, 1)
  assert one.configured_micro_batches == eight.configured_micro_batches == 2
  assert one.batch_size == eight.batch_size == eight.padded_batch_size == 56
  (sixteen,) = schedule.stages(config, 16)  # four images on each of fourteen
  assert (sixteen.batch_size, sixteen.padded_batch_size) == (56, 64)


def test_a_stage_whose_batch_cannot_be_divided_is_named():
  stages = dict(from_step=5, batch_size=8.0), dict(from_step=7, micro_batches=16)
  with pytest.raises(
    UserError, match=r'more than the 8 images.*from step 7 on: config.stages\[1\]'
  ):
    schedule.stages(config_with(*stages))


def test_what_is_only_rendered_needs_no_batch_that_divides():
  """Version 0.1 trained with a batch of two where groups have four images."""
  config = config_lib.base_config('eg3d')
  config.batch_size = 2
  with pytest.raises(UserError, match='whole groups of 4'):
    schedule.stages(config)
  assert trained.Trained(config, None, None, 0).resolution == config.resolution
  networks = generators.create(config), discriminators.create(config.discriminator)
  assert len(state_lib.phases_of(config, *networks)) == 4


def test_density_noise_falls_to_nothing():
  assert [float(schedule.density_noise(s, 2.0, 100)) for s in (0, 25, 100, 500)] == [2, 1.5, 0, 0]
  for std, steps in ((0.0, 100), (1.0, 0)):
    assert schedule.density_noise(3, std, steps) == 0.0
    assert isinstance(schedule.density_noise(3, std, steps), float)
