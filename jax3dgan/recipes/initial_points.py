"""Points and splats of a file as the Gaussians that a scene begins with."""

import pathlib

import numpy as np

from jax3dgan import splats
from jax3dgan.errors import UserError
from jax3dgan.generators.gaussians import FRESH_OPACITY

_LEAST_DISTANCE = 1e-7  # of points in one place, whose scales would be 0
_HIGHEST = 0.999  # opacities of a file have a logit


def check(config) -> None:
  """UserError in one line where `config.gaussians.points` cannot be what a run begins with."""
  path, count = config.gaussians.points, config.model.num_points
  if not path:
    if not count:
      raise UserError(
        'config.model.num_points is 0 and config.gaussians.points names no file. Set one of them.'
      )
    return
  if count:
    raise UserError(
      f'config.model.num_points is {count} and would be ignored: the Gaussians at first are those '
      f'of {path}. Set --config.model.num_points=0.'
    )
  if config.init_from:
    raise UserError(
      f"config.gaussians.points is '{path}' and config.init_from '{config.init_from}', and a scene "
      "begins with one of them. Set --config.gaussians.points='' or --config.init_from=''."
    )
  count = len(read(path).means)
  if count > config.model.capacity:
    raise UserError(
      f'{path} has {count:,} points, and config.model.capacity is {config.model.capacity:,}. Set '
      f'--config.model.capacity={2 * count}, or give fewer.'
    )


def read(path) -> splats.Cloud:
  """The Gaussians of a file of splats, or of points .npy [m, 3], with colours in [0, 1] [m, 6].

  Those of points have opacity .1, are round, and as large as the mean distance to their three
  nearest neighbours (Kerbl et al., Sec. 5.1).

  Raises:
    UserError: It cannot be read, or holds something else.
  """
  if pathlib.Path(path).suffix.lower() != '.npy':
    return splats.read(path)
  try:
    values = np.load(path, allow_pickle=False)
  except (OSError, ValueError) as error:
    raise UserError(f'{path} cannot be read: {error}. Give an array of points, .npy.') from None
  shape = getattr(values, 'shape', ())
  if len(shape) != 2 or shape[1] not in (3, 6) or len(values) < 4 or not np.isfinite(values).all():
    raise UserError(
      f'{path} holds {shape} numbers. Give points [m, 3], or points and colours [m, 6], 4 or more.'
    )
  return of_points(np.float32(values))


def of_points(values) -> splats.Cloud:
  """See `read`."""
  from scipy import spatial

  m = len(values)
  distances = spatial.cKDTree(values[:, :3]).query(values[:, :3], k=4)[0][:, 1:]
  scales = np.maximum(distances.mean(axis=1), _LEAST_DISTANCE)
  colours = values[:, 3:] if values.shape[1] == 6 else np.full((m, 3), 0.5)
  return splats.Cloud(
    means=values[:, :3],
    scales=np.repeat(np.float32(scales)[:, None], 3, axis=1),
    quaternions=np.eye(1, 4, dtype=np.float32).repeat(m, axis=0),
    opacities=np.full(m, FRESH_OPACITY, np.float32),
    harmonics=np.float32((colours[:, None] - 0.5) / splats.cloud.C0),
  )


def fill(params, own: splats.Cloud, sh_degree: int):
  """(params, alive) of a fresh scene [n, ...] with these Gaussians in its first slots.

  Args:
    sh_degree: of the scene; what the file has above is left out, what it has not is 0.
  """
  params = {name: np.array(x) for name, x in params.items()}
  m = len(own.means)
  opacities = np.clip(own.opacities, 1 - _HIGHEST, _HIGHEST)
  values = {
    'means': own.means,
    'log_scales': np.log(own.scales),
    'quaternions': own.quaternions,
    'opacities': np.log(opacities / (1 - opacities)),
    'colours': own.harmonics[:, :1],
  }
  for name, x in values.items():
    params[name][:m] = x
  if sh_degree:
    above = own.harmonics[:, 1 : (sh_degree + 1) ** 2]
    params['harmonics'][:m] = 0
    params['harmonics'][:m, : above.shape[1]] = above
  return params, np.arange(len(params['means'])) < m
