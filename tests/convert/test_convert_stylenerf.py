"""StyleNeRF's official checkpoints become workdirs, and come back."""

import functools
import pathlib
import re

import goldens
import jax
import numpy as np
import pytest
from persistent_pickles import dumps, tensor

from jax3dgan import config_files, config_json, convert, discriminators, generators, recipes
from jax3dgan import main as main_lib
from jax3dgan.convert import __main__ as cli
from jax3dgan.convert import (
  named_weights,
  stylenerf,
  stylenerf_curricula,
  stylenerf_generator,
  stylenerf_names,
  stylenerf_runs,
)
from jax3dgan.convert.networks import shapes
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, workdirs
from jax3dgan.training import schedule

DATA = pathlib.Path(__file__).resolve().parent.parent / 'data' / 'stylenerf'
FILES = {'G': 'stylenerf_eval', 'D': 'stylenerf_D', 'Dcam': 'stylenerf_D'}
BACKGROUND = 5  # numbers of the golden network's code


@functools.cache
def weights(network: str) -> dict[str, np.ndarray]:
  """An official state dict."""
  return goldens.state_dict(FILES[network], network)


def other(state):
  """Other weights of the same network, with the buffers of an average."""
  fixed = re.compile(r'.*(resample_filter|w_avg|alpha)')
  return {k: v if fixed.fullmatch(k) else v + np.float32(0.125) for k, v in state.items()}


def save(folder, **networks):
  """A file with state dicts, or whatever else is given."""
  tree = {
    name: {key: tensor(value) for key, value in of.items()} if isinstance(of, dict) else of
    for name, of in networks.items()
  }
  (folder / 'x.pkl').write_bytes(dumps(tree))
  return folder / 'x.pkl'


def same(actual, reference):
  assert jax.tree.structure(actual) == jax.tree.structure(reference)
  jax.tree.map(np.testing.assert_array_equal, actual, reference)


def arrays(state):
  """Our parameters and buffers of an official generator."""
  fields = stylenerf_generator.model_fields(state)
  fields |= stylenerf_generator.background_fields(state, BACKGROUND)
  return stylenerf_generator.generator_arrays(state, fields)


def judge(state, pose=False):
  """Our parameters of an official discriminator."""
  return stylenerf_names.from_official(state, stylenerf_names.discriminator_names(5, pose))


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """Of a whole file, which no test changes."""
  folder = tmp_path_factory.mktemp('stylenerf')
  g, d = weights('G'), weights('D')
  path = save(folder, G_ema=g, G=other(g), D=d, cur_nimg=96_000)
  result = folder / 'run'
  assert cli.main(['--from=stylenerf', f'--input={path}', f'--workdir={result}']) == 0
  return result


def test_a_release_becomes_a_workdir(workdir):
  step, state = checkpoints.read(workdir)
  config = workdirs.load_config(workdir)
  average = arrays(weights('G'))
  buffers = {name: average.pop(name) for name in ('powers', 'w_average')}
  assert step == state['step'] == 1500  # 96,000 images
  same(state['ema'], {'generator': {str(config.ema.display_rate): average}})
  raw = arrays(other(weights('G')))
  same(state['networks']['generator'], {k: v for k, v in raw.items() if k not in buffers})
  same(state['networks']['discriminator'], judge(weights('D')))
  same(state['buffers'], {'generator': buffers, 'path_length': np.float32(0)})
  # It trains on: the checks pass.
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipes.check(config, *networks, schedule.stages(config))
  assert config.resolution == 64 and config.model.low_resolution == 8


def test_it_comes_back_as_it_was(workdir, tmp_path):
  path = tmp_path / 'state_dict.pth'
  assert cli.main(['--to=torch', f'--workdir={workdir}', f'--output={path}']) == 0
  back, wanted = convert.state_dict(convert.read(path)), weights('G')
  constants = {name for name in wanted if stylenerf_names.CONSTANTS.fullmatch(name)}
  assert back.keys() == wanted.keys() - constants
  for name, value in back.items():
    np.testing.assert_array_equal(value, wanted[name], name)


def test_a_factor_of_ours_goes_into_the_weights(workdir, tmp_path, monkeypatch):
  load = workdirs.load_config

  def denser(path):
    config = load(path)
    with config.unlocked():
      config.model.density_gain = 2.0
    return config

  monkeypatch.setattr(workdirs, 'load_config', denser)
  path = tmp_path / 'weights.npz'
  assert cli.main(['--to=npz', f'--workdir={workdir}', f'--output={path}']) == 0
  with np.load(path) as found:
    for name in ('weight', 'bias', 'affine.weight'):
      key, factor = f'synthesis.fg_nerf.sigma_out.{name}', 1 if 'affine' in name else 2
      np.testing.assert_allclose(found[key], factor * weights('G')[key], rtol=1e-6)


@pytest.mark.parametrize('name', ['D', 'Dcam'])
def test_a_discriminator_there_and_back(name, tmp_path):
  state, pose = weights(name), name == 'Dcam'
  back = named_weights.to_official(judge(state, pose), stylenerf_names.discriminator_names(5, pose))
  constants = {name for name in state if stylenerf_names.CONSTANTS.fullmatch(name)}
  same(back, {name: value for name, value in state.items() if name not in constants})
  read = stylenerf.read_checkpoint(save(tmp_path, G_ema=weights('G'), D=state)).discriminator
  heads = dict(pose_dim=3, mapping_layers=8) if pose else {}
  assert read.fields == dict(name='stylenerf', channels=(16, 16, 16, 16, 8), **heads)
  same(read.params, judge(state, pose))


