"""Names and layouts of StyleSDF's official weights and ours: one map for both directions."""

import functools
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from jax3dgan.convert import named_weights
from jax3dgan.convert.named_weights import (
  CONV,
  DENSE,
  FLAT,
  SAME,
  SCALAR,
  Layout,
  Name,
  conv_to_official,
  conv_to_ours,
  count,
  layer,
  to_official,
)
from jax3dgan.errors import UserError

# Filters of the architecture.
_FILTERS = re.compile(r'.*\.(blur|upsample|conv2\.0|skip\.0)\.kernel')
# A bias of each styled convolution that the release never adds.
UNUSED = re.compile(r'decoder\.(conv1|convs\.\d+)\.bias')
_FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 16


def _is_one(shape) -> bool:
  return shape[0] == 1


_MODULATED = Layout(5, lambda x: conv_to_ours(x[0]), lambda x: conv_to_official(x)[None], _is_one)
# Of a layer that makes images larger: transposed, and so turned by half.
_TURNED = Layout(
  5,
  lambda x: conv_to_ours(x[0])[::-1, ::-1],
  lambda x: conv_to_official(x[::-1, ::-1])[None],
  _is_one,
)
_IMAGE = Layout(4, lambda x: x.ravel(), lambda x: x[None, :, None, None], _is_one)


def generator_names(fields: Mapping) -> Iterator[Name]:
  """The weights of `generators.stylesdf.StyleSDF` with these fields."""
  for i in range(fields['mapping_layers']):
    yield from layer(('mapping', f'hidden_{i}'), f'style.{i}')
  yield Name(('field', 'beta'), 'renderer.sigmoid_beta', SCALAR)
  layers = {f'film_{i}': f'pts_linears.{i}' for i in range(fields['num_layers'])}
  layers |= {'view': 'views_linears', 'distance': 'sigma_linear', 'rgb': 'rgb_linear'}
  for ours, official in layers.items():
    styled = ours not in ('distance', 'rgb')
    for part in ('', '.gamma', '.beta') if styled else ('',):
      name = f'renderer.network.{official}{part}'
      prefix = ours + part.replace('.', '_')
      yield Name(('field', f'{prefix}_kernel'), f'{name}.weight', DENSE)
      yield Name(('field', f'{prefix}_bias'), f'{name}.bias', SAME)
  channels = fields['decoder_channels']
  if not channels:
    return
  for i in range(fields['decoder_mapping_layers']):
    yield from layer(('decoder_mapping', f'fc_{i}'), f'decoder.style.{i + 1}')
  sizes = [f'b{fields["low_resolution"] << i}' for i in range(len(channels))]
  yield from _styled(('decoder', sizes[0], 'conv1'), 'decoder.conv1', fields)
  yield from _torgb(('decoder', sizes[0], 'torgb'), 'decoder.to_rgb1')
  for i, size in enumerate(sizes[1:]):
    own = ('decoder', size)
    yield from _styled((*own, 'conv0'), f'decoder.convs.{2 * i}', fields, _TURNED)
    yield from _styled((*own, 'conv1'), f'decoder.convs.{2 * i + 1}', fields)
    yield from _torgb((*own, 'torgb'), f'decoder.to_rgbs.{i}')


def _styled(path, official: str, fields: Mapping, layout: str = _MODULATED) -> Iterator[Name]:
  yield from _modulated(path, official, layout)
  if fields.get('use_noise', True):
    yield Name((*path, 'noise_strength'), f'{official}.noise.weight', SCALAR)
  yield Name((*path, 'bias'), f'{official}.activate.bias', SAME)


def _torgb(path, official: str) -> Iterator[Name]:
  yield from _modulated(path, official, _MODULATED)
  yield Name((*path, 'bias'), f'{official}.bias', _IMAGE)


def _modulated(path, official: str, layout: Layout) -> Iterator[Name]:
  yield Name((*path, 'conv', 'kernel'), f'{official}.conv.weight', layout)
  yield from layer((*path, 'conv', 'affine'), f'{official}.conv.modulation')


def discriminator_names(fields: Mapping) -> Iterator[Name]:
  """The weights of a discriminator, 'stylegan2' or 'coordconv' (`fields['name']`)."""
  channels = fields['channels']
  if fields['name'] == 'coordconv':
    yield from _activated(('from_rgb',), 'convs.0')
    for i, (before, after) in enumerate(zip(channels, channels[1:], strict=False), 1):
      block = (f'block_{2 << (len(channels) - i)}',)
      for j in (0, 1):
        own = f'convs.{i}.conv{j + 1}'
        yield Name((*block, f'conv_{j}', 'kernel'), f'{own}.conv.conv.weight', CONV)
        yield Name((*block, f'conv_{j}', 'bias'), f'{own}.activation.bias', SAME)
      if before != after:
        yield from layer((*block, 'shortcut'), f'convs.{i}.skip.conv', CONV)
    yield from layer(('final',), 'final_conv.conv', CONV)
    return
  num = len(channels) - 1
  largest = f'b{4 << num}'
  yield Name((largest, 'fromrgb', 'kernel'), 'convs.0.0.weight', CONV)
  yield Name((largest, 'fromrgb', 'bias'), 'convs.0.1.bias', SAME)
  for i in range(1, num + 1):
    block, own = f'b{8 << (num - i)}', f'convs.{i}'
    for j, first in enumerate((0, 1)):
      conv = f'{own}.conv{j + 1}'
      yield Name((block, f'conv{j}', 'kernel'), f'{conv}.{first}.weight', CONV)
      yield Name((block, f'conv{j}', 'bias'), f'{conv}.{first + 1}.bias', SAME)
    yield Name((block, 'skip', 'kernel'), f'{own}.skip.1.weight', CONV)
  yield Name(('b4', 'conv', 'kernel'), 'final_conv.0.weight', CONV)
  yield Name(('b4', 'conv', 'bias'), 'final_conv.1.bias', SAME)
  yield from layer(('b4', 'fc'), 'final_linear.0', FLAT)
  yield from layer(('b4', 'out'), 'final_linear.1')


