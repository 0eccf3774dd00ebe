"""Cameras of viser to ours and back, and the views that a model was trained with.

viser's cameras have OpenCV axes as ours do: a position, a quaternion wxyz of the camera-to-world
rotation, and the full vertical field of view of the canvas, in radians. Our image is the largest
centred square of that canvas.
"""

import dataclasses
import functools
import math

import jax
import numpy as np
from scipy.spatial.transform import Rotation

from jax3dgan import cameras
from jax3dgan.cameras import Camera

_look_at = jax.jit(cameras.look_at)  # without jit each small operation is compiled separately


def square_fov(fov: float, aspect: float) -> float:
  """Returns the field of view of the largest centred square of a canvas, radians.

  Args:
    fov: The canvas's vertical one, radians.
    aspect: Its width divided by its height.
  """
  return 2 * math.atan(math.tan(fov / 2) * min(aspect, 1.0))


def canvas_fov(fov: float, aspect: float) -> float:
  """Returns the canvas's vertical field of view that gives its square this one; radians."""
  return 2 * math.atan(math.tan(fov / 2) / min(aspect, 1.0))


def from_viser(position, wxyz, fov: float, aspect: float = 1.0) -> Camera:
  """Returns our camera [1] of viser's; NumPy arrays in float32.

  Args:
    position: [3].
    wxyz: [4] unit quaternion, the real part first.
    fov: Vertical field of view of the canvas, radians.
    aspect: Width of the canvas divided by its height.
  """
  w, x, y, z = np.asarray(wxyz, np.float64)
  cam2world = np.eye(4, dtype=np.float32)
  cam2world[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
  cam2world[:3, 3] = position
  focal = 0.5 / math.tan(square_fov(fov, aspect) / 2)
  intrinsics = np.float32([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])
  return Camera(cam2world[None], intrinsics[None])


def to_viser(camera: Camera, aspect: float = 1.0) -> tuple[np.ndarray, np.ndarray, float]:
  """Returns viser's (position [3], wxyz [4], fov in radians) of our first camera [1, ...].

  The real part of the quaternion is not negative.
  """
  cam2world = np.asarray(camera.cam2world, np.float64)[0]
  x, y, z, w = Rotation.from_matrix(cam2world[:3, :3]).as_quat()
  sign = -1.0 if w < 0 else 1.0
  fov = 2 * math.atan(0.5 / float(np.asarray(camera.intrinsics)[0, 1, 1]))
  return cam2world[:3, 3], sign * np.array([w, x, y, z]), canvas_fov(fov, aspect)


def dolly_to_zoom(camera: Camera, look_at, radius: float) -> Camera:
  """Returns the camera [1] at `radius` from its look-at point, with the same width of view there.

  A field is sampled between fixed distances from the camera, those of training: instead of moving
  nearer, the camera zooms from that distance.

  Args:
    camera: From `from_viser`.
    look_at: [3] the point.
    radius: World units.
  """
  cam2world, intrinsics = np.array(camera.cam2world), np.array(camera.intrinsics)
  offset = cam2world[0, :3, 3] - np.asarray(look_at, np.float32)
  distance = max(float(np.linalg.norm(offset)), 1e-6)
  cam2world[0, :3, 3] += offset * (radius / distance - 1)
  intrinsics[0, [0, 1], [0, 1]] *= radius / distance
  return Camera(cam2world, intrinsics)


def zoom_to_dolly(camera: Camera, look_at, fov: float) -> np.ndarray:
  """Returns the position [3] from which a camera of this field of view (radians, of the square)
  sees as much as a zoomed one [1]: what `dolly_to_zoom` started from."""
  camera = jax.tree.map(np.asarray, camera)
  look_at = np.asarray(look_at, np.float64)
  share = 0.5 / math.tan(fov / 2) / float(camera.intrinsics[0, 1, 1])
  return look_at + (camera.cam2world[0, :3, 3] - look_at) * share


def angles(position, look_at=(0.0, 0.0, 0.0)) -> tuple[float, float]:
  """Returns (azimuth, elevation) in radians, see `cameras.orbit`, of a position about a point."""
  x, y, z = np.asarray(position, np.float64) - np.asarray(look_at, np.float64)
  return math.atan2(x, z), math.atan2(y, math.hypot(x, z))


def position(azimuth: float, elevation: float, radius: float, look_at=(0.0, 0.0, 0.0)):
  """Returns the position [3] of these angles: the inverse of `angles`."""
  flat = math.cos(elevation)
  away = [flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth)]
  return np.asarray(look_at, np.float64) + radius * np.array(away)


