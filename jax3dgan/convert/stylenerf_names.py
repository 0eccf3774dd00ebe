"""Names and layouts of StyleNeRF's official weights, and ours: one map for both directions."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

# Constants of the architecture, and the progress of the growth, which is the number of images here.
CONSTANTS = re.compile(r'(.*\.)?resample_filter|(synthesis\.)?alpha')


class Name(NamedTuple):
  """A weight.

  Attributes:
    path: In our tree.
    official: Its official name.
    layout: 'same'; 'dense', [out, in] instead of [in, out]; 'conv', [out, in, k, k] instead of
      [k, k, in, out]; 'flat', a dense layer of images of 4², whose inputs official code takes
      channel by channel; 'entire', a convolution that covers images of 4², which is a dense layer
      here.
  """

  path: tuple[str, ...]
  official: str
  layout: str


def layer(path: tuple[str, ...], official: str, layout: str) -> Iterator[Name]:
  """Kernel and bias of a layer."""
  yield Name((*path, 'kernel'), f'{official}.weight', layout)
  yield Name((*path, 'bias'), f'{official}.bias', 'same')


def discriminator_names(
  num_sizes: int, pose: bool = False, mapping_layers: int = 8
) -> Iterator[Name]:
  """The weights of `discriminators.stylenerf`.

  Args:
    num_sizes: Of the images, from 4² on.
    pose: Whether it predicts a camera.
  """
  for i in range(num_sizes):
    size = 4 << i
    yield from layer((f'from_rgb_{size}',), f'b{size}.fromrgb', 'conv')
    if i:
      for conv in ('conv0', 'conv1'):
        yield from layer((f'b{size}', conv), f'b{size}.{conv}', 'conv')
  yield from layer(('b4', 'conv'), 'b4.conv', 'conv')
  yield from layer(('b4', 'fc'), 'b4.fc', 'flat')
  yield from layer(('b4', 'out'), 'b4.out', 'dense')
  if pose:
    yield Name(('pose', 'kernel'), 'projector.weight', 'entire')
    yield from layer(('mapping', 'embed'), 'mapping.embed', 'dense')
    for i in range(mapping_layers):
      yield from layer(('mapping', f'fc_{i}'), f'mapping.fc{i}', 'dense')


def from_official(arrays: Mapping[str, np.ndarray], names: Iterable[Name]) -> dict:
  """Our tree of official weights by name.

  Raises:
    KeyError: A weight is missing.
  """
  tree = {}
  for name in names:
    node = tree
    for part in name.path[:-1]:
      node = node.setdefault(part, {})
    value = np.asarray(arrays[name.official], np.float32)
    node[name.path[-1]] = np.array(_to_ours(value, name.layout), order='C')
  return tree


def to_official(tree, names: Iterable[Name]) -> dict[str, np.ndarray]:
  """{official name: array in the official layout} of our tree."""
  arrays = {}
  for name in names:
    node = tree
    for part in name.path:
      node = node[part]
    arrays[name.official] = np.array(_to_official(np.asarray(node), name.layout), order='C')
  return arrays


def _to_ours(value: np.ndarray, layout: str) -> np.ndarray:
  if layout == 'flat':
    value = value.reshape(len(value), -1, 4, 4)
  if layout in ('flat', 'entire'):
    return value.transpose(2, 3, 1, 0).reshape(-1, len(value))
  if layout == 'conv':
    return value.transpose(2, 3, 1, 0)
  return value.T if layout == 'dense' else value


def _to_official(value: np.ndarray, layout: str) -> np.ndarray:
  if layout in ('flat', 'entire'):
    value = value.reshape(4, 4, -1, value.shape[-1]).transpose(3, 2, 0, 1)
    return value.reshape(len(value), -1) if layout == 'flat' else value
  if layout == 'conv':
    return value.transpose(3, 2, 0, 1)
  return value.T if layout == 'dense' else value
