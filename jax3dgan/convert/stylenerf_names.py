"""Names and layouts of StyleNeRF's official weights, and ours: one map for both directions."""

import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from jax3dgan.convert import named_weights
from jax3dgan.convert.named_weights import (
  CONV,
  FLAT,
  Layout,
  Name,
  conv_to_official,
  conv_to_ours,
  layer,
)

# Constants of the architecture, and the progress of the growth, which is the number of images here.
CONSTANTS = re.compile(r'(.*\.)?resample_filter|(synthesis\.)?alpha')
# A convolution that covers images of 4², which is a dense layer here.
ENTIRE = Layout(
  4,
  lambda x: conv_to_ours(x).reshape(-1, len(x)),
  lambda x: conv_to_official(x.reshape(4, 4, -1, x.shape[-1])),
  lambda shape: shape[2:] == (4, 4),
)


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
    yield from layer((f'from_rgb_{size}',), f'b{size}.fromrgb', CONV)
    if i:
      for conv in ('conv0', 'conv1'):
        yield from layer((f'b{size}', conv), f'b{size}.{conv}', CONV)
  yield from layer(('b4', 'conv'), 'b4.conv', CONV)
  yield from layer(('b4', 'fc'), 'b4.fc', FLAT)
  yield from layer(('b4', 'out'), 'b4.out')
  if pose:
    yield Name(('pose', 'kernel'), 'projector.weight', ENTIRE)
    yield from layer(('mapping', 'embed'), 'mapping.embed')
    for i in range(mapping_layers):
      yield from layer(('mapping', f'fc_{i}'), f'mapping.fc{i}')


def from_official(state: Mapping[str, np.ndarray], names: Iterable[Name]) -> dict:
  """Our tree of official weights, see `named_weights.from_official`; constants are left out."""
  return named_weights.from_official(state, names, 'StyleNeRF', CONSTANTS.fullmatch)
