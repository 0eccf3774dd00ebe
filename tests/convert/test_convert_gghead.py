"""GGHead's official checkpoints become workdirs, and come back."""

import functools
import pathlib
import re

import golden_gghead as golden
import goldens
import jax
import numpy as np
import pytest
from persistent_pickles import dumps, tensor

from jax3dgan import config_files, config_json, convert, discriminators, generators, recipes
from jax3dgan import main as main_lib
from jax3dgan.convert import __main__ as cli
from jax3dgan.convert import (
  eg3d_names,
  gghead,
  gghead_curricula,
  gghead_names,
  gghead_runs,
)
from jax3dgan.convert.networks import shapes
from jax3dgan.errors import UserError
from jax3dgan.generators.gghead import GGHead
from jax3dgan.runs import checkpoints, workdirs
from jax3dgan.training import schedule

DATA = pathlib.Path(__file__).resolve().parent.parent / 'data' / 'gaussians'


def of(network):
  """A state dict without constants, which do not come back."""
  state = goldens.state_dict(golden.file('consistent'), network)
  constants = ('resample_filter', '_uv_position_map')
  return {name: x for name, x in state.items() if not name.endswith(constants)}


def save(folder, images=None, **networks):
  """A file with state dicts, or whatever else is given."""
  tree = {
    name: {key: tensor(value) for key, value in own.items()} if isinstance(own, dict) else own
    for name, own in networks.items()
  }
  (folder / 'x.pt').write_bytes(dumps(tree | ({} if images is None else {'cur_nimg': images})))
  return folder / 'x.pt'


def same(actual, reference):
  assert jax.tree.structure(actual) == jax.tree.structure(reference)
  jax.tree.map(np.testing.assert_array_equal, actual, reference)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('gghead')
  other = {name: x + np.float32(0.125) for name, x in of('g').items()}
  path = save(folder, 32_000, G=other, G_ema=of('g'), D=of('d'))
  assert cli.main(['--from=gghead', f'--input={path}', f'--workdir={folder / "run"}']) == 0
  return folder / 'run'


def test_a_release_becomes_a_workdir(workdir):
  step, state = checkpoints.read(workdir)
  config = workdirs.load_config(workdir)
  assert step == 1000 and config.resolution == 32 and config.model.num_given == 396
  params = gghead_names.generator_params(of('g'))
  names = ('w_average', 'noise_const', 'template_points', 'template_places')
  buffers = {name: params.pop(name) for name in names}
  same(next(iter(state['ema']['generator'].values())), params)
  same(state['buffers'], {'generator': buffers})
  raw = state['networks']['generator']['position']['bias']
  np.testing.assert_allclose(raw, params['position']['bias'] + np.float32(0.125), rtol=1e-6)
  same(state['networks']['discriminator'], eg3d_names.discriminator_params(of('d')))
  # It trains on: the checks pass.
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipes.check(config, *networks, schedule.stages(config))


def test_it_comes_back_as_it_was(workdir, tmp_path):
  path = tmp_path / 'state_dict.pth'
  assert cli.main(['--to=torch', f'--workdir={workdir}', f'--output={path}']) == 0
  same(convert.state_dict(convert.read(path)), of('g'))


def listed(name):
  """A state dict of the names and shapes of a list; nothing of that size is allocated."""
  state = {}
  for line in (DATA / name).read_text().splitlines():
    key, shape = re.match(r'(\S+) \[([\d, ]*)\]', line).groups()
    shape = tuple(int(n) for n in shape.split(',') if n)
    state[key] = np.broadcast_to(np.float32(0), shape)
  return state


def test_every_official_name_and_shape_of_full_size():
  state = listed('names_gghead_G_ffhq512.txt')
  fields = gghead_names.model_fields(state)
  assert fields['num_given'] == 235_232 and fields['sh_degree'] == 1 and fields['label_dim'] == 25
  module = GGHead(**fields)
  own = jax.eval_shape(functools.partial(generators.init, module), jax.random.key(0))
  found = shapes(gghead_names.generator_params(state))
  assert found == shapes({**own['params'], **own['buffers']})
  assert sum(np.prod(x) for x in shapes(own['params']).values()) == pytest.approx(28.8e6, rel=0.01)
  state = {k: v for k, v in listed('names_gghead_D_512.txt').items() if 'filter' not in k}
  module = discriminators.create(eg3d_names.discriminator_fields(state))
  own = jax.eval_shape(functools.partial(discriminators.init, module), jax.random.key(0))
  assert shapes(eg3d_names.discriminator_params(state)) == shapes(own['params'])


@pytest.mark.parametrize('curriculum', gghead_curricula.CURRICULA)
def test_the_configs_are_those_of_the_files(curriculum):
  name = gghead_curricula.file_of(curriculum)
  found = main_lib.parse(['main', f'--config={config_files.find(name)[0]}', '--workdir=.']).config
  own = gghead_curricula.create(curriculum)
  assert not config_json.differences(config_json.plain(found), config_json.plain(own))


def test_what_is_not_a_checkpoint_of_it(tmp_path):
  g, d = of('g'), of('d')
  few = {k: v for k, v in g.items() if k != '_flame_vertices'}
  torgb = 'backbone.synthesis.b4.torgb.weight'
  for networks, words in (
    ({'D': d}, 'without a generator of GGHead'),
    ({'G': few}, "'_flame_vertices' is missing"),
    ({'G': g | {'x.bias': g['_zero_conv_position.bias']}}, "'x.bias' is no parameter"),
    ({'G': g | {torgb: g[torgb][:12]}}, 'maps have 12 channels'),
    ({'G': g, 'D': {k: v for k, v in d.items() if 'b4.conv.' not in k}}, 'discriminator'),
    ({'G': g, 'D': d | {'b4.fc.bias': d['b4.fc.bias'][:3]}}, 'b4/fc/bias is of the shape'),
    ({'G': g, 'images': 'many'}, 'cur_nimg'),
  ):
    path = save(tmp_path, networks.pop('images', None), **networks)
    with pytest.raises(UserError, match=words) as error:
      checkpoint = gghead.read_checkpoint(path)
      gghead_runs.config_for(path, 'ffhq512', checkpoint)
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)
