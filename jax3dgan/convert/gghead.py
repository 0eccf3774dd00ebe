"""GGHead's official checkpoints: networks, or their state dicts, 'G_ema', 'G' and 'D'."""

from collections.abc import Callable

from jax3dgan import convert
from jax3dgan.convert import (
  eg3d_names,
  gghead_names,
  modules,
  state_dicts,
  training_state,
  wrapped,
)
from jax3dgan.convert.networks import Checkpoint, Network, num_images
from jax3dgan.convert.values import DAMAGED
from jax3dgan.errors import UserError

_NAMES = ('G_ema', 'G', 'D')
_MARK = '_zero_conv_position.weight'
BATCH = 32  # images a step, of the release
_MAX_BLOCKS = 9  # 1024²


def is_generator(value) -> bool:
  """Whether it is a generator of GGHead, or a state dict of one."""
  try:
    if wrapped.is_state_dict(value):
      return _MARK in wrapped.plain_names(value)
    return wrapped.is_module(value) and _MARK in modules.state_dict(value)
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
    UserError: It is not a checkpoint of GGHead, is damaged, or has a network of other sizes.
  """
  tree = convert.read(path)
  whole = isinstance(tree, dict) and entry is None and not wrapped.is_state_dict(tree)
  found = {name: wrapped.unwrapped(tree.get(name)) if whole else None for name in _NAMES}
  networks = training_state.read(path, tree, found, _RELEASE, say, entry)
  images = num_images(path, tree)
  return Checkpoint(*networks, images and images // BATCH)


def _generator(path, name: str, value) -> Network:
  state = state_dicts.weights(f'{path}, {name}', value)
  try:
    fields = gghead_names.model_fields(state)
    if len(fields['channels']) > _MAX_BLOCKS:
      raise UserError('it has blocks that the release does not have. Give a file of the release.')
    return Network(fields, gghead_names.generator_params(state))
  except UserError as error:
    raise UserError(f'{path}, {name}: {error}') from None
  except (IndexError, KeyError, ValueError) as error:
    raise UserError(
      f'{path}, {name} has a weight of another shape than its network has ({error}). {DAMAGED}'
    ) from None


def _discriminator(path, value) -> Network:
  state = state_dicts.weights(f'{path}, D', value)
  state = {name: x for name, x in state.items() if not name.endswith('resample_filter')}
  try:
    fields = eg3d_names.discriminator_fields(state)
    if fields['name'] != 'stylegan2' or len(fields['channels']) > _MAX_BLOCKS + 1:
      raise UserError('it takes pairs of images, or more blocks than the release has.')
    return Network(fields, eg3d_names.discriminator_params(state))
  except UserError as error:
    raise UserError(f'{path}, D: {error}') from None
  except (IndexError, KeyError, ValueError) as error:
    raise UserError(f'{path}, D has no {error}, or in another shape. {DAMAGED}') from None


_RELEASE = training_state.Release(
  'generator of GGHead',
  f'({_MARK}). Give a checkpoint of GGHead.',
  is_generator,
  _generator,
  _discriminator,
)
