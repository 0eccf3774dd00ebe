"""The fast sine against float64: values, derivatives, and where it is chosen."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan.nn import backend
from jax3dgan.nn.cpu.sine import cosine, polynomial_cosine, polynomial_sine, sine


@pytest.fixture(scope='module')
def arguments():
  """Float32 numbers up to ±3000: dense near zero, at multiples of π/2, random elsewhere."""
  rng = np.random.default_rng(0)
  multiples = np.arange(-1900, 1901) * (np.pi / 2)
  parts = [
    np.linspace(-10, 10, 20_001),
    rng.uniform(-3000, 3000, 200_000),
    *(multiples * (1 + k * 2.0**-24) for k in (-2, -1, 0, 1, 2)),
    [0.0, -0.0, 3000.0, -3000.0, 1e-30, 1e-45],
  ]
  return np.concatenate(parts).astype(np.float32)


@jax.jit
def with_derivatives(x):
  first, second = jax.grad(sine), jax.grad(jax.grad(sine))
  return sine(x), jax.vmap(first)(x), jax.vmap(second)(x), polynomial_cosine(x)


def test_error_of_value_and_derivatives(arguments):
  """Below 3e-7; half of that is what one rounding of a result near 1 costs."""
  exact = np.float64(arguments)
  expected = np.sin(exact), np.cos(exact), -np.sin(exact), np.cos(exact)
  for actual, reference in zip(with_derivatives(arguments), expected, strict=True):
    assert actual.dtype == np.float32
    assert np.abs(np.float64(actual) - reference).max() < 3e-7


def test_optimized_program_has_the_same_error(arguments):
  """Fused or reordered operations must not break the reduction's exact steps."""
  for function, reference in ((polynomial_sine, np.sin), (polynomial_cosine, np.cos)):
    optimized = jax.jit(function, compiler_options={'xla_backend_optimization_level': 3})
    actual = optimized(arguments)
    assert np.abs(np.float64(actual) - reference(np.float64(arguments))).max() < 3e-7


def test_small_arguments_keep_their_digits():
  x = np.float32([1e-20, -1e-10, 1e-4, 1e-2, 0.5])
  np.testing.assert_allclose(jax.jit(sine)(x), np.sin(np.float64(x)), rtol=2e-7)


def test_odd_and_even(arguments):
  sines, cosines = jax.jit(lambda x: (sine(x), polynomial_cosine(x)))(arguments)
  negative = jax.jit(lambda x: (sine(-x), polynomial_cosine(-x)))(arguments)
  np.testing.assert_array_equal(negative[0], -sines)
  np.testing.assert_allclose(negative[1], cosines, atol=2e-7)


def test_not_a_number_and_infinity_stay_so():
  assert np.isnan(sine(np.float32([np.nan, np.inf, -np.inf]))).all()


@pytest.mark.parametrize('shape', [(), (0,), (2, 3, 1)])
def test_shapes(shape):
  x = np.full(shape, 2.5, np.float32)
  actual = jax.jit(sine)(x)
  assert actual.shape == shape
  np.testing.assert_allclose(actual, np.sin(x), atol=3e-7)
  np.testing.assert_allclose(cosine(x), np.cos(x), atol=3e-7)


def test_other_precisions_take_the_platforms_own():
  x = np.linspace(-300, 300, 1001)
  np.testing.assert_allclose(x64.jit(sine)(x), np.sin(x), rtol=0, atol=1e-14)
  half = jnp.asarray(x, jnp.bfloat16)
  np.testing.assert_array_equal(sine(half), jnp.sin(half))


@pytest.mark.parametrize('choice, polynomial', [({}, True), ({'sine': 'xla'}, False)])
def test_which_sine(choice, polynomial):
  """All platforms take the polynomial."""
  x = np.zeros(3, np.float32)
  for platform in ('cpu', 'cuda', 'tpu'):
    with backend.lowering_for(platform), backend.choose(**choice):
      program = str(jax.make_jaxpr(lambda x: jax.jvp(sine, (x,), (x,)))(x))
    # The platform's own are primitives; the polynomials round to a multiple of π.
    assert bool(re.search(r'\bsin\b', program) and re.search(r'\bcos\b', program)) != polynomial
    assert bool(re.search(r'\bround\b', program)) == polynomial
