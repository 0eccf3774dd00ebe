"""The PLY files of 3D Gaussian splatting (Kerbl et al., SIGGRAPH 2023): float32, logarithms of
scales, logits of opacities, rotations (w, x, y, z), harmonics above degree 0 channel by channel."""

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.harmonics import COUNTS
from jax3dgan.splats.cloud import LEAST, Cloud, cloud, turned


def _names(k: int) -> list[str]:
  rest = [f'f_rest_{i}' for i in range(3 * (k - 1))]
  return [
    *('x', 'y', 'z', 'nx', 'ny', 'nz', 'f_dc_0', 'f_dc_1', 'f_dc_2', *rest, 'opacity'),
    *(f'scale_{i}' for i in range(3)),
    *(f'rot_{i}' for i in range(4)),
  ]


def dumps(own: Cloud) -> bytes:
  """The file."""
  own = turned(own)
  n, k = own.harmonics.shape[:2]
  opacities = np.clip(own.opacities, LEAST, 1 - LEAST)
  columns = [
    own.means,
    np.zeros((n, 3)),  # normals, which nothing reads
    own.harmonics[:, 0],
    own.harmonics[:, 1:].swapaxes(1, 2).reshape(n, -1),
    np.log(opacities / (1 - opacities))[:, None],
    np.log(own.scales),
    own.quaternions,
  ]
  header = ['ply', 'format binary_little_endian 1.0', f'element vertex {n}']
  header += [f'property float {name}' for name in _names(k)]
  rows = np.concatenate(columns, axis=1).astype('<f4')
  return '\n'.join([*header, 'end_header\n']).encode() + rows.tobytes()


def loads(content: bytes) -> Cloud:
  """The Gaussians of a file; UserError for another kind of PLY file."""
  text, end, rows = content.partition(b'end_header\n')
  lines = text.decode('ascii', 'replace').split('\n')
  if not end or lines[:2] != ['ply', 'format binary_little_endian 1.0']:
    raise UserError('it is no binary PLY file. Give one of 3D Gaussian splatting.')
  lines = [line for line in lines[2:] if line and not line.startswith('comment')]
  names = [line.split()[-1] for line in lines[1:]]
  element = lines[0].split() if lines else []
  plain = all(line.startswith('property float ') for line in lines[1:])
  if element[:2] != ['element', 'vertex'] or not element[2:] or not plain:
    raise UserError('its vertices are no float numbers alone. Give one of 3D Gaussian splatting.')
  rest = sum(name.startswith('f_rest_') for name in names)
  k = rest // 3 + 1
  if missing := set(_names(1)) - {'nx', 'ny', 'nz'} - set(names):
    raise UserError(f'its vertices have no {min(missing)}. Give one of 3D Gaussian splatting.')
  n = int(element[2])
  if k not in COUNTS or rest % 3 or len(rows) != 4 * n * len(names):
    raise UserError('it is damaged: its size is not that of its header. Write it again.')
  values = np.frombuffer(rows, '<f4').reshape(n, len(names))

  def columns(*wanted):
    return values[:, [names.index(name) for name in wanted]]

  above = columns(*(f'f_rest_{i}' for i in range(rest))).reshape(n, 3, k - 1).swapaxes(1, 2)
  return turned(
    cloud(
      columns('x', 'y', 'z'),
      np.exp(columns(*(f'scale_{i}' for i in range(3)))),
      columns(*(f'rot_{i}' for i in range(4))),
      1 / (1 + np.exp(-columns('opacity')[:, 0])),
      np.concatenate([columns('f_dc_0', 'f_dc_1', 'f_dc_2')[:, None], above], axis=1),
    )
  )
