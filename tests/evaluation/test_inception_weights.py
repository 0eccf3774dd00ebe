"""Reading the weights of the FID Inception, and what is said of files that are something else."""

import dataclasses

import crafted_files
import inception_golden as golden
import numpy as np
import pytest

from jax3dgan.convert import write
from jax3dgan.errors import UserError
from jax3dgan.feature_networks import inception_layers, inception_weights
from jax3dgan.feature_networks.inception_layers import TORCH_NAMES
from jax3dgan.feature_networks.inception_weights import load


def as_graph(state, form):
  """pytorch-fid's state dict under the names of TensorFlow's graph, batch norm apart or folded."""
  arrays = {}
  for name, torch_name in TORCH_NAMES.items():
    if f'{torch_name}.conv.weight' not in state:
      continue
    kernel = state[f'{torch_name}.conv.weight'].transpose(2, 3, 1, 0)
    parts = ('weight', 'bias', 'running_mean', 'running_var')
    gamma, beta, mean, variance = (state[f'{torch_name}.bn.{part}'] for part in parts)
    if form == 'graph':
      # 'mixed_tower_conv' with the graph's own slashes.
      name = name.replace('tower', '/tower').replace('_/', '/').replace('_conv', '/conv')
      arrays |= {
        f'{name}/conv2d_params': kernel,
        f'{name}/batchnorm/gamma': gamma,
        f'{name}/batchnorm/beta': beta,
        f'{name}/batchnorm/moving_mean': mean,
        f'{name}/batchnorm/moving_variance': variance,
      }
    else:
      scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + 0.001)
      arrays[f'{name}/w'] = (kernel * scale).astype(np.float32)
      arrays[f'{name}/b'] = (beta - mean * scale).astype(np.float32)
  return arrays


@pytest.fixture(scope='module')
def small(random_state):
  """The state dict up to mixed_7."""
  wanted = {TORCH_NAMES[name] for name in inception_layers.layers(768)}
  return {k: v for k, v in random_state.items() if k.rsplit('.', 2)[0] in wanted}


@pytest.mark.parametrize('form', ['folded', 'graph'])
def test_every_form_gives_the_same(form, random_state, random_weights, tmp_path):
  """To the last bit."""
  assert (random_weights.dims, random_weights.kind) == (2048, 'pytorch-fid')
  write.npz(tmp_path / 'x.npz', as_graph(random_state, form))
  weights = load(tmp_path / 'x.npz')
  assert (weights.dims, weights.kind) == (2048, 'npz')
  for name, layer in random_weights.params.items():
    for part, array in layer.items():
      np.testing.assert_array_equal(weights.params[name][part], array)
      assert weights.params[name][part].dtype == np.float32
  assert weights.fingerprint == random_weights.fingerprint


def test_fewer_features_of_a_whole_file(torch_file, random_weights, small, tmp_path):
  weights = load(torch_file, dims=768)
  assert weights.dims == 768 and set(weights.params) == set(inception_layers.layers(768))
  assert weights.fingerprint != random_weights.fingerprint
  write.npz(tmp_path / 'x.npz', as_graph(small, 'folded'))
  assert load(tmp_path / 'x.npz').fingerprint == weights.fingerprint


def test_the_real_file_has_768_features():
  if not golden.REAL.exists():
    pytest.skip(f'{golden.REAL} is not here')
  weights = load(golden.REAL)
  assert (weights.dims, weights.kind) == (768, 'npz')
  with pytest.raises(UserError, match='gives 768 features and not 2048: its last blocks are miss'):
    load(golden.REAL, dims=2048)


def change(key, array):
  return lambda state: state.update({key: array})


def drop(start):
  return lambda state: [state.pop(key) for key in list(state) if key.startswith(start)]


def at(key, value):
  def run(state):
    state[key] = state[key].copy()
    state[key].flat[3] = value

  return run


STEM = 'Conv2d_1a_3x3'


