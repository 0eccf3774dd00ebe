"""Cameras of other programs and data sets, checked: functions of NumPy arrays on the host.

`from_*` return a Camera; `pose_from_*` and `move_pose` return only its matrix, in float64 and
without a device.
"""

import math

import jax.numpy as jnp
import numpy as np

from jax3dgan.cameras.camera import Camera
from jax3dgan.errors import UserError

# The worlds of Blender and of NeRF's transforms.json have z up: (x, y, z) → (x, z, −y).
Z_UP_TO_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
_OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])  # axes of the camera: y and z the other way


def pixel_intrinsics(fx, fy, cx, cy, width, height, first_centre=0.5, skew=0.0) -> np.ndarray:
  """Normalised intrinsics [..., 3, 3] of ones in pixels.

  Args:
    fx, fy, cx, cy, skew: [...] pixels.
    width, height: of the image in pixels.
    first_centre: the coordinate of the first pixel's centre: 0.5 for COLMAP and NeRF, whose
      (0, 0) is the image's corner; 0 for OpenCV.
  """
  shift = 0.5 - first_centre
  values = (fx / width, skew / width, (cx + shift) / width, fy / height, (cy + shift) / height)
  fx, skew, cx, fy, cy, zero, one = np.broadcast_arrays(*map(np.float64, (*values, 0, 1)))
  return np.stack([fx, skew, cx, zero, fy, cy, zero, zero, one], -1).reshape(*fx.shape, 3, 3)


def check_pose(pose, what='cam2world') -> np.ndarray:
  """Poses [..., 4, 4] (or [..., 3, 4]) as float64 [..., 4, 4]; UserError if it is not a pose."""
  pose = np.asarray(pose, np.float64)
  if pose.shape[-2:] == (3, 4):
    bottom = np.broadcast_to([0.0, 0.0, 0.0, 1.0], (*pose.shape[:-2], 1, 4))
    pose = np.concatenate([pose, bottom], axis=-2)
  if pose.shape[-2:] != (4, 4):
    raise UserError(f'{what} is [..., 4, 4], not {list(pose.shape)}. Give whole matrices.')
  if not np.isfinite(pose).all():
    raise UserError(f'{what} has values that are not finite. Leave such cameras out.')
  rotation = pose[..., :3, :3]
  apart = np.abs(np.swapaxes(rotation, -1, -2) @ rotation - np.eye(3)).max(initial=0)
  if apart > 1e-3 or np.abs(pose[..., 3, :] - [0, 0, 0, 1]).max(initial=0) > 1e-6:
    raise UserError(
      f'{what} is not a rotation and a position: its axes are not of unit length, or not at right '
      'angles, or its last row is not 0 0 0 1. Take the scale out; do not give a transpose.'
    )
  if (np.linalg.det(rotation) < 0).any():
    raise UserError(f'{what} mirrors space: one of its axes points the wrong way. Negate it.')
  return pose


def _camera(cam2world, intrinsics) -> Camera:
  intrinsics = np.asarray(intrinsics, np.float64)
  if intrinsics.shape[-2:] != (3, 3) or not np.isfinite(intrinsics).all():
    raise UserError('Intrinsics are finite numbers [..., 3, 3]. See cameras.pixel_intrinsics.')
  if np.abs(intrinsics[..., 0, 2]).max(initial=0) > 10:
    raise UserError(
      'These intrinsics seem to be in pixels. Normalise them by the size of the image, with '
      'cameras.pixel_intrinsics.'
    )
  batch = np.broadcast_shapes(cam2world.shape[:-2], intrinsics.shape[:-2])
  cam2world = np.broadcast_to(cam2world, (*batch, 4, 4))
  intrinsics = np.broadcast_to(intrinsics, (*batch, 3, 3))
  return Camera(jnp.asarray(cam2world, jnp.float32), jnp.asarray(intrinsics, jnp.float32))


def pose_from_opengl(cam2world, what='cam2world') -> np.ndarray:
  """cam2world [..., 4, 4] with OpenCV axes, from one with OpenGL axes in the same world."""
  return check_pose(cam2world, what) @ _OPENGL_TO_OPENCV


def pose_from_colmap(world2cam, what='world2cam') -> np.ndarray:
  """cam2world [..., 4, 4], the inverse of world2cam [..., 4, 4], both with OpenCV axes."""
  world2cam = check_pose(world2cam, what)
  rotation = np.swapaxes(world2cam[..., :3, :3], -1, -2)
  origin = -rotation @ world2cam[..., :3, 3:]
  bottom = np.broadcast_to([0.0, 0.0, 0.0, 1.0], (*rotation.shape[:-2], 1, 4))
  return np.concatenate([np.concatenate([rotation, origin], axis=-1), bottom], axis=-2)


