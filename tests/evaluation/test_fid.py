"""The Fréchet distance against closed forms and against SciPy's matrix square root."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from jax3dgan.errors import UserError
from jax3dgan.evaluation import fid
from jax3dgan.evaluation.statistics import Statistics


def _statistics(mean, covariance, count=1000):
  mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
  return Statistics(count, mean, covariance * (count - 1))


def _random(dims, rank=None, seed=0):
  rng = np.random.default_rng(seed)
  factor = rng.standard_normal((dims, rank or dims))
  return _statistics(rng.standard_normal(dims), factor @ factor.T)


def _rotation(dims, seed=0):
  return np.linalg.qr(np.random.default_rng(seed).standard_normal((dims, dims)))[0]


def test_one_dimension():
  # (μa − μb)² + (σa − σb)².
  a, b = _statistics([1.0], [[4.0]]), _statistics([3.0], [[25.0]])
  assert fid.frechet_distance(a, b) == pytest.approx(4 + 9, rel=1e-12)


def test_diagonal():
  a = _statistics([0, 0, 1], np.diag([1.0, 4.0, 9.0]))
  b = _statistics([0, 2, 0], np.diag([9.0, 4.0, 0.25]))
  expected = 5 + (1 - 3) ** 2 + 0 + (3 - 0.5) ** 2
  assert fid.frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_covariances_that_commute():
  # With common eigenvectors the distance is that of the eigenvalues' roots.
  q = _rotation(6)
  rng = np.random.default_rng(1)
  u, v = rng.uniform(0, 3, (2, 6))
  a = _statistics(np.zeros(6), q * u**2 @ q.T)
  b = _statistics(np.ones(6), q * v**2 @ q.T)
  assert fid.frechet_distance(a, b) == pytest.approx(6 + np.sum((u - v) ** 2), rel=1e-10)


def test_rank_deficient():
  # Lines u·N and v·N: tr (uuᵀ vvᵀ)^½ = |u·v|.
  rng = np.random.default_rng(0)
  u, v = rng.standard_normal((2, 8))
  a, b = (_statistics(np.zeros(8), np.outer(x, x)) for x in (u, v))
  expected = u @ u + v @ v - 2 * abs(u @ v)
  assert fid.frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
  # Against a point only its own variance is left.
  point = _statistics(np.zeros(8), np.zeros((8, 8)))
  assert fid.frechet_distance(a, point) == pytest.approx(u @ u, rel=1e-12)
  # Orthogonal subspaces.
  p, q = np.diag([2.0] * 4 + [0.0] * 4), np.diag([0.0] * 4 + [3.0] * 4)
  a, b = (_statistics(np.zeros(8), x) for x in (p, q))
  assert fid.frechet_distance(a, b) == pytest.approx(20, rel=1e-12)


@pytest.mark.parametrize('rank', [None, 5, 1])
def test_equal_ones_are_at_zero(rank):
  a = _random(16, rank)
  distance = fid.frechet_distance(a, a)
  assert 0 <= distance < 2e-6 * np.trace(a.covariance())


@pytest.mark.parametrize('seed', range(4))
def test_matches_the_matrix_square_root(seed):
  a, b = _random(24, seed=seed), _random(24, seed=seed + 10)
  root = scipy.linalg.sqrtm(a.covariance() @ b.covariance())
  expected = np.sum((a.mean - b.mean) ** 2)
  expected += np.trace(a.covariance() + b.covariance() - 2 * np.real(root))
  assert fid.frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


@given(
  dims=st.integers(1, 9),
  ranks=st.tuples(st.integers(1, 9), st.integers(1, 9)),
  seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_symmetric_and_the_same_in_any_basis(dims, ranks, seed):
  a, b = (_random(dims, min(rank, dims), seed + i) for i, rank in enumerate(ranks))
  distance = fid.frechet_distance(a, b)
  scale = np.trace(a.covariance()) + np.trace(b.covariance())
  assert distance >= 0
  assert fid.frechet_distance(b, a) == pytest.approx(distance, abs=1e-6 * scale)
  q = _rotation(dims, seed)
  turned = (_statistics(q @ x.mean, q @ x.covariance() @ q.T) for x in (a, b))
  assert fid.frechet_distance(*turned) == pytest.approx(distance, abs=1e-6 * scale)
  # Features in other units: the distance is a squared length.
  scaled = (_statistics(3 * x.mean, 9 * x.covariance()) for x in (a, b))
  assert fid.frechet_distance(*scaled) == pytest.approx(9 * distance, abs=1e-5 * scale)


def test_a_shift_of_all_images():
  data = np.random.default_rng(0).standard_normal((50, 6))
  shift = np.arange(6.0)
  a, b = Statistics.of(data), Statistics.of(data + shift)
  assert fid.frechet_distance(a, b) == pytest.approx(shift @ shift, rel=1e-6)
  assert fid.frechet_distance(b, a) == pytest.approx(shift @ shift, rel=1e-6)


def test_samples_come_near_the_distance_of_their_distributions():
  rng = np.random.default_rng(0)
  a = Statistics.of(rng.standard_normal((100_000, 3)) * [1, 2, 3] + [1, 0, 0])
  b = Statistics.of(rng.standard_normal((100_000, 3)) * [2, 2, 1])
  # Standard deviation of an estimate: about 2·√6·std/√n of the terms, 0.03 at most.
  assert fid.frechet_distance(a, b) == pytest.approx(1 + 1 + 0 + 4, abs=0.1)


def test_too_few_images_are_named_with_the_remedy():
  rng = np.random.default_rng(0)
  enough, few = (Statistics.of(rng.standard_normal((n, 5))) for n in (6, 5))
  fid.frechet_distance(enough, enough)
  for pair in ((enough, few), (few, enough)):
    with pytest.raises(UserError, match='more than 5 images, there are 5.*eval.num_images=6 or'):
      fid.frechet_distance(*pair)
  assert fid.too_few(2049, 2048) == ''
  text = fid.too_few(2048, 2048)
  assert 'more than 2,048 images, there are 2,048' in text
  assert 'eval.num_images=2049' in text and text.endswith('--config.eval.dims=768.')
  assert 'dims' not in fid.too_few(700, 768) + fid.too_few(700, 2048)
  assert 'num_real=0' in fid.too_few(700, 768, photos=True)
  assert 'num_real' not in (text := fid.too_few(700, 768, photos=True, is_all=True))
  assert 'data.num_images=0' in text


def test_bad_statistics_are_named():
  a = _random(4)
  with pytest.raises(UserError, match='4 dimensions do not compare with features of 5'):
    fid.frechet_distance(a, _random(5))
  for bad in (
    _statistics([0, 0, np.nan, 0], np.eye(4)),
    _statistics(np.zeros(4), np.full((4, 4), np.inf)),
  ):
    with pytest.raises(UserError, match='not finite'):
      fid.frechet_distance(a, bad)
