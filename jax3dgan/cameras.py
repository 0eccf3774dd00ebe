"""Cameras: the Camera pytree, look-at, pose priors and the 25-vector label.

One convention inside the library: cam2world matrices with OpenCV axes (x right, y down, z
forward), world y up, the frontal camera on +z looking at the origin; intrinsics normalised by the
image's size, so that they hold at any resolution. The angles of other papers are converted here
and nowhere else.
"""

import math

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError

_POLE = 1e-5  # π-GAN keeps pitch this far from the poles, where look-at has no up direction.


@flax.struct.dataclass
class Camera:
  """A batch of pinhole cameras.

  Attributes:
    cam2world: [..., 4, 4] camera-to-world, OpenCV axes.
    intrinsics: [..., 3, 3] normalised: u = fx·x/z + cx in [0, 1] from the left edge to the right
      one.
  """

  cam2world: jax.Array
  intrinsics: jax.Array

  @property
  def origin(self):
    """Position of the camera in the world, [..., 3]."""
    return self.cam2world[..., :3, 3]

  def label(self):
    """The 25-vector of EG3D: cam2world row by row (16), then the intrinsics (9). [..., 25]."""
    batch = self.cam2world.shape[:-2]
    return jnp.concatenate(
      [self.cam2world.reshape(*batch, 16), self.intrinsics.reshape(*batch, 9)], axis=-1
    )


def from_label(label) -> Camera:
  """Camera of a 25-vector [..., 25]."""
  label = jnp.asarray(label)
  if label.shape[-1] != 25:
    raise UserError(
      f'A camera label has 25 numbers, this one has {label.shape[-1]}. '
      'Give cam2world (16, row by row) and normalised intrinsics (9).'
    )
  return Camera(
    label[..., :16].reshape(*label.shape[:-1], 4, 4),
    label[..., 16:].reshape(*label.shape[:-1], 3, 3),
  )


def intrinsics_from_fov(fov_degrees, batch=()):
  """Normalised intrinsics [*batch, 3, 3] of a square image with this full field of view in
  degrees."""
  focal = 0.5 / math.tan(math.radians(fov_degrees) / 2)
  matrix = jnp.array([[focal, 0.0, 0.5], [0.0, focal, 0.5], [0.0, 0.0, 1.0]])
  return jnp.broadcast_to(matrix, (*batch, 3, 3))


def _normalize(v):
  return v / jnp.linalg.norm(v, axis=-1, keepdims=True)


def look_at(origin, target=(0.0, 0.0, 0.0), up=(0.0, 1.0, 0.0)):
  """cam2world [..., 4, 4] of a camera at `origin` [..., 3] that looks at `target`, `up` upwards."""
  origin = jnp.asarray(origin)
  origin = origin.astype(jnp.result_type(origin, float))  # whole numbers would round `up`
  forward = _normalize(jnp.asarray(target, origin.dtype) - origin)
  right = _normalize(
    jnp.cross(forward, jnp.broadcast_to(jnp.asarray(up, origin.dtype), forward.shape))
  )
  down = jnp.cross(forward, right)
  top = jnp.stack([right, down, forward, origin], axis=-1)  # [..., 3, 4]
  bottom = jnp.broadcast_to(jnp.array([0.0, 0.0, 0.0, 1.0], top.dtype), (*top.shape[:-2], 1, 4))
  return jnp.concatenate([top, bottom], axis=-2)


