"""Posed scenes: each format gives the same cameras; splits, archives, files that are refused."""

import json
import math
import shutil
import tarfile
import zipfile

import numpy as np
import posed_scenes as scenes
import pytest

from jax3dgan import cameras
from jax3dgan.data import images, posed
from jax3dgan.errors import UserError

ANGLE = 0.9
FOCAL = 8 / math.tan(ANGLE / 2)  # of 16 pixels
RIG = scenes.poses()
WIDE = {'fl_x': 20.0, 'fl_y': 22.0, 'cx': 11.0, 'cy': 9.0, 'w': 24, 'h': 16}
WIDE_INTRINSICS = cameras.pixel_intrinsics(20, 22, 11, 9, 24, 16)


def labels_of(rig, intrinsics):
  """By the library's other door: Blender's matrices."""
  matrices = np.array([scenes.opengl(pose) for pose in rig])
  return np.asarray(cameras.from_blender(matrices, intrinsics).label())


def write(folder, kind):
  """A scene of square photos with one format's files; options to read it as it is."""
  scenes.write_photos(folder / ('train' if kind == 'blender' else 'images'), len(RIG))
  colmap = {'framing': 'none', 'up': 'z'}
  if kind == 'blender':
    scenes.write_transforms(folder, RIG, 'transforms_train.json', 'train', '', camera_angle_x=ANGLE)
  elif kind == 'instant-ngp':
    angles = {'camera_angle_x': ANGLE, 'camera_angle_y': ANGLE}
    scenes.write_transforms(folder, RIG, aabb_scale=4, **angles)
  elif kind == 'nerfstudio':
    pixels = {'fl_x': FOCAL, 'fl_y': FOCAL, 'cx': 8.0, 'cy': 8.0, 'w': 16, 'h': 16}
    scenes.write_transforms(folder, RIG, camera_model='OPENCV', k1=0.0, p2=0.0, **pixels)
  elif kind == 'colmap-text':
    scenes.write_colmap(folder, RIG, [FOCAL, 8, 8], 'SIMPLE_PINHOLE', binary=False)
    return colmap
  else:
    scenes.write_colmap(folder, RIG, [FOCAL, FOCAL, 8, 8], 'PINHOLE')
    return colmap
  return {'framing': 'none'}


@pytest.mark.parametrize(
  'kind', ['blender', 'instant-ngp', 'nerfstudio', 'colmap-text', 'colmap-binary']
)
def test_each_format_gives_the_same_labels(tmp_path, kind):
  options = write(tmp_path, kind)
  views = posed.load(tmp_path, **options)
  assert [name.rpartition('/')[2].partition('.')[0] for name in views.names] == [
    f'img_{i}' for i in range(len(RIG))
  ]
  expected = labels_of(RIG, cameras.intrinsics_from_fov(math.degrees(ANGLE)))
  np.testing.assert_allclose(views.labels, expected, atol=2e-6)
  for i, image in enumerate(views.images):
    np.testing.assert_array_equal(image, scenes.photo(i))


def test_intrinsics_of_all_frames_of_each_and_of_other_sizes(tmp_path):
  scenes.write_photos(tmp_path / 'images', 5, 16, 24)
  frames = [
    {'file_path': 'images\\img_0.png', 'transform_matrix': scenes.opengl(RIG[0])},
    {'file_path': 'images/img_1', 'transform_matrix': scenes.opengl(RIG[1])[:3], 'fl_x': 30.0},
    # A copy of half the size, of whose original the pixels are.
    {'file_path': 'images/img_2.png', 'transform_matrix': scenes.opengl(RIG[2])},
    {'file_path': 'images/img_3.png', 'transform_matrix': scenes.opengl(RIG[3])},
  ]
  (tmp_path / 'images/img_2.png').write_bytes(images.encode_png(scenes.photo(2, 8, 12)))
  frames[3] |= {'fl_y': None, 'w': None, 'h': None, 'cx': None}  # pixels of the photo itself
  scenes.write_transforms(tmp_path, RIG, frames=frames, **WIDE)
  views = posed.load(tmp_path, framing='none')
  assert [image.shape for image in views.images] == [(16, 24, 3)] * 2 + [(8, 12, 3), (16, 24, 3)]
  expected = np.stack([WIDE_INTRINSICS] * 4)
  expected[1, 0, 0] = 30 / 24
  expected[3] = cameras.pixel_intrinsics(20, 20, 12, 9, 24, 16)
  np.testing.assert_allclose(views.labels, labels_of(RIG[:4], expected), atol=2e-6)