@pytest.mark.parametrize(
  'spoil, message',
  [
    (change('fc.weight', np.zeros((1000, 2048), np.float32)), "torchvision's Inception v3"),
    (change('AuxLogits.fc.weight', np.zeros((2, 2), np.float32)), "torchvision's Inception v3"),
    (change(f'{STEM}.conv.weight', np.zeros((32, 3, 5, 5), np.float32)), 'has the shape'),
    (change(f'{STEM}.bn.bias', np.zeros((), np.float32)), 'has the shape'),
    (change(f'{STEM}.conv.weight', np.zeros((32, 3), np.float32)), 'has the shape'),
    (change(f'{STEM}.conv.weight', np.zeros((32, 3, 3, 3), np.int64)), 'of the type int64'),
    (at(f'{STEM}.conv.weight', np.nan), f'{STEM}.conv.weight has values that are no finite'),
    (at(f'{STEM}.bn.running_mean', np.inf), 'no finite'),
    (at(f'{STEM}.bn.running_var', -1), 'negative'),
    (drop('Mixed_5b.branch_pool'), '1 of its layers are missing, the first of them mixed_tower_2'),
    (drop('Mixed_6e.branch_pool'), 'is not the FID Inception'),
    (drop(''), 'no state dict|is not the FID Inception'),
  ],
)
def test_other_networks_are_refused(spoil, message, small, tmp_path):
  state = dict(small)
  spoil(state)
  write.torch(tmp_path / 'x.pth', state)
  with pytest.raises(UserError, match=message) as caught:
    load(tmp_path / 'x.pth')
  assert '\n' not in str(caught.value)


def test_a_fc_of_1008_classes_is_the_fids(small, tmp_path):
  state = small | {'fc.weight': np.zeros((1008, 2048), np.float32)}
  state[f'{STEM}.bn.num_batches_tracked'] = np.zeros((), np.int64)
  write.torch(tmp_path / 'x.pth', state)
  assert load(tmp_path / 'x.pth').dims == 768


@pytest.mark.parametrize(
  'name, data, message',
  [
    ('x.npz', b'PK\x03\x04 and no more', 'damaged or no npz'),
    ('x.npz', b'', 'damaged or no npz'),
    ('x.pth', b'', 'is empty'),
    ('x.pth', b'<html>', 'a web page'),
    ('x.pth', np.random.default_rng(0).bytes(100), 'x.pth'),
    ('x.pth', b'PK\x03\x04 and no more', 'x.pth'),
    ('x.npz', crafted_files.npz_of_objects(), 'damaged or no npz'),
    ('x.npz', crafted_files.npz_cut(), 'damaged or no npz'),
    ('x.npz', crafted_files.npz_other(), 'is not the FID Inception'),
    ('x.bin', crafted_files.npz_other(), 'is not the FID Inception'),
    ('x.pth', crafted_files.pickle_that_runs(), 'os|posix'),
  ],
)
def test_other_files_are_refused(name, data, message, tmp_path):
  (tmp_path / name).write_bytes(data)
  with pytest.raises(UserError, match=message) as caught:
    load(tmp_path / name)
  assert '\n' not in str(caught.value)
  assert not (tmp_path / 'CANARY').exists()


def test_missing_files_are_errors(tmp_path, monkeypatch):
  with pytest.raises(UserError, match='does not exist.*pt_inception-2015-12-05-6726825d.pth'):
    load(tmp_path / 'x.pth')
  with pytest.raises(UserError, match='is a folder'):
    load(tmp_path)
  with pytest.raises(UserError, match='100 dimensions. Choose 2048 or 768'):
    load(tmp_path, dims=100)


def test_the_file_is_found(torch_file, random_weights, tmp_path, monkeypatch):
  monkeypatch.delenv(inception_weights.VARIABLE, raising=False)
  monkeypatch.setenv('JAX3DGAN_CACHE', str(tmp_path))
  with pytest.raises(
    UserError,
    match='are missing.*eval.inception=FILE, or JAX3DGAN_INCEP.*put it into',
  ):
    load()
  (tmp_path / 'inception').mkdir()
  (tmp_path / 'inception' / 'a.pth').symlink_to(torch_file)
  assert load().fingerprint == random_weights.fingerprint
  (tmp_path / 'inception' / 'b.pth').write_bytes(b'')
  with pytest.raises(UserError, match=r'several files \(a.pth, b.pth\)'):
    load()
  monkeypatch.setenv(inception_weights.VARIABLE, str(torch_file))
  weights = load()
  assert weights.path == str(torch_file)
  assert dataclasses.replace(weights, params={}).dims == 2048
