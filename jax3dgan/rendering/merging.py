"""Two sets of samples along rays, in ascending depth.

Colours are not reordered, since they are large: a pixel is a sum over samples, so the weights are
brought into the order of the colours (`Merged.apart`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.nn.cpu.sorting import ascending_order, permuted


class Merged(NamedTuple):
  """Samples a [..., m] and b [..., n] of each ray as one ascending row.

  Attributes:
    depths: [..., m + n] ascending; equal ones in the order a, b.
    order: [..., m + n] which sample of (a, b) is at each place.
    places: [..., m + n] at which place each sample of (a, b) is.
  """

  depths: jax.Array
  order: jax.Array
  places: jax.Array

  def together(self, a, b):
    """Values [..., m(, c)] and [..., n(, c)] → [..., m + n(, c)] in ascending depth."""
    return permuted(jnp.concatenate([a, b], axis=self.order.ndim - 1), self.order, self.places)

  def apart(self, values):
    """Values [..., m + n] in ascending depth → those of a, then those of b, [..., m + n]."""
    return permuted(values, self.places, self.order)


def merge(a, b) -> Merged:
  """Merges depths a [..., m] and b [..., n]; neither need be sorted."""
  both = jnp.concatenate([a, b], axis=-1)
  order, places = ascending_order(both)
  return Merged(permuted(both, order, places), order, places)
