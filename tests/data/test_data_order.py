"""The order of reading: bijective, stateless, the same on host and device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax3dgan.data import order

FROZEN_ORDER = [0, 4, 8, 7, 9, 2, 1, 5, 3, 6]
FROZEN_FLIPS = [0, 0, 0, 1, 0, 1, 0, 1, 1, 1]
SEEDS = st.integers(-(2**63), 2**64)


@given(size=st.integers(1, 400), seed=SEEDS, epoch=st.integers(0, 2**40))
@settings(max_examples=60, deadline=None)
def test_every_epoch_visits_every_image_once(size, seed, epoch):
  indices = order.shuffled_index(epoch * size + np.arange(size), size, seed)
  np.testing.assert_array_equal(np.sort(indices), np.arange(size))


@pytest.mark.parametrize('size', [65_536, 100_003])
def test_bijection_of_larger_sets(size):
  indices = order.shuffled_index(np.arange(size), size, 1)
  assert np.bincount(indices, minlength=size).max() == 1


@given(size=st.integers(1, 2**31), seed=SEEDS, position=st.integers(0, 2**62))
@settings(max_examples=100, deadline=None)
def test_index_is_in_range_and_pure(size, seed, position):
  index = order.shuffled_index(position, size, seed)
  assert index.dtype == np.uint32 and index.shape == () and 0 <= index < size
  assert index == order.shuffled_index(np.array([[position]]), size, seed)[0, 0]
  assert index == order.shuffled_index(order.split(position, size), size, seed)


@functools.cache
def _on_device(size, seed):
  def fn(epoch, offset):
    place = epoch, offset
    return (
      order.shuffled_index(place, size, seed, jnp),
      order.flipped(place, size, seed, jnp),
    )

  return jax.jit(fn)


@given(
  size_and_seed=st.sampled_from([(1, 0), (7, 1), (7007, -5), (2**31, 2)]),
  position=st.integers(0, 2**45),
)
@settings(max_examples=80, deadline=None)
def test_numpy_and_jit_agree(size_and_seed, position):
  size, seed = size_and_seed
  positions = position + np.arange(64)
  index, flip = _on_device(size, seed)(*order.split(positions, size))
  np.testing.assert_array_equal(index, order.shuffled_index(positions, size, seed))
  np.testing.assert_array_equal(flip, order.flipped(positions, size, seed))


@pytest.mark.parametrize('position', [0, 2**31 - 8, 2**31 + 5, 2**32 - 16])
def test_traced_scalar_positions_up_to_32_bits(position):
  # As a step in int32 that is multiplied inside the compiled step: it may overflow once.
  traced = jnp.asarray(np.uint32(position).astype(np.int32))
  fn = jax.jit(lambda p: order.shuffled_index(order.batch(p, 16, 777, jnp), 777, 4, jnp))
  expected = order.shuffled_index(position + np.arange(16), 777, 4)
  np.testing.assert_array_equal(fn(traced), expected)
  np.testing.assert_array_equal(fn(traced.astype(jnp.uint32)), expected)


@given(
  size=st.integers(1, 50),
  position=st.integers(0, 2**50),
  batch_size=st.integers(1, 20),
  num_hosts=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_hosts_share_a_batch_and_epochs_may_end_within(size, position, batch_size, num_hosts):
  whole = order.shuffled_index(position + np.arange(batch_size * num_hosts), size, 3)
  parts = [
    order.shuffled_index(order.batch(position, batch_size, size, start=host * batch_size), size, 3)
    for host in range(num_hosts)
  ]
  np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_epochs_and_seeds_differ():
  size = 1000
  first = order.shuffled_index(np.arange(size), size, 0)
  for other in (
    order.shuffled_index(size + np.arange(size), size, 0),
    order.shuffled_index(np.arange(size), size, 1),
    order.shuffled_index(np.arange(size), size, 2**32),
    np.arange(size),
  ):
    # Two random permutations agree in one place on average.
    assert np.sum(first == other) < 10


def test_every_epoch_in_the_order_of_the_first():
  size = 97
  positions = np.arange(size)
  first = order.shuffled_index(positions, size, 3)
  for epoch in (0, 1, 2**33):
    later = order.shuffled_index(epoch * size + positions, size, 3, same_order=True)
    np.testing.assert_array_equal(later, first)
  # A batch that crosses into the next epoch, in NumPy and compiled.
  fn = jax.jit(lambda p: order.shuffled_index(order.batch(p, 16, size, jnp), size, 3, jnp, True))
  np.testing.assert_array_equal(fn(size - 9), first[np.arange(size - 9, size + 7) % size])


@pytest.mark.parametrize('size', [6, 24, 97])
def test_each_image_is_equally_likely_at_each_place(size):
  num_epochs = 4000
  positions = np.arange(num_epochs * size)
  indices = order.shuffled_index(positions, size, 11).reshape(num_epochs, size)
  counts = np.stack([np.bincount(column, minlength=size) for column in indices.T])
  expected = num_epochs / size
  chi2 = np.sum((counts - expected) ** 2) / expected
  freedom = (size - 1) ** 2
  # Five standard deviations of a chi-squared variable.
  assert chi2 < freedom + 5 * np.sqrt(2 * freedom)


def test_neighbours_are_unrelated():
  size = 10_000
  indices = order.shuffled_index(np.arange(size), size, 5).astype(float)
  for lag in (1, 2, 100):
    correlation = np.corrcoef(indices[:-lag], indices[lag:])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(size)


def test_flips_are_fair_and_independent():
  size, count = 1000, 40_000
  flips = order.flipped(np.arange(count), size, 7)
  assert abs(flips.mean() - 0.5) < 5 * 0.5 / np.sqrt(count)
  # From epoch to epoch, and from seed to seed, an image is flipped half of the time.
  by_epoch = flips.reshape(-1, size)
  assert abs(np.mean(by_epoch[:-1] == by_epoch[1:]) - 0.5) < 0.02
  assert abs(np.mean(flips == order.flipped(np.arange(count), size, 8)) - 0.5) < 0.02


def test_bad_arguments():
  with pytest.raises(ValueError, match='not negative'):
    order.shuffled_index(-1, 5, 0)
  for size in (0, 2**31 + 1):
    with pytest.raises(ValueError, match='between 1 and'):
      order.shuffled_index(0, size, 0)


def test_the_order_never_changes():
  # A run that is resumed with a newer version must go on with the same images.
  np.testing.assert_array_equal(order.shuffled_index(np.arange(10), 10, 0), FROZEN_ORDER)
  np.testing.assert_array_equal(order.flipped(np.arange(10), 10, 0), FROZEN_FLIPS)
