"""The styles of an inverted photo in place of those of seeds, in every app that shows objects."""

import argparse
import types

import numpy as np
import pytest
import trimesh
from PIL import Image

from jax3dgan import inversion, trained
from jax3dgan.apps import common, edit, mesh, samples, turntable
from jax3dgan.errors import UserError
from jax3dgan.inversion import results
from jax3dgan.runs import provenance


@pytest.fixture
def styles(pretrained, tmp_path):
  """The file of seed 5's style, psi 0.7, as if it had been found for a photo."""
  model = trained.load(pretrained='tiny')
  path = tmp_path / 'photo.npz'
  w = np.asarray(model.map(model.latents([5]), 0.7))
  results.save(path, w, model.orbit(0.0), {'mse': np.zeros((2, 1))}, ['photo.png'])
  assert inversion.load(path)[0].shape == w.shape
  return path


def test_samples_and_turntables(styles, tmp_path, capsys):
  given = [f'--w={styles}', '--pretrained=tiny', '--resolution=8']
  seed = ['--seeds=5', '--psi=0.7', '--pretrained=tiny', '--resolution=8']
  ours, theirs = tmp_path / 'a.gif', tmp_path / 'b.gif'
  turntable.main([*given, '--frames=3', f'--out={ours}'])
  turntable.main([*seed, '--frames=3', f'--out={theirs}'])
  assert ours.read_bytes() == theirs.read_bytes()
  assert f'{styles} of tiny' in capsys.readouterr().out
  assert provenance.read(ours)['flags']['w'] == str(styles)
  ours, theirs = tmp_path / 'a.png', tmp_path / 'b.png'
  samples.main([*given, '--yaws=-20,20', f'--out={ours}'])
  samples.main([*seed, '--yaws=-20,20', f'--out={theirs}'])
  pictures = []
  for path in (ours, theirs):
    with Image.open(path) as file:
      pictures.append(np.asarray(file)[17:].astype(int))  # below the title, which names psi
  assert np.abs(pictures[0] - pictures[1]).max() <= 1
  with pytest.raises(SystemExit) as stop:
    samples.main([*given, '--psis=0,1', f'--out={ours}'])
  assert 'Leave out --psis' in stop.value.code


def test_meshes(styles, tmp_path):
  paths = [tmp_path / name for name in ('a.ply', 'b.ply')]
  rest = ['--pretrained=tiny', '--resolution=12', '--level=0', '--keep=all']
  mesh.main([f'--w={styles}', f'--out={paths[0]}', *rest])
  mesh.main(['--seeds=5', '--psi=0.7', f'--out={paths[1]}', *rest])
  a, b = (trimesh.load(path) for path in paths)
  np.testing.assert_allclose(a.vertices, b.vertices, atol=1e-5)


def test_styles_of_another_model(styles, tmp_path):
  np.savez(tmp_path / 'other.npz', w=np.zeros((1, 3, 3), np.float32))
  with pytest.raises(SystemExit) as stop:
    turntable.main(
      [f'--w={tmp_path / "other.npz"}', '--pretrained=tiny', f'--out={tmp_path / "x.gif"}']
    )
  assert 'Give styles of this model' in stop.value.code


def test_styles_as_other_programs_write_them(pretrained, tmp_path):
  """[1, num_ws, w_dim] in an npy file, as EG3D's projector; one style for all layers."""
  model = trained.load(pretrained='flat')
  rng = np.random.default_rng(0)
  every = rng.normal(size=(1, *model.average_w.shape))
  one = every[:, :1]
  for name, array in (('every', every), ('one', one), ('flat', one[0]), ('alone', every[0])):
    np.save(tmp_path / f'{name}.npy', array)

  def read(name):
    return common.styles(model, argparse.Namespace(w=str(tmp_path / name)))

  for name in ('every', 'alone'):
    np.testing.assert_array_equal(read(f'{name}.npy')[0], np.float32(every))
  for name in ('one', 'flat'):
    w, names = read(f'{name}.npy')
    np.testing.assert_array_equal(w, np.broadcast_to(np.float32(one), every.shape))
    assert names == [name]
  (tmp_path / 'cut.npz').write_bytes(b'PK\3\4 cut off')
  (tmp_path / 'empty.npy').write_bytes(b'')
  np.save(tmp_path / 'objects.npy', np.array([None]), allow_pickle=True)
  for name in ('cut.npz', 'empty.npy', 'objects.npy', 'none.npy'):
    with pytest.raises(UserError, match='Give an npy file, or an npz file'):
      read(name)


@pytest.mark.parametrize(
  'flags, message',
  [
    ('--w={0}/w.npz --save={0}/w.npz', 'would replace the file of --w'),
    ('--directions={0}/w.npz --names=pca0 --save={0}/../{1}/w.npz', 'the file of --directions'),
    ('--labels={0}/x.csv --save={0}/x.csv', 'would replace the file of --labels'),
    ('--save={0}/x.png', 'would replace the file of --out'),
  ],
)
def test_no_output_replaces_an_input(tmp_path, flags, message):
  for name in ('w.npz', 'x.csv'):
    (tmp_path / name).write_bytes(b'precious')
  flags = flags.format(tmp_path, tmp_path.name).split()
  with pytest.raises(SystemExit) as stop:
    edit.main(['--pretrained=tiny', f'--out={tmp_path}/x.png', *flags])
  assert message in stop.value.code
  assert {path.read_bytes() for path in tmp_path.iterdir()} == {b'precious'}


def test_one_style_stands_for_layers_of_one_space_alone(tmp_path):
  """Not for a renderer's style and its decoder's, even if they are as wide."""
  np.save(tmp_path / 'w.npy', np.ones((1, 4), np.float32))
  args = types.SimpleNamespace(w=str(tmp_path / 'w.npy'))
  model = types.SimpleNamespace(name='tiny', w_shape=(3, 4), rows_are_alike=lambda: True)
  assert common.styles(model, args)[0].shape == (1, 3, 4)
  model.rows_are_alike = lambda: False
  with pytest.raises(UserError, match='Give styles of this model'):
    common.styles(model, args)
