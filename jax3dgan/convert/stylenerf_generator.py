"""Names and layouts of StyleNeRF's official generator and ours, both ways.

The release's world has z up: its (y, z, x) are our (x, y, z). Only encodings of positions know of
it, so the first layers' inputs change places, and fields, cameras and renderings are ours
throughout.
"""

import re
from collections.abc import Iterator, Mapping

import numpy as np

from jax3dgan.convert import named_weights
from jax3dgan.convert.named_weights import Name, layer, to_official
from jax3dgan.convert.stylenerf_names import CONSTANTS
from jax3dgan.errors import UserError

_AXES = (1, 2, 0)  # theirs that is our x, y, z


def generator_names(fields: Mapping) -> Iterator[Name]:
  """The weights of `generators.stylenerf.StyleNeRF` with these fields; layouts after
  `_prepared`."""
  for i in range(fields['mapping_layers']):
    yield from layer(('mapping', f'fc_{i}'), f'mapping.fc{i}')
  hidden = ['fc_in', *(f'blocks.{i}' for i in range(fields['num_layers'] - 1))]
  own = [(f'fc_{i}', name) for i, name in enumerate(hidden)]
  for ours, theirs in [*own, ('density', 'sigma_out'), ('feature', 'feat_out')]:
    yield from _modulated(('foreground', ours), f'synthesis.fg_nerf.{theirs}')
  yield from layer(('foreground', 'rgb'), 'synthesis.fg_nerf.to_rgb')
  if fields['background']:
    hidden = ['fc_in', *(f'blocks.{i}' for i in range(fields['background_layers'] - 1))]
    own = [(f'fc_{i}', name) for i, name in enumerate(hidden)]
    own += [('density', 'sigma_out'), ('feature', 'feat_out'), ('rgb', 'to_rgb')]
    for ours, theirs in own:
      yield from layer(('background', ours), f'synthesis.bg_nerf.{theirs}')
  for i in range(len(fields['channels'])):
    block = f'b{fields["low_resolution"] << (i + 1)}'
    for name in ('conv0', 'conv1', 'torgb'):
      yield from _modulated(('upsampler', block, name), f'synthesis.{block}.{name}')
    if fields['upsampling'] in ('nn_cat', 'pixelshuffle'):
      for j in (0, 1):
        official = f'synthesis.{block}.conv0.adapter.{j}'
        yield from layer(('upsampler', block, f'adapter_{j}'), official)


def _modulated(path, official: str) -> Iterator[Name]:
  yield from layer(path, official)
  yield from layer((*path, 'affine'), f'{official}.affine')


def model_fields(state: Mapping[str, np.ndarray]) -> dict:
  """The fields of `StyleNeRF` that follow from the shapes of a state dict.

  Raises:
    UserError: It is no generator of StyleNeRF.
  """
  sizes = _numbers(state, r'synthesis\.b(\d+)\.torgb\.weight')
  wanted = ('mapping.fc0.weight', 'synthesis.fg_nerf.fc_in.weight')
  doubles = all(b == 2 * a for a, b in zip(sizes, sizes[1:], strict=False))
  if not sizes or not doubles or any(name not in state for name in wanted):
    raise UserError(
      "These weights are not those of StyleNeRF's generator: its mapping network, foreground or "
      'blocks are missing. Convert a file of the release.'
    )
  w_dim, latent_dim = state['mapping.fc0.weight'].shape
  hidden_dim, encoded = state['synthesis.fg_nerf.fc_in.weight'].shape[:2]
  adapter = state.get(f'synthesis.b{sizes[0]}.conv0.adapter.0.weight')
  fields = dict(
    latent_dim=latent_dim,
    w_dim=w_dim,
    mapping_layers=len(_numbers(state, r'mapping\.fc(\d+)\.weight')),
    hidden_dim=hidden_dim,
    num_layers=1 + len(_numbers(state, r'synthesis\.fg_nerf\.blocks\.(\d+)\.weight')),
    num_frequencies=encoded // 6,
    feature_dim=len(state['synthesis.fg_nerf.feat_out.weight']),
    background='synthesis.bg_nerf.fc_in.weight' in state,
    low_resolution=sizes[0] // 2,
    channels=tuple(state[f'synthesis.b{n}.torgb.weight'].shape[1] for n in sizes),
  )
  if adapter is not None:
    channels = len(state[f'synthesis.b{sizes[0]}.conv0.weight'])
    fields['upsampling'] = 'nn_cat' if adapter.shape[1] == 2 * channels else 'pixelshuffle'
  return fields


