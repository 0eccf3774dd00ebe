"""A platform that was asked for, or is visible, and is not used is one line."""

import importlib.util
import os

import jax
import pytest

from jax3dgan import config as config_lib
from jax3dgan import main as main_lib
from jax3dgan import train
from jax3dgan.devices import platforms
from jax3dgan.errors import UserError
from jax3dgan.runs import workdirs
from jax3dgan.tools import plan, products

_ALL = ['/dev/nvidia0', '/dev/nvidiactl']


@pytest.fixture(autouse=True)
def restored():
  """JAX's choice is that of the whole process."""
  before = jax.config.jax_platforms
  yield
  jax.config.update('jax_platforms', before)


@pytest.fixture
def machine(monkeypatch, tmp_path):
  """Makes a machine with these device files, plugins and libraries, on which JAX finds this."""

  def make(found, files=(), plugins=(), libraries=('libcuda.so.1',), chosen=None, gpus=None):
    def backend():
      if isinstance(found, Exception):
        raise found
      return found

    monkeypatch.setattr(jax, 'default_backend', backend)
    there = lambda pattern: [f for f in files if f.startswith(pattern.split('[')[0])]  # noqa: E731
    monkeypatch.setattr(platforms.glob, 'glob', there)
    monkeypatch.setattr(platforms, '_nvidia_devices', lambda: there('/dev/nvidia'))
    monkeypatch.setattr(platforms, '_PCI', tmp_path)
    monkeypatch.setattr(platforms, '_plugins', lambda: set(plugins))
    monkeypatch.setattr(platforms, '_loads', lambda name: name in libraries)
    jax.config.update('jax_platforms', chosen)
    if gpus is None:
      monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    else:
      monkeypatch.setenv('CUDA_VISIBLE_DEVICES', gpus)

  return make


@pytest.mark.parametrize(
  'name, chosen, wanted',
  [
    ('auto', None, 'auto'),
    ('auto', 'cuda,cpu', 'gpu'),
    ('auto', 'rocm', 'gpu'),
    ('auto', 'cpu', 'cpu'),
    ('auto', 'proxy', 'auto'),
    ('cpu', 'cuda', 'cpu'),  # the field comes before the variable
    ('tpu', None, 'tpu'),
  ],
)
def test_what_was_asked_for(machine, name, chosen, wanted):
  machine('cpu', chosen=chosen)
  assert platforms.wanted(name) == wanted


@pytest.mark.parametrize(
  'name, chosen, plugins, passed_on',
  [
    ('gpu', None, ['xla_cuda12'], 'cuda,cpu'),
    ('gpu', 'cpu', ['xla_cuda12'], 'cuda,cpu'),
    ('gpu', None, ['xla_rocm7'], 'rocm,cpu'),
    ('auto', 'gpu', ['xla_cuda13'], 'cuda,cpu'),
    ('auto', 'cuda', ['xla_cuda13'], 'cuda,cpu'),
    ('cpu', None, [], 'cpu'),
    ('auto', 'cpu,cuda', [], 'cpu,cuda'),
    ('auto', 'proxy', [], 'proxy'),
    ('auto', None, [], None),
  ],
)
def test_what_jax_is_given(machine, name, chosen, plugins, passed_on):
  machine('gpu', _ALL, plugins, chosen=chosen)
  platforms.choose(name)
  assert jax.config.jax_platforms == passed_on


@pytest.mark.parametrize(
  'there, words',
  [
    (dict(), ['no NVIDIA driver is visible', "pip install -e '.[cuda12]'", 'Docker: --gpus=all']),
    (dict(files=_ALL), ["JAX's plugin for CUDA is not installed", "pip install -e '.[cuda12]'"]),
    (
      dict(files=_ALL, plugins=['xla_cuda12'], libraries=()),
      ['libcuda.so.1 is not found', 'LD_LIBRARY_PATH, such as /usr/local/nvidia/lib64'],
    ),
    (dict(files=_ALL, plugins=['xla_cuda12'], gpus='-1'), ["CUDA_VISIBLE_DEVICES='-1' hides"]),
  ],
)
def test_the_cause_is_known_before_jax_starts(machine, there, words):
  machine(AssertionError(), **there)
  for call, line in (
    (lambda: platforms.choose('gpu'), '--config.platform=gpu asks for a GPU, and none can be used'),
    (lambda: platforms.check('gpu'), '--config.platform=gpu asks for a GPU, and none can be used'),
  ):
    with pytest.raises(UserError) as error:
      call()
    text = str(error.value)
    assert text.startswith(line) and all(word in text for word in words) and '\n' not in text
    assert text.endswith('To use the CPU: --config.platform=cpu or JAX_PLATFORMS=cpu.')


@pytest.mark.parametrize(
  'name, chosen, found, words',
  [
    ('gpu', None, RuntimeError('Unable to initialize: CUDA_ERROR_X\nmore'), 'CUDA_ERROR_X.'),
    ('auto', 'cuda', RuntimeError('CUDA_ERROR_X'), 'JAX_PLATFORMS asks for a GPU'),
    ('gpu', None, RuntimeError("'cuda' is not in the list of known backends"), 'does not start'),
    ('auto', None, 'cpu', 'its plugin does not start (see the lines above). Install it with all'),
    ('gpu', None, 'cpu', 'JAX has started with the CPU already. Start a new process.'),
    ('cpu', None, 'gpu', '--config.platform=cpu asks for the CPU, which is not used'),
    ('auto', None, RuntimeError('the plugin x is broken'), 'JAX cannot start: the plugin x is'),
    ('x', None, 'cpu', "config.platform is 'x'. Set --config.platform to auto or any or gpu"),
  ],
)
def test_what_only_jax_knows(machine, name, chosen, found, words):
  machine(found, _ALL, ['xla_cuda12'], chosen=chosen)
  with pytest.raises(UserError) as error:
    platforms.check(name)
  assert words in str(error.value) and '\n' not in str(error.value)


