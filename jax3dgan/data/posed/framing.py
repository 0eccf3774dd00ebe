"""Where a scene stands: a rotation, a centre and one scale bring it to the origin, y up.

A point p of the scene's file becomes scale · R · (p − centre), and back. By default

- R turns the file's up to +y. COLMAP's worlds have any orientation: of them the mean of the photos'
  up, and the side that the photos are taken from (where they are from one side) to +z;
- the centre is the point nearest to all optical axes; where they do not meet (parallel, or looking
  outwards), the median of the scene's points;
- the scale makes the cameras' mean distance from the centre `RADIUS`. Where centre and scale are
  those of the file within `TOLERANCE`, the file's are kept.
"""

import dataclasses

import numpy as np

from jax3dgan.errors import UserError

# NeRF-synthetic's cameras are at 4.03 of its objects, and instant-ngp's converter scales to 4 too.
RADIUS = 4.0
TOLERANCE = 0.05
MODES = ('auto', 'none')
# Optical axes within 6° (sin² of it) meet anywhere; a point behind cameras is not what they show.
_MIN_SPREAD = 0.01
_MIN_IN_FRONT = 0.9
# Of points' distances: reconstructions have some far from everything.
_PERCENTILES = (0.5, 99.5)
_MARGIN = 0.1  # of near and far, beyond what was measured
_MIN_NEAR = 0.02  # of the radius
_MAX_POINTS = 20000
_UPS = {
  sign + axis: (1.0 if not sign else -1.0) * np.eye(3)[i]
  for i, axis in enumerate('xyz')
  for sign in ('', '-')
}
UPS = ('auto', *_UPS)


@dataclasses.dataclass(frozen=True)
class Framing:
  """The similarity from the file's world to the library's, and what follows from it.

  Attributes:
    rotation: [3, 3].
    centre: [3], in the file's world.
    scale: the library's units for one of the file's.
    near, far: suggested limits along rays, in the library's units.
    radius: mean distance of the cameras from the origin, in the library's units.
    applied_transform: [4, 4] of nerfstudio: from an earlier world to the file's; None without.
  """

  rotation: np.ndarray
  centre: np.ndarray
  scale: float
  near: float
  far: float
  radius: float
  applied_transform: np.ndarray | None = None

  def pose(self, cam2world):
    """cam2world [..., 4, 4] of the file in the library's world."""
    from jax3dgan.cameras import formats  # Imports JAX: only where a scene is read.

    return formats.move_pose(cam2world, self.rotation, self.matrix[:3, 3], self.scale)

  @property
  def matrix(self):
    """[4, 4]: homogeneous points of the file to points of the library."""
    matrix = np.eye(4)
    matrix[:3, :3] = self.scale * self.rotation
    matrix[:3, 3] = -matrix[:3, :3] @ self.centre
    return matrix

  def to_file(self, points):
    """Points [..., 3] of the library's world in the file's: exports for other programs."""
    return np.asarray(points, np.float64) @ self.rotation / self.scale + self.centre

  def as_dict(self):
    """For the index: everything, and both matrices."""
    values = {
      name: value.tolist() if isinstance(value, np.ndarray) else value
      for name, value in dataclasses.asdict(self).items()
      if value is not None
    }
    inverse = np.linalg.inv(self.matrix)
    return {**values, 'file_to_world': self.matrix.tolist(), 'world_to_file': inverse.tolist()}


def find(capture, mode='auto', scale=None, centre=None, up='auto') -> Framing:
  """Chooses the framing of a scene.

  Args:
    capture: frames.Capture.
    mode: 'auto', or 'none': centre and scale of the file.
    scale, centre: instead of the chosen ones.
    up: which axis of the file's world points upwards, of `UPS`.

  Raises:
    UserError: where the cameras do not look at one point, and no points say where the scene is.
  """
  poses = np.stack([frame.cam2world for frame in capture.reference])  # [n, 4, 4]
  rotation = _turn(poses, capture.up if up == 'auto' else up)
  if mode == 'auto' and (scale is None or centre is None):
    found_centre, found_scale = _fit(capture, poses, centre)
  else:
    found_centre, found_scale = np.zeros(3), 1.0
  scale = found_scale if scale is None else float(scale)
  centre = found_centre if centre is None else np.asarray(centre, np.float64)
  if capture.up == up == 'auto':
    rotation = _face_cameras(rotation, poses, centre)
  radius = float(np.linalg.norm(poses[:, :3, 3] - centre, axis=-1).mean()) * scale
  near, far = _limits(capture, poses, centre, scale)
  near = max(near * (1 - _MARGIN), _MIN_NEAR * radius)
  far = max(far, near) * (1 + _MARGIN)
  # Rounded as people would: they are suggestions.
  near, far = (float(np.format_float_positional(v, 3, fractional=False)) for v in (near, far))
  return Framing(rotation, centre, float(scale), near, far, radius, capture.applied_transform)


def _turn(poses, up):
  """The rotation [3, 3] that turns up to +y, by the smallest angle."""
  from jax3dgan.cameras import formats  # Imports JAX: only where a scene is read.

  if up == 'z':
    return formats.Z_UP_TO_Y_UP
  if up == 'auto':
    mean = -poses[:, :3, 1].mean(0)  # the cameras' y axes point down
    length = np.linalg.norm(mean)
    # Cameras that roll all the way round say nothing of it.
    direction = mean / length if length > 0.1 else np.array([0.0, 1.0, 0.0])
  else:
    direction = _UPS[up]
  target = np.array([0.0, 1.0, 0.0])
  cosine = direction @ target
  if cosine < -1 + 1e-9:
    return np.diag([1.0, -1.0, -1.0])
  v = np.cross(direction, target)
  cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
  return np.eye(3) + cross + cross @ cross / (1 + cosine)  # Rodrigues