def test_a_field_of_view_of_photos_that_are_not_square(tmp_path):
  scenes.write_photos(tmp_path / 'images', 5, 16, 24)
  scenes.write_transforms(tmp_path, RIG, camera_angle_x=ANGLE)
  focal = 0.5 / math.tan(ANGLE / 2)
  label = posed.load(tmp_path).labels[0]
  np.testing.assert_allclose(label[[16, 20, 18, 21]], [focal, focal * 1.5, 0.5, 0.5], rtol=1e-6)
  square = posed.load(tmp_path, resolution=16).labels[0]  # the crop is 16 of 24 columns
  np.testing.assert_allclose(square[[16, 20, 18, 21]], [focal * 1.5] * 2 + [0.5] * 2, rtol=1e-6)


def test_what_a_camera_shows_stays_where_it_is_in_the_picture(tmp_path):
  """A point of the file's world, projected by hand and by the label, through framing and crop."""
  rig = scenes.poses(target=(3.0, -2.0, 1.0), distance=10.0)
  scenes.write_photos(tmp_path / 'images', 5, 16, 24)
  scenes.write_transforms(tmp_path, rig, **WIDE)
  views = posed.load(tmp_path, resolution=8)
  point = np.array([3.3, -2.1, 0.8])
  moved = (views.framing.matrix @ [*point, 1])[:3]
  assert views.framing.scale == pytest.approx(0.4)
  for pose, label in zip(rig, views.labels, strict=True):
    x, y, z = (np.linalg.inv(pose) @ [*point, 1])[:3]
    column, row = 20 * x / z + 11, 22 * y / z + 9
    uv, _ = cameras.project(cameras.from_label(label), np.float32(moved)[None])
    np.testing.assert_allclose(uv[0], [(column - 4) / 16, row / 16], atol=2e-6)


def test_splits_of_nerf_synthetic_share_a_framing(tmp_path):
  rig = scenes.poses(9, target=(5.0, 0.0, 0.0))
  for split, part in (('train', rig[:5]), ('val', rig[5:6]), ('test', rig[6:])):
    scenes.write_photos(tmp_path / split, len(part))
    name = f'transforms_{split}.json'
    scenes.write_transforms(tmp_path, part, name, split, '', camera_angle_x=ANGLE)
  scene = posed.Scene(tmp_path)
  assert {split: len(frames) for split, frames in scene.splits.items()} == {
    'train': 5,
    'val': 1,
    'test': 3,
  }
  train, test = (posed.load(tmp_path, split) for split in ('train', 'test'))
  np.testing.assert_array_equal(train.framing.centre, test.framing.centre)
  np.testing.assert_allclose(test.framing.centre, [5, 0, 0], atol=1e-9)
  assert len(test.names) == 3
  with pytest.raises(UserError, match='has views for the split test already'):
    posed.Scene(tmp_path, posed.Options(hold_out=8))


def test_splits_of_nerfstudio_and_views_held_out(tmp_path):
  scenes.write_photos(tmp_path / 'images', 5)
  names = [f'images/img_{i}.png' for i in range(5)]
  lists = {'train_filenames': names[:3], 'test_filenames': ['./' + names[4]]}
  scenes.write_transforms(tmp_path, RIG, fl_x=FOCAL, **lists)
  assert posed.load(tmp_path, 'test').names == [names[4]]
  scenes.write_transforms(tmp_path, RIG, fl_x=FOCAL)
  assert posed.load(tmp_path, 'test', hold_out=2).names == names[::2]
  assert posed.load(tmp_path, 'train', hold_out=2).names == names[1::2]
  assert posed.load(tmp_path).names == names
  with pytest.raises(UserError, match='has no split test, only train: .*--hold-out=8'):
    posed.load(tmp_path, 'test')
  scenes.write_transforms(tmp_path, RIG, fl_x=FOCAL, val_filenames=['other.png'])
  with pytest.raises(UserError, match="val_filenames has 'other.png', which is no frame"):
    posed.load(tmp_path)


def test_names_are_in_the_order_of_their_numbers(tmp_path):
  rig = scenes.poses(12)
  scenes.write_photos(tmp_path / 'images', 12)
  scenes.write_transforms(tmp_path, rig, fl_x=FOCAL)
  assert posed.load(tmp_path).names == [f'images/img_{i}.png' for i in range(12)]


