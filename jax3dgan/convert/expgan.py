"""Exp-GAN's official checkpoints (ACCV 2022): a file of Lightning, whose one state dict holds all
networks by their prefixes, 'net_G_ema', 'net_G', 'net_D_stylegan' and 'net_D_auxgan'.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from jax3dgan import convert
from jax3dgan.convert import (
  expgan_names,
  named_weights,
  state_dicts,
  training_state,
  wrapped,
)
from jax3dgan.convert import networks as networks_lib
from jax3dgan.convert.named_weights import count, shape_of
from jax3dgan.convert.networks import Network
from jax3dgan.errors import UserError

AVERAGE, GENERATOR, FULL, LOW = 'net_G_ema', 'net_G', 'net_D_stylegan', 'net_D_auxgan'
FACE = 'flamedecoder'  # FLAME's own arrays, which are not read
# Names that the program which writes such files may put into them; they stay names.
CLASSES = ('pytorch_lightning.**', 'omegaconf.**')
JAW, POSE = 3, 6  # numbers of the jaw's rotation and of a guessed camera
NUM_IDENTITY, NUM_EXPRESSION, LOW_RESOLUTION = 100, 50 + JAW, 64  # of the release
_OF = "Exp-GAN's generator"
_BLOCK = 'decoder.renderer.triplane_block_{}.conv1.weight'
_MARK = 'decoder.renderer.face_texture.last.1.weight'


@dataclasses.dataclass
class Checkpoint(networks_lib.Checkpoint):
  """A file of the release.

  Attributes:
    face_model: The user's file, '' for none.
  """

  face_model: str = ''


def is_generator(value) -> bool:
  """Whether it is a state dict of Exp-GAN's generator."""
  return wrapped.is_state_dict(value) and _MARK in wrapped.plain_names(value)


def read_checkpoint(
  path,
  say: Callable[[str], None] = lambda line: None,
  entry: str | None = None,
  face_model: str | None = None,
  num_identity: int | None = None,
) -> Checkpoint:
  """Reads a file of the release, or a state dict of its generator.

  Args:
    path: The file.
    say: Called with lines of progress.
    entry: The generator's name in a training state, where several are there.
    face_model: See `Checkpoint`.
    num_identity: Numbers of identity that the mapping network is told, which no weight says; None
      for the release's.

  Raises:
    UserError: It is not a checkpoint of Exp-GAN, is damaged, or has a network of other sizes.
  """
  tree = convert.read(path, (*convert.CLASSES, *CLASSES))
  state = tree.get('state_dict', tree) if isinstance(tree, dict) and entry is None else None
  state = wrapped.plain_names(state) if wrapped.is_state_dict(state) else {}
  judges = {name: found for name in (FULL, LOW) if (found := part_of(state, name))}
  found = {name: part_of(state, name) or None for name in (AVERAGE, GENERATOR)}
  identity = NUM_IDENTITY if num_identity is None else num_identity
  release = training_state.Release(
    'generator of Exp-GAN',
    f'({_MARK}). Give a checkpoint of Exp-GAN.',
    is_generator,
    lambda path, name, value: _generator(path, name, value, identity),
    lambda path, value: _discriminators(path, value, identity),
  )
  read = training_state.read(path, tree, {**found, 'net_D': judges or None}, release, say, entry)
  average, judge = read[0], read[2]
  average.fields['num_expression'] = NUM_EXPRESSION
  average.fields['low_resolution'] = LOW_RESOLUTION
  if judge is not None:
    average.fields['num_expression'] = judge.fields['expression_dim']
    average.fields['low_resolution'] = judge.fields['low_resolution']
  for network in read[:2]:  # blocks of the up-sampler have the names of their sizes
    if network is not None:
      _name_by_size(network.params, average.fields['low_resolution'])
  e = average.fields['num_expression']
  average.fields['expression_inputs'] = tuple(range(e - JAW, e))
  notes = []
  if part_of(state, FACE):
    notes.append(f"{FACE}, FLAME's arrays in the file, is not read: --face_model names its file.")
  return Checkpoint(*read, wrapped.step_of(tree), notes, face_model or '')


def _name_by_size(params, size: int) -> None:
  up = params['upsampler']
  for i in range(1, sum(name.startswith('level_') for name in up) + 1):
    up[f'b{size << i}'] = up.pop(f'level_{i}')


