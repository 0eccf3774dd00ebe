"""The command line: what is wrong is said in one line, with the nearest right thing."""

import errno
import os
import pathlib
import signal

import numpy as np
import pytest

from jax3dgan import config_files, train
from jax3dgan import main as main_lib
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
  flags = ('--config.batch_size=12', '--config.data.flip', '--config.ema.rates=(0.5, 0.999)')
  assert call('--config=configs/good.py', '--workdir=runs/x', *flags) == 0
  assert call('--config', 'configs/good.py', '--workdir', 'runs/y', '--noconfig.data.flip') == 0
  (config, workdir), (other, _) = runs
  assert workdir == 'runs/x' and config.batch_size == 12 and config.data.flip is True
  assert config.ema.rates == (0.5, 0.999) and config.resolution == 16
  assert other.batch_size == 4 and other.data.flip is False


def test_paths_begin_at_home(here, runs, monkeypatch):
  monkeypatch.setenv('HOME', str(here))
  flags = ('--workdir=~/runs/x', '--config.data.source=~/photos', '--config.data.cache_dir=~')
  assert call('--config=~/configs/good.py', *flags) == 0
  config, workdir = runs[0]
  assert workdir == f'{here}/runs/x' and config.data.source == f'{here}/photos'
  assert config.data.cache_dir == str(here) and not (here / '~').exists()


def test_the_last_of_repeated_flags_counts(here, runs):
  (here / 'other.py').write_text(CONFIG)
  flags = ('--config', 'other.py', '--config.seed=3', '--config=good', '--workdir=a', '--workdir=b')
  assert call(*flags) == 0
  ((config, workdir),) = runs
  assert workdir == 'b' and config.seed == 3
  assert call('--config=good', '--config=other.py') == 0
  assert runs[1][1] == 'runs/other'


@pytest.mark.parametrize(
  'name, path, line',
  [
    ('configs/good.py', 'configs/good.py', ''),
    ('good', 'configs/good.py', 'Config: configs/good.py.\n'),
    ('good.py', 'configs/good.py', 'Config: configs/good.py.\n'),
    (
      'eg3d_toys',
      '{package}/eg3d_toys.py',
      'Config: {package}/eg3d_toys.py of the package is used.\n',
    ),
    (
      'configs/celeba.py',
      '{package}/celeba.py',
      'Config: configs/celeba.py is not in this folder; '
      '{package}/celeba.py of the package is used.\n',
    ),
  ],
)
def test_a_config_has_a_short_name_and_a_workdir_of_its_own(here, runs, capsys, name, path, line):
  package = config_files.packaged()
  path, line = path.format(package=package), line.format(package=package)
  assert config_files.find(name) == (path, line.rstrip('\n'))
  for given in ([f'--config={name}'], ['--config', name]):
    assert call(*given, '--config.seed=3') == 0
    config, workdir = runs.pop()
    stem = pathlib.Path(path).stem
    assert workdir == f'runs/{stem}' and config.seed == 3
    expected = f'{line}Workdir: runs/{stem} (--workdir=DIR chooses another).\n'
    assert capsys.readouterr().err == expected
  assert call(f'--config={name}', '--workdir=w') == 0 and capsys.readouterr().err == line


def test_configs_of_an_installed_package(tmp_path):
  package = tmp_path / 'site-packages' / 'jax3dgan'
  (package.parent / 'configs').mkdir(parents=True)  # of another project
  assert config_files.packaged(package) is None
  (package / 'configs').mkdir(parents=True)
  assert config_files.packaged(package) == package / 'configs'


@pytest.mark.parametrize(
  'flags, message',
  [
    ([], '--config is missing'),
    (['--config=configs/good.py', '--mode=eval'], '--workdir is missing. Name a folder'),
    (['--mode=eval'], 'Say what to evaluate: --workdir=DIR of a run, or --pretrained=NAME.'),
    (
      ['--config=configs/good.py', '--workdir=gs://bucket/runs/x'],
      'is no folder of this machine. Mount the bucket',
    ),
    (['--config=configs/god.py'], 'does not exist. Did you mean --config=configs/good.py?'),
    (['--config=god'], 'does not exist. Did you mean --config=configs/good.py?'),
    (['--config=eg3d_toy'], 'does not exist. Did you mean --config=eg3d_toys?'),
    (
      ['--config=stylesdf_toy'],
      'Did you mean --config=stylesdf_toys, which begins with a run of '
      '--config=stylesdf_stage1_toys?',
    ),
    (['--config=stylesdf'], '--config=stylesdf_stage1_toys, --config=stylesdf_toys.'),
    (['--config=configs/toys.txt'], 'does not exist. Did you mean --config=toys?'),
    (['--config=elsewhere/toys.py'], 'does not exist. Did you mean --config=toys?'),
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
    (['+', '--config.batch_size=0'], 'Set --config.batch_size to 1 or more.'),
    (['+', '--config.batch_size=-4'], 'config.batch_size is -4'),
    (['+', '--config.micro_batches=0'], 'Set --config.micro_batches to 1 or more.'),
    (['+', '--config.ema.rates=()'], 'config.ema.rates is (). Give one or more'),
    (['+', '--mode=eval', '--config.eval.num_images=0'], 'config.eval.num_images is 0'),
    (['+', '--config.batch_size=many'], 'Give a whole number; the config has 4'),
    (['+', '--config.batch_size=2.5'], 'Give a whole number'),
    (['+', '--config.render.near=a'], 'Give a number; the config has 0.88'),
    (['+', '--config.data.flip=maybe'], 'Give true or false'),
    (['+', '--config.render=3'], 'It is a group: set its fields, such as --config.render.'),
    (['+', '--wrkdir=x'], 'There is no flag --wrkdir. Did you mean --workdir?'),
    (['+', '--batch_size=3'], 'with --config. in front. Did you mean --config.batch_size?'),
    (['+', '--data.source=x'], 'Did you mean --config.data.source?'),
    (['+', '--gpus=3'], 'no flag --gpus. See python -m jax3dgan.main --help.'),
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
  assert call('--config=configs/good.py', '--workdir=runs/a b', '--config.seed=1') == 0
  output = capsys.readouterr().err
  command = "python -m jax3dgan.main --config=configs/good.py '--workdir=runs/a b' --config.seed=1"
  assert f'Stopped; saved at step 1,234. The same command goes on from there: {command}' in output
  assert signal.getsignal(signal.SIGTERM) == before


def test_help(capsys):
  assert call('--help') == 0
  output = capsys.readouterr().out
  assert '--config=configs/toys.py' in output and '--workdir' in output


def test_a_second_process_on_a_workdir_is_one_line():
  error = FileExistsError('Cannot rename w/checkpoints/1.orbax-checkpoint-tmp. It exists.')
  assert 'Another process writes the same checkpoints' in str(main_lib.explain(error, 'w'))
