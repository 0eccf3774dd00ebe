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
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching, mlir

from jax3dgan.nn import backend, precision
from jax3dgan.nn.conv import conv2d

TAPS = (1, 3, 3, 1)
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
  if fir.ndim == 1 and all(1 in factors for factors in zip(up, down, strict=True)):
    # The gain is applied with the first axis.
    x = _filter_axis(x, tuple(gain * fir), 1, up[0], down[0], rows)
    return _filter_axis(x, tuple(fir), 2, up[1], down[1], columns)
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


def _pad_axis(x, axis, before, after):
  """Zeros around an axis; negative numbers cut."""
  config = [(0, 0, 0)] * x.ndim
  config[axis] = (before, after, 0)
  return jax.lax.pad(x, jnp.zeros((), x.dtype), config)


def _interleave(parts, axis, size):
  """Phases [..., m, ...] to one array whose axis begins with the first of each, cut to size."""
  x = parts[0] if len(parts) == 1 else jnp.stack(parts, axis + 1)
  shape = (*x.shape[:axis], -1, *x.shape[axis + (1 if len(parts) == 1 else 2) :])
  return jax.lax.slice_in_dim(x.reshape(shape), 0, size, axis=axis)


# A linear operation with a transpose of its own kind. As a primitive, which derivatives of either
# mode and any order, and vmap, go through.
_filter_axis_p = jax.extend.core.Primitive('filter_axis')


def _filter_axis(x, taps, axis, up, down, padding):
  """Correlates one axis with taps, a tuple; `up` or `down` is 1.

  Its transpose is one with the taps turned round and `up` and `down` exchanged. Left to autodiff,
  every shifted copy would be padded and lie in memory on its own.
  """
  return _filter_axis_p.bind(x, taps=taps, axis=axis, up=up, down=down, padding=padding)


def _size_of_filtered(size, taps, up, down, padding):
  filtered = (size * up + sum(padding) - len(taps)) // down + 1
  if filtered < 1:
    raise ValueError(f'{size} pixels are too few for a filter of {len(taps)}')
  return filtered


@_filter_axis_p.def_abstract_eval
def _filter_axis_shape(x, *, taps, axis, up, down, padding):
  size = _size_of_filtered(x.shape[axis], taps, up, down, padding)
  return x.update(shape=(*x.shape[:axis], size, *x.shape[axis + 1 :]))


def _filter_axis_transpose(g, x, *, taps, axis, up, down, padding):
  size, before = x.aval.shape[axis], len(taps) - 1 - padding[0]
  # As many zeros behind as give the size of the input.
  after = (size - 1) * up + len(taps) - before - g.shape[axis] * down
  return (_filter_axis(g, taps[::-1], axis, down, up, (before, after)),)


def _filter_axis_batch(args, dims, *, axis, **options):
  x = jnp.moveaxis(args[0], dims[0], 0)
  return _filter_axis(x, axis=axis + 1, **options), 0