def test_an_accelerator_that_is_visible_must_be_used(machine, capsys):
  machine('cpu', _ALL)
  with pytest.raises(UserError, match='An NVIDIA GPU is visible .*plugin for CUDA is not inst'):
    platforms.check()
  platforms.check('any')  # of a small config
  assert 'Warning: An NVIDIA GPU is visible' in capsys.readouterr().err
  platforms.check(strict=False)  # of an app
  warning = capsys.readouterr().err
  assert warning.startswith('Warning: An NVIDIA GPU is visible') and warning.count('\n') == 1
  machine('cpu', ['/dev/accel0'])
  with pytest.raises(UserError, match=r'A TPU is visible \(/dev/accel0\), but JAX uses the CPU'):
    platforms.check()


@pytest.mark.parametrize(
  'name, there',
  [
    ('auto', dict(found='gpu', files=_ALL)),
    ('auto', dict(found='tpu', files=['/dev/accel0'])),
    ('auto', dict(found='cpu')),
    ('auto', dict(found='cpu', files=_ALL, gpus='')),  # hidden
    ('auto', dict(found='cpu', files=_ALL, chosen='cpu')),  # asked for
    ('auto', dict(found='metal')),
    ('cpu', dict(found='cpu', files=_ALL)),
    ('gpu', dict(found='gpu', files=_ALL)),
  ],
)
def test_nothing_is_said_where_all_is_well(machine, capsys, name, there):
  machine(**there)
  platforms.check(name)
  assert not capsys.readouterr().err


def test_tpus_that_are_passed_through(machine, tmp_path):
  machine('cpu')
  drivers = tmp_path.parent / f'{tmp_path.name}_drivers'
  for name, vendor, driver in (
    ('0000:00:05.0', '0x1ae0', 'gve'),  # a network card of the same vendor
    ('0000:00:06.0', '0x10de', 'vfio-pci'),  # a GPU for a virtual machine
  ):
    (tmp_path / name).mkdir()
    (drivers / driver).mkdir(parents=True)
    (tmp_path / name / 'vendor').write_text(f'{vendor}\n')
    (tmp_path / name / 'driver').symlink_to(drivers / driver)
  assert platforms.visible() is None
  (tmp_path / '0000:00:06.0' / 'vendor').write_text('0x1ae0\n')
  assert platforms.visible()[0] == 'tpu'


def test_few_cores_are_said(machine, monkeypatch):
  monkeypatch.setattr(jax, 'local_device_count', lambda: 8)
  for found, cores, said in (('gpu', 4, True), ('tpu', 16, False), ('cpu', 1, False)):
    machine(found)
    monkeypatch.setattr(platforms.cpu_devices, 'cores', lambda cores=cores: cores)
    line = platforms.few_cores()
    assert bool(line) == said and '\n' not in line
    assert not said or ('4 core(s) feed 8 device(s)' in line and '16 or more' in line)


@pytest.mark.parametrize('platform', ['gpu', 'tpu'])
def test_a_run_does_not_begin_without_its_platform(tmp_path, monkeypatch, capsys, platform):
  monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
  monkeypatch.delenv('TPU_LIBRARY_PATH', raising=False)
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util, 'find_spec', lambda name, *a: None if name == 'libtpu' else find(name, *a)
  )
  monkeypatch.setattr(train, 'run', lambda *args: pytest.fail('it trains'))
  monkeypatch.chdir(tmp_path)
  code = main_lib.main(['main', '--config=toys', '--workdir=x', f'--config.platform={platform}'])
  (line,) = [a for a in capsys.readouterr().err.splitlines() if not a.startswith('Config:')]
  assert code == 1 and line.startswith(f'Error: --config.platform={platform} asks for a')
  assert not os.listdir(tmp_path)


def test_tools_too_need_the_platform_that_was_asked_for(machine, capsys):
  machine(found=AssertionError(), chosen='cuda')
  for program, flags in (
    (plan.run, ['plan', '--config=toys']),
    (products.run, ['configs/toys.py']),
  ):
    assert program(flags) == 1
    assert 'JAX_PLATFORMS asks for a GPU, and none can be used' in capsys.readouterr().err


def test_a_notebook_chooses_the_platform_too(tmp_path, monkeypatch):
  """It calls `train.run`, and JAX starts there."""
  config, chosen = config_lib.base_config(), []
  config.platform = 'cpu'
  monkeypatch.setattr(platforms, 'choose', chosen.append)
  monkeypatch.setattr(platforms, 'check', lambda name: (_ for _ in ()).throw(UserError(name)))
  with pytest.raises(UserError, match='cpu'):
    train.run(config, tmp_path)
  assert chosen == ['cpu']


def test_a_run_is_measured_and_goes_on_elsewhere(tmp_path):
  config = config_lib.base_config()
  config.platform = 'tpu'
  workdirs.save_config(tmp_path, workdirs.plain(config))
  flags = ['main', '--mode=eval', f'--workdir={tmp_path}']
  assert main_lib.parse(flags).config.platform == 'auto'
  assert main_lib.parse([*flags, '--config.platform=cpu']).config.platform == 'cpu'
  workdirs.check_same_run(tmp_path, workdirs.plain(config_lib.base_config()))
