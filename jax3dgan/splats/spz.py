"""SPZ files (Niantic), version 2: gzip around a header of 16 bytes and an array for each attribute.

Positions are 24-bit numbers of 2^-12 of a unit; opacities, colours, scales, rotations (without the
real part, which is not negative) and higher harmonics are bytes.
"""

import gzip
import struct
import zlib

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.harmonics import COUNTS
from jax3dgan.splats.cloud import Cloud, cloud

_MAGIC, _VERSION, _HEADER = 0x5053474E, 2, struct.Struct('<IIIBBBB')
_BITS = 12  # after the point
_COLOUR = 0.15  # of a coefficient of degree 0 in a byte's range
_BUCKETS = (8, 16)  # steps of the bytes of degree 1 and of those above
_LIMIT = 2 ** (23 - _BITS)  # world units


def _bytes(values) -> np.ndarray:
  return np.clip(np.round(values), 0, 255).astype(np.uint8)


def dumps(own: Cloud) -> bytes:
  """The file; UserError for positions beyond 2048 units."""
  if np.abs(own.means).max(initial=0) >= _LIMIT:
    raise UserError(f'SPZ has positions within {_LIMIT} units. Write a .ply, or a smaller scene.')
  fixed = np.round(own.means.astype(np.float64) * 2**_BITS).astype('<i4')
  n, k = own.harmonics.shape[:2]
  above = own.harmonics[:, 1:] * 128 + 128
  buckets = np.where(np.arange(k - 1) < 3, *_BUCKETS)[:, None]
  parts = [
    fixed[..., None].view(np.uint8)[..., :3],
    _bytes(255 * own.opacities),
    _bytes(255 * (0.5 + _COLOUR * own.harmonics[:, 0])),
    _bytes(16 * (np.log(own.scales) + 10)),
    _bytes(127.5 * own.quaternions[:, 1:] + 127.5),
    _bytes(np.floor((np.round(above) + buckets / 2) / buckets) * buckets),
  ]
  header = _HEADER.pack(_MAGIC, _VERSION, n, own.degree, _BITS, 0, 0)
  return gzip.compress(header + b''.join(part.tobytes() for part in parts), mtime=0)


def loads(content: bytes) -> Cloud:
  """The Gaussians of a file of version 2; UserError for another."""
  try:
    data = gzip.decompress(content)
  except (OSError, EOFError, zlib.error):
    raise UserError('it is no gzip file, or cut off. Give an SPZ file of version 2.') from None
  if len(data) < _HEADER.size:
    raise UserError('it has no header. Give an SPZ file of version 2.')
  magic, version, n, degree, bits, _, _ = _HEADER.unpack_from(data)
  if magic != _MAGIC or version != _VERSION or degree > 3 or bits > 23:
    raise UserError('it is none of version 2 and degree 0 to 3. Write it with another program.')
  k = COUNTS[degree]
  shapes = (n, 3, 3), (n,), (n, 3), (n, 3), (n, 3), (n, k - 1, 3)
  sizes = [int(np.prod(shape)) for shape in shapes]
  if len(data) != _HEADER.size + sum(sizes):
    raise UserError('it is damaged: its size is not that of its header. Write it again.')
  values, start = [], _HEADER.size
  for shape, size in zip(shapes, sizes, strict=True):
    values.append(np.frombuffer(data, np.uint8, size, start).reshape(shape))
    start += size
  fixed, opacities, colours, scales, turns, above = values
  means = np.zeros((n, 3, 4), np.uint8)
  means[..., 1:] = fixed
  vector = (turns - 127.5) / 127.5
  real = np.sqrt(np.maximum(1 - np.sum(vector**2, axis=1, keepdims=True), 0))
  first = (colours / 255 - 0.5) / _COLOUR
  return cloud(
    (means.view('<i4')[..., 0] >> 8) / 2.0**bits,
    np.exp(scales / 16 - 10),
    np.concatenate([real, vector], axis=1),
    opacities / 255,
    np.concatenate([first[:, None], (above - 128.0) / 128], axis=1),
  )
