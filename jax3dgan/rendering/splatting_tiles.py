"""Splatting by tiles: a pixel meets the Gaussians of its tile alone, in chunks of a fixed length.

Chunks are composited side by side, each as if it were the first of its tile, to a transmittance T
and Σ w·feature A; (T, A) and (T', A') behind it are (T T', A + T A'), exactly. Blocks of chunks
follow one another until none is left: nothing is dropped, and memory is that of one block.

The gradient is written by hand. It composites again, block by block; with S what is left of
Σ w·(cotangent · feature) behind a Gaussian, dα = T (cotangent · feature) − S / (1 − α); and the
gradients of its mean, conic and opacity are sums of six moments of dα·α over the tile's pixels.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.nn import precision
from jax3dgan.nn.cpu.apart import apart
from jax3dgan.nn.cpu.exponential import exp2
from jax3dgan.nn.cpu.ordering import stable_order
from jax3dgan.rendering import splatting_bins
from jax3dgan.rendering.splatting_projection import (
  LARGEST_ALPHA,
  LEAST_ALPHA,
  STOP,
  Projected,
)
from jax3dgan.rendering.splatting_projection import cuda_tiles as cuda_tiles_of

_LOG2E = math.log2(math.e)
_NOTHING = -1e4  # log2 of the opacity of what is not drawn
_ELLIPSE = 6  # numbers of the table before the features


class Layout(NamedTuple):
  """How a picture is cut; hashable.

  Attributes:
    size: (height, width).
    tile: pixels on a side of a tile.
    chunk: Gaussians of a chunk.
    block: chunks at a time.
    stop, straight_through: see `splatting.Splatting`.
  """

  size: tuple[int, int]
  tile: int
  chunk: int
  block: int
  stop: bool
  straight_through: bool

  @property
  def grid(self) -> tuple[int, int]:
    """(rows, columns) of tiles."""
    return -(-self.size[0] // self.tile), -(-self.size[1] // self.tile)

  def pixels(self, dtype):
    """Positions x and y [p] of a tile's pixels from its centre, row by row."""
    ticks = np.arange(self.tile) - (self.tile - 1) / 2
    return np.tile(ticks, self.tile).astype(dtype), np.repeat(ticks, self.tile).astype(dtype)


class _Block(NamedTuple):
  """Chunks [k] of c slots."""

  rows: jax.Array  # [k, c] of the table
  tile: jax.Array  # [k]
  length: jax.Array  # the most chunks of one tile that are in it
  numbers: jax.Array  # [k, c, 6 + f] of the table, means from the tile's centre
  raw: jax.Array  # [k, c, p] o exp(e), 0 where it is not drawn
  alpha: jax.Array  # [k, c, p]


def _read(table, bins, index, n: int, layout: Layout) -> _Block:
  """Block `index` of the chunks of all tiles, of images of n Gaussians."""
  chunks = index * layout.block + jnp.arange(layout.block, dtype=jnp.int32)
  slots = splatting_bins.slots(bins, chunks, layout.chunk, layout.grid, n)
  nothing = table.shape[0] - 1
  rows = apart(jnp.where(slots.rank < n, slots.image[:, None] * n + slots.rank, nothing))
  numbers = table.at[rows].get(mode='promise_in_bounds')
  centre = (jnp.stack([slots.column, slots.row], axis=-1) + 0.5) * layout.tile
  numbers = apart(numbers.at[..., :2].add(-centre[:, None].astype(table.dtype)))
  x, y = layout.pixels(table.dtype)
  mean_x, mean_y, xx, xy, yy, opacity = (numbers[..., j, None] for j in range(_ELLIPSE))
  dx, dy = mean_x - x, mean_y - y  # [k, c, p]
  exponent = opacity + dx * (xx * dx + xy * dy) + yy * dy * dy
  # Else the exponentials would be computed again in each loop that reads them.
  raw = apart(jnp.where(exponent >= math.log2(LEAST_ALPHA), exp2(exponent), 0))
  return _Block(
    rows=rows,
    tile=slots.tile,
    length=jnp.max(jnp.minimum(slots.number, jnp.arange(layout.block, dtype=jnp.int32))) + 1,
    numbers=numbers,
    raw=raw,
    alpha=jnp.minimum(raw, LARGEST_ALPHA),
  )


