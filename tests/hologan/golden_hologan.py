"""HoloGAN's golden networks: their weights as our variables, by official names."""

import functools

import goldens
import jax.numpy as jnp
import numpy as np

from jax3dgan.discriminators.hologan import HoloGANDiscriminator
from jax3dgan.generators.base import Rendering
from jax3dgan.generators.hologan import HoloGAN
from jax3dgan.rendering import rigid_transform

FILES = {64: 'hologan_64_small', 128: 'hologan_128_small'}
_SHARED = dict(z_dim=8, constant_dim=32)
_FIELDS = {
  64: dict(voxel_channels=(8, 4), fold_dim=64, channels=(16, 4)),
  128: dict(
    voxel_channels=(16, 8),
    projection_channels=(4, 4),
    fold_dim=32,
    channels=(16, 4, 2),
    activation='lrelu',
  ),
}
STYLES = {
  64: ('g_w_constant/g_z0', 'g_z1', 'g_z2', 'g_z4', 'g_z5'),
  128: ('g_w_constant/g_z0', 'g_z1', 'g_z2', 'g_z4', 'g_z5', 'g_z6'),
}
_FIRST = {'voxels_0': 'g_h1', 'voxels_1': 'g_h2', 'fold': 'g_h3', 'image_0': 'g_h4'}
_FIRST |= {'image_1': 'g_h5'}
LAYERS = {
  64: {**_FIRST, 'rgb': 'g_h6'},
  128: {
    **_FIRST,
    'image_2': 'g_h6',
    'rgb': 'g_h7',
    'projection_0': 'g_h2_proj1',
    'projection_1': 'g_h2_proj2',
  },
}


class ByView(HoloGAN):
  """Its cameras are views, which may move along the depth, too."""

  def synthesize(self, w, camera, key=None, options=None, noise_std=0.0):
    """Images as they lie in a view."""
    return Rendering(image=self.project(self.prepare(w), camera))


def generator(size: int) -> ByView:
  """Of a golden file."""
  return ByView(**_SHARED, **_FIELDS[size])


def discriminator(size: int) -> HoloGANDiscriminator:
  """Of a golden file."""
  channels = (2, 4, 8, 16, 32)[: 4 if size == 64 else 5]
  return HoloGANDiscriminator(channels=channels, latent_dim=8, styles=size == 128)


def generator_arrays(size: int) -> dict[str, str]:
  """{path of a parameter: official name}."""
  names = {'constant': 'g_w_constant/w'}
  for i, style in enumerate(STYLES[size]):
    names |= {f'style_{i}/kernel': f'{style}/w', f'style_{i}/bias': f'{style}/biases'}
  for ours, theirs in LAYERS[size].items():
    names |= {f'{ours}/kernel': f'{theirs}/weights', f'{ours}/bias': f'{theirs}/biases'}
  return {ours: f'generator/{theirs}' for ours, theirs in names.items()}


def discriminator_arrays(size: int) -> dict[str, str]:
  """{path of a parameter: official name}."""
  num = len(discriminator(size).channels)
  names = {}
  for i in range(num):
    block, theirs = f'block_{i}', f'd_h{i}_conv'
    names |= {f'{block}/kernel': f'{theirs}/weights', f'{block}/bias': f'{theirs}/biases'}
    if i:
      names |= {f'{block}/{name}': f'd_in{i}/{name}' for name in ('scale', 'offset')}
    if i and size == 128:
      names |= {f'{block}/style/kernel': f'd_h{i}_class/w'}
      names |= {f'{block}/style/bias': f'd_h{i}_class/biases'}
  last = {'logit': f'd_h{num}_lin', 'latent_hidden': 'd_latent', 'latent': 'd_latent_prediction'}
  for ours, theirs in last.items():
    names |= {f'{ours}/kernel': f'{theirs}/weights', f'{ours}/bias': f'{theirs}/biases'}
  return {ours: f'discriminator/{theirs}' for ours, theirs in names.items()}


def is_transposed(path: str) -> bool:
  """Whether official weights have their output channels before the input's."""
  return path.split('_')[0].split('/')[0] in ('voxels', 'projection', 'fold', 'image', 'rgb')


def moved(path: str, array):
  """An official array as ours, or ours as the official one."""
  return np.swapaxes(array, -1, -2) if is_transposed(path) and array.ndim > 1 else array


def tree(arrays: dict) -> dict:
  """{path: array} nested."""
  result = {}
  for path, array in arrays.items():
    *folders, name = path.split('/')
    node = result
    for folder in folders:
      node = node.setdefault(folder, {})
    node[name] = array
  return result


@functools.cache
def variables(size: int):
  """(generator's, discriminator's) of a golden file."""
  arrays = goldens.load(FILES[size])
  params = [
    tree({path: moved(path, arrays[f'param/{name}']) for path, name in names.items()})
    for names in (generator_arrays(size), discriminator_arrays(size))
  ]
  num = len(discriminator(size).channels)
  u = {f'block_{i}/norm/u': arrays[f'param/{u_name(i)}'][0] for i in range(1, num)}
  return {'params': params[0]}, {'params': params[1], 'buffers': tree(u)}


def u_name(layer: int) -> str:
  """The official name of a layer's vector."""
  return f'discriminator/d_h{layer}_conv/u'


def view(angles) -> rigid_transform.View:
  """Ours of the release's [b, 6]: azimuth, elevation, scale, translation."""
  rotation = rigid_transform.rotation_of(jnp.asarray(angles[:, 0]), jnp.asarray(angles[:, 1]))
  return rigid_transform.View(rotation, angles[:, 2], angles[:, 3:])
