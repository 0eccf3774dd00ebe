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

Results are phases: the pixels in even and odd rows and columns, each an image of its own. Layers of
single pixels do not care, so features are brought into order once, before the next doubling.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.nn import precision, resample
from jax3dgan.nn.cpu.convolution import pad_axis
from jax3dgan.nn.equalized import activate
from jax3dgan.nn.primitives import linear

MODES = ('nn_cat', 'pixelshuffle', 'nearest', 'bilinear', 'bicubic', 'default')
WITH_ADAPTER = ('nn_cat', 'pixelshuffle')
WITH_BLUR = ('nn_cat', 'pixelshuffle', 'nearest')
_REACH = 2  # pixels that a result depends on: a neighbour's neighbour
_PADDING = (2, 1)  # of the blur: its result is as large as the image
_SHARPNESS = -0.75  # of the bicubic kernel


class Adapter(NamedTuple):
  """Two 1x1 layers with a leaky ReLU between them.

  Attributes:
    kernel_0, bias_0: [c', q], [q]: c' is 2c for 'nn_cat', nearest neighbours first, else c.
    kernel_1, bias_1: [q, c], [c]; for 'pixelshuffle' [q, 4c], [4c], of the phases (row, column)
      (0, 0), (0, 1), (1, 0), (1, 1).
  """

  kernel_0: jax.Array
  bias_0: jax.Array
  kernel_1: jax.Array
  bias_1: jax.Array


def check(mode: str) -> None:
  """UserError for an unknown mode."""
  if mode not in MODES:
    raise UserError(f"upsampling is '{mode}'. Choose one of {', '.join(MODES)}.")


def upsample_features(
  x,
  mode: str,
  blur: bool = True,
  adapter: Adapter | None = None,
  policy: str = 'float32',
  border: str = 'zeros',
):
  """[b, h, w, c] → phases [b, 2, 2, h, w, c] of the image of twice the size, see `interleave`.

  Args:
    mode: of `MODES`.
    blur: whether a blur follows, where the mode is one of `WITH_BLUR`.
    adapter: of the modes of `WITH_ADAPTER`.
    policy: of `nn.precision`.
    border: of `resample.BORDERS`: what filters see beyond the image.
  """
  check(mode)
  if border == 'repeat' and mode not in ('bilinear', 'bicubic'):  # those repeat by themselves
    y = upsample_features(resample.repeat_border(x, _REACH), mode, blur, adapter, policy)
    return y[..., _REACH:-_REACH, _REACH:-_REACH, :]
  if mode == 'default':
    return phases_of(resample.upsample(x))
  if mode in ('bilinear', 'bicubic'):
    rows, columns = (_interpolation(mode, n, x.dtype.name) for n in x.shape[1:3])
    y = precision.einsum('ih,bhwc->biwc', rows, x)
    return phases_of(precision.einsum('jw,biwc->bijc', columns, y))
  y = _filtered(x[:, None, None], _NEAREST_AND_BLUR if blur else _NEAREST)
  if mode == 'nn_cat':
    return y + _concatenated(x, adapter, blur, policy)
  if mode == 'pixelshuffle':
    t = activate(precision.rows_product(x, adapter.kernel_0, policy) + adapter.bias_0)
    t = precision.rows_product(t, adapter.kernel_1, policy) + adapter.bias_1  # [b, h, w, 4c]
    t = t.reshape(*x.shape[:3], 2, 2, -1).transpose(0, 3, 4, 1, 2, 5)
    return y + (_filtered(t, _BLUR) if blur else t)
  return y