def _before(block: _Block, values, combine, identity: float):
  """What the chunks of a block that are of the same tile and before each come to, [k, p].

  Args:
    values: [k, p] of each chunk.
    combine: of two such, the nearer first; with its `identity`.
  """
  count = block.tile.shape[0]
  padded_tile = jnp.concatenate([jnp.full((count,), -1, block.tile.dtype), block.tile])

  def shifted(x, by):
    padded = jnp.concatenate([jnp.full_like(x, identity), x])
    same = jax.lax.dynamic_slice_in_dim(padded_tile, count - by, count) == block.tile
    x = jax.lax.dynamic_slice_in_dim(padded, count - by, count)
    return jnp.where(same[:, None], x, identity)

  def double(state):
    by, x = state
    return 2 * by, combine(shifted(x, by), x)

  _, x = jax.lax.while_loop(lambda state: state[0] < block.length, double, (jnp.int32(1), values))
  return shifted(x, 1)


def _stopped(block: _Block, free):
  """A block where pixels end, and the transmittances of tiles [t + 1, p] behind it where none
  would, of those before it, `free`."""
  alone = functools.reduce(jnp.multiply, jnp.moveaxis(1 - block.alpha, 1, 0))
  before = free[block.tile] * _before(block, alone, jnp.multiply, 1)
  after = before[:, None] * jnp.cumprod(1 - block.alpha, axis=1)
  keep = after >= STOP
  block = block._replace(raw=jnp.where(keep, block.raw, 0), alpha=jnp.where(keep, block.alpha, 0))
  return block, free.at[block.tile].multiply(alone)


def _forward(table, bins, n: int, layout: Layout):
  """Σ w·feature [t, f, p] and transmittances [t, p]."""
  tiles, features = bins.ends.shape[0], table.shape[1] - _ELLIPSE
  pixels = layout.tile**2

  def step(state):
    index, total, passing, free = state
    block = _read(table, bins, index, n, layout)
    if layout.stop:
      block, free = _stopped(block, free)
    # All slots in one loop over pixels; XLA merges it.
    alpha, values = block.alpha, block.numbers[..., _ELLIPSE:, None]
    after = jnp.ones_like(alpha[:, 0])
    parts = jnp.zeros((layout.block, features, pixels), table.dtype)
    for slot in range(layout.chunk):
      parts += (alpha[:, slot] * after)[:, None] * values[:, slot]
      after *= 1 - alpha[:, slot]
    before = passing[block.tile] * _before(block, after, jnp.multiply, 1)
    total = total.at[block.tile].add(before[:, None] * parts)
    return index + 1, total, passing.at[block.tile].multiply(after), free

  ones = jnp.ones((tiles + 1, pixels), table.dtype)
  state = (
    jnp.int32(0),
    jnp.zeros((tiles + 1, features, pixels), table.dtype),
    ones,
    ones if layout.stop else (),
  )
  _, total, passing, _ = jax.lax.while_loop(_goes_on(bins, layout), step, state)
  return total[:-1], passing[:-1]


def _goes_on(bins, layout: Layout):
  return lambda state: state[0] * layout.block < bins.ends[-1]


def _backward(table, bins, n: int, layout: Layout, total, passing, d_total, d_passing):
  """The cotangent of the table, of those of `_forward`'s results."""
  tiles, pixels, dtype = bins.ends.shape[0], layout.tile**2, table.dtype
  features = table.shape[1] - _ELLIPSE

  def pad(x):  # for chunks that do not exist
    return jnp.concatenate([x, jnp.zeros_like(x[:1])])

  everything = pad(jnp.sum(d_total * total, axis=1) + d_passing * passing)
  d_total = pad(d_total)
  x, y = layout.pixels(dtype)
  basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)  # [p, 6]

  def step(state):
    index, gradient, passing, done, free = state
    block = _read(table, bins, index, n, layout)
    if layout.stop:
      block, free = _stopped(block, free)
    alpha, raw = block.alpha, block.raw
    cotangent = d_total[block.tile]  # [k, f, p]
    value = sum(
      cotangent[:, None, j] * block.numbers[..., _ELLIPSE + j, None] for j in range(features)
    )  # [k, c, p]
    value = apart(value)
    after = jnp.ones_like(alpha[:, 0])
    part = jnp.zeros_like(after)
    for slot in range(layout.chunk):
      part += alpha[:, slot] * after * value[:, slot]
      after *= 1 - alpha[:, slot]
    before = passing[block.tile] * _before(block, after, jnp.multiply, 1)
    part *= before
    rest = everything[block.tile] - done[block.tile] - _before(block, part, jnp.add, 0)

    before, rest = apart((before, rest))
    weights, moved = [], []
    for slot in range(layout.chunk):
      a = alpha[:, slot]
      weights.append(a * before)
      rest -= weights[-1] * value[:, slot]
      moved.append((before * value[:, slot] - rest / (1 - a)) * raw[:, slot])
      before *= 1 - a
    moved = jnp.stack(moved, axis=1)  # [k, c, p] dα·α
    if not layout.straight_through:
      moved = jnp.where(raw < LARGEST_ALPHA, moved, 0)
    d_features = precision.einsum('kcp,kfp->kcf', jnp.stack(weights, axis=1), cotangent)
    moments = precision.einsum('kcp,pm->kcm', moved, basis)
    rows = jnp.concatenate([_ellipse_gradient(block.numbers, moments), d_features], axis=-1)
    gradient = gradient.at[block.rows].add(rows)
    passing = passing.at[block.tile].multiply(after)
    return index + 1, gradient, passing, done.at[block.tile].add(part), free

  ones = jnp.ones((tiles + 1, pixels), dtype)
  state = (jnp.int32(0), jnp.zeros_like(table), ones, 0 * ones, ones if layout.stop else ())
  return jax.lax.while_loop(_goes_on(bins, layout), step, state)[1]


