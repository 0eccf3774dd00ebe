"""Cameras of other programs see a point in the same pixel as those programs do."""

import math

import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.data import labels
from jax3dgan.errors import UserError

FX, FY, CX, CY, W, H = 500.0, 520.0, 310.0, 250.0, 640, 480
POINTS = np.array([[0.1, -0.2, 0.3], [-0.3, 0.05, 0.2], [0.25, 0.3, -0.1]])  # in our world


@pytest.fixture(scope='module')
def rig():
  """A camera by hand, in float64: (rotation world-to-camera with OpenCV axes, position)."""
  position = np.array([0.7, 0.9, 2.5])
  forward = -position / np.linalg.norm(position)
  right = np.cross(forward, [0.1, 1.0, 0.0])
  right /= np.linalg.norm(right)
  return np.stack([right, np.cross(forward, right), forward]), position


def by_hand(rig, points=POINTS):
  """u, v of points, normalised, straight from the definition of a pinhole camera."""
  rotation, position = rig
  x, y, z = ((points - position) @ rotation.T).T
  assert (z > 0).all()
  return np.stack([(FX * x / z + CX) / W, (FY * y / z + CY) / H], axis=-1)


def intrinsics():
  return cameras.pixel_intrinsics(FX, FY, CX, CY, W, H)


def matrix(rotation, position):
  return np.block([[rotation, np.reshape(position, (3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])


def check(camera, rig, points=POINTS):
  uv, depth = cameras.project(camera, points.astype(np.float32))
  np.testing.assert_allclose(uv, by_hand(rig), atol=3e-6)
  np.testing.assert_allclose(depth, ((POINTS - rig[1]) @ rig[0].T)[:, 2], atol=3e-6)


def test_opencv(rig):
  check(cameras.from_opencv(matrix(rig[0].T, rig[1]), intrinsics()), rig)
  # Whole matrices and their first three rows alike.
  three = cameras.from_opencv(matrix(rig[0].T, rig[1])[:3], intrinsics())
  check(three, rig)


def test_opengl_is_the_camera_whose_z_points_back(rig):
  right, down, forward = rig[0]
  check(
    cameras.from_opengl(matrix(np.stack([right, -down, -forward], 1), rig[1]), intrinsics()), rig
  )


def test_blender_has_z_up(rig):
  # Blender's point of ours (x, y, z) is (x, −z, y); its camera is OpenGL's, its world too.
  to_blender = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
  right, down, forward = rig[0] @ to_blender.T
  position = to_blender @ rig[1]
  pose = matrix(np.stack([right, -down, -forward], 1), position)
  check(cameras.from_blender(pose, intrinsics()), rig)
  np.testing.assert_allclose(cameras.Z_UP_TO_Y_UP @ to_blender, np.eye(3))
  # Blender's front view: from −y, up along z, is our frontal camera on +z.
  front = matrix(np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float), [0, -3, 0])
  ours = cameras.orbit(0.0, 0.0, 3.0, 40.0)
  found = cameras.from_blender(front, np.asarray(ours.intrinsics))
  np.testing.assert_allclose(found.cam2world, ours.cam2world, atol=1e-6)


def test_colmap_is_world_to_camera(rig):
  rotation, position = rig
  world2cam = matrix(rotation, -rotation @ position)
  check(cameras.from_colmap(world2cam, intrinsics()), rig)
  # By quaternion, as images.txt has it: of the rotation, from its trace.
  w = math.sqrt(1 + np.trace(rotation)) / 2
  r = rotation
  xyz = np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]) / (4 * w)
  pose = cameras.colmap_pose(2 * np.array([w, *xyz]), -rotation @ position)  # any length
  np.testing.assert_allclose(pose, world2cam, atol=1e-12)


def test_a_quarter_turn_of_colmap():
  half = math.sqrt(0.5)
  pose = cameras.colmap_pose([half, 0, half, 0], [0, 0, 0])  # about y: z becomes x
  np.testing.assert_allclose(pose[:3, :3] @ [0, 0, 1], [1, 0, 0], atol=1e-12)


def test_nerf(rig):
  to_blender = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
  right, down, forward = rig[0] @ to_blender.T
  pose = matrix(np.stack([right, -down, -forward], 1), to_blender @ rig[1]).tolist()
  pixels = {'fl_x': FX, 'fl_y': FY, 'cx': CX, 'cy': CY, 'w': W, 'h': H}
  camera = cameras.from_nerf({**pixels, 'frames': [{'transform_matrix': pose}] * 2})
  assert camera.cam2world.shape == (2, 4, 4)
  check(cameras.Camera(camera.cam2world[1], camera.intrinsics[1]), rig)
  # The first NeRFs' form; a frame may have its own.
  frame = {'transform_matrix': pose}
  wide = cameras.from_nerf({'camera_angle_x': 0.8, 'frames': [frame, {**frame, **pixels}]})
  expected = cameras.intrinsics_from_fov(math.degrees(0.8))
  np.testing.assert_allclose(wide.intrinsics[0], expected, atol=1e-6)
  np.testing.assert_allclose(wide.intrinsics[1], intrinsics(), atol=1e-6)


