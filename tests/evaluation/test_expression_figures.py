"""Figures of expressions, of arrays whose answer is known."""

import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.evaluation import expression_direction
from jax3dgan.evaluation import expression_figures as figures

NAMES = ['up', 'aside', 'corner']


def true_movements(num=5):
  """[3, n, 68, 2]: all landmarks up; the first ten aside; one corner."""
  true = np.zeros((3, num, 68, 2))
  true[0, ..., 1] = -0.02
  true[1, :, :10, 0] = 0.03
  true[2, :, 48] = 0.05, 0.05
  return true * np.linspace(0.8, 1.2, num)[:, None, None]


def test_what_obeys_has_gain_1_and_what_ignores_0():
  true = true_movements()
  exact = figures.movement(true, true, 64, NAMES)
  still = figures.movement(np.zeros_like(true), true, 64, NAMES)
  for name in ('', *(f'/{name}' for name in NAMES)):
    assert exact[f'gain{name}'] == pytest.approx(1) and still[f'gain{name}'] == 0
    assert exact[f'correlation{name}'] == pytest.approx(1) and still[f'correlation{name}'] == 0
  assert exact['recognised'] == 1 and exact['still_pixels'] == 0 == still['still_pixels']
  size = 64 * 0.02 * np.sqrt(np.mean(np.linspace(0.8, 1.2, 5) ** 2))
  assert exact['pixels/up'] == pytest.approx(size)


def test_half_of_a_movement_with_another_beside_it():
  """Orthogonal to the true one: gain says half, correlation how much of what is read that is."""
  true = true_movements()
  read = 0.5 * true
  read[0, ..., 0] = 0.5 * true[0, ..., 1]  # as much sideways
  found = figures.movement(read, true, 64, NAMES)
  assert found['gain/up'] == pytest.approx(0.5) and found['gain/aside'] == pytest.approx(0.5)
  assert found['correlation/up'] == pytest.approx(np.sqrt(0.5))
  assert found['correlation/aside'] == pytest.approx(1)
  assert -figures.gain(-true, true) == pytest.approx(1)


def test_the_movement_of_another_expression_is_no_obedience():
  true = true_movements()
  found = figures.movement(true[[1, 2, 0]], true, 64, NAMES)
  assert found['recognised'] == 0 and found['gain/up'] == pytest.approx(0)
  # Where 'up' should have been, there was 'aside', and nothing of 'corner'.
  assert found['wrong/up'] == pytest.approx(0.5)


def test_landmarks_that_stay_and_seem_to_move():
  true = true_movements()
  read = true.copy()
  read[1, :, 10:, 0] = 0.01  # 58 of them, which stay
  still = (3 * 5 * 68 - 5 * 68 - 5 * 10 - 5) / 5  # in a person's three expressions
  expected = 0.64 * np.sqrt(58 / still)
  assert figures.movement(read, true, 64, NAMES)['still_pixels'] == pytest.approx(expected)


def test_movements_that_do_not_fit_are_refused():
  true = true_movements()
  with pytest.raises(UserError, match='two or more expressions'):
    figures.movement(true[:1], true[:1], 64, NAMES[:1])
  true[2] = 0
  with pytest.raises(UserError, match='corner moves no landmark'):
    figures.movement(true, true, 64, NAMES)


def test_placement_is_in_distances_of_the_eyes():
  true = np.zeros((2, 68, 2))
  true[:, figures.EYES[1], 0] = 0.4
  read = true + np.array([0.03, 0.04])
  assert figures.placement(read, true) == pytest.approx(0.05 / 0.4)


def test_pixels_beside_the_region_alone_count():
  images = np.zeros((3, 2, 4, 4, 3), np.uint8)
  region = np.zeros((3, 2, 4, 4), bool)
  region[0, :, 0], region[1, :, 1] = True, True
  images[1, :, :2] = 200  # within the two regions
  images[2, :, 3] = 30  # a third of the 12 pixels beside the neutral one
  assert figures.outside(images, region) == pytest.approx(30 * 8 / (16 + 24))
  images[:, 1] += 50
  assert figures.region_colours(images, region)[1, 0] == pytest.approx(50 / 255)


def test_strengths_of_presets_that_share_weights():
  presets = np.array([[0.9, 0, 0.4], [0.8, 0.5, 0]])
  weights = np.array([[0.45, 0, 0.2], [0.8, 0.5, 0], [1.7, 0.5, 0.4]])
  found = expression_direction.strengths(weights, presets)
  np.testing.assert_allclose(found, [[0.5, 0], [0, 1], [1, 1]], atol=1e-12)