def test_every_official_name_and_shape_of_full_size():
  """Of the release's list at 512²; nothing of that size is allocated."""
  state = {'G': {}, 'D': {}}
  for line in (DATA / 'names_stylenerf_ffhq512.txt').read_text().splitlines():
    name, shape = re.match(r'(\S+) \(([\d, ]*)\)', line).groups()
    shape = tuple(int(n) for n in shape.split(',') if n.strip())
    state[name[0]][name[2:]] = np.broadcast_to(np.float32(0), shape)
  fields = stylenerf_generator.model_fields(state['G'])
  fields |= stylenerf_generator.background_fields(state['G'], stylenerf.BACKGROUND_DIM)
  config = stylenerf_curricula.create('ffhq', 512)
  assert {name: config.model[name] for name in fields} == fields
  for init, module, names, own in (
    (
      generators.init,
      generators.create(config),
      stylenerf_generator.generator_names(fields),
      state['G'],
    ),
    (
      discriminators.init_params,
      discriminators.create(config.discriminator),
      stylenerf_names.discriminator_names(8),
      state['D'],
    ),
  ):
    network = jax.eval_shape(functools.partial(init, module), jax.random.key(0))
    ours = shapes(network.get('params', network))
    names = {'/'.join(name.path): name for name in names}
    assert ours.keys() == names.keys()
    for path, shape in ours.items():
      given = own[names[path].official].shape
      if names[path].layout is named_weights.CONV:
        given = given[2:] + given[1::-1]
      elif names[path].layout is not named_weights.SAME:
        given = tuple(n for n in given if n > 1 or len(given) == 2)[::-1]
      assert tuple(n for n in given if n > 1) == tuple(n for n in shape if n > 1), path
    left = own.keys() - {name.official for name in names.values()}
    left = {name for name in left if not stylenerf_names.CONSTANTS.fullmatch(name)}
    assert left == {name for name in own if name.endswith('w_avg')}


@pytest.mark.parametrize(
  'curriculum, resolution',
  [('ffhq', 256), ('ffhq', 512), ('ffhq', 1024), ('afhq', 256), ('cars', 256)],
)
def test_the_configs_are_those_of_the_files(curriculum, resolution):
  name, size = stylenerf_curricula.file_of(curriculum, resolution)
  assert size == resolution and name.startswith(f'stylenerf_{curriculum}')
  found = main_lib.parse(['main', f'--config={config_files.find(name)[0]}', '--workdir=.']).config
  own = stylenerf_curricula.create(curriculum, resolution)
  assert not config_json.differences(config_json.plain(found), config_json.plain(own))


def test_a_growth_that_is_not_at_its_end(tmp_path):
  for alpha, size in ((-1, 64), (1, 64), (0, 8), (0.2, 16), (0.6, 32)):
    g = weights('G') | {'synthesis.alpha': np.float32(alpha)}
    read = stylenerf.read_checkpoint(save(tmp_path, G_ema=g))
    assert read.resolution == size and bool(read.notes) == (size < 64)


def test_networks_of_one_state_dict_and_of_a_training_state(tmp_path):
  g, d = weights('G'), weights('D')
  one = {f'G.{k}': v for k, v in g.items()} | {f'D.{k}': v for k, v in d.items()}
  for tree in (
    {k: tensor(v) for k, v in one.items()},
    {'step': 7, 'model': {f'module.{k}': tensor(v) for k, v in g.items()}},
  ):
    (tmp_path / 'x.pkl').write_bytes(dumps(tree))
    read = stylenerf.read_checkpoint(tmp_path / 'x.pkl')
    same(read.average.params, arrays(g))
    assert read.generator is None and (read.discriminator is None) == ('step' in tree)


def test_what_is_not_a_checkpoint_of_it(tmp_path):
  g, d = weights('G'), weights('D')
  for networks, words in (
    ({'D': d}, 'without a generator of StyleNeRF|no generator of StyleNeRF'),
    ({'G_ema': {k: v for k, v in g.items() if k != 'mapping.fc1.bias'}}, 'fc1.bias. is missing'),
    ({'G_ema': g | {'mapping.x': g['mapping.fc1.bias']}}, "'mapping.x' is no weight"),
    ({'G_ema': g | {'mapping.fc1.bias': g['mapping.fc1.bias'][:3]}}, 'of the shape'),
    ({'G_ema': g | {'mapping.fc1.bias': np.full(16, np.nan, np.float32)}}, 'no finite numbers'),
    ({'G_ema': g | {'synthesis.alpha': np.float32(7)}}, 'alpha 7, which is no share'),
    ({'G_ema': g, 'D': 3}, 'D: 3 is neither'),
    ({'G_ema': g, 'D': g}, 'D: these are not the weights'),
    ({'G_ema': g, 'D': {k: v for k, v in d.items() if k != 'b4.out.bias'}}, 'out.bias. is missing'),
    ({'G_ema': g, 'D': {k: v for k, v in d.items() if not k.startswith('b64')}}, 'of 32².*of 64²'),
    ({'G_ema': g, 'cur_nimg': 'x'}, 'says cur_nimg'),
    ({'G_ema': {k: v for k, v in g.items() if 'adapter' not in k}}, 'has no adapters'),
  ):
    path = save(tmp_path, **networks)
    with pytest.raises(UserError, match=words) as error:
      checkpoint = stylenerf.read_checkpoint(path)
      stylenerf_runs.config_for(path, 'ffhq', checkpoint)
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value), error.value
