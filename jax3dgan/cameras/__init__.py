"""Cameras: the Camera pytree, look-at, pose priors and the 25-vector label.

The convention of the library: cam2world matrices with OpenCV axes (x right, y down, z
forward), world y up, the frontal camera on +z looking at the origin; intrinsics normalised by the
image's size, so that they hold at any resolution. The angles of other papers are converted only
here.
"""

from jax3dgan.cameras.camera import (
  Camera,
  crop,
  from_label,
  from_yaw_pitch,
  intrinsics_from_fov,
  look_at,
  orbit,
  project,
)
from jax3dgan.cameras.formats import (
  Z_UP_TO_Y_UP,
  colmap_pose,
  from_blender,
  from_colmap,
  from_nerf,
  from_opencv,
  from_opengl,
  move_world,
  pixel_intrinsics,
)
from jax3dgan.cameras.priors import (
  PosePrior,
  angles_from_draws,
  goes_round,
  mean_pitch,
  pose_prior,
  sample_angles,
  sample_radius,
  yaw_half_range,
)

__all__ = [
  'Camera',
  'PosePrior',
  'Z_UP_TO_Y_UP',
  'angles_from_draws',
  'colmap_pose',
  'crop',
  'from_blender',
  'from_colmap',
  'from_label',
  'from_nerf',
  'from_opencv',
  'from_opengl',
  'from_yaw_pitch',
  'goes_round',
  'intrinsics_from_fov',
  'look_at',
  'mean_pitch',
  'move_world',
  'orbit',
  'pixel_intrinsics',
  'pose_prior',
  'project',
  'sample_angles',
  'sample_radius',
  'yaw_half_range',
]
