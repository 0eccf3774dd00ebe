"""The order of many numbers by packed keys, and powers of two, beside the plain forms."""

import jax
import numpy as np
import pytest

from jax3dgan.nn.cpu import exponential, ordering

ROWS = {
  'normal': lambda rng: rng.normal(size=500),
  'few different ones': lambda rng: rng.integers(0, 5, size=500),
  'equal': lambda rng: np.ones(500),
  'none to compare': lambda rng: np.full(500, np.inf),
  'some infinite': lambda rng: np.where(rng.uniform(size=500) < 0.3, np.inf, rng.normal(size=500)),
  # Coarse places tell little or nothing, so that neighbours are exchanged, or all sorted again.
  'small clusters': lambda rng: np.floor(rng.normal(size=500) * 50) + 1e-6 * rng.normal(size=500),
  'one far away': lambda rng: np.where(np.arange(500) == 7, 1e30, rng.normal(size=500)),
}


@pytest.mark.parametrize('name', ROWS)
def test_packed_order(name):
  x = np.stack([ROWS[name](np.random.default_rng(seed)) for seed in range(2)]).astype(np.float32)
  order = jax.jit(ordering.packed_stable_order)(x)
  np.testing.assert_array_equal(order, np.argsort(x, axis=-1, stable=True))


def test_polynomial_powers_of_two():
  x = np.float32([*np.linspace(-125, 126, 2001), *np.linspace(-2, 2, 2001)])
  y, slope = jax.jit(jax.vmap(jax.value_and_grad(exponential.polynomial_exp2)))(x)
  np.testing.assert_allclose(y, np.exp2(np.float64(x)), rtol=2e-7)
  np.testing.assert_allclose(slope, np.log(2) * np.exp2(np.float64(x)), rtol=4e-7)
  ends = np.asarray(jax.jit(exponential.polynomial_exp2)(np.float32([-1e9, -np.inf, 1e9])))
  np.testing.assert_allclose(ends, np.exp2(np.float64([-126, -126, 127])), rtol=2e-7)
