"""Features at positions on planes, by rows of four neighbours: for TPUs.

A TPU reads and writes memory in rows of 128 numbers, and it adds the updates of a scatter one after
another. A table has beside each pixel the three to the right of it, below it and below to the
right, for a tri-plane's 32 features one row. A position on a plane is then one row to read instead
of four parts of rows. The gradient adds one row for each, in ascending order of their places, which
is a fixed order of summation; the table's four parts, shifted, are then added up. The table is four
times as large as the planes (EG3D's: 100 MB an image). What all this gains is not measured.
"""

import jax
import jax.numpy as jnp


def _offsets(w: int) -> tuple[int, ...]:
  """How far in a flat image the four neighbours are: right, below, below to the right."""
  return 0, 1, w, w + 1


def gather(planes, first, fx, fy):
  """Σ over planes of the features at positions.

  Args:
    planes: [b, p, h, w, c], or [1, ...] for all.
    first: [b, n, p] the pixel up left of each position, among p·h·w; its three neighbours are in
      the image.
    fx, fy: [b, n, p] how far to the right and down of it the position is.

  Returns:
    [b, n, c].
  """
  b, p, h, w, c = planes.shape
  flat = planes.reshape(b, p * h * w, c)
  table = jnp.concatenate([_shifted(flat, -offset) for offset in _offsets(w)], axis=-1)
  table, total = table.reshape(-1, 4 * c), 0.0
  rows, weights = _rows(first, b, p * h * w), _weights(fx, fy)
  for plane in range(p):
    four = table.at[rows[..., plane]].get(mode='promise_in_bounds')
    four = four.reshape(*rows.shape[:-1], 4, c)
    total += jnp.sum(weights[..., plane, :, None] * four, axis=-2)
  return total


def scatter(g, first, fx, fy, shape):
  """The transpose of `gather`.

  Args:
    g: [b, n, c] the cotangent of the features.
    first, fx, fy: as above.
    shape: of the planes.

  Returns:
    The cotangent of the planes, of that shape.
  """
  b, p, h, w, c = shape
  rows = _rows(first, b, p * h * w).reshape(-1)
  rows, order = jax.lax.sort((rows, jnp.arange(rows.size, dtype=rows.dtype)), num_keys=1)
  # What belongs to a place is put together in the places' order; nothing large is sorted.
  of_points = g.reshape(-1, c).at[order // p].get(mode='promise_in_bounds')
  of_places = _weights(fx, fy).reshape(-1, 4).at[order].get(mode='promise_in_bounds')
  updates = (of_places[..., None] * of_points[:, None]).reshape(-1, 4 * c)
  table = jnp.zeros((b * p * h * w, 4 * c), g.dtype)
  table = table.at[rows].add(updates, indices_are_sorted=True, mode='promise_in_bounds')
  parts = jnp.split(table.reshape(b, p * h * w, 4 * c), 4, axis=-1)
  flat = sum(_shifted(part, offset) for part, offset in zip(parts, _offsets(w), strict=True))
  return flat.reshape(shape)


def _weights(fx, fy):
  """Of the four pixels, [b, n, p, 4]."""
  return jnp.stack([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx], axis=-1)


def _rows(first, b, size):
  """Places of positions in the tables of all images."""
  if b == 1:
    return first
  return first + size * jnp.arange(b, dtype=first.dtype)[:, None, None]


def _shifted(flat, by: int):
  """Rows [b, m, c] moved down by so many places; zeros come in, which nothing uses."""
  edges = (max(by, 0), max(-by, 0))
  moved = jnp.pad(flat, ((0, 0), edges, (0, 0)))
  return moved[:, max(-by, 0) : moved.shape[1] - max(by, 0)]
