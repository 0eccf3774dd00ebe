"""GRAF's official checkpoints become workdirs, and come back."""

import functools
import math
import pathlib
import re

import golden_graf as golden
import goldens
import jax
import numpy as np
import pytest
from persistent_pickles import dumps, tensor

from jax3dgan import (
  cameras,
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
from jax3dgan.convert import graf, graf_curricula, graf_names, graf_runs
from jax3dgan.convert.networks import shapes
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, workdirs
from jax3dgan.training import schedule

DATA = pathlib.Path(__file__).resolve().parent.parent / 'data' / 'graf'


def generator(file='graf/generator', prefix='p/'):
  return golden.weights(file, prefix)


@functools.cache
def judge():
  return golden.weights('graf/discriminator', 's32/p/')


def save(folder, it=None, **networks):
  """A file with state dicts, or whatever else is given."""
  tree = {
    name: {key: tensor(value) for key, value in of.items()} if isinstance(of, dict) else of
    for name, of in networks.items()
  }
  (folder / 'x.pt').write_bytes(dumps(tree | ({} if it is None else {'it': it})))
  return folder / 'x.pt'


def same(actual, reference):
  assert jax.tree.structure(actual) == jax.tree.structure(reference)
  jax.tree.map(np.testing.assert_array_equal, actual, reference)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('graf')
  g = generator()
  other = {name: x + np.float32(0.125) for name, x in g.items()}
  path = save(folder, 1234, generator=other, generator_test=g, discriminator=judge())
  flags = [f'--input={path}', f'--workdir={folder / "run"}', '--curriculum=celeba']
  assert cli.main(['--from=graf', *flags]) == 0
  return folder / 'run'


def test_a_release_becomes_a_workdir(workdir):
  step, state = checkpoints.read(workdir)
  config = workdirs.load_config(workdir)
  assert step == 1234
  params = graf_names.generator_params(generator(), config.model)
  same(state['ema'], {'generator': {'0.999': params}})
  raw = state['networks']['generator']['field']['layer_0_bias']
  np.testing.assert_allclose(raw, params['field']['layer_0_bias'] + np.float32(0.125), rtol=1e-6)
  fields, variables = graf_names.discriminator_params(judge())
  same(state['networks']['discriminator'], variables['params'])
  same(state['buffers'], {'discriminator': variables['buffers']})
  # It trains on: the checks pass.
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipes.check(config, *networks, schedule.stages(config))
  assert tuple(config.discriminator.channels) == fields['channels']


def test_it_comes_back_as_it_was(workdir, tmp_path):
  path = tmp_path / 'state_dict.pth'
  assert cli.main(['--to=torch', f'--workdir={workdir}', f'--output={path}']) == 0
  same(convert.state_dict(convert.read(path)), generator())
  fields, variables = graf_names.discriminator_params(judge())
  same(graf_names.discriminator_state(variables, fields), judge())


def test_the_middle_of_the_cameras_is_in_front(workdir):
  """The release's camera at 45° sees what ours sees from the front."""
  model = trained.load(workdir)
  module, variables = golden.model()
  z = goldens.load('graf/generator')['z']
  w = np.asarray(model.map(z))
  points = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
  ours = model.generator.apply(model.variables, w, points, points, method='query')
  middle = np.asarray(cameras.orbit(math.pi / 4, 0.0).cam2world)[:3, :3]
  front = np.asarray(cameras.orbit(0.0, 0.0).cam2world)[:3, :3]
  turned = points @ (middle @ front.T).T
  theirs = module.apply(variables, w, turned, turned, method='query')
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), ours, theirs)


def test_a_file_without_a_discriminator(tmp_path):
  path = save(tmp_path, generator=generator('graf/generator_variants', 'noview/p/'))
  workdir = tmp_path / 'run'
  assert cli.main(['--from=graf', f'--input={path}', f'--workdir={workdir}', '--step=7']) == 0
  step, state = checkpoints.read(workdir)
  config = workdirs.load_config(workdir)
  assert step == 7 and not config.model.view_dependent and config.graf.mirror
  # The fresh one's vectors are of unit length, not zeros.
  for own in state['buffers']['discriminator'].values():
    np.testing.assert_allclose(np.linalg.norm(own['norm']['u']), 1, rtol=1e-5)


@pytest.mark.parametrize('name, view', [('generator', True), ('generator_noviewdirs', False)])
def test_every_official_name_and_shape_of_full_size(name, view):
  state = listed(f'names_{name}.txt')
  fields = graf_names.model_fields(state)
  config = graf_curricula.create('carla' if view else 'birds')
  assert {key: config.model[key] for key in fields} == fields
  own = jax.eval_shape(
    functools.partial(generators.init, generators.create(config)), jax.random.key(0)
  )
  assert shapes(graf_names.generator_params(state, fields)) == shapes(own['params'])


@pytest.mark.parametrize('size', [32, 64, 128])
def test_every_discriminator_of_full_size(size):
  fields, variables = graf_names.discriminator_params(
    listed(f'names_discriminator_patch{size}.txt')
  )
  module = discriminators.create(fields)
  assert module.resolution == size and module.norm_first == (size == 32)
  own = jax.eval_shape(functools.partial(discriminators.init, module), jax.random.key(0))
  assert shapes(variables) == shapes(own)


def listed(name):
  """A state dict of the names and shapes of a list; nothing of that size is allocated."""
  state = {}
  for line in (DATA / name).read_text().splitlines():
    key, shape = re.match(r'(\S+) \[([\d, ]*)\]', line).groups()
    state[key] = np.broadcast_to(np.float32(0), tuple(int(n) for n in shape.split(',')))
  return state


@pytest.mark.parametrize('curriculum', ['carla', 'celeba', 'cats'])
def test_the_configs_are_those_of_the_files(curriculum):
  name = f'graf_{curriculum}'
  found = main_lib.parse(['main', f'--config={config_files.find(name)[0]}', '--workdir=.']).config
  own = graf_curricula.create(curriculum)
  assert not config_json.differences(config_json.plain(found), config_json.plain(own))
  assert graf_curricula.file_of(curriculum) == name


def test_what_is_not_a_checkpoint_of_it(tmp_path):
  g, d = generator(), judge()
  few = {k: v for k, v in g.items() if k != 'rgb_linear.bias'}
  for networks, words in (
    ({'discriminator': d}, 'without a generator of GRAF'),
    ({'generator': few}, "'rgb_linear.bias' is missing"),
    ({'generator': g | {'x.bias': g['rgb_linear.bias']}}, "'x.bias' is no weight"),
    ({'generator': g | {'rgb_linear.bias': g['rgb_linear.bias'][:2]}}, 'of the shape'),
    ({'generator': g | {'pts_linears.0.weight': g['pts_linears.0.weight'][:, :60]}}, 'encodings'),
    ({'generator': g, 'discriminator': 3}, 'discriminator is 3 and no state dict'),
    ({'generator': g, 'discriminator': {k: v for k, v in d.items() if '.3.' not in k}}, 'of the'),
    ({'generator': g, 'discriminator': {k: v for k, v in d.items() if '0.weight_u' not in k}},
     "'main.0.weight_u'"),
    ({'generator': g, 'it': 'x'}, 'says it'),
  ):  # fmt: skip
    path = save(tmp_path, networks.pop('it', None), **networks)
    with pytest.raises(UserError, match=words) as error:
      checkpoint = graf.read_checkpoint(path)
      graf_runs.config_for(path, 'carla', checkpoint)
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)
