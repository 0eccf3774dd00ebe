"""StyleSDF's golden networks: official weights as our variables."""

import functools

import goldens
import jax
import numpy as np

from jax3dgan.cameras import Camera
from jax3dgan.discriminators.coordconv import CoordConvDiscriminator
from jax3dgan.discriminators.stylegan2 import StyleGAN2Discriminator
from jax3dgan.generators.stylesdf import MARCHING, StyleSDF
from jax3dgan.rendering.hierarchical import Draws
from jax3dgan.rendering.options import RenderOptions

STAGE1, FULL, CAMERA = 'stylesdf_stage1', 'stylesdf_full', 'stylesdf_camera_mesh'
SIZE, SAMPLES = 16, 6
OPTIONS = RenderOptions(resolution=SIZE, num_coarse=SAMPLES, num_fine=0, **MARCHING)
FIELDS = dict(z_dim=16, w_dim=16, hidden_dim=16)
DECODER = dict(decoder_channels=(12, 8, 6), decoder_w_dim=32, low_resolution=SIZE)


def nhwc(x):
  return np.moveaxis(x, 1, -1)


def flat(x):
  """[b, h, w, ...] → [b, h·w, ...]."""
  return x.reshape(x.shape[0], -1, *x.shape[3:])


def linear(name: str, official, ours: str = '') -> dict:
  """A dense layer in the field's form: `{ours}_kernel`, `{ours}_bias`."""
  return {
    f'{ours}_kernel': official(f'{name}.weight').T, f'{ours}_bias': official(f'{name}.bias')
  }  # fmt: skip


def dense(name: str, official) -> dict:
  return {'kernel': official(f'{name}.weight').T, 'bias': official(f'{name}.bias')}


def renderer(official) -> dict:
  """Parameters `mapping` and `field` of a state dict, official(name) → array."""
  network = 'renderer.network'
  field = {'beta': official('renderer.sigmoid_beta')[0]}
  names = {f'film_{i}': f'pts_linears.{i}' for i in range(8)} | {'view': 'views_linears'}
  for ours, theirs in names.items():
    field |= linear(f'{network}.{theirs}', official, ours)
    for part in ('gamma', 'beta'):
      field |= linear(f'{network}.{theirs}.{part}', official, f'{ours}_{part}')
  field |= linear(f'{network}.sigma_linear', official, 'distance')
  field |= linear(f'{network}.rgb_linear', official, 'rgb')
  return {
    'mapping': {f'hidden_{i}': dense(f'style.{i}', official) for i in range(3)}, 'field': field
  }  # fmt: skip


def modulated(name: str, official, flips: bool = False) -> dict:
  """A modulated convolution; kernels of up-sampling layers are stored rotated."""
  kernel = official(f'{name}.weight')[0].transpose(2, 3, 1, 0)
  return {
    'kernel': kernel[::-1, ::-1] if flips else kernel,
    'affine': dense(f'{name}.modulation', official),
  }


def styled(name: str, official, flips: bool = False) -> dict:
  return {
    'conv': modulated(f'{name}.conv', official, flips),
    'noise_strength': official(f'{name}.noise.weight')[0],
    'bias': official(f'{name}.activate.bias'),
  }


def torgb(name: str, official) -> dict:
  return {'conv': modulated(f'{name}.conv', official), 'bias': official(f'{name}.bias').ravel()}


def decoder(official, levels: int = 2) -> dict:
  """Parameters `decoder_mapping` and `decoder`."""
  blocks = {
    f'b{SIZE}': {'conv1': styled('decoder.conv1', official),
                 'torgb': torgb('decoder.to_rgb1', official)}
  }  # fmt: skip
  for i in range(levels):
    blocks[f'b{SIZE << (i + 1)}'] = {
      'conv0': styled(f'decoder.convs.{2 * i}', official, flips=True),
      'conv1': styled(f'decoder.convs.{2 * i + 1}', official),
      'torgb': torgb(f'decoder.to_rgbs.{i}', official),
    }
  mapping = {f'fc_{i}': dense(f'decoder.style.{i + 1}', official) for i in range(5)}
  return {'decoder_mapping': mapping, 'decoder': blocks}


def conv(name: str, official, bias: str | None = None) -> dict:
  """A convolution, with the bias of its activation."""
  layer = {'kernel': official(f'{name}.weight').transpose(2, 3, 1, 0)}
  return layer if bias is None else {**layer, 'bias': official(bias)}


