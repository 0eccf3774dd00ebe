"""Several fields along the same rays: which samples are in a field's box, and how fields are
composed by their densities (GIRAFFE, Niemeyer & Geiger, CVPR 2021, arXiv 2011.12100, Sec. 3.2,
eq. 8).

A small box holds few of a ray's samples, and they follow each other: a window of them. A field is
evaluated in its window alone, whose length is the same for all rays. Pure functions of arrays.
"""

import math

import jax.numpy as jnp

from jax3dgan.errors import UserError

MODES = ('sum', 'max')
_SLACK = 1e-4  # share of the box: a sample on its face is never left out by rounding


def window_size(diagonal: float, near: float, far: float, num_samples: int) -> int:
  """At most so many of a ray's samples are in a box.

  Args:
    diagonal: the longest way through the box, world units.
    near, far, num_samples: of the strata, one sample in each ('between' of
      `sampling.stratified_depths`).
  """
  step = (far - near) / max(num_samples - 1, 1)
  return min(math.floor(diagonal / step * (1 + 2 * _SLACK)) + 2, num_samples)


def window_start(origins, directions, distances, side: float, size: int):
  """The number [...] of the first sample of each ray's window.

  Args:
    origins, directions: [..., 3] of rays in the box's axes.
    distances: [..., s] of the samples, ascending, in lengths of `directions`.
    side: the box is ± this along each axis.
    size: samples of a window.
  """
  directions = jnp.where(jnp.abs(directions) < 1e-9, 1e-9, directions)
  side = side * (1 + _SLACK)
  ends = (-side - origins) / directions, (side - origins) / directions
  enters = jnp.max(jnp.minimum(*ends), axis=-1, keepdims=True)
  before = jnp.sum(distances < enters, axis=-1)
  return jnp.minimum(before, distances.shape[-1] - size)


def to_window(x, start, size: int):
  """[..., s] → [..., size] from `start` [...] on."""
  return _rolled(x, start, x.shape[-1] - size, -1)[..., :size]


def from_window(x, start, num_samples: int):
  """[..., size] → [..., num_samples], zeros outside of the window."""
  size = x.shape[-1]
  x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, num_samples - size)])
  return _rolled(x, start, num_samples - size, 1)


def _rolled(x, amount, largest: int, sign: int):
  """x [..., s] rolled by amount [...] of at most `largest`: by powers of two, chosen bit by bit.

  CPUs and TPUs gather one number after another, and scatter them in the gradient.
  """
  for bit in range(largest.bit_length()):
    chosen = (amount >> bit) & 1 == 1
    x = jnp.where(chosen[..., None], jnp.roll(x, sign * (1 << bit), axis=-1), x)
  return x


def compose(densities, mode: str = 'sum'):
  """The density [b, ...] of all fields together, and each field's share [b, n, ...] of it.

  Args:
    densities: [b, n, ...] non-negative, of n fields.
    mode: 'sum': densities add up, and what is seen of a point is the fields' mean, weighted by
      them; 'max': the densest field stands for all.

  Returns:
    The shares sum to 1 where there is a density, and are 0 elsewhere.
  """
  if mode == 'max':
    index = jnp.argmax(densities, axis=1, keepdims=True)
    number = jnp.arange(densities.shape[1]).reshape(-1, *[1] * (densities.ndim - 2))
    return jnp.max(densities, axis=1), (number == index).astype(densities.dtype)
  if mode != 'sum':
    raise UserError(f"No composition is called '{mode}'. Choose one of {', '.join(MODES)}.")
  total = jnp.sum(densities, axis=1)
  return total, densities / jnp.where(total == 0, 1.0, total)[:, None]
