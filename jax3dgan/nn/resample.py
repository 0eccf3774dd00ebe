"""Resampling of images with FIR filters, and convolutions that resample (StyleGAN2, Karras et al.
2020, App. B; the filter is StyleGAN's binomial one, after Zhang 2019).

Images are [b, h, w, c]. A filter is a NumPy array: [n], the same along rows and columns, or
[kh, kw]. `upfirdn` inserts zeros, pads, convolves with the filter and drops pixels. Along one axis
that is a weighted sum of a few shifted copies for each phase of the result; XLA fuses these sums,
and their derivatives of any order are of the same kind. A filter in two dimensions, and zeros and
drops at once, go through a depthwise convolution.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.nn import backend
from jax3dgan.nn.conv import conv2d
from jax3dgan.nn.cpu.convolution import (
  interleave,
  pad_axis,
  patches_conv_transpose,
)
from jax3dgan.nn.primitives import linear
from jax3dgan.nn.transposed_conv import dilated_conv

TAPS = (1, 3, 3, 1)
# What a filter sees beyond an image: zeros, as in the papers, or the outermost pixels again. With
# zeros every image has a frame, which shows on an even ground.
BORDERS = ('zeros', 'repeat')
# Pixels before and after, the same for rows and columns or a pair for each.
Padding = tuple[int, int] | tuple[tuple[int, int], tuple[int, int]]
# The same for rows and columns, or one for each.
Factor = int | tuple[int, int]


def fir_filter(taps: Sequence = TAPS) -> np.ndarray:
  """The taps [n] or [kh, kw] as a filter of sum 1."""
  taps = np.asarray(taps, np.float64)
  return (taps / taps.sum()).astype(np.float32)


def upfirdn(
  x, fir, *, up: Factor = 1, down: Factor = 1, padding: Padding = (0, 0), gain=1.0, flip=False
):
  """Zeros in, pad, filter, pixels out.

  Args:
    x: [b, h, w, c].
    fir: [n] or [kh, kw], constants.
    up: each pixel is followed by up − 1 zeros along an axis.
    down: every how many-th pixel is kept, the first one included.
    padding: zeros before and after (negative: pixels cut away), counted after the insertion.
    gain: factor on the result.
    flip: correlate with the filter instead of convolving.

  Returns:
    [b, (h·up + before + after − kh)//down + 1, ..., c].
  """
  fir = np.asarray(fir, np.float64)
  fir = fir if flip else np.flip(fir)
  rows, columns = padding if isinstance(padding[0], tuple) else (padding, padding)
  up, down = ((f, f) if isinstance(f, int) else f for f in (up, down))
  alone = all(1 in factors for factors in zip(up, down, strict=True))  # zeros or drops
  if fir.ndim == 1 and alone and backend.own_forms():
    # The gain is applied with the first axis.
    first = dict(taps=tuple(map(float, gain * fir)), axis=1, up=up[0], down=down[0], padding=rows)
    second = dict(taps=tuple(map(float, fir)), axis=2, up=up[1], down=down[1], padding=columns)
    return _filter_axis(_filter_axis(x, **first), **second)
  if fir.ndim == 1:
    fir = np.outer(fir, fir)
  c = x.shape[-1]
  kernel = np.broadcast_to(gain * fir[:, :, None, None], (*fir.shape, 1, c))
  return jax.lax.conv_general_dilated(
    x,
    jnp.asarray(kernel, x.dtype),
    down,
    # The dilation puts no zeros behind the last pixel.
    [(before, after + n - 1) for (before, after), n in zip((rows, columns), up, strict=True)],
    lhs_dilation=up,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=c,
    precision=jax.lax.Precision.HIGHEST,
  )


def _size_of_filtered(size, taps, up, down, padding):
  filtered = (size * up + sum(padding) - len(taps)) // down + 1
  if filtered < 1:
    raise ValueError(f'{size} pixels are too few for a filter of {len(taps)}')
  return filtered


def _correlate_axis(x, *, taps, axis, up, down, padding):
  before, n = padding[0], len(taps)
  size = _size_of_filtered(x.shape[axis], taps, up, down, padding)
  taps = [x.dtype.type(tap) for tap in taps]
  if up == 1:
    # Pixel j is a sum over t of taps[t] x[j down + t − before]: one slice of each of `down` phases.
    length = -(-(n - 1) // down) + size
    x = pad_axis(x, axis, before, length * down - x.shape[axis] - before)
    x = x.reshape(*x.shape[:axis], length, down, *x.shape[axis + 1 :])
    return sum(
      tap
      * jax.lax.slice_in_dim(
        jax.lax.index_in_dim(x, t % down, axis + 1, keepdims=False), t // down, t // down + size,
        axis=axis,
      )
      for t, tap in enumerate(taps)
    )  # fmt: skip
  # Pixel up j + q is a sum over such t of taps[t] x[j + (q + t − before) / up] as divide evenly.
  phases = range(min(up, size))
  terms = [[((q + t - before) // up, taps[t]) for t in range((before - q) % up, n, up)]
           for q in phases]  # fmt: skip
  first = min((shift for phase in terms for shift, _ in phase), default=0)
  last = max((shift for phase in terms for shift, _ in phase), default=0)
  length = -(-size // up)
  x = pad_axis(x, axis, -first, last + length - x.shape[axis])
  zero = jnp.zeros_like(jax.lax.slice_in_dim(x, 0, length, axis=axis))

  def phase_of(phase):
    slices = [
      tap * jax.lax.slice_in_dim(x, s - first, s - first + length, axis=axis) for s, tap in phase
    ]
    return sum(slices) if slices else zero

  return interleave([phase_of(phase) for phase in terms], axis, size)


def _transpose_of_filter(g, x, *, taps, axis, up, down, padding):
  size, before = x.shape[axis], len(taps) - 1 - padding[0]
  # As many zeros behind as give the size of the input.
  after = (size - 1) * up + len(taps) - before - g.shape[axis] * down
  return _filter_axis(g, taps=taps[::-1], axis=axis, up=down, down=up, padding=(before, after))


def _batch_of_filter(args, axes, *, axis, **options):
  return _filter_axis(jnp.moveaxis(args[0], axes[0], 0), axis=axis + 1, **options), 0


# Correlates one axis with taps, a tuple; `up` or `down` is 1. Its transpose is one with the taps
# reversed and `up` and `down` exchanged. Left to autodiff, every shifted copy would be padded
# and be in memory on its own.
_filter_axis = linear('filter_axis', _correlate_axis, _transpose_of_filter, batch=_batch_of_filter)


def check_border(border: str) -> None:
  """UserError for an unknown border."""
  if border not in BORDERS:
    raise UserError(f"upsampling_border is '{border}'. Choose one of {', '.join(BORDERS)}.")


def repeat_border(x, width: int):
  """[b, h, w, c] with its outermost pixels repeated `width` times on each side."""
  return jnp.pad(x, ((0, 0), (width, width), (width, width), (0, 0)), mode='edge')


def _within(y, width: int):
  return y[:, width:-width, width:-width]


def upsample(x, fir=None, factor: int = 2, border: str = 'zeros'):
  """[b, h, w, c] → [b, h·factor, w·factor, c], filtered; border: of `BORDERS`."""
  fir = fir_filter() if fir is None else fir
  n = len(fir)
  padding = ((n + factor - 1) // 2, (n - factor) // 2)
  if border == 'repeat':
    reach = -(-padding[0] // factor)
    return _within(upsample(repeat_border(x, reach), fir, factor), reach * factor)
  return upfirdn(x, fir, up=factor, padding=padding, gain=factor**2)


def resize_bilinear(x, size: int, antialias: bool = True):
  """[b, h, w, c] → [b, size, size, c], pixel centres at half-integers.

  Args:
    antialias: where the image shrinks, the triangle is as wide as the new pixels; otherwise it is
      always as wide as the old ones.
  """
  shape = (x.shape[0], size, size, x.shape[-1])
  return jax.image.resize(x, shape, 'linear', antialias=antialias)


def conv2d_transpose(x, kernel, stride: int = 2, matmul_dtype='float32', implementation=None):
  """Correlates [b, h, w, c] with zeros between the pixels with [k, k, c, f], zero-padded by k − 1.

  `implementation` ('lax' or 'patches', see `nn.cpu.convolution`) overrides the choice by platform.

  Returns:
    [b, (h − 1)·stride + k, (w − 1)·stride + k, f].
  """
  if implementation is None:
    implementation = 'patches' if backend.cpu_forms() else 'lax'
  if implementation == 'patches':
    return patches_conv_transpose(x, kernel, stride, matmul_dtype)
  return dilated_conv(x, kernel, stride, kernel.shape[0] - 1, matmul_dtype)


def conv2d_resample(
  x,
  kernel,
  fir=None,
  *,
  up: int = 1,
  down: int = 1,
  padding=None,
  matmul_dtype='float32',
  border: str = 'zeros',
):
  """A correlation that changes the size, filtered against aliasing.

  With `up`: as if the image were up-sampled with the filter, then correlated; with `down`:
  filtered, then correlated with a stride. What is cheaper is done first, with the same result,
  borders included.

  Args:
    x: [b, h, w, c].
    kernel: [k, k, c, f]. (Official StyleGAN2 code stores the kernels of up-sampling layers
      rotated by 180°.)
    fir: [n], the filter; None for [1, 3, 3, 1].
    up, down: 1 or an integer factor; one of them is 1.
    padding: zeros on every side; None for k//2, which keeps the size for odd k.
    border: of `BORDERS`; 'repeat' with the default padding and without `down`.

  Returns:
    [b, h·up/down, w·up/down, f] with the default padding and odd k.
  """
  if 1 not in (up, down):
    raise ValueError('conv2d_resample either up-samples or down-samples')
  k = kernel.shape[0]
  fir = fir_filter() if fir is None else fir
  n = len(fir)
  if border == 'repeat' and (up > 1 or k > 1):
    if down > 1 or padding is not None:
      raise ValueError('only what keeps or enlarges the size has its border repeated')
    reach = -(-(k // 2 + (n + up - 1) // 2) // up) if up > 1 else k // 2
    x = repeat_border(x, reach)
    if up == 1:
      return conv2d(x, kernel, padding=0, matmul_dtype=matmul_dtype)
    y = conv2d_resample(x, kernel, fir, up=up, matmul_dtype=matmul_dtype)
    return _within(y, reach * up)
  padding = k // 2 if padding is None else padding
  if up > 1:
    before, after = padding + (n + up - 1) // 2, padding + (n - up) // 2
    if k == 1:
      x = conv2d(x, kernel, matmul_dtype=matmul_dtype)
    else:
      x = conv2d_transpose(x, kernel, up, matmul_dtype)
      # Its result has the padding of k − 1 in it, and no zeros behind the last pixel.
      before, after = before - (k - 1), after - (k - 1) + (up - 1)
      return upfirdn(x, fir, padding=(before, after), gain=up**2)
    return upfirdn(x, fir, up=up, padding=(before, after), gain=up**2)
  if down > 1:
    edges = (padding + (n - down + 1) // 2, padding + (n - down) // 2)
    early = down if k == 1 else 1  # what a 1x1 kernel does not read need not be filtered
    x = upfirdn(x, fir, down=early, padding=edges)
    return conv2d(x, kernel, stride=down // early, matmul_dtype=matmul_dtype)
  return conv2d(x, kernel, padding=padding, matmul_dtype=matmul_dtype)
