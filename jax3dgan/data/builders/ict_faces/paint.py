"""Colours of the surface, as functions of the place on the neutral face (cm), and its light.

The model has no colours. Lips and brows follow its landmarks, lids the rim of the eyes' sockets;
the hair, the beard and the iris are drawn by hand in the coordinates of the neutral face.
"""

import functools

import numpy as np

from jax3dgan.data.builders.ict_faces.model import PARTS, FaceModel

_TEETH = (0.72, 0.66, 0.56)
_GUMS = (0.52, 0.14, 0.13)
_SOCKET = (0.28, 0.06, 0.05)
_WHITE = (0.80, 0.77, 0.74)
# Where the hair begins: azimuth around the vertical axis through (0, 0, _MIDDLE), 0 in front and
# 180 behind, degrees; and height in cm.
_MIDDLE = 1.5
_LINE_DEGREES = (0.0, 18.0, 34.0, 47.0, 58.0, 64.0, 72.0, 80.0, 92.0, 106.0, 118.0, 135.0, 180.0)
_LINE_HEIGHT = (9.9, 10.0, 9.4, 8.0, 6.6, 4.4, 3.0, 3.6, 6.4, 6.2, 0.5, -3.6, -4.6)


def _smooth(x, low, high):
  """0 below low, 1 above high, a cubic between."""
  t = np.clip((x - low) / (high - low), 0.0, 1.0)
  return t * t * (3 - 2 * t)


def _mix(a, b, share):
  return a + (b - a) * share[:, None]


def hair_mask(canonical, hairline=0.0):
  """How much hair there is at places [n, 3], 0 to 1."""
  x, y, z = np.asarray(canonical, np.float64).T
  azimuth = np.degrees(np.arctan2(np.abs(x), z - _MIDDLE))
  height = np.interp(azimuth, _LINE_DEGREES, _LINE_HEIGHT)
  front = np.clip(1 - azimuth / 70.0, 0.0, 1.0)
  ragged = 0.12 * np.sin(5.0 * x) + 0.1 * np.sin(11.0 * x + 3.0 * z)
  mask = _smooth(y - height - hairline * front + ragged, -0.25, 0.45)
  ear = _smooth(np.abs(x), 7.9, 8.2) * _smooth(6.6 - y, 0.0, 0.6)  # Ears stand out of the head.
  return mask * (1 - ear)


def grow(model: FaceModel, look, unit_cm):
  """float32 [v, 3] by which the hair lifts the head's surface, in world units."""
  if not look.volume:
    return 0.0
  deep = hair_mask(model.canonical - np.array([0.0, 0.7, 0.0]), look.hairline)
  deep *= _smooth(8.1 - np.abs(model.canonical[:, 0]), 0.0, 0.6)
  lift = np.where(model.on_head, deep, 0.0) * (look.volume / unit_cm)
  return (lift[:, None] * _outwards(model)).astype(np.float32)


def _outwards(model):
  away = model.canonical - np.array([0.0, 4.0, 1.0])
  return away / np.linalg.norm(away, axis=1, keepdims=True)


def albedo(model: FaceModel, look, part, canonical, lid, cavity):
  """Linear colours [n, 3] of surface points.

  Args:
    part: int [n]; canonical: [n, 3] cm; lid: [n] cm; cavity: [n], as of `FaceModel`.
  """
  colour = np.empty((len(part), 3))
  for i, name in enumerate(PARTS):
    chosen = np.flatnonzero(part == i)
    if not len(chosen):
      continue
    place = canonical[chosen].astype(np.float64)
    if name in ('face', 'head_neck'):
      colour[chosen] = _skin(model, look, place, lid[chosen], cavity[chosen])
    elif name.startswith('eyeball'):
      colour[chosen] = _eye(look, place, model.irises[i - PARTS.index('eyeball_l')], lid[chosen])
    elif name == 'teeth':
      colour[chosen] = np.array(_TEETH) * _depth_shade(place, 7.6, 10.2, 0.25)[:, None]
    elif name == 'gums_tongue':
      colour[chosen] = np.array(_GUMS) * _depth_shade(place, 5.0, 10.4, 0.12)[:, None]
    elif name == 'mouth_socket':
      near = _smooth(place[:, 2], 10.2, 10.9)
      colour[chosen] = np.array(_SOCKET) * _depth_shade(place, 6.0, 10.6, 0.08)[:, None]
      colour[chosen] = _mix(colour[chosen], 0.6 * look.lips, near)
    else:  # The eyes' sockets: what shows of them is the wet inside of the lids.
      colour[chosen] = look.skin * np.array([0.75, 0.45, 0.4])
  return np.clip(colour, 0.0, 1.0)


