"""Weights of a NeRF as an npz of PyTorch's arrays, to a workdir.

The names are those of nerf-pytorch's FlexibleNeRFModel (K. Murthy): of the networks `coarse` and
`fine` each `layer1`, `layers_xyz.I`, `fc_alpha`, `fc_feat`, `layers_dir.0`, `fc_rgb` with `.weight`
[out, in] and `.bias` [out]. The first layer has no ReLU there, the features of the view branch have
one. Sizes, the skip and the number of frequencies follow from the shapes.

The network was trained in the world of NeRF-synthetic, z up; ours has y up. The turn exchanges axes
and signs alone, so it goes into the weights of the encoded coordinates, exactly: a negated
coordinate negates its sines and leaves its cosines.
"""

import math
import pathlib
import zipfile

import numpy as np

from jax3dgan import config as config_lib
from jax3dgan.cameras import Z_UP_TO_Y_UP
from jax3dgan.convert import workdir as workdir_lib
from jax3dgan.errors import UserError

NETWORKS = {'coarse': 'coarse_network', 'fine': 'network'}
_HEADS = {'fc_alpha': 'density', 'fc_feat': 'feature', 'fc_rgb': 'rgb'}
# NeRF-synthetic: the field of view of its cameras, and their distance from the object.
CAMERA_ANGLE = 0.6911112070083618
RADIUS = 4.0311289


def read(path) -> dict[str, np.ndarray]:
  """{name: array} of an npz; nothing in it is executed.

  Raises:
    UserError: no such file, or not an npz of numbers.
  """
  if not pathlib.Path(path).is_file():
    raise UserError(f'{path} does not exist. Give --input the path of an npz.')
  try:
    with np.load(path, allow_pickle=False) as file:
      arrays = {name: np.asarray(file[name], np.float32) for name in file.files}
  except (ValueError, OSError, TypeError, AttributeError, zipfile.BadZipFile, EOFError) as error:
    raise UserError(f'{path} is no npz of numbers. Give a file of numpy.savez.') from error
  for name, array in arrays.items():
    if not np.isfinite(array).all():
      raise UserError(f'{path}: {name} has values that are not finite. Fetch it again.')
  return arrays


def networks_in(path, arrays) -> tuple[dict, dict]:
  """Parameters of a `generators.nerf.NeRF` and the fields of its config.

  Args:
    path: for messages.
    arrays: of `read`.

  Raises:
    UserError: arrays are missing, unknown, or of shapes that do not go together.
  """
  found = [name for name in NETWORKS if f'{name}/layer1.weight' in arrays]
  if not found:
    raise UserError(f'{path} has no coarse/layer1.weight or fine/layer1.weight. It is no NeRF.')
  used, params, fields = set(), {}, None
  for name in found:
    # A NeRF with one network has it by either name.
    ours = NETWORKS[name] if len(found) > 1 else 'network'
    params[ours], own = _network(path, arrays, name, used)
    if fields is not None and own != fields:
      raise UserError(
        f'{path}: the networks {" and ".join(found)} differ in size: {fields}, {own}.'
      )
    fields = own
  if unknown := sorted(set(arrays) - used):
    raise UserError(f'{path} has {unknown[0]}, which is not known. Take it out of the file.')
  return params, {**fields, 'two_networks': len(found) > 1}


