"""Where posed scenes stand: centres, scales and limits in closed form, and the way back."""

import math

import numpy as np
import posed_scenes as scenes
import pytest
from scipy.spatial.transform import Rotation

from jax3dgan import camera_checks
from jax3dgan.cameras import formats
from jax3dgan.data.posed import framing
from jax3dgan.data.posed.frames import Capture, Frame
from jax3dgan.data.posed.lens import Lens
from jax3dgan.errors import UserError

ANGLE = 0.7
TARGET = np.array([3.0, -2.0, 1.0])


def capture(rig, up='z', points=(), **others):
  lens = Lens(angle_x=ANGLE)
  frames = [Frame(f'{i}', '', pose, lens) for i, pose in enumerate(rig)]
  points = np.array(points, np.float64).reshape(-1, 3)
  return Capture('test', {'train': frames}, up, points, **others)


def looking_along(direction, origins):
  """Cameras [n, 4, 4] of one direction."""
  pose = scenes.poses(1, elevation=0.0)[0]
  turn, _ = Rotation.align_vectors([direction], [pose[:3, 2]])
  pose[:3, :3] = turn.as_matrix() @ pose[:3, :3]
  rig = np.stack([pose] * len(origins))
  rig[:, :3, 3] = origins
  return rig


def test_a_ring_of_cameras():
  found = framing.find(capture(scenes.poses(6, TARGET, distance=10.0)))
  np.testing.assert_allclose(found.centre, TARGET, atol=1e-9)
  assert found.scale == pytest.approx(framing.RADIUS / 10)
  assert found.radius == pytest.approx(framing.RADIUS)
  np.testing.assert_array_equal(found.rotation, formats.Z_UP_TO_Y_UP)
  # The sphere that the rays of the corners touch, and a tenth.
  corner = math.atan(math.sqrt(2) * math.tan(ANGLE / 2))
  sphere = framing.RADIUS * math.sin(corner)
  assert found.near == pytest.approx(0.9 * (framing.RADIUS - sphere), rel=5e-3)
  assert found.far == pytest.approx(1.1 * (framing.RADIUS + sphere), rel=5e-3)
  pose = found.pose(scenes.poses(6, TARGET, distance=10.0))
  np.testing.assert_allclose(np.linalg.norm(pose[:, :3, 3], axis=-1), framing.RADIUS)
  toward = -pose[:, :3, 3] / framing.RADIUS
  np.testing.assert_allclose(pose[:, :3, 2], toward, atol=1e-9)  # all look at the origin
  np.testing.assert_allclose(pose[:, 1, 3], framing.RADIUS * math.sin(0.4))  # and y is up


def test_there_and_back():
  found = framing.find(capture(scenes.poses(6, TARGET, 10.0)))
  points = np.random.default_rng(0).normal(size=(4, 5, 3))
  moved = points @ found.matrix[:3, :3].T + found.matrix[:3, 3]
  np.testing.assert_allclose(found.to_file(moved), points, atol=1e-12)
  values = found.as_dict()
  both = np.array(values['file_to_world']) @ np.array(values['world_to_file'])
  np.testing.assert_allclose(both, np.eye(4), atol=1e-12)
  np.testing.assert_allclose(moved[0, 0], found.scale * found.rotation @ (points[0, 0] - TARGET))


def test_a_world_that_fits_stays():
  for target, distance in (((0, 0, 0), 4.03), ((0.05, 0, 0), 3.9)):
    found = framing.find(capture(scenes.poses(6, target, distance)))
    assert found.scale == 1 and not found.centre.any()
  found = framing.find(capture(scenes.poses(6, (0.5, 0, 0), 4.0)))
  np.testing.assert_allclose(found.centre, [0.5, 0, 0], atol=1e-9)


def test_what_the_user_says():
  of_ring = capture(scenes.poses(6, TARGET, 10.0))
  found = framing.find(of_ring, 'none')
  assert found.scale == 1 and not found.centre.any()
  np.testing.assert_array_equal(found.rotation, formats.Z_UP_TO_Y_UP)
  np.testing.assert_array_equal(framing.find(of_ring, 'none', up='y').rotation, np.eye(3))
  found = framing.find(of_ring, scale=0.5)
  np.testing.assert_allclose(found.centre, TARGET, atol=1e-9)
  assert found.scale == 0.5 and found.radius == pytest.approx(5.0)
  found = framing.find(of_ring, centre=TARGET + [0, 0, 10])
  distance = np.linalg.norm(scenes.poses(6, (0, 0, 0), 10.0)[0, :3, 3] - [0, 0, 10])
  assert found.scale == pytest.approx(framing.RADIUS / distance)
  found = framing.find(of_ring, scale=2.0, centre=(1, 2, 3))
  assert found.scale == 2 and found.centre.tolist() == [1, 2, 3]


