"""Squares cut out of a photo: turned, of any size, also across its border."""

from typing import NamedTuple

import numpy as np
from PIL import Image


class Square(NamedTuple):
  """A square in a photo.

  Attributes:
    centre: (x, y) in pixels, from the corner of the photo.
    size: of a side, pixels.
    angle: radians by which it is turned, from x towards y: clockwise as one sees it.
  """

  centre: tuple[float, float]
  size: float
  angle: float = 0.0

  def axes(self) -> np.ndarray:
    """[2, 2] with the square's right and its down as columns, pixels of the photo for its side."""
    cos, sin = np.cos(self.angle), np.sin(self.angle)
    return self.size * np.array([[cos, -sin], [sin, cos]])

  def to_photo(self, points) -> np.ndarray:
    """Pixels of the photo [n, 2] of points [n, 2], (0, 0) and (1, 1) the square's corners."""
    return (np.asarray(points, np.float64) - 0.5) @ self.axes().T + np.asarray(self.centre)

  def from_photo(self, points) -> np.ndarray:
    """The inverse of `to_photo`."""
    offset = np.asarray(points, np.float64) - np.asarray(self.centre)
    return offset @ np.linalg.inv(self.axes()).T + 0.5

  def outside(self, height: int, width: int) -> float:
    """The share of its area that is not in a photo."""
    grid = (np.indices((64, 64)).reshape(2, -1).T[:, ::-1] + 0.5) / 64
    x, y = self.to_photo(grid).T
    return float(1 - ((x >= 0) & (x <= width) & (y >= 0) & (y <= height)).mean())


def cut(image, square: Square, resolution: int, mirrored: bool = False) -> np.ndarray:
  """The square of a photo, uint8 [resolution, resolution, 3].

  Bicubic; a photo that shrinks to less than half is reduced by means of whole blocks before.

  Args:
    image: uint8 [h, w, 3].
    mirrored: whether the photo goes on as in a mirror beyond its border; else it is black there.
  """
  corners = square.to_photo([(0, 0), (1, 0), (0, 1), (1, 1)])
  # With a margin for the filter; what lies beyond is not looked at.
  margin = max(4.0, 2 * square.size / resolution)
  low = np.floor(corners.min(0) - margin).astype(int)
  high = np.ceil(corners.max(0) + margin).astype(int)
  part, centre = _part(image, low, high, mirrored), np.asarray(square.centre) - low
  factor = max(1, int(square.size / resolution / 1.001))
  picture = Image.fromarray(part)
  if factor > 1:
    width, height = (-(-n // factor) * factor for n in picture.size)  # whole blocks
    part = np.pad(part, ((0, height - part.shape[0]), (0, width - part.shape[1]), (0, 0)), 'edge')
    picture = Image.fromarray(part).reduce(factor)
  axes, centre = square.axes() / factor / resolution, centre / factor
  # Pillow maps the corner coordinates of the result to those of the source.
  origin = centre - axes @ (np.ones(2) * resolution / 2)
  matrix = (axes[0, 0], axes[0, 1], origin[0], axes[1, 0], axes[1, 1], origin[1])
  size = (resolution, resolution)
  made = picture.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
  return np.asarray(made, np.uint8)


def _part(image, low, high, mirrored):
  """image[low:high], also beyond the border; uint8."""
  height, width = image.shape[:2]
  rows, columns = np.arange(low[1], high[1]), np.arange(low[0], high[0])
  part = image[np.ix_(_reflected(rows, height), _reflected(columns, width))]
  if not mirrored:
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    part = np.where(inside[..., None], part, 0).astype(np.uint8)
  return part


def _reflected(indices, size):
  """Indices in [0, size) of a row that goes on as in a mirror: 2 1 0 | 0 1 2 | 2 1 0."""
  indices = np.mod(indices, 2 * size)
  return np.minimum(indices, 2 * size - 1 - indices)
