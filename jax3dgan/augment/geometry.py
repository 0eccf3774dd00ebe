"""Geometric transformations of images as 3x3 matrices of homogeneous pixel coordinates
(arXiv 2006.06676, App. B): x to the right and y down, in pixels from the image's centre. A matrix
maps points of the input to points of the result.

`warp` resamples without aliasing: the image is up-sampled by 2 with a lowpass of an orthogonal
wavelet, sampled bilinearly on a grid twice as fine as the result's, and down-sampled with the same
lowpass. As the wavelet's shifts are orthonormal, the identity is exact. Beyond its borders an image
is mirrored.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.nn import precision
from jax3dgan.nn.resample import upfirdn

# The scaling filter of sym6 (Daubechies 1992, table of least asymmetric wavelets), sum √2.
SYM6 = np.array(
  [
    0.015404109327027373,
    0.0034907120842174702,
    -0.11799011114819057,
    -0.048311742585633,
    0.4910559419267466,
    0.787641141030194,
    0.3379294217276218,
    -0.07263752278646252,
    -0.021060292512300564,
    0.04472490177066578,
    0.0017677118642428036,
    -0.007800708325034148,
  ]
)
_FIR = SYM6 / SYM6.sum()
# The delay of the filter, for which it does not change images that are linear in x and y.
_DELAY = float(np.arange(len(SYM6)) @ _FIR)
# Pixels past the border up to which coordinates are not mirrored: the outermost fine pixel that the
# last filter needs is at −2.75.
_MARGIN = 3
# Pixels added around an image: the margin and half of the first filter.
_PAD = _MARGIN + 4


def _matrix(rows):
  """Rows of scalars or arrays [...] → [..., 3, 3]."""
  flat = jnp.broadcast_arrays(*(jnp.asarray(x, jnp.float32) for row in rows for x in row))
  return jnp.stack(flat, axis=-1).reshape(*flat[0].shape, 3, 3)


def scale(x, y):
  """Factors on x and y."""
  return _matrix([[x, 0, 0], [0, y, 0], [0, 0, 1]])


def rotate(theta):
  """By theta from the x axis towards the y axis: clockwise, as y is down."""
  c, s = jnp.cos(theta), jnp.sin(theta)
  return _matrix([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def quarter_turns(i):
  """`rotate` by i·π/2, in whole numbers."""
  c, s = jnp.array([1.0, 0, -1, 0])[i], jnp.array([0.0, 1, 0, -1])[i]
  return _matrix([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def translate(x, y):
  """By pixels."""
  return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def invert(matrix):
  """Inverse of affine matrices [..., 3, 3], in closed form."""
  a, b, c, d = matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 0], matrix[..., 1, 1]
  x, y = matrix[..., 0, 2], matrix[..., 1, 2]
  det = a * d - b * c
  rows = [[d, -b, b * y - d * x], [-c, a, c * x - a * y], [0 * det, 0 * det, det]]
  return _matrix(rows) / det[..., None, None]


def _fold(x, size: int):
  """Coordinates in pixels (pixel k at k), mirrored at the first and the last pixel."""
  last = max(size - 1, 1)
  return last - jnp.abs(jnp.mod(x, 2 * last) - last) if size > 1 else jnp.zeros_like(x)


def _sources(matrix, x, y, height, width):
  """Sources [b, n, m], in pixels, of grids of targets at columns x [m] and rows y [n]."""
  inverse = invert(matrix)[:, :, :, None, None]  # [b, 3, 3, 1, 1]
  x, y = x[None, :] - (width - 1) / 2, y[:, None] - (height - 1) / 2
  source_x = inverse[:, 0, 0] * x + inverse[:, 0, 1] * y + inverse[:, 0, 2]
  source_y = inverse[:, 1, 0] * x + inverse[:, 1, 1] * y + inverse[:, 1, 2]
  return source_x + (width - 1) / 2, source_y + (height - 1) / 2


def _gather(images, rows, columns):
  """images [b, h, w, c] at whole numbers [b, n, m] within them → [b, n, m, c]."""
  b, h, w, c = images.shape
  index = (rows * w + columns).reshape(b, -1)

  def look_up(flat, index):
    return flat.at[index].get(mode='promise_in_bounds')

  return jax.vmap(look_up)(images.reshape(b, h * w, c), index).reshape(*rows.shape, c)


def move_pixels(images, matrix):
  """Square images [b, n, n, c] under matrices [b, 3, 3] that map pixels to pixels: quarter turns,
  flips, integer translations. Values do not change.

  As a product with a matrix of zeros and ones for each axis: the derivatives of a gather are slow.
  """
  n = images.shape[1]
  i = jnp.arange(n)
  x, y = _sources(matrix, i, i, n, n)
  # Where x and y change places, rows of the result come from columns.
  turned = jnp.abs(matrix[:, 0, 0]) < 0.5
  from_rows = jnp.where(turned[:, None], y[:, 0, :], y[:, :, 0])  # [b, n]
  from_columns = jnp.where(turned[:, None], x[:, :, 0], x[:, 0, :])
  images = jnp.where(turned[:, None, None, None], jnp.swapaxes(images, 1, 2), images)
  from_rows, from_columns = (
    jnp.where(turned[:, None], a, b)
    for a, b in ((from_columns, from_rows), (from_rows, from_columns))
  )

  def picks(sources):  # [b, n, n], one 1 in each row
    whole = jnp.round(_fold(jnp.round(sources), n)).astype(jnp.int32)
    return (whole[..., None] == i).astype(images.dtype)

  images = precision.einsum('bhwc,bih->biwc', images, picks(from_rows))
  return precision.einsum('bhwc,bjw->bhjc', images, picks(from_columns))


def warp(images, matrix):
  """images [b, h, w, c] under any affine matrices [b, 3, 3]."""
  h, w = images.shape[1:3]
  n = len(SYM6)
  edges = ((0, 0), (_PAD, _PAD), (_PAD, _PAD), (0, 0))
  padded = jnp.pad(images, edges, mode='reflect' if min(h, w) > 1 else 'edge')
  # Fine pixel f of the result shows pixel k by the filter's tap f + 5 − 2k.
  fine = upfirdn(padded, _FIR, up=2, padding=(n // 2, n // 2 - 1), gain=4.0)

  def targets(size):  # fine pixels −5, ... 2 size + 4, all that the last filter reaches, in pixels
    return (jnp.arange(2 * size + n - 2) - _DELAY) / 2

  def index(x, size):  # of a coordinate in pixels: where it is among the fine ones
    inside = (x >= -_MARGIN) & (x <= size - 1 + _MARGIN)
    x = jnp.where(inside, x, _fold(x, size))
    return 2 * (x + _PAD) + _DELAY - (n // 2 - 1)

  x, y = _sources(matrix, targets(w), targets(h), h, w)
  x, y = index(x, w), index(y, h)
  left, top = jnp.floor(x), jnp.floor(y)
  right_share, bottom_share = (x - left)[..., None], (y - top)[..., None]
  left, top = left.astype(jnp.int32), top.astype(jnp.int32)

  # The four neighbours side by side, so that one gather reads them all.
  fine = jnp.concatenate([fine[:, :-1], fine[:, 1:]], axis=-1)
  fine = jnp.concatenate([fine[:, :, :-1], fine[:, :, 1:]], axis=-1)
  found = _gather(fine, top, left)
  upper_left, lower_left, upper_right, lower_right = jnp.split(found, 4, axis=-1)
  upper = upper_left * (1 - right_share) + upper_right * right_share
  lower = lower_left * (1 - right_share) + lower_right * right_share
  sampled = (upper * (1 - bottom_share) + lower * bottom_share).astype(images.dtype)
  return upfirdn(sampled, _FIR, down=2, flip=True)


def transform(images, pixel_matrix, matrix, moves):
  """`matrix` after `pixel_matrix` on images [b, h, w, c]: by `warp`, or where `moves` [b] is False
  (matrix is the identity) by `move_pixels`, which is exact."""
  warped = warp(images, jnp.matmul(matrix, pixel_matrix, precision=jax.lax.Precision.HIGHEST))
  moved = move_pixels(images, pixel_matrix)
  return jnp.where(moves[:, None, None, None], warped, moved)
