"""GRAF's golden networks and cameras as ours. There z is up; (y, z, x) are our (x, y, z)."""

import functools
import math

import goldens
import numpy as np

from jax3dgan.cameras import Camera
from jax3dgan.convert import graf_names
from jax3dgan.generators.graf import GRAF, MARCHING
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.rays import Rays

AXES = [1, 2, 0]  # theirs that is our x, y, z
BACK = [2, 0, 1]
OPTIONS = RenderOptions(
  resolution=6, near=7.5, far=12.5, white_back=True, **MARCHING | {'num_coarse': 8}
)


def weights(file: str, prefix: str) -> dict:
  """The weights of a file under a prefix, 'p/'."""
  arrays = goldens.load(file)
  return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


@functools.cache
def model(file: str = 'graf/generator', prefix: str = 'p/'):
  """(generator, variables in float64)."""
  state = {name: x.astype(np.float64) for name, x in weights(file, prefix).items()}
  fields = graf_names.model_fields(state)
  return GRAF(**fields), {'params': graf_names.generator_params(state, fields)}


def camera(pose, size: int, fov: float = 30.0) -> Camera:
  """Ours of poses [b, 3, 4] and pixels that are counted from 0 without a half."""
  pose = np.asarray(pose, np.float64)[:, AXES]
  cam2world = np.zeros((len(pose), 4, 4))
  cam2world[:, :3] = pose * [1, -1, -1, 1]  # OpenCV's axes
  cam2world[:, 3, 3] = 1
  focal, centre = 0.5 / math.tan(math.radians(fov) / 2), 0.5 + 0.5 / size
  intrinsics = np.array([[focal, 0, centre], [0, focal, centre], [0, 0, 1]])
  return Camera(cam2world, np.broadcast_to(intrinsics, (len(pose), 3, 3)))


def pose_of(camera: Camera) -> np.ndarray:
  """Theirs [b, 3, 4] of our cameras."""
  return np.asarray(camera.cam2world)[..., :3, :][..., BACK, :] * [1, -1, -1, 1]


def rays(origins, directions) -> Rays:
  """Ours of theirs [b, r, 3], whose poses' rounding to float32 they have."""
  origins, directions = (np.asarray(x, np.float64)[..., AXES] for x in (origins, directions))
  length = np.linalg.norm(directions, axis=-1, keepdims=True)
  return Rays(origins, directions / length, 1 / length)


def angles(u, v):
  """(yaw, pitch) of their uniform numbers."""
  u, v = (np.asarray(x, np.float64) for x in (u, v))
  return math.pi / 2 - 2 * math.pi * u, np.arccos(1 - 2 * v)


def offsets(u, bits) -> np.ndarray:
  """Places [b, 2] of patches, of uniforms [b, 3] (scale, x, y) and bits of signs [b, 2]."""
  return u[:, 1:].astype(np.float64) * np.where(bits, 1, -1)


def rows(x) -> np.ndarray:
  """[b, r, ...] as [b·r, ...]."""
  return np.asarray(x).reshape(-1, *np.shape(x)[2:])
