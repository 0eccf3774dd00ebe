"""Cameras of other programs and data sets, checked: functions of NumPy arrays on the host.

`from_*` return a Camera; `pose_from_*` and `move_pose` return only its matrix, in float64 and
without a device.
"""

import math

import jax.numpy as jnp
import numpy as np

from jax3dgan import lenses
from jax3dgan.camera_checks import check_intrinsics, check_pose
from jax3dgan.cameras.camera import Camera
from jax3dgan.errors import UserError

# The worlds of Blender and of NeRF's transforms.json have z up: (x, y, z) → (x, z, −y).
Z_UP_TO_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
# Of the image's size: less is beyond what a photo of some hundred pixels shows.
_MAX_SHIFT = 0.01
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


def _camera(cam2world, intrinsics) -> Camera:
  intrinsics = check_intrinsics(intrinsics, 'These intrinsics')
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
  """Cameras [n] of a NeRF data set's transforms.json: Blender's matrices, and intrinsics, for all
  frames or in each.

  Intrinsics are `fl_x`, `fl_y`, `cx`, `cy`, `w`, `h` in pixels, or instead of the focal lengths
  `camera_angle_x`, `camera_angle_y` (fields of view in radians); one of two serves for both, the
  image is square without `w` and `h`, and the principal point is its middle without `cx` and `cy`.
  Distortion that moves no point of the image by more than a hundredth of its size is left out;
  `data.posed.load` undistorts photos.

  Raises:
    UserError: it is no such description, or of cameras that are no pinholes: fisheye,
      equirectangular, or with stronger distortion.
  """
  what = 'This transforms.json'
  frames = transforms.get('frames') if isinstance(transforms, dict) else None
  if not isinstance(frames, list | tuple) or not frames:
    raise UserError(f'{what} is no object with a list of frames. Give the whole file, parsed.')
  poses, intrinsics = [], []
  for i, frame in enumerate(frames):
    if not isinstance(frame, dict) or frame.get('transform_matrix') is None:
      raise UserError(f'{what}: frame {i} has no transform_matrix. Add it, or leave the frame out.')
    where = f'{what}: frame {i}'
    poses.append(check_pose(frame['transform_matrix'], f'{where}: its transform_matrix'))
    if poses[-1].shape != (4, 4):
      raise UserError(f'{where}: its transform_matrix is not one matrix, 4 x 4. Mend it.')
    intrinsics.append(_nerf_intrinsics({**transforms, **frame}, where))
  return from_blender(np.stack(poses), np.stack(intrinsics))


def _nerf_intrinsics(entries, where):
  """Normalised intrinsics [3, 3] of a frame's entries, see `from_nerf`."""
  coefficients = lenses.coefficients(entries, where)
  names = ('fl_x', 'fl_y', 'cx', 'cy', 'w', 'h', 'camera_angle_x', 'camera_angle_y')
  fx, fy, cx, cy, w, h, *angles = (lenses.number(entries, name, where) for name in names)
  for name, value in zip(names, (fx, fy, cx, cy, w, h, *angles), strict=True):
    is_free = name in ('cx', 'cy')
    if value is not None and not (abs(value) < 1e9 if is_free else 1e-6 < value < 1e9):
      raise UserError(f'{where}: {name} is {value:g}. Give a finite number above 0.')
  if any(angle is not None and angle >= math.pi for angle in angles):
    raise UserError(f'{where}: a field of view is not below π. Give it in radians.')
  if w is None and h is None:
    if any(value is not None for value in (cx, cy)) or (angles == [None] * 2 and fx is not None):
      raise UserError(f'{where} has fl_x, cx or cy in pixels without w and h. Add the image size.')
    fx, fy, w, h = None, None, 1.0, 1.0
  w, h = (h if w is None else w), (w if h is None else h)
  if fx is None and angles[0] is not None:
    fx = 0.5 * w / math.tan(angles[0] / 2)
  if fy is None and angles[1] is not None:
    fy = 0.5 * h / math.tan(angles[1] / 2)
  fx, fy = (fy if fx is None else fx), (fx if fy is None else fy)
  if fx is None:
    raise UserError(
      f'{where} has no intrinsics: neither camera_angle_x nor fl_x with w. Add one of them.'
    )
  cx, cy = (w / 2 if cx is None else cx), (h / 2 if cy is None else cy)
  matrix = pixel_intrinsics(fx, fy, cx, cy, w, h)
  moved = lenses.largest_shift(matrix, coefficients)
  if moved > _MAX_SHIFT:
    raise UserError(
      f'{where} has lens distortion (k1, k2, ...) that moves points by {moved:.1%} of the image, '
      'and a Camera is a pinhole. Undistort the photos, or read the scene with data.posed.load.'
    )
  return matrix


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
