"""The `rendering_kwargs` of an official EG3D as fields of our config."""

import math
from collections.abc import Mapping
from typing import Any

from jax3dgan.convert import persistent
from jax3dgan.convert.numpy_arrays import Array
from jax3dgan.convert.tensors import Tensor
from jax3dgan.convert.values import DAMAGED, Object, show
from jax3dgan.errors import UserError

_MAX_NUMBER, _MAX_SAMPLES = 1e6, 4096  # far more than any release has


def read(path, module: Object) -> dict[str, Any]:
  """The rendering_kwargs that a generator has, or was made with.

  Raises:
    UserError: It has none.
  """
  found = persistent.as_dict(module.attributes().get('rendering_kwargs'))
  if found is None:
    found = persistent.as_dict(persistent.settings(module).get('rendering_kwargs'))
  if found is None:
    raise UserError(
      f'{path} does not say how it renders: its generator has no rendering_kwargs. Is it one of '
      'StyleGAN? Give a checkpoint of EG3D.'
    )
  return {
    key: value.numpy().tolist() if isinstance(value, Array | Tensor) else value
    for key, value in found.items()
    if isinstance(key, str)
  }


def number(
  path, values: Mapping, key: str, default: float | None = None, zero: bool = False
) -> float:
  """A positive number; UserError if it is not, or if it is missing and has no default."""
  value = values.get(key, default)
  if value is None:
    raise UserError(f'{path} does not say {key}. {DAMAGED}')
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  if not is_number or not 0 <= value < _MAX_NUMBER or not (value or zero):
    raise UserError(f'{path} says {key} {show(value)}, which is no such number. {DAMAGED}')
  return float(value)


def _count(path, values: Mapping, key: str, zero: bool = False) -> int:
  value = number(path, values, key, zero=zero)
  if value != int(value) or value > _MAX_SAMPLES:
    raise UserError(f'{path} says {key} {show(value)}, which is no number of samples. {DAMAGED}')
  return int(value)


def _point(path, values: Mapping, key: str, default) -> tuple[float, ...]:
  value = values.get(key, default)
  numbers = [
    isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x)
    for x in (value if isinstance(value, list | tuple) else ())
  ]
  if len(numbers) != 3 or not all(numbers):
    raise UserError(f'{path} says {key} {show(value)}, which is no point. {DAMAGED}')
  return tuple(float(x) for x in value)


def render_fields(path, values: Mapping, family: Mapping) -> dict[str, Any]:
  """Fields of `config.render`.

  Args:
    path: What to call the file in errors.
    values: The rendering_kwargs.
    family: `config.render` of the curriculum, for what the file does not say.

  Raises:
    UserError: A value that no file has, or a setting that is not supported.
  """
  if values.get('clamp_mode', 'softplus') != 'softplus':
    raise UserError(
      f'{path} has clamp_mode {show(values["clamp_mode"])}. Only softplus, the one of the release, '
      'is known.'
    )
  fields = dict(
    radius=number(path, values, 'avg_camera_radius', family['radius']),
    pivot=_point(path, values, 'avg_camera_pivot', family['pivot']),
    num_coarse=_count(path, values, 'depth_resolution'),
    num_fine=_count(path, values, 'depth_resolution_importance', zero=True),
    white_back=bool(values.get('white_back', False)),
    spacing='disparity' if values.get('disparity_space_sampling') else 'linear',
  )
  ends = values.get('ray_start', family['near']), values.get('ray_end', family['far'])
  if ends == ('auto', 'auto'):  # where a ray intersects the planes' cube
    return fields | dict(box=number(path, values, 'box_warp'))
  near, far = (
    number(path, dict(zip(('ray_start', 'ray_end'), ends, strict=True)), key)
    for key in ('ray_start', 'ray_end')
  )
  if not near < far:
    raise UserError(f'{path} renders from {near} to {far}, which is nothing. {DAMAGED}')
  return fields | dict(near=near, far=far, box=0.0)


def family_of(values: Mapping) -> str | None:
  """The curriculum with these cameras; None if the release has none."""
  pivot = values.get('avg_camera_pivot')
  pivot = tuple(pivot) if isinstance(pivot, list | tuple) else ()
  if values.get('white_back') is True:
    return 'shapenet_cars'
  return {(0, 0, 0.2): 'ffhq', (0, 0, -0.06): 'afhq'}.get(pivot)
