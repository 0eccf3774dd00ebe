"""The .splat files of web viewers: 32 bytes each, without harmonics above degree 0."""

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.harmonics import C0
from jax3dgan.splats.cloud import Cloud, cloud, turned

_ROW = np.dtype([('mean', '<f4', 3), ('scale', '<f4', 3), ('rgba', 'u1', 4), ('turn', 'u1', 4)])


def dumps(own: Cloud) -> bytes:
  """The file: the most visible Gaussians first, which viewers show while they load."""
  own = turned(own)
  order = np.argsort(-np.prod(own.scales, axis=1) * own.opacities, kind='stable')
  rows = np.zeros(len(order), _ROW)
  rows['mean'], rows['scale'] = own.means, own.scales
  colours = np.concatenate([own.colours, own.opacities[:, None]], axis=1)
  rows['rgba'] = np.round(255 * colours)
  rows['turn'] = np.clip(np.round(128 * own.quaternions + 128), 0, 255)
  return rows[order].tobytes()


def loads(content: bytes) -> Cloud:
  """The Gaussians of a file, in its order; UserError for a length that none has."""
  if not content or len(content) % _ROW.itemsize:
    raise UserError(f'{len(content):,} bytes are no rows of 32. Give a .splat file.')
  rows = np.frombuffer(content, _ROW)
  colours = rows['rgba'] / 255
  return turned(
    cloud(
      rows['mean'],
      rows['scale'],
      (rows['turn'] - 128.0) / 128,
      colours[:, 3],
      (colours[:, None, :3] - 0.5) / C0,
    )
  )