def _network(path, arrays, name, used) -> tuple[dict, dict]:
  def take(layer, fan_in=None, fan_out=None):
    """(kernel [in, out], bias [out]) of a layer, with the sizes that others imply."""
    values = []
    for part, ndim in (('weight', 2), ('bias', 1)):
      key = f'{name}/{layer}.{part}'
      if key not in arrays or arrays[key].ndim != ndim:
        raise UserError(f'{path}: {key} is missing or has another shape than a layer. Give all.')
      used.add(key)
      values.append(arrays[key])
    kernel, bias = values[0].T, values[1]
    wanted = (fan_in or kernel.shape[0], fan_out or kernel.shape[1])
    if kernel.shape != wanted or bias.shape != wanted[1:]:
      raise UserError(
        f'{path}: {name}/{layer} has {kernel.shape[0]} inputs and {kernel.shape[1]} outputs, not '
        f'{wanted[0]} and {wanted[1]}. Its layers do not go together.'
      )
    return kernel, bias

  kernel, bias = take('layer1')
  points, hidden = kernel.shape
  num, include = _frequencies(path, points)
  layers, skip = [(_turned(kernel, points, include), bias)], 0
  while f'{name}/layers_xyz.{len(layers) - 1}.weight' in arrays:
    kernel, bias = take(f'layers_xyz.{len(layers) - 1}', fan_out=hidden)
    if kernel.shape[0] == hidden + points and not skip:
      skip = len(layers)
      # There the features come before the encoded point.
      kernel = np.concatenate([_turned(kernel[hidden:], points, include), kernel[:hidden]])
    elif kernel.shape[0] != hidden:
      raise UserError(
        f'{path}: {name}/layers_xyz.{len(layers) - 1} has {kernel.shape[0]} inputs, which are '
        f'neither {hidden} features nor these and the encoded point ({points}) once.'
      )
    layers.append((kernel, bias))
  own = {f'layer_{i}': layer for i, layer in enumerate(layers)}
  for official, ours in _HEADS.items():
    own[ours] = take(official, None if ours == 'rgb' else hidden)
  features = own['feature'][0].shape[1]
  kernel, bias = take('layers_dir.0')
  num_directions, same = _frequencies(path, kernel.shape[0] - features)
  if same != include or features != hidden:
    raise UserError(
      f'{path}: {name}/layers_dir.0 has {kernel.shape[0]} inputs, which are not {hidden} features '
      'and a direction that is encoded as the points are.'
    )
  turned = _turned(kernel[features:], kernel.shape[0] - features, include)
  own['colour'] = np.concatenate([kernel[:features], turned]), bias
  for head, inputs, outputs in (('density', hidden, 1), ('rgb', bias.size, 3)):
    if own[head][0].shape != (inputs, outputs):
      raise UserError(f'{path}: the head {head} of {name} does not have {outputs} output(s).')
  params = {}
  for layer, (kernel, bias) in own.items():
    params[f'{layer}_kernel'], params[f'{layer}_bias'] = np.ascontiguousarray(kernel), bias
  return params, dict(
    hidden_dim=hidden,
    num_layers=len(layers),
    skip_layer=skip,
    colour_dim=own['colour'][1].size,
    point_frequencies=num,
    direction_frequencies=num_directions,
    include_input=include,
  )


def _frequencies(path, size: int) -> tuple[int, bool]:
  """(frequencies, whether the input is included) of an encoding of three coordinates."""
  if size < 3 or size % 3:
    raise UserError(f'{path}: {size} inputs are no positional encoding of three coordinates.')
  return (size // 3) // 2, bool((size // 3) % 2)


def _turned(kernel, size: int, include: bool):
  """Rows [size, out] of encoded coordinates (x, y, z) of a world with z up, for ours.

  The coordinate j of that world is ±1 times our coordinate `axes[j]`.
  """
  axes = np.abs(Z_UP_TO_Y_UP).argmax(0)
  signs = Z_UP_TO_Y_UP.sum(0)
  rows = kernel.reshape(size // 3, 3, -1)
  result = np.empty_like(rows)
  for k, row in enumerate(rows):
    is_cosine = (k - include) % 2 == 1 and not (include and k == 0)
    result[k, axes] = row if is_cosine else row * signs[:, None].astype(row.dtype)
  return result.reshape(size, -1)


def config_for(fields: dict):
  """The config of the workdir: NeRF-synthetic's cameras, rendered as nerf-pytorch does."""
  config = config_lib.base_config('nerf')
  config_lib.set_model(config, 'nerf', first_activation=False, feature_activation=True, **fields)
  config.data.update(source='data/lego', loader='arrays', on_device=True)
  config.resolution = 100
  config.render.update(
    fov_degrees=math.degrees(CAMERA_ANGLE), radius=RADIUS, num_coarse=64, num_fine=64
  )
  config.display.update(num_coarse=64, num_fine=64)
  config.pose_prior.update(
    name='uniform', yaw_std=math.pi, pitch_mean=math.pi / 3, pitch_std=math.pi / 6
  )
  return config


def create(workdir, arrays, path, step: int, overwrite: bool = False) -> tuple:
  """Writes config.json and a checkpoint; returns (config, its number of parameters).

  Args:
    workdir: A folder without a run, unless `overwrite`.
    arrays, path: see `networks_in`.
    step: Of the training behind the weights.
  """
  params, fields = networks_in(path, arrays)
  config = config_for(fields)
  ema = {str(rate): params for rate in config.ema.rates}
  workdir_lib.save(workdir, config, step, params, ema, None, overwrite)
  return config, sum(array.size for network in params.values() for array in network.values())