def _numbers(state, pattern: str) -> list[int]:
  return sorted(int(match[1]) for name in state if (match := re.fullmatch(pattern, name)))


def background_fields(state: Mapping[str, np.ndarray], background_dim: int) -> dict:
  """The fields of the background, whose code's length no shape tells: the release has 32."""
  weight = state['synthesis.bg_nerf.fc_in.weight']
  return dict(
    background_dim=background_dim,
    background_hidden=len(weight),
    background_layers=1 + len(_numbers(state, r'synthesis\.bg_nerf\.blocks\.(\d+)\.weight')),
    background_frequencies=(weight.shape[1] - background_dim) // 8,
  )


def generator_arrays(state: Mapping[str, np.ndarray], fields: Mapping) -> dict:
  """The arrays of `StyleNeRF`, parameters and buffers, of an official state dict.

  Args:
    state: PyTorch's layouts, [out, in, 1, 1] and [out, in].
    fields: all of the generator's.

  Raises:
    UserError: A weight is missing, or one that is none of the generator's.
  """
  names = list(generator_names(fields))
  blocks = [f'b{fields["low_resolution"] << (i + 1)}' for i in range(len(fields['channels']))]
  powers = [[f'synthesis.{b}.conv{i}.w_avg' for i in (0, 1)] for b in blocks]
  known = {name.official for name in names} | {n for pair in powers for n in pair}
  known.add('mapping.w_avg')
  given = {name for name in state if not CONSTANTS.fullmatch(name)}
  if wrong := sorted(known ^ given):
    what = 'is missing' if wrong[0] in known else 'is no weight of this generator'
    raise UserError(f"'{wrong[0]}' {what}. Give a generator of StyleNeRF's release.")
  arrays = {name: _prepared(name, np.asarray(state[name]), fields) for name in known}
  tree = named_weights.from_official(
    arrays, names, 'StyleNeRF', lambda name: name.endswith('w_avg')
  )
  tree['powers'] = np.array([[state[name] for name in pair] for pair in powers], np.float32)
  tree['w_average'] = np.asarray(state['mapping.w_avg'], np.float32)
  return tree


def generator_state(tree, fields: Mapping) -> dict[str, np.ndarray]:
  """The inverse of `generator_arrays`, but for constants (`resample_filter`, `alpha`)."""
  state = to_official(tree, generator_names(fields))
  state = {name: _prepared(name, value, fields, back=True) for name, value in state.items()}
  for i, powers in enumerate(np.asarray(tree['powers'])):
    for j, power in enumerate(powers):
      name = f'synthesis.b{fields["low_resolution"] << (i + 1)}.conv{j}.w_avg'
      state[name] = np.asarray(power)
  state['mapping.w_avg'] = np.asarray(tree['w_average'])
  return state


def _prepared(name: str, value: np.ndarray, fields: Mapping, back: bool = False) -> np.ndarray:
  """An official array as a matrix [out, in] or a vector, in our order of positions and pixels; or,
  with `back`, from there."""
  part = name.removeprefix('synthesis.')
  is_matrix = name.endswith('.weight') and 'affine' not in name and not name.startswith('mapping')
  flat = part.startswith('bg_nerf') and 'to_rgb' not in part  # dense layers, which have no pixels
  if is_matrix and not back:
    value = value.reshape(value.shape[:2])
  if part == 'fg_nerf.fc_in.weight':
    value = value[:, _order(3, value.shape[1], value.shape[1], back)]
  elif part.startswith('fg_nerf.fc_in.affine'):
    value = value[_order(3, len(value), len(value), back)]
  elif part == 'bg_nerf.fc_in.weight':
    encoded = 8 * fields['background_frequencies']
    value = value[:, _order(4, encoded, value.shape[1], back)]
  elif '.adapter.1.' in part and fields['upsampling'] == 'pixelshuffle':
    # Theirs has the four pixels of a feature together, ours the features of a pixel.
    shape = (4, -1) if back else (-1, 4)
    value = value.reshape(*shape, *value.shape[1:]).swapaxes(0, 1).reshape(value.shape)
  return value[..., None, None] if is_matrix and back and not flat else value


def _order(axes: int, encoded: int, size: int, back: bool) -> np.ndarray:
  """Which of their inputs [size] is each of ours: encodings of positions of so many axes, then
  whatever is behind them. With `back` the other way round."""
  order = np.arange(size)
  groups = order[:encoded].reshape(-1, axes)
  groups[:, :3] = groups[:, _AXES]
  return np.argsort(order) if back else order
