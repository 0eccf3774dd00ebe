"""Products with columns: the CPU's form against the reference, in values and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan.nn import backend
from jax3dgan.nn.cpu import columns


def factors(dtype):
  rng = np.random.default_rng(0)
  shapes = (2, 4, 3), (2, 3, 5), (2, 4, 5)
  return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def derivatives(product):
  """Value, gradient and gradient of the gradient's norm, of both factors."""

  @x64.jit
  def run(weights, x, cotangent):
    def loss(weights, x):
      return jnp.sum(jnp.sin(product(weights, x)) * cotangent)

    def norm(weights, x):
      gradients = jax.grad(loss, argnums=(0, 1))(weights, x)
      return sum(jnp.sum(g**2) for g in gradients)

    first = jax.grad(loss, argnums=(0, 1))(weights, x)
    return product(weights, x), *first, *jax.grad(norm, argnums=(0, 1))(weights, x)

  return run


@pytest.mark.parametrize('dtype, error', [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_product_and_its_derivatives_are_the_references(dtype, error):
  args = factors(dtype)
  expected = derivatives(columns.reference_product)(*args)
  for actual, reference in zip(derivatives(columns.product)(*args), expected, strict=True):
    assert actual.dtype == reference.dtype == dtype and np.abs(reference).max() > 0.1
    np.testing.assert_allclose(actual, reference, atol=error * np.abs(reference).max())
  np.testing.assert_allclose(expected[0], args[0] @ args[1], atol=error)


def test_the_form_follows_the_platform_and_the_policy():
  weights, x, _ = factors(np.float32)

  def program(policy):
    loss = lambda w, x: (columns.product(w, x, policy) ** 2).sum()  # noqa: E731
    return str(jax.make_jaxpr(jax.grad(loss, (0, 1)))(weights, x))

  assert all('optimization_barrier' in program(name) for name in ('float32', 'bfloat16'))
  # Its backward products take another policy.
  assert 'optimization_barrier' not in program('float16')
  with backend.lowering_for('cuda'):
    assert 'optimization_barrier' not in program('float32')
  with backend.reference():
    assert 'optimization_barrier' not in program('float32')


def test_rounded_products_are_the_policys():
  weights, x, _ = factors(np.float32)
  rounded = columns.product(weights, x, 'bfloat16')
  assert rounded.dtype == np.float32
  error = np.abs(rounded - weights @ x).max()
  assert 1e-4 < error < 0.05
