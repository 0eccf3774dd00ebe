"""Positional encoding: its definition, in each convention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.nn import positional_encoding


@pytest.mark.parametrize('include', [True, False])
@pytest.mark.parametrize('use_pi', [True, False])
def test_the_definition(include, use_pi):
  x = np.random.default_rng(0).uniform(-2, 2, (5, 3)).astype(np.float32)
  encoded = positional_encoding.encode(x, 4, include, use_pi)
  parts = [x] if include else []
  for i in range(4):
    angle = x.astype(float) * 2**i * (np.pi if use_pi else 1)
    parts += [np.sin(angle), np.cos(angle)]
  # The angle is rounded to float32 where there is a π: half a unit in the last place of 50.
  np.testing.assert_allclose(encoded, np.concatenate(parts, -1), atol=4e-6 if use_pi else 1e-6)
  assert encoded.shape[-1] == positional_encoding.num_features(3, 4, include)


def test_coordinates_on_another_axis():
  x = jnp.linspace(-1, 1, 12).reshape(2, 3, 2)
  rows = positional_encoding.encode(jnp.swapaxes(x, 1, 2), 2)
  columns = positional_encoding.encode(x, 2, axis=1)
  np.testing.assert_array_equal(columns, jnp.swapaxes(rows, 1, 2))


def test_no_frequencies_are_the_input():
  x = jnp.ones((2, 3))
  np.testing.assert_array_equal(positional_encoding.encode(x, 0), x)


def test_the_derivative():
  slope = jax.jit(jax.jacfwd(lambda x: positional_encoding.encode(x, 2)))(jnp.float32([0.3]))[:, 0]
  expected = [1, np.cos(0.3), -np.sin(0.3), 2 * np.cos(0.6), -2 * np.sin(0.6)]
  np.testing.assert_allclose(slope, expected, rtol=1e-6)
