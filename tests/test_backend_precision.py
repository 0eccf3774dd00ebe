"""The platform a trace is meant for, and the precision policies of products."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan.errors import UserError
from jax3dgan.nn import backend, precision


def test_the_platform_is_the_machines_unless_said_otherwise():
  assert backend.platform() == 'cpu'
  with backend.lowering_for('tpu'):
    assert backend.platform() == 'tpu'
    with backend.lowering_for('rocm'):
      assert backend.platform() == 'gpu'
    assert backend.platform() == 'tpu'
  with pytest.raises(ZeroDivisionError), backend.lowering_for('cuda'):
    assert backend.platform() == 'gpu'
    raise ZeroDivisionError
  assert backend.platform() == 'cpu'


def factors():
  rng = np.random.default_rng(0)
  return rng.normal(size=(2, 5, 64)).astype(np.float32), rng.normal(size=(2, 64, 7)).astype(
    np.float32
  )


@pytest.mark.parametrize('policy, error', [('float32', 1e-6), ('tensorfloat32', 1e-3)])
def test_float_policies(policy, error):
  x, w = factors()
  exact = np.float64(x) @ np.float64(w)
  actual = precision.einsum('bnk,bkh->bnh', x, w, policy)
  assert actual.dtype == np.float32
  np.testing.assert_allclose(actual, exact, atol=error * np.abs(exact).max())


def test_bfloat16_rounds_inputs_alone():
  """Products of rounded inputs are summed in float32 and not rounded again."""
  x, w = factors()
  rounded = [np.float64(jnp.asarray(a, jnp.bfloat16)) for a in (x, w)]
  actual = precision.einsum('bnk,bkh->bnh', x, w, 'bfloat16')
  assert actual.dtype == np.float32
  np.testing.assert_allclose(actual, rounded[0] @ rounded[1], atol=1e-5)
  assert np.abs(actual - np.float64(x) @ np.float64(w)).max() > 1e-3
  gradient = jax.grad(lambda x: precision.einsum('bnk,bkh->bnh', x, w, 'bfloat16').sum())(x)
  assert gradient.dtype == np.float32
  expected = np.broadcast_to(w.sum(-1)[:, None], x.shape)
  np.testing.assert_allclose(gradient, expected, atol=0.02 * np.abs(expected).max())


def test_float64_stays():
  x, w = map(np.float64, factors())
  for policy, error in (('float32', 1e-13), ('tensorfloat32', 1e-13), ('bfloat16', 0.1)):
    actual = x64.jit(lambda x, w, p=policy: precision.einsum('bnk,bkh->bnh', x, w, p))(x, w)
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, x @ w, rtol=0, atol=error)


def test_full_precision_is_asked_of_every_platform():
  """A GPU's or TPU's default rounds float32 inputs; 'float32' must not leave it at that."""
  x, w = factors()

  def program(policy):
    lowered = jax.jit(lambda x, w: precision.einsum('bnk,bkh->bnh', x, w, policy))
    return lowered.trace(x, w).lower(lowering_platforms=('tpu',)).as_text()

  assert 'HIGHEST' in program('float32')
  assert 'HIGHEST' not in program('tensorfloat32') and 'bf16' not in program('tensorfloat32')
  assert 'bf16' in program('bfloat16')


def test_unknown_policy():
  with pytest.raises(UserError, match="'float8'.*bfloat16"):
    precision.einsum('ij,jk->ik', np.eye(2), np.eye(2), 'float8')
