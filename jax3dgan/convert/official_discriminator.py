"""π-GAN's official discriminators: which of them a file holds, inferred from names and shapes."""

import dataclasses
from typing import Any

import numpy as np

from jax3dgan.convert import official, pigan
from jax3dgan.errors import UserError


@dataclasses.dataclass
class Discriminator:
  """An official discriminator: fields of `config.discriminator`, our parameters, its class."""

  fields: dict[str, Any]
  params: dict
  class_name: str


def read_discriminator(path) -> Discriminator:
  """Reads any of the release's four discriminators, whole or a state dict.

  Raises:
    UserError: It is not one of them.
  """
  model = official.read_model(path, 'discriminator')
  # The strided one has a layer that it never uses.
  weights = {k: v for k, v in model.weights.items() if not k.startswith('pose_layer.')}
  num_sizes = official.count_layers(weights, 'fromRGB.{}.model.0.weight')
  final = weights.get('final_layer.weight')
  if num_sizes < 2 or final is None or _rows(final) in (0, 2):
    raise UserError(
      f"{path} has no fromRGB and final_layer as a discriminator of π-GAN. Give the release's "
      'discriminator.pth.'
    )
  channels = tuple(_rows(weights[f'fromRGB.{i}.model.0.weight']) for i in range(num_sizes))
  coords = 'layers.0.network.0.conv.weight' in weights
  # Heads: 1 for real or not, then the latent and the two angles of the pose, or neither.
  pose_dim = 2 if _rows(final) > 1 else 0
  fields = {
    'block': _block(path, weights, channels, coords, model.class_name),
    'channels': channels,
    'latent_dim': _rows(final) - 1 - pose_dim,
    'pose_dim': pose_dim,
  }
  if coords == (fields['block'] == 'strided'):
    fields['coord_conv'] = coords
  shapes = {key: value.shape for key, value in weights.items()}
  official.compare_shapes(path, shapes, discriminator_shapes(fields, coords, _rows(final)))
  params = pigan.from_official(weights, pigan.discriminator_names(weights))
  return Discriminator(fields, params, model.class_name)


def _rows(weight: np.ndarray) -> int:
  return weight.shape[0] if weight.ndim else 0


def _block(path, weights, channels, coords: bool, class_name: str) -> str:
  """The kind of block. Only pooling ones omit the shortcut for equal numbers of channels."""
  strided = 'ccs' if coords else 'strided'
  for i in range(len(channels) - 1):
    if channels[i] == channels[i + 1]:
      return strided if f'layers.{i}.proj.weight' in weights else 'progressive'
  for name, block in (('Progressive', 'progressive'), ('CCS', 'ccs'), ('Strided', 'strided')):
    if class_name.startswith(name):
      return block
  if not coords:
    return strided
  raise UserError(
    f'{path} does not say whether its blocks pool or stride. Give the whole discriminator, not its '
    'state dict.'
  )


def discriminator_shapes(fields, coords: bool, num_outputs: int) -> dict[str, tuple[int, ...]]:
  """{official key: shape} of a discriminator."""
  channels, middle = fields['channels'], '.conv' if coords else ''
  layers = {'final_layer': (num_outputs, channels[-1], 2)}
  for i, c in enumerate(channels):
    layers[f'fromRGB.{i}.model.0'] = (c, 3, 1)
    if i + 1 < len(channels):
      after = channels[i + 1]
      layers[f'layers.{i}.network.0{middle}'] = (after, c + 2 * coords, 3)
      layers[f'layers.{i}.network.2{middle}'] = (after, after + 2 * coords, 3)
      if fields['block'] != 'progressive' or c != after:
        layers[f'layers.{i}.proj'] = (after, c, 1)
  shapes = {f'{name}.weight': (out, fan, k, k) for name, (out, fan, k) in layers.items()}
  return shapes | {f'{name}.bias': layer[:1] for name, layer in layers.items()}
