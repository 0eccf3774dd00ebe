"""KID against brute force, and against the exact MMD² of simple distributions."""

import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.evaluation import kid


def _brute_force(x, y):
  def k(a, b):
    return (float(np.dot(a, b)) / len(a) + 1) ** 3

  n, m = len(x), len(y)
  same_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
  same_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
  return same_x + same_y - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_brute_force():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((9, 4)).astype(np.float32)
  y = rng.standard_normal((7, 4)).astype(np.float32) + 1
  expected = _brute_force(x.astype(np.float64), y.astype(np.float64))
  assert kid.unbiased_mmd2(x, y) == pytest.approx(expected, rel=1e-12)


def test_subsets_that_are_the_whole_need_no_luck():
  rng = np.random.default_rng(0)
  x, y = rng.standard_normal((2, 8, 3))
  found = kid.kid(x, y, subsets=3, subset_size=8)
  assert found.mean == pytest.approx(_brute_force(x, y), rel=1e-10)
  assert found.std == pytest.approx(0, abs=1e-12)
  mean, standard_error, std = kid.kid(x, y, subsets=1, subset_size=8)
  assert mean == pytest.approx(found.mean) and np.isnan(standard_error) and np.isnan(std)


# Points in the plane, and how likely two distributions choose them.
_POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
_P, _Q = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.1, 0.3, 0.2, 0.4])


def _monte_carlo(p, q, size, repeats=4000, seed=0):
  rng = np.random.default_rng(seed)
  draws = (_POINTS[rng.choice(4, (repeats, size), p=each)] for each in (p, q))
  values = [kid.unbiased_mmd2(x, y) for x, y in zip(*draws, strict=True)]
  return np.mean(values), np.std(values) / np.sqrt(repeats)


@pytest.mark.parametrize('size', [2, 5, 20])
def test_unbiased_at_any_size(size):
  # MMD² = (p − q)ᵀ K (p − q), with K of the four points.
  kernel = (_POINTS @ _POINTS.T / 2 + 1) ** 3
  expected = (_P - _Q) @ kernel @ (_P - _Q)
  mean, error = _monte_carlo(_P, _Q, size)
  assert abs(mean - expected) < 4 * error and error < 0.3 * expected


def test_the_same_distribution_gives_zero_on_average_and_below_zero_at_times():
  mean, error = _monte_carlo(_P, _P, 5)
  assert abs(mean) < 4 * error
  rng = np.random.default_rng(0)
  x, y = (_POINTS[rng.choice(4, 4000, p=_P)] for _ in range(2))
  found = kid.kid(x, y, subsets=200, subset_size=20)
  assert abs(found.mean) < 5 * found.standard_error + 0.01


def test_the_mean_of_subsets_is_near_the_whole():
  rng = np.random.default_rng(0)
  kernel = (_POINTS @ _POINTS.T / 2 + 1) ** 3
  expected = (_P - _Q) @ kernel @ (_P - _Q)
  x, y = _POINTS[rng.choice(4, 20_000, p=_P)], _POINTS[rng.choice(4, 20_000, p=_Q)]
  found = kid.kid(x, y, subsets=400, subset_size=50)
  assert abs(found.mean - expected) < 5 * found.standard_error
  assert found.standard_error == pytest.approx(found.std / 20, rel=1e-12)


def test_the_standard_error_is_that_of_means_of_subsets():
  rng = np.random.default_rng(0)
  x, y = rng.standard_normal((2, 3000, 4))
  runs = [kid.kid(x, y, subsets=25, subset_size=20, seed=seed) for seed in range(60)]
  spread = np.std([run.mean for run in runs], ddof=1)
  # Of 60 values a standard deviation is known to 9 %.
  assert spread == pytest.approx(np.mean([run.standard_error for run in runs]), rel=0.3)


def test_figures_of_known_subsets(monkeypatch):
  values = iter([1.0, 2.0, 3.0, 6.0])
  monkeypatch.setattr(kid, 'unbiased_mmd2', lambda x, y: next(values))
  found = kid.kid(np.zeros((9, 2)), np.zeros((9, 2)), subsets=4, subset_size=3)
  # Squares around the mean 3: 4, 1, 0, 9.
  assert found == pytest.approx((3.0, np.sqrt(14 / 3) / 2, np.sqrt(14 / 3)))


def test_subsets_have_no_image_twice(monkeypatch):
  seen = []
  monkeypatch.setattr(kid, 'unbiased_mmd2', lambda x, y: seen.append((x, y)) or 0.0)
  x, y = np.arange(20.0)[:, None], np.arange(30.0)[:, None]
  kid.kid(x, y, subsets=5, subset_size=15)
  for pair in seen:
    for subset, size in zip(pair, (20, 30), strict=True):
      assert len(np.unique(subset)) == 15 and subset.max() < size
  assert len({subset.tobytes() for pair in seen for subset in pair}) == 10


def test_a_seed_is_a_figure():
  rng = np.random.default_rng(0)
  x, y = rng.standard_normal((2, 60, 3))
  options = {'subsets': 4, 'subset_size': 10}
  assert kid.kid(x, y, **options, seed=1) == kid.kid(x, y, **options, seed=1)
  assert kid.kid(x, y, **options, seed=1) != kid.kid(x, y, **options, seed=2)


def test_small_differences_far_from_zero_are_kept():
  # Sums near 1e5, a difference of 1e-3: lost in float32.
  rng = np.random.default_rng(0)
  x = (rng.standard_normal((40, 6)) * 0.01 + 6).astype(np.float32)
  y = (rng.standard_normal((40, 6)) * 0.01 + 6.001).astype(np.float32)
  expected = _brute_force(x.astype(np.longdouble), y.astype(np.longdouble))
  assert kid.unbiased_mmd2(x, y) == pytest.approx(expected, rel=1e-4)


def test_too_few_images_are_named():
  x, y = np.zeros((10, 2)), np.zeros((30, 2))
  with pytest.raises(UserError, match='11 images.*10 photos and 30 generated.*subset_size=5'):
    kid.kid(x, y, subset_size=11)
  with pytest.raises(UserError, match='two images or more'):
    kid.kid(x, y, subset_size=1)
  with pytest.raises(UserError, match='a subset or more'):
    kid.kid(x, y, subsets=0, subset_size=5)
  with pytest.raises(UserError, match='2 dimensions do not compare with features of 3'):
    kid.kid(x, np.zeros((30, 3)), subset_size=5)
  y[3, 1] = np.nan
  with pytest.raises(UserError, match='not finite'):
    kid.kid(x, y, subset_size=5)