def _generator(path, name: str, value, num_identity: int) -> Network:
  state = state_dicts.of_entry(path, name, value, 'Exp-GAN')
  try:
    fields = generator_fields(state)
    told = shape_of(state, 'mapping_network.fc0.weight', 2, _OF)[1]
    latent_dim = told - num_identity - JAW
    if latent_dim < 1:
      raise UserError(
        f'its mapping network is told {told} numbers, which are no {num_identity} of identity with '
        'a jaw and a latent. Give --num_identity.'
      )
    codes = dict(num_identity=num_identity, identity_inputs=num_identity, latent_dim=latent_dim)
    params = generator_params(state, None)
    return Network({**fields, **codes}, {**params, 'w_average': w_average(state)})
  except UserError as error:
    raise UserError(f'{path}, {name}: {error}') from None


def _discriminators(path, value, num_identity: int) -> Network:
  if missing := [name for name in (FULL, LOW) if name not in value]:
    raise UserError(
      f'{path} has one discriminator and no {missing[0]}. Give a file of the release.'
    )
  full, low = (state_dicts.of_entry(path, name, value[name], 'Exp-GAN') for name in (FULL, LOW))
  try:
    fields = discriminator_fields(full, low)
    expression = fields.pop('guesses') - POSE - num_identity
    if expression <= JAW:
      raise UserError(
        f'they guess {expression + num_identity} numbers of codes, which are no {num_identity} of '
        'identity with an expression and a jaw. Give --num_identity.'
      )
    fields |= dict(pose_dim=POSE, expression_dim=expression, identity_dim=num_identity)
    return Network(fields, discriminator_params(full, low))
  except UserError as error:
    raise UserError(f'{path}, net_D: {error}') from None
  except KeyError as error:
    raise UserError(f'{path}, net_D has no {error}. Give a file of the release.') from None


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


def generator_params(
  state: Mapping[str, np.ndarray], low_resolution: int | None = LOW_RESOLUTION
) -> dict:
  """Our parameters of the generator, of `part_of` a checkpoint.

  Args:
    low_resolution: Rays on a side, which no weight says; None for an up-sampler whose blocks are
      `level_1`, ... instead of the names by their sizes.

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


def generator_state(tree: Mapping, fields: Mapping) -> dict[str, np.ndarray]:
  """The official names and layouts of parameters and buffers: the inverse of `generator_params`,
  but for constants; the second of two biases that are added is 0.

  Args:
    fields: `config.model`.
  """
  blocks, levels = len(fields['channels']) + 1, len(fields['up_channels']) - 1
  names = [
    *expgan_names.generator_names({**fields, 'channels': (0,) * blocks}),
    *expgan_names.upsampler_names(levels, fields['low_resolution']),
  ]
  state = named_weights.to_official(tree, names)
  for second, first in expgan_names.second_biases(levels).items():
    state[second] = np.zeros((1, len(state[first]), 1, 1), state[first].dtype)
  mean = np.asarray(tree['w_average'])
  return state | {'mean_w': np.repeat(mean[None], 4 * blocks + 1, axis=0)}


def w_average(state: Mapping[str, np.ndarray]) -> np.ndarray:
  """The buffer `w_average` [w_dim] of `part_of` a checkpoint, whose rows are all alike.

  Raises:
    UserError: It has none.
  """
  shape_of(state, 'mean_w', 2, _OF)
  return np.asarray(state['mean_w'], np.float32)[0]


def discriminator_fields(full: Mapping[str, np.ndarray], low: Mapping[str, np.ndarray]) -> dict:
  """The fields of `ExpGANDiscriminator` that weights say, and `guesses`, the sum of those of its
  heads."""

  def shape(name, ndim):
    return shape_of(full, name, ndim, "Exp-GAN's discriminators")

  conv = 'convs.{}.conv1.0.weight'
  channels = [shape(conv.format(i), 4)[0] for i in range(count(full, conv))]
  channels.append(shape('final_conv.0.weight', 4)[0])
  return dict(
    name='expgan',
    channels=tuple(channels[::-1]),
    low_resolution=4 << count(low, conv),
    guesses=shape('final_linear.1.weight', 2)[0] - 1,
  )


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