def _depth_shade(place, deep, front, dark):
  """What lies deep in the mouth is dark."""
  return dark + (1 - dark) * _smooth(place[:, 2], deep, front)


def _skin(model, look, place, lid, cavity):
  x, y, z = place.T
  side = np.abs(x)
  skin = np.broadcast_to(look.skin, place.shape)
  shape = _features(model)

  # Blood: cheeks, nose, ears; and a grain that is too fine to be seen as such.
  red = np.exp(-((side - 4.4) ** 2 + (y - 0.2) ** 2) / 3.5) * (z > 4)
  red += 0.8 * np.exp(-(x**2 + (y - 0.4) ** 2) / 0.9) * (z > 11) + 0.5 * _smooth(side, 7.8, 8.6)
  skin = skin * (1 - (0.22 * look.blush * red)[:, None] * np.array([0.15, 1.0, 0.85]))
  grain = np.sin(2.1 * side + 1.3 * y) * np.sin(1.7 * y - 2.3 * z) + np.sin(3.7 * z + side) * 0.5
  skin = skin * (1 + 0.02 * grain)[:, None]

  # Beard: chin, jaw and above the lip, thinner towards the cheek.
  edge = np.interp(side, (0.0, 1.5, 2.6, 4.0, 5.5, 7.0), (-1.5, -1.6, -2.4, -3.6, -2.6, 1.5))
  beard = _smooth(edge - y, -0.4, 2.0) * _smooth(z, 0.5, 4.0) * _smooth(y, -9.2, -7.6)
  if look.beard:
    skin = _mix(skin, 0.8 * look.hair, look.beard * beard)

  # Lips, with a soft edge; the line between them is dark because it is deep.
  inside = _lips(shape, place)
  colour = _mix(skin, look.lips, inside)

  # The lids' rims carry the lashes, which the model's own layer would draw as strips.
  iris_y = model.irises[:, 1].mean()
  upper = _smooth(y - iris_y, -0.35, 0.25)
  lash = np.exp(-((lid / 0.13) ** 2)) * (0.3 + 0.6 * upper)
  shadow = np.exp(-((lid / 0.8) ** 2)) * 0.14
  colour = colour * (1 - shadow)[:, None]
  colour = _mix(colour, 0.25 * look.hair, lash)

  brow = _brow(shape, place)
  colour = _mix(colour, 0.7 * look.hair, look.brow * brow)
  if look.volume:
    strands = 1 + 0.10 * np.sin(7.0 * x + 1.3 * np.sin(2.0 * z) + 0.6 * z)
    colour = _mix(colour, look.hair * strands[:, None], hair_mask(place, look.hairline))
  hollow = 1 - 0.55 * np.clip(cavity, 0.0, 1.0) + 0.10 * np.clip(-cavity, 0.0, 1.0)
  return colour * hollow[:, None]


def _eye(look, place, iris, lid):
  """White, iris and pupil; a lamp's reflection that stays in its place, as all else does."""
  x, y, _ = (place - iris).T
  radius = np.hypot(x, y)
  colour = np.array(_WHITE) * (1 - 0.12 * _smooth(radius, 0.7, 1.5))[:, None]
  ring = look.iris * (0.55 + 0.9 * _smooth(0.6 - radius, 0.0, 0.35))[:, None]
  colour = _mix(colour, ring, _smooth(0.64 - radius, 0.0, 0.06))
  colour = _mix(colour, 0.3 * look.iris, _smooth(radius, 0.5, 0.58) * (radius < 0.66))
  colour = _mix(colour, np.full(3, 0.01), _smooth(0.27 - radius, 0.0, 0.06))
  glint = np.hypot(x - 0.17, y - 0.2)
  colour = _mix(colour, np.full(3, 1.0), _smooth(0.15 - glint, 0.0, 0.05))
  return colour * (0.45 + 0.55 * _smooth(lid, 0.0, 0.45))[:, None]


