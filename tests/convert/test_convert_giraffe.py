"""GIRAFFE's official checkpoints become workdirs, and come back."""

import functools
import pathlib
import re

import golden_giraffe as golden
import jax
import numpy as np
import pytest
from persistent_pickles import dumps, tensor

from jax3dgan import config_files, config_json, convert, discriminators, generators, recipes
from jax3dgan import main as main_lib
from jax3dgan.convert import __main__ as cli
from jax3dgan.convert import giraffe, giraffe_curricula, giraffe_names, giraffe_runs
from jax3dgan.convert.networks import shapes
from jax3dgan.errors import UserError
from jax3dgan.runs import checkpoints, workdirs
from jax3dgan.training import schedule

DATA = pathlib.Path(__file__).resolve().parent.parent / 'data' / 'giraffe'


@functools.cache
def network(name):
  return golden.weights('giraffe/train_step', f'{name}/')


def state(**networks):
  return {f'{name}.{key}': x for name, of in networks.items() for key, x in of.items()}


def save(folder, model, **more):
  """A file with a state dict 'model', and whatever else is given."""
  tree = {'model': {key: tensor(value) for key, value in model.items()}, **more}
  (folder / 'x.pt').write_bytes(dumps(tree))
  return folder / 'x.pt'


def same(actual, reference):
  assert jax.tree.structure(actual) == jax.tree.structure(reference)
  jax.tree.map(np.testing.assert_array_equal, actual, reference)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('giraffe')
  g, d = network('g'), network('d')
  other = {name: x + np.float32(0.125) for name, x in g.items()}
  path = save(folder, state(generator=other, generator_test=g, discriminator=d), it=1234)
  flags = [f'--input={path}', f'--workdir={folder / "run"}', '--curriculum=celeba']
  # A renderer of two sizes makes 64² of 16² in every release; this discriminator is of 32².
  assert cli.main(['--from=giraffe', *flags]) == 1
  path = save(folder, state(generator=other, generator_test=g), it=1234)
  assert cli.main(['--from=giraffe', *flags]) == 0
  return folder / 'run'


def test_a_release_becomes_a_workdir(workdir):
  step, saved = checkpoints.read(workdir)
  config = workdirs.load_config(workdir)
  assert step == 1234 and config.resolution == 64
  params = giraffe_names.from_official(network('g'), giraffe_names.generator_names(config.model))
  same(saved['ema'], {'generator': {'0.999': params}})
  raw = saved['networks']['generator']['objects']['points']['bias']
  np.testing.assert_allclose(raw, params['objects']['points']['bias'] + np.float32(0.125),
                             rtol=1e-6)  # fmt: skip
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipes.check(config, *networks, schedule.stages(config))
  assert config.model.turns == (145.0, 215.0)


def test_it_comes_back_as_it_was(workdir, tmp_path):
  path = tmp_path / 'state_dict.pth'
  assert cli.main(['--to=torch', f'--workdir={workdir}', f'--output={path}']) == 0
  same(convert.state_dict(convert.read(path)), network('g'))
  fields = giraffe_names.discriminator_fields(network('d'))
  names = list(giraffe_names.discriminator_names(fields))
  params = giraffe_names.from_official(network('d'), names)
  same(giraffe_names.to_official(params, names), network('d'))


def listed(name):
  """A model of the names and shapes of a list; nothing of that size is allocated."""
  model = {}
  for line in (DATA / f'names_{name}.txt').read_text().splitlines():
    key, shape = re.match(r'(\S+) \[([\d, ]*)\]', line).groups()
    model[key] = np.broadcast_to(np.float32(0), tuple(int(n) for n in shape.split(',')))
  return model


@pytest.mark.parametrize(
  'name, curriculum, size',
  [('cars64', 'celeba', 64), ('cars256', 'cars', 256), ('clevr2345_256', 'clevr', 256)],
)
def test_every_official_name_and_shape_of_full_size(name, curriculum, size):
  model = listed(name)
  own = {part: {k.removeprefix(f'{part}.'): x for k, x in model.items() if k.startswith(f'{part}.')}
         for part in ('generator', 'discriminator')}  # fmt: skip
  config = giraffe_curricula.create(curriculum, size)
  fields = giraffe_names.model_fields(own['generator'])
  assert {key: config.model[key] for key in fields} == fields
  params = giraffe_names.from_official(own['generator'], giraffe_names.generator_names(fields))
  init = functools.partial(generators.init_params, generators.create(config))
  assert shapes(params) == shapes(jax.eval_shape(init, jax.random.key(0)))
  judge = giraffe_names.discriminator_fields(own['discriminator'])
  assert judge['channels'] == tuple(config.discriminator.channels)
  back = giraffe_names.generator_state(params, config.model)
  assert {k: x.shape for k, x in back.items()} == {k: x.shape for k, x in own['generator'].items()}


@pytest.mark.parametrize('curriculum', ['cars', 'celeba', 'clevr'])
def test_the_configs_are_those_of_the_files(curriculum):
  name = f'giraffe_{curriculum}'
  found = main_lib.parse(['main', f'--config={config_files.find(name)[0]}', '--workdir=.']).config
  own = giraffe_curricula.create(curriculum)
  assert not config_json.differences(config_json.plain(found), config_json.plain(own))
  assert giraffe_curricula.file_of(curriculum) == name


def test_what_is_not_a_checkpoint_of_it(tmp_path):
  g, d = network('g'), network('d')
  bias = 'decoder.fc_in.bias'
  few = {k: v for k, v in g.items() if k != bias}
  baseline = {f'generator.{k}': np.zeros(3, np.float32) for k in ('fc.weight', 'conv_img.weight')}
  for model, more, words in (
    (state(discriminator=d), {}, 'no generator of GIRAFFE'),
    (baseline, {}, "GIRAFFE's 2D baseline"),
    (state(generator=few), {}, f"'{bias}' is missing"),
    (state(generator=g | {'x.bias': g[bias]}), {}, "'x.bias' is no weight"),
    (state(generator=g | {'decoder.fc_in.weight': g['decoder.fc_in.weight'][:, :59]}), {},
     'of the shape'),
    (state(generator=g, discriminator={k: x for k, x in d.items() if 'out' not in k}), {},
     "'conv_out.weight' is missing"),
    (state(generator=g), {'it': 'x'}, 'says it'),
  ):  # fmt: skip
    path = save(tmp_path, model, **more)
    with pytest.raises(UserError, match=words) as error:
      giraffe_runs.config_for(path, 'cars', giraffe.read_checkpoint(path))
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)
