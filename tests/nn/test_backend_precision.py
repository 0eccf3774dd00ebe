"""The platform a trace is meant for, and the precision policies of products."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan import config as config_lib
from jax3dgan.errors import UserError
from jax3dgan.nn import backend, precision
from jax3dgan.nn.cpu.sine import sine
from jax3dgan.nn.cpu.softplus import softplus


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


def test_what_was_traced_for_one_platform_is_traced_again_for_another():
  @jax.jit
  def inner(x):
    return softplus(sine(x))

  def program(x):
    return str(jax.make_jaxpr(lambda x: inner(x))(x))

  x = np.float32(1)
  assert 'name=log_softplus' in program(x)
  with backend.lowering_for('tpu'):
    assert 'name=log_softplus' not in program(x)
  with backend.choose(sine='xla'):
    assert ' sin ' in program(x) and 'name=log_softplus' in program(x)
  with backend.reference():
    assert ' sin ' in program(x) and 'name=log_softplus' not in program(x)
  assert 'name=log_softplus' in program(x) and ' sin ' not in program(x)


def test_forms_are_chosen_by_name_whatever_the_platform():
  by_platform = {}
  for name in ('cpu', 'cuda', 'tpu'):
    with backend.lowering_for(name):
      by_platform[name] = {operation: backend.form(operation) for operation in backend.FORMS}
      with backend.choose(planes='autodiff', take='gather'):
        with backend.choose(take='compare'):
          assert (backend.form('planes'), backend.form('take')) == ('autodiff', 'compare')
        with backend.reference():
          assert all(backend.form(key) == of.names[0] for key, of in backend.FORMS.items())
        assert backend.form('take') == 'gather'
  assert by_platform['cpu'] != by_platform['cuda'] != by_platform['tpu']
  assert all({of.cpu, of.gpu, of.tpu} <= {*of.names} for of in backend.FORMS.values())
  for wrong in ({'sin': 'xla'}, {'sine': 'taylor'}):
    with pytest.raises(ValueError, match=r'sine=xla\|polynomial'), backend.choose(**wrong):
      pass


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


def rounded(x, dtype):
  return np.float64(jnp.asarray(x).astype(dtype))


SPEC = 'bnk,bkh->bnh'


@pytest.mark.parametrize('policy, difference', [('bfloat16', 1e-3), ('float16', 1e-4)])
def test_rounded_policies_round_inputs_alone(policy, difference):
  """Products of rounded inputs are summed in float32 and not rounded again, backward too."""
  x, w = factors()
  g = np.random.default_rng(1).normal(size=(2, 5, 7)).astype(np.float32)

  @jax.jit
  def run(x, w, g):
    y, transpose = jax.vjp(lambda x, w: precision.einsum(SPEC, x, w, policy), x, w)
    return y, *transpose(g)

  actual = jax.device_get(run(x, w, g))
  assert all(a.dtype == np.float32 for a in actual)
  y, gx, gw = actual
  np.testing.assert_allclose(y, rounded(x, policy) @ rounded(w, policy), atol=1e-5)
  assert np.abs(y - np.float64(x) @ np.float64(w)).max() > difference
  # The backward products take bfloat16 under both policies.
  bx, bw, bg = (rounded(a, 'bfloat16') for a in (rounded(x, policy), rounded(w, policy), g))
  np.testing.assert_allclose(gx, bg @ bw.swapaxes(1, 2), atol=1e-5)
  np.testing.assert_allclose(gw, bx.swapaxes(1, 2) @ bg, atol=1e-5)


def test_small_numbers_of_float16_are_not_zero_on_a_cpu():
  """Below 6e-5 it has fewer bits; the form for CPUs multiplies what it has, or more."""
  x, w = np.float32([[3e-5, 1.0]]), np.float32([[2.0], [1e-6]])
  y = jax.jit(lambda x, w: precision.einsum('nk,kh->nh', x, w, 'float16'))(x, w)
  np.testing.assert_allclose(y, 6.1e-5, rtol=1e-3)


def test_float16_neither_overflows_nor_loses_small_gradients():
  x, w = np.float32([[1e6, 1.0]]), np.float32([[1e-3], [2.0]])
  y = precision.einsum('nk,kh->nh', x, w, 'float16')
  np.testing.assert_allclose(y, 65504 * rounded(1e-3, 'float16') + 2, rtol=1e-6)
  # Cotangents of 1e-12 and 1e12 are zero and infinity in float16.
  for size in (1e-12, 1e12):
    gradient = jax.jit(
      jax.grad(
        lambda w, s=size: (
          s * precision.einsum('nk,kh->nh', np.ones((1, 2), 'f'), w, 'float16').sum()
        )
      )
    )(w)
    np.testing.assert_allclose(gradient, size, rtol=2**-8)


@pytest.mark.parametrize('policy', ['bfloat16', 'float16'])
def test_second_order_gradients_under_rounding(policy):
  """As R1 needs them; float32's within the rounding."""
  x, w = factors()

  @jax.jit
  def gradients(x, w):
    def penalty(w, policy):
      def total(x):
        return jnp.tanh(precision.einsum(SPEC, x, w / 8, policy)).sum()

      return jnp.square(jax.grad(total)(x)).sum()

    return jax.grad(penalty)(w, policy), jax.grad(penalty)(w, 'float32')

  actual, expected = gradients(x, w)
  np.testing.assert_allclose(actual, expected, atol=0.02 * np.abs(expected).max())
  assert np.abs(actual - expected).max() > 1e-5 * np.abs(expected).max()


