"""GIRAFFE's golden generator: its weights as our variables, its scene as ours.

The release's world has z up: its (y, z, x) are our (x, y, z).
"""

import contextlib
import math

import goldens
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras
from jax3dgan.convert import giraffe_names
from jax3dgan.generators import giraffe_rendering as rendering
from jax3dgan.generators.giraffe import GIRAFFE, MARCHING, Draws, GIRAFFEScene
from jax3dgan.generators.giraffe_scene import Fractions, Poses
from jax3dgan.rendering import compositing, hierarchical, sampling
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.options import RenderOptions

AXES = [1, 2, 0]
MODEL = dict(
  num_objects=2,
  latent_dim=10,
  hidden_dim=12,
  background_dim=6,
  background_hidden=8,
  feature_dim=12,
  low_resolution=8,
  channels=(6, 4),
  size_min=(0.3, 0.3, 0.35),
  size_max=(0.4, 0.4, 0.5),
  position_min=(-0.3, -0.1, -0.4),
  position_max=(0.3, 0.1, 0.4),
  turns=(-36.0, -288.0),
  background_turns=(0.0, -90.0),
)
ALL_FIELDS = {**MODEL, 'num_layers': 8, 'background_layers': 4}
OPTIONS = RenderOptions(resolution=32, near=1.4, far=4.2, num_coarse=10, **MARCHING)
FOV = 20.0


def ours(x):
  """[..., 3] of the release's world in ours."""
  return np.asarray(x)[..., AXES]


def model(dtype=np.float32, file='giraffe/generator', prefix='p/', **changes):
  """(generator, variables) of the golden weights."""
  fields = MODEL | changes
  generator = GIRAFFE(**fields)
  state = weights(file, prefix)
  if not changes.get('use_directions', True):
    state = giraffe_names.without_directions(state)
  names = giraffe_names.generator_names(
    {**MODEL, 'num_layers': 8, 'background_layers': 4} | changes
  )
  return generator, {'params': giraffe_names.from_official(state, names, dtype)}


def weights(file: str, prefix: str) -> dict:
  """The official state dict in a golden file."""
  arrays = goldens.load(file)
  return {name.removeprefix(prefix): x for name, x in arrays.items() if name.startswith(prefix)}


def camera(world_mat, dtype=np.float32) -> cameras.Camera:
  """Ours of the release's matrices [b, 4, 4]: columns x, y, z and place, looking along −z."""
  matrix = np.asarray(world_mat, np.float64).copy()
  pose = matrix[:, [*AXES, 3]] * np.array([1, -1, -1, 1])
  focal = 0.5 / float(np.float32(math.tan(math.radians(FOV) / 2)))
  intrinsics = np.array([[focal, 0, 0.5], [0, focal, 0.5], [0, 0, 1]])
  return cameras.Camera(pose.astype(dtype), np.tile(intrinsics, (len(pose), 1, 1)).astype(dtype))


def fractions(draws, prefix='draw/', dtype=np.float32) -> Fractions:
  """Ours of a golden file's draws; all examples of the release share the background's turn."""
  size, position, turn = (np.asarray(draws[prefix + name], dtype) for name in
                          ('scale', 'translation', 'rotation'))  # fmt: skip
  background = np.full(len(turn), draws[prefix + 'bg_rotation'], dtype)
  return Fractions(size, position[:, None][..., AXES], turn, background)


def codes(draws, prefix='draw/', dtype=np.float32):
  """Latents z without poses."""
  b = len(draws[prefix + 'z_shape_obj'])
  objects = [draws[f'{prefix}z_{name}_obj'] for name in ('shape', 'app')]
  background = [draws[f'{prefix}z_{name}_bg'] for name in ('shape', 'app')]
  return np.concatenate([np.concatenate(objects, -1).reshape(b, -1), *background], axis=-1).astype(
    dtype
  )


