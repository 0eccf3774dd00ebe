"""Precision, recall, density and coverage of sets whose answers are known."""

import math

import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.evaluation import precision_recall as pr


def _line(*values):
  return np.array(values, np.float32)[:, None]


def _brute_force(real, fake, k):
  def radius(points, i):
    return sorted(math.dist(points[i], p) for j, p in enumerate(points) if j != i)[k - 1]

  real_radii = [radius(real, i) for i in range(len(real))]
  fake_radii = [radius(fake, i) for i in range(len(fake))]
  inside = [[math.dist(x, y) <= r for x, r in zip(real, real_radii, strict=True)] for y in fake]
  recalled = [
    any(math.dist(x, y) <= r for y, r in zip(fake, fake_radii, strict=True)) for x in real
  ]
  return pr.Figures(
    np.mean([any(row) for row in inside]),
    np.mean(recalled),
    np.sum(inside) / (k * len(fake)),
    np.mean(np.any(inside, axis=0)),
  )


@pytest.mark.parametrize('k', [1, 3])
def test_identical_sets(k):
  points = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
  figures = pr.precision_recall(points, points.copy(), k)
  # Each ball holds its k neighbours and its centre.
  assert figures == pytest.approx((1, 1, (k + 1) / k, 1))


def test_a_point_on_an_edge_is_within(monkeypatch):
  points = np.random.default_rng(0).standard_normal((200, 301)).astype(np.float32)
  figures = pr.precision_recall(points, points[::-1].copy(), 3)
  assert figures == pytest.approx((1, 1, 4 / 3, 1), rel=1e-12)
  # Products of other shapes round a radius and the same distance in different ways.
  monkeypatch.setattr(pr, '_CHUNK', 7)
  some = pr.precision_recall(points, points[3:8], 3)
  assert some == pytest.approx(_brute_force(points, points[3:8], 3))


def test_separated_clusters():
  rng = np.random.default_rng(0)
  real, fake = rng.standard_normal((2, 40, 5))
  assert pr.precision_recall(real, fake + 100, 3) == (0, 0, 0, 0)


def test_points_on_a_line():
  # Real radii (k = 1): 1, 1, 2, 4: balls [−1, 1], [0, 2], [1, 5], [3, 11].
  real = _line(0, 1, 3, 7)
  fake = _line(-3, -1, 4, 12)
  # −3 and 12 are outside, −1 is on the edge of the first, 4 is in the last two. The fakes' own
  # balls, −3 ± 2, −1 ± 2, 4 ± 5 and 12 ± 8, leave out no photo.
  figures = pr.precision_recall(real, fake, 1)
  assert figures == pytest.approx((2 / 4, 1, 3 / 4, 3 / 4))
  # The other way about, precision and recall change places.
  other = pr.precision_recall(fake, real, 1)
  assert (other.precision, other.recall) == (figures.recall, figures.precision)


def test_one_mode_of_two():
  # The generator makes one of two clusters: precise, with half of the photos recalled.
  rng = np.random.default_rng(0)
  cluster = rng.standard_normal((30, 4))
  real = np.concatenate([cluster, cluster + 50])
  figures = pr.precision_recall(real, cluster, 3)
  assert figures == pytest.approx((1, 0.5, 4 / 3, 0.5))
  figures = pr.precision_recall(cluster, real, 3)
  assert figures == pytest.approx((0.5, 1, 2 / 3, 1))


def test_a_lone_photo_spoils_precision_but_not_density():
  # One photo far off has a ball that reaches over everything.
  rng = np.random.default_rng(0)
  real = np.concatenate([rng.standard_normal((99, 2)), [[1000.0, 0.0]]])
  fake = rng.standard_normal((100, 2)) + [500.0, 0.0]
  figures = pr.precision_recall(real, fake, 3)
  assert figures.precision == 1 and figures.coverage == pytest.approx(0.01)
  assert figures.density == pytest.approx(1 / 3)
  # The realism score leaves that ball out.
  assert (pr.realism(real, fake, 3) < 0.1).all()


