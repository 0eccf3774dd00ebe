"""Samples of two passes in one ascending row, and back."""

import jax
import jax.numpy as jnp
import numpy as np
import x64
from jax.test_util import check_grads

from jax3dgan.rendering import compositing, merging


def sets(equal=False):
  rng = np.random.default_rng(0)
  a, b = rng.uniform(size=(3, 4, 5)), np.sort(rng.uniform(size=(3, 4, 6)))
  return (np.round(a, 1), np.round(b, 1)) if equal else (a, b)


def test_samples_are_sorted_and_keep_their_values():
  a, b = sets()

  def values(depths):
    return {'raw': depths * 2, 'colour': np.stack([depths, depths + 1, -depths], -1)}

  merged = x64.jit(merging.merge)(a, b)
  np.testing.assert_array_equal(merged.depths, np.sort(np.concatenate([a, b], -1)))
  every = {
    name: x64.jit(lambda m, x, y: m.together(x, y))(merged, values(a)[name], values(b)[name])
    for name in values(a)
  }
  for name, expected in values(np.asarray(merged.depths)).items():
    np.testing.assert_array_equal(every[name], expected)


def test_equal_depths_keep_the_order_of_their_sets():
  a, b = sets(equal=True)
  merged = x64.jit(merging.merge)(a, b)
  both = np.concatenate([a, b], -1)
  order = np.argsort(both, -1, kind='stable')
  assert (np.diff(np.sort(both)) == 0).any()
  np.testing.assert_array_equal(merged.order, order)
  np.testing.assert_array_equal(merged.places, np.argsort(order, -1))


def test_apart_undoes_together():
  a, b = sets()

  @jax.jit
  def there_and_back(a, b):
    merged = merging.merge(a, b)
    return merged.apart(merged.together(a, b))

  np.testing.assert_array_equal(there_and_back(a, b), np.float32(np.concatenate([a, b], -1)))


def test_gradients_go_to_the_samples_that_they_came_from():
  a, b = sets()
  rng = np.random.default_rng(1)
  raw, more = rng.standard_normal(a.shape), rng.standard_normal(b.shape)
  colour, more_colour = rng.uniform(size=(*a.shape, 3)), rng.uniform(size=(*b.shape, 3))

  def pixel(raw, more, colour, more_colour):
    merged = merging.merge(jnp.asarray(a), jnp.asarray(b))
    return compositing.march_midpoints(
      merged.together(raw, more), (colour, more_colour), merged.depths, merged=merged
    ).colour

  with jax.enable_x64(True):
    check_grads(jax.jit(pixel), (raw, more, colour, more_colour), order=2, modes=['rev'])


def test_a_pixel_of_two_sets_is_that_of_the_sorted_samples():
  a, b = sets()
  rng = np.random.default_rng(2)
  colours = rng.uniform(size=(*a.shape, 3)), rng.uniform(size=(*b.shape, 3))
  weights = rng.uniform(size=(3, 4, 11))

  @x64.jit
  def both(weights, colours):
    merged = merging.merge(a, b)
    return (
      compositing.blend(weights, colours, merged),
      compositing.blend(weights, merged.together(*colours)),
    )

  apart, together = both(weights, colours)
  np.testing.assert_allclose(apart, together, rtol=1e-12)
