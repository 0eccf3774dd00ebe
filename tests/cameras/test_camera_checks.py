"""What is refused as a camera, and what is only odd: the same for every way in."""

import math
import re

import numpy as np
import pytest

from jax3dgan import camera_checks, cameras, lenses
from jax3dgan.errors import UserError


def _labels(count=8, radius=2.7, focal=4.2647):
  """[n, 25] of cameras around the origin at some elevation, by hand in float64."""
  result = []
  for i in range(count):
    azimuth, elevation = 0.5 * math.sin(i), 0.2 * math.cos(i)
    direction = np.array(
      [
        math.cos(elevation) * math.sin(azimuth),
        math.sin(elevation),
        math.cos(elevation) * math.cos(azimuth),
      ]
    )
    right = np.cross(-direction, [0, 1, 0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(-direction, right), -direction, radius * direction], 1)
    k = [focal, 0, 0.5, 0, focal, 0.5, 0, 0, 1]
    result.append([*pose.ravel(), *k])
  return np.array(result)


def _changed(change):
  labels = _labels()
  poses, k = labels[:, :16].reshape(-1, 4, 4), labels[:, 16:].reshape(-1, 3, 3)
  change(poses, k)
  return np.concatenate([poses.reshape(-1, 16), k.reshape(-1, 9)], axis=1)


def _pixels(poses, k):
  k[:, :2] *= 512


def _scaled(poses, k):
  poses[:, :3, :3] *= 0.1


def _mirrored(poses, k):
  poses[:, :3, 0] *= -1


def _transposed(poses, k):
  poses[:] = np.swapaxes(poses, -1, -2).copy()


def _zeros(poses, k):
  poses[:], k[:] = 0, 0


def _no_focal(poses, k):
  k[:, 0, 0] = 0


def _transposed_intrinsics(poses, k):
  k[:] = np.swapaxes(k, -1, -2).copy()


@pytest.mark.parametrize(
  'change, message',
  [
    (_pixels, 'in pixels'),
    (_scaled, 'axes are 0.1 long'),
    (_mirrored, 'mirrors space'),
    (_transposed, 'is the transpose'),
    (_zeros, 'all its numbers are 0'),
    (_no_focal, 'focal length of 0'),
    (_transposed_intrinsics, 'row by row'),
  ],
)
def test_what_is_no_camera_is_refused_at_every_door(change, message):
  label = _changed(change)
  with pytest.raises(UserError, match=message):
    camera_checks.check_labels(label)
  with pytest.raises(UserError, match=message):
    cameras.from_label(label.astype(np.float32))
  pose, k = label[:, :16].reshape(-1, 4, 4), label[:, 16:].reshape(-1, 3, 3)
  with pytest.raises(UserError, match=message):
    cameras.from_opencv(pose, k)


def _opengl(poses, k):
  poses[:, :3, 1:3] *= -1


def _world2cam(poses, k):
  poses[:] = np.linalg.inv(poses)


def _one_place(poses, k):
  poses[:] = poses[0]


def _around(poses, k):
  poses[:, :3, 3] = 0


def _aside(poses, k):
  k[:, 0, 2] = -0.5


def _far_world(poses, k):
  poses[:, :3, 3] += [0, 0, -30]


@pytest.mark.parametrize(
  'change, message',
  [
    (_opengl, 'OpenGL axes they look at it: .*, unless .* outwards'),
    (_around, r'one place \(0 0 0\)\. Is this cam2world\?$'),
    (_world2cam, 'seem to be world2cam'),
    (_one_place, 'are the same'),
    (_aside, 'outside of 100% of the images'),
    (_far_world, 'look away from the origin'),
  ],
)
def test_what_is_odd_is_one_line(change, message):
  labels = _changed(change)
  camera_checks.check_labels(labels)  # legal
  (line,) = camera_checks.oddities(labels)
  assert re.search(message, line) and '\n' not in line


def test_usual_cameras_are_not_odd():
  labels = _labels()
  assert camera_checks.oddities(labels) == [] == camera_checks.oddities(labels[:1])
  assert camera_checks.oddities(labels[:0]) == []
  # The nearest ones of a scene around its cameras, at the origin: they show it, whatever it is.
  np.testing.assert_array_equal(camera_checks.check_labels(labels), labels)


