"""Weights by name: what the maps of names between a release and our trees share.

A map is a list of `Name`s, one of each weight, and serves both directions.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from jax3dgan.errors import UserError


class Layout(NamedTuple):
  """How a release keeps an array.

  Attributes:
    ndim: Number of its axes there.
    to_ours, to_official: Functions of an array, from the release's layout to ours and back.
    fits: Whether a shape there, of so many axes, is one that such a weight has.
  """

  ndim: int
  to_ours: Callable[[np.ndarray], np.ndarray]
  to_official: Callable[[np.ndarray], np.ndarray]
  fits: Callable[[tuple[int, ...]], bool] = lambda shape: True


def conv_to_ours(x: np.ndarray) -> np.ndarray:
  """[out, in, k, k] → [k, k, in, out]."""
  return x.transpose(2, 3, 1, 0)


def conv_to_official(x: np.ndarray) -> np.ndarray:
  """The inverse of `conv_to_ours`."""
  return x.transpose(3, 2, 0, 1)


SAME = Layout(1, lambda x: x, lambda x: x)
SCALAR = Layout(1, lambda x: x[0], lambda x: x.reshape(1), lambda shape: shape == (1,))
DENSE = Layout(2, lambda x: x.T, lambda x: x.T)
CONV = Layout(4, conv_to_ours, conv_to_official)
# A dense layer of images of 4², whose inputs official code takes channel by channel.
FLAT = Layout(
  2,
  lambda x: conv_to_ours(x.reshape(len(x), -1, 4, 4)).reshape(-1, len(x)),
  lambda x: conv_to_official(x.reshape(4, 4, -1, x.shape[-1])).reshape(x.shape[-1], -1),
  lambda shape: shape[1] % 16 == 0,
)


class Name(NamedTuple):
  """A weight: its path in our tree, its official name, and how it lies."""

  path: tuple[str, ...]
  official: str
  layout: Layout


def layer(path: tuple[str, ...], official: str, layout: Layout = DENSE) -> Iterator[Name]:
  """Kernel and bias of a layer."""
  yield Name((*path, 'kernel'), f'{official}.weight', layout)
  yield Name((*path, 'bias'), f'{official}.bias', SAME)


def count(state: Mapping, pattern: str, start: int = 0) -> int:
  """How many names there are, numbered from `start` on, as of 'blocks.{}.weight'."""
  num = 0
  while pattern.format(start + num) in state:
    num += 1
  return num


def shape_of(state: Mapping[str, np.ndarray], name: str, ndim: int, of: str) -> tuple[int, ...]:
  """The shape of a weight with so many axes.

  Args:
    of: What the weights should be, "GIRAFFE's generator".

  Raises:
    UserError: It is missing, or has another number of axes.
  """
  if name not in state or np.ndim(state[name]) != ndim:
    raise UserError(
      f'These weights are not those of {of}: {name} is missing or has another number of axes than '
      f'{ndim}. Give a checkpoint of the release.'
    )
  return state[name].shape


def from_official(
  state: Mapping[str, np.ndarray],
  names: Iterable[Name],
  release: str,
  ignored: Callable[[str], object] = lambda name: False,
  dtype=np.float32,
) -> dict:
  """Our tree of official weights.

  Args:
    state: By official names.
    names: All that the network has.
    release: Whose the weights are, such as 'GIRAFFE', for messages.
    ignored: Of an official name: whether it is of no weight (filters, say).

  Raises:
    UserError: A weight is missing, has another number of axes, or is none of the network's.
  """
  names = list(names)
  expected = {name.official for name in names}
  if wrong := sorted(expected ^ {name for name in state if not ignored(name)}):
    what = 'is missing' if wrong[0] in expected else 'is no weight of this network'
    raise UserError(f"'{wrong[0]}' {what}. Give a checkpoint of {release}'s release.")
  tree: dict = {}
  for name in names:
    value, layout = np.asarray(state[name.official]), name.layout
    if value.ndim != layout.ndim or not value.size or not layout.fits(value.shape):
      raise UserError(
        f'{name.official} is of the shape {list(value.shape)}, which no such weight has. Give a '
        f"checkpoint of {release}'s release."
      )
    node = tree
    for part in name.path[:-1]:
      node = node.setdefault(part, {})
    node[name.path[-1]] = np.array(layout.to_ours(value), dtype, order='C')
  return tree


def to_official(tree: Mapping, names: Iterable[Name]) -> dict[str, np.ndarray]:
  """{official name: array in the official layout} of our tree's weights."""
  state = {}
  for name in names:
    node = tree
    for part in name.path:
      node = node[part]
    state[name.official] = np.array(name.layout.to_official(np.asarray(node)), order='C')
  return state
