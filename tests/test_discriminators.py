"""The progressive discriminators against the official network's arrays, and their own contract."""

import functools

import goldens
import jax
import numpy as np
import pytest

from jax3dgan import discriminators

RELEASED = {
  'ProgressiveDiscriminator': dict(block='progressive', latent_dim=0, pose=False),
  'ProgressiveEncoderDiscriminator': dict(block='progressive'),
  'CCSEncoderDiscriminator': dict(block='ccs'),
  'StridedDiscriminator': dict(block='strided', latent_dim=0, pose=False),
}
SMALL_CHANNELS = (4, 6, 8, 10, 12, 14, 14, 14, 14)


def from_official(arrays, num_resolutions):
  """Our parameter tree from official state_dict names and OIHW weights."""

  def conv(prefix):
    weight = np.transpose(arrays[f'{prefix}.weight'], (2, 3, 1, 0))
    return {'kernel': weight, 'bias': arrays[f'{prefix}.bias']}

  coords = 'layers.0.network.0.conv.weight' in arrays
  middle = '.conv' if coords else ''
  params = {'final': conv('final_layer')}
  for i in range(num_resolutions):
    size = 2 ** (num_resolutions - i)
    params[f'from_rgb_{size}'] = conv(f'fromRGB.{i}.model.0')
    if size > 2:
      block = {f'conv_{j}': conv(f'layers.{i}.network.{2 * j}{middle}') for j in (0, 1)}
      if f'layers.{i}.proj.weight' in arrays:
        block['shortcut'] = conv(f'layers.{i}.proj')
      params[f'block_{size}'] = block
  return params


@functools.cache
def released(name):
  """(module, parameters, arrays) of an official discriminator with few channels."""
  arrays = goldens.load(f'{name}_small')
  block = RELEASED[name]['block']
  channels = SMALL_CHANNELS if block == 'progressive' else SMALL_CHANNELS[1:]
  module = discriminators.create(dict(name='progressive', channels=channels, **RELEASED[name]))
  official = {k.removeprefix('param/'): v for k, v in arrays.items() if k.startswith('param/')}
  return module, from_official(official, len(channels)), arrays


def image(arrays, size, dtype=np.float32):
  return np.transpose(arrays[f'image/{size}'], (0, 2, 3, 1)).astype(dtype)


@pytest.mark.parametrize('size', [4, 16, 32])
@pytest.mark.parametrize('name', RELEASED)
def test_matches_official(name, size):
  module, params, arrays = released(name)
  apply = jax.jit(lambda x, fade: module.apply({'params': params}, x, fade))
  for fade in (0.0, 0.37, 1.0):
    out = apply(image(arrays, size), fade)
    prefix = f'out/res{size}_alpha{fade}'
    np.testing.assert_allclose(out.logits, arrays[f'{prefix}/prediction'][:, 0], atol=1e-5)
    if RELEASED[name].get('pose', True):
      np.testing.assert_allclose(out.pose, arrays[f'{prefix}/position'], atol=1e-5)
      np.testing.assert_allclose(out.latent, arrays[f'{prefix}/latent'], atol=1e-5)
    else:
      assert out.pose is None and out.latent is None