def test_eg3d_mirrored(rig):
  camera = cameras.from_opencv(matrix(rig[0].T, rig[1]), intrinsics())
  mirrored = cameras.from_label(labels.mirror(np.asarray(camera.label())))
  uv, depth = cameras.project(camera, POINTS.astype(np.float32))
  flipped = (POINTS * [-1, 1, 1]).astype(np.float32)
  other, other_depth = cameras.project(mirrored, flipped)
  np.testing.assert_allclose(other, np.asarray(uv) * [-1, 1] + [1, 0], atol=3e-6)
  np.testing.assert_allclose(other_depth, depth, atol=1e-6)
  signs = np.sign(mirrored.label()[:16] / camera.label()[:16])
  assert set(np.flatnonzero(signs == -1)) == {1, 2, 3, 4, 8}  # 01, 02, 03, 10, 20 of 4 × 4


def test_the_label_of_eg3d_goes_there_and_back(rig):
  camera = cameras.from_opencv(matrix(rig[0].T, rig[1]), intrinsics())
  label = np.asarray(camera.label())
  assert label.shape == (25,) and label[3] == np.float32(rig[1][0])
  np.testing.assert_allclose(label[[16, 18, 20, 21]], [FX / W, CX / W, FY / H, CY / H], atol=1e-6)
  check(cameras.from_label(label), rig)


def test_pixel_coordinates():
  # The centre of the first pixel of ten is at .05 of the width, however a program counts.
  for first_centre in (0.5, 0.0):
    k = cameras.pixel_intrinsics(1, 1, first_centre, first_centre, 10, 20, first_centre)
    np.testing.assert_allclose(k[:2, 2], [0.05, 0.025])
  assert cameras.pixel_intrinsics(np.ones((2, 3)), 1, 0, 0, 10, 10).shape == (2, 3, 3, 3)


def test_pictures_stay_when_the_world_moves(rig):
  camera = cameras.from_opencv(matrix(rig[0].T, rig[1]), intrinsics())
  turn = matrix(cameras.Z_UP_TO_Y_UP, [0, 0, 0])[:3, :3]
  moved = cameras.move_world(camera, turn, [0.5, -1, 2], 3.0)
  points = 3 * POINTS @ turn.T + [0.5, -1, 2]
  uv, depth = cameras.project(moved, points.astype(np.float32))
  np.testing.assert_allclose(uv, by_hand(rig), atol=5e-6)
  np.testing.assert_allclose(depth, 3 * ((POINTS - rig[1]) @ rig[0].T)[:, 2], atol=1e-5)


def test_a_crop_sees_its_rectangle_as_the_whole(rig):
  camera = cameras.from_opencv(matrix(rig[0].T, rig[1]), intrinsics())
  part = cameras.crop(camera, 0.25, 0.5, 0.5, 0.125)
  uv, _ = cameras.project(part, POINTS.astype(np.float32))
  np.testing.assert_allclose(uv, (by_hand(rig) - [0.25, 0.5]) / [0.5, 0.125], atol=3e-5)
  many = cameras.crop(camera, np.zeros(3), np.zeros(3), np.ones(3), np.ones(3))
  np.testing.assert_allclose(many.intrinsics[2], camera.intrinsics, atol=1e-7)
  assert many.cam2world.shape == (3, 4, 4)


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda m: m * 2, 'not a rotation and a position'),
    (lambda m: m.T, 'not a rotation and a position'),
    (lambda m: m @ np.diag([-1, 1, 1, 1]), 'mirrors space'),
    (lambda m: m + np.nan, 'not finite'),
    (lambda m: m[:2], 'not \\[2, 4\\]'),
  ],
)
def test_what_is_no_pose(rig, change, message):
  for read in (cameras.from_opencv, cameras.from_blender, cameras.from_colmap):
    with pytest.raises(UserError, match=message):
      read(change(matrix(rig[0].T, rig[1])), intrinsics())


def test_intrinsics_in_pixels_and_files_without_cameras(rig):
  pixels = np.array([[FX, 0, CX], [0, FY, CY], [0, 0, 1]])
  with pytest.raises(UserError, match='seem to be in pixels'):
    cameras.from_opencv(np.eye(4), pixels)
  with pytest.raises(UserError, match='list of frames'):
    cameras.from_nerf({'camera_angle_x': 1})
  with pytest.raises(UserError, match='neither camera_angle_x nor fl_x'):
    cameras.from_nerf({'frames': [{'transform_matrix': np.eye(4).tolist()}]})
