"""The fields of a configuration: what an older one lacks, and fields that a flag may set."""

import json

import pytest

from jax3dgan import config as config_lib
from jax3dgan import discriminators, old_configs
from jax3dgan.runs import workdirs


def test_what_an_older_config_lacks_is_filled_in_and_nothing_else_is_touched():
  older = workdirs.plain(config_lib.base_config())
  del older['compat'], older['model']['embedding_channels'], older['data']['num_images']
  del older['discriminator']['coord_conv']
  older['model'].update(hidden_dim=3, field_of_old=1)
  older['stages'] = [{'from_step': 5}]
  older['pose_prior'].update(components=[{'name': 'uniform'}], yaw_std=None)
  older['log'] = None
  config = old_configs.complete(workdirs.config_from(older))
  assert config.is_locked and config.model.is_locked
  expected = workdirs.plain(config_lib.base_config())
  expected['model'].update(hidden_dim=3, field_of_old=1)
  expected['stages'] = [{'from_step': 5}]
  expected['pose_prior'].update(components=[{'name': 'uniform'}], yaw_std=None)
  expected['log'] = None
  assert workdirs.plain(config) == expected


def test_a_whole_config_stays_as_it_is():
  config = config_lib.tiny(config_lib.base_config())
  before = workdirs.plain(config)
  assert workdirs.plain(old_configs.complete(config)) == before


def test_another_model_is_completed_with_its_own_fields():
  config = config_lib.base_config()
  config_lib.set_model(config, 'stylegan2', z_dim=7)
  whole = workdirs.plain(config)
  older = workdirs.plain(config)
  del older['model']['w_dim'], older['loss']['r1_every'], older['eval']
  assert workdirs.plain(old_configs.complete(workdirs.config_from(older))) == whole
  older['model'] = {'name': 'of_tomorrow', 'width': 3}
  later = old_configs.complete(workdirs.config_from(older))
  assert workdirs.plain(later.model) == older['model'] and later.is_locked
  for without in ({}, {'model': None}, {'model': {'hidden_dim': 3}}):
    filled = workdirs.plain(old_configs.complete(workdirs.config_from({'seed': 1, **without})))
    expected = workdirs.plain(config_lib.base_config())['model']
    if without.get('model', {}) is None:
      expected = None
    else:
      expected.update(without.get('model', {}))
    assert filled['model'] == expected


@pytest.mark.parametrize('value', [None, True, False])
def test_coord_conv_goes_through_config_json(value):
  config = config_lib.base_config()
  config.discriminator.coord_conv = value
  read = workdirs.config_from(json.loads(json.dumps(workdirs.plain(config))))
  assert read.discriminator.coord_conv is value
  for either in (config, read, config_lib.tiny(config)):
    assert discriminators.create(either.discriminator).coord_conv is value