def test_photos_of_one_camera_can_be_inverted():
  labels = _changed(_one_place)
  assert camera_checks.oddities(labels, of_training=False) == []


def test_three_decimals_are_enough():
  labels = _labels(40)
  poses = labels[:, :16].reshape(-1, 4, 4)
  apart = 0.0
  for pose in poses:
    rounded = np.round(pose, 3)
    found = camera_checks.check_pose(rounded)
    rotation = found[:3, :3]
    apart = max(apart, np.abs(rounded[:3, :3].T @ rounded[:3, :3] - np.eye(3)).max())
    np.testing.assert_allclose(found, pose, atol=1e-3)
    assert np.abs(rotation.T @ rotation - np.eye(3)).max() < 1e-3
  assert apart > 1e-3  # the test has a pose that is not a rotation as it stands
  with pytest.raises(UserError, match='three decimals'):
    camera_checks.check_pose(np.round(poses[1] * 20) / 20)


def test_numbers_beyond_float32():
  pose = np.eye(4)
  for value in (np.nan, np.inf, 1e200):
    pose[0, 3] = value
    with pytest.raises(UserError, match='not finite'):
      cameras.from_opencv(pose, np.diag([1.0, 1.0, 1.0]))


FRAME = {'transform_matrix': np.eye(4).tolist()}


def _nerf(frame=None, **entries):
  return cameras.from_nerf({**entries, 'frames': [{**FRAME, **(frame or {})}]})


@pytest.mark.parametrize(
  'entries, message',
  [
    ({'camera_model': 'OPENCV_FISHEYE'}, 'fisheye'),
    ({'camera_model': 'EQUIRECTANGULAR'}, 'of an equirectangular'),
    ({'is_fisheye': True}, 'fisheye'),
    ({'k1': -0.4}, 'lens distortion'),
    ({'frame': {'transform_matrix': None}}, 'frame 0 has no transform_matrix'),
    ({'frame': {'transform_matrix': [[1, 2], [3]]}}, 'frame 0: its transform_matrix'),
    ({'w': 0, 'h': 10}, 'w is 0'),
    ({'w': '12', 'h': 10}, 'not a number'),
    ({'cx': 4.0}, 'without w and h'),
    ({'camera_angle_x': 4.0}, 'not below'),
  ],
)
def test_a_transforms_json_that_is_no_pinhole(entries, message):
  with pytest.raises(UserError, match=message) as error:
    _nerf(**{'camera_angle_x': 0.8, **entries})
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('document', [[], {}, {'frames': {}}, {'frames': [3]}, {'frames': []}])
def test_a_transforms_json_of_another_form(document):
  with pytest.raises(UserError, match='This transforms.json'):
    cameras.from_nerf(document)


def test_fields_of_view_keep_the_principal_point_and_the_second_angle():
  camera = _nerf(camera_angle_x=0.8, camera_angle_y=0.5, cx=7.0, cy=6.0, w=20, h=10)
  fx, fy = 0.5 / math.tan(0.4), 0.5 / math.tan(0.25)
  np.testing.assert_allclose(
    camera.intrinsics[0], [[fx, 0, 0.35], [0, fy, 0.6], [0, 0, 1]], atol=1e-6
  )


def test_matrices_of_three_and_of_four_rows_go_together():
  frames = [FRAME, {'transform_matrix': np.eye(4)[:3].tolist()}]
  camera = cameras.from_nerf({'camera_angle_x': 0.8, 'frames': frames})
  np.testing.assert_array_equal(camera.cam2world[0], camera.cam2world[1])


def test_little_distortion_is_left_out():
  camera = _nerf(camera_angle_x=0.8, k1=0.001)
  np.testing.assert_array_equal(camera.intrinsics, _nerf(camera_angle_x=0.8).intrinsics)
  # At a corner x = y = t: it moves by k1·2t²·t, times the focal length.
  focal = 0.5 / math.tan(0.4)
  matrix = np.array([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])
  t = 0.5 / focal
  assert lenses.largest_shift(matrix, (0.3,)) == pytest.approx(0.3 * 2 * t**3 * focal)
