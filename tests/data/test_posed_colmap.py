"""COLMAP's files: models of cameras, text and binary alike, and damaged ones."""

import shutil

import numpy as np
import posed_scenes as scenes
import pytest

from jax3dgan.data import posed
from jax3dgan.data.posed import colmap
from jax3dgan.data.posed.files import Files
from jax3dgan.errors import UserError

RIG = scenes.poses(5, target=(1.0, 2.0, 3.0))
POINTS = np.random.default_rng(0).normal(size=(20, 3)) * 0.2 + [1, 2, 3]
MODELS = {
  'SIMPLE_PINHOLE': ([20, 12, 8], ()),
  'PINHOLE': ([20, 21, 12, 8], ()),
  'SIMPLE_RADIAL': ([20, 12, 8, 0.1], (0.1,) + (0,) * 7),
  'RADIAL': ([20, 12, 8, 0.1, -0.02], (0.1, -0.02) + (0,) * 6),
  'OPENCV': ([20, 21, 12, 8, 0.1, -0.02, 0.01, 0.02], (0.1, -0.02, 0.01, 0.02) + (0,) * 4),
  'FULL_OPENCV': ([20, 21, 12, 8, *range(1, 9)], tuple(range(1, 9))),
}


def read(folder):
  return colmap.read(Files(folder), '')


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize('binary', [True, False])
def test_models(tmp_path, model, binary):
  parameters, distortion = MODELS[model]
  parameters = np.array(parameters, np.float64)
  scenes.write_colmap(tmp_path, RIG, parameters, model, (24, 16), POINTS, binary)
  capture = read(tmp_path)
  frames = capture.splits['train']
  assert [frame.name for frame in frames] == [f'img_{i}.png' for i in range(5)]
  for frame, pose in zip(frames, RIG, strict=True):
    np.testing.assert_allclose(frame.cam2world, pose, atol=1e-12)
    assert frame.lens.distortion == distortion
    fy = 21 if model in ('PINHOLE', 'OPENCV', 'FULL_OPENCV') else 20
    np.testing.assert_allclose(
      frame.lens.intrinsics(16, 24), [[20 / 24, 0, 0.5], [0, fy / 16, 0.5], [0, 0, 1]]
    )
  np.testing.assert_allclose(capture.points, POINTS)


def test_photos_in_folders_and_names_with_spaces(tmp_path):
  scenes.write_colmap(tmp_path, RIG, [20.0, 8, 8], 'SIMPLE_PINHOLE', points=POINTS, binary=False)
  text = (tmp_path / 'sparse/0/images.txt').read_text()
  text = text.replace('img_0.png', 'left eye/my  photo.png')
  (tmp_path / 'sparse/0/images.txt').write_text(text + '\n')
  scenes.write_photos(tmp_path / 'images', 5)
  (tmp_path / 'images/left eye').mkdir()
  shutil.move(tmp_path / 'images/img_0.png', tmp_path / 'images/left eye/my  photo.png')
  views = posed.load(tmp_path)
  assert views.names[-1] == 'left eye/my  photo.png' and len(views.names) == 5
  np.testing.assert_array_equal(views.images[-1], scenes.photo(0))


def test_of_several_reconstructions_the_largest(tmp_path):
  scenes.write_colmap(tmp_path, RIG[:2], [20.0, 20, 8, 8])
  shutil.move(tmp_path / 'sparse/0', tmp_path / 'sparse/small')
  scenes.write_colmap(tmp_path, RIG, [20.0, 20, 8, 8])
  capture = read(tmp_path)
  assert len(capture.splits['train']) == 5
  assert capture.notes[0] == '2 reconstructions: sparse/0 is read, which has most photos.'
  assert 'No points3D' in capture.notes[1]


