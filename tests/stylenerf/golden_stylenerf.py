"""StyleNeRF's golden generator: its weights as our variables, its cameras as ours."""

import functools
import math

import goldens
import numpy as np

from jax3dgan import cameras
from jax3dgan.convert import stylenerf_generator
from jax3dgan.generators.stylenerf import MARCHING, StyleNeRF
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.runs import packaged

OPTIONS = RenderOptions(resolution=64, num_coarse=5, num_fine=5, **MARCHING)


def weights(file: str = 'stylenerf_eval') -> dict:
  """The official state dict."""
  arrays = goldens.load(file)
  return {name[2:]: value for name, value in arrays.items() if name.startswith('G.')}


@functools.cache
def model(file: str = 'stylenerf_eval', **changes):
  """(generator, variables)."""
  state = weights(file)
  fields = stylenerf_generator.model_fields(state)
  fields |= stylenerf_generator.background_fields(state, background_dim=5)
  generator = StyleNeRF(**fields, **changes)
  arrays = stylenerf_generator.generator_arrays(state, fields_of(generator))
  return generator, packaged.variables_of(generator, arrays)


def fields_of(generator: StyleNeRF) -> dict:
  """All fields of a generator."""
  names = set(StyleNeRF.__dataclass_fields__) - {'parent', 'name'}
  return {name: getattr(generator, name) for name in names}


def camera(theta, phi) -> cameras.Camera:
  """Ours of the release's angles [b]."""
  return cameras.orbit(theta, math.pi / 2 - np.asarray(phi), radius=1.0, fov_degrees=12.0)


def evaluated_camera() -> cameras.Camera:
  """That of the file 'stylenerf_eval'."""
  mode = goldens.load('stylenerf_eval')['cam_mode']
  return camera(0.3 * mode[:, 0], math.pi / 2 + 0.155 * mode[:, 1])


def nchw(x) -> np.ndarray:
  """[b, ..., c] in PyTorch's layout."""
  return np.moveaxis(np.asarray(x), -1, 1)
