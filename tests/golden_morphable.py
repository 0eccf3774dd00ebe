"""The synthetic head of Exp-GAN's golden arrays, and its codes."""

import functools

import goldens
import numpy as np

from jax3dgan.data import face_models
from jax3dgan.morphable import photo_cameras

FILE = 'expgan/mesh_raster_camera'


def arrays_of_model() -> dict[str, np.ndarray]:
  arrays = goldens.load(FILE)
  return {k.removeprefix('model/'): v for k, v in arrays.items() if k.startswith('model/')}


@functools.cache
def model():
  """Of 362 vertices, 8 shapes, 6 expressions, with a jaw; float32."""
  return face_models.from_arrays(arrays_of_model(), FILE)


def codes(which: str, dtype=np.float32) -> photo_cameras.PhotoCodes:
  """Of 4 'fake' or 'real' photos."""
  arrays = goldens.load(FILE)
  names = ('shape', 'exp', 'pose', 'cam', 'bbox')
  return photo_cameras.PhotoCodes(*(arrays[f'{which}/{name}'].astype(dtype) for name in names))
