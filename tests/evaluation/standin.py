"""A 2D generator whose pose and identity are known functions of its latents, and who reads them."""

import dataclasses
import types

import numpy as np

from jax3dgan.evaluation.probes import Probes

NUM_IDENTITY = 4
_ROOM = 6.0  # an identity of so many standard deviations is the pixels' white


@dataclasses.dataclass
class Generator:
  """Stands in for a Trained of a 2D generator: its images are the numbers themselves.

  Attributes:
    azimuth: z [n, d] → radians [n].
    identity: z [n, d] → [n, NUM_IDENTITY].
  """

  azimuth: object
  identity: object
  z_dim: int = 8
  num_layers: int = 3
  has_camera: bool = False
  name: str = 'standin'

  def latents(self, seeds):
    return np.stack([np.random.default_rng(s).standard_normal(self.z_dim) for s in seeds])

  def map(self, z, psi=None):
    return np.repeat(np.asarray(z)[:, None], self.num_layers, axis=1)

  def orbit(self, azimuth, elevation=None):
    return None

  def render(self, w, camera):
    z = np.asarray(w, np.float64).mean(1)
    return types.SimpleNamespace(image=draw(self.azimuth(z), self.identity(z)))


def draw(azimuth, identity):
  """Images [n, 2, 2, 3] in [−1, 1]: the direction to the camera, then the identity."""
  direction = np.stack([np.sin(azimuth), np.zeros_like(azimuth), np.cos(azimuth)], -1)
  numbers = np.concatenate([direction, identity / _ROOM], axis=-1)
  numbers = np.pad(numbers, ((0, 0), (0, 12 - numbers.shape[1])))
  return numbers.reshape(-1, 2, 2, 3).clip(-1, 1)


def probes(**fields) -> Probes:
  """Reads `draw`'s images, to the 8 bits of a pixel."""

  def numbers(images):
    return np.asarray(images, np.float64).reshape(len(images), 12) / 127.5 - 1

  return Probes(
    pose=lambda images: numbers(images)[:, :3],
    embedding=lambda images: numbers(images)[:, 3 : 3 + NUM_IDENTITY] * _ROOM,
    report={},
    **fields,
  )
