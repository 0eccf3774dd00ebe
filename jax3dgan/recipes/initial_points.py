"""Points of a file as the Gaussians that a scene begins with."""

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.rendering import spherical_harmonics

_LEAST_DISTANCE = 1e-7  # of points in one place, whose scales would be 0


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
  count = len(read(path))
  if count > config.model.capacity:
    raise UserError(
      f'{path} has {count:,} points, and config.model.capacity is {config.model.capacity:,}. Set '
      f'--config.model.capacity={2 * count}, or give fewer.'
    )


def read(path) -> np.ndarray:
  """Points and colours [m, 6] of an array .npy, points [m, 3] (which are grey then) or both.

  Raises:
    UserError: It cannot be read, or holds something else.
  """
  try:
    values = np.load(path, allow_pickle=False)
  except (OSError, ValueError) as error:
    raise UserError(f'{path} cannot be read: {error}. Give an array of points, .npy.') from None
  shape = getattr(values, 'shape', ())
  if len(shape) != 2 or shape[1] not in (3, 6) or len(values) < 4 or not np.isfinite(values).all():
    raise UserError(
      f'{path} holds {shape} numbers. Give points [m, 3], or points and colours [m, 6], 4 or more.'
    )
  colours = values[:, 3:] if shape[1] == 6 else np.full_like(values, 0.5)
  return np.concatenate([values[:, :3], colours], axis=1).astype(np.float32)


def fill(params, values):
  """(params, alive) of a fresh scene [n, ...] with points and colours [m, 6] in its first slots.

  They keep the opacity of a fresh scene, are round, and as large as the mean distance to their
  three nearest neighbours (Kerbl et al., Sec. 5.1).
  """
  from scipy import spatial

  m = len(values)
  distances = spatial.cKDTree(values[:, :3]).query(values[:, :3], k=4)[0][:, 1:]
  scales = np.maximum(distances.mean(axis=1), _LEAST_DISTANCE)
  params = {name: np.array(x) for name, x in params.items()}
  params['means'][:m] = values[:, :3]
  params['log_scales'][:m] = np.log(scales)[:, None]
  params['colours'][:m, 0] = (values[:, 3:] - 0.5) / spherical_harmonics.C0
  return params, np.arange(len(params['means'])) < m
