"""Names and layouts of Exp-GAN's official generator and discriminators, and ours."""

import re
from collections.abc import Iterator, Mapping

from jax3dgan.convert.named_weights import (
  CONV,
  DENSE,
  FLAT,
  SAME,
  Layout,
  Name,
  conv_to_official,
  conv_to_ours,
  layer,
)

_BACKBONE = 'decoder.renderer'
_CONST = Layout(3, lambda x: x.transpose(1, 2, 0), lambda x: x.transpose(2, 0, 1))
# Of a layer that makes images larger: transposed, and so turned by half.
_TURNED = Layout(
  4, lambda x: conv_to_ours(x)[::-1, ::-1], lambda x: conv_to_official(x[::-1, ::-1])
)


def _is_one(shape) -> bool:
  return shape[0] == 1


def _modulated(turned: bool) -> Layout:
  own = _TURNED if turned else CONV
  return Layout(5, lambda x: own.to_ours(x[0]), lambda x: own.to_official(x)[None], _is_one)


def generator_names(fields: Mapping) -> Iterator[Name]:
  """The weights of mapping, backbones, texture head and the planes' decoder.

  Args:
    fields: mapping_layers, and `channels`, of the backbones at 4², 8², ...
  """
  for i in range(fields['mapping_layers']):
    yield from layer(('mapping', f'fc_{i}'), f'mapping_network.fc{i}')
  for ours, official in (('planes', 'triplane_block'), ('texture', 'face_texture_block')):
    for i in range(len(fields['channels'])):
      path, name = (ours, f'b{4 << i}'), f'{_BACKBONE}.{official}_{i}'
      if i == 0:
        yield Name((*path, 'const'), f'{name}.const', _CONST)
      for own in ('conv1', 'torgb') if i == 0 else ('conv0', 'conv1', 'torgb'):
        kernel = _TURNED if own == 'conv0' else CONV
        yield Name((*path, own, 'conv', 'kernel'), f'{name}.{own}.weight', kernel)
        yield from layer((*path, own, 'conv', 'affine'), f'{name}.{own}.affine')
        yield Name((*path, own, 'bias'), f'{name}.{own}.bias', SAME)
  head = f'{_BACKBONE}.face_texture'
  for i in range(2):
    yield from layer(('texture_head', f'pose_{i}'), f'{head}.pose_encoder.{i}')
    decoder = f'{_BACKBONE}.triplane_decoder.model.{2 * i}'
    yield Name(('decoder', f'fc_{i}_kernel'), f'{decoder}.weight', DENSE)
    yield Name(('decoder', f'fc_{i}_bias'), f'{decoder}.bias', SAME)
  yield from layer(('texture_head', 'conv'), f'{head}.last.1', CONV)


def upsampler_names(levels: int, size: int | None) -> Iterator[Name]:
  """The weights of the up-sampler of features of size², `levels` times twice as large; without a
  size its blocks are `level_1`, ...

  The release adds two biases to each styled convolution: `second_biases` has the names of those
  that are not here; ours are the sums.
  """
  yield from _styled(('upsampler', 'conv1'), 'renderer.conv1', False)
  for i in range(levels):
    block = ('upsampler', f'level_{i + 1}' if size is None else f'b{size << (i + 1)}')
    yield from _styled((*block, 'conv0'), f'renderer.convs.{2 * i}', True)
    yield from _styled((*block, 'conv1'), f'renderer.convs.{2 * i + 1}', False)
    torgb = f'renderer.to_rgbs.{i}'
    yield Name((*block, 'torgb', 'conv', 'kernel'), f'{torgb}.conv.weight', _modulated(False))
    yield from layer((*block, 'torgb', 'conv', 'affine'), f'{torgb}.conv.modulation')
    yield Name((*block, 'torgb', 'bias'), f'{torgb}.bias', _IMAGE)


_IMAGE = Layout(4, lambda x: x.ravel(), lambda x: x[None, :, None, None], _is_one)


def _styled(path, official: str, turned: bool) -> Iterator[Name]:
  yield Name((*path, 'conv', 'kernel'), f'{official}.conv.weight', _modulated(turned))
  yield from layer((*path, 'conv', 'affine'), f'{official}.conv.modulation')
  yield Name((*path, 'bias'), f'{official}.activate.bias', SAME)


def second_biases(levels: int) -> dict[str, str]:
  """{official name of a bias [1, c, 1, 1]: that of the one [c] which it is added to}."""
  convs = ['renderer.conv1', *(f'renderer.convs.{i}' for i in range(2 * levels))]
  return {f'{conv}.bias': f'{conv}.activate.bias' for conv in convs}


def discriminator_state(state: Mapping, guesses: bool) -> dict:
  """One discriminator's official weights with those of ours alone: two biases of a from-RGB layer
  summed, its from-RGB layers of sizes that are never images left out, the last layer in two.

  Args:
    state: By official names without the network's.
    guesses: Whether it guesses anything.
  """
  found = {k: v for k, v in state.items() if not _OF_IMAGES.match(k) and not k.endswith('kernel')}
  for i in range(2):
    name = f'fromRGB.{i}.model'
    found[f'{name}.0.weight'] = state[f'{name}.0.weight']
    found[f'{name}.bias'] = state[f'{name}.0.bias'] + state[f'{name}.1.bias']
  for kind in ('weight', 'bias'):
    last = found.pop(f'{_LAST}.{kind}')
    found[f'{_LAST}.logit.{kind}'] = last[:1]
    if guesses:
      found[f'{_LAST}.guesses.{kind}'] = last[1:]
  return found


_OF_IMAGES = re.compile(r'fromRGB\.')
_LAST = 'final_linear.1'


def discriminator_names(num: int, guesses: bool) -> Iterator[Name]:
  """Of `discriminator_state`, of images of 2 << num pixels on a side."""
  for i in range(num - 1):
    block, name = (f'b{2 << (num - i)}',), f'convs.{i}'
    for own, official, activation in (('conv0', 'conv1.0', 1), ('conv1', 'conv2.1', 2)):
      bias = f'{name}.{official[:5]}.{activation}.bias'
      yield Name((*block, own, 'kernel'), f'{name}.{official}.weight', CONV)
      yield Name((*block, own, 'bias'), bias, SAME)
    yield Name((*block, 'skip', 'kernel'), f'{name}.skip.1.weight', CONV)
  for i in range(2):
    path, name = f'from_rgb_{2 << (num - i)}', f'fromRGB.{i}.model'
    yield Name((path, 'kernel'), f'{name}.0.weight', CONV)
    yield Name((path, 'bias'), f'{name}.bias', SAME)
  yield Name(('b4', 'conv', 'kernel'), 'final_conv.0.weight', CONV)
  yield Name(('b4', 'conv', 'bias'), 'final_conv.1.bias', SAME)
  yield from layer(('b4', 'fc'), 'final_linear.0', FLAT)
  yield from layer(('b4', 'out'), f'{_LAST}.logit')
  if guesses:
    yield from layer(('b4', 'pose'), f'{_LAST}.guesses')