def _face_cameras(rotation, poses, centre):
  """The rotation, turned about y so that the cameras are around +z, where they are on one side."""
  offsets = (poses[:, :3, 3] - centre) @ rotation.T
  x, _, z = offsets.mean(0)
  if np.hypot(x, z) < 0.1 * np.linalg.norm(offsets, axis=-1).mean():
    return rotation
  azimuth = np.arctan2(x, z)
  cosine, sine = np.cos(azimuth), np.sin(azimuth)
  return np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]]) @ rotation


def look_at_point(poses):
  """The point nearest to all optical axes, by least squares.

  Args:
    poses: cam2world [n, 4, 4].

  Returns:
    [3], or None where the axes do not meet: (nearly) parallel, or behind the cameras.
  """
  origins, forward = poses[:, :3, 3], poses[:, :3, 2]
  planes = np.eye(3) - forward[:, :, None] * forward[:, None, :]  # [n, 3, 3]
  matrix = planes.mean(0)
  if np.linalg.eigvalsh(matrix)[0] < _MIN_SPREAD:
    return None
  point = np.linalg.solve(matrix, (planes @ origins[:, :, None]).mean(0)[:, 0])
  in_front = np.sum((point - origins) * forward, axis=-1) > 0
  return point if in_front.mean() >= _MIN_IN_FRONT else None


def _fit(capture, poses, given_centre):
  """(centre, scale) of framing 'auto'."""
  origins = poses[:, :3, 3]
  if given_centre is not None:
    centre = np.asarray(given_centre, np.float64)
  elif capture.has_region_centre:
    centre = np.asarray(capture.region[0])
  else:
    centre = look_at_point(poses)
    if centre is None and len(capture.points):
      centre = np.median(capture.points, axis=0)
    if centre is None:
      # Photos that are taken outwards are still upright.
      is_upside_down = capture.up == 'z' and poses[:, 2, 1].mean() > 0
      if is_upside_down and look_at_point(poses * [1, -1, -1, 1]) is not None:
        raise UserError(
          'All cameras look away from one point, upside down: their matrices seem to have OpenCV '
          'axes, and this format has OpenGL axes. Negate columns 2 and 3 of each matrix.'
        )
      raise UserError(
        'The cameras do not look at one point, so where the scene is cannot be found. Give '
        "--centre=X,Y,Z in the file's world, or keep the file's with --framing=none."
      )
  distance = np.linalg.norm(origins - centre, axis=-1).mean()
  if distance < 1e-9:
    raise UserError(
      'All cameras are at one place, so the size of the scene is not known. Give --scale and '
      "--centre, or keep the file's with --framing=none."
    )
  scale = RADIUS / distance
  is_centred = np.linalg.norm(centre) < TOLERANCE * distance
  if given_centre is None and is_centred and abs(scale - 1) < TOLERANCE:
    return np.zeros(3), 1.0
  return centre, scale


def _limits(capture, poses, centre, scale):
  """(nearest, farthest) distance of the scene along rays, in the library's units."""
  points = capture.points[:: max(1, len(capture.points) // _MAX_POINTS)]
  nearest, farthest = [], []
  for frame, pose in zip(capture.reference, poses, strict=True):
    if len(points):
      distances = _distances_of_visible(points, pose, _intrinsics(frame))
      if len(distances):
        low, high = np.percentile(distances, _PERCENTILES)
        nearest.append(low)
        farthest.append(high)
  if nearest:
    # A few photos with wrong points should not decide for all.
    return np.percentile(nearest, 2) * scale, np.percentile(farthest, 98) * scale
  # The sphere around the centre that the rays of a picture's corners touch: an object that all
  # photos show whole is in it.
  distances = np.linalg.norm(poses[:, :3, 3] - centre, axis=-1)
  corners = [_corner_sine(_intrinsics(frame)) for frame in capture.reference]
  sphere = np.median(distances * corners)
  reach = sphere
  if capture.region is not None:
    reach = np.sqrt(3.0) * capture.region[1]  # the corners of its cube
    sphere = min(sphere, reach)
  return (distances.min() - sphere) * scale, (distances.max() + reach) * scale


def _intrinsics(frame):
  """Normalised, of a square photo where the size is not known."""
  lens = frame.lens
  side = lens.height or lens.width or 1000
  return lens.intrinsics(lens.height or side, lens.width or side)


def _corner_sine(intrinsics):
  focal, centre = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
  tangent = np.linalg.norm(np.maximum(centre, 1 - centre) / focal)
  return tangent / np.hypot(tangent, 1)


def _distances_of_visible(points, pose, intrinsics):
  """Distances [m] from a camera to those of the points [n, 3] that are in its picture."""
  local = (points - pose[:3, 3]) @ pose[:3, :3]
  depth = local[:, 2]
  with np.errstate(divide='ignore', invalid='ignore'):
    image = (local @ intrinsics.T)[:, :2] / depth[:, None]
  is_visible = (depth > 0) & np.all((image >= 0) & (image <= 1), axis=-1)
  return np.linalg.norm(local[is_visible], axis=-1)
