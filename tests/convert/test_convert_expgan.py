"""Exp-GAN's official checkpoints become workdirs and come back; names and shapes of the release."""

import golden_expgan
import golden_morphable
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
from jax3dgan.apps import express
from jax3dgan.convert import __main__ as cli
from jax3dgan.convert import expgan, expgan_curricula, expgan_names, expgan_runs, named_weights
from jax3dgan.discriminators.expgan import ExpGANDiscriminator
from jax3dgan.errors import UserError
from jax3dgan.generators import expgan_faces
from jax3dgan.generators.expgan import ExpGAN
from jax3dgan.runs import checkpoints, workdirs
from jax3dgan.trained import expressions
from jax3dgan.training import schedule

_NAMES = goldens._SHARED / 'expgan' / 'names_expgan_ffhq256.txt'


def small_state():
  """A checkpoint of the small networks."""
  state = goldens.load('expgan/G_small_weights')
  state = {f'{expgan.GENERATOR}.{k.removeprefix("param/")}': x for k, x in state.items()}
  for key, x in goldens.load('expgan/D_small').items():
    net, _, name = key.partition('/param/')
    if name:
      state[f'{expgan.FULL if net == "D256" else expgan.LOW}.{name}'] = x
  state[f'{expgan.GENERATOR}.mean_w'] = np.ones((8, 16), np.float32)
  state[f'{expgan.FULL}.convs.0.conv2.0.kernel'] = np.ones((4, 4), np.float32)
  return state


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


def save(folder, state, **more):
  """A file as Lightning's."""
  tree = {'state_dict': {name: tensor(x) for name, x in state.items()}, **more}
  (folder / 'model.ckpt').write_bytes(dumps(tree))
  return folder / 'model.ckpt'


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  folder, state = tmp_path_factory.mktemp('expgan'), small_state()
  average = {k.replace('net_G.', 'net_G_ema.'): x for k, x in state.items() if k[:6] == 'net_G.'}
  state |= {k: x + np.float32(0.125) for k, x in state.items() if k.endswith('mean_w')}
  state['flamedecoder.v_template'] = np.ones(3, np.float32)
  path = save(folder, {**state, **average}, global_step=700)
  np.savez(folder / 'flame.npz', **golden_morphable.arrays_of_model())
  flags = [f'--face_model={folder / "flame.npz"}', '--num_identity=8']
  flags += [f'--input={path}', f'--workdir={folder / "run"}']
  assert cli.main(['--from=expgan', *flags]) == 0
  return folder / 'run'


def test_a_release_becomes_a_workdir(workdir):
  step, state = checkpoints.read(workdir)
  config = workdirs.load_config(workdir)
  assert step == 700 and config.resolution == 64 and config.model.orthographic == 10.0
  assert_equal(next(iter(state['ema']['generator'].values())), golden_expgan.weights())
  assert_equal(state['networks']['discriminator'], golden_expgan.discriminator_weights())
  buffers = state['buffers']['generator']
  np.testing.assert_array_equal(buffers['w_average'], np.ones(16))
  placed = golden_morphable.model().of_region().moved(10.0, (0, 0, -1.5))
  for name, x in expgan_faces.arrays_of(placed).items():
    np.testing.assert_array_equal(buffers[name], x)
  assert buffers['faces'].shape == (1024, 8 + 6 + 3) and np.abs(buffers['faces']).max() > 1
  # It trains on: the checks pass.
  networks = generators.create(config), discriminators.create(config.discriminator)
  recipes.check(config, *networks, schedule.stages(config))


def test_it_comes_back(workdir, tmp_path):
  path = tmp_path / 'state_dict.pth'
  assert cli.main(['--to=torch', f'--workdir={workdir}', f'--output={path}']) == 0
  found = convert.state_dict(convert.read(path))
  expected = {k: x for k, x in expgan.part_of(small_state(), 'net_G').items() if 'kernel' not in k}
  expected['mean_w'] = np.ones((17, 16), np.float32)
  for second, first in expgan_names.second_biases(2).items():  # of both the sum is the first
    expected[first] = expected[first] + expected[second].ravel()
    expected[second] = np.zeros_like(expected[second])
  assert found.keys() == expected.keys()
  assert_equal(found, expected)


@pytest.mark.thorough
def test_its_people_do_what_they_are_told(workdir, tmp_path):
  out = tmp_path / 'sheet.png'
  express.main([f'--workdir={workdir}', f'--out={out}', '--seeds=0', '--yaws=0', '--psi=1'])
  assert out.exists()
  model = trained.load(workdir)
  faces = expressions.Faces(model)
  people, front = faces.of_seeds([0]), model.orbit(0.0)
  pictures = [
    model.render(faces.styles(people, faces.told([(word, 1)]), 1.0), front).image
    for word in ('neutral', 'expression0', 'jawX')
  ]
  for picture in pictures[1:]:
    assert np.abs(picture - pictures[0]).max() > 0.01


def test_weights_have_the_names_of_a_jaw(workdir):
  names = expressions.names_of(workdirs.load_config(workdir), 9)
  assert names[-4:] == ('expression5', 'jawX', 'jawY', 'jawZ')
  words = express._first_words(names, expressions.JAW)
  assert words == 'neutral,expression0:2,expression1:2,expression2:2,expression3:2,jawX:0.3'
  assert len(expressions.parse(words, names)) == 6