def test_float64_stays():
  x, w = map(np.float64, factors())
  for policy, error in (
    ('float32', 1e-13),
    ('tensorfloat32', 1e-13),
    ('bfloat16', 0.1),
    ('float16', 0.02),
  ):
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
  assert 'bf16' in program('bfloat16') and 'f16' in program('float16')


def test_backward_products_of_rounded_policies_take_bfloat16():
  """On a GPU autodiff would multiply in float32, and round the gradients afterwards."""
  x, w = factors()
  for policy, forward in (('bfloat16', 'bf16'), ('float16', 'f16')):
    gradient = jax.grad(
      lambda x, w, p=policy: jnp.sin(precision.einsum(SPEC, x, w, p)).sum(), (0, 1)
    )
    with backend.lowering_for('gpu'):
      text = jax.jit(gradient).trace(x, w).lower(lowering_platforms=('cuda',)).as_text()
    products = [line for line in text.splitlines() if 'stablehlo.dot_general' in line]
    inputs = [re.findall(r'x([a-z]+[0-9]+)>', line.split(' : ')[1]) for line in products]
    assert sorted(inputs) == sorted([[forward, forward, 'f32'], *2 * [['bf16', 'bf16', 'f32']]])


@pytest.mark.parametrize('policy', ['bfloat16', 'float16'])
def test_a_cpu_multiplies_what_is_rounded_as_float32(policy):
  """The same numbers: XLA's CPU back end refuses some products of bfloat16 when they are due."""
  x, w = factors()

  def both(x, w):
    value, transpose = jax.vjp(lambda x, w: precision.einsum(SPEC, x, w, policy), x, w)
    return value, transpose(jnp.cos(value))

  lowered = jax.jit(both).lower(x, w)
  assert 'bf16' not in re.sub(r'stablehlo.convert.*', '', lowered.as_text())
  with backend.choose(rounded_product='native'):
    native = jax.jit(both)(x, w)
  pairs = map(jax.tree.leaves, (lowered.compile()(x, w), native))
  for own, expected in zip(*pairs, strict=True):
    np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_what_full_precision_costs_is_said_where_it_does():
  config = config_lib.base_config()
  flags = [f'--config.{name}.matmul_dtype=bfloat16' for name in ('model', 'discriminator')]
  assert not precision.speed_note(config)
  for platform, words in (('tpu', 'a sixth'), ('cuda', 'tensor cores')):
    with backend.lowering_for(platform):
      note = precision.speed_note(config)
      assert words in note and all(flag in note for flag in flags) and '\n' not in note
      config.model.matmul_dtype = 'float16'
      assert flags[0] not in precision.speed_note(config)
      config.discriminator.matmul_dtype = 'bfloat16'
      assert not precision.speed_note(config)
      config.model.matmul_dtype = config.discriminator.matmul_dtype = 'float32'


def test_unknown_policy():
  with pytest.raises(UserError, match="'float8'.*bfloat16"):
    precision.einsum('ij,jk->ik', np.eye(2), np.eye(2), 'float8')
