"""Which Gaussians each tile of an image shows, in order of depth.

A splat's ellipse is bounded by a rectangle of tiles, so that one bit for each row of tiles and one
for each column say all: a tile's list is the AND of its row's and its column's bits. There is no
sort of (tile, Gaussian) pairs, and no bound on the tiles of a Gaussian or the Gaussians of a tile.

Lists are read in chunks of a fixed length; the chunks of all tiles and images are numbered through.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.nn.cpu.apart import apart
from jax3dgan.rendering.splatting_projection import LEAST_ALPHA, Projected

BITS = 32  # of a word
_SLACK = 1e-3  # px, more than what float32 rounds a rectangle's sides by


class Bins(NamedTuple):
  """The lists of all tiles, [i, rows, columns] of images, whose places are numbered through as
  tiles [t]. Ranks are places in the order of depth.

  Attributes:
    row_words: [i · rows, words] bit r % 32 of word r // 32: whether the row shows rank r.
    column_words: [i · columns, words].
    totals: [t, words] how many Gaussians of a tile are in a word or before it.
    ends: [t] how many chunks there are in a tile or before it.
  """

  row_words: jax.Array
  column_words: jax.Array
  totals: jax.Array
  ends: jax.Array


class Slots(NamedTuple):
  """Places of chunks [k] of length c.

  Attributes:
    tile: [k] the tile of each; the number of tiles for chunks that do not exist.
    image, row, column: [k] of the tile.
    number: [k] which of its tile's chunks it is.
    rank: [k, c] the Gaussians' places in the order of depth; where there is none, their number.
  """

  tile: jax.Array
  image: jax.Array
  row: jax.Array
  column: jax.Array
  number: jax.Array
  rank: jax.Array


def tile_rectangles(projected: Projected, size: tuple[int, int], tile: int):
  """First and last columns and rows of tiles [i, n, 4] (left, right, top, bottom) of pixels with
  α ≥ 1/255; the last before the first where there are none.

  α ≥ 1/255 holds within k standard deviations, k² = 2 ln(255 o), and the ellipse's half axes along
  x and y are k √V_xx and k √V_yy.
  """
  height, width = size
  valid = projected.valid
  opacities = jnp.where(valid, projected.opacities, 1)
  k = jnp.sqrt(2 * jnp.maximum(jnp.log(opacities / LEAST_ALPHA), 0))
  sides = []
  for axis, pixels, variance in ((0, width, 0), (1, height, 2)):
    count = -(-pixels // tile)
    centre = projected.means[..., axis] - 0.5  # of pixels at whole numbers
    reach = k * jnp.sqrt(projected.covariances[..., variance]) * (1 + 1e-5) + _SLACK
    first = jnp.ceil(centre - reach) / tile
    last = jnp.floor(centre + reach) / tile
    # Bounded before they are whole numbers, which cannot hold every float.
    first = jnp.floor(jnp.clip(first, 0, count)).astype(jnp.int32)
    last = jnp.floor(jnp.clip(last, -1, count - 1)).astype(jnp.int32)
    sides += [jnp.where(valid, first, count), jnp.where(valid, last, -1)]
  return jnp.stack(sides, axis=-1)


def _words(first, last, count: int):
  """Bits [i, count, words] of whether first ≤ place ≤ last, of [i, n] in words of 32."""
  images, n = first.shape
  words = -(-n // BITS)
  pad = ((0, 0), (0, words * BITS - n))

  def by_bit(x, value):
    return jnp.pad(x, pad, constant_values=value).reshape(images, words, BITS).transpose(2, 0, 1)

  first, last = by_bit(first, count), by_bit(last, -1)  # [32, i, words]
  place = jnp.arange(count, dtype=jnp.int32)[:, None]
  total = jnp.zeros((images, count, words), jnp.uint32)
  for bit in range(BITS):  # words side by side
    inside = (first[bit][:, None] <= place) & (place <= last[bit][:, None])
    total |= jnp.where(inside, jnp.uint32(1 << bit), jnp.uint32(0))
  return total


def make(rectangles, size: tuple[int, int], tile: int, chunk: int) -> Bins:
  """The lists of tiles of `tile`² pixels in chunks of `chunk`, of rectangles [i, n, 4] in the order
  of depth, see `tile_rectangles`."""
  height, width = size
  rows, columns = -(-height // tile), -(-width // tile)
  images = rectangles.shape[0]
  column_words = _words(rectangles[..., 0], rectangles[..., 1], columns)
  row_words = _words(rectangles[..., 2], rectangles[..., 3], rows)
  # Else XLA would find the bits again for every tile.
  row_words, column_words = apart((row_words, column_words))
  words = row_words.shape[-1]
  both = row_words[:, :, None] & column_words[:, None]  # [i, rows, columns, words]
  counts = jax.lax.population_count(both).astype(jnp.int32).reshape(-1, words)
  totals = apart(jnp.cumsum(counts, axis=1, dtype=jnp.int32))
  ends = jnp.cumsum(-(-totals[:, -1] // chunk), dtype=jnp.int32)
  return Bins(
    row_words.reshape(images * rows, words),
    column_words.reshape(images * columns, words),
    totals,
    ends,
  )


def _first_above(values, offset, length: int, threshold):
  """The first place in values[offset : offset + length], ascending, that is above the threshold."""
  place = jnp.zeros_like(threshold)
  step = 1 << (length - 1).bit_length()
  while step > 1:
    step //= 2
    at = jnp.minimum(place + (step - 1), length - 1)
    place = jnp.where(values[offset + at] <= threshold, place + step, place)
  return jnp.minimum(place, length - 1)


def _set_bit(word, index):
  """The place of the set bit of a word before which there are `index` others."""
  place = jnp.zeros_like(index)
  width = BITS
  while width > 1:
    width //= 2
    low = word & jnp.uint32((1 << width) - 1)
    count = jax.lax.population_count(low).astype(jnp.int32)
    above = index >= count
    index = jnp.where(above, index - count, index)
    word = jnp.where(above, word >> width, low)
    place = jnp.where(above, place + width, place)
  return place


def slots(bins: Bins, chunks, chunk: int, grid: tuple[int, int], n: int) -> Slots:
  """What chunks [k] (numbers) show, on a grid of (rows, columns) of tiles, of n Gaussians."""
  rows, columns = grid
  tiles, words = bins.totals.shape
  exists = chunks < bins.ends[-1]
  tile = _first_above(bins.ends, 0, tiles, chunks)
  image, place = tile // (rows * columns), tile % (rows * columns)
  row, column = place // columns, place % columns
  before = jnp.where(tile > 0, bins.ends[tile - 1], 0)
  number = chunks - before

  slot = number[:, None] * chunk + jnp.arange(chunk, dtype=jnp.int32)  # [k, c]
  totals, offset = bins.totals.reshape(-1), (tile * words)[:, None]
  word = _first_above(totals, offset, words, slot)
  row_words, column_words = bins.row_words.reshape(-1), bins.column_words.reshape(-1)
  bits = row_words[((image * rows + row) * words)[:, None] + word]
  bits &= column_words[((image * columns + column) * words)[:, None] + word]
  upto = totals[offset + word]
  index = slot - (upto - jax.lax.population_count(bits).astype(jnp.int32))
  rank = word * BITS + _set_bit(bits, index)
  live = exists[:, None] & (slot < totals[offset + words - 1])
  return Slots(
    tile=jnp.where(exists, tile, tiles),
    image=image,
    row=row,
    column=column,
    number=number,
    rank=jnp.where(live, rank, n),
  )