@pytest.mark.parametrize('name', ['cameras', 'images', 'points3D'])
def test_binary_files_cut_anywhere(tmp_path, name):
  scenes.write_colmap(tmp_path, RIG, [20.0, 20, 8, 8], points=POINTS[:2])
  path = tmp_path / f'sparse/0/{name}.bin'
  data = path.read_bytes()
  for end in range(0, len(data), 11):
    path.write_bytes(data[:end])
    with pytest.raises(UserError, match=f'{name}.bin is cut short'):
      read(tmp_path)


def test_any_damaged_byte_is_read_or_refused(tmp_path):
  """Numbers, lengths and names of any kind: no other error, and no overflow (a warning)."""
  scenes.write_colmap(tmp_path, RIG, [20.0, 20, 8, 8], points=POINTS[:2])
  random = np.random.default_rng(0)
  for name in ('cameras', 'images', 'points3D'):
    path = tmp_path / f'sparse/0/{name}.bin'
    data = path.read_bytes()
    for _ in range(60):
      damaged = bytearray(data)
      damaged[random.integers(len(data))] = random.choice([0, 0x7F, 0xFF])
      path.write_bytes(bytes(damaged))
      try:
        posed.Scene(tmp_path)
      except UserError as error:
        assert '\n' not in str(error)
    path.write_bytes(data)


def _replace(name, old, new):
  return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new))


REFUSED = {
  'fisheye': (_replace('cameras.txt', 'PINHOLE', 'OPENCV_FISHEYE'), 'of a fisheye camera'),
  'field of view': (_replace('cameras.txt', 'PINHOLE', 'FOV'), 'of a fisheye camera'),
  'unknown': (_replace('cameras.txt', 'PINHOLE', 'NEW'), 'camera model NEW, which is not read'),
  'parameters': (_replace('cameras.txt', 'PINHOLE', 'OPENCV'), r'\(OPENCV\) has 4 parameters'),
  'no number': (_replace('cameras.txt', '20.0', 'x'), "'x' for a number"),
  'negative': (_replace('cameras.txt', '20.0', '-1'), 'not above 0'),
  'another camera': (_replace('cameras.txt', '3 PIN', '4 PIN'), 'has the camera 3, which cameras'),
  'short line': (_replace('images.txt', ' 3 img_2.png', ''), 'has a line of 8 words'),
  'NaN': (_replace('images.txt', '\n2 ', '\n2 nan '), 'no rotation and position|for a number'),
  'point': (_replace('points3D.txt', '# Points', '1 2'), 'line without a position'),
  'text': (lambda f: (f / 'images.txt').write_bytes(b'\xff'), 'not UTF-8'),
  'no lines of points': (
    lambda f: (f / 'images.txt').write_text('1 1 0 0 0 0 0 4 3 a.png\n2 1 0 0 0 0 0 4 3 b.png\n'),
    'no line of points after each photo',
  ),
  'nothing': (lambda f: (f / 'images.txt').write_text('# none'), 'has no frames'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_text_files_that_are_refused(tmp_path, case):
  change, message = REFUSED[case]
  scenes.write_colmap(tmp_path, RIG, [20.0, 20, 8, 8], points=POINTS, binary=False)
  change(tmp_path / 'sparse/0')
  with pytest.raises(UserError, match=message) as error:
    posed.load(tmp_path)
  assert '\n' not in str(error.value)


def test_a_binary_fisheye_and_a_pose_of_zeros(tmp_path):
  scenes.write_colmap(tmp_path, RIG, [20.0, 20, 8, 8, 0, 0, 0, 0], 'OPENCV_FISHEYE')
  with pytest.raises(UserError, match='fisheye camera .* colmap image_undistorter'):
    read(tmp_path)
  scenes.write_colmap(tmp_path, RIG, [20.0, 20, 8, 8])
  path = tmp_path / 'sparse/0/images.bin'
  data = path.read_bytes()
  path.write_bytes(data[:12] + bytes(32) + data[44:])
  with pytest.raises(UserError, match='no rotation and position'):
    read(tmp_path)
