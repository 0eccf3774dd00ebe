"""Spectral and instance normalisation."""

import jax
import jax.numpy as jnp
import numpy as np
import x64

from jax3dgan.nn import instance_norm
from jax3dgan.nn.spectral_norm import SpectralConv, SpectralNorm, power_step, sigma

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 4, 6))


def test_power_iteration_finds_the_largest_singular_value():
  matrix = KERNEL.reshape(-1, 6)

  @x64.jit
  def estimate(u):
    for _ in range(100):
      u, v = power_step(matrix, u)
    return sigma(matrix, u, v)

  expected = np.linalg.svd(matrix, compute_uv=False)[0]
  np.testing.assert_allclose(estimate(np.ones(6)), expected, rtol=1e-9)


def test_vectors_move_only_where_buffers_are_mutable():
  norm = SpectralNorm()
  fresh = norm.init(jax.random.key(0), KERNEL)
  frozen = norm.apply(fresh, KERNEL)
  once, moved = norm.apply(fresh, KERNEL, mutable=['buffers'])
  assert np.abs(once - frozen).max() > 1e-3
  np.testing.assert_array_equal(norm.apply(moved, KERNEL), once)  # what is stored is what was used
  # The vectors of the step are those of NumPy's.
  matrix, u = KERNEL.reshape(-1, 6).T, fresh['buffers']['u']
  v = matrix.T @ u / np.linalg.norm(matrix.T @ u)
  u = matrix @ v / np.linalg.norm(matrix @ v)
  np.testing.assert_allclose(moved['buffers']['u'], u, rtol=1e-5)
  np.testing.assert_allclose(once, KERNEL / (u @ matrix @ v), rtol=1e-5)


def test_the_gradient_goes_through_the_step_or_not():
  weights = np.random.default_rng(1).normal(size=KERNEL.shape)
  u = np.random.default_rng(2).normal(size=6)
  u /= np.linalg.norm(u)

  def gradient(through):
    variables = {'u': u}

    def of(kernel):
      out, moved = SpectralNorm(through).apply({'buffers': variables}, kernel, mutable=['buffers'])
      return (out * weights).sum(), moved['buffers']

    if not through:
      variables['v'] = u @ KERNEL.reshape(-1, 6).T  # any
    return x64.jit(jax.value_and_grad(of, has_aux=True))(KERNEL)

  (value, moved), through = gradient(True)
  (same, both), constant = gradient(False)
  np.testing.assert_allclose(value, same, rtol=1e-12)
  np.testing.assert_allclose(moved['u'], both['u'], rtol=1e-12)
  assert set(moved) == {'u'} and set(both) == {'u', 'v'}
  # With constants: W·(G/σ) has the derivative G/σ − (G·W)/σ² v uᵀ.
  s = both['v'] @ KERNEL.reshape(-1, 6) @ both['u']
  outer = np.outer(both['v'], both['u']).reshape(KERNEL.shape)
  np.testing.assert_allclose(
    constant, weights / s - (weights * KERNEL).sum() / s**2 * outer, rtol=1e-9, atol=1e-12
  )
  # Through the step: finite differences of the whole.
  direction = np.random.default_rng(3).normal(size=KERNEL.shape)

  def value_at(kernel):
    matrix = kernel.reshape(-1, 6)
    v = matrix @ u / np.linalg.norm(matrix @ u)
    return (weights * kernel).sum() / np.linalg.norm(matrix.T @ v)

  slope = (value_at(KERNEL + 1e-6 * direction) - value_at(KERNEL - 1e-6 * direction)) / 2e-6
  np.testing.assert_allclose((through * direction).sum(), slope, rtol=1e-6)
  assert np.abs(through - constant).max() > 1e-3


def test_a_convolution_advances_without_an_image():
  conv = SpectralConv(4, 6, 3, padding=1, use_bias=True)
  x = np.random.default_rng(4).normal(size=(2, 5, 5, 4)).astype(np.float32)
  fresh = conv.init(jax.random.key(0), x)
  _, alone = conv.apply(fresh, method='advance', mutable=['buffers'])
  y, moved = conv.apply(fresh, x, mutable=['buffers'])
  jax.tree.map(np.testing.assert_array_equal, alone, moved)
  np.testing.assert_array_equal(conv.apply({**fresh, **moved}, x), y)


def test_instance_norm():
  x = jnp.asarray(np.random.default_rng(5).normal(2, 3, (2, 4, 5, 6, 3)))
  y = instance_norm.instance_norm(x)
  np.testing.assert_allclose(y.mean((1, 2, 3)), 0, atol=1e-5)
  np.testing.assert_allclose(y.var((1, 2, 3)), 1, rtol=1e-4)
  module = instance_norm.InstanceNorm()
  params = {'scale': jnp.array([1.0, 2.0, 3.0]), 'offset': jnp.array([0.0, 1.0, 0.0])}
  np.testing.assert_allclose(
    module.apply({'params': params}, x), y * params['scale'] + params['offset'], rtol=1e-6
  )
