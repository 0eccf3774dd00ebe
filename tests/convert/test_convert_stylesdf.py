"""StyleSDF's official checkpoints become workdirs, and come back."""

import functools
import pathlib
import re

import goldens
import jax
import numpy as np
import pytest
from persistent_pickles import dumps, tensor

from jax3dgan import (
  config_files,
  config_json,
  convert,
  discriminators,
  generators,
  recipes,
  trained,
)
from jax3dgan import main as main_lib
from jax3dgan.convert import __main__ as cli
from jax3dgan.convert import stylesdf, stylesdf_curricula, stylesdf_names, stylesdf_runs
from jax3dgan.convert.networks import shapes
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, workdirs
from jax3dgan.training import schedule

DATA = pathlib.Path(__file__).resolve().parent.parent / 'data' / 'stylesdf'
FILES = ('stylesdf_full', 'stylesdf_stage1')


@functools.cache
def weights(file: str, network: str) -> dict[str, np.ndarray]:
  """An official state dict, 'g' or 'd'."""
  prefix = f'{network}.'
  return {k.removeprefix(prefix): v for k, v in goldens.load(file).items() if k.startswith(prefix)}


def other(state):
  """Other weights of the same network, with the buffers of an average."""
  fixed = re.compile(r'.*(kernel|noises\.noise_\d+)')
  return {k: v if fixed.fullmatch(k) else v + np.float32(0.125) for k, v in state.items()}


def save(folder, **networks):
  """A file with state dicts, or whatever else is given."""
  tree = {
    name: {key: tensor(value) for key, value in of.items()} if isinstance(of, dict) else of
    for name, of in networks.items()
  }
  (folder / 'x.pt').write_bytes(dumps(tree))
  return folder / 'x.pt'


def same(actual, reference):
  assert jax.tree.structure(actual) == jax.tree.structure(reference)
  jax.tree.map(np.testing.assert_array_equal, actual, reference)


def network(file, name='g'):
  """Our tree of official weights."""
  state = weights(file, name)
  if name == 'd':
    fields = stylesdf_names.discriminator_fields(state)
    return stylesdf_names.from_official(state, stylesdf_names.discriminator_names(fields))
  fields = stylesdf_names.model_fields(state)
  channels = fields['decoder_channels']
  names = stylesdf_names.generator_names(fields)
  return stylesdf_names.from_official(state, names, 2 * len(channels) - 1 if channels else 0)


@pytest.fixture(scope='module', params=FILES)
def converted(request, tmp_path_factory):
  """(file, workdir) of each stage, which no test changes."""
  file, folder = request.param, tmp_path_factory.mktemp(request.param)
  g, d = (weights(file, name) for name in 'gd')
  path = save(folder, g_ema=g, g=other(g), d=d, d_optim={'exp_avg': np.ones(1, np.float32)})
  workdir = folder / 'run'
  assert cli.main(['--from=stylesdf', f'--input={path}', f'--workdir={workdir}']) == 0
  return file, workdir


def test_a_release_becomes_a_workdir(converted):
  file, workdir = converted
  step, state = checkpoints.read(workdir)
  config = workdirs.load_config(workdir)
  average = network(file)
  noise = average.pop('noise_const', None)
  assert step == state['step'] == {FILES[0]: 300_000, FILES[1]: 200_000}[file]
  same(state['ema'], {'generator': {str(config.ema.display_rate): average}})
  raw = jax.tree.leaves(state['networks']['generator'])
  for ours, shown in zip(raw, jax.tree.leaves(average), strict=True):
    np.testing.assert_allclose(ours, shown + np.float32(0.125), rtol=1e-6)
  same(state['networks']['discriminator'], network(file, 'd'))
  if noise is not None:
    np.testing.assert_array_equal(state['buffers']['generator']['noise_const'], noise)
    assert state['buffers']['path_length']['mean'] == 0
  # It trains on: the checks pass, and the state is the run's.
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipes.check(config, *networks, schedule.stages(config))
  assert config.resolution == (64 if noise is not None else 16)
  assert trained.load(workdir).generator.input_scale == pytest.approx(2 / 0.24)


def test_it_comes_back_as_it_was(converted, tmp_path):
  file, workdir = converted
  path = tmp_path / 'state_dict.pth'
  assert cli.main(['--to=torch', f'--workdir={workdir}', f'--output={path}']) == 0
  back, wanted = convert.state_dict(convert.read(path)), weights(file, 'g')
  filters = {name for name in back if name.endswith('.kernel')}  # not in a part of the arrays
  assert back.keys() - filters == wanted.keys() - filters and wanted.keys() <= back.keys()
  assert len(filters) == (4 if file == FILES[0] else 0)
  assert all(back[name].sum() == 4 for name in filters)
  for name, value in wanted.items():
    unused = stylesdf_names.UNUSED.fullmatch(name)
    np.testing.assert_array_equal(back[name], 0 * value if unused else value, name)


@pytest.mark.parametrize('file', FILES)
def test_a_discriminator_there_and_back(file):
  state = weights(file, 'd')
  names = list(stylesdf_names.discriminator_names(stylesdf_names.discriminator_fields(state)))
  back = stylesdf_names.to_official(network(file, 'd'), names)
  assert state.keys() - back.keys() == {name for name in state if name.endswith('.kernel')}
  same(back, {name: state[name] for name in back})


