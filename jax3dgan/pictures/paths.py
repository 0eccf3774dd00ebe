"""Camera paths: the camera of each frame of a seamless loop."""

import dataclasses
import math

import numpy as np

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.pictures import display

MOVING = ('orbit', 'sweep', 'figure-eight')  # at the distance of training
TRAJECTORIES = (*MOVING, 'dolly')
DOLLY = (0.8, 2.0)  # nearest and farthest, in the distance of the cameras of training
# Limits of a figure-eight: wider ones would not look like an eight.
_MAX_YAW, _MIN_PITCH, _MAX_PITCH = math.radians(40), math.radians(8), math.radians(20)
# near and far are compile-time constants: a dolly zoom uses so many different ones. With more of
# them fewer samples would be empty, but each takes seconds to compile.
_DISTANCES = 4
_MIN_DISTANCE = 0.02  # the smallest `near`, as a fraction of the distance of training


@dataclasses.dataclass(frozen=True, eq=False)
class Path:
  """Cameras that look at the origin.

  Attributes:
    azimuth, elevation: [n] radians, see `cameras.orbit`.
    distance: [n] from the origin, world units.
    fov_degrees: [n] full field of view.
  """

  azimuth: np.ndarray
  elevation: np.ndarray
  distance: np.ndarray
  fov_degrees: np.ndarray

  def __len__(self) -> int:
    return len(self.azimuth)

  def __getitem__(self, index) -> 'Path':
    """The path of some of its frames, [m] of an index [m]."""
    return Path(*(getattr(self, field.name)[index] for field in dataclasses.fields(self)))

  def unique(self) -> tuple['Path', np.ndarray]:
    """Returns the different frames, and for each frame [n] which of them it is."""
    rows = np.stack([getattr(self, field.name) for field in dataclasses.fields(self)], axis=1)
    _, first, index = np.unique(np.round(rows, 9), axis=0, return_index=True, return_inverse=True)
    return self[first], index.reshape(-1)

  def camera(self, model) -> Camera:
    """Returns the cameras [n] of a model, of NumPy arrays."""
    camera = model.orbit(self.azimuth, self.elevation)
    cam2world = np.array(camera.cam2world)
    cam2world[:, :3, 3] *= (self.distance / model.config.render.radius)[:, None]
    intrinsics = np.array(camera.intrinsics)
    focal = 0.5 / np.tan(np.radians(self.fov_degrees) / 2)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    return Camera(cam2world, intrinsics)

  def record(self) -> dict[str, list[float]]:
    """Returns the frames for a record: angles in degrees, distances in world units."""
    values = {
      'azimuth': np.degrees(self.azimuth),
      'elevation': np.degrees(self.elevation),
      'distance': self.distance,
      'fov': self.fov_degrees,
    }
    return {key: np.round(np.asarray(v, np.float64), 6).tolist() for key, v in values.items()}

  def depth_ranges(self, model) -> list[tuple[np.ndarray, dict[str, float]]]:
    """Groups frames by the segment of their rays that contains the object.

    Returns:
      For each group its frames' indices, and the options `near`, `far` and `num_coarse` that
      sample the same space around the origin as in training, with the same density: no options if
      the camera is at the distance of training.
    """
    render, options = model.config.render, model.options()
    closer = np.asarray(self.distance) - render.radius  # how much longer rays are
    low, high = float(closer.min()), float(closer.max())
    if max(abs(low), abs(high)) < 1e-6:
      return [(np.arange(len(self)), {})]
    if options.near + low < _MIN_DISTANCE * render.radius:
      shortest = (render.radius - options.near) / render.radius + _MIN_DISTANCE
      raise UserError(
        f'A camera at {self.distance.min() / render.radius:.3g} of the distance of training is '
        f'inside of what {model.name} learned. Start --dolly at {math.ceil(shortest * 100) / 100}.'
      )
    if options.limits_radius:  # near and far go with the camera
      return [(np.arange(len(self)), {})]
    width = max((high - low) / _DISTANCES, 1e-6)
    which = np.minimum(((closer - low) / width).astype(int), _DISTANCES - 1)
    groups = []
    for i in np.unique(which):
      near, far = options.near + low + i * width, options.far + low + (i + 1) * width
      samples = math.ceil(options.num_coarse * (far - near) / (options.far - options.near))
      overrides = {'near': near, 'far': far, 'num_coarse': samples}
      groups.append((np.flatnonzero(which == i), overrides))
    return groups


def fixed(model, azimuth, elevation=None) -> Path:
  """Returns a path at the distance and field of view of training; angles in radians."""
  elevation = model.mean_elevation if elevation is None else elevation
  azimuth, elevation = np.broadcast_arrays(
    np.atleast_1d(np.asarray(azimuth, np.float64)), np.asarray(elevation, np.float64)
  )
  render = model.config.render
  distance = np.full(azimuth.shape, render.radius, np.float64)
  return Path(azimuth, elevation, distance, np.full(azimuth.shape, render.fov_degrees, np.float64))


