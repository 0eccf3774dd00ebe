"""The order in which a data set is read: a function of the position alone.

A position counts the images consumed so far by all hosts together. Its epoch is `position // size`,
and within an epoch a keyed bijection of [0, size) names the image. So nothing has to be stored to
resume, any host can compute any part of any batch, and NumPy and a compiled step agree bit for bit.

The bijection is a Feistel network on the digits of a mixed-radix number with a * b >= size, which
adds modulo a and b (Black & Rogaway, 'Ciphers with arbitrary finite domains', 2002, method 3), and
repeats this until the result is below size. As a * b - size < a, a second round is rare.
"""

import math

import numpy as np

_NUM_ROUNDS = 6
_GOLDEN = np.uint32(0x9E3779B9)
_FLIP_STREAM = np.uint32(0x5BD1E995)
_MASK = 0xFFFFFFFF
# Offsets within an epoch plus a batch have to fit in 32 bits.
MAX_SIZE = 2**31


def split(position, size):
  """Splits a position of the host into (epoch, offset), both small enough for 32 bits.

  Use it to hand a position beyond 2**32 to a compiled function.

  Args:
    position: int or integer array [...], not negative, up to 2**63 - 1.
    size: number of images of the data set, in [1, 2**31].

  Returns:
    (epoch, offset): uint32 arrays [...] with position = epoch * size + offset (epochs wrap at
    2**32).

  Raises:
    ValueError: where the position is negative or the size is not in its range.
  """
  _check_size(size)
  position = np.asarray(position, np.int64)
  if np.any(position < 0):
    raise ValueError(f'A position is not negative, got {position.min()}.')
  epoch = (position // size) & _MASK
  return np.asarray(epoch, np.uint32), np.asarray(position % size, np.uint32)


def batch(position, batch_size, size, xp=np, start=0):
  """Epochs and offsets of a batch, which may straddle epochs.

  Args:
    position: position of the first image of the global batch; see `shuffled_index`; a scalar, or a
      pair (epoch, offset) of scalars.
    batch_size: number of elements wanted, static.
    size: number of images of the data set, static.
    xp: numpy or jax.numpy.
    start: where in the global batch the wanted elements begin; may be traced.

  Returns:
    (epoch, offset): uint32 arrays [batch_size], a position in the form that the others take.
  """
  epoch, offset = _epoch_and_offset(position, size, xp)
  steps = xp.arange(batch_size, dtype=xp.uint32) + xp.asarray(start).astype(xp.uint32)
  offset = offset.reshape(1) + steps
  size = np.uint32(size)
  return epoch.reshape(1) + offset // size, offset % size


def shuffled_index(position, size, seed, xp=np, same_order=False):
  """Which image stands at a position: every image once an epoch, each epoch in another order.

  Args:
    position: int or integer array [...]; or a pair (epoch, offset) as from `split` or `batch`. On
      the host any int64. A traced array is read as uint32, so it wraps at 2**32 (an int32 that has
      overflowed once is still read right); pass the pair beyond that.
    size: number of images of the data set, in [1, 2**31], static.
    seed: int.
    xp: numpy, or jax.numpy (also under jit).
    same_order: every epoch in the order of the first, static.

  Returns:
    uint32 [...], in [0, size), the same from both.
  """
  epoch, offset = _epoch_and_offset(position, size, xp)
  shape = offset.shape
  # At least one axis: arithmetic on NumPy scalars warns where arrays wrap silently.
  epoch, x = epoch.reshape(-1), offset.reshape(-1)
  epoch = xp.zeros_like(epoch) if same_order else epoch
  key = _mix(_mix(_seed_words(seed) + epoch) ^ _GOLDEN)
  keys = [_mix(key + np.uint32(i * int(_GOLDEN) & _MASK)) for i in range(_NUM_ROUNDS)]
  limit = np.uint32(size)

  def walk(x):
    return xp.where(x >= limit, _permute(x, keys, size), x)

  x = _permute(x, keys, size)
  if xp is np:
    while np.any(x >= limit):
      x = walk(x)
  else:
    from jax import lax

    x = lax.while_loop(lambda x: xp.any(x >= limit), walk, x)
  return x.reshape(shape)


def flipped(position, size, seed, xp=np):
  """Whether the image at a position is mirrored: a fair coin that depends on seed and position.

  Args as `shuffled_index`. Returns bool [...].
  """
  epoch, offset = _epoch_and_offset(position, size, xp)
  shape = offset.shape
  epoch, offset = epoch.reshape(-1), offset.reshape(-1)
  bits = _mix(_mix(_mix(_seed_words(seed) ^ _FLIP_STREAM) + epoch) ^ offset)
  return (bits >> 31).astype(bool).reshape(shape)


def _epoch_and_offset(position, size, xp):
  """(epoch, offset) as uint32 arrays of xp, of any form of position."""
  _check_size(size)
  if isinstance(position, (int, np.integer, np.ndarray)):
    position = split(position, size)
  if isinstance(position, tuple):
    epoch, offset = (xp.asarray(part).astype(xp.uint32) for part in position)
    return xp.broadcast_arrays(epoch, offset)
  position = xp.asarray(position).astype(xp.uint32)
  return position // np.uint32(size), position % np.uint32(size)


def _check_size(size):
  if not 1 <= size <= MAX_SIZE:
    raise ValueError(f'A data set has between 1 and 2**31 images, got {size}.')


def _permute(x, keys, size):
  """One pass of the Feistel network over [0, a * b)."""
  a = math.isqrt(size - 1) + 1
  b = np.uint32(-(-size // a))
  a = np.uint32(a)
  low, high = x % a, x // a
  for i, key in enumerate(keys):
    if i % 2 == 0:
      low = (low + _mix(high + key) % a) % a
    else:
      high = (high + _mix(low ^ key) % b) % b
  return high * a + low


def _mix(x):
  """A bijection of uint32 that avalanches (multiply and xor-shift, 'lowbias32' constants)."""
  x = x ^ (x >> 16)
  x = x * np.uint32(0x7FEB352D)
  x = x ^ (x >> 15)
  x = x * np.uint32(0x846CA68B)
  return x ^ (x >> 16)


def _seed_words(seed):
  """A seed of up to 64 bits as uint32 [1]."""
  seed = int(seed)
  low, high = (np.array([word & _MASK], np.uint32) for word in (seed, seed >> 32))
  return _mix(_mix(low ^ _GOLDEN) + high)