@pytest.mark.parametrize('kind', ['blender', 'colmap-binary'])
def test_archives(tmp_path, kind):
  options = write(tmp_path / 'in' / 'scene', kind)
  expected = posed.load(tmp_path / 'in' / 'scene', **options)
  with tarfile.open(tmp_path / 'scene.tar', 'w') as archive:
    archive.add(tmp_path / 'in' / 'scene', './scene')
  shutil.make_archive(tmp_path / 'scene', 'zip', tmp_path / 'in')
  for path in (tmp_path / 'in', tmp_path / 'scene.tar', tmp_path / 'scene.zip'):
    assert posed.is_scene(path)
    views = posed.load(path, **options)
    assert views.names == expected.names
    np.testing.assert_array_equal(views.images, expected.images)
    np.testing.assert_array_equal(views.labels, expected.labels)


def test_archives_that_are_damaged_or_packed(tmp_path):
  write(tmp_path / 'in', 'blender')
  with tarfile.open(tmp_path / 'packed.tar', 'w:gz') as archive:
    archive.add(tmp_path / 'in', 'scene')
  with pytest.raises(UserError, match='nor an uncompressed tar .* Unpack it'):
    posed.is_scene(tmp_path / 'packed.tar')
  with tarfile.open(tmp_path / 'cut.tar', 'w') as archive:
    archive.add(tmp_path / 'in', 'scene')
  data = (tmp_path / 'cut.tar').read_bytes()
  (tmp_path / 'cut.tar').write_bytes(data[: data.rindex(b'IEND')])
  with pytest.raises(UserError, match='cut short|uncompressed tar'):
    posed.is_scene(tmp_path / 'cut.tar')
  with zipfile.ZipFile(tmp_path / 'scene.zip', 'w') as archive:
    archive.write(tmp_path / 'in/transforms_train.json', 'transforms_train.json')
  with pytest.raises(UserError, match='5 of 5 photos .* such as train/img_0: missing'):
    posed.load(tmp_path / 'scene.zip')


def test_what_is_a_scene(tmp_path):
  scenes.write_photos(tmp_path / 'photos', 1)
  assert not posed.is_scene(tmp_path / 'photos') and not posed.is_scene('tfds:celeb_a')
  write(tmp_path / 'scenes' / 'a', 'blender')
  assert posed.is_scene(tmp_path / 'scenes')
  (tmp_path / 'scenes' / 'a' / 'dataset.json').write_text('{"labels": null}')
  assert not posed.is_scene(tmp_path / 'scenes' / 'a')
  assert not posed.is_scene(tmp_path / 'scenes')
  for i in range(101):
    (tmp_path / 'many' / f'{i}').mkdir(parents=True)
  shutil.copy(tmp_path / 'scenes/a/transforms_train.json', tmp_path / 'many/50')
  assert not posed.is_scene(tmp_path / 'many')
  write(tmp_path / 'scenes' / 'b', 'colmap-text')
  with pytest.raises(UserError, match='of which a, b are scenes. Name the folder of one'):
    posed.is_scene(tmp_path / 'scenes')
  with pytest.raises(UserError, match='is no scene with cameras'):
    posed.load(tmp_path / 'photos')
  with pytest.raises(UserError, match='does not exist'):
    posed.load(tmp_path / 'nowhere')


def test_photos_as_stored_on_a_background(tmp_path):
  """Transparency goes; an EXIF orientation is not applied, as intrinsics are of the stored one."""
  from PIL import Image

  (tmp_path / 'images').mkdir()
  rgba = np.zeros((16, 24, 4), np.uint8)
  rgba[..., 0], rgba[..., 3] = 200, 51  # red, a fifth opaque
  exif = Image.Exif()
  exif[0x0112] = 6  # a quarter turn
  Image.fromarray(rgba).save(tmp_path / 'images/img_0.png', exif=exif)
  scenes.write_transforms(tmp_path, RIG[:1], fl_x=FOCAL)
  for background, expected in (('white', [244, 204, 204]), ('black', [40, 0, 0])):
    (image,) = posed.load(tmp_path, background=background, framing='none').images
    assert image.shape == (16, 24, 3)
    np.testing.assert_array_equal(image[3, 5], expected)


def _frame(**changes):
  frame = {'file_path': 'images/img_0.png', 'transform_matrix': scenes.opengl(RIG[0])}
  frame = {**frame, **changes}
  return {name: value for name, value in frame.items() if value is not None}


