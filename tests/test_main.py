"""The command line: what is wrong is said in one line, with the nearest right thing."""

import errno
import os
import signal

import numpy as np
import pytest

from jax3dgan import main as main_lib
from jax3dgan import train
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints

CONFIG = """
from jax3dgan import config
def get_config():
  return config.tiny(config.base_config())
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
  """A folder with configs, which is the current one."""
  (tmp_path / 'configs').mkdir()
  (tmp_path / 'configs' / 'good.py').write_text(CONFIG)
  (tmp_path / 'configs' / 'field.py').write_text(
    CONFIG.replace('return', 'c =') + '  c.batchsize = 4\n  return c\n'
  )
  (tmp_path / 'configs' / 'syntax.py').write_text('def get_config(:\n')
  monkeypatch.chdir(tmp_path)
  return tmp_path


@pytest.fixture
def runs(monkeypatch):
  """Replaces the training by a note of its arguments."""
  calls = []
  monkeypatch.setattr(train, 'run', lambda config, workdir: calls.append((config, workdir)))
  return calls


def call(*flags):
  return main_lib.main(['main', *flags])


def test_fields_are_overridden(here, runs):
  flags = ('--config.batch_size=12', '--config.data.flip', '--config.ema.rates=(0.5,)')
  assert call('--config=configs/good.py', '--workdir=runs/x', *flags) == 0
  assert call('--config', 'configs/good.py', '--workdir', 'runs/y', '--noconfig.data.flip') == 0
  (config, workdir), (other, _) = runs
  assert workdir == 'runs/x' and config.batch_size == 12 and config.data.flip is True
  assert config.ema.rates == (0.5,) and config.resolution == 16
  assert other.batch_size == 4 and other.data.flip is False


@pytest.mark.parametrize(
  'flags, message',
  [
    ([], '--config is missing'),
    (['--config=configs/good.py'], '--workdir is missing. Name a folder'),
    (
      ['--config=configs/good.py', '--workdir=gs://bucket/runs/x'],
      'is no folder of this machine. Mount the bucket',
    ),
    (['--config=configs/god.py'], 'does not exist. Did you mean --config=configs/good.py?'),
    (
      ['--config=configs/zzzz.py'],
      'There are: --config=configs/field.py, --config=configs/good.py',
    ),
    (['--config=configs/field.py'], "no field 'batchsize'. Did you mean 'batch_size'?"),
    (['--config=configs/syntax.py'], 'The config file configs/syntax.py is wrong'),
    (['+', '--config.bach_size=3'], "no field 'bach_size'. Did you mean --config.batch_size?"),
    (['+', '--config.fov_degrees=3'], 'Did you mean --config.render.fov_degrees?'),
    (['+', '--config.render.fov=3'], 'Did you mean --config.render.fov_degrees?'),
    (['+', '--config.checkpoint.xyz=3'], 'It has: checkpoint.every, checkpoint.keep, '),
    (['+', '--config.batch_size=many'], 'Give a whole number; the config has 4'),
    (['+', '--config.batch_size=2.5'], 'Give a whole number'),
    (['+', '--config.render.near=a'], 'Give a number; the config has 0.88'),
    (['+', '--config.data.flip=maybe'], 'Give true or false'),
    (['+', '--config.render=3'], 'It is a group: set its fields, such as --config.render.'),
    (['+', '--wrkdir=x'], 'Did you mean: workdir'),
    (['+', 'good.py'], "'good.py' is not a flag"),
    (['--config.seed=1', '--config=configs/good.py'], 'Put --config=FILE before'),
    (['--config.seed=1', '--workdir=x'], 'Put --config=FILE before'),
  ],
)
def test_wrong_flags_are_one_line(here, runs, capsys, flags, message):
  good = ['--config=configs/good.py', '--workdir=runs/x']
  flags = good + flags[1:] if flags[:1] == ['+'] else flags
  assert call(*flags) == 1
  output = capsys.readouterr().err
  assert output.startswith('Error: ') and message in output and output.count('\n') == 1
  assert not runs


@pytest.mark.parametrize(
  'error, message',
  [
    (UserError('No data. Make some.'), 'Error: No data. Make some.'),
    (OSError(errno.ENOSPC, 'x', 'runs/x/samples.png'), 'runs/x/samples.png: the disk is full'),
    (OSError(errno.EROFS, 'x'), 'Cannot write to runs/x: it is read-only'),
    (RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes'), 'micro_batches=2'),
  ],
)
def test_errors_of_training_are_one_line(here, monkeypatch, capsys, error, message):
  def fail(config, workdir):
    raise error

  monkeypatch.setattr(train, 'run', fail)
  assert call('--config=configs/good.py', '--workdir=runs/x') == 1
  output = capsys.readouterr().err
  assert message in output and output.count('\n') == 1
  with pytest.raises(type(error)):
    call('--config=configs/good.py', '--workdir=runs/x', '--debug')


def test_a_fault_of_ours_keeps_its_stack(here, monkeypatch):
  monkeypatch.setattr(train, 'run', lambda config, workdir: {}['x'])
  with pytest.raises(KeyError):
    call('--config=configs/good.py', '--workdir=runs/x')


def test_a_stop_says_how_to_go_on(here, monkeypatch, capsys):
  before = signal.getsignal(signal.SIGTERM)

  def work(config, workdir):
    saver = checkpoints.Checkpoints(workdir, 10, 1)
    saver.save(1234, {'x': np.zeros(2)}, force=True)
    saver.close()
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()

  monkeypatch.setattr(train, 'run', work)
  assert call('--config=configs/good.py', '--workdir=runs/x', '--config.seed=1') == 0
  output = capsys.readouterr().err
  command = 'python -m jax3dgan.main --config=configs/good.py --workdir=runs/x --config.seed=1'
  assert f'Stopped; saved at step 1,234. The same command goes on from there: {command}' in output
  assert signal.getsignal(signal.SIGTERM) == before


def test_help(capsys):
  assert call('--help') == 0
  output = capsys.readouterr().out
  assert '--config=configs/toys.py' in output and '--workdir' in output
