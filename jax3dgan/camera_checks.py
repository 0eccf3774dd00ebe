"""What a camera has to be, for every way in: matrices, labels of 25 numbers, whole data sets.

`check_*` raise what is certainly wrong; `oddities` describes what is possible but rarely meant.
NumPy alone, so that processes which only read images need no JAX.
"""

import numpy as np

from jax3dgan.errors import UserError

NUM_NUMBERS = 25
# Of RᵀR from the unit matrix. Within the first a pose is used as it is; numbers rounded to three
# decimals, each off by 5·10⁻⁴ at most, are within the second: 2·√3·5·10⁻⁴.
_EXACT, _ROUNDED = 1e-3, 1.8e-3
# The principal point of a photo is near its middle, .5; an image of few pixels has 8.
_IN_PIXELS = 5.0
# Products of larger numbers are not finite in float32.
_LARGEST = 1e18
_MOST = 0.5  # a warning is of more than this share of the cameras
_TURNED = np.diag([1.0, -1.0, -1.0])


def check_pose(pose, what='cam2world') -> np.ndarray:
  """Poses [..., 4, 4] (or [..., 3, 4]) as float64 [..., 4, 4]; UserError if one is no pose.

  Rotations that are rounded to three decimals become the nearest ones.
  """
  try:
    pose = np.asarray(pose, np.float64)
  except (ValueError, TypeError, OverflowError) as error:
    raise UserError(f'{what} is not [..., 4, 4] numbers. Give whole matrices.') from error
  if pose.shape[-2:] == (3, 4):
    bottom = np.broadcast_to([0.0, 0.0, 0.0, 1.0], (*pose.shape[:-2], 1, 4))
    pose = np.concatenate([pose, bottom], axis=-2)
  if pose.shape[-2:] != (4, 4):
    raise UserError(f'{what} is [..., 4, 4], not {list(pose.shape)}. Give whole matrices.')
  if not (np.abs(pose) < _LARGEST).all():  # nor NaN
    raise UserError(
      f'{what} has values that are not finite, or beyond 1e18. Leave such cameras out.'
    )
  rotation = pose[..., :3, :3]
  apart = np.abs(_gram(rotation) - np.eye(3)).max(axis=(-2, -1))  # [...]
  bottom = np.abs(pose[..., 3, :] - [0, 0, 0, 1]).max(axis=-1)
  wrong = (apart > _ROUNDED) | (bottom > 1e-6)
  if wrong.any():
    raise UserError(f'{what} is not a rotation and a position: {_cause(pose[wrong][0])}')
  if (np.linalg.det(rotation) < 0).any():
    raise UserError(f'{what} mirrors space: one of its axes points the wrong way. Negate it.')
  rounded = apart > _EXACT
  if rounded.any():
    u, _, vh = np.linalg.svd(rotation)
    pose = pose.copy()
    pose[..., :3, :3] = np.where(rounded[..., None, None], u @ vh, rotation)
  return pose


def _gram(rotation):
  with np.errstate(over='ignore', invalid='ignore'):
    return np.nan_to_num(np.swapaxes(rotation, -1, -2) @ rotation, nan=np.inf)


def _cause(pose):
  """Why a matrix [4, 4] is no pose, and what to do."""
  if not pose.any():
    return 'all its numbers are 0. Leave such cameras out.'
  bottom, rotation = pose[3], pose[:3, :3]
  is_affine = np.abs(bottom - [0, 0, 0, 1]).max() <= 1e-6
  if not is_affine and np.abs(pose[:3, 3]).max() <= 1e-6 and abs(bottom[3] - 1) <= 1e-6:
    return 'its last column is 0 0 0 1, so this is the transpose. Transpose it, row by row.'
  if not is_affine:
    return f'its last row is {_numbers(bottom)}, not 0 0 0 1. Give the rows of the whole matrix.'
  lengths = np.linalg.norm(rotation, axis=0)
  scale = lengths.mean()
  if scale > 0 and np.abs(_gram(rotation / scale) - np.eye(3)).max() <= _ROUNDED:
    return f'its axes are {scale:.4g} long, not 1. Take the scale out of them.'
  return (
    f'its axes are of lengths {_numbers(lengths)}, or not at right angles. Take scale and shear '
    'out, and give numbers with at least three decimals.'
  )


def _numbers(values):
  return ' '.join(f'{v:.4g}' for v in values)


def check_intrinsics(intrinsics, what='The intrinsics') -> np.ndarray:
  """Intrinsics [..., 3, 3], normalised, as float64; UserError where they are none."""
  try:
    intrinsics = np.asarray(intrinsics, np.float64)
  except (ValueError, TypeError, OverflowError):
    intrinsics = np.zeros(0)
  if intrinsics.shape[-2:] != (3, 3) or not np.isfinite(intrinsics).all():
    raise UserError(
      f'{what} are not finite numbers [..., 3, 3]. Give fx 0 cx, 0 fy cy, 0 0 1, normalised by the '
      'size of the image: see cameras.pixel_intrinsics.'
    )
  focal, centre = intrinsics[..., [0, 1], [0, 1]], intrinsics[..., :2, 2]
  if np.abs(centre).max(initial=0) > _IN_PIXELS:
    raise UserError(
      f'{what} seem to be in pixels (cx {centre.flat[0]:.4g}). Normalise them: divide the first '
      'row by the width of the image and the second by its height, as cameras.pixel_intrinsics.'
    )
  if (focal <= 0).any():
    raise UserError(
      f'{what} have a focal length of {focal.min():.4g}. Give positive ones, normalised by the '
      'size of the image.'
    )
  last = np.abs(intrinsics[..., 2, :] - [0, 0, 1]).max(initial=0)
  if last > 1e-4 or np.abs(intrinsics[..., 1, 0]).max(initial=0) > 1e-4:
    raise UserError(f'{what} are not fx s cx, 0 fy cy, 0 0 1, row by row. Do not transpose them.')
  return intrinsics


