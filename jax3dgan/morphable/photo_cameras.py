"""The camera of a face code that was fitted to a photo (Exp-GAN, ACCV 2022): orthographic, by
least squares of landmarks, and moved to where FFHQ's alignment crops the photo.

Codes fitted to photos have a scaled orthographic camera of a crop; a model trained on aligned
photos needs the one of the aligned photo. Where cameras are known, none of this is.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.cameras import Camera
from jax3dgan.morphable.model import MorphableModel, rotation_matrices, turned
from jax3dgan.nn import precision

CANONICAL_SCALE = 10.0  # of a head in metres, so that it fills the cameras' square
CANONICAL_DEPTH = 1.5  # by which it is pushed back then, so that depths are positive
_PHOTO = 1024  # pixels on a side of the photos that `cam` and `bbox` are of
_EYES, _MOUTH = (slice(36, 42), slice(42, 48)), (48, 54)  # of the 68 landmarks


class PhotoCodes(NamedTuple):
  """Codes of photos [b].

  Attributes:
    shape, expression: [b, k] and [b, e].
    pose: [b, 6] rotation vectors of the head and of the jaw, radians.
    cam: [b, 3] scale and translation (x, y) of the orthographic camera of the crop.
    bbox: [b, 4] (x1, y1, x2, y2) of the crop, pixels of a photo of 1024².
  """

  shape: jax.Array
  expression: jax.Array
  pose: jax.Array
  cam: jax.Array
  bbox: jax.Array


class PhotoCamera(NamedTuple):
  """Orthographic cameras [b], which look along −z (x right, y up) at the square [−1, 1]².

  Attributes:
    world_to_camera: [b, 4, 4] scaled rotation and translation.
    cam2world: [b, 3, 4], its inverse: the left 3 × 3 carry 1 / scale.
    unaligned: [b, 3, 4] cam2world without the move to the aligned photo.
    scale: [b, 1] of the least squares.
    vertices, landmarks: [b, v, 3] and [b, l, 3] in the camera's coordinates.
  """

  world_to_camera: jax.Array
  cam2world: jax.Array
  unaligned: jax.Array
  scale: jax.Array
  vertices: jax.Array
  landmarks: jax.Array


def posed(model: MorphableModel, codes: PhotoCodes):
  """(vertices [b, v, 3], landmarks [b, l, 3]) of codes, the head turned about the origin."""
  head, jaw = codes.pose[:, :3], codes.pose[:, 3:]
  vertices = turned(model.vertices(codes.shape, codes.expression, jaw), rotation_matrices(head))
  return vertices, model.landmarks(vertices)


def canonical(model: MorphableModel, codes: PhotoCodes):
  """As `posed` of a head that looks ahead, as large and as far as the volume has it."""
  vertices = CANONICAL_SCALE * model.vertices(codes.shape, codes.expression, codes.pose[:, 3:])
  back = np.asarray([0, 0, CANONICAL_DEPTH], vertices.dtype)
  return vertices - back, model.landmarks(vertices) - back


def of_codes(model: MorphableModel, codes: PhotoCodes, rotation=None, align=True) -> PhotoCamera:
  """The cameras of codes.

  Args:
    rotation: [3, 3] or [b, 3, 3] of the head instead of its own; it is always aligned then.
    align: whether to move it to the photo as FFHQ's alignment crops it.
  """
  places = _photo_places(posed(model, codes)[1], codes)
  vertices, landmarks = canonical(model, codes)
  turn = rotation_matrices(codes.pose[:, :3])
  if rotation is not None:
    turn = jnp.broadcast_to(jnp.asarray(rotation, turn.dtype), turn.shape)
  scale, shift = _fit(places, turned(_rounded(landmarks), turn)[..., :2])
  shift = jnp.concatenate([shift, jnp.zeros_like(scale)], axis=-1)
  rows = scale[..., None] * jnp.concatenate([turn, shift[..., None]], axis=-1)  # [b, 3, 4]
  unaligned = _inverse(rows)
  vertices, landmarks = (_moved(points, rows) for points in (vertices, landmarks))
  if align or rotation is not None:
    centre, half = ffhq_crop(landmarks[..., :2])
    offset = jnp.pad(centre, ((0, 0), (0, 1)))

    def aligned(points):
      return (points - offset[:, None]) / half[:, None]

    vertices, landmarks = aligned(vertices), aligned(landmarks)
    rows = rows.at[..., 3].add(-offset) / half[..., None]
  bottom = jnp.broadcast_to(jnp.eye(4, dtype=rows.dtype)[3:], (len(rows), 1, 4))
  whole = jnp.concatenate([rows, bottom], axis=1)
  return PhotoCamera(whole, _inverse(rows), unaligned, scale, vertices, landmarks)


def as_camera(cam2world, distance: float) -> Camera:
  """The pinhole cameras [b] that stand for cam2world [b, 3, 4] of `PhotoCamera`: so far in front of
  its square, which is what they see at that distance. As a label they are a photo's camera."""
  size = jnp.linalg.norm(cam2world[..., :3], axis=1, keepdims=True)  # [b, 1, 3]
  right, up, back = jnp.moveaxis(cam2world[..., :3] / size, -1, 0)
  origin = cam2world[..., 3] + distance * back
  rows = jnp.stack([right, -up, -back, origin], axis=-1)
  last = jnp.broadcast_to(jnp.eye(4, dtype=rows.dtype)[3:], (len(rows), 1, 4))
  focal = 0.5 * distance / size[:, 0]
  k = jnp.zeros((len(rows), 3, 3), rows.dtype).at[:, 2, 2].set(1).at[:, :2, 2].set(0.5)
  k = k.at[:, 0, 0].set(focal[:, 0]).at[:, 1, 1].set(focal[:, 1])
  return Camera(jnp.concatenate([rows, last], axis=1), k)


