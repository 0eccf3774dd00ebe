"""Names and layouts of GRAF's official weights and ours, both ways.

The release's world has z up: its (y, z, x) are our (x, y, z). Only encodings of positions and
directions know of it, so that their rows change places, and fields and cameras are ours throughout.
Its layers that take a code have the code's columns in their weight; ours are arrays of their own.
"""

import re
from collections.abc import Mapping

import numpy as np

from jax3dgan.errors import UserError

_AXES = (1, 2, 0)  # theirs that is our x, y, z
_POINT, _DIRECTION = 63, 27  # features of the release's encodings, of 10 and 4 frequencies
_WRONG = "These weights are not those of GRAF's generator"
_HINT = 'Convert a file of the release.'


def _encoding(rows, back=False):
  """Rows [n, out] of an encoding, three coordinates after another, in our order of axes."""
  axes = np.argsort(_AXES) if back else list(_AXES)
  return rows.reshape(-1, 3, rows.shape[-1])[:, axes].reshape(rows.shape)


def _matrix(state: Mapping, name: str) -> np.ndarray:
  """The weight of a dense layer.

  Raises:
    UserError: It is missing, or no matrix.
  """
  value = state.get(f'{name}.weight')
  if value is None or value.ndim != 2:
    what = 'is missing' if value is None else f'has the shape {value.shape}'
    raise UserError(f"{_WRONG}: '{name}.weight' {what}. Convert a file of the release.")
  return value


def _count(state: Mapping, pattern: str) -> int:
  return sum(re.fullmatch(pattern, name) is not None for name in state)


def model_fields(state: Mapping[str, np.ndarray]) -> dict:
  """The fields of `generators.graf.GRAF` that follow from the shapes of a state dict.

  Raises:
    UserError: It is no generator of GRAF, or one whose encodings are not the release's.
  """
  first, num = _matrix(state, 'pts_linears.0'), _count(state, r'pts_linears\.\d+\.weight')
  hidden, inputs = first.shape
  wide = [i for i in range(1, num) if _matrix(state, f'pts_linears.{i}').shape[1] != hidden]
  colour, shape_dim = _matrix(state, 'views_linears.0'), inputs - _POINT
  rest = colour.shape[1] - hidden
  # The release's codes have one length, so that one more of it leaves no direction.
  has_directions = rest > _DIRECTION and rest != shape_dim
  appearance_dim = rest - _DIRECTION * has_directions
  if shape_dim < 1 or appearance_dim < 1 or len(wide) != 1:
    raise UserError(
      f'{_WRONG}: its encodings have {_POINT} and {_DIRECTION} features, and one layer but the '
      f'first takes points. pts_linears.0 takes {inputs} and views_linears.0 {colour.shape[1]} '
      'numbers. Convert a file of the release.'
    )
  return dict(
    shape_dim=shape_dim,
    appearance_dim=appearance_dim,
    hidden_dim=hidden,
    num_layers=num,
    skip_layer=wide[0],
    colour_dim=len(colour),
    view_dependent=has_directions,
  )


def _layers(fields: Mapping) -> dict[str, str]:
  """{ours: official} names of the layers."""
  names = {f'layer_{i}': f'pts_linears.{i}' for i in range(fields['num_layers'])}
  return names | dict(
    density='alpha_linear', feature='feature_linear', colour='views_linears.0', rgb='rgb_linear'
  )


def _parts(name: str, fields: Mapping) -> list[tuple[str, int]]:
  """(kind, rows) of what a layer's weight takes, in the release's order; [] for features alone."""
  hidden = fields['hidden_dim']
  if name == 'colour':
    directions = [('encoding', _DIRECTION)] if fields['view_dependent'] else []
    return [('kernel', hidden), *directions, ('code', fields['appearance_dim'])]
  points = [('encoding', _POINT), ('code', fields['shape_dim'])]
  if name == 'layer_0':
    return points
  return [*points, ('kernel', hidden)] if name == f'layer_{fields["skip_layer"]}' else []


