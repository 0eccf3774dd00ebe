"""The camera of a face from its landmarks: perspective-n-point with EG3D's camera of FFHQ.

The camera is `RADIUS` from the world's origin and looks at it, with the focal length `FOCAL` of the
square that is cut out of the photo (EG3D, Chan et al., CVPR 2022: both are the same for all faces).
So what is fitted is the camera's direction, and the place, size and turn of the square: six numbers
of 468 landmarks of a mean face, by weighted least squares.
"""

import functools
import pathlib
from typing import NamedTuple

import numpy as np

from jax3dgan.data.builders.ict_faces.looks import FOCAL, INTRINSICS, RADIUS
from jax3dgan.data.faces.warp import Square

WIDTHS = {'face': 1.0, 'head': 1.5}  # of the square that is cut, in widths of FFHQ's
_FILE = pathlib.Path(__file__).with_name('canonical_face.tsv')
_STEPS = 30
_FAR = 2.5  # of a landmark's deviation, beyond which it counts less (Huber)


class Fit(NamedTuple):
  """A fitted camera.

  Attributes:
    label: float32 [25], the camera of the square, upright.
    square: what the camera sees of the photo, FFHQ's.
    error: of the landmarks, root of the weighted mean square, in widths of the square.
  """

  label: np.ndarray
  square: Square
  error: float

  def cropped(self, width: float) -> 'Fit':
    """The same camera with a square of so many widths of this one."""
    label = self.label.copy()
    label[[16, 20]] /= width
    return self._replace(label=label, square=self.square._replace(size=self.square.size * width))


@functools.cache
def canonical() -> tuple[np.ndarray, np.ndarray]:
  """(landmarks [468, 3] of a mean face in world units, y up, looking at +z; the deviations [468] of
  people's, in widths of the square)."""
  table = np.loadtxt(_FILE, comments='#', dtype=np.float64)
  return table[:, :3], table[:, 3]


def fit(points, face=None, deviations=None) -> Fit:
  """The camera of landmarks.

  Args:
    points: [n, 2] pixels of the photo.
    face: [n, 3] where they are in the world; `canonical` by default.
    deviations: [n] how far they are from there as a rule: a landmark's weight is 1 / square.
  """
  if face is None:
    face, deviations = canonical()
  points, face = np.asarray(points, np.float64), np.asarray(face, np.float64)
  weights = np.ones(len(points)) if deviations is None else 1 / np.asarray(deviations) ** 2
  weights = weights / weights.mean()
  rotation, centre, size = _weak_perspective(points, face, weights)
  damping, error = 1e-3, np.inf
  for _ in range(_STEPS):
    residual, jacobian = _residuals(points, face, rotation, centre, size)
    # In widths of the square; robust against landmarks that are elsewhere.
    distance = np.linalg.norm(residual, axis=1) / size
    error = np.sqrt(np.average(distance**2, weights=weights))
    scale = 1.4826 * np.median(distance * np.sqrt(weights)) + 1e-9
    far = distance * np.sqrt(weights) / scale
    now = weights * np.minimum(1, _FAR / np.maximum(far, 1e-9))
    rows, both = jacobian.reshape(-1, 6), np.repeat(now, 2)
    normal = rows.T @ (both[:, None] * rows)
    step = np.linalg.solve(
      normal + damping * np.diag(np.diag(normal)), rows.T @ (both * residual.ravel())
    )
    tried = _rotation(step[:3]) @ rotation, centre + step[3:5], size * np.exp(step[5])
    after, _ = _residuals(points, face, *tried)
    before = np.sum(now * np.sum(residual**2, axis=1))
    cost = np.sum(now * np.sum(after**2, axis=1))
    if cost <= before:
      (rotation, centre, size), damping = tried, damping / 4
      if before - cost <= 1e-12 * before:
        break
    else:
      damping *= 8
  label, angle = _upright(rotation)
  return Fit(label, Square(tuple(centre), float(size), angle), float(error))


def _project(face, rotation):
  """(points of the camera [n, 3], their places [n, 2] on the plane at distance 1)."""
  local = face @ rotation.T + [0, 0, RADIUS]
  return local, local[:, :2] / local[:, 2:]


def _residuals(points, face, rotation, centre, size):
  """Residuals [n, 2], pixels, and their Jacobian [n, 2, 6] by a turn of the camera, the centre and
  the logarithm of the size."""
  local, places = _project(face, rotation)
  shown = FOCAL * size * places
  residual = points - centre - shown
  x, y, z = local.T
  zero = np.zeros_like(z)
  by_local = (
    FOCAL
    * size
    * np.stack([np.stack([1 / z, zero, -x / z**2], -1), np.stack([zero, 1 / z, -y / z**2], -1)], 1)
  )
  turned = local - [0, 0, RADIUS]
  x, y, z = turned.T
  by_turn = np.stack(
    [np.stack([zero, z, -y], -1), np.stack([-z, zero, x], -1), np.stack([y, -x, zero], -1)], 1
  )  # [n, 3, 3], the negative cross product with the point
  jacobian = np.zeros((len(points), 2, 6))
  jacobian[:, :, :3] = by_local @ by_turn
  jacobian[:, :, 3:5] = np.eye(2)
  jacobian[:, :, 5] = shown
  return residual, jacobian


def _weak_perspective(points, face, weights):
  """A first guess without perspective: (rotation, centre, size)."""
  root = np.sqrt(weights)[:, None]
  system = np.concatenate([face, np.ones((len(face), 1))], axis=1)
  solution = np.linalg.lstsq(root * system, root * points, rcond=None)[0]  # [4, 2]
  u, scales, v = np.linalg.svd(solution[:3].T, full_matrices=False)
  rows = u @ v
  rotation = np.stack([*rows, np.cross(*rows)])
  return rotation, solution[3], scales.mean() * RADIUS / FOCAL


def _upright(rotation):
  """(label of the camera whose right is level, the angle by which its square is turned)."""
  forward = rotation[2]
  right = np.cross(forward, (0.0, 1.0, 0.0))
  right /= max(np.linalg.norm(right), 1e-12)
  level = np.stack([right, np.cross(forward, right), forward])
  turn = rotation @ level.T  # about the optical axis
  matrix = np.eye(4)
  matrix[:3] = np.column_stack([level.T, -RADIUS * forward])
  label = np.concatenate([matrix.ravel(), INTRINSICS]).astype(np.float32)
  return label, float(np.arctan2(turn[1, 0], turn[0, 0]))


def _rotation(vector):
  """The rotation [3, 3] of a rotation vector [3] (Rodrigues)."""
  angle = np.linalg.norm(vector)
  x, y, z = vector
  cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
  if angle < 1e-12:
    return np.eye(3) + cross
  return np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross
