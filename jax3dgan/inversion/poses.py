"""Cameras that a search moves: around the object, up and down, and, where asked, rolled and nearer.

A pose is four numbers about a base camera: yaw, pitch, roll in radians and the logarithm of the
distance. Yaw turns the camera about the world's vertical axis, pitch about its own horizontal one
through the origin; pitch and distance are bound smoothly, so that no search leaves through a pole
or the object.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras
from jax3dgan.cameras import Camera
from jax3dgan.nn import precision

NUMBERS = ('yaw', 'pitch', 'roll', 'distance')
_MAX_DISTANCE = 0.3  # logarithm: a third nearer or farther
_MIN_PITCH, _MAX_PITCH = 0.1, 0.6  # radians


def _rotation(angle, first: int, second: int):
  """[..., 3, 3]: turns axis `first` towards axis `second`."""
  angle = jnp.asarray(angle)
  matrix = jnp.broadcast_to(jnp.eye(3, dtype=angle.dtype), (*angle.shape, 3, 3))
  cos, sin = jnp.cos(angle), jnp.sin(angle)
  matrix = matrix.at[..., first, first].set(cos).at[..., second, second].set(cos)
  return matrix.at[..., second, first].set(sin).at[..., first, second].set(-sin)


def _product(*matrices):
  """The product of matrices [n, 3, 3] in full precision."""
  return functools.reduce(functools.partial(precision.einsum, 'nij,njk->nik'), matrices)


def move(camera: Camera, pose, pitch_bound: float = _MAX_PITCH) -> Camera:
  """Cameras [n] moved by poses [n, 4]; zeros leave them.

  Args:
    camera: [n] base cameras.
    pose: [n, 4] yaw (positive towards +x from the front), pitch (positive upwards), roll (the image
      turns clockwise) and log distance; pitch and distance before their bounds.
    pitch_bound: radians that pitch stays within.
  """
  pitch = pitch_bound * jnp.tanh(pose[:, 1] / pitch_bound)
  scale = jnp.exp(_MAX_DISTANCE * jnp.tanh(pose[:, 3] / _MAX_DISTANCE))
  turn = _rotation(pose[:, 0], 2, 0)  # from +z, the front, towards +x
  rotation, origin = camera.cam2world[:, :3, :3], camera.origin
  # About the camera's x axis: in its own axes it is a turn of y (down) and z (forward).
  basis = _product(rotation, _rotation(-pitch, 1, 2), jnp.swapaxes(rotation, 1, 2))
  whole = _product(turn, basis)
  rotation = _product(whole, rotation, _rotation(pose[:, 2], 1, 0))
  origin = scale[:, None] * precision.einsum('nij,nj->ni', whole, origin)
  top = jnp.concatenate([rotation, origin[..., None]], axis=-1)
  return Camera(jnp.concatenate([top, camera.cam2world[:, 3:]], axis=1), camera.intrinsics)


class Bounds(NamedTuple):
  """What a pose prior says about poses; hashable.

  Attributes:
    pitch: how far up or down a search goes, radians.
    yaw_mean, yaw_std: of a normal distribution of azimuths, radians; a deviation of 0 for none.
  """

  pitch: float
  yaw_mean: float = 0.0
  yaw_std: float = 0.0

  def unlikelihood(self, camera: Camera):
    """Square of the azimuth in deviations [n]; zeros where all azimuths are alike."""
    origin = camera.origin
    if not self.yaw_std:
      return jnp.zeros(origin.shape[:-1], origin.dtype)
    azimuth = jnp.arctan2(origin[..., 0], origin[..., 2])
    return ((azimuth - self.yaw_mean) / self.yaw_std) ** 2


def bounds(model) -> Bounds:
  """The bounds of a model's pose prior."""
  prior = model.pose_prior
  components = prior.components or (prior,)
  widest = max((2 if 'gaussian' in c.name else 1) * c.pitch_std for c in components)
  pitch = float(np.clip(1.5 * widest, _MIN_PITCH, _MAX_PITCH))
  if 'gaussian' not in prior.name:
    return Bounds(pitch)
  return Bounds(pitch, math.pi / 2 - prior.yaw_mean, prior.yaw_std)


def objects_turn(model) -> bool:
  """Whether it is objects that turn, and all cameras of training have one azimuth: a search for the
  azimuth too would have two numbers for one thing."""
  has_objects = model.generator.object_layout is not None
  return has_objects and not cameras.yaw_half_range(model.pose_prior)


def unknown(model, one_identity: bool = False) -> tuple[str, ...]:
  """What is searched of a camera that is not given: yaw and pitch, or pitch where objects turn,
  unless several photos show one scene from several sides."""
  return ('pitch',) if objects_turn(model) and not one_identity else ('yaw', 'pitch')


def starts(model, num: int, all_round: bool = False) -> np.ndarray:
  """Azimuths [num] in radians from which a search for the camera starts.

  Evenly around where the pose prior goes all round, or where that is asked for, else within its
  range; the front is among an odd number.
  """
  half = model.yaw_half_range
  if all_round or cameras.goes_round(half):
    return np.arange(num) * 2 * math.pi / num
  return np.linspace(-1, 1, num) * half * (num - 1) / max(num, 1) if num > 1 else np.zeros(1)


def angles(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
  """Azimuth and elevation [n] in degrees of cameras' positions around the origin."""
  x, y, z = np.moveaxis(np.asarray(camera.origin, np.float64), -1, 0)
  radius = np.maximum(np.sqrt(x * x + y * y + z * z), 1e-12)
  return np.degrees(np.arctan2(x, z)), np.degrees(np.arcsin(np.clip(y / radius, -1, 1)))


def turned(camera: Camera, azimuth) -> Camera:
  """One camera [1] turned about the vertical axis by angles [n], radians."""
  azimuth = np.atleast_1d(np.float32(azimuth))
  pose = np.zeros((len(azimuth), len(NUMBERS)), np.float32)
  pose[:, 0] = azimuth
  camera = jax.tree.map(lambda x: np.broadcast_to(x, (len(azimuth), *x.shape[1:])), camera)
  return jax.tree.map(np.asarray, _move(camera, pose))


def follow(found: Camera, first: Camera, second: Camera) -> Camera:
  """Where `second` is in the world in which `first` is `found`; cameras [n].

  A camera that a search found stands in the generator's world, and a label in the data set's: the
  relative motion from one photo to the other is the same in both.
  """
  found, first, other = (np.asarray(of.cam2world, np.float64) for of in (found, first, second))
  moved = np.matmul(np.matmul(found, np.linalg.inv(first)), other)
  return Camera(moved.astype(np.float32), np.asarray(second.intrinsics, np.float32))


_move = jax.jit(move, static_argnums=2)
orbit = jax.jit(cameras.orbit, static_argnums=(2, 3))
