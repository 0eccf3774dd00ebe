"""training/checks.py: numbers out of their range are one line that names the flag."""

import importlib
import pathlib

import pytest

from jax3dgan import config as config_lib
from jax3dgan import config_json
from jax3dgan.errors import UserError
from jax3dgan.training import checks, ranges

CONFIGS = sorted(
  path.stem for path in (pathlib.Path(__file__).resolve().parents[2] / 'configs').glob('*.py')
)
NAN, INF = float('nan'), float('inf')


def _set(config, name, value):
  *groups, last = name.split('.')
  for group in groups:
    config = config[group]
  with config.ignore_type():
    config[last] = value


@pytest.mark.parametrize(
  'name, value, message',
  [
    ('batch_size', 0, 'config.batch_size is 0. Set --config.batch_size to 1 or more.'),
    ('batch_size', -4, 'config.batch_size is -4. Set --config.batch_size to 1 or more.'),
    ('micro_batches', 0, 'Set --config.micro_batches to 1 or more.'),
    ('num_steps', -1, 'config.num_steps is -1. Set --config.num_steps to 0 or more.'),
    ('resolution', 0, 'Set --config.resolution to 1 or more.'),
    (
      'ema.rates',
      (),
      'config.ema.rates is (). Give one or more, each a number from 0 to 1, 1 excluded',
    ),
    ('ema.rates', (0.5, 1.0), "as --config.ema.rates='(0.999,)'."),
    ('ema.rates', (0.5, 'x'), 'Give one or more'),
    ('ema.rates', (0.5,), 'Set --config.ema.display_rate=0.5.'),
    ('ema.display_rate', 0.75, 'not one of config.ema.rates (0.999, 0.9999)'),
    ('checkpoint.every', -1, 'Set --config.checkpoint.every to 1 or more.'),
    ('checkpoint.every', 0, 'Set --config.checkpoint.every to 1 or more.'),
    ('checkpoint.keep', 0, 'Set --config.checkpoint.keep to 1 or more.'),
    ('log.every', -1, 'Set --config.log.every to 0 or more (0 for none).'),
    ('render.fov_degrees', 180.0, 'Set --config.render.fov_degrees to a number between 0 and 180.'),
    ('render.num_coarse', 0, 'Set --config.render.num_coarse to 1 or more.'),
    ('render.near', NAN, 'Set --config.render.near to a finite number.'),
    ('optimizer.lr_generator', NAN, 'Set --config.optimizer.lr_generator to 0 or more.'),
    ('optimizer.lr_generator', INF, 'config.optimizer.lr_generator is inf.'),
    ('optimizer.beta2', 1.0, 'Set --config.optimizer.beta2 to a number from 0 to 1, 1 excluded.'),
    ('loss.top_k_floor', 0.0, 'Set --config.loss.top_k_floor to a number between 0 and 1'),
    ('pose_prior.yaw_std', -0.1, 'Set --config.pose_prior.yaw_std to 0 or more.'),
    ('data.max_skipped', -2, 'Set --config.data.max_skipped to -1 or more (-1 for one in a'),
    ('eval.batch_size', 0, 'Set --config.eval.batch_size to 1 or more.'),
    ('stages', ({'from_step': 5, 'batch_size': 0},), 'config.stages[0] has batch_size=0. Set it'),
    ('stages', ({'from_step': 5}, {'from_step': 9, 'ray_chunk': -1}), 'config.stages[1] has ray'),
    ('stages', ({'from_step': 5, 'white_back': 'False'},), 'Set it to True or False.'),
    ('stages', ({'from_step': 5, 'num_coarse': 4.5},), 'has num_coarse=4.5. Set it to a whole'),
    ('stages', ({'from_step': 5, 'density': 3},), 'has density=3. Set it to a text.'),
    ('stages', ({'from_step': 2.5},), 'has from_step=2.5. Set it to a whole number.'),
    ('stages', ({'from_step': '2'},), "has from_step='2'. Set it to a whole number."),
    ('render.pivot', (1, 2), "as --config.render.pivot='(0, 0, 0)'."),
    ('render.pivot', (1, 2, NAN), 'Give three numbers'),
    ('model.hidden_dim', 0, 'Set --config.model.hidden_dim to 1 or more.'),
    ('model.z_dim', -1, 'Set --config.model.z_dim to 0 or more.'),
    ('discriminator.channels', (8, 0), "as --config.discriminator.channels='(64, 32)'."),
    ('discriminator.channels', (), 'Give whole numbers, 1 or more'),
    ('data.source', '', 'config.data.source is empty.'),
    ('discriminator.channels', ('a',), 'Give whole numbers, 1 or more'),
    ('discriminator.pose_dim', -2, 'Set --config.discriminator.pose_dim to 0 or more.'),
  ],
)
def test_a_number_out_of_range_is_one_line(name, value, message):
  config = config_lib.base_config()
  _set(config, name, value)
  with pytest.raises(UserError) as error:
    checks.check(config)
  assert message in str(error.value) and '\n' not in str(error.value)


def test_stages_may_change_every_kind_of_field():
  config = config_lib.base_config()
  # `density` is also the name of a number, of EG3D's recipe.
  config.stages = (dict(from_step=1e3, density='relu', white_back=True, near=1, lr_generator=1e-4),)
  checks.check(config)
  checks.check(config_json.config_from(config_json.plain(config)))


def test_a_discriminator_may_compare_no_images():
  config = config_lib.base_config('eg3d')
  config.discriminator.group_size = 0
  checks.check(config)


def test_ends_of_ranges():
  for allowed, inside, outside in (
    (ranges.Range(0, 1), (0, 1, 0.5), (-1e-9, 1.001, NAN, None, 'x', True)),
    (ranges.Range(0, 1, above=True, below=True), (1e-9, 0.999), (0, 1, INF)),
    (ranges.Range(high=3), (-5, 3), (4, -INF)),
    (ranges.Range(), (-5, 3.0), (INF, NAN)),
  ):
    assert all(map(allowed.contains, inside)) and not any(map(allowed.contains, outside))


@pytest.mark.parametrize('name', CONFIGS)
def test_every_config_is_in_range(name):
  module = importlib.import_module(f'configs.{name}')
  checks.check(module.get_config())
  checks.check(module.get_test_config())


def test_every_range_is_of_a_field_that_some_config_has():
  configs = [importlib.import_module(f'configs.{name}').get_config() for name in CONFIGS]
  for name in checks.RANGES:
    assert any(checks._field(config, name) is not None for config in configs), name


def test_of_one_group_alone():
  config = config_lib.base_config()
  config.batch_size = 0
  checks.check(config, 'eval.')
  config.eval.num_images = 0
  with pytest.raises(UserError, match='config.eval.num_images is 0'):
    checks.check(config, 'eval.')
