"""The softplus of the tri-planes' renderer."""

import jax
import numpy as np
import x64

from jax3dgan.nn.cpu.softplus import softplus

X = np.array([-200, -30, -3, -1e-3, 0, 1e-3, 2, 30, 200], np.float64)


def test_it_is_the_logarithm_of_the_sum():
  exact = np.logaddexp(X, 0)
  np.testing.assert_allclose(x64.jit(softplus)(X), exact, rtol=0, atol=1e-15 * 200)
  scale = np.maximum(X, 1)
  single = jax.jit(softplus)(np.float32(X))
  np.testing.assert_allclose(single / scale, exact / scale, atol=2e-7)


def test_its_gradient_is_the_sigmoid():
  gradient = x64.jit(jax.vmap(jax.grad(softplus)))(X)
  with np.errstate(over='ignore'):
    np.testing.assert_allclose(gradient, 1 / (1 + np.exp(-X)), rtol=1e-12)
  np.testing.assert_allclose(x64.jit(jax.vmap(jax.grad(jax.grad(softplus))))(X),
                             gradient * (1 - gradient), atol=1e-12)  # fmt: skip


def test_what_is_not_a_number_stays_one():
  assert np.isnan(softplus(np.float32(np.nan)))
  assert softplus(np.float32(np.inf)) == np.inf and softplus(np.float32(-np.inf)) == 0
