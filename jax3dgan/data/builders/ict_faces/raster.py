"""A z-buffer for meshes of many small triangles, in NumPy; forward only."""

import numpy as np

_EDGE = 1e-9  # A centre on an edge belongs to both triangles, so that there are no cracks.


def rasterize(points, depth, triangles, size):
  """Finds the nearest triangle that faces the camera at the centre of each pixel.

  Args:
    points: [v, 2] in pixels, x right, y down; the first pixel's centre is at (0.5, 0.5).
    depth: [v] along the camera's axis, positive.
    triangles: int [t, 3]; those counter-clockwise in a picture with y up face the camera.
    size: pixels on a side.

  Returns:
    pixel, int [n] row-major numbers of the covered pixels in order; triangle, int [n];
    weights, float64 [n, 3] barycentric coordinates on the triangle in space, so that attributes
    are interpolated with the perspective.
  """
  points, depth = np.asarray(points, np.float64), np.asarray(depth, np.float64)
  corners = np.ascontiguousarray(triangles.T)  # [3, t]
  x, y = points[:, 0][corners], points[:, 1][corners]
  area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
  chosen = np.flatnonzero(area < 0)
  x, y = x[:, chosen], y[:, chosen]
  left, right = _range(x, size)
  top, bottom = _range(y, size)
  met = np.flatnonzero((right >= left) & (bottom >= top))  # Most are between two centres.
  chosen, x, y = chosen[met], x[:, met], y[:, met]
  area, left, top = area[chosen], left[met], top[met]
  width, height = right[met] - left + 1, bottom[met] - top + 1

  # Every pixel of the box around every triangle, as one long list.
  count = width * height
  owner = np.repeat(np.arange(len(chosen)), count)
  place = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
  row, column = np.divmod(place, width[owner])
  row, column = row + top[owner], column + left[owner]
  px, py = column + 0.5, row + 0.5
  # Weight of corner i: the line through the other two, 1 at the corner.
  weights = []
  for i in (1, 2):
    j, k = (i + 1) % 3, (i + 2) % 3
    slope_x, slope_y = (y[j] - y[k]) / area, (x[k] - x[j]) / area
    offset = -slope_x * x[j] - slope_y * y[j]
    weights.append(slope_x[owner] * px + slope_y[owner] * py + offset[owner])
  inside = (weights[0] >= -_EDGE) & (weights[1] >= -_EDGE)
  inside &= weights[0] + weights[1] <= 1 + _EDGE
  owner = owner[inside]
  second, third = weights[0][inside], weights[1][inside]
  flat = row[inside] * size + column[inside]

  # In the picture it is 1 / depth that is linear.
  inverse = (1.0 / depth)[triangles[chosen]][owner]
  share = np.stack([1 - second - third, second, third], axis=1) * inverse
  total = share.sum(1)
  # Positive floats are in the order of their bits: depth and triangle in one number to compare.
  key = (1.0 / total).astype(np.float32).view(np.uint32).astype(np.uint64) << np.uint64(32)
  key |= np.arange(len(owner), dtype=np.uint64)
  nearest = np.full(size * size, np.iinfo(np.uint64).max, np.uint64)
  np.minimum.at(nearest, flat, key)
  pixel = np.flatnonzero(nearest != np.iinfo(np.uint64).max)
  winner = (nearest[pixel] & np.uint64(0xFFFFFFFF)).astype(np.int64)
  return pixel, chosen[owner[winner]], share[winner] / total[winner, None]


def _range(corners, size):
  """First and last pixel whose centre is within the range of corners [3, t]."""
  low = np.minimum(np.minimum(corners[0], corners[1]), corners[2])
  high = np.maximum(np.maximum(corners[0], corners[1]), corners[2])
  first, last = np.ceil(low - (0.5 + _EDGE)), np.floor(high - (0.5 - _EDGE))
  return np.maximum(first, 0).astype(np.int64), np.minimum(last, size - 1).astype(np.int64)
