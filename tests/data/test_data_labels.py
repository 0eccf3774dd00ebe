"""Labels under mirroring and cropping, tested where it matters: on projected points."""

import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.data import labels


def _label(seed=0, skew=0.07, centre=(0.43, 0.58)):
  """A camera in general position: yaw, pitch, roll, skew, off-centre principal point."""
  rng = np.random.default_rng(seed)
  rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
  if np.linalg.det(rotation) < 0:
    rotation[:, 0] *= -1
  cam2world = np.eye(4)
  cam2world[:3, :3] = rotation
  # So far behind along its own axis that the unit ball is in front of it.
  cam2world[:3, 3] = -4.0 * rotation[:, 2] + 0.2 * rng.normal(size=3)
  intrinsics = np.array([[1.3, skew, centre[0]], [0, 1.7, centre[1]], [0, 0, 1]])
  return np.concatenate([cam2world.ravel(), intrinsics.ravel()]).astype(np.float32)


def _project(label, points):
  """Normalised image coordinates [n, 2] of world points [n, 3]."""
  cam2world, intrinsics = label[:16].reshape(4, 4), label[16:].reshape(3, 3)
  camera = (points - cam2world[:3, 3]) @ cam2world[:3, :3]
  assert np.all(camera[:, 2] > 0)
  pixels = camera @ intrinsics.T
  return pixels[:, :2] / pixels[:, 2:]


@pytest.mark.parametrize('seed', range(5))
def test_mirrored_camera_sees_the_mirrored_point_mirrored(seed):
  label = _label(seed)
  points = np.random.default_rng(seed).uniform(-0.5, 0.5, (20, 3))
  u, v = _project(label, points).T
  mirrored = _project(labels.mirror(label), points * [-1, 1, 1])
  np.testing.assert_allclose(mirrored, np.stack([1 - u, v], -1), atol=1e-5)


def test_mirrored_camera_is_a_camera():
  label = _label()
  rotation = labels.mirror(label)[:16].reshape(4, 4)[:3, :3]
  np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-6)
  assert np.linalg.det(rotation) > 0.99
  np.testing.assert_allclose(labels.mirror(labels.mirror(label)), label, atol=1e-6)


def test_mirroring_negates_the_azimuth():
  right = np.asarray(cameras.orbit(0.4, 0.2, 2.0, 30.0).label())
  left = np.asarray(cameras.orbit(-0.4, 0.2, 2.0, 30.0).label())
  np.testing.assert_allclose(labels.mirror(right), left, atol=1e-5)


def test_cropped_label_projects_into_the_crop():
  label, height, width, box = _label(), 40, 60, (7, 5, 25)
  points = np.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))
  u, v = _project(label, points).T
  left, top, size = box
  expected = np.stack([(u * width - left) / size, (v * height - top) / size], -1)
  actual = _project(labels.crop(label, height, width, box), points)
  np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_a_crop_of_everything_changes_nothing():
  label = _label()
  np.testing.assert_array_equal(labels.crop(label, 64, 64, (0, 0, 64)), label)


def test_statistics_of_parts_add_up():
  table = np.stack([_label(seed) for seed in range(10)])
  total = labels.sums(table[:3]) + labels.sums(table[3:])
  statistics = labels.statistics(total)
  assert statistics['count'] == 10
  np.testing.assert_allclose(statistics['mean'], table.mean(0), atol=1e-6)
  np.testing.assert_allclose(statistics['std'], table.std(0), atol=1e-5)


def test_pose_statistics_are_those_of_the_cameras():
  yaw, pitch = np.array([1.2, 1.9, 1.5]), np.array([1.4, 1.7, 1.5])
  table = np.stack(
    [np.asarray(cameras.from_yaw_pitch(y, p).label()) for y, p in zip(yaw, pitch, strict=True)]
  )
  statistics = labels.statistics(labels.sums(table))
  np.testing.assert_allclose(statistics['yaw_mean'], yaw.mean(), atol=1e-5)
  np.testing.assert_allclose(statistics['pitch_std'], pitch.std(), atol=1e-5)


def test_no_labels_no_statistics():
  assert labels.statistics(labels.sums(np.zeros((0, 25)))) is None
