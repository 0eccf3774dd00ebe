"""Settings that every test shares; they must be in place before JAX is imported."""

import gc
import importlib.metadata
import os
import pathlib

# Tests compare numbers with CPU tolerances, whatever the machine has.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Most of a suite's time is compilation: the second run finds it done.
_CACHE = pathlib.Path(os.environ.get('XDG_CACHE_HOME', '~/.cache')).expanduser()
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(_CACHE / 'jax3dgan' / 'xla'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
# NumPy's threads wait for each other by turning round, and the tests' other process has the second
# core: that is a third of the time of some tests.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')
# Programs do not say which Python frames an operation comes from: that is a seventh of the time of
# tests that compile.
os.environ.setdefault('JAX_TRACEBACK_IN_LOCATIONS_LIMIT', '0')
# Programs that run once are compiled without optimisation: a training step in a sixth of the time.
_FLAGS = ['--xla_backend_optimization_level=0']
# Programs are not split for threads that the other process of the tests keeps busy anyway: that is
# a sixth of the processor time of their compilation.
_FLAGS.append('--xla_cpu_parallel_codegen_split_count=1')
if importlib.metadata.version('jaxlib').startswith('0.10.'):  # a flag of these versions alone
  _FLAGS.append('--xla_cpu_use_fusion_emitters=false')
os.environ.setdefault('XLA_FLAGS', ' '.join(_FLAGS))

import pytest  # noqa: E402  after the settings
import settings  # noqa: E402


def pytest_addoption(parser):
  parser.addoption(
    '--parity',
    action='store_true',
    help='print how near the results are to the official arrays that they were compared with; '
    'implies --thorough, so that none is left out',
  )
  parser.addoption(
    '--thorough',
    action='store_true',
    help='run also what takes long and whose mechanism other tests cover, of another model',
  )


def is_thorough(config) -> bool:
  return config.getoption('--thorough') or config.getoption('--parity')


@pytest.fixture(scope='session')
def thorough(pytestconfig):
  """Whether a test goes through all its cases, and not through one of each kind."""
  return is_thorough(pytestconfig)


# The files that take longest, in this order: with several processes (`pytest -n 2`) they begin with
# these, so that none is left alone with a long one at the end.
_FIRST = (
  'test_train.py',
  'test_hosts.py',
  'test_lowering.py',
  'test_eg3d_steps.py',
  'test_steps.py',
  'test_evaluate.py',
  'test_eg3d.py',
  'test_stylenerf_recipe.py',
  'test_notebooks.py',
  'test_ray_parallel.py',
  'test_page.py',
  'test_expgan_step.py',
  'test_invert.py',
  'test_plan.py',
  'test_local.py',
  'test_session.py',
  'test_server.py',
  'test_combinations.py',
  'test_stylesdf_steps.py',
  'test_convert_pigan.py',
  'test_edit.py',
  'test_train_step_parity.py',
  'test_gghead_recipe.py',
  'test_camera_generator.py',
  'test_expression.py',
  'test_cgsgan_recipe.py',
  'test_probes.py',
  'test_inversion_search.py',
  'test_converted_apps.py',
  'test_eg3d_losses.py',
  'test_giraffe_recipe.py',
  'test_hologan_recipe.py',
  'test_graf_train.py',
)


def pytest_collection_finish():
  settings.share_contexts()
  # What is there by now stays: it is not looked through again.
  gc.collect()
  gc.freeze()


def pytest_collection_modifyitems(config, items):
  order = {name: i for i, name in enumerate(_FIRST)}
  items.sort(key=lambda item: order.get(item.path.name, len(order)))
  if not is_thorough(config):
    skip = pytest.mark.skip(reason='takes long, and others cover its mechanism: pytest --thorough')
    for item in items:
      if item.get_closest_marker('thorough'):
        item.add_marker(skip)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  """A file's tests go to one process, which keeps what they compile and their fixtures."""
  from xdist.scheduler import LoadFileScheduling

  config.option.loadscopereorder = False
  return LoadFileScheduling(config, log)


def pytest_configure(config):
  if config.getoption('--parity') and config.getoption('numprocesses', None):
    raise pytest.UsageError('--parity counts in one process. Leave out -n.')


def pytest_terminal_summary(terminalreporter, config):
  """The parity table, of the tests that ran."""
  if config.getoption('--parity'):
    import goldens

    terminalreporter.section('parity')
    terminalreporter.write_line(goldens.table())
    for line in goldens.missing():
      terminalreporter.write_line(f'not compared: {line}')


@pytest.fixture(scope='session')
def tiny_model():
  """An untrained π-GAN of the smallest size, 16², whose cameras go all the way round."""
  import math

  import jax

  from jax3dgan import config as config_lib
  from jax3dgan import generators, trained

  config = config_lib.tiny(config_lib.base_config())
  with config.unlocked():
    config.pose_prior.update(name='uniform', yaw_std=math.pi, pitch_mean=1.2, pitch_std=0.2)
    config.render.update(white_back=True, last_interval='far')
  generator = generators.create(config)
  params = generators.init_params(generator, jax.random.key(0))
  return trained.Trained(config, generator, {'params': params}, 12, 'tiny')
