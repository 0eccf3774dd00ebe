"""Doubling the size of feature maps, StyleNeRF's ways (Gu et al., ICLR 2022, arXiv 2110.08985,
Sec. 3.2 and App. A), as functions of arrays. Images are [b, h, w, c].

| mode | what |
|---|---|
| nn_cat | nearest neighbour, plus what an adapter makes of it and of the means of two neighbours |
| pixelshuffle | nearest neighbour, plus an adapter's four features of each pixel |
| nearest, bilinear, bicubic | interpolation; the latter two between the corner pixels' centres |
| default | zeros in between, then [1, 3, 3, 1], as in StyleGAN2 |

The first three may be followed by a blur with [1, 3, 3, 1]. Blur and nearest neighbour are one
filter, and a blur of what a 1x1 layer gives is that layer of what is blurred: neither is computed
on more pixels or channels than necessary.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.nn import precision, resample
from jax3dgan.nn.equalized import activate

MODES = ('nn_cat', 'pixelshuffle', 'nearest', 'bilinear', 'bicubic', 'default')
WITH_ADAPTER = ('nn_cat', 'pixelshuffle')
WITH_BLUR = ('nn_cat', 'pixelshuffle', 'nearest')
# [1, 3, 3, 1] after nearest neighbour, which is [1, 1] after zeros in between.
_NEAREST_AND_BLUR = np.convolve(resample.TAPS, (1, 1))
_PADDING = (2, 1)  # of the blur: its result is as large as the image
_SHARPNESS = -0.75  # of the bicubic kernel


class Adapter(NamedTuple):
  """Two 1x1 layers with a leaky ReLU between them.

  Attributes:
    kernel_0, bias_0: [c', q], [q]: c' is 2c for 'nn_cat', nearest neighbours first, else c.
    kernel_1, bias_1: [q, c], [c]; for 'pixelshuffle' [q, 4c], [4c], of the new pixels at (row,
      column) (0, 0), (0, 1), (1, 0), (1, 1).
  """

  kernel_0: jax.Array
  bias_0: jax.Array
  kernel_1: jax.Array
  bias_1: jax.Array


def check(mode: str) -> None:
  """UserError for an unknown mode."""
  if mode not in MODES:
    raise UserError(f"No upsampling is called '{mode}'. Choose one of {', '.join(MODES)}.")


def upsample_features(
  x, mode: str, blur: bool = True, adapter: Adapter | None = None, policy: str = 'float32'
):
  """[b, h, w, c] → [b, 2h, 2w, c].

  Args:
    mode: of `MODES`.
    blur: whether a blur follows, where the mode is one of `WITH_BLUR`.
    adapter: of the modes of `WITH_ADAPTER`.
    policy: of `nn.precision`.
  """
  check(mode)
  if mode == 'default':
    return resample.upsample(x)
  if mode in ('bilinear', 'bicubic'):
    rows, columns = (_interpolation(mode, n, x.dtype.name) for n in x.shape[1:3])
    y = precision.einsum('ih,bhwc->biwc', rows, x)
    return precision.einsum('jw,biwc->bijc', columns, y)
  y = nearest_and_blur(x) if blur else nearest(x)
  if mode == 'nn_cat':
    return y + _concatenated(x, adapter, blur, policy)
  if mode == 'pixelshuffle':
    t = activate(precision.rows_product(x, adapter.kernel_0, policy) + adapter.bias_0)
    t = precision.rows_product(t, adapter.kernel_1, policy) + adapter.bias_1
    t = interleave(jnp.split(t, 4, axis=-1))
    return y + (_blur(t) if blur else t)
  return y


def nearest(x):
  """Every pixel four times."""
  return interleave([x] * 4)


def nearest_and_blur(x):
  """`nearest`, then [1, 3, 3, 1] with zeros around."""
  fir = resample.fir_filter(_NEAREST_AND_BLUR)
  return resample.upfirdn(x, fir, up=2, padding=(_PADDING[0] + 1, _PADDING[1]), gain=4)


def interleave(parts):
  """Four [b, h, w, c], the new pixels at (0, 0), (0, 1), (1, 0), (1, 1) of each, as one
  [b, 2h, 2w, c]."""
  b, h, w, c = parts[0].shape
  rows = [jnp.stack(parts[i : i + 2], axis=3) for i in (0, 2)]  # [b, h, w, 2, c]
  return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, c)


def _blur(x):
  return resample.upfirdn(x, resample.fir_filter(), padding=_PADDING)


def _concatenated(x, adapter: Adapter, blur: bool, policy: str):
  """The adapter of [nearest neighbours, means of two neighbours], and its blur.

  The first layer is linear: of the pixels there are, not of four times as many.
  """
  b, h, w, c = x.shape
  q = adapter.bias_0.shape[-1]
  kernel = jnp.concatenate([adapter.kernel_0[:c], 0.5 * adapter.kernel_0[c:]], axis=1)
  both = precision.rows_product(x, kernel, policy)  # [b, h, w, 2q]
  own = both[..., :q] + adapter.bias_0
  padded = jnp.pad(both[..., q:], ((0, 0), (1, 1), (1, 1), (0, 0)))
  left, right = padded[:, 1:-1, :w], padded[:, 1:-1, 2:]
  above, below = padded[:, :h, 1:-1], padded[:, 2:, 1:-1]
  t = activate(
    interleave([own + left + above, own + above + right, own + left + below, own + right + below])
  )
  y = precision.rows_product(_blur(t) if blur else t, adapter.kernel_1, policy)
  if not blur:
    return y + adapter.bias_1
  rows, columns = (_blurred_ones(2 * n) for n in (h, w))
  share = (rows[:, None] * columns)[..., None].astype(x.dtype)  # less at the borders
  return y + share * adapter.bias_1


def _blurred_ones(size: int) -> np.ndarray:
  """[size] what the blur makes of ones with zeros around."""
  taps = np.asarray(resample.TAPS, np.float64) / sum(resample.TAPS)
  return np.correlate(np.pad(np.ones(size), _PADDING), taps, 'valid')


@functools.cache
def _interpolation(mode: str, size: int, dtype: str) -> np.ndarray:
  """[2·size, size]: from `size` pixels to twice as many; the first and last ones agree."""
  matrix = np.zeros((2 * size, size))
  for i in range(2 * size):
    position = i * (size - 1) / max(2 * size - 1, 1)
    first = math.floor(position)
    near = (0, 1) if mode == 'bilinear' else (-1, 0, 1, 2)
    for shift in near:
      distance = abs(position - first - shift)
      weight = 1 - distance if mode == 'bilinear' else _cubic(distance)
      matrix[i, min(max(first + shift, 0), size - 1)] += weight  # borders are repeated
  return matrix.astype(dtype)


def _cubic(x: float) -> float:
  """Keys' kernel of cubic convolution at distance x (Keys 1981)."""
  a = _SHARPNESS
  if x <= 1:
    return (a + 2) * x**3 - (a + 3) * x**2 + 1
  return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0
