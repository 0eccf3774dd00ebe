"""Lens distortion of OpenCV's model, and photos without it.

Normalised coordinates of an undistorted point are x = X / Z, y = Y / Z; with r² = x² + y² the lens
moves it to

  x' = x·ρ + 2·p1·x·y + p2·(r² + 2x²),   y' = y·ρ + p1·(r² + 2y²) + 2·p2·x·y,
  ρ = (1 + k1·r² + k2·r⁴ + k3·r⁶) / (1 + k4·r² + k5·r⁴ + k6·r⁶)

(OpenCV's documentation of camera calibration; the first terms are Brown's model, 1966).
"""

import functools

import numpy as np

from jax3dgan.data import images
from jax3dgan.lenses import distort

_ROWS = 256  # resampled at a time, so that a large photo needs little memory beside itself
# A zoom beyond this is no lens of a photo but a damaged calibration.
_ZOOMS = (0.5, 4.0)
_BISECTIONS = 24  # the zoom is exact to a 10⁻⁷
_STEP = 1e-6  # outwards, in shares of a radius, by which the derivative is measured
_EPSILON = 1e-9


def undistorted_intrinsics(intrinsics, coefficients):
  """Intrinsics of the undistorted photo: the widest view of which the photo shows every pixel.

  The principal point stays; both focal lengths grow (or shrink) by one factor.

  Args:
    intrinsics: normalised, [3, 3].
    coefficients: see `distort`.

  Returns:
    float64 [3, 3].

  Raises:
    ImageError: where there is no such view: the calibration folds the picture.
  """
  return _undistorted_intrinsics(tuple(np.ravel(intrinsics)), tuple(coefficients)).copy()


@functools.lru_cache(maxsize=1024)
def _undistorted_intrinsics(flat, coefficients):
  intrinsics = np.array(flat).reshape(3, 3)
  # A rectangle's border and lines from the principal point to it: a fold is crossed by these.
  side = np.linspace(0.0, 1.0, 65)
  zero, one = np.zeros_like(side), np.ones_like(side)
  border = np.concatenate(
    [np.stack(pair, -1) for pair in ((side, zero), (side, one), (zero, side), (one, side))]
  )
  centre, focal = intrinsics[:2, 2], intrinsics[[0, 1], [0, 1]]
  grid = np.linspace(0.0, 1.0, 33)[1:, None, None] * (border - centre) / focal  # [32, 260, 2]

  def is_known(zoom):
    points = grid / zoom
    source = distort(points, coefficients)
    further = distort(points * (1 + _STEP), coefficients)
    in_photo = source * focal + centre
    is_inside = np.all((in_photo >= -_EPSILON) & (in_photo <= 1 + _EPSILON))
    is_unfolded = np.all(np.linalg.norm(further, axis=-1) > np.linalg.norm(source, axis=-1))
    return is_inside and is_unfolded

  low, high = _ZOOMS
  if not is_known(high):
    raise images.ImageError('its lens distortion cannot be undone')
  if is_known(low):
    high = low
  for _ in range(_BISECTIONS):
    middle = (low + high) / 2
    low, high = (low, middle) if is_known(middle) else (middle, high)
  result = intrinsics.copy()
  result[[0, 1], [0, 1]] *= high
  return result


def undistort(image, intrinsics, coefficients):
  """Resamples a photo bilinearly as a pinhole camera would have taken it.

  Args:
    image: uint8 [h, w, 3].
    intrinsics: normalised, [3, 3], of the photo.
    coefficients: see `distort`.

  Returns:
    (image uint8 [h, w, 3], its normalised intrinsics [3, 3], see `undistorted_intrinsics`).

  Raises:
    ImageError: where the distortion cannot be undone.
  """
  height, width = image.shape[:2]
  target = undistorted_intrinsics(intrinsics, coefficients)
  focal, centre = (x.astype(np.float32) for x in (target[[0, 1], [0, 1]], target[:2, 2]))
  # From normalised coordinates to the photo's pixels, 0 at the first one's centre.
  size = np.array([width, height])
  scale = (intrinsics[[0, 1], [0, 1]] * size).astype(np.float32)
  offset = (intrinsics[:2, 2] * size - 0.5).astype(np.float32)
  result = np.empty_like(image)
  u = (np.arange(width, dtype=np.float32) + 0.5) / width
  for top in range(0, height, _ROWS):
    v = (np.arange(top, min(top + _ROWS, height), dtype=np.float32) + 0.5) / height
    points = (np.stack(np.meshgrid(u, v), axis=-1) - centre) / focal  # [rows, w, 2]
    result[top : top + len(v)] = _bilinear(image, distort(points, coefficients) * scale + offset)
  return result, target


def _bilinear(image, positions):
  """Values of an image at positions float32 [..., 2] (column, row; 0 is the first one's centre)."""
  height, width = image.shape[:2]
  pixels = image.reshape(-1, 3)
  x = np.clip(positions[..., 0], 0, width - 1)
  y = np.clip(positions[..., 1], 0, height - 1)
  column, row = x.astype(np.int32), y.astype(np.int32)
  x, y = (x - column)[..., None], (y - row)[..., None]
  right = np.minimum(column + 1, width - 1) - column
  place, below = row * width + column, np.minimum(row + 1, height - 1) * width + column
  upper, lower = ((1 - x) * pixels[p] + x * pixels[p + right] for p in (place, below))
  return (upper + y * (lower - upper) + 0.5).astype(np.uint8)