def map_rows(function, x, num_rows: int, adapter: Adapter, blur: bool = True, policy='float32'):
  """function(phase) of the phases of `upsample_features` by 'nn_cat', some rows at a time.

  For CPUs: each phase of so many rows is an array of its own, [b, num_rows, w, c], that their
  caches hold; without a pass that joins phases, and nothing of the size of the result but it.

  Args:
    function: of single pixels, [b, ..., c] → a pytree of [b, ..., f].
    x: [b, h, w, c].
    num_rows: a divisor of h.
    The rest: see `upsample_features`.

  Returns:
    The function's pytree as images [b, 2h, 2w, f].
  """
  b, h, w, _ = x.shape
  hidden = _adapted(x, adapter, policy)
  hidden = [hidden[:2], hidden[2:]]
  hidden = _filtered_apart(hidden, _BLUR) if blur else hidden
  rows, columns = (jnp.asarray(_blurred_ones(n), x.dtype) for n in (h, w))
  padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0)))  # a filter sees a row more on both sides

  def of_rows(first):
    here = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=first, axis=1)
    y = _filtered_apart(
      [[here(padded, slice_size=num_rows + 2)]], _NEAREST_AND_BLUR if blur else _NEAREST
    )

    def phase(p, q):
      own = here(hidden[p][q], slice_size=num_rows)
      own = precision.rows_product(own, adapter.kernel_1, policy)
      share = 1.0
      if blur:
        share = here(rows, slice_size=num_rows)[p][:, None, None] * columns[q][:, None]
      return function(y[p][q][:, 1:-1] + own + share * adapter.bias_1)

    return [[phase(p, q) for q in (0, 1)] for p in (0, 1)]

  (of_00, of_01), (of_10, of_11) = jax.lax.map(of_rows, num_rows * jnp.arange(h // num_rows))

  def image(*phases):  # [h / rows, b, rows, w, f] each
    f = phases[0].shape[-1]
    joined = jnp.stack(phases).reshape(2, 2, -1, b, num_rows, w, f)
    return joined.transpose(3, 2, 4, 0, 5, 1, 6).reshape(b, 2 * h, 2 * w, f)

  return jax.tree.map(image, of_00, of_01, of_10, of_11)


def interleave(phases):
  """Phases [b, 2, 2, h, w, c], the pixels in even and odd rows and columns → [b, 2h, 2w, c]."""
  b, _, _, h, w, c = phases.shape
  return phases.transpose(0, 3, 1, 4, 2, 5).reshape(b, 2 * h, 2 * w, c)


def phases_of(image):
  """The inverse of `interleave`."""
  b, h, w, c = image.shape
  return image.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 2, 4, 1, 3, 5)


def _concatenated(x, adapter: Adapter, blur: bool, policy: str):
  """The adapter of [nearest neighbours, means of two neighbours], and its blur, in phases."""
  h, w = x.shape[1:3]
  t = jnp.stack(_adapted(x, adapter, policy), axis=1)  # [b, 4, h, w, q]
  t = t.reshape(t.shape[0], 2, 2, *t.shape[2:])
  y = precision.rows_product(_filtered(t, _BLUR) if blur else t, adapter.kernel_1, policy)
  if not blur:
    return y + adapter.bias_1
  rows, columns = (_blurred_ones(n) for n in (h, w))  # less at the borders
  share = rows[:, None, :, None, None] * columns[None, :, None, :, None]
  return y + share.astype(x.dtype) * adapter.bias_1


def _adapted(x, adapter: Adapter, policy: str) -> list:
  """The adapter's first layer of [nearest neighbours, means of two neighbours]: four phases
  [b, h, w, q].

  It is linear: of the pixels there are, not of four times as many.
  """
  h, w, c = x.shape[1:]
  q = adapter.bias_0.shape[-1]
  kernel = jnp.concatenate([adapter.kernel_0[:c], 0.5 * adapter.kernel_0[c:]], axis=1)
  both = precision.rows_product(x, kernel, policy)  # [b, h, w, 2q]
  own = both[..., :q] + adapter.bias_0
  padded = jnp.pad(both[..., q:], ((0, 0), (1, 1), (1, 1), (0, 0)))
  left, right = padded[:, 1:-1, :w], padded[:, 1:-1, 2:]
  above, below = padded[:, :h, 1:-1], padded[:, 2:, 1:-1]
  parts = [own + left + above, own + above + right, own + left + below, own + right + below]
  return [activate(part) for part in parts]


def _terms(taps, nearest: bool) -> tuple:
  """A filter of an image by its phases along an axis: pixel i of phase p is the sum of
  factor·(pixel i + shift of phase q) over the (p, q, shift, factor).

  Args:
    taps: of pixels from 2 before on.
    nearest: whether the image is every pixel twice, which is a single phase.
  """
  factors = {}
  for p in (0, 1):
    for t, tap in enumerate(taps):
      place = p + t - _PADDING[0]
      key = (p, 0 if nearest else place % 2, place // 2)
      factors[key] = factors.get(key, 0.0) + float(tap)
  return tuple((*key, factor) for key, factor in factors.items())


_TAPS = np.asarray(resample.TAPS, np.float64) / sum(resample.TAPS)
_BLUR = _terms(_TAPS, nearest=False)
_NEAREST_AND_BLUR = _terms(_TAPS, nearest=True)
_NEAREST = ((0, 0, 0, 1.0), (1, 0, 0, 1.0))


def _filtered(phases, terms):
  """Phases [b, 1 or 2, 1 or 2, h, w, c] filtered along both axes → [b, 2, 2, h, w, c]."""
  return _phase_filter(_phase_filter(phases, terms=terms, axis=1), terms=terms, axis=2)


def _filter_phases(x, *, terms, axis):
  """Along the phases of `axis` (1 rows, 2 columns) and the pixels of `axis` + 2."""
  first, last = min(term[2] for term in terms), max(term[2] for term in terms)
  first, last = min(first, 0), max(last, 0)
  size = x.shape[axis + 2]
  x = pad_axis(x, axis + 2, -first, last)
  parts = [[] for _ in range(1 + max(term[0] for term in terms))]
  for p, q, shift, factor in terms:
    phase = jax.lax.slice_in_dim(x, q, q + 1, axis=axis)
    phase = jax.lax.slice_in_dim(phase, shift - first, shift - first + size, axis=axis + 2)
    parts[p].append(phase if factor == 1 else x.dtype.type(factor) * phase)
  return jnp.concatenate([sum(part[1:], part[0]) for part in parts], axis=axis)


def _filtered_apart(phases, terms):
  """`_filtered` of phases that are arrays of their own, [rows' [columns' [b, h, w, c]]]."""

  def along(parts, axis):
    size = parts[0].shape[axis]
    first, last = (of(shift for _, _, shift, _ in terms) for of in (min, max))
    first, last = min(first, 0), max(last, 0)
    parts = [pad_axis(x, axis, -first, last) for x in parts]
    found = ([], [])
    for p, q, shift, factor in terms:
      shifted = jax.lax.slice_in_dim(parts[q], shift - first, shift - first + size, axis=axis)
      found[p].append(shifted if factor == 1 else shifted.dtype.type(factor) * shifted)
    return [sum(part[1:], part[0]) for part in found]

  rows = [along(list(of_column), 1) for of_column in zip(*phases, strict=True)]
  return [along(list(of_row), 2) for of_row in zip(*rows, strict=True)]


def _transpose_of_phases(g, x, *, terms, axis):
  del x
  back = tuple((q, p, -shift, factor) for p, q, shift, factor in terms)
  return _phase_filter(g, terms=back, axis=axis)


# Linear, as `resample`'s filters: left to autodiff, every shifted copy would be in memory.
_phase_filter = linear('phase_filter', _filter_phases, _transpose_of_phases)


def _blurred_ones(size: int) -> np.ndarray:
  """[2, size] what the blur makes of ones with zeros around, by phases."""
  ones = np.pad(np.ones(2 * size), _PADDING)
  return np.correlate(ones, _TAPS, 'valid').reshape(size, 2).T


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