def elevation_range(prior: cameras.PosePrior) -> tuple[float, float]:
  """Returns the (lowest, highest) elevation in radians that shows a prior: two standard deviations
  of a gaussian, the ends of the others."""
  if prior.name == 'mixture':
    lows, highs = zip(*(elevation_range(part) for part in prior.components), strict=True)
    return min(lows), max(highs)
  spread = prior.pitch_std * (2 if 'gaussian' in prior.name else 1)
  ends = np.array([prior.pitch_mean - spread, prior.pitch_mean + spread])
  if prior.name == 'spherical_uniform':  # between the ends of v = pitch / π, see `cameras`
    ends = np.arccos(1 - 2 * np.clip(ends / math.pi, 0, 1))
  low, high = np.clip(math.pi / 2 - ends, -math.pi / 2, math.pi / 2)[::-1]
  return float(low), float(high)


@dataclasses.dataclass(frozen=True)
class TrainedViews:
  """The views that a model was trained with.

  Attributes:
    azimuth: Radians to each side of the front; π and more is all round.
    elevation: (lowest, highest), radians.
  """

  azimuth: float
  elevation: tuple[float, float]

  # Radians by which a limited view can leave the range, more and more slowly.
  SOFT_MARGIN = math.radians(6)

  @classmethod
  def of(cls, model) -> 'TrainedViews':
    """Those of a `trained.Trained`."""
    return cls(model.yaw_half_range, elevation_range(model.pose_prior))

  @property
  def all_round(self) -> bool:
    """Whether every azimuth is within."""
    return cameras.goes_round(self.azimuth)

  def contains(self, azimuth: float, elevation: float) -> bool:
    """Whether a view is within, up to rounding."""
    low, high = self.elevation
    inside = low - 1e-3 <= elevation <= high + 1e-3
    return inside and (self.all_round or abs(azimuth) <= self.azimuth + 1e-3)

  def limit(self, azimuth: float, elevation: float) -> tuple[float, float]:
    """Returns the angles, softly limited to the range: never more than `SOFT_MARGIN` outside."""
    low, high = self.elevation
    if not self.all_round:
      azimuth = _soft(azimuth, -self.azimuth, self.azimuth, self.SOFT_MARGIN)
    return azimuth, _soft(elevation, low, high, self.SOFT_MARGIN)

  def words(self) -> str:
    """Describes the range, in degrees."""
    low, high = (round(math.degrees(e)) for e in self.elevation)
    sides = 'all round' if self.all_round else f'±{math.degrees(self.azimuth):.0f}° to the sides'
    return f'{sides}, {low}° to {high}° up'


def _soft(value: float, low: float, high: float, give: float) -> float:
  over = value - min(max(value, low), high)
  return value - over + give * math.tanh(over / give)


def limited(camera: Camera, views: TrainedViews, look_at, radius: float) -> Camera:
  """Returns the camera [1] within the trained views (see `TrainedViews.limit`), its zoom kept."""
  now = angles(np.asarray(camera.cam2world)[0, :3, 3], look_at)
  if views.contains(*now):
    return camera
  origin = position(*views.limit(*now), radius, look_at)
  return Camera(
    np.asarray(_look_at(np.float32(origin)[None], np.float32(look_at)[None])), camera.intrinsics
  )


@functools.cache
def _front(model):
  return jax.tree.map(np.asarray, model.orbit(0.0))


def start(model, azimuth: float = 0.0) -> Camera:
  """Returns the camera [1] that a session starts with, NumPy arrays."""
  return _front(model) if azimuth == 0 else jax.tree.map(np.asarray, model.orbit(azimuth))