def check_labels(labels, what='The label') -> np.ndarray:
  """Labels [..., 25] as an array; UserError where one is no camera.

  Args:
    labels: cam2world [4, 4] row by row, then normalised intrinsics [3, 3].
    what: what they are called in messages.
  """
  try:
    labels = np.asarray(labels)
    numbers = labels.astype(np.float64)
  except (ValueError, TypeError, OverflowError) as error:
    raise UserError(
      f'{what} is not {NUM_NUMBERS} numbers. Give cam2world and intrinsics.'
    ) from error
  if numbers.ndim == 0 or numbers.shape[-1] != NUM_NUMBERS:
    raise UserError(
      f'A camera label has {NUM_NUMBERS} numbers, not {(numbers.shape or (1,))[-1]}: {what}. Give '
      'cam2world (16, row by row) and normalised intrinsics (9).'
    )
  batch = numbers.shape[:-1]
  check_pose(numbers[..., :16].reshape(*batch, 4, 4), f'{what}: cam2world')
  check_intrinsics(numbers[..., 16:].reshape(*batch, 3, 3), f'{what}: the intrinsics')
  return labels


def check_statistics(statistics, what) -> None:
  """UserError where labels of these means and deviations are no cameras, most of them at least.

  Of rotations the nine numbers' squares are 3 in sum, of each and therefore on average.

  Args:
    statistics: dict of mean [25] and std [25].
    what: what the labels are called in messages.
  """
  mean, std = (np.asarray(statistics[name], np.float64) for name in ('mean', 'std'))
  rotation = [0, 1, 2, 4, 5, 6, 8, 9, 10]
  squares = float((mean[rotation] ** 2 + std[rotation] ** 2).sum())
  last = np.abs(mean[12:16] - [0, 0, 0, 1]).max() + std[12:16].max()
  if not abs(squares - 3) < 0.01 or not last < 1e-3:
    cause = f'their axes are {np.sqrt(squares / 3):.3g} long on average, not 1'
    cause = cause if last < 1e-3 else 'their last row is not 0 0 0 1'
    raise UserError(f'{what} are no cameras: {cause}. Mend them, and prepare the data set again.')
  check_intrinsics(mean[16:].reshape(3, 3), what)


def oddities(labels, of_training=True) -> list[str]:
  """What is possible but rarely meant of the cameras of a data set, a line each.

  Args:
    labels: [n, 25], which `check_labels` accepts. The object is taken to be at the origin.
    of_training: whether a model learns from them, to which one camera for all shows one view.
  """
  labels = np.asarray(labels, np.float64).reshape(-1, NUM_NUMBERS)
  if not len(labels):
    return []
  poses = labels[:, :16].reshape(-1, 4, 4)
  rotation, origin = poses[:, :3, :3], poses[:, :3, 3]
  intrinsics = labels[:, 16:].reshape(-1, 3, 3)
  reach = np.abs(origin).max()
  if len(labels) > 1 and np.ptp(origin, axis=0).max() <= 1e-4 * max(reach, 1e-6):
    if np.ptp(rotation, axis=0).max() > 1e-3:
      inverse = np.swapaxes(rotation, -1, -2)
      turned = _looks_at_origin(inverse, -np.einsum('nij,nj->ni', inverse, origin))
      is_inverse = reach > 0 and turned.mean() > _MOST
      hint = '; these seem to be world2cam: invert them.' if is_inverse else '. Is this cam2world?'
      return [f'All cameras are at one place ({_numbers(origin[0])}){hint}']
    if of_training:
      return ['All cameras are the same: a model cannot learn other views from them.']
  looks = _looks_at_origin(rotation, origin)
  away = 1 - looks.mean()
  if away > _MOST:
    says = f'{away:.0%} of the cameras look away from the origin, where the object should be'
    if _looks_at_origin(rotation @ _TURNED, origin).mean() > _MOST:
      # Whether the axes are wrong or the photos show a room around, poses alone cannot say.
      return [
        f'{says}; with OpenGL axes they look at it: negate columns 2 and 3 of cam2world, unless '
        'the photos are taken outwards, as in a room.'
      ]
    return [f'{says}. Move the world so that the object is there (cameras.move_world).']
  depth = np.einsum('nij,nj->ni', np.swapaxes(rotation, -1, -2), -origin)  # the origin, as viewed
  with np.errstate(divide='ignore', invalid='ignore'):
    image = np.einsum('nij,nj->ni', intrinsics, depth)
    uv = image[:, :2] / image[:, 2:]
  outside = (np.any((uv < 0) | (uv > 1), axis=-1) & looks).mean()
  if outside > _MOST:
    return [
      f'The origin, where the object should be, is outside of {outside:.0%} of the images. Check '
      'the intrinsics (normalised by the size of the image) and the centre of the world.'
    ]
  return []


def _looks_at_origin(rotation, origin):
  """Whether the origin is in front of each camera, [n]; a camera at the origin shows it."""
  forward = np.sum(rotation[..., 2] * -origin, axis=-1)
  return (forward > 0) | (np.linalg.norm(origin, axis=-1) < 1e-6)
