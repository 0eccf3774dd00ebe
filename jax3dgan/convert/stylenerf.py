"""StyleNeRF's official checkpoints: networks, or their state dicts, 'G_ema', 'G' and 'D'."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from jax3dgan import convert
from jax3dgan.convert import (
  modules,
  state_dicts,
  stylenerf_generator,
  stylenerf_names,
  training_state,
  wrapped,
)
from jax3dgan.convert.networks import Network, num_images
from jax3dgan.convert.values import DAMAGED
from jax3dgan.errors import UserError

BACKGROUND_DIM = 32  # of the release; no shape tells it
_NAMES = ('G_ema', 'G', 'D')
_MAX_BLOCKS = 6  # 2048²
# Buffers that say how far the growth is.
_ALPHAS = ('alpha', 'synthesis.alpha')


@dataclasses.dataclass
class Grown(Network):
  """A generator that has grown to images of resolution²."""

  resolution: int = dataclasses.field(kw_only=True)


@dataclasses.dataclass
class Checkpoint:
  """A whole checkpoint.

  Attributes:
    average: The moving average of the generator, 'G_ema', or the only generator of the file.
    generator: As trained; None where the file has only one.
    discriminator: None where the file has none.
    resolution: Pixels on a side that the networks have grown to.
    num_images: Of training; None if the file does not say it.
    notes: What cannot be as in the release, one sentence each.
  """

  average: Network
  generator: Network | None
  discriminator: Network | None
  resolution: int
  num_images: int | None
  notes: list[str]


def is_generator(value) -> bool:
  """Whether it is a generator of StyleNeRF, or a state dict of one."""
  if wrapped.is_state_dict(value):
    return any(name.startswith('synthesis.fg_nerf.') for name in wrapped.plain_names(value))
  if not wrapped.is_module(value):
    return False
  try:
    return any(name.startswith('synthesis.fg_nerf.') for name in modules.state_dict(value))
  except UserError:
    return False


def read_checkpoint(
  path, say: Callable[[str], None] = lambda line: None, entry: str | None = None
) -> Checkpoint:
  """Reads a file of the release, or state dicts of its networks.

  Args:
    path: The file.
    say: Called with lines of progress.
    entry: The generator's name in a training state, where several are there.

  Raises:
    UserError: It is not a checkpoint of StyleNeRF, is damaged, or has a network of other sizes.
  """
  tree = convert.read(path)
  found = dict.fromkeys(_NAMES) | (_networks(tree) if entry is None else {})
  networks = training_state.read(path, tree, found, _RELEASE, say, entry)
  average = networks[0]
  return Checkpoint(*networks, average.resolution, num_images(path, tree), average.notes)


def _networks(tree) -> dict[str, Any]:
  """The networks of a file; of a state dict of several those whose names begin so."""
  if wrapped.is_state_dict(tree):
    found: dict[str, dict] = {}
    for key, value in wrapped.plain_names(tree).items():
      head, _, rest = key.partition('.')
      if head in _NAMES:
        found.setdefault(head, {})[rest] = value
    return found
  if not isinstance(tree, dict):
    return {}
  return {name: wrapped.unwrapped(tree.get(name)) for name in _NAMES}


def _generator(path, name: str, value) -> Grown:
  state = state_dicts.weights(f'{path}, {name}', value)
  try:
    fields = stylenerf_generator.model_fields(state)
    if len(fields['channels']) > _MAX_BLOCKS:
      raise UserError('it has blocks that the release does not have. Give a file of the release.')
    if fields['background']:
      width = state['synthesis.bg_nerf.fc_in.weight'].shape[1]
      # The rest are encodings of four numbers, a sine and a cosine each.
      is_released = width > BACKGROUND_DIM and (width - BACKGROUND_DIM) % 8 == 0
      dim = BACKGROUND_DIM if is_released else width % 8
      fields |= stylenerf_generator.background_fields(state, dim)
    own = {'upsampling': 'nearest', **fields}
    arrays = stylenerf_generator.generator_arrays(state, own)
  except UserError as error:
    raise UserError(f'{path}, {name}: {error}') from None
  except (IndexError, KeyError, ValueError) as error:
    raise UserError(
      f'{path}, {name} has a weight of another shape than its network has ({error}). {DAMAGED}'
    ) from None
  if 'upsampling' not in fields:
    raise UserError(
      f'{path}, {name} has no adapters in its up-sampler, and its weights do not say how it '
      "doubles sizes. Give a file of the release's, with 'adapter' in the names."
    )
  low, num = fields['low_resolution'], len(fields['channels'])
  level = _level(path, name, state, num)
  notes = []
  if level < num:
    notes.append(
      f'The growth of the file is not at its end: it makes {low << level}² of {low << num}², and '
      'a share of the last size that is still faded in counts in full.'
    )
  return Grown(fields, arrays, notes=notes, resolution=low << level)


def _level(path, name: str, state: Mapping, num: int) -> int:
  """How many blocks of the up-sampler are in use: the release's growth goes from 0 to 1, and is
  negative where nothing grows."""
  alpha = next((state[key] for key in _ALPHAS if key in state), None)
  if alpha is None or alpha.size != 1:
    return num
  alpha = float(alpha.reshape(()))
  if not -1 <= alpha <= 1:
    raise UserError(f'{path}, {name} says alpha {alpha:g}, which is no share. {DAMAGED}')
  if alpha < 0 or alpha == 1:
    return num
  return min(math.floor(alpha * num) + (alpha > 0), num)


def _discriminator(path, value) -> Network:
  state = state_dicts.weights(f'{path}, D', value)
  found = (re.fullmatch(r'b(\d{1,4})\.fromrgb\.weight', name) for name in state)
  sizes = sorted(int(match[1]) for match in found if match)
  if not sizes or sizes != [4 << i for i in range(len(sizes))] or len(sizes) < 2:
    raise UserError(
      f"{path}, D: these are not the weights of StyleNeRF's discriminator, of which every size has "
      'its fromrgb. Give a file of the release.'
    )
  pose = state.get('projector.weight')
  mapping = len([n for n in state if re.fullmatch(r'mapping\.fc\d+\.weight', n)])
  names = list(stylenerf_names.discriminator_names(len(sizes), pose is not None, mapping))
  try:
    params = stylenerf_names.from_official(state, names)
  except UserError as error:
    raise UserError(f'{path}, D: {error}') from None
  fields: dict[str, Any] = dict(
    name='stylenerf', channels=tuple(len(state[f'b{size}.fromrgb.weight']) for size in sizes)
  )
  if pose is not None:
    fields.update(pose_dim=len(pose), mapping_layers=mapping)
  return Network(fields, params)


_RELEASE = training_state.Release(
  'generator of StyleNeRF',
  '(synthesis.fg_nerf). Give a checkpoint of StyleNeRF.',
  is_generator,
  _generator,
  _discriminator,
)