def _matrix(change):
  return change(np.array(scenes.opengl(RIG[0]))).tolist()


def _far(matrix):
  return matrix + np.outer([1e12, 0, 0, 0], [0, 0, 0, 1])


REFUSED = {
  'no frames': ({'frames': []}, 'has no frames'),
  'frames are no list': ({'frames': 3}, 'no list of frames'),
  'no matrix': (
    {'frames': [_frame(transform_matrix=None)]},
    r'png\) has no transform_matrix',
  ),
  'no name': ({'frames': [_frame(file_path=None)]}, 'frame 0 has no file_path'),
  'twice': ({'frames': [_frame(), _frame()]}, 'img_0.png more than once'),
  'shape': ({'frames': [_frame(transform_matrix=_matrix(lambda m: m[:2]))]}, r'is \[2, 4\], not'),
  'ragged': ({'frames': [_frame(transform_matrix=[[1, 2], [3]])]}, 'not 4 x 4 numbers'),
  'words': ({'frames': [_frame(transform_matrix='eye')]}, 'not 4 x 4 numbers'),
  'NaN': ({'frames': [_frame(transform_matrix=_matrix(lambda m: m * np.nan))]}, 'not finite'),
  'scaled': (
    {'frames': [_frame(transform_matrix=_matrix(lambda m: 2 * m))]},
    'not a rotation and',
  ),
  'transposed': (
    {'frames': [_frame(transform_matrix=_matrix(np.transpose))]},
    'not a rotation and',
  ),
  'fisheye': ({'camera_model': 'OPENCV_FISHEYE'}, r'fisheye camera .* colmap image_undistorter'),
  'ngp fisheye': ({'is_fisheye': True}, 'fisheye camera'),
  'ngp f-theta': ({'ftheta_p0': 0.1}, 'fisheye camera'),
  'equirectangular': ({'camera_model': 'EQUIRECTANGULAR'}, 'equirectangular camera .* Cut persp'),
  'one equirectangular': ({'frames': [_frame(equirectangular=True)]}, 'equirectangular camera'),
  'orthographic': ({'camera_model': 'ORTHOPHOTO'}, 'orthographic camera'),
  'another': ({'camera_model': 'THIN'}, 'camera model THIN, which is not read'),
  'no focal length': ({'fl_x': None}, 'has no intrinsics. Add fl_x'),
  'zero focal length': ({'fl_x': 0.0}, 'not above 0'),
  'endless focal length': ({'fl_x': float('nan')}, 'not finite'),
  'focal length as text': ({'fl_x': '20'}, "fl_x is '20', not a number"),
  'long whole number': ({'fl_x': 10**400}, 'not finite'),
  'long whole numbers': ({'frames': [_frame(transform_matrix=[[10**400]])]}, 'not 4 x 4 numbers'),
  'half a turn': ({'camera_angle_x': 3.2}, 'not between 0 and'),
  'k4': ({'k4': 0.1}, 'k4, which has two meanings'),
  'ngp cube': ({'aabb_scale': 0}, 'of no cube'),
  'huge cube': ({'scale': 1e-300}, 'of no cube'),
  'huge principal point': ({'cx': 1e300}, 'or beyond 1e'),
  'far away': ({'frames': [_frame(transform_matrix=_matrix(_far))]}, 'farther than 1e'),
  'ngp offset': ({'offset': [1, 2]}, 'offset is not one number or three'),
  'mitsuba': ({'from_mitsuba': True}, 'from_mitsuba, whose axes are not read'),
  'applied': ({'applied_transform': [[1, 2]]}, 'applied_transform is not'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_transforms_that_are_refused(tmp_path, case):
  changes, message = REFUSED[case]
  scenes.write_transforms(tmp_path, RIG, **{'fl_x': FOCAL, **changes})
  with pytest.raises(UserError, match=message) as error:
    posed.load(tmp_path)
  assert '\n' not in str(error.value) and str(error.value).endswith('.')


@pytest.mark.parametrize('text', ['{', '[]', '\xff', '{"frames": [1]}'])
def test_files_that_are_no_transforms(tmp_path, text):
  (tmp_path / 'transforms.json').write_bytes(text.encode('latin-1'))
  with pytest.raises(UserError, match='not JSON|no list of frames|not UTF-8'):
    posed.load(tmp_path)


def test_photos_that_cannot_be_used(tmp_path):
  rig = scenes.poses(30)
  scenes.write_photos(tmp_path / 'images', 30)
  (tmp_path / 'images/img_4.png').unlink()
  (tmp_path / 'images/img_7.png').write_bytes(images.encode_png(scenes.photo(0, 16, 12)))
  (tmp_path / 'images/img_9.png').write_bytes(b'no picture')
  scenes.write_transforms(tmp_path, rig, fl_x=FOCAL, w=16, h=16)
  views = posed.load(tmp_path, resolution=8)
  assert views.images.shape == (27, 8, 8, 3) and views.labels.shape == (27, 25)
  assert views.left_out == {
    'images/img_4.png': 'missing',
    'images/img_7.png': 'not of the shape of its camera (12 x 16, 16 x 16)',
    'images/img_9.png': 'not an image',
  }


def test_a_file_outside_of_the_scene_is_not_read(tmp_path):
  write(tmp_path / 'scene', 'blender')
  (tmp_path / 'other.png').write_bytes(images.encode_png(scenes.photo(0)))
  frames = [_frame(file_path='../other.png'), _frame(file_path=str(tmp_path / 'other.png'))]
  name = 'transforms_train.json'
  scenes.write_transforms(tmp_path / 'scene', RIG, name, camera_angle_x=ANGLE, frames=frames)
  with pytest.raises(UserError, match='2 of 2 photos .* missing'):
    posed.load(tmp_path / 'scene', framing='none')


def test_an_applied_transform_is_kept_and_changes_nothing(tmp_path):
  write(tmp_path, 'nerfstudio')
  expected = posed.load(tmp_path)
  document = json.loads((tmp_path / 'transforms.json').read_text())
  document['applied_transform'] = [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 2]]
  (tmp_path / 'transforms.json').write_text(json.dumps(document))
  views = posed.load(tmp_path)
  np.testing.assert_array_equal(views.labels, expected.labels)
  kept = views.framing.as_dict()['applied_transform']
  assert kept == [*document['applied_transform'], [0, 0, 0, 1]]


@pytest.mark.parametrize('archive', [False, True])
def test_photos_of_another_case_or_composition_are_found(tmp_path, archive):
  folder = tmp_path / 'scene'
  scenes.write_photos(folder / 'Bäder', len(RIG))  # as this file has it: composed
  decomposed = 'BA\u0308DER'
  scenes.write_transforms(folder, RIG, photos=decomposed, ext='.PNG', camera_angle_x=ANGLE)
  path = shutil.make_archive(tmp_path / 'x', 'zip', folder) if archive else folder
  views = posed.load(path)
  assert len(views.names) == len(RIG) and not views.left_out
  np.testing.assert_array_equal(views.images[1], scenes.photo(1))


def test_poses_with_three_decimals(tmp_path):
  scenes.write_photos(tmp_path / 'images', len(RIG))
  frames = [
    {'file_path': f'images/img_{i}.png', 'transform_matrix': np.round(scenes.opengl(p), 3).tolist()}
    for i, p in enumerate(RIG)
  ]
  frames[0]['transform_matrix'] = frames[0]['transform_matrix'][:3]  # rows of 3 and of 4 mixed
  scenes.write_transforms(tmp_path, RIG, frames=frames, camera_angle_x=ANGLE)
  expected = labels_of(RIG, cameras.intrinsics_from_fov(math.degrees(ANGLE)))
  views = posed.load(tmp_path, framing='none')
  np.testing.assert_allclose(views.labels, expected, atol=3e-3)


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda d: {**d, 'w': 0, 'h': 16}, 'above 0'),
    (lambda d: [d], 'no list of frames'),
    (lambda d: {**d, 'frames': {'0': {}}}, 'no list of frames'),
    (lambda d: {**d, 'frames': [{**d['frames'][0], 'transform_matrix': None}]}, 'transform_matrix'),
  ],
)
def test_files_of_another_form_are_one_line(tmp_path, change, message):
  scenes.write_photos(tmp_path / 'images', 1)
  scenes.write_transforms(tmp_path, RIG[:1], camera_angle_x=ANGLE)
  path = tmp_path / 'transforms.json'
  path.write_text(json.dumps(change(json.loads(path.read_text()))))
  with pytest.raises(UserError, match=message) as error:
    posed.load(tmp_path)
  assert '\n' not in str(error.value)