def _ellipse_gradient(numbers, moments):
  """Cotangents [..., 6] of mean, conic and log2 of the opacity, of Σ dα·α·(1, x, y, x², xy, y²)."""
  mean_x, mean_y, xx, xy, yy = (numbers[..., j] for j in range(5))
  zero, x1, y1, x2, x1y1, y2 = (math.log(2) * moments[..., j] for j in range(6))
  # Moments of the distances mean − x.
  dx, dy = mean_x * zero - x1, mean_y * zero - y1
  dxx = mean_x * (dx - x1) + x2
  dxy = mean_x * dy - mean_y * x1 + x1y1
  dyy = mean_y * (dy - y1) + y2
  return jnp.stack([2 * xx * dx + xy * dy, xy * dx + 2 * yy * dy, dxx, dxy, dyy, zero], axis=-1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _composite(table, bins, n: int, layout: Layout):
  return _forward(table, bins, n, layout)


def _composite_fwd(table, bins, n, layout):
  results = _forward(table, bins, n, layout)
  return results, (table, bins, *results)


def _composite_bwd(n, layout, saved, cotangents):
  table, bins, total, passing = saved
  return _backward(table, bins, n, layout, total, passing, *cotangents), None


_composite.defvjp(_composite_fwd, _composite_bwd)


def composite(
  projected: Projected,
  features,
  size: tuple[int, int],
  *,
  tile: int,
  chunk: int,
  block: int,
  stop: bool = False,
  straight_through: bool = False,
  cuda_tiles: bool = False,
):
  """Σ w·feature [i, h, w, f] and the transmittance [i, h, w] behind all.

  Args:
    projected: [i, n].
    features: [i, n, f].
    size: (height, width).
    tile: pixels on a side of a tile.
    chunk: Gaussians of a chunk.
    block: chunks at a time.
    stop, straight_through, cuda_tiles: See `splatting.Splatting`.
  """
  layout = Layout(size, tile, chunk, block, stop, straight_through)
  images, n = projected.depths.shape
  hidden = jax.lax.stop_gradient(projected)
  rectangles = splatting_bins.tile_rectangles(hidden, size, tile)
  if cuda_tiles:
    allowed = cuda_tiles_of(projected, size) * (16 // tile)
    first = jnp.maximum(rectangles[..., 0::2], allowed[..., :2])
    last = jnp.minimum(rectangles[..., 1::2], allowed[..., 2:] - 1)
    rectangles = jnp.stack([first, last], axis=-1).reshape(rectangles.shape)
  order = stable_order(jnp.where(hidden.valid, hidden.depths, jnp.inf))[..., None]
  bins = splatting_bins.make(jnp.take_along_axis(rectangles, order, axis=1), size, tile, chunk)
  opacities = jnp.where(projected.valid, projected.opacities, 1)
  opacity = jnp.where(projected.valid, jnp.log2(opacities), _NOTHING)
  conics = projected.conics * np.array([-0.5, -1, -0.5], features.dtype) * _LOG2E
  table = jnp.concatenate([projected.means, conics, opacity[..., None], features], axis=-1)
  table = jnp.take_along_axis(table, order, axis=1).reshape(images * n, -1)
  nothing = jnp.zeros((1, table.shape[1]), table.dtype).at[0, _ELLIPSE - 1].set(_NOTHING)
  total, passing = _composite(jnp.concatenate([table, nothing]), bins, n, layout)

  def untiled(x):
    rows, columns = layout.grid
    x = x.reshape(images, rows, columns, -1, tile, tile)
    x = x.transpose(0, 1, 4, 2, 5, 3).reshape(images, rows * tile, columns * tile, -1)
    return x[:, : size[0], : size[1]]

  return untiled(total), untiled(passing[:, None])[..., 0]
