"""Losses and regularizers against closed forms and numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax3dgan.losses import adversarial, regularizers


def test_non_saturating_losses():
  real, fake = np.float32([0.0, 2.0, -1.0]), np.float32([1.0, -3.0, 0.5])
  expected = np.log1p(np.exp(fake)).mean() + np.log1p(np.exp(-real)).mean()
  np.testing.assert_allclose(adversarial.discriminator_loss(real, fake), expected, rtol=1e-6)
  losses = np.log1p(np.exp(-fake))
  np.testing.assert_allclose(adversarial.generator_losses(fake), losses, rtol=1e-6)
  np.testing.assert_allclose(adversarial.generator_loss(fake), losses.mean(), rtol=1e-6)
  weights = np.float32([0.5, 0.0, 0.5])
  actual = adversarial.generator_loss(fake, weights)
  np.testing.assert_allclose(actual, (losses[0] + losses[2]) / 2, rtol=1e-6)


def test_losses_survive_extreme_logits():
  extreme = jnp.array([1e4, -1e4])
  assert np.isfinite(adversarial.discriminator_loss(extreme, extreme))
  gradient = jax.jit(jax.grad(adversarial.generator_loss))(extreme)
  np.testing.assert_allclose(gradient, [0, -0.5])


def test_top_k_fraction():
  fraction = jax.jit(lambda step: adversarial.top_k_fraction(step, 2000, 0.6))
  steps = np.array([0, 1000, 2000, 10_000, 200_000])
  expected = np.maximum(0.99 ** (steps / 2000), 0.6)
  np.testing.assert_allclose([fraction(s) for s in steps], expected, rtol=1e-6)
  assert adversarial.top_k_fraction(100_000, 0, 0.6) == 1


@pytest.mark.parametrize(
  'fraction, b, k', [(0.6, 5, 3), (0.6, 3, 2), (0.6, 2, 2), (0.01, 8, 1), (1.0, 7, 7), (0.5, 4, 2)]
)
def test_top_k_weights_keep_the_best(fraction, b, k):
  logits = np.random.default_rng(b).permutation(np.arange(b)).astype(np.float32)
  weights = jax.jit(adversarial.top_k_weights)(logits, jnp.float32(fraction))
  np.testing.assert_allclose(weights, np.where(logits >= b - k, 1 / k, 0), rtol=1e-6)


def test_top_k_ties_and_gradient():
  weights = adversarial.top_k_weights(jnp.zeros(4), 0.5)
  np.testing.assert_array_equal(weights, [0.5, 0.5, 0, 0])
  logits = jnp.array([0.3, -1.0, 2.0, 0.1])

  def loss(logits):
    return adversarial.generator_loss(logits, adversarial.top_k_weights(logits, 0.5))

  expected = np.where([True, False, True, False], -0.5 / (1 + np.exp(logits)), 0)
  np.testing.assert_allclose(jax.jit(jax.grad(loss))(logits), expected, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
  # XLA takes subnormal numbers for zeros, and so an order for a tie.
  st.lists(st.floats(-5, 5, width=32, allow_subnormal=False), min_size=6, max_size=6),
  st.floats(1 / 64, 1, width=32),
)
def test_top_k_properties(logits, fraction):
  logits = np.float32(logits)
  weights = np.asarray(adversarial.top_k_weights(logits, fraction))
  k = np.count_nonzero(weights)
  assert k == max(1, int(np.ceil(fraction * 6 - 1e-4)))
  np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
  assert logits[weights > 0].min() >= logits[weights == 0].max(initial=-np.inf)


def test_r1_of_a_linear_and_a_quadratic_logit():
  rng = np.random.default_rng(0)
  images = rng.normal(size=(3, 4, 4, 3)).astype(np.float32)
  direction = rng.normal(size=(4, 4, 3)).astype(np.float32)

  def linear(x):
    return (x * direction).sum((1, 2, 3)) + 7

  value = regularizers.r1_penalty(linear, images)
  np.testing.assert_allclose(value, np.square(direction).sum(), rtol=1e-5)

  def penalty(scale):
    return regularizers.r1_penalty(lambda x: scale * jnp.square(x).sum((1, 2, 3)), images)

  squared_norm = np.square(images).sum((1, 2, 3)).mean()
  np.testing.assert_allclose(penalty(0.5), squared_norm, rtol=1e-5)
  # d/ds of mean ‖2 s x‖² = 8 s mean ‖x‖²
  np.testing.assert_allclose(jax.jit(jax.grad(penalty))(0.5), 4 * squared_norm, rtol=1e-5)


def test_lazy_interval():
  due = [bool(regularizers.is_due(jnp.int32(s), 4)) for s in range(9)]
  assert due == [True, False, False, False, True, False, False, False, True]


def test_regressions_are_means_over_batch_and_entries():
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(2, 5, 2)).astype(np.float32)
  np.testing.assert_allclose(regularizers.pose_loss(a, b), np.mean((a - b) ** 2), rtol=1e-6)
  a, b = rng.normal(size=(2, 5, 16)).astype(np.float32)
  np.testing.assert_allclose(regularizers.latent_loss(a, b), np.mean((a - b) ** 2), rtol=1e-6)