def rays_first(x, side=8):
  """[b, side², ...] of the release's rays, column by column, in our order, row by row."""
  x = np.asarray(x)
  return x.reshape(len(x), side, side, *x.shape[2:]).swapaxes(1, 2).reshape(x.shape)


def numbers(draws, prefix='draw/', dtype=np.float32) -> Draws:
  """The random numbers of a rendering."""
  noise = [draws[f'{prefix}noise_{name}'] for name in ('obj0', 'obj1', 'bg')]
  jitter = rays_first(draws[prefix + 'depth_u'])
  noise = rays_first(np.stack(noise, axis=2))
  return Draws(jitter.astype(dtype), noise.astype(dtype))


def nchw(x) -> np.ndarray:
  """[b, ..., c] in PyTorch's layout."""
  return np.moveaxis(np.asarray(x), -1, 1)


def columns_first(x, side=8):
  """The inverse of `rays_first`."""
  return rays_first(x, side)


def theirs(x):
  """[..., 3] of our world in the release's."""
  return np.asarray(x)[..., np.argsort(AXES)]


def maps(features, side=8) -> np.ndarray:
  """Features of pixels [b, side², f] as [b, f, side, side]."""
  return nchw(np.asarray(features).reshape(len(features), side, side, -1))


def _angle(matrix):
  """Of rotations [..., 3, 3] about the release's z."""
  return np.arctan2(*np.moveaxis(matrix[..., :2, 0].astype(np.float64), -1, 0)[::-1])


def scene(arrays, dtype=np.float32) -> GIRAFFEScene:
  """The scene with the official poses, which are float32."""
  poses = Poses(
    size=ours(arrays['in/s']).astype(dtype),
    position=ours(arrays['in/t']).astype(dtype),
    turn=-_angle(arrays['in/R']).astype(dtype),
    presence=np.ones((2, 2), dtype),
    background_turn=-_angle(arrays['in/bg_R']).astype(dtype),
    background_presence=np.ones(2, dtype),
  )
  codes = [arrays[f'draw/z_{name}'].astype(dtype) for name in ('shape_obj', 'app_obj', 'shape_bg',
                                                                'app_bg')]  # fmt: skip
  return GIRAFFEScene(*codes, poses)


@contextlib.contextmanager
def rounded_turns():
  """Sines and cosines of turns are float32 numbers, as those that the release was fed with."""
  original = rendering.turned

  def turned(vectors, angle):
    x, y, z = jnp.moveaxis(vectors, -1, 0)
    cos, sin = (f(angle).astype(np.float32).astype(vectors.dtype) for f in (jnp.cos, jnp.sin))
    result = jnp.broadcast_arrays(cos * x - sin * z, y, sin * x + cos * z)
    return jnp.stack(result, axis=-1)

  rendering.turned = turned
  try:
    yield
  finally:
    rendering.turned = original


def rays(arrays, dtype=np.float32):
  """Of all pixels of the rendering."""
  return rays_lib.camera_rays(camera(arrays['in/world_mat'], dtype), 8, True)


def distances(rays, jitter):
  """Of the samples, [b, r, s]."""
  limits = hierarchical.ray_limits(rays, OPTIONS)
  return sampling.stratified_depths(*limits[:2], 10, jitter, OPTIONS.strata)


def weights_of(density, rays, distances):
  """Of the samples, [b, r, s]; the release's cameras have axes that are not of unit length."""
  lengths = jnp.linalg.norm(rays.directions, axis=-1, keepdims=True)
  return compositing.ray_weights(density, lengths * compositing.intervals(distances, 1e10))


def first_points(x, shape):
  """Outputs of a layer for the first points of the release's order."""
  x = np.asarray(x)
  if len(shape) == 2:
    return x.reshape(shape)
  x = np.broadcast_to(x, (2, 64, 10, x.shape[-1]))
  return columns_first(x).reshape(2, 640, -1)[:, : shape[1]]
