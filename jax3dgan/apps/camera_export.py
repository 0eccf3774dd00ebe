"""Camera paths for other programs: an animated camera in glTF, and matrices in JSON."""

import math
import pathlib

import flax.struct
import numpy as np

from jax3dgan import json_text
from jax3dgan.apps import turntable
from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.meshes import gltf
from jax3dgan.pictures import display, paths
from jax3dgan.runs import provenance

# From the camera's axes (x right, y down, z forward) to those of glTF and Blender (y up, −z
# forward); and from a world with y up to Blender's with z up, as its glTF importer turns it.
_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
_Z_UP = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


@flax.struct.dataclass
class Film:
  """A camera that moves, its image square and centred, pixel centres at (i + ½)/resolution.

  Attributes:
    cam2world: [n, 4, 4] in this library's axes.
    fov: Full field of view, radians.
    resolution: Pixels on a side of the frames.
    fps: Frames per second.
  """

  cam2world: np.ndarray
  fov: float
  resolution: int
  fps: float

  def add_to(self, glb: gltf.Glb) -> None:
    """Adds the camera to a GLB file."""
    glb.film(self.cam2world @ _FLIP, self.fov, 1.0, self.fps)

  def to_json(self) -> dict:
    """`fov_degrees`, `resolution`, `fps`, and for each of the `frames` its number from 1 and
    cam2world as rows: `opencv` in this library's axes, `blender` as an object's `matrix_world`."""
    frames = [
      {
        'frame': i + 1,
        'opencv': matrix.tolist(),
        'blender': (_Z_UP @ matrix @ _FLIP).tolist(),
      }
      for i, matrix in enumerate(self.cam2world)
    ]
    return {
      'fov_degrees': math.degrees(self.fov),
      'resolution': self.resolution,
      'fps': self.fps,
      'frames': frames,
    }


def film_of(camera: Camera, resolution: int, fps: float, align_corners: bool = False) -> Film:
  """The Film of cameras [n].

  Args:
    camera: Of square pixels and a centred image, one focal length for all.
    resolution: Pixels on a side.
    fps: Frames per second.
    align_corners: Whether the rays of the images go through the ends of the field of view (see
      `rays.pixel_grid`): others have pixels with an area, of which the outer halves lie beyond.
  """
  intrinsics = np.asarray(camera.intrinsics, np.float64)
  focal = intrinsics[:, [0, 1], [0, 1]]
  if not (np.allclose(focal, focal[0, 0]) and np.allclose(intrinsics[:, :2, 2], 0.5)):
    raise UserError(
      'Only a camera with a centred, square image and one focal length can be exported.'
    )
  half = 0.5 / focal[0, 0] * (resolution / (resolution - 1) if align_corners else 1.0)
  return Film(np.asarray(camera.cam2world, np.float64), 2 * math.atan(half), resolution, fps)


def film(model, text: str) -> Film:
  """The Film that `--cameras` asks for.

  Args:
    model: A `trained.Trained` with a camera.
    text: 'orbit:60', 'sweep:60' or 'figure-eight:60' (see `paths.make`) with so many frames, or the
      record of a video (`turntable.mp4.json`, or the video itself).
  """
  display.check_camera(model, 'Leave out --cameras.')
  kind, _, number = text.partition(':')
  resolution, fps = model.resolution, None
  if kind in turntable.TRAJECTORIES and number.isdecimal() and int(number):
    path = paths.make(model, int(number), kind)
  elif pathlib.Path(text).is_file():
    path, fps, resolution = _from_record(model, text)
  else:
    raise UserError(
      f'--cameras={text} is no path of cameras. Set orbit:60, sweep:60, or the .json beside a '
      'turntable.'
    )
  align_corners = model.options(resolution).align_corners
  return film_of(path.camera(model), resolution, fps or len(path) / 3.0, align_corners)


def _from_record(model, path):
  """The camera path of a record, its frame rate and resolution."""
  try:
    entry = provenance.read(path)
    camera, flags = entry['camera'], entry['flags']
    degrees = [np.radians(np.float64(camera[name])) for name in ('azimuth', 'elevation')]
    rest = [np.float64(camera[name]) for name in ('distance', 'fov')]
    cameras = paths.Path(*degrees, *rest)
    return cameras, flags.get('fps'), int(flags.get('resolution') or model.resolution)
  except (UserError, KeyError, TypeError, ValueError):
    raise UserError(
      f'--cameras={path} is no record of a turntable. Set the .json beside one, or orbit:60.'
    ) from None


def save_json(path, film: Film) -> None:
  """Writes `Film.to_json`."""
  text = json_text.dumps(film.to_json(), indent=1)
  pathlib.Path(path).write_text(text, encoding='utf-8')


def save_glb(path, film: Film) -> None:
  """Writes a GLB file with the camera alone."""
  glb = gltf.Glb()
  film.add_to(glb)
  pathlib.Path(path).write_bytes(glb.to_bytes())
