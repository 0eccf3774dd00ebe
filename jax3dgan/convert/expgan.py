"""Exp-GAN's released weights (ACCV 2022) as our networks.

The release's cameras are orthographic and its codes FLAME's, fitted to photos: what it was trained
with is `morphable.photo_cameras` and `generators.expgan_rendering.orthographic_rays`, and
`ExpGAN.render` makes a picture of them. So there is no run that the apps open.
"""

from collections.abc import Mapping

import numpy as np

from jax3dgan.convert import expgan_names, named_weights
from jax3dgan.convert.named_weights import count, shape_of

GENERATOR, FULL, LOW = 'net_G', 'net_D_stylegan', 'net_D_auxgan'
_OF = "Exp-GAN's generator"
_BLOCK = 'decoder.renderer.triplane_block_{}.conv1.weight'


def part_of(state: Mapping[str, np.ndarray], network: str) -> dict[str, np.ndarray]:
  """The weights of one network of a checkpoint, `GENERATOR`, 'net_G_ema', `FULL` or `LOW`, without
  its name before theirs."""
  prefix = f'{network}.'
  return {k.removeprefix(prefix): x for k, x in state.items() if k.startswith(prefix)}


def generator_fields(state: Mapping[str, np.ndarray]) -> dict:
  """The fields of `ExpGAN` that weights say, of `part_of` a checkpoint; a jaw is the last three
  numbers of what the mapping network is told.

  Raises:
    UserError: They are not those of Exp-GAN's generator.
  """

  def shape(name, ndim=2):
    return shape_of(state, name, ndim, _OF)

  blocks = count(state, _BLOCK)
  widths = [shape(_BLOCK.format(i), 4)[0] for i in range(blocks)]
  levels = count(state, 'renderer.to_rgbs.{}.conv.weight')
  up = [shape('renderer.conv1.conv.weight', 5)[1]]
  up += [shape(f'renderer.convs.{2 * i}.conv.weight', 5)[1] for i in range(levels)]
  hidden, features = shape('decoder.renderer.triplane_decoder.model.0.weight')
  return dict(
    w_dim=shape('mapping_network.fc0.weight')[0],
    mapping_layers=count(state, 'mapping_network.fc{}.weight'),
    channels=tuple(widths[:-1]),
    plane_features=features,
    texture_channels=shape('decoder.renderer.face_texture.last.1.weight', 4)[1],
    texture_hidden=shape('decoder.renderer.face_texture.pose_encoder.0.weight')[0],
    decoder_hidden=hidden,
    up_channels=tuple(up),
  )


def generator_params(state: Mapping[str, np.ndarray], low_resolution: int = 64) -> dict:
  """Our parameters of the generator, of `part_of` a checkpoint.

  Args:
    low_resolution: Rays on a side, which no weight says.

  Raises:
    UserError: A weight is missing, of another shape, or none of the network's.
  """
  fields, state = generator_fields(state), dict(state)
  levels = len(fields['up_channels']) - 1
  for second, first in expgan_names.second_biases(levels).items():
    if second in state and first in state:
      state[first] = state[first] + np.ravel(state.pop(second))
  names = [
    *expgan_names.generator_names({**fields, 'channels': (*fields['channels'], 0)}),
    *expgan_names.upsampler_names(levels, low_resolution),
  ]
  return named_weights.from_official(state, names, 'Exp-GAN', is_buffer)


def w_average(state: Mapping[str, np.ndarray]) -> np.ndarray:
  """The buffer `w_average` [w_dim] of `part_of` a checkpoint, whose rows are all alike."""
  return np.asarray(state['mean_w'], np.float32)[0]


def discriminator_params(
  full: Mapping[str, np.ndarray], low: Mapping[str, np.ndarray], guesses: bool = True
) -> dict:
  """Our parameters of both discriminators, each of `part_of` a checkpoint.

  Args:
    guesses: Whether they guess anything beside their logit.

  Raises:
    UserError: As of `generator_params`.
  """
  found = {}
  for part, state in (('full', full), ('low', low)):
    num = count(state, 'convs.{}.conv1.0.weight') + 1
    own = expgan_names.discriminator_state(state, guesses)
    names = expgan_names.discriminator_names(num, guesses)
    found[part] = named_weights.from_official(own, names, 'Exp-GAN', is_buffer)
  return found


def is_buffer(name: str) -> bool:
  """Whether an official name is of no weight: filters, grids, the mean style."""
  last = name.rpartition('.')[2]
  return last in ('kernel', 'resample_filter', 'mean_w', 'w_avg')
