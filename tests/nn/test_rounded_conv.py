"""Rounded convolutions where a device lacks them: the same rounded numbers, multiplied as TF32."""

import jax
import numpy as np
import pytest

from jax3dgan.devices import parallel
from jax3dgan.nn import backend, conv, rounded_conv
from jax3dgan.tools import products

X = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype('f')
KERNEL = np.random.default_rng(1).normal(size=(3, 3, 3, 4)).astype('f')


def convolved(policy):
  def run(x, kernel):
    return conv.conv2d(x, kernel, padding=1, matmul_dtype=policy, implementation='lax')

  return run


def with_gradients(policy):
  def run(x, kernel):
    y, transpose = jax.vjp(convolved(policy), x, kernel)
    return y, transpose(jax.numpy.sin(y))

  return jax.jit(run)


@pytest.mark.parametrize('policy', ['bfloat16', 'float16'])
def test_both_forms_multiply_the_same_numbers(policy):
  native = with_gradients(policy)(X, KERNEL)
  with backend.choose(rounded_conv='float32'):
    other = with_gradients(policy)(X, KERNEL)
  np.testing.assert_allclose(native[0], other[0], rtol=0, atol=1e-5)
  exact = np.asarray(convolved('float32')(X, KERNEL))
  assert np.abs(other[0] - exact).max() > 1e-4  # rounded they are
  for a, b in zip(native[1], other[1], strict=True):
    # The native gradients are themselves rounded to bfloat16.
    np.testing.assert_allclose(a, b, rtol=0, atol=2**-8 * np.abs(b).max())


def failing(function, *shapes):
  raise RuntimeError('No algorithm worked!\nmore of it')


@pytest.fixture
def forget():
  yield rounded_conv.compiles.cache_clear()
  rounded_conv.compiles.cache_clear()


def test_a_device_that_lacks_them_is_asked_once_and_said(forget):
  lines, tried = [], []

  def compile_fn(function, *shapes):
    tried.append(jax.eval_shape(function, *shapes))
    failing(function)

  for _ in range(2):
    assert not rounded_conv.compiles('bfloat16', compile_fn, lines.append)
  ((y, gradients),) = tried
  assert y.shape == (4, 16, 16, 32) and [g.shape for g in gradients][1] == (3, 3, 32, 32)
  (line,) = lines
  assert 'no bfloat16 convolution' in line and 'No algorithm worked!' in line and 'TF32' in line
  assert '\n' not in line
  assert rounded_conv.compiles('float16', say=lines.append) and len(lines) == 1


def test_programs_of_such_a_device_multiply_float32(monkeypatch):
  """Also one that is compiled inside of another trace."""
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  asked = []
  monkeypatch.setattr(rounded_conv, 'compiles', lambda policy: bool(asked.append(policy)))
  shapes = [jax.ShapeDtypeStruct(of.shape, of.dtype) for of in (X, KERNEL)]

  def kinds(platform):
    with backend.lowering_for(platform):
      traced = with_gradients('bfloat16').trace(*shapes)
      return products.count(traced.lower(lowering_platforms=(platform,)).as_text())

  assert kinds('cuda') == {('conv', 'f32', 'DEFAULT'): 3} and {*asked} == {'bfloat16'}
  asked.clear()
  assert kinds('tpu') == {('conv', 'bf16', 'DEFAULT'): 3} and not asked


def test_a_device_is_asked_within_a_trace_on_a_mesh(forget):
  found = []

  def run(state, batch):
    found.append(rounded_conv.compiles('bfloat16'))
    return state, batch.sum()

  mesh = parallel.make_mesh(jax.devices()[:1])
  jax.jit(parallel.data_parallel(run, mesh)).trace(X, X)
  assert found == [True]
