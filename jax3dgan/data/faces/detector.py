"""Finds faces in photos and 468 landmarks of each: MediaPipe's networks, run on the CPU.

BlazeFace (Bazarevsky et al., arXiv 1907.05047) finds boxes with six points, in photos of near faces
or else of far ones; the face mesh (Kartynnik et al., arXiv 1907.06724) gives the landmarks of a
square around a face, and once more of the square that these landmarks suggest.
"""

import functools

import numpy as np

from jax3dgan.data.faces import weights
from jax3dgan.data.faces.warp import Square, cut

NUM_LANDMARKS = 468
_LEAST_SCORE = 0.5
_OVERLAP = 0.3  # intersection over union of boxes of one face
_AROUND = 1.5  # width of the square around a box, in widths of the box
_EYES = 33, 263  # landmarks: outer corners of the eyes, in the picture left and right
# (network, pixels on a side, (cells on a side, anchors a cell)).
_DETECTORS = (
  (weights.NETWORKS[0], 128, ((16, 2), (8, 6))),
  (weights.NETWORKS[1], 192, ((48, 1),)),
)
_LANDMARK_SIZE = 192


def landmarks(image) -> np.ndarray | None:
  """The landmarks of the largest face, float64 [468, 2] in pixels from the photo's corner; None
  where no face is found.

  Args:
    image: uint8 [h, w, 3].
  """
  square = find(image)
  for _ in range(2):
    if square is None:
      return None
    points, presence = _mesh(image, square)
    if presence < _LEAST_SCORE:
      return None
    square = _around(points.min(0), points.max(0), *points[list(_EYES)])
  return points


def find(image) -> Square | None:
  """A square around the largest face; None where there is none."""
  height, width = image.shape[:2]
  whole = Square((width / 2, height / 2), max(height, width))
  for name, size, cells in _DETECTORS:
    pixels = cut(image, whole, size).astype(np.float32) / 127.5 - 1
    regressors, scores = sorted(_run(name, pixels), key=lambda x: -x.shape[-1])
    scores = 1 / (1 + np.exp(-np.clip(scores[0, :, 0].astype(np.float64), -100, 100)))
    places = regressors[0].reshape(len(scores), 8, 2).astype(np.float64) / size
    # Centre of the box, its width and height, and six points.
    places[:, [0, *range(2, 8)]] += _anchors(cells)[:, None]
    faces = _distinct(places[scores >= _LEAST_SCORE], scores[scores >= _LEAST_SCORE])
    if len(faces):
      face = max(faces, key=lambda face: face[1].max())
      half = face[1] / 2
      low, high = (whole.to_photo((face[0] + s * half)[None])[0] for s in (-1, 1))
      return _around(low, high, *whole.to_photo(face[2:4]))
  return None


def _around(low, high, eye, other_eye) -> Square:
  """The square around a box, turned so that the eyes are level."""
  x, y = other_eye - eye
  return Square(tuple((low + high) / 2), _AROUND * (high - low).max(), float(np.arctan2(y, x)))


def _mesh(image, square):
  """(landmarks [468, 2] in pixels of the photo, the probability of a face)."""
  pixels = cut(image, square, _LANDMARK_SIZE).astype(np.float32) / 255
  presence, points = sorted(_run('face_landmark', pixels), key=lambda x: x.size)
  points = points.reshape(NUM_LANDMARKS, 3)[:, :2].astype(np.float64) / _LANDMARK_SIZE
  return square.to_photo(points), 1 / (1 + np.exp(-float(presence.reshape(()))))


def _distinct(places, scores) -> list:
  """Means of the boxes of each face, weighted by scores."""
  faces, left = [], np.argsort(-scores)
  while len(left):
    same = _overlaps(places[left[0]], places[left]) >= _OVERLAP
    same[0] = True
    chosen = left[same]
    faces.append(np.average(places[chosen], axis=0, weights=scores[chosen]))
    left = left[~same]
  return faces


def _overlaps(place, places):
  """Intersection over union [n] of a box with others."""
  low, high = (place[0] + s * place[1] / 2 for s in (-1, 1))
  lows, highs = (places[:, 0] + s * places[:, 1] / 2 for s in (-1, 1))
  both = np.maximum(np.minimum(high, highs) - np.maximum(low, lows), 0).prod(-1)
  return both / np.maximum(place[1].prod() + places[:, 1].prod(-1) - both, 1e-12)


@functools.cache
def _anchors(layers):
  """Centres [n, 2] of the cells, row by row, as often as a cell has anchors."""
  found = []
  for cells, count in layers:
    y, x = (np.indices((cells, cells)).reshape(2, -1) + 0.5) / cells
    found.append(np.repeat(np.stack([x, y], axis=1), count, axis=0))
  return np.concatenate(found)


@functools.cache
def _interpreter(name):
  made = weights.interpreter(name)
  return made, made.get_input_details()[0]['index'], made.get_output_details()


def _run(name, pixels):
  made, place, outputs = _interpreter(name)
  made.set_tensor(place, pixels[None])
  made.invoke()
  return [made.get_tensor(output['index']) for output in outputs]