def swing(low: float, high: float, num: int) -> np.ndarray:
  """Returns num values of a loop from the middle to `high`, to `low` and back."""
  return (low + high) / 2 + (high - low) / 2 * np.sin(2 * math.pi * np.arange(num) / num)


def _pitch_half_range(prior) -> float:
  if prior.name == 'mixture':
    return max(_pitch_half_range(part) for part in prior.components)
  return prior.pitch_std * (2 if 'gaussian' in prior.name else 1)


def dolly_fov(distance, reference_distance: float, reference_fov: float):
  """Returns the field of view [n] in degrees that keeps the object's size in the picture.

  An object of size x at the origin spans f·x/d of the picture: f/d is constant.

  Args:
    distance: [n] of the camera from the origin.
    reference_distance, reference_fov: where the size is right.
  """
  half = math.tan(math.radians(reference_fov) / 2) * reference_distance
  return np.degrees(2 * np.arctan(half / np.asarray(distance, np.float64)))


def make(
  model,
  num: int,
  trajectory: str | None = None,
  yaw: tuple[float, ...] | None = None,
  pitch: tuple[float, ...] | None = None,
  dolly: tuple[float, float] = DOLLY,
) -> Path:
  """Returns a loop for a model.

  Args:
    model: A `trained.Trained`; its pose prior has the defaults.
    num: Frames.
    trajectory: 'orbit', the full circle; 'sweep', to one side, to the other and back;
      'figure-eight', a horizontal eight of yaw and pitch; 'dolly', a dolly zoom: the camera
      moves back while the field of view narrows, so that the object keeps its size and perspective
      flattens. None for an orbit where the pose prior covers the circle, else a sweep.
    yaw: Azimuth in degrees, (start,) or (lowest, highest), 0 in front. An orbit begins there.
    pitch: Elevation in degrees above the horizon, (constant,) or (lowest, highest).
    dolly: Nearest and farthest distance, in that of training.

  Raises:
    UserError: No camera to move, no such path, or angles that no camera can have.
  """
  display.check_camera(model, 'Use jax3dgan.apps.samples.')
  trajectory = trajectory or ('orbit' if display.goes_round(model) else 'sweep')
  if trajectory not in TRAJECTORIES:
    raise UserError(f'No path is called {trajectory!r}. There are: {", ".join(TRAJECTORIES)}.')
  if trajectory == 'dolly' and (not model.has_depth or model.generator.parallel_rays):
    has = 'parallel rays' if model.generator.parallel_rays else 'no field'
    raise UserError(
      f'{model.name} has {has}, and so no perspective that a dolly zoom could change: its '
      f'pictures would stand still. Choose another of {", ".join(MOVING)}.'
    )
  for name, angles in (('--yaw', yaw), ('--pitch', pitch)):
    if angles is not None and not (len(angles) in (1, 2) and np.isfinite(angles).all()):
      raise UserError(f'{name} takes one angle in degrees or a range, as 20 or -10,30.')
  display.check_pitch(pitch)
  if not (len(dolly) == 2 and 0 < dolly[0] < dolly[1] < math.inf):
    raise UserError('--dolly takes the nearest and the farthest distance, as 0.8,2.')
  turn = 2 * math.pi * np.arange(num) / num
  middle = np.radians(np.mean(yaw)) if yaw is not None else 0.0
  if trajectory == 'orbit':
    azimuth = middle + turn
  elif trajectory == 'dolly':
    azimuth = np.full(num, middle if yaw is not None else display.show_azimuth(model))
  else:
    most = math.pi if trajectory == 'sweep' else _MAX_YAW
    half = min(model.yaw_half_range, most)
    ends = np.radians(yaw) if yaw is not None and len(yaw) == 2 else (middle - half, middle + half)
    azimuth = swing(*ends, num)
  if pitch is not None:
    low, high = np.radians(pitch[0]), np.radians(pitch[-1])
  elif trajectory == 'figure-eight':
    half = min(max(_pitch_half_range(model.pose_prior), _MIN_PITCH), _MAX_PITCH)
    low, high = (np.clip(model.mean_elevation + s * half, *display.STANDING) for s in (-1, 1))
  else:
    low = high = model.mean_elevation
  # Twice as fast as the yaw: an eight; in an orbit once a turn; constant if it is one angle.
  times = 2 if trajectory == 'figure-eight' else 1
  elevation = (low + high) / 2 + (high - low) / 2 * np.sin(times * turn)
  path = fixed(model, azimuth, elevation)
  if trajectory != 'dolly':
    return path
  # Uniform in the logarithm: the perspective changes at a constant rate; slow at both ends.
  share = (1 - np.cos(turn)) / 2
  render = model.config.render
  distance = render.radius * dolly[0] * (dolly[1] / dolly[0]) ** share
  fov = dolly_fov(distance, render.radius, render.fov_degrees)
  return dataclasses.replace(path, distance=distance, fov_degrees=fov)
