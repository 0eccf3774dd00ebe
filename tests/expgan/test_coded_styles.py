"""Styles with the codes of a face model."""

import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import generators
from jax3dgan.errors import UserError
from jax3dgan.generators import coded_styles

LAYOUT = coded_styles.CodeLayout(4, 3, 2, ('open', 'smile'))


@pytest.mark.parametrize('xp', [np, jnp], ids=['numpy', 'jax'])
def test_an_expression_replaces_only_its_numbers(xp):
  w = xp.arange(18, dtype=xp.float32).reshape(2, 9)
  style, identity, expression = LAYOUT.split(w)
  np.testing.assert_array_equal(expression, [[7, 8], [16, 17]])
  np.testing.assert_array_equal(LAYOUT.join(style, identity, expression), w)
  # One person with three expressions.
  moved = LAYOUT.with_expression(w[1:], xp.asarray([[0.0, 1], [2, 3], [4, 5]], xp.float32))
  assert isinstance(moved, np.ndarray) == (xp is np)
  np.testing.assert_array_equal(moved[:, :7], np.repeat(np.asarray(w)[1:, :7], 3, axis=0))
  np.testing.assert_array_equal(moved[:, 7:], [[0, 1], [2, 3], [4, 5]])


def test_a_model_without_codes_says_so():
  with pytest.raises(UserError, match='toys has no expression codes'):
    coded_styles.layout_of(generators.Generator(), 'toys')
