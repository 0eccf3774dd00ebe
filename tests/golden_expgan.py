"""The small networks of Exp-GAN's golden arrays: our modules with the release's weights."""

import dataclasses
import functools

import goldens
import jax
import numpy as np

from jax3dgan.convert import expgan_names, named_weights
from jax3dgan.discriminators.expgan import ExpGANDiscriminator
from jax3dgan.generators import expgan_faces
from jax3dgan.generators.expgan import MARCHING, ExpGAN
from jax3dgan.generators.expgan_rendering import Seen, orthographic_rays
from jax3dgan.rendering.draws import Draws
from jax3dgan.rendering.options import RenderOptions

RAYS, SAMPLES, LEVELS = 16, 6, 2
CHANNELS = (16, 16, 16)  # of the backbones; the last block's are those of the image
SIZES = {'D256': 64, 'D64': 16}  # of this file's discriminators
DISCRIMINATOR = ExpGANDiscriminator(
  channels=(16, 16, 12, 10, 8), low_resolution=16, pose_dim=6, expression_dim=9, identity_dim=8
)
OPTIONS = RenderOptions(
  resolution=64, near=0.0, far=3.0, num_coarse=SAMPLES, num_fine=SAMPLES, **MARCHING
)


@functools.cache
def generator() -> ExpGAN:
  return ExpGAN(
    latent_dim=16,
    w_dim=16,
    num_identity=8,
    num_expression=9,
    identity_inputs=8,
    expression_inputs=(6, 7, 8),
    num_faces=2,
    channels=CHANNELS,
    plane_features=8,
    texture_channels=10,
    decoder_hidden=12,
    up_channels=(12, 10, 8),
    low_resolution=RAYS,
  )


def names_of_generator():
  fields = dict(mapping_layers=8, channels=(*CHANNELS, 0))
  return [*expgan_names.generator_names(fields), *expgan_names.upsampler_names(LEVELS, RAYS)]


@functools.cache
def weights():
  """The generator's parameters."""
  state = {k.removeprefix('param/'): v for k, v in goldens.load('expgan/G_small_weights').items()}
  for second, first in expgan_names.second_biases(LEVELS).items():
    state[first] = state[first] + state.pop(second).ravel()
  return named_weights.from_official(state, names_of_generator(), 'Exp-GAN')


def names_of_discriminator(net: str):
  num = SIZES[net].bit_length() - 2
  return list(expgan_names.discriminator_names(num, True))


@functools.cache
def discriminator_weights():
  """The parameters of both discriminators."""
  tree = {}
  for net, part in (('D256', 'full'), ('D64', 'low')):
    prefix, arrays = f'{net}/param/', goldens.load('expgan/D_small')
    state = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    state = expgan_names.discriminator_state(state, True)
    tree[part] = named_weights.from_official(state, names_of_discriminator(net), 'Exp-GAN')
  return tree


def variables(dtype, mean_w=0):
  """The generator's, without a face model: the release's maps are given."""
  buffers = {
    name: np.zeros(shape, kind) for name, (shape, kind) in expgan_faces.shapes(generator()).items()
  }
  buffers['w_average'] = np.zeros(16) + mean_w
  return {'params': typed(weights(), dtype), 'buffers': typed(buffers, dtype)}


def typed(tree, dtype):
  """Arrays of floats in this type."""

  def convert(x):
    x = np.asarray(x)
    return x.astype(dtype) if x.dtype.kind == 'f' else x

  return jax.tree.map(convert, tree)


def channels_first(x):
  return np.moveaxis(x, -1, 1)


def channels_last(x):
  return np.moveaxis(x, 1, -1)


def draws(arrays, prefix: str, noise: bool = True) -> Draws:
  """The release's random numbers of b images."""
  b = len(arrays[f'{prefix}draw1_uniform'])
  numbers = [
    arrays[f'{prefix}draw{i}_{kind}'].reshape(b, RAYS**2, -1)
    for i, kind in ((1, 'uniform'), (2, 'normal'), (3, 'uniform'), (4, 'normal'))
  ]
  jitter, coarse, pdf, final = numbers
  return Draws(jitter, coarse, pdf, final) if noise else Draws(jitter, None, pdf, None)


def seen(uv, depth) -> dict:
  """What `Seen` needs of the release's maps [b, c, 64, 64], in our layout."""
  uv, every = channels_last(uv), 64 // RAYS
  mask = (uv != 0).all(-1)[:, ::every, ::every]
  return dict(uv=uv, depth=depth[:, 0, ::every, ::every], mask=mask)


def render(generator, scene, c2w, maps, key, noise_std, texture_c2w=None):
  """`generator.render` by the release's rays."""
  rays = orthographic_rays(c2w, RAYS)
  told = c2w if texture_c2w is None else texture_c2w
  where = Seen(maps['uv'], None, maps['depth'], maps['mask'])
  options = OPTIONS
  if not generator.up_channels:
    options = dataclasses.replace(options, resolution=RAYS)
  return generator.render(scene, rays, told, where, key, options, noise_std)


class Orthographic(ExpGAN):
  """The generator as the losses call it, with the release's rays: its camera is a dict of `c2w` and
  `maps`."""

  def synthesize_for_training(self, w, camera, key=None, options=None, noise_std=0.0):
    del options
    return render(self, self.prepare(w), camera['c2w'], camera['maps'], key, noise_std)


def official_gradients(tree, prefix: str) -> dict:
  """{official name: gradient}: two biases that are added have the same one."""
  if prefix == 'G':
    found = named_weights.to_official(tree, names_of_generator())
    for second, first in expgan_names.second_biases(LEVELS).items():
      found[second] = found[first].reshape(1, -1, 1, 1)
    return found
  found = named_weights.to_official(tree, names_of_discriminator(prefix))
  for i in range(2):
    bias = found.pop(f'fromRGB.{i}.model.bias')
    found |= {f'fromRGB.{i}.model.{j}.bias': bias for j in range(2)}
  for kind in ('weight', 'bias'):
    last = [found.pop(f'final_linear.1.{part}.{kind}') for part in ('logit', 'guesses')]
    found[f'final_linear.1.{kind}'] = np.concatenate(last)
  return found
