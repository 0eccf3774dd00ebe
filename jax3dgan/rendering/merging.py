"""Two sets of samples along rays, brought into ascending depth.

Sorting is by counting: a sample's place is how many lie before it. For the 16 to 96 samples of a
ray XLA's sort takes a CPU longer (accelerators: not measured), and the inverse, which gradients
need, comes with it. What is large stays where it is: a pixel is a sum over samples, so the weights
are brought to the colours (`Merged.apart`), not the colours into the order of the weights.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Merged(NamedTuple):
  """Samples a [..., m] and b [..., n] of each ray as one ascending row.

  Attributes:
    depths: [..., m + n] ascending; equal ones in the order a, b.
    order: [..., m + n] which sample of (a, b) lies at each place.
    places: [..., m + n] at which place each sample of (a, b) lies.
  """

  depths: jax.Array
  order: jax.Array
  places: jax.Array

  def together(self, a, b):
    """Values [..., m(, c)] and [..., n(, c)] → [..., m + n(, c)] in ascending depth."""
    return _reordered(jnp.concatenate([a, b], axis=self.order.ndim - 1), self.order, self.places)

  def apart(self, values):
    """Values [..., m + n] in ascending depth → those of a, then those of b, [..., m + n]."""
    return _reordered(values, self.places, self.order)


def merge(a, b) -> Merged:
  """Merges depths a [..., m] and b [..., n]; neither need be sorted."""
  both = jnp.concatenate([a, b], axis=-1)
  index = jnp.arange(both.shape[-1], dtype=jnp.int32)
  one, other = both[..., :, None], both[..., None, :]
  before = (other < one) | ((other == one) & (index < index[:, None]))
  places = jnp.sum(before, axis=-1, dtype=jnp.int32)
  # The inverse permutation, by counting as well.
  order = jnp.sum(
    jnp.where(places[..., None, :] == index[:, None], index, 0), axis=-1, dtype=jnp.int32
  )
  return Merged(_reordered(both, order, places), order, places)


@jax.custom_vjp
def _reordered(x, order, inverse):
  """x [..., n(, c)] in the order [..., n]."""
  del inverse
  index = order if x.ndim == order.ndim else order[..., None]
  return jnp.take_along_axis(x, index, axis=order.ndim - 1)


def _reordered_forward(x, order, inverse):
  return _reordered(x, order, inverse), (order, inverse)


def _reordered_backward(saved, g):
  # The transpose of a permutation is its inverse; autodiff would scatter.
  order, inverse = saved
  return _reordered(g, inverse, order), None, None


_reordered.defvjp(_reordered_forward, _reordered_backward)