@pytest.mark.parametrize('shift', [0.0, 0.7])
def test_brute_force_in_chunks(monkeypatch, shift):
  monkeypatch.setattr(pr, '_CHUNK', 7)
  rng = np.random.default_rng(0)
  real, fake = rng.standard_normal((40, 3)), rng.standard_normal((31, 3)) + shift
  assert pr.precision_recall(real, fake, 3) == pytest.approx(_brute_force(real, fake, 3))


def test_a_large_mean_changes_nothing():
  # Steps of 1/64 are exact in float32 up to 2**17; squares of 1e5 are not to be subtracted there.
  rng = np.random.default_rng(0)
  real, fake = (rng.integers(-64, 64, (60, 8)) / 64 for _ in range(2))
  expected = _brute_force(real, fake, 3)
  moved = [(x + 1e5).astype(np.float32) for x in (real, fake)]
  np.testing.assert_array_equal(moved[0] - np.float32(1e5), real)
  assert pr.precision_recall(*moved, 3) == pytest.approx(expected)
  np.testing.assert_allclose(pr.realism(*moved, 3), pr.realism(real, fake, 3), rtol=1e-6)
  assert 0 < expected.precision < 1


def test_duplicates():
  # Photos in fours: balls of radius 0 that only the very photo is in.
  points = np.random.default_rng(0).standard_normal((10, 5)).astype(np.float32)
  real = np.repeat(points, 4, axis=0)
  assert pr.precision_recall(real, real, 3) == pytest.approx((1, 1, 4 / 3, 1))
  near = real + np.float32(1e-3)
  assert pr.precision_recall(real, near, 3) == (0, 0, 0, 0)
  assert np.isinf(pr.realism(real, points, 3)).all()
  np.testing.assert_array_equal(pr.realism(real, near, 3), 0)


def test_one_distribution_has_the_expected_density_and_coverage():
  # E[density] = 1; E[coverage] = 1 − Π (n − i) / (n + m − i), i = 1 … k.
  rng = np.random.default_rng(0)
  n, m, k = 30, 20, 3
  runs = np.array(
    [
      pr.precision_recall(rng.standard_normal((n, 2)), rng.standard_normal((m, 2)), k)
      for _ in range(500)
    ]
  )
  coverage = 1 - np.prod([(n - i) / (n + m - i) for i in range(1, k + 1)])
  for name, expected in (('density', 1.0), ('coverage', coverage)):
    values = runs[:, pr.Figures._fields.index(name)]
    error = values.std() / np.sqrt(len(values))
    assert abs(values.mean() - expected) < 4 * error and error < 0.01


def test_realism_on_a_line():
  # Radii (k = 1): 1, 1, 3, 3; the median is 2: the first two balls count.
  real = _line(0, 1, 4, 7)
  fake = _line(0.5, 2, 3, -4, 1)
  np.testing.assert_allclose(pr.realism(real, fake, 1), [2, 1, 0.5, 0.25, np.inf], rtol=1e-6)


def test_realism_of_one_image():
  real = np.random.default_rng(0).standard_normal((30, 4))
  assert pr.realism(real, real[:1] + 50.0).shape == (1,)


def test_cut_to_the_first(monkeypatch):
  monkeypatch.setattr(pr, 'MAX_POINTS', 20)
  rng = np.random.default_rng(0)
  real, fake = rng.standard_normal((2, 50, 3))
  assert pr.precision_recall(real, fake) == pr.precision_recall(real[:20], fake[:20])


def test_bad_input_is_named():
  real, fake = np.zeros((10, 2)), np.zeros((3, 2))
  with pytest.raises(UserError, match='need 4 images or more, there are 10 photos and 3 gen'):
    pr.precision_recall(real, fake, 3)
  with pytest.raises(UserError, match='10 photos and 0 generated'):
    pr.precision_recall(real, fake[:0], 3)
  with pytest.raises(UserError, match='neighbours=3'):
    pr.precision_recall(real, fake, 0)
  with pytest.raises(UserError, match='4 images or more'):
    pr.realism(real[:3], fake, 3)
  with pytest.raises(UserError, match='2 dimensions do not compare with features of 5'):
    pr.precision_recall(real, np.zeros((10, 5)), 3)
  fake[1, 1] = np.inf
  with pytest.raises(UserError, match='not finite'):
    pr.precision_recall(real, fake, 1)
