"""Weights in what training programs put around them: training states, prefixes, bare modules."""

import pathlib

import numpy as np
import persistent_pickles as pickles
import pytest
from persistent_pickles import FFHQ, dumps, tensor

from jax3dgan import convert
from jax3dgan.convert import __main__ as cli
from jax3dgan.convert import eg3d, eg3d_curricula, official, official_discriminator, wrapped
from jax3dgan.convert.networks import shapes
from jax3dgan.errors import UserError

DATA = pathlib.Path(__file__).resolve().parent.parent / 'data' / 'convert'


@pytest.fixture(scope='module')
def weights():
  return convert.state_dict(convert.read(DATA / 'state_dict.pth'))


@pytest.fixture(scope='module')
def discriminator():
  return convert.state_dict(convert.read(DATA / 'discriminator.pth'))


@pytest.fixture(scope='module')
def triplane():
  return pickles.synthetic(scale=0.3)


def tensors(state, prefix=''):
  return {prefix + name: tensor(value) for name, value in state.items()}


def save(folder, tree):
  (folder / 'x.pth').write_bytes(dumps(tree))
  return folder / 'x.pth'


@pytest.mark.parametrize('prefix', ['_orig_mod.', 'module._orig_mod.', '_orig_mod.module.'])
def test_prefixes_of_wrappers_are_no_names(prefix, weights, tmp_path):
  found = official.read_generator(save(tmp_path, tensors(weights, prefix)), 'spatial')
  assert found.weights.keys() == weights.keys()
  np.testing.assert_array_equal(
    found.weights['siren.final_layer.bias'], weights['siren.final_layer.bias']
  )
  inside = {name.replace('siren.', 'siren._orig_mod.'): value for name, value in weights.items()}
  assert wrapped.plain_names(inside).keys() == weights.keys()


@pytest.mark.parametrize(
  'place, step',
  [
    (
      lambda state: {'epoch': 3, 'global_step': 77, 'state_dict': state, 'optimizer': {'lr': 1.0}},
      77,
    ),
    (lambda state: {'ema': state}, None),
    (lambda state: {'args': {'lr': [1]}, 'models': {'generator': state}, 'step': 5}, 5),
    (lambda state: {'G_ema': state, 'optimizer': {'state': {0: {'exp_avg': tensor([1.0])}}}}, None),
  ],
)
def test_what_is_meant_in_a_training_state_is_taken(place, step, weights, tmp_path):
  found = official.read_generator(save(tmp_path, place(tensors(weights))), 'spatial')
  assert found.weights.keys() == weights.keys() and found.step == step


def test_one_file_of_both_networks_serves_both_flags(weights, discriminator, tmp_path):
  path = save(tmp_path, {'g': tensors(weights), 'd': tensors(discriminator, 'module.')})
  assert official.read_generator(path, 'spatial').weights.keys() == weights.keys()
  assert official_discriminator.read_discriminator(path).fields['block'] == 'ccs'


@pytest.mark.parametrize('place', [lambda state: state, lambda state: {'state_dict': state}])
def test_a_state_dict_of_several_networks_has_each_by_its_prefix(
  place, weights, discriminator, triplane, tmp_path
):
  both = tensors(weights, 'generator.') | tensors(discriminator, 'critic._orig_mod.')
  path = save(tmp_path, place(both))
  assert official.read_generator(path, 'spatial').weights.keys() == weights.keys()
  assert official_discriminator.read_discriminator(path).fields['block'] == 'ccs'
  averaged = both | tensors(weights, 'ema.')
  path = save(tmp_path, place(averaged))
  with pytest.raises(UserError, match='--entry=.*generator or --entry=.*ema'):
    official.read_generator(path, 'spatial')
  name = 'state_dict/ema' if 'state_dict' in place({}) else 'ema'
  assert official.read_generator(path, 'spatial', name).weights.keys() == weights.keys()
  path = save(tmp_path, place(tensors(triplane, 'netG.')))
  assert eg3d.read_checkpoint(path, curriculum='ffhq', low_resolution=16).average.fields