def _correlate_axis(x, taps, axis, up, down, padding):
  before, n = padding[0], len(taps)
  size = _size_of_filtered(x.shape[axis], taps, up, down, padding)
  taps = [x.dtype.type(tap) for tap in taps]
  if up == 1:
    # Pixel j is a sum over t of taps[t] x[j down + t − before]: one slice of each of `down` phases.
    length = -(-(n - 1) // down) + size
    x = _pad_axis(x, axis, before, length * down - x.shape[axis] - before)
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
  x = _pad_axis(x, axis, -first, last + length - x.shape[axis])
  zero = jnp.zeros_like(jax.lax.slice_in_dim(x, 0, length, axis=axis))

  def phase_of(phase):
    slices = [
      tap * jax.lax.slice_in_dim(x, s - first, s - first + length, axis=axis) for s, tap in phase
    ]
    return sum(slices) if slices else zero

  return _interleave([phase_of(phase) for phase in terms], axis, size)


_filter_axis_p.def_impl(
  jax.jit(_correlate_axis, static_argnames=('taps', 'axis', 'up', 'down', 'padding'))
)
mlir.register_lowering(_filter_axis_p, mlir.lower_fun(_correlate_axis, multiple_results=False))
ad.deflinear2(_filter_axis_p, _filter_axis_transpose)
batching.primitive_batchers[_filter_axis_p] = _filter_axis_batch


def upsample(x, fir=None, factor: int = 2):
  """[b, h, w, c] → [b, h·factor, w·factor, c], filtered."""
  fir = fir_filter() if fir is None else fir
  n = len(fir)
  padding = ((n + factor - 1) // 2, (n - factor) // 2)
  return upfirdn(x, fir, up=factor, padding=padding, gain=factor**2)


def downsample(x, fir=None, factor: int = 2):
  """[b, h, w, c] → [b, h/factor, w/factor, c], filtered before pixels are dropped."""
  fir = fir_filter() if fir is None else fir
  n = len(fir)
  return upfirdn(x, fir, down=factor, padding=((n - factor + 1) // 2, (n - factor) // 2))


def filter2d(x, fir=None):
  """[b, h, w, c] filtered, in the same size."""
  fir = fir_filter() if fir is None else fir
  n = len(fir)
  return upfirdn(x, fir, padding=(n // 2, (n - 1) // 2))


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

  On a CPU the gradients of XLA's form are slow (16 images of 8² to 16², 128 to 64 channels, one
  core, filter included: .9 ms forward in either form, with the backward pass 114 ms against 15).
  There, one product of matrices gives each pixel's share of its k² targets, and shifted sums
  collect them. `implementation` ('lax' or 'patches') overrides the choice by platform.

  Returns:
    [b, (h − 1)·stride + k, (w − 1)·stride + k, f].
  """
  k, features = kernel.shape[0], kernel.shape[-1]
  if implementation is None:
    implementation = 'patches' if backend.platform() == 'cpu' else 'lax'
  if implementation == 'lax':
    edge = (k - 1, k - 1, stride - 1)
    # XLA folds the padding into the convolution.
    x = jax.lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), edge, edge, (0, 0, 0)))
    return conv2d(x, kernel, matmul_dtype=matmul_dtype, implementation='lax')
  # A pixel reaches its k² targets in the reverse order of the correlation's.
  shares = jnp.moveaxis(kernel[::-1, ::-1], 2, 0).reshape(x.shape[-1], -1)
  x = precision.rows_product(x, shares, matmul_dtype)
  x = x.reshape(*x.shape[:-1], k, k, features)
  return _collect(_collect(x, 1, stride), 2, stride)


def _collect(x, axis, stride):
  """Adds x [b, h, w, k, ..., f] into places i·stride + t of `axis`, t along axis 3, which goes."""
  k, n = x.shape[3], x.shape[axis]
  length = n + (k - 1) // stride
  phases = []
  for q in range(min(stride, k)):
    parts = [
      _pad_axis(
        jax.lax.index_in_dim(x, t, 3, keepdims=False), axis, t // stride, length - n - t // stride
      )
      for t in range(q, k, stride)
    ]
    phases.append(sum(parts))
  phases += [jnp.zeros_like(phases[0])] * (stride - len(phases))
  return _interleave(phases, axis, (n - 1) * stride + k)


def conv2d_resample(
  x, kernel, fir=None, *, up: int = 1, down: int = 1, padding=None, matmul_dtype='float32'
):
  """A correlation that changes the size, filtered against aliasing.

  With `up`: as if the image were up-sampled with the filter, then correlated; with `down`:
  filtered, then correlated with a stride. What is cheaper is done first, with the same result,
  borders included.

  Args:
    x: [b, h, w, c].
    kernel: [k, k, c, f]. (Official StyleGAN2 code stores the kernels of up-sampling layers turned
      by 180°.)
    fir: [n], the filter; None for [1, 3, 3, 1].
    up, down: 1 or an integer factor; one of them is 1.
    padding: zeros on every side; None for k//2, which keeps the size for odd k.

  Returns:
    [b, h·up/down, w·up/down, f] with the default padding and odd k.
  """
  if 1 not in (up, down):
    raise ValueError('conv2d_resample either up-samples or down-samples')
  k = kernel.shape[0]
  padding = k // 2 if padding is None else padding
  fir = fir_filter() if fir is None else fir
  n = len(fir)
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
    early = down if k == 1 else 1  # what a 1x1 kernel would not look at need not be filtered
    x = upfirdn(x, fir, down=early, padding=edges)
    return conv2d(x, kernel, stride=down // early, matmul_dtype=matmul_dtype)
  return conv2d(x, kernel, padding=padding, matmul_dtype=matmul_dtype)
