"""A small rasteriser of triangles in NumPy: texels of an atlas, pixels of a preview."""

import numpy as np

_BATCH = 2**21  # pixels that are tested at a time
_EDGE = 1e-9  # a pixel's centre on an edge belongs to both triangles


def rasterize(corners: np.ndarray, height: int, width: int, inverse_depth=None):
  """Which triangle covers each pixel's centre.

  Args:
    corners: [f, 3, 2] (x right, y down) in pixels: the first pixel's centre is at (½, ½).
    height, width: Of the picture.
    inverse_depth: [f, 3] 1/z of the corners: of several triangles the nearest counts. None where
      they do not overlap; then the first counts.

  Returns:
    Faces [h, w], −1 where there is none, and barycentric coordinates [h, w, 3] in the picture's
    plane.
  """
  corners = np.asarray(corners, np.float64)
  low = np.ceil(corners.min(1) - 0.5)
  high = np.floor(corners.max(1) - 0.5)
  low = np.clip(low, 0, [width, height]).astype(np.int64)
  size = np.clip(high, -1, [width - 1, height - 1]).astype(np.int64) - low + 1  # [f, 2]
  candidates = np.flatnonzero((size > 0).all(1) & (np.abs(_double_area(corners)) > 0))
  # Boxes of like size together: as arrays, with little around them.
  rounded = 2 ** np.ceil(np.log2(np.maximum(size, 1))).astype(np.int64)
  best = np.full(height * width, -np.inf)
  face = np.full(height * width, -1, np.int64)
  for box in np.unique(rounded[candidates], axis=0):
    members = candidates[(rounded[candidates] == box).all(1)]
    step = max(_BATCH // int(box.prod()), 1)
    for start in range(0, len(members), step):
      _draw(members[start : start + step], box, corners, low, inverse_depth, width, best, face)
  bary = np.zeros((height * width, 3))
  hit = np.flatnonzero(face >= 0)
  centres = np.stack([hit % width + 0.5, hit // width + 0.5], axis=-1)
  bary[hit] = barycentric(corners[face[hit]], centres)
  return face.reshape(height, width), bary.reshape(height, width, 3)


def _double_area(corners):
  (ax, ay), (bx, by), (cx, cy) = (corners[:, i].T for i in range(3))
  return (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)


def barycentric(corners, points) -> np.ndarray:
  """Barycentric coordinates [..., 3] of points [..., 2] in triangles [..., 3, 2]."""
  a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]

  def cross(u, v):
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

  area = cross(b - a, c - a)
  second = cross(points - a, c - a) / area
  third = cross(b - a, points - a) / area
  return np.stack([1 - second - third, second, third], axis=-1)


def _draw(members, box, corners, low, inverse_depth, width, best, face) -> None:
  """Draws triangles whose boxes are at most `box` (width, height) into `best` and `face`."""
  y, x = np.divmod(np.arange(box.prod()), box[0])
  pixel = low[members, None] + np.stack([x, y], axis=-1)  # [m, p, 2]
  bary = barycentric(corners[members, None], pixel + 0.5)
  row, column = np.nonzero((bary >= -_EDGE).all(-1))
  pixel = pixel[row, column]
  # Nothing outside of the picture: a rounded box may reach beyond it.
  inside = (pixel[:, 0] < width) & (pixel[:, 1] < len(best) // width)
  row, column, pixel = row[inside], column[inside], pixel[inside]
  flat = pixel[:, 1] * width + pixel[:, 0]
  members = members[row]
  if inverse_depth is None:
    score = -members.astype(np.float64)
  else:
    score = (bary[row, column] * inverse_depth[members]).sum(-1)
  before = best[flat]
  np.maximum.at(best, flat, score)
  visible = np.flatnonzero((score == best[flat]) & (score > before))[
    ::-1
  ]  # the first of equals last
  face[flat[visible]] = members[visible]


def perspective(bary, inverse_depth) -> np.ndarray:
  """Coordinates [..., 3] on the triangle in space of those in the picture, with 1/z [..., 3]."""
  weights = bary * inverse_depth
  return weights / np.maximum(weights.sum(-1, keepdims=True), 1e-12)
