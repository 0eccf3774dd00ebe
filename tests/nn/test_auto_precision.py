"""The policy 'auto': what each machine makes of it, and what 'bfloat16_wide' rounds."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import config as config_lib
from jax3dgan.errors import UserError
from jax3dgan.nn import auto_precision, backend, conv, cpu_features, precision
from jax3dgan.nn.cpu import columns
from jax3dgan.tools import products

AMD = (
  'processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 clzero\n\nprocessor\t: 1\nflags\t\t: fpu\n'
)


@pytest.fixture(params=[True, False])
def has_bfloat16(request, monkeypatch):
  monkeypatch.setattr(cpu_features, 'multiplies_bfloat16', lambda: request.param)
  return request.param


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_flags_are_those_of_the_first_cpu(tmp_path, monkeypatch):
  assert cpu_features.flags(AMD) == {'fpu', 'avx512f', 'avx512_bf16', 'clzero'}
  assert cpu_features.flags('Features\t: fp asimd bf16\n') == set()

  def found(text):
    monkeypatch.setattr(cpu_features, '_CPUINFO', tmp_path / 'cpuinfo')
    (tmp_path / 'cpuinfo').write_text(text)
    return cpu_features.multiplies_bfloat16.__wrapped__()

  assert found(AMD) and found('flags : amx_bf16 amx_tile')
  assert not found('flags : fpu avx512f') and not found('')
  monkeypatch.setattr(cpu_features, '_CPUINFO', tmp_path / 'missing')
  assert not cpu_features.multiplies_bfloat16.__wrapped__()


def test_each_machine_has_its_policy(has_bfloat16, monkeypatch):
  assert auto_precision.choose() == ('bfloat16_wide' if has_bfloat16 else 'float32')
  with backend.lowering_for('tpu'):
    assert auto_precision.choose() == 'bfloat16'
  with backend.lowering_for('cuda'):
    assert auto_precision.choose() == 'tensorfloat32'
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    for capability, policy in (
      ('9.0', 'tensorfloat32'),
      ('12.1', 'tensorfloat32'),
      ('7.5', 'float32'),
      ('gfx942', 'float32'),
    ):
      device = types.SimpleNamespace(compute_capability=capability)
      monkeypatch.setattr(jax, 'devices', lambda device=device: [device])
      assert auto_precision.choose() == policy


def test_a_config_gets_concrete_policies_where_it_asks_for_them(has_bfloat16):
  config = config_lib.base_config()
  assert auto_precision.resolve(config) is config
  config.model.matmul_dtype = 'auto'
  chosen = auto_precision.resolve(config)
  assert chosen.model.matmul_dtype == auto_precision.choose()
  assert chosen.discriminator.matmul_dtype == 'float32' and config.model.matmul_dtype == 'auto'
  assert auto_precision.resolve(config, {'model': 'float16'}).model.matmul_dtype == 'float16'
  assert auto_precision.concrete(config) == {'discriminator': 'float32'}
  config_lib.set_discriminator(config, 'none')
  assert auto_precision.asked(config) == ['model']


def test_networks_do_not_choose():
  """One that is made of a config that nobody resolved would compute other numbers elsewhere."""
  with pytest.raises(UserError, match=r"'auto' .*auto_precision\.resolve"):
    precision.rows_product(normal(4, 8), normal(8, 8), 'auto')
  with pytest.raises(UserError, match=r"'auto' .*auto_precision\.resolve"):
    conv.conv2d(normal(1, 4, 4, 2), normal(3, 3, 2, 2), padding=1, matmul_dtype='auto')


def rounded(x):
  return np.float64(jnp.asarray(x).astype(jnp.bfloat16))


@pytest.mark.parametrize('width, is_rounded', [(96, True), (64, False)])
def test_wide_weights_are_rounded_in_either_order_on_any_cpu(width, is_rounded, has_bfloat16):
  """The same numbers whether the CPU multiplies bfloat16 or float32; backward too."""
  w, x, g = normal(1, width, width), normal(1, width, 40, seed=1), normal(1, width, 40, seed=2)

  def run(w, x, g):
    y, transpose = jax.vjp(lambda *args: columns.product(*args, 'bfloat16_wide'), w, x)
    rows = precision.rows_product(jnp.swapaxes(x, 1, 2), w[0], 'bfloat16_wide')
    return y, *transpose(g), rows

  lowered = jax.jit(run).lower(w, x, g)
  kinds = products.count(lowered.as_text())
  native = is_rounded and has_bfloat16
  assert kinds == {('dot', 'bf16' if native else 'f32', 'DEFAULT' if native else 'HIGHEST'): 4}
  y, gw, gx, rows = lowered.compile()(w, x, g)
  of = rounded if is_rounded else np.float64
  w, x, g = of(w[0]), of(x[0]), of(g[0])
  for found, expected in ((y, w @ x), (gw, g @ x.T), (gx, w.T @ g), (rows, x.T @ w)):
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-4)


def test_few_rows_are_multiplied_as_float32(monkeypatch):
  """XLA's CPU back end refuses some such products of bfloat16 when they are due."""
  monkeypatch.setattr(cpu_features, 'multiplies_bfloat16', lambda: True)
  text = jax.jit(lambda x, w: precision.rows_product(x, w, 'bfloat16')).lower(
    normal(31, 96), normal(96, 96)
  )
  assert products.count(text.as_text()) == {('dot', 'f32', 'HIGHEST'): 1}


@pytest.mark.parametrize('implementation', ['lax', 'patches'])
def test_convolutions_gain_nothing_and_stay_in_full_precision(implementation):
  x, kernel = normal(1, 4, 4, 96), normal(3, 3, 96, 96)

  def run(policy):
    options = dict(padding=1, matmul_dtype=policy, implementation=implementation)
    return conv.conv2d(x, kernel, **options)

  np.testing.assert_array_equal(run('bfloat16_wide'), run('float32'))


def test_gradients_of_rounded_convolutions_keep_the_layout_that_a_cpu_computes_fast():
  """In a branch those of autodiff run as plain loops."""
  x, kernel, g = normal(2, 6, 6, 3), normal(3, 3, 3, 4), normal(2, 6, 6, 4)

  def run(convolve, x, kernel, g):
    y, transpose = jax.vjp(convolve, x, kernel)
    return y, *transpose(g)

  def convolve(x, kernel, policy='bfloat16'):
    return conv.conv2d(x, kernel, padding=1, matmul_dtype=policy, implementation='lax')

  program = str(jax.make_jaxpr(lambda *args: run(convolve, *args))(x, kernel, g))
  assert 'canonical_conv' in program and 'kernel_gradient' in program
  found = jax.jit(lambda *args: run(convolve, *args))(x, kernel, g)
  args = [rounded(a).astype(np.float32) for a in (x, kernel, g)]
  exact = jax.jit(lambda *args: run(lambda *a: convolve(*a, 'float32'), *args))(*args)
  for a, b in zip(found, exact, strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)