@functools.cache
def weights(file: str, network: str):
  """official(name) → array of a golden network, 'g' or 'd'."""
  arrays = goldens.load(file)
  return lambda name: arrays[f'{network}.{name}']


@functools.cache
def stage1():
  """(generator, variables) of the renderer alone."""
  return StyleSDF(**FIELDS), {'params': renderer(weights(STAGE1, 'g'))}


@functools.cache
def full():
  """(generator, variables) with the decoder."""
  official = weights(FULL, 'g')
  noise = [official(f'decoder.noises.noise_{i}').ravel() for i in range(5)]
  params = {**renderer(official), **decoder(official)}
  buffers = {'noise_const': np.concatenate(noise)}
  return StyleSDF(**FIELDS, **DECODER), {'params': params, 'buffers': buffers}


@functools.cache
def stage1_discriminator():
  """(discriminator, variables) of the first stage."""
  official = weights(STAGE1, 'd')

  def layer(name):
    return conv(f'{name}.conv.conv', official, f'{name}.activation.bias')

  params = {'from_rgb': conv('convs.0.conv', official, 'convs.0.activation.bias')}
  for i in range(1, 4):
    params[f'block_{SIZE >> (i - 1)}'] = {
      'conv_0': layer(f'convs.{i}.conv1'),
      'conv_1': layer(f'convs.{i}.conv2'),
      'shortcut': conv(f'convs.{i}.skip.conv', official, f'convs.{i}.skip.conv.bias'),
    }
  params['final'] = conv('final_conv.conv', official, 'final_conv.conv.bias')
  return CoordConvDiscriminator(channels=(6, 8, 10, 12)), {'params': params}


@functools.cache
def full_discriminator():
  """(discriminator, variables): StyleGAN2's."""
  official, channels = weights(FULL, 'd'), (14, 12, 10, 8, 6)
  params = {}
  for i in range(1, 5):
    block = f'convs.{i}'
    params[f'b{128 >> i}'] = {
      'conv0': conv(f'{block}.conv1.0', official, f'{block}.conv1.1.bias'),
      'conv1': conv(f'{block}.conv2.1', official, f'{block}.conv2.2.bias'),
      'skip': conv(f'{block}.skip.1', official),
    }
  params['b64']['fromrgb'] = conv('convs.0.0', official, 'convs.0.1.bias')
  fc = dense('final_linear.0', official)
  kernel = fc['kernel'].reshape(14, 4, 4, 14).transpose(1, 2, 0, 3).reshape(-1, 14)
  params['b4'] = {
    'conv': conv('final_conv.0', official, 'final_conv.1.bias'),
    'fc': {**fc, 'kernel': kernel},
    'out': dense('final_linear.1', official),
  }
  return StyleGAN2Discriminator(channels=channels), {'params': params}


def camera_of(extrinsics, focal, size: int = SIZE) -> Camera:
  """Cameras [b] of official ones: [b, 3, 4] with OpenGL axes, focal lengths [b, 1, 1] in pixels."""
  matrix = np.tile(np.eye(4, dtype=np.float32), (len(extrinsics), 1, 1))
  matrix[:, :3] = extrinsics @ np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
  intrinsics = np.tile(np.float32([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 1]]), (len(matrix), 1, 1))
  intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal[:, 0, 0] / size
  return Camera(matrix, intrinsics)


def camera(file: str) -> Camera:
  arrays = goldens.load(file)
  return camera_of(arrays['extrinsics'], arrays['focal'])


def draws(file: str) -> Draws:
  """The rendering's: one offset of each ray."""
  return Draws(jitter=flat(goldens.load(file)['t_rand'])[..., None])


def in_official_layout(convert, names: dict, tree) -> dict:
  """{official name: array} of a tree like convert's result.

  Args:
    convert: official(name) → a tree in our layout, which only moves numbers.
    names: {official name: shape} of what it reads.
    tree: Ours, of the same structure, as gradients are.
  """
  ends = np.cumsum([0, *(int(np.prod(shape)) for shape in names.values())])
  index = {
    name: np.arange(start, start + int(np.prod(shape))).reshape(shape)
    for (name, shape), start in zip(names.items(), ends[:-1], strict=True)
  }
  places, values = (jax.tree.leaves(x) for x in (convert(index.__getitem__), tree))
  flat = np.full(ends[-1], np.nan)
  for place, value in zip(places, values, strict=True):
    flat[np.ravel(place)] = np.ravel(value)
  return {name: flat[place] for name, place in index.items()}
