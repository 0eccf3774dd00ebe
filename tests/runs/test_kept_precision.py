"""`matmul_dtype='auto'` of a run: its first machine's policy, wherever it goes on."""

import pytest

from jax3dgan import config as config_lib
from jax3dgan.nn import auto_precision
from jax3dgan.runs import checkpoint_files, kept_precision, workdirs

FLAG = '--config.{}.matmul_dtype='


@pytest.fixture
def config():
  config = config_lib.tiny(config_lib.base_config())
  config.model.matmul_dtype = config.discriminator.matmul_dtype = 'auto'
  return config


def on(monkeypatch, policy):
  monkeypatch.setattr(auto_precision, 'choose', lambda: policy)


def go_on(monkeypatch):
  monkeypatch.setattr(checkpoint_files, 'steps', lambda workdir: [1])


def test_a_run_begins_with_what_suits_the_machine(config, tmp_path, monkeypatch):
  on(monkeypatch, 'bfloat16')
  found, line = kept_precision.resolve(config, tmp_path)
  assert found.model.matmul_dtype == found.discriminator.matmul_dtype == 'bfloat16'
  assert 'model bfloat16, discriminator bfloat16' in line and 'keeps it' in line
  assert '\n' not in line
  # A start that came to no checkpoint does not count.
  workdirs.save_config(tmp_path, workdirs.plain(found))
  on(monkeypatch, 'float32')
  assert kept_precision.resolve(config, tmp_path)[0].model.matmul_dtype == 'float32'


def test_on_another_machine_it_goes_on_as_it_began(config, tmp_path, monkeypatch):
  on(monkeypatch, 'bfloat16')
  began, _ = kept_precision.resolve(config, tmp_path)
  workdirs.save_config(tmp_path, workdirs.plain(began))
  go_on(monkeypatch)
  assert 'This machine' not in kept_precision.resolve(config, tmp_path)[1]
  on(monkeypatch, 'float32')
  found, line = kept_precision.resolve(config, tmp_path)
  assert found.model.matmul_dtype == found.discriminator.matmul_dtype == 'bfloat16'
  assert 'as this run began' in line
  assert all(FLAG.format(name) + 'float32' in line for name in auto_precision.GROUPS)
  assert not workdirs.check_same_run(tmp_path, workdirs.plain(found))  # nothing has changed
  # The flag that the line names.
  config.model.matmul_dtype = 'float32'
  found, _ = kept_precision.resolve(config, tmp_path)
  assert (found.model.matmul_dtype, found.discriminator.matmul_dtype) == ('float32', 'bfloat16')


def test_a_damaged_record_is_chosen_anew(config, tmp_path, monkeypatch):
  on(monkeypatch, 'tensorfloat32')
  go_on(monkeypatch)
  (tmp_path / 'config.json').write_text('{')
  assert kept_precision.resolve(config, tmp_path)[0].model.matmul_dtype == 'tensorfloat32'


def test_a_config_with_policies_stays_as_it_is(tmp_path):
  config = config_lib.base_config()
  assert kept_precision.resolve(config, tmp_path) == (config, '')