def from_yaw_pitch(yaw, pitch, radius=1.0, fov_degrees=12.0, pivot=(0.0, 0.0, 0.0)) -> Camera:
  """Camera on a sphere around the origin by π-GAN's angles.

  Args:
    yaw: [...] radians from +x towards +z; π/2 is frontal.
    pitch: [...] radians from +y; π/2 is the horizon. Kept 1e-5 away from the poles.
      One yaw serves many pitches and one pitch many yaws.
    radius: distance from the origin, world units.
    fov_degrees: full field of view.
    pivot: the point that it looks at, (x, y, z); the sphere stays where it is (EG3D).
  """
  pitch = jnp.clip(jnp.asarray(pitch), _POLE, math.pi - _POLE)
  yaw, pitch = jnp.broadcast_arrays(yaw, pitch)
  sin_pitch = jnp.sin(pitch)
  origin = radius * jnp.stack(
    [sin_pitch * jnp.cos(yaw), jnp.cos(pitch), sin_pitch * jnp.sin(yaw)], axis=-1
  )
  return Camera(look_at(origin, pivot), intrinsics_from_fov(fov_degrees, origin.shape[:-1]))


def orbit(azimuth, elevation, radius=1.0, fov_degrees=12.0, pivot=(0.0, 0.0, 0.0)) -> Camera:
  """Camera by azimuth (0 frontal, positive towards +x) and elevation (0 horizon, positive up),
  radians."""
  return from_yaw_pitch(
    math.pi / 2 - jnp.asarray(azimuth),
    math.pi / 2 - jnp.asarray(elevation),
    radius,
    fov_degrees,
    pivot,
  )


def project(camera: Camera, points):
  """Normalised image position [..., n, 2] (0..1, u right, v down) and z-depth [..., n] of world
  points."""
  rotation, origin = camera.cam2world[..., :3, :3], camera.origin
  local = jnp.einsum('...ji,...nj->...ni', rotation, points - origin[..., None, :])
  image = jnp.einsum('...ij,...nj->...ni', camera.intrinsics, local)
  return image[..., :2] / image[..., 2:], local[..., 2]


def crop(camera: Camera, left, top, width, height) -> Camera:
  """The cameras that see a rectangle of the image alone, as their whole image.

  Args:
    camera: [...].
    left, top, width, height: [...] of the rectangle, in the normalised coordinates of the image
      (0..1, u right, v down). It may reach beyond the image.
  """
  xp = np if isinstance(camera.intrinsics, np.ndarray) else jnp
  left, top, width, height = (xp.asarray(x)[..., None] for x in (left, top, width, height))
  k = camera.intrinsics
  rows = [
    (k[..., 0, :] - left * k[..., 2, :]) / width,
    (k[..., 1, :] - top * k[..., 2, :]) / height,
    xp.broadcast_to(k[..., 2, :], xp.broadcast_shapes(k[..., 2, :].shape, left.shape[:-1] + (3,))),
  ]
  rows = xp.broadcast_arrays(*rows)
  batch = rows[0].shape[:-1]
  return Camera(
    xp.broadcast_to(camera.cam2world, (*batch, 4, 4)), xp.stack(rows, axis=-2).astype(k.dtype)
  )


# Pose priors: where the camera of a random photo stands.

_PRIORS = ('gaussian', 'truncated_gaussian', 'uniform', 'spherical_uniform')


@flax.struct.dataclass
class PosePrior:
  """Distribution of (yaw, pitch), π-GAN's angles in radians (π-GAN, Sec. 4; its release's sampling
  modes).

  Attributes:
    name: 'gaussian' (mean + std·n), 'truncated_gaussian' (the first of four normals within two
      standard deviations), 'uniform' (mean ± std), 'spherical_uniform' (uniform on the sphere
      between pitch_mean ± pitch_std, both in radians of the polar measure v = pitch/π), or
      'mixture'.
    components, weights: the parts of a mixture and their probabilities.
  """

  name: str = flax.struct.field(pytree_node=False, default='gaussian')
  yaw_mean: float = flax.struct.field(pytree_node=False, default=math.pi / 2)
  yaw_std: float = flax.struct.field(pytree_node=False, default=0.3)
  pitch_mean: float = flax.struct.field(pytree_node=False, default=math.pi / 2)
  pitch_std: float = flax.struct.field(pytree_node=False, default=0.155)
  components: tuple = flax.struct.field(pytree_node=False, default=())
  weights: tuple = flax.struct.field(pytree_node=False, default=())


