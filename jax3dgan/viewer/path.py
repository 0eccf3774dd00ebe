"""Paths of the camera: recorded while it moves or set key by key, made smooth, rendered."""

import dataclasses

import jax
import numpy as np
from scipy.interpolate import CubicSpline

from jax3dgan import cameras
from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.viewer import poses

MAX_KEYS = 10_000  # twenty minutes of recording
_look_at = jax.jit(cameras.look_at)


@dataclasses.dataclass(frozen=True)
class Key:
  """A camera at a time.

  Attributes:
    time: Seconds.
    azimuth, elevation: Radians, about `look_at`.
    focal: Normalised, of the square image.
    look_at: The point that it turned about, world units.
  """

  time: float
  azimuth: float
  elevation: float
  focal: float
  look_at: tuple[float, float, float] = (0.0, 0.0, 0.0)

  @classmethod
  def of(cls, time: float, camera: Camera, look_at=(0.0, 0.0, 0.0)) -> 'Key':
    """The key of a camera [1]."""
    azimuth, elevation = poses.angles(np.asarray(camera.cam2world)[0, :3, 3], look_at)
    focal = float(np.asarray(camera.intrinsics)[0, 1, 1])
    return cls(float(time), azimuth, elevation, focal, tuple(float(x) for x in look_at))


def spaced(keys: list[Key], seconds: float) -> list[Key]:
  """Returns keys at uniform times over so many seconds."""
  times = np.linspace(0, seconds, len(keys))
  return [dataclasses.replace(key, time=float(t)) for key, t in zip(keys, times, strict=True)]


def thinned(keys: list[Key], every: float = 0.25) -> list[Key]:
  """Returns recorded keys about `every` seconds apart, with both ends, for a smooth path."""
  kept = keys[:1]
  for key in keys[1:-1]:
    if key.time - kept[-1].time >= every:
      kept.append(key)
  if len(keys) > 1:
    if len(kept) > 1 and keys[-1].time - kept[-1].time < every / 2:
      kept.pop()
    kept.append(keys[-1])
  return kept


def spline(keys: list[Key], fps: float, radius: float) -> Camera:
  """Returns the cameras [n, ...] of a smooth path through keys: natural cubic splines of angles,
  the logarithm of the zoom and the look-at point.

  Args:
    keys: At least two, at rising times. The azimuth takes the shortest way between keys.
    fps: Cameras per second; the first and the last key are among them.
    radius: Distance from the points that the cameras turn about.

  Raises:
    UserError: Fewer than two keys, or no time between them.
  """
  if len(keys) < 2 or keys[-1].time <= keys[0].time:
    raise UserError('A path needs two views at least. Add keyframes, or record while you drag.')
  times = np.array([key.time for key in keys])
  if (np.diff(times) <= 0).any():
    raise UserError('The times of a path must rise.')
  rows = np.array([[k.azimuth, k.elevation, np.log(k.focal), *k.look_at] for k in keys])
  rows[:, 0] = np.unwrap(rows[:, 0])
  num = max(round((times[-1] - times[0]) * fps), 1) + 1
  at = CubicSpline(times, rows, bc_type='natural')(np.linspace(times[0], times[-1], num))
  origins = np.stack([poses.position(row[0], row[1], radius, row[3:]) for row in at])
  intrinsics = np.tile(np.float32([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]), (num, 1, 1))
  intrinsics[:, [0, 1], [0, 1]] = np.exp(at[:, 2])[:, None]
  cam2world = np.asarray(_look_at(np.float32(origins), np.float32(at[:, 3:])))
  return Camera(cam2world, intrinsics)