def of_camera(camera: Camera, distance: float):
  """cam2world [b, 3, 4] of the orthographic cameras that see the plane at a distance from pinhole
  cameras [b] as these do, and everything else along the pinhole cameras' axes: the inverse of
  `as_camera`, without skew."""
  right, down, forward = jnp.moveaxis(camera.cam2world[:, :3, :3], -1, 0)
  reach = distance / jnp.stack(
    [camera.intrinsics[:, 0, 0], camera.intrinsics[:, 1, 1]], axis=-1
  )  # [b, 2], of the picture
  aside = (0.5 - camera.intrinsics[:, :2, 2]) * reach
  place = camera.origin + distance * forward + aside[:, :1] * right + aside[:, 1:] * down
  x, y = 0.5 * reach[:, :1], 0.5 * reach[:, 1:]
  return jnp.stack([x * right, -y * down, -x * forward, place], axis=-1)


def to_camera(points, cam2world):
  """World points [b, n, 3] in the coordinates of cameras [b, 3, 4]."""
  columns = cam2world[..., :3]
  columns = columns / jnp.sum(columns**2, axis=1, keepdims=True)
  return precision.einsum('bci,bnc->bni', columns, points - cam2world[:, None, :, 3])


def guessed_pose(cam2world):
  """What the release's discriminators guess of cameras [b, 3, 4] of `PhotoCamera`, [b, 6]: the
  quaternion (w, x, y, z) of the left 3 × 3 as they are, and so no unit one, and x and y of the
  place. The cameras are turned by less than 120°."""
  m = cam2world[..., :3]
  real = 0.5 * jnp.sqrt(1 + jnp.trace(m, axis1=1, axis2=2))
  turned_by = [m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]]
  parts = [real, *(x / (4 * real) for x in turned_by), cam2world[:, 0, 3], cam2world[:, 1, 3]]
  return jnp.stack(parts, axis=-1)


def ffhq_crop(landmarks, size: int = _PHOTO):
  """The square around faces that FFHQ's alignment crops, upright (Karras et al., CVPR 2019).

  Args:
    landmarks: [b, 68, 2] (x right, y up) in [−1, 1].
    size: pixels on a side of what these span; the square's sides are between pixels' centres.

  Returns:
    centre [b, 2] and half of the width [b, 1], in the landmarks' coordinates.
  """
  # Its pixels are from 0 to size − 1, y down; a crop is the box around four turned corners.
  flip = np.asarray([1, -1], landmarks.dtype)
  pixels = (landmarks * flip / 2 + 0.5) * (size - 1)
  left, right = (pixels[:, part].mean(1) for part in _EYES)
  eye, mouth = (left + right) / 2, (pixels[:, _MOUTH[0]] + pixels[:, _MOUTH[1]]) / 2
  eye_to_eye, eye_to_mouth = right - left, mouth - eye
  x = eye_to_eye - jnp.flip(eye_to_mouth, axis=-1) * np.asarray([-1, 1], landmarks.dtype)
  reach = jnp.maximum(2.0 * _length(eye_to_eye), 1.8 * _length(eye_to_mouth))
  x = x / _length(x) * reach
  y = jnp.flip(x, axis=-1) * np.asarray([-1, 1], landmarks.dtype)
  centre = eye + 0.1 * eye_to_mouth
  corners = jnp.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])
  low, high = ((f(corners, axis=0) / (size - 1) - 0.5) * 2 * flip for f in (jnp.min, jnp.max))
  return (low + high) / 2, (high - low)[:, :1] / 2


def _photo_places(landmarks, codes):
  """Where landmarks [b, l, 3] of the crop's camera are in the photo, [b, l, 2] in [−1, 1]."""
  scale, shift = codes.cam[:, None, :1], codes.cam[:, None, 1:]
  x1, y1, x2, y2 = (codes.bbox[:, i, None] for i in range(4))
  half = _PHOTO / 2
  places = _rounded(scale * (landmarks[..., :2] + shift)) * (x2 - x1)[..., None] / 2
  centre = jnp.concatenate([(x1 + x2) / 2 - half, half - (y1 + y2) / 2], axis=-1)
  return (places + centre[:, None]) / half


def _fit(places, landmarks):
  """Least squares of scale [b, 1] and shift [b, 2]: places = scale · (landmarks + shift), [b, l, 2]
  each, with the error in the landmarks' units."""
  mean, target = places.mean(1, keepdims=True), landmarks.mean(1, keepdims=True)
  p, q = places - mean, landmarks - target
  inverse = jnp.sum(p * q, axis=(1, 2)) / jnp.sum(p * p, axis=(1, 2))
  shift = inverse[:, None] * mean[:, 0] - target[:, 0]
  return 1 / inverse[:, None], shift


def _rounded(x):
  """To a thousandth, as the release keeps landmarks."""
  return jnp.round(x * 1e3) / 1e3


def _length(x):
  return jnp.linalg.norm(x, axis=-1, keepdims=True)


def _moved(points, rows):
  return turned(points, rows[..., :3]) + rows[:, None, :, 3]


def _inverse(rows):
  """[b, 3, 4] of a scaled rotation with a translation, [b, 3, 4]."""
  matrix, shift = rows[..., :3], rows[..., 3]
  square = jnp.sum(matrix[:, :1] ** 2, axis=-1, keepdims=True)  # of the scale
  back = jnp.swapaxes(matrix, 1, 2) / square
  return jnp.concatenate([back, -precision.einsum('bij,bj->bi', back, shift)[..., None]], axis=-1)