def pose_prior(name, components=(), weights=(), **angles) -> PosePrior:
  """A PosePrior from a config's fields; a mixture's components are dicts of the same fields."""
  if name == 'mixture':
    if not components or (weights and len(weights) != len(components)):
      raise UserError(
        'A mixture of poses needs components, and as many weights as components or none.'
      )
    weights = weights or (1.0,) * len(components)
    if min(weights) < 0 or sum(weights) <= 0:
      raise UserError('The weights of a mixture of poses must be positive.')
    parts = tuple(pose_prior(**dict(part)) for part in components)
    return PosePrior(name, components=parts, weights=tuple(w / sum(weights) for w in weights))
  if name not in _PRIORS:
    raise UserError(
      f"No pose prior is called '{name}'. Choose one of {', '.join(_PRIORS)}, mixture."
    )
  return PosePrior(name, **angles)


def angles_from_draws(prior: PosePrior, draw_yaw, draw_pitch):
  """(yaw, pitch) from raw draws.

  Args:
    prior: not a mixture.
    draw_yaw, draw_pitch: normals [...] for 'gaussian', normals [..., 4] for 'truncated_gaussian',
      else uniforms [...] in [0, 1).
  """
  if prior.name == 'truncated_gaussian':
    draw_yaw, draw_pitch = _first_within_two(draw_yaw), _first_within_two(draw_pitch)
  if prior.name in ('gaussian', 'truncated_gaussian'):
    return (
      prior.yaw_mean + prior.yaw_std * draw_yaw,
      prior.pitch_mean + prior.pitch_std * draw_pitch,
    )
  yaw = (draw_yaw - 0.5) * 2 * prior.yaw_std + prior.yaw_mean
  if prior.name == 'uniform':
    return yaw, (draw_pitch - 0.5) * 2 * prior.pitch_std + prior.pitch_mean
  v = (draw_pitch - 0.5) * 2 * (prior.pitch_std / math.pi) + prior.pitch_mean / math.pi
  return yaw, jnp.arccos(1 - 2 * jnp.clip(v, _POLE, 1 - _POLE))


def _first_within_two(normals):
  index = jnp.argmax(jnp.abs(normals) < 2, axis=-1, keepdims=True)  # 0 where none is
  return jnp.take_along_axis(normals, index, axis=-1)[..., 0]


def sample_angles(prior: PosePrior, key):
  """One (yaw, pitch) from the prior for one key; vmap over keys for a batch."""
  if prior.name == 'mixture':
    key, choice = jax.random.split(key)
    each = [sample_angles(part, key) for part in prior.components]
    index = jax.random.choice(choice, len(each), p=jnp.array(prior.weights))
    return tuple(jnp.stack(values)[index] for values in zip(*each, strict=True))
  keys = jax.random.split(key)
  if prior.name == 'gaussian':
    draws = [jax.random.normal(k) for k in keys]
  elif prior.name == 'truncated_gaussian':
    draws = [jax.random.normal(k, (4,)) for k in keys]
  else:
    draws = [jax.random.uniform(k) for k in keys]
  yaw, pitch = angles_from_draws(prior, *draws)
  # A wide gaussian may cross a pole; the camera is clamped there, and so is the angle it is known
  # by.
  return yaw, jnp.clip(pitch, _POLE, math.pi - _POLE)


def yaw_half_range(prior: PosePrior) -> float:
  """Half the yaw range that shows the prior (two standard deviations of a gaussian), at most π."""
  if prior.name == 'mixture':
    return max(yaw_half_range(part) for part in prior.components)
  return min(prior.yaw_std * (2 if 'gaussian' in prior.name else 1), math.pi)


def mean_pitch(prior: PosePrior) -> float:
  """Mean pitch in radians, π-GAN's angle."""
  if prior.name == 'mixture':
    return sum(
      w * mean_pitch(part) for w, part in zip(prior.weights, prior.components, strict=True)
    )
  if prior.name == 'spherical_uniform':
    return math.acos(1 - 2 * min(max(prior.pitch_mean / math.pi, _POLE), 1 - _POLE))
  return prior.pitch_mean