def move_pose(cam2world, rotation, translation, scale) -> np.ndarray:
  """cam2world [..., 4, 4] in a world whose points p became scale·R p + t, see `move_world`."""
  pose = np.array(cam2world, np.float64)
  pose[..., :3, 3] = scale * pose[..., :3, 3] @ np.transpose(rotation) + np.asarray(translation)
  pose[..., :3, :3] = rotation @ pose[..., :3, :3]
  return check_pose(pose)


def from_opencv(cam2world, intrinsics) -> Camera:
  """Camera of cam2world [..., 4, 4] with OpenCV axes (x right, y down, z forward), as in this
  library.

  OpenCV's own extrinsics are world-to-camera: invert them, or see `from_colmap`.
  """
  return _camera(check_pose(cam2world, 'cam2world'), intrinsics)


def from_opengl(cam2world, intrinsics) -> Camera:
  """Camera of cam2world [..., 4, 4] with OpenGL axes (x right, y up, z backward), world y up.

  So are the matrices of π-GAN's release, glTF and PyRender.
  """
  return _camera(pose_from_opengl(cam2world), intrinsics)


def from_blender(cam2world, intrinsics) -> Camera:
  """Camera of Blender's `matrix_world` [..., 4, 4]: OpenGL axes, and a world with z up.

  The world turns with it (`Z_UP_TO_Y_UP`): Blender's front view, from −y, is ours, from +z.
  """
  return move_world(from_opengl(cam2world, intrinsics), Z_UP_TO_Y_UP)


def from_colmap(world2cam, intrinsics) -> Camera:
  """Camera of world2cam [..., 4, 4] with OpenCV axes, as COLMAP and OpenCV have them.

  COLMAP's world has an arbitrary orientation and scale: see `move_world`; `colmap_pose` makes
  matrices of its images.txt.
  """
  return _camera(pose_from_colmap(world2cam), intrinsics)


def colmap_pose(quaternion, translation) -> np.ndarray:
  """world2cam [..., 4, 4] of an image of COLMAP: quaternion [..., 4] (w, x, y, z), translation
  [..., 3]."""
  q = np.asarray(quaternion, np.float64)
  w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
  rows = [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ]
  pose = np.zeros((*q.shape[:-1], 4, 4))
  pose[..., :3, :3] = np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)
  pose[..., :3, 3] = translation
  pose[..., 3, 3] = 1
  return pose


def from_nerf(transforms: dict) -> Camera:
  """Cameras [n] of a NeRF data set's transforms.json: Blender's matrices, and `camera_angle_x` (in
  radians, the horizontal field of view of square images) or `fl_x`, `fl_y`, `cx`, `cy`, `w`, `h`
  in pixels, for all frames or in each."""
  frames = transforms.get('frames') or []
  if not frames or not all('transform_matrix' in frame for frame in frames):
    raise UserError('This transforms.json has no frames with a transform_matrix each.')

  def intrinsics(frame):
    entries = {**transforms, **frame}
    if 'fl_x' in entries and 'w' in entries:
      w, fx = entries['w'], entries['fl_x']
      h = entries.get('h', w)
      centre = entries.get('cx', w / 2), entries.get('cy', h / 2)
      return pixel_intrinsics(fx, entries.get('fl_y', fx), *centre, w, h)
    if 'camera_angle_x' not in entries:
      raise UserError('This transforms.json has neither camera_angle_x nor fl_x with w.')
    focal = 0.5 / math.tan(entries['camera_angle_x'] / 2)
    aspect = entries['w'] / entries['h'] if {'w', 'h'} <= entries.keys() else 1.0
    return pixel_intrinsics(focal, focal * aspect, 0.5, 0.5, 1, 1)

  poses = np.stack([np.asarray(frame['transform_matrix'], np.float64) for frame in frames])
  return from_blender(poses, np.stack([intrinsics(frame) for frame in frames]))


def move_world(camera: Camera, rotation=None, translation=(0.0, 0.0, 0.0), scale=1.0) -> Camera:
  """The same cameras in a world whose points p became scale·R p + t: the images stay the same.

  Args:
    camera: [...].
    rotation: [3, 3]; None for none.
    translation: [3].
    scale: above 0; depths grow by it.
  """
  rotation = np.eye(3) if rotation is None else np.asarray(rotation, np.float64)
  return _camera(move_pose(camera.cam2world, rotation, translation, scale), camera.intrinsics)