def _activated(path, official: str) -> Iterator[Name]:
  yield Name((*path, 'kernel'), f'{official}.conv.weight', CONV)
  yield Name((*path, 'bias'), f'{official}.activation.bias', SAME)


def model_fields(state: Mapping[str, np.ndarray]) -> dict:
  """The fields of `StyleSDF` that follow from the names and shapes of a state dict.

  Raises:
    UserError: It is no generator of StyleSDF.
  """
  shape = functools.partial(named_weights.shape_of, state, of="StyleSDF's generator")
  w_dim, z_dim = shape('style.0.weight', 2)
  fields = dict(
    z_dim=z_dim,
    w_dim=w_dim,
    mapping_layers=count(state, 'style.{}.weight'),
    hidden_dim=shape('renderer.network.pts_linears.0.weight', 2)[0],
    num_layers=count(state, 'renderer.network.pts_linears.{}.weight'),
    decoder_channels=(),
  )
  if any(name.startswith('decoder.') for name in state):
    levels = count(state, 'decoder.to_rgbs.{}.bias')
    convs = ['decoder.conv1', *(f'decoder.convs.{2 * i}' for i in range(levels))]
    fields.update(
      decoder_channels=tuple(shape(f'{name}.conv.weight', 5)[1] for name in convs),
      decoder_w_dim=shape('decoder.style.1.weight', 2)[0],
      decoder_mapping_layers=count(state, 'decoder.style.{}.weight', 1),
      low_resolution=shape('decoder.noises.noise_0', 4)[-1],
    )
  return fields


def discriminator_fields(state: Mapping[str, np.ndarray]) -> dict:
  """The fields of `config.discriminator`, its name among them, of a state dict.

  Raises:
    UserError: It is no discriminator of StyleSDF.
  """
  shape = functools.partial(named_weights.shape_of, state, of="StyleSDF's discriminator")
  if 'convs.0.conv.weight' in state:
    num = count(state, 'convs.{}.conv1.conv.conv.weight', 1)
    blocks = [shape(f'convs.{i}.conv2.conv.conv.weight', 4)[0] for i in range(1, num + 1)]
    heads = shape('final_conv.conv.weight', 4)[0]
    first = shape('convs.0.conv.weight', 4)[0]
    return dict(name='coordconv', channels=(first, *blocks), pose_dim=heads - 1)
  num = count(state, 'convs.{}.conv1.0.weight', 1)
  blocks = [shape(f'convs.{i}.conv2.1.weight', 4)[0] for i in range(num, 0, -1)]
  return dict(name='stylegan2', channels=(*blocks, shape('convs.0.0.weight', 4)[0]))


def noise_names(num: int) -> list[str]:
  """Of the constant noise of the decoder's layers, buffers."""
  return [f'decoder.noises.noise_{i}' for i in range(num)]


def from_official(state: Mapping[str, np.ndarray], names: Iterable[Name], num_noises=0) -> dict:
  """Our tree of official weights; the constant noise, if there is any, as `noise_const`.

  Args:
    state: float32 by official names.
    names: All that the network has.
    num_noises: Layers with noise.

  Raises:
    UserError: A weight is missing, has another number of axes, or is none of the network's.
  """
  noises = noise_names(num_noises)

  def ignored(name):
    return name in noises or _FILTERS.fullmatch(name) or num_noises and UNUSED.fullmatch(name)

  if missing := sorted(set(noises) - set(state)):
    raise UserError(f"'{missing[0]}' is missing. Give a checkpoint of StyleSDF's release.")
  tree = named_weights.from_official(state, names, 'StyleSDF', ignored)
  if noises:
    tree['noise_const'] = np.concatenate([np.ravel(state[name]) for name in noises])
  return tree


def generator_state(tree: Mapping, fields: Mapping) -> dict[str, np.ndarray]:
  """The whole official state dict of our generator's parameters and buffers: also filters, and
  zeros for what the release has and never uses."""
  state = to_official(tree, generator_names(fields))
  channels = fields['decoder_channels']
  if not channels:
    return state
  sizes = [fields['low_resolution'] << i for i in range(len(channels))]
  layers = [('decoder.conv1', sizes[0], channels[0])]
  for i, (size, width) in enumerate(zip(sizes[1:], channels[1:], strict=True)):
    layers += [(f'decoder.convs.{2 * i + j}', size, width) for j in (0, 1)]
    state[f'decoder.convs.{2 * i}.conv.blur.kernel'] = _FILTER.copy()
    state[f'decoder.to_rgbs.{i}.upsample.kernel'] = _FILTER.copy()
  noise = tree.get('noise_const')
  ends = np.cumsum([size**2 for _, size, _ in layers])
  if noise is None:  # a decoder without noise
    noise = np.zeros(ends[-1], np.float32)
  noises = noise_names(len(layers))
  for name, part, own in zip(noises, np.split(noise, ends[:-1]), layers, strict=True):
    official, size, width = own
    state[name] = np.array(part, np.float32).reshape(1, 1, size, size)
    state[f'{official}.bias'] = np.zeros((1, width, 1, 1), np.float32)
    state.setdefault(f'{official}.noise.weight', np.zeros(1, np.float32))
  return state