@pytest.mark.parametrize('file, size', [('ffhq1024', 1024), ('stage1', 64)])
def test_every_official_name_and_shape_of_full_size(file, size):
  """Of the release's lists; nothing of that size is allocated."""
  state = {'g': {}, 'd': {}}
  for line in (DATA / f'names_stylesdf_{file}.txt').read_text().splitlines():
    name, shape = re.match(r'(\S+) \(([\d, ]*)\)', line).groups()
    shape = tuple(int(n) for n in shape.split(',') if n.strip())
    state[name[0]][name[2:]] = np.broadcast_to(np.float32(0), shape)
  fields = stylesdf_names.model_fields(state['g'])
  heads = stylesdf_names.discriminator_fields(state['d'])
  config = stylesdf_curricula.create('ffhq', file == 'stage1', size)
  assert {name: config.model[name] for name in fields} == fields
  assert {name: config.discriminator[name] for name in heads} == heads
  for init, of, names in (
    (generators.init, generators.create(config), stylesdf_names.generator_names(fields)),
    (
      discriminators.init_params,
      discriminators.create(config.discriminator),
      stylesdf_names.discriminator_names(heads),
    ),
  ):
    network = jax.eval_shape(functools.partial(init, of), jax.random.key(0))
    own = state['d' if init is discriminators.init_params else 'g']
    network = {**network.get('params', network), **network.get('buffers', {})}
    ours = shapes(network)
    by_path = {'/'.join(name.path): name for name in names}
    noise = ours.pop('noise_const', (0,))[0]
    assert ours.keys() == by_path.keys()
    for path, shape in ours.items():
      given = own[by_path[path].official].shape
      assert np.prod(given) == np.prod(shape) and {*given} - {1} <= {*shape, 8192}, path
    left = own.keys() - {name.official for name in by_path.values()}
    buffers = [name for name in left if 'noises' in name]
    assert noise == sum(own[name].size for name in buffers)
    rest = {name for name in left if not name.endswith('kernel')} - {*buffers}
    assert all(stylesdf_names.UNUSED.fullmatch(name) for name in rest), rest


@pytest.mark.parametrize(
  'name', ['stylesdf_ffhq256', 'stylesdf_ffhq1024', 'stylesdf_afhq512',
           'stylesdf_stage1_ffhq', 'stylesdf_stage1_afhq']
)  # fmt: skip
def test_the_configs_are_those_of_the_files(name):
  found = main_lib.parse(['main', f'--config={config_files.find(name)[0]}', '--workdir=.']).config
  curriculum = 'afhq' if 'afhq' in name else 'ffhq'
  own = stylesdf_curricula.create(curriculum, 'stage1' in name, found.resolution)
  assert not config_json.differences(config_json.plain(found), config_json.plain(own))
  assert stylesdf_curricula.file_of(curriculum, own) == name


def test_what_is_not_a_checkpoint_of_it(tmp_path):
  g, d = weights(FILES[1], 'g'), weights(FILES[1], 'd')
  few = {k: v for k, v in g.items() if k != 'style.1.bias'}
  tall = g | {'style.1.bias': g['style.1.bias'][:, None]}
  for networks, words in (
    ({'d': d}, 'without a generator of StyleSDF'),
    ({'g_ema': few}, "'style.1.bias' is missing"),
    ({'g_ema': g | {'style.7.x': g['style.1.bias']}}, "'style.7.x' is no weight"),
    ({'g_ema': tall}, 'which no such weight has'),
    ({'g_ema': g, 'd': 3}, 'd is 3 and no state dict'),
    ({'g_ema': g | {'style.1.bias': g['style.1.bias'][:3]}}, 'of the shape'),
    ({'g_ema': g, 'd': weights(FILES[0], 'd')}, 'of the other stage'),
    ({'g_ema': g, 'd': {k: v for k, v in d.items() if k != 'final_conv.conv.bias'}}, 'is missing'),
  ):
    path = save(tmp_path, **networks)
    with pytest.raises(UserError, match=words) as error:
      checkpoint = stylesdf.read_checkpoint(path)
      stylesdf_runs.config_for(path, 'ffhq', checkpoint)
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)


def test_a_state_dict_alone_and_one_of_a_training_state(tmp_path):
  g = weights(FILES[1], 'g')
  for tree in ({k: tensor(v) for k, v in g.items()}, {'step': 7, 'ema': {
    f'module.{k}': tensor(v) for k, v in g.items()}}):  # fmt: skip
    (tmp_path / 'x.pt').write_bytes(dumps(tree))
    read = stylesdf.read_checkpoint(tmp_path / 'x.pt')
    same(read.average.params, network(FILES[1]))
    assert read.generator is None and read.discriminator is None
    assert read.step == (7 if 'ema' in tree else None)


def test_another_scale_of_points_is_in_the_weights(converted, tmp_path, monkeypatch):
  """Our fields may have any; the release's follows from the ends of its rays."""
  file, workdir = converted
  load = workdirs.load_config

  def wider(path):
    config = load(path)
    with config.unlocked():
      config.model.input_scale *= 2
    return config

  monkeypatch.setattr(workdirs, 'load_config', wider)
  path = tmp_path / 'weights.npz'
  assert cli.main(['--to=npz', f'--workdir={workdir}', f'--output={path}']) == 0
  name = 'renderer.network.pts_linears.0.weight'
  with np.load(path) as arrays:
    np.testing.assert_allclose(arrays[name], 2 * weights(file, 'g')[name], rtol=1e-6)