@pytest.mark.parametrize('up', framing.UPS[1:])
def test_up(up):
  found = framing.find(capture(scenes.poses(6)), 'none', up=up)
  axis = np.zeros(3)
  axis['xyz'.index(up[-1])] = -1 if up[0] == '-' else 1
  np.testing.assert_allclose(found.rotation @ axis, [0, 1, 0], atol=1e-12)
  assert np.linalg.det(found.rotation) == pytest.approx(1)


def test_a_world_of_any_orientation_and_size():
  """COLMAP's: turned, moved and scaled anyhow, the cameras come out the same, and in front."""
  rig = scenes.poses(7, TARGET, 5.0, arc=1.5)
  results = []
  for seed in range(4):
    rotation = Rotation.random(random_state=seed).as_matrix()
    moved = formats.move_pose(rig, rotation, [1.0 * seed, 2.0, 3.0], 1.0 + seed)
    results.append(framing.find(capture(moved, 'auto')).pose(moved))
  for other in results[1:]:
    np.testing.assert_allclose(other, results[0], atol=1e-9)
  mean = results[0][:, :3, 3].mean(0)
  assert abs(mean[0]) < 1e-9 and mean[2] > 2
  assert results[0][:, 1, 1].max() < -0.5  # upright: the camera's y axis points down


def test_parallel_cameras_need_points_or_words():
  rig = looking_along([1, 0, 0], [[0, i, 0] for i in range(4)])
  with pytest.raises(UserError, match='do not look at one point.*--centre=X,Y,Z'):
    framing.find(capture(rig))
  assert framing.find(capture(rig), 'none').scale == 1
  assert framing.find(capture(rig), scale=1.0, centre=(5, 0, 0)).centre.tolist() == [5, 0, 0]
  points = [[8, 1, 0], [8, 2, 0], [9, 1.5, 0.5], [8, 1.5, 0.1], [800, 0, 0]]
  found = framing.find(capture(rig, points=points))
  assert found.centre.tolist() == [8, 1.5, 0]


def test_cameras_that_look_outwards():
  rig = scenes.poses(8, distance=1.0, elevation=0.0)
  rig[:, :3, :3] = rig[:, :3, :3] @ np.diag([-1.0, 1.0, -1.0])
  with pytest.raises(UserError, match='do not look at one point'):
    framing.find(capture(rig))
  one = np.stack([np.eye(4)] * 3)
  with pytest.raises(UserError, match='All cameras are at one place'):
    framing.find(capture(one), centre=(0, 0, 0))


def test_matrices_of_the_other_axes_are_recognised():
  rig = scenes.poses(8) * [1, -1, -1, 1]  # OpenCV axes where the file has OpenGL's
  with pytest.raises(UserError, match='Negate columns 2 and 3'):
    framing.find(capture(rig))
  (line,) = camera_checks.oddities(posed_labels(framing.find(capture(rig), mode='none').pose(rig)))
  assert 'OpenGL axes they look at it' in line


def posed_labels(poses):
  wide = np.diag([1e-6, 1e-6, 1.0]) + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
  return np.stack([np.concatenate([pose.ravel(), wide.ravel()]) for pose in poses])


def test_limits_from_points():
  """Of points on a sphere around the centre the nearest and the farthest that a camera shows."""
  rig = scenes.poses(6, TARGET, 10.0)
  points = np.random.default_rng(0).normal(size=(4000, 3))
  points = TARGET + 2 * points / np.linalg.norm(points, axis=-1, keepdims=True)
  behind = TARGET + [0, 0, 1000.0]  # of no picture
  found = framing.find(capture(rig, points=[*points, behind]))
  assert found.near == pytest.approx(0.9 * 0.4 * 8, rel=0.02)
  assert found.far == pytest.approx(1.1 * 0.4 * 12, rel=0.02)


def test_the_cube_of_instant_ngp():
  rig = scenes.poses(6, distance=4.0)
  # Of its defaults: a cube of 1 / .33 around the origin, and aabb_scale = 8 of it.
  found = framing.find(capture(rig, region=(np.zeros(3), 0.5 * 8 / 0.33)))
  assert found.far == pytest.approx(1.1 * (4 + math.sqrt(3) * 4 / 0.33), rel=5e-3)
  # A cube that is smaller than what the cameras show bounds it on both sides.
  found = framing.find(capture(rig, region=(np.zeros(3), 0.5)))
  assert found.near == pytest.approx(0.9 * (4 - math.sqrt(3) / 2), rel=5e-3)
  assert found.far == pytest.approx(1.1 * (4 + math.sqrt(3) / 2), rel=5e-3)
  # Where the file says where the cube is, there is the centre.
  away = np.array([1.0, 0, 0])
  found = framing.find(capture(rig, region=(away, 0.5), has_region_centre=True))
  assert found.centre.tolist() == [1, 0, 0]