def test_a_generator_alone(tmp_path):
  state = expgan.part_of(small_state(), 'net_G')
  path = save(tmp_path, state)
  checkpoint = expgan.read_checkpoint(path, num_identity=8)
  assert checkpoint.discriminator is None and checkpoint.generator is None
  fields = checkpoint.average.fields
  assert fields['latent_dim'] == 16 and fields['num_expression'] == 53
  assert fields['low_resolution'] == 64
  config = expgan_runs.config_for(path, 'ffhq256', checkpoint)
  assert config.model.num_triangles == 0 and config.resolution == 256
  lines = expgan_runs.summary('x', 'ffhq256', config, 0, '', checkpoint)
  assert any('without --face_model' in line for line in lines)
  np.savez(tmp_path / 'flame.npz', **golden_morphable.arrays_of_model())
  checkpoint.face_model = str(tmp_path / 'flame.npz')
  with pytest.raises(UserError, match='num_expression 9, and the checkpoint 53'):
    expgan_runs.config_for(path, 'ffhq256', checkpoint)


def test_what_is_not_a_checkpoint_of_it(tmp_path):
  state = small_state()
  path = save(tmp_path, state)
  with pytest.raises(UserError, match='no 100 of identity.*--num_identity'):
    expgan.read_checkpoint(path)
  del state[f'{expgan.LOW}.final_conv.1.bias']
  with pytest.raises(UserError, match='net_D: .final_conv.1.bias. is missing'):
    expgan.read_checkpoint(save(tmp_path, state), num_identity=8)
  state = {k: x for k, x in state.items() if not k.startswith(expgan.LOW)}
  with pytest.raises(UserError, match='one discriminator and no net_D_auxgan'):
    expgan.read_checkpoint(save(tmp_path, state), num_identity=8)
  with pytest.raises(UserError, match='without a generator of Exp-GAN|no generator of Exp-GAN'):
    expgan.read_checkpoint(save(tmp_path, {'a.b': np.ones(2, np.float32)}))
  for flag in ('--face_model=x', '--num_identity=8'):
    with pytest.raises(UserError, match='goes with --from=expgan alone'):
      cli.parse(['--from=gghead', '--input=x', '--workdir=y', flag])


@pytest.mark.parametrize('curriculum', expgan_curricula.CURRICULA)
def test_the_configs_are_those_of_the_files(curriculum):
  name = expgan_curricula.file_of(curriculum)
  found = main_lib.parse(['main', f'--config={config_files.find(name)[0]}', '--workdir=.']).config
  own = expgan_curricula.create(curriculum)
  assert not config_json.differences(config_json.plain(found), config_json.plain(own))


def test_small_networks():
  state = small_state()
  own = expgan.part_of(state, expgan.GENERATOR)
  fields = expgan.generator_fields(own)
  assert fields == {name: getattr(golden_expgan.generator(), name) for name in fields}
  assert_equal(expgan.generator_params(own, golden_expgan.RAYS), golden_expgan.weights())
  np.testing.assert_array_equal(expgan.w_average(own), np.ones(16))
  pair = (expgan.part_of(state, name) for name in (expgan.FULL, expgan.LOW))
  assert_equal(expgan.discriminator_params(*pair), golden_expgan.discriminator_weights())


def test_other_weights_are_refused():
  own = expgan.part_of(small_state(), expgan.GENERATOR)
  with pytest.raises(UserError, match='mapping_network.fc8.bias. is missing'):
    expgan.generator_params({**own, 'mapping_network.fc8.weight': own['mapping_network.fc7.bias']})
  with pytest.raises(UserError, match="not those of Exp-GAN's generator"):
    expgan.generator_params({})


def test_names_and_shapes_of_the_release():
  if not _NAMES.exists():
    pytest.skip('the names of the release are not here')
  lines = [line.split('\t') for line in _NAMES.read_text().splitlines() if line[0] != '#']
  shapes = {name: tuple(map(int, s.split('x'))) for name, s, kind in lines if kind == 'param'}

  def empty(init, network):
    """Our parameters in memory of one number."""
    found = jax.eval_shape(lambda: init(network, jax.random.key(0)))
    return jax.tree.map(lambda x: np.broadcast_to(np.int8(0), x.shape), found)

  tree = empty(generators.init_params, ExpGAN())
  names = [
    *expgan_names.generator_names(dict(mapping_layers=8, channels=(0,) * 7)),
    *expgan_names.upsampler_names(2, 64),
  ]
  found = {k: x.shape for k, x in named_weights.to_official(tree, names).items()}
  own = expgan.part_of(shapes, expgan.GENERATOR)
  for second, first in expgan_names.second_biases(2).items():
    assert own.pop(second) == (1, *own[first], 1, 1)
  assert found == own
  pose = dict(pose_dim=6, expression_dim=53, identity_dim=100)
  trees = empty(discriminators.init_params, ExpGANDiscriminator(**pose))
  for part, network, num in (('full', expgan.FULL, 7), ('low', expgan.LOW, 5)):
    names = expgan_names.discriminator_names(num, True)
    found = {k: x.shape for k, x in named_weights.to_official(trees[part], names).items()}
    for kind in ('weight', 'bias'):
      first, rest = (found.pop(f'final_linear.1.{of}.{kind}') for of in ('logit', 'guesses'))
      found[f'final_linear.1.{kind}'] = (first[0] + rest[0], *rest[1:])
    for i in range(2):
      bias = found.pop(f'fromRGB.{i}.model.bias')
      found |= {f'fromRGB.{i}.model.{j}.bias': bias for j in range(2)}
    own = expgan.part_of(shapes, network)
    # From-RGB layers of sizes that are never images.
    unused = {name for name in own if name.startswith('fromRGB.') and name[8] not in '01'}
    assert found == {name: shape for name, shape in own.items() if name not in unused}
