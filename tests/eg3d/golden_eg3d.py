"""EG3D's golden generator: its weights as our variables."""

import functools

import goldens
import numpy as np

from jax3dgan.convert import eg3d_generator
from jax3dgan.generators.eg3d import EG3D
from jax3dgan.rendering.hierarchical import RenderOptions
from jax3dgan.runs import packaged

OPTIONS = RenderOptions(
  resolution=128,
  near=2.25,
  far=3.3,
  num_coarse=6,
  num_fine=6,
  align_corners=False,
  marcher='midpoints',
  strata='forward',
  importance='smoothed',
)
PARTS = ('mapping', 'backbone_lo', 'backbone_hi', 'sr')


@functools.cache
def state():
  """The official state dict."""
  files = [goldens.load(f'G_small_weights_{part}') for part in PARTS]
  return {name: value for file in files for name, value in file.items()}


@functools.cache
def model():
  """(generator, variables)."""
  fields = eg3d_generator.model_fields(state())
  generator = EG3D(**fields, plane_axes='official', raw_alias=True)
  return generator, packaged.variables_of(generator, eg3d_generator.generator_params(state()))


def without_noise(variables) -> dict:
  """Variables whose constant noise is zero."""
  buffers = variables['buffers']
  return {**variables, 'buffers': {**buffers, 'noise_const': 0 * buffers['noise_const']}}


def error(ours, theirs) -> float:
  """max|Δ| / max|theirs|."""
  theirs = np.asarray(theirs)
  ours = np.asarray(ours)
  assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
  return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def nhwc(x):
  return np.moveaxis(x, 1, -1)