def generator_params(state: Mapping[str, np.ndarray], fields: Mapping) -> dict:
  """Our parameters of a state dict.

  Raises:
    UserError: A weight is missing, too many, or of another shape.
  """
  names = _layers(fields)
  known = {f'{name}.{part}' for name in names.values() for part in ('weight', 'bias')}
  if wrong := sorted(known ^ set(state)):
    what = 'is missing' if wrong[0] in known else 'is no weight of it'
    raise UserError(f"{_WRONG}: '{wrong[0]}' {what}. Convert a file of the release.")
  field = {}
  for name, official in names.items():
    weight = _matrix(state, official).T
    parts = _parts(name, fields)
    if parts and len(weight) != sum(rows for _, rows in parts):
      raise UserError(f'{_WRONG}: {official} takes {len(weight)} numbers. {_HINT}')
    kernel, start = [], 0
    for kind, rows in parts or [('kernel', len(weight))]:
      piece, start = weight[start : start + rows], start + rows
      if kind == 'code':
        field[f'{name}_code_kernel'] = np.array(piece, order='C')
      else:
        kernel.append(_encoding(piece) if kind == 'encoding' else piece)
    field[f'{name}_kernel'] = np.concatenate(kernel)
    field[f'{name}_bias'] = state[f'{official}.bias']
  return {'field': field}


def generator_state(params, fields: Mapping) -> dict[str, np.ndarray]:
  """The inverse of `generator_params`; a `density_gain` of the fields goes into the density."""
  field, state = params['field'], {}
  for name, official in _layers(fields).items():
    kernel = np.asarray(field[f'{name}_kernel'])
    rows, start = [], 0
    for kind, num in _parts(name, fields) or [('kernel', len(kernel))]:
      if kind == 'code':
        rows.append(np.asarray(field[f'{name}_code_kernel']))
        continue
      piece, start = kernel[start : start + num], start + num
      rows.append(_encoding(piece, back=True) if kind == 'encoding' else piece)
    gain = np.float32(fields.get('density_gain', 1) if name == 'density' else 1)
    state[f'{official}.weight'] = np.array(gain * np.concatenate(rows).T, order='C')
    state[f'{official}.bias'] = gain * np.asarray(field[f'{name}_bias'])
  return state


def _convolutions(state: Mapping) -> list[str]:
  """Names 'main.0', 'main.3' of the layers, in their order."""
  found = (re.fullmatch(r'main\.(\d{1,3})\.weight_orig', name) for name in state)
  return [f'main.{i}' for i in sorted(int(match[1]) for match in found if match)]


def discriminator_params(state: Mapping[str, np.ndarray]) -> tuple[dict, dict]:
  """(fields, {'params', 'buffers'}) of a state dict of the patch discriminator.

  Raises:
    UserError: It is none.
  """
  names = _convolutions(state)
  known = {f'{name}.weight_{part}' for name in names for part in ('orig', 'u', 'v')}
  wrong = sorted(known ^ set(state))
  if len(names) < 2 or wrong:
    what = f"'{wrong[0]}'" if wrong else f'{len(names)} convolutions'
    raise UserError(f"These weights are not those of GRAF's discriminator: {what}. {_HINT}")
  params, buffers = {}, {}
  for i, name in enumerate(names):
    weight, u, v = (state[f'{name}.weight_{part}'] for part in ('orig', 'u', 'v'))
    if weight.ndim != 4 or weight.shape[2:] != (4, 4) or v.shape != (16 * weight.shape[1],):
      raise UserError(f"{name} of GRAF's discriminator is no convolution of 4². {_HINT}")
    params[f'conv_{i}'] = {'kernel': np.array(weight.transpose(2, 3, 1, 0), order='C')}
    v = v.reshape(-1, 16).T.reshape(-1)  # channels last
    buffers[f'conv_{i}'] = {'norm': {'u': u, 'v': np.array(v)}}
  channels = tuple(params[f'conv_{i}']['kernel'].shape[-1] for i in range(len(names) - 1))
  fields = dict(name='patch', channels=channels, norm_first=names[1] == 'main.3')
  return fields, {'params': params, 'buffers': buffers}


def discriminator_state(variables, fields: Mapping) -> dict[str, np.ndarray]:
  """The inverse of `discriminator_params`."""
  state, index = {}, 0
  for i in range(len(fields['channels']) + 1):
    own = variables['buffers'][f'conv_{i}']['norm']
    kernel = np.asarray(variables['params'][f'conv_{i}']['kernel'])
    state[f'main.{index}.weight_orig'] = np.array(kernel.transpose(3, 2, 0, 1), order='C')
    state[f'main.{index}.weight_u'] = np.asarray(own['u'])
    state[f'main.{index}.weight_v'] = np.array(np.asarray(own['v']).reshape(16, -1).T.reshape(-1))
    index += 3 if i or fields['norm_first'] else 2
  return state