def test_two_generators_need_a_flag_that_says_which(weights, tmp_path):
  averaged = {name: 2 * value for name, value in weights.items()}
  path = save(tmp_path, {'model': tensors(weights), 'ema': tensors(averaged)})
  with pytest.raises(UserError, match='Choose it with --entry=model or --entry=ema'):
    official.read_generator(path, 'spatial')
  found = official.read_generator(path, 'spatial', 'ema').weights
  for name, value in averaged.items():
    np.testing.assert_array_equal(found[name], value)
  with pytest.raises(UserError, match='no entry G with weights. It has model, ema'):
    official.read_generator(path, 'spatial', 'G')
  with pytest.raises(UserError, match=r'no average of weights. .* go to --input'):
    official.read_average(save(tmp_path, tensors(averaged)), official.read_generator(path, 'tall'))


def test_an_average_inside_of_a_training_state(weights, tmp_path):
  average = {
    'decay': 0.99,
    'num_updates': 4,
    'shadow_params': [tensor(x) for x in weights.values()],
  }
  path = save(tmp_path, {'generator': tensors(weights), 'ema': average})
  generator = official.read_generator(path, 'spatial')
  assert official.read_average(path, generator).rate == 0.99


def test_a_whole_generator_of_eg3d_alone(triplane, tmp_path):
  """`torch.save(G)`, which is no dict."""
  module = pickles.generator(triplane, 16, FFHQ)
  alone = eg3d.read_checkpoint(save(tmp_path, module))
  within = eg3d.read_checkpoint(save(tmp_path, {'model': module, 'epoch': 2}))
  whole = eg3d.read_checkpoint(save(tmp_path, pickles.checkpoint(module)))
  for found in (alone, within):
    assert found.rendering == whole.rendering and found.low_resolution == 16
    assert shapes(found.average.params) == shapes(whole.average.params)
    assert found.average.fields == whole.average.fields


@pytest.mark.parametrize('of', ['', 'G_ema', 'state_dict', 'ema'])
def test_a_state_dict_of_eg3d_renders_by_its_curriculum(of, triplane, tmp_path):
  state = tensors(triplane, '_orig_mod.')
  path = save(tmp_path, {of: state, 'cur_nimg': 64} if of else state)
  with pytest.raises(UserError, match='is a state dict, .* Give --curriculum=ffhq, afhq, shapenet'):
    eg3d.read_checkpoint(path)
  found = eg3d.read_checkpoint(path, curriculum='ffhq', low_resolution=16)
  module = pickles.generator(triplane, 16, FFHQ)
  whole = eg3d.read_checkpoint(save(tmp_path, pickles.checkpoint(module)))
  assert found.average.fields == whole.average.fields
  assert found.num_images == (64 if of else None)
  for name, value in whole.average.params['decoder'].items():
    np.testing.assert_array_equal(found.average.params['decoder'][name], value)
  assert found.notes[0].startswith(
    'The weights do not say how they are rendered: it is ffhq at 16²'
  )
  with pytest.raises(UserError, match='Leave out --low_resolution'):
    eg3d.read_checkpoint(tmp_path / 'x.pth', low_resolution=16)


def test_curricula_render_as_the_release():
  ffhq = eg3d_curricula.rendering('ffhq')
  assert ffhq == {name: FFHQ[name] for name in ffhq}
  assert [*map(eg3d_curricula.last_low_resolution, eg3d_curricula.CURRICULA)] == [128, 128, 64]
  assert eg3d_curricula.rendering('shapenet_cars')['c_gen_conditioning_zero']


@pytest.mark.parametrize(
  'flags, words',
  [
    (['--from=eg3d', '--entry=q'], 'no entry q with weights. It has G_ema'),
    (['--from=eg3d'], '--from=pigan'),
    (['--from=nerf-npz', '--entry=q'], '--entry does not go with --from=nerf-npz'),
    (['--from=pigan', '--low_resolution=4'], '--low_resolution goes with --from=eg3d alone'),
    (['--from=eg3d', '--low_resolution=0'], '--low_resolution is 0. Give pixels'),
  ],
)
def test_errors_are_one_line(flags, words, weights, tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  save(tmp_path, {'G_ema': tensors(weights)})
  assert cli.main([*flags, '--input=x.pth', '--workdir=w']) == 1
  error = capsys.readouterr().err
  assert error.startswith('Error: ') and words in error and error.count('\n') == 1