# Other programs' cameras. Host functions of NumPy arrays: data comes in by them, checked.

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


def _checked(pose, what) -> np.ndarray:
  """Poses [..., 4, 4] (or [..., 3, 4]) as float64 [..., 4, 4]; UserError for what is no pose."""
  pose = np.asarray(pose, np.float64)
  if pose.shape[-2:] == (3, 4):
    bottom = np.broadcast_to([0.0, 0.0, 0.0, 1.0], (*pose.shape[:-2], 1, 4))
    pose = np.concatenate([pose, bottom], axis=-2)
  if pose.shape[-2:] != (4, 4):
    raise UserError(f'{what} is [..., 4, 4], not {list(pose.shape)}. Give whole matrices.')
  if not np.isfinite(pose).all():
    raise UserError(f'{what} has values that are no numbers. Leave such cameras out.')
  rotation = pose[..., :3, :3]
  apart = np.abs(np.swapaxes(rotation, -1, -2) @ rotation - np.eye(3)).max(initial=0)
  if apart > 1e-3 or np.abs(pose[..., 3, :] - [0, 0, 0, 1]).max(initial=0) > 1e-6:
    raise UserError(
      f'{what} is no rotation and position: its axes are not of unit length, or not at right '
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


def from_opencv(cam2world, intrinsics) -> Camera:
  """Camera of cam2world [..., 4, 4] with OpenCV axes (x right, y down, z forward): ours as it is.

  OpenCV's own extrinsics are world-to-camera: invert them, or see `from_colmap`.
  """
  return _camera(_checked(cam2world, 'cam2world'), intrinsics)


def from_opengl(cam2world, intrinsics) -> Camera:
  """Camera of cam2world [..., 4, 4] with OpenGL axes (x right, y up, z backward), world y up.

  So are the matrices of π-GAN's release, glTF and PyRender.
  """
  return _camera(_checked(cam2world, 'cam2world') @ _OPENGL_TO_OPENCV, intrinsics)


def from_blender(cam2world, intrinsics) -> Camera:
  """Camera of Blender's `matrix_world` [..., 4, 4]: OpenGL axes, and a world with z up.

  The world turns with it (`Z_UP_TO_Y_UP`): Blender's front view, from −y, is ours, from +z.
  """
  return move_world(from_opengl(cam2world, intrinsics), Z_UP_TO_Y_UP)


def from_colmap(world2cam, intrinsics) -> Camera:
  """Camera of world2cam [..., 4, 4] with OpenCV axes, as COLMAP and OpenCV have them.

  COLMAP's world stands anyhow: see `move_world`; `colmap_pose` makes matrices of its images.txt.
  """
  world2cam = _checked(world2cam, 'world2cam')
  rotation = np.swapaxes(world2cam[..., :3, :3], -1, -2)
  origin = -rotation @ world2cam[..., :3, 3:]
  bottom = np.broadcast_to([0.0, 0.0, 0.0, 1.0], (*rotation.shape[:-2], 1, 4))
  top = np.concatenate([rotation, origin], axis=-1)
  return _camera(np.concatenate([top, bottom], axis=-2), intrinsics)


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
  """The same cameras in a world whose points p became scale·R p + t: the pictures stay.

  Args:
    camera: [...].
    rotation: [3, 3]; None for none.
    translation: [3].
    scale: above 0; depths grow by it.
  """
  rotation = np.eye(3) if rotation is None else np.asarray(rotation, np.float64)
  pose = np.array(camera.cam2world, np.float64)
  pose[..., :3, 3] = scale * pose[..., :3, 3] @ rotation.T + np.asarray(translation)
  pose[..., :3, :3] = rotation @ pose[..., :3, :3]
  return _camera(_checked(pose, 'cam2world'), camera.intrinsics)
