"""What the files of several releases have in common: a network, the shapes of its parameters, the
images of training."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jax3dgan.convert.values import DAMAGED, show
from jax3dgan.errors import UserError


@dataclasses.dataclass
class Network:
  """A network of a file: its fields in a config, our parameters (of a generator with its buffers
  among them), a discriminator's buffers, None without any, and what of it cannot be as in the
  release, one sentence each."""

  fields: dict[str, Any]
  params: dict
  buffers: dict | None = dataclasses.field(default=None, kw_only=True)
  notes: list[str] = dataclasses.field(default_factory=list, kw_only=True)


@dataclasses.dataclass
class Checkpoint:
  """A whole checkpoint of a release that keeps steps.

  Attributes:
    average: The moving average of the generator, or the only generator of the file.
    generator: As trained; None where the file has only one.
    discriminator: None where the file has none.
    step: Of training; None if the file does not say it.
    notes: What cannot be as in the release, one sentence each.
  """

  average: Network
  generator: Network | None
  discriminator: Network | None
  step: int | None
  notes: list[str] = dataclasses.field(default_factory=list)


def shapes(params, path='') -> dict[str, tuple[int, ...]]:
  """{'a/b': shape} of a tree of parameters."""
  if not isinstance(params, Mapping):
    return {path.removeprefix('/'): tuple(params.shape)}
  found = {}
  for key, value in params.items():
    found |= shapes(value, f'{path}/{key}')
  return found


def num_images(path, tree) -> int | None:
  """Images of training, `cur_nimg`; None where the file does not say it.

  Raises:
    UserError: It is no number of images.
  """
  value = tree.get('cur_nimg') if isinstance(tree, dict) else None
  if value is None:
    return None
  if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**40:
    raise UserError(f'{path} says cur_nimg {show(value)}. {DAMAGED}')
  return value