@functools.lru_cache(2)
def _features_of(checksum, landmarks):
  """Outline of the lips [n, 2] and line of the left brow [m, 2] in the picture from the front."""
  del checksum
  points = np.frombuffer(landmarks, np.float32).reshape(68, 3)[:, :2].astype(np.float64)
  mirrored = points * (-1, 1)
  lips = 0.5 * (points[48:60] + mirrored[[54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55]])
  brow = 0.5 * (points[22:27] + mirrored[21:16:-1])
  return _curve(lips, closed=True), _curve(brow, closed=False)


def _features(model):
  return _features_of(model.checksum, model.canonical[model.landmarks].tobytes())


def _curve(points, closed, parts=4):
  """A Catmull-Rom spline through points [n, 2]."""
  if closed:
    padded = np.concatenate([points[-1:], points, points[:2]])
  else:
    ends = 2 * points[[0, -1]] - points[[1, -2]]
    padded = np.concatenate([ends[:1], points, ends[1:]])
  t = (np.arange(parts) / parts)[:, None]
  curve = []
  for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
    curve.append(
      0.5
      * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    )
  curve = np.concatenate(curve)
  return curve if closed else np.concatenate([curve, points[-1:]])


def _to_segments(points, curve):
  """Distance [n] of points [n, 2] to a polyline and where on it the nearest point is, in parts."""
  best, where = np.full(len(points), np.inf), np.zeros(len(points))
  x, y = points.T
  for i, (a, b) in enumerate(zip(curve[:-1], curve[1:], strict=True)):
    along = b - a
    dx, dy = x - a[0], y - a[1]
    t = np.clip((dx * along[0] + dy * along[1]) / max(along @ along, 1e-12), 0.0, 1.0)
    distance = (dx - t * along[0]) ** 2 + (dy - t * along[1]) ** 2
    nearer = distance < best
    best[nearer], where[nearer] = distance[nearer], i + t[nearer]
  return np.sqrt(best), where


def _lips(shape, place):
  """1 within the outline of the lips, 0 beyond, over 1.2 mm."""
  outline = shape[0]
  low, high = outline.min(0) - 0.3, outline.max(0) + 0.3
  near = ((place[:, :2] > low) & (place[:, :2] < high)).all(1) & (place[:, 2] > 5.0)
  result = np.zeros(len(place))
  points = place[near][:, :2]
  closed = np.concatenate([outline, outline[:1]])
  distance, _ = _to_segments(points, closed)
  a, b = closed[:-1], closed[1:]
  crosses = (a[:, 1] > points[:, 1:]) != (b[:, 1] > points[:, 1:])
  rise = np.where(b[:, 1] == a[:, 1], 1.0, b[:, 1] - a[:, 1])
  at = a[:, 0] + (points[:, 1:] - a[:, 1]) / rise * (b[:, 0] - a[:, 0])
  inside = (crosses & (points[:, :1] < at)).sum(1) % 2 == 1
  result[near] = _smooth(np.where(inside, distance, -distance), -0.06, 0.06)
  return result


def _brow(shape, place):
  """Hairs along the brow's line: thick at the nose, thin at the temple."""
  line = shape[1]
  points = np.stack([np.abs(place[:, 0]), place[:, 1]], axis=1)
  near = ((points > line.min(0) - 0.8) & (points < line.max(0) + 0.8)).all(1) & (place[:, 2] > 5.0)
  result = np.zeros(len(place))
  points = points[near]
  distance, where = _to_segments(points, line)
  where = where / (len(line) - 1)
  width = 0.42 - 0.26 * where
  hairs = 0.85 + 0.15 * np.sin(22.0 * points[:, 0] + 9.0 * points[:, 1])
  result[near] = _smooth(width - distance, -0.12, 0.14) * hairs
  return result


def irradiance(look, normals):
  """Light [n, 3] on unit normals [n, 3].

  Each lamp by the first three bands of spherical harmonics of a clamped cosine: max(c, 0) is
  about 1/4 + c/2 + 5/32 (3 c² - 1) (Ramamoorthi and Hanrahan, "An Efficient Representation for
  Irradiance Environment Maps", 2001); a little of it reaches beyond the terminator, as in skin.
  """
  light = look.ambient * (0.92 + 0.08 * normals[:, 1:2])
  for lamp, direction in zip(look.lamps, look.directions, strict=True):
    c = np.einsum('ni,i->n', normals, direction)
    light = light + np.maximum(0.25 + 0.5 * c + 5 / 32 * (3 * c * c - 1), 0.0)[:, None] * lamp
  return light
