"""Moments in batches are those of all the data at once, whatever the batches."""

import itertools

import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.evaluation import statistics
from jax3dgan.evaluation.statistics import Collected, Statistics


def _data(n=500, dims=7, mean=0.0, seed=0):
  rng = np.random.default_rng(seed)
  return rng.standard_normal((n, dims)) @ rng.standard_normal((dims, dims)) + mean


def _in_batches(data, sizes):
  result = Statistics.empty(data.shape[1])
  bounds = [0, *itertools.accumulate(sizes)]
  assert bounds[-1] == len(data)
  for begin, end in itertools.pairwise(bounds):
    result = result.update(data[begin:end])
  return result


def _assert_same(a, b, rtol=1e-12):
  assert a.count == b.count
  scale = np.abs(b.scatter).max()
  np.testing.assert_allclose(a.scatter, b.scatter, rtol=0, atol=rtol * scale)
  spread = np.sqrt(scale / b.count)
  np.testing.assert_allclose(a.mean, b.mean, rtol=rtol, atol=rtol * spread)


@pytest.mark.parametrize('sizes', [[500], [1, 499], [0, 100, 0, 400], [1] * 500, [64] * 7 + [52]])
def test_moments_are_those_of_numpy_whatever_the_batches(sizes):
  data = _data()
  found = _in_batches(data, sizes)
  assert found.count == 500 and found.dims == 7
  np.testing.assert_allclose(found.mean, data.mean(0), rtol=1e-12, atol=1e-13)
  expected = np.cov(data, rowvar=False)
  np.testing.assert_allclose(found.covariance(), expected, rtol=0, atol=1e-12 * expected.max())
  np.testing.assert_array_equal(found.covariance(), found.covariance().T)


def test_order_does_not_matter():
  data = _data()
  shuffled = np.random.default_rng(1).permutation(data)
  _assert_same(_in_batches(shuffled, [3] * 100 + [200]), _in_batches(data, [500]))


def test_integers_far_from_zero_have_an_exact_answer():
  # 1e6 ± 1 in each dimension: the naive E[x²] − E[x]² loses all but four digits of it.
  signs = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
  data = np.tile(signs, (125, 1)) + 1e6
  for found in (Statistics.of(data), _in_batches(data, [10] * 100)):
    np.testing.assert_allclose(found.mean, [1e6] * 3, rtol=1e-15)
    np.testing.assert_allclose(found.scatter, 1000 * np.eye(3), atol=1e-6)
  # float32 holds 1e6 ± 1 exactly.
  single = _in_batches(data.astype(np.float32), [10] * 100)
  np.testing.assert_allclose(single.scatter, 1000 * np.eye(3), atol=1e-6)


def test_normal_data_with_a_mean_of_a_million():
  data = np.random.default_rng(0).standard_normal((4000, 5)) + 1e6
  expected = np.cov(data - 1e6, rowvar=False)  # the difference is exact
  for found in (_in_batches(data, [64] * 62 + [32]), _in_batches(data, [4000])):
    np.testing.assert_allclose(found.covariance(), expected, atol=1e-9)


def test_merging_is_adding_whatever_the_split():
  data = _data(mean=3.0)
  whole = Statistics.of(data)
  for cut in (1, 2, 250, 499):
    a, b = Statistics.of(data[:cut]), Statistics.of(data[cut:])
    _assert_same(a.merge(b), whole)
    _assert_same(b.merge(a), whole)
  parts = [Statistics.of(part) for part in np.array_split(data, 9)]
  left = parts[0]
  for part in parts[1:]:
    left = left.merge(part)
  _assert_same(left, whole)
  empty = Statistics.empty(7)
  assert empty.merge(whole) is whole and whole.merge(empty) is whole


def test_statistics_are_not_changed_by_updates():
  first = Statistics.of(_data(20))
  mean, scatter = first.mean.copy(), first.scatter.copy()
  first.update(_data(20, seed=1))
  first.merge(Statistics.of(_data(20, seed=2)))
  np.testing.assert_array_equal(first.mean, mean)
  np.testing.assert_array_equal(first.scatter, scatter)


def test_bad_features_are_named():
  empty = Statistics.empty(7)
  for features in (np.zeros((3, 6)), np.zeros(7), np.zeros((2, 3, 7))):
    with pytest.raises(UserError, match=r'not \[n, 7\]'):
      empty.update(features)
  with pytest.raises(UserError, match='not floating-point'):
    empty.update(np.zeros((3, 7), int))
  for value in (np.nan, np.inf):
    features = np.zeros((3, 7))
    features[1, 2] = value
    with pytest.raises(UserError, match='1 of 3 images are not finite'):
      empty.update(features)
  with pytest.raises(UserError, match='6 dimensions do not compare with features of 7'):
    Statistics.empty(6).merge(empty)
  with pytest.raises(UserError, match='needs two images, there are 1'):
    Statistics.of(np.zeros((1, 7))).covariance()


def test_collected_keeps_the_first_and_counts_all(monkeypatch):
  monkeypatch.setattr(statistics, '_BLOCK', 32)
  data = _data().astype(np.float32)
  for keep in (0, 1, 10, 64, 500, 600):
    collected = Collected(7, keep)
    for i in range(0, 500, 9):
      collected.update(data[i : i + 9])
      if i == 90:  # looking in between changes nothing
        assert collected.statistics.count == 99
        assert len(collected.features) == min(keep, 99)
    np.testing.assert_array_equal(collected.features, data[:keep])
    assert collected.features.dtype == np.float32
    _assert_same(collected.statistics, Statistics.of(data))


def test_collected_does_not_hold_on_to_the_callers_buffer():
  collected, buffer = Collected(2, 3), np.ones((2, 2), np.float32)
  collected.update(buffer)
  buffer[:] = 9
  np.testing.assert_array_equal(collected.features, np.ones((2, 2)))
  np.testing.assert_array_equal(collected.statistics.mean, [1, 1])


def test_files_give_back_what_was_written(tmp_path):
  collected = Collected(7, 20)
  collected.update(_data().astype(np.float32))
  np.savez(tmp_path / 'x.npz', **collected.to_npz())
  for keep in (0, 5, 20):
    with np.load(tmp_path / 'x.npz', allow_pickle=False) as arrays:
      found = Collected.from_npz(arrays, keep)
    assert found.statistics.count == 500
    np.testing.assert_array_equal(found.statistics.mean, collected.statistics.mean)
    np.testing.assert_array_equal(found.statistics.scatter, collected.statistics.scatter)
    np.testing.assert_array_equal(found.features, collected.features[:keep])
  arrays = dict(collected.to_npz())
  with pytest.raises(ValueError, match='features of 20 images, 21 are wanted'):
    Collected.from_npz(arrays, 21)


@pytest.mark.parametrize(
  'change',
  [
    {'count': np.int64(-1)},
    {'count': np.float64(3)},
    {'mean': np.zeros(6)},
    {'mean': np.full(7, np.nan)},
    {'scatter': np.zeros((7, 7), np.float32)},
    {'features': np.zeros((20, 6), np.float32)},
    {'features': np.full((20, 7), np.inf, np.float32)},
  ],
)
def test_other_arrays_are_refused(change):
  collected = Collected(7, 20)
  collected.update(_data().astype(np.float32))
  arrays = collected.to_npz()
  Collected.from_npz(arrays, 20)
  with pytest.raises(ValueError):
    Collected.from_npz({**arrays, **change}, 20)
  (name,) = change
  del arrays[name]
  with pytest.raises(ValueError):
    Collected.from_npz(arrays, 20)
