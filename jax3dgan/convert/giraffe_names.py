"""Names and layouts of GIRAFFE's official weights and ours: one map for both directions.

The release's world has z up, ours y: the rows of layers that take encoded points or directions are
in another order.
"""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from jax3dgan.convert import named_weights
from jax3dgan.convert.named_weights import CONV, Layout, Name, count, layer, to_official

AXES = (1, 2, 0)  # of the release's x, y and z, those that are ours
_BLUR = np.array([1, 2, 1], np.float32)


def _encoded(x):
  return x.T.reshape(-1, 3, len(x))[:, AXES].reshape(-1, len(x))


def _encoded_back(x):
  return x.reshape(-1, 3, x.shape[-1])[:, np.argsort(AXES)].reshape(len(x), -1).T


# A layer that takes encoded points or directions.
_ENCODED = Layout(2, _encoded, _encoded_back, lambda shape: shape[1] % 3 == 0)


def _field(ours: str, official: str, num_layers: int, skip: bool, directions: bool):
  yield from layer((ours, 'points'), f'{official}.fc_in', _ENCODED)
  yield from layer((ours, 'shape'), f'{official}.fc_z')
  for i in range(num_layers - 1):
    yield from layer((ours, f'block_{i}'), f'{official}.blocks.{i}')
  if skip:
    yield from layer((ours, 'skip_shape'), f'{official}.fc_z_skips.0')
    yield from layer((ours, 'skip_points'), f'{official}.fc_p_skips.0', _ENCODED)
  yield from layer((ours, 'density'), f'{official}.sigma_out')
  yield from layer((ours, 'view_appearance'), f'{official}.fc_z_view')
  yield from layer((ours, 'view'), f'{official}.feat_view')
  if directions:
    yield from layer((ours, 'view_directions'), f'{official}.fc_view', _ENCODED)
  yield from layer((ours, 'features'), f'{official}.feat_out')


def generator_names(fields: Mapping) -> Iterator[Name]:
  """The weights of `generators.giraffe.GIRAFFE` with these fields."""
  directions = fields.get('use_directions', True)
  yield from _field('objects', 'decoder', fields['num_layers'], True, directions)
  if fields.get('background', True):
    num = fields['background_layers']
    yield from _field('background', 'background_generator', num, False, directions)
  yield from renderer_names(fields, ('renderer',), 'neural_renderer.')


def renderer_names(fields: Mapping, path=(), prefix: str = '') -> Iterator[Name]:
  """The weights of `nn.neural_renderer.NeuralRenderer`."""
  if fields.get('renderer_width', 0):
    yield from layer((*path, 'conv_in'), f'{prefix}conv_in', CONV)
  channels, skips = fields['channels'], fields.get('renderer_skips', True)
  for i in range(len(channels)):
    yield from layer((*path, f'conv_{i}'), f'{prefix}conv_layers.{i}', CONV)
  for i in range(len(channels) + 1 if skips else 0):
    yield from layer((*path, f'rgb_{i}'), f'{prefix}conv_rgb.{i}', CONV)
  if not skips:
    yield from layer((*path, 'rgb'), f'{prefix}conv_rgb', CONV)


def discriminator_names(fields: Mapping) -> Iterator[Name]:
  """The weights of `discriminators.dcgan.DCGANDiscriminator` with these fields."""
  for i in range(len(fields['channels'])):
    yield Name((f'conv_{i}_kernel',), f'blocks.{i}.weight', CONV)
  yield Name(('out_kernel',), 'conv_out.weight', CONV)


def model_fields(state: Mapping[str, np.ndarray]) -> dict:
  """The fields of `GIRAFFE` that follow from the names and shapes of a state dict.

  Raises:
    UserError: It is no generator of GIRAFFE.
  """
  has_background = any(name.startswith('background_generator.') for name in state)
  hidden, latent_dim = _shape(state, 'decoder.fc_z.weight', 2)
  feature_dim = _shape(state, 'decoder.feat_out.weight', 2)[0]
  fields = dict(
    latent_dim=latent_dim,
    hidden_dim=hidden,
    num_layers=1 + count(state, 'decoder.blocks.{}.weight'),
    feature_dim=feature_dim,
    use_directions='decoder.fc_view.weight' in state,
    background=has_background,
    **renderer_fields(state, 'neural_renderer.'),
  )
  if not fields['use_directions']:
    fields['compat_linear_view'] = True
  if has_background:
    own, dim = _shape(state, 'background_generator.fc_z.weight', 2)
    num = 1 + count(state, 'background_generator.blocks.{}.weight')
    fields |= dict(background_dim=dim, background_hidden=own, background_layers=num)
  return fields


def renderer_fields(state: Mapping[str, np.ndarray], prefix: str = '') -> dict:
  """The fields of `GIRAFFE` that say its neural renderer's layers."""
  num = count(state, prefix + 'conv_layers.{}.weight')
  channels = [_shape(state, f'{prefix}conv_layers.{i}.weight', 4)[0] for i in range(num)]
  fields = dict(channels=tuple(channels))
  if f'{prefix}conv_in.weight' in state:
    fields['renderer_width'] = _shape(state, f'{prefix}conv_in.weight', 4)[0]
  if f'{prefix}conv_rgb.weight' in state:
    fields['renderer_skips'] = False
  return fields


def discriminator_fields(state: Mapping[str, np.ndarray]) -> dict:
  """The fields of `config.discriminator`, its name among them, of a state dict.

  Raises:
    UserError: It is no DCGAN discriminator of GIRAFFE.
  """
  num = count(state, 'blocks.{}.weight')
  channels = tuple(_shape(state, f'blocks.{i}.weight', 4)[0] for i in range(num))
  return dict(name='dcgan', channels=channels)


def _shape(state, name: str, ndim: int) -> tuple[int, ...]:
  return named_weights.shape_of(state, name, ndim, 'a GIRAFFE')


def without_directions(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """A state dict without the layers that the release has, and does not use, where its features do
  not depend on the direction of view: nothing in it says so."""
  return {name: x for name, x in state.items() if '.fc_view.' not in name}


def from_official(state: Mapping[str, np.ndarray], names: Iterable[Name], dtype=np.float32) -> dict:
  """Our tree of official weights, see `named_weights.from_official`; filters are left out."""
  return named_weights.from_official(
    state, names, 'GIRAFFE', lambda name: name.endswith('.1.f'), dtype
  )


def generator_state(tree: Mapping, fields: Mapping) -> dict[str, np.ndarray]:
  """The whole official state dict of our generator's parameters, with the blur's filter."""
  state = to_official(tree, generator_names(fields))
  if fields.get('renderer_skips', True):
    state['neural_renderer.upsample_rgb.1.f'] = _BLUR.copy()
  return state
