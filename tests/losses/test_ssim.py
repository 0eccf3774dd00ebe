"""SSIM as a loss is SSIM as a metric."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.inversion import quality
from jax3dgan.losses.ssim import ssim


@pytest.mark.parametrize('size', [(14, 12), (8, 8)])  # with windows inside, and smaller than one
def test_it_is_the_metrics(size):
  rng = np.random.default_rng(0)
  a, b = rng.uniform(size=(2, 3, *size, 3)).astype(np.float32)
  b = 0.5 * (a + b)
  found = ssim(a, b)
  assert found.shape == (3,)
  # The metric is of images in [−1, 1].
  np.testing.assert_allclose(found, quality.ssim(2 * a - 1, 2 * b - 1), atol=2e-5)
  np.testing.assert_allclose(ssim(a, a), 1, atol=1e-6)


def test_a_flat_image_has_a_gradient_without_nan():
  flat = jnp.full((1, 12, 12, 3), 0.5)
  gradient = jax.jit(jax.grad(lambda x: ssim(x, flat + 0.1).sum()))(flat)
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0
