"""StyleNeRF's golden generator: its weights as our variables, its cameras as ours."""

import functools
import math
import operator

import goldens
import jax
import numpy as np

from jax3dgan import cameras
from jax3dgan.convert import stylenerf_generator
from jax3dgan.generators.stylenerf import MARCHING, Draws, StyleNeRF
from jax3dgan.losses import nerf_path
from jax3dgan.rendering import hierarchical
from jax3dgan.rendering.background import BackgroundDraws
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.runs import packaged

OPTIONS = RenderOptions(resolution=64, num_coarse=5, num_fine=5, **MARCHING)

_PARTS = (slice(64), slice(64, 80))  # the rays of 'stylenerf_train_*'


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


def camera(theta, phi, radius=1.0) -> cameras.Camera:
  """Ours of the release's angles [b], radius a scalar or [b, 1]."""
  return cameras.orbit(theta, math.pi / 2 - np.asarray(phi), radius, fov_degrees=12.0)


def evaluated_camera() -> cameras.Camera:
  """That of the file 'stylenerf_eval'."""
  mode = goldens.load('stylenerf_eval')['cam_mode']
  return camera(0.3 * mode[:, 0], math.pi / 2 + 0.155 * mode[:, 1])


def nchw(x) -> np.ndarray:
  """[b, ..., c] in PyTorch's layout."""
  return np.moveaxis(np.asarray(x), -1, 1)


def trained_camera(file: str) -> cameras.Camera:
  """That of a file 'stylenerf_train_*'."""
  theta, phi = (goldens.load(file)[f'draw0{i}.np_normal'] for i in (0, 1))
  return camera(0.3 * theta, math.pi / 2 + 0.155 * phi)


def draws(file: str) -> Draws:
  """Its random numbers, of 64 rays of the low resolution and 16 of the NeRF path."""
  arrays = goldens.load(file)
  return Draws(
    hierarchical.Draws(
      jitter=arrays['draw13.rand_like'],
      coarse_noise=arrays['draw14.randn_like'],
      pdf=arrays['draw15.rand'].reshape(2, 80, 5),
      fine_noise=arrays['draw16.randn_like'],
    ),
    BackgroundDraws(arrays['draw17.rand_like'], arrays['draw18.randn_like']),
  )


def apart(numbers: Draws) -> tuple[Draws, Draws]:
  """Those of both kinds of rays."""
  first, second = (jax.tree.map(operator.itemgetter(np.s_[:, of]), numbers) for of in _PARTS)
  return first, second


def path(file: str, resolution: int):
  """(index, uv) of its NeRF path, see `nerf_path.pixel_grid`."""
  return nerf_path.pixel_grid(goldens.load(file)['draw12.rand'], resolution, 4)


def poses(camera: cameras.Camera) -> np.ndarray:
  """[b, 4, 4] in the release's world and its cameras' axes (y up, z backwards)."""
  pose = np.asarray(camera.cam2world)[:, [2, 0, 1, 3]]
  return pose * np.array([1, -1, -1, 1], np.float32)


def inverse_intrinsics(camera: cameras.Camera) -> np.ndarray:
  """[b, 4, 4]: tan of half the field of view."""
  inverse = np.tile(np.eye(4, dtype=np.float32), (len(camera.intrinsics), 1, 1))
  inverse[:, :2, :2] *= 0.5 / np.asarray(camera.intrinsics)[:, :1, :1]
  return inverse
