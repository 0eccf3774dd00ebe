"""The forms that accelerators take against the plain ones: values, first and second derivatives."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan.nn import backend, thin_products
from jax3dgan.nn.cpu.planes import sum_on_planes
from jax3dgan.nn.take import take
from jax3dgan.rendering import merging

RNG = np.random.default_rng(0)
B, N, P, H, W = 2, 7, 3, 4, 5
INDEX = RNG.integers(0, 5, (B, 3, N))
DEPTHS = RNG.uniform(size=(B, 4)), np.round(RNG.uniform(size=(B, 6)), 1)


def merged(a, b, weights):
  """Values of two sets of samples in one row, and weights of that row as those of the sets."""
  merged = merging.merge(jnp.asarray(DEPTHS[0]), jnp.asarray(DEPTHS[1]))
  return jnp.concatenate([merged.together(a, b), merged.apart(weights)], axis=-1)


def positions(*shape):
  """Anywhere on a plane, edges and pixels included."""
  x, y = (RNG.uniform(0, size - 1, shape) for size in (W, H))
  x[..., 0, :], y[..., 0, :] = W - 1, H - 1
  x[..., 1, :], y[..., 1, :] = 0, np.round(y[..., 1, :])
  return x, y


PLANES = RNG.normal(size=(B, P, H, W, 2))
# Operation: (function, arguments, operation of XLA's that only the plain form has and that only the
# other one has).
CASES = {
  'thin_product': (
    thin_products.product,
    (RNG.normal(size=(B, 6, 3)), RNG.normal(size=(B, N, 3))),
    ('dot_general', None),
  ),
  'take': (lambda values: take(values, INDEX), (RNG.normal(size=(B, 3, 5)),), ('gather', None)),
  'permuted': (
    merged,
    tuple(RNG.normal(size=(B, n)) for n in (4, 6, 10)),
    ('gather', None),
  ),
  'planes': (sum_on_planes, (PLANES, *positions(B, N, P)), (None, 'sort')),
  'shared planes': (sum_on_planes, (PLANES[:1], *positions(B, N, P)), (None, 'sort')),
}


def derivatives(function):
  """Value, gradients, a slope, and the gradients of the gradients' squares."""

  def loss(*args):
    return jnp.sum(jnp.sin(function(*args)))

  def run(*args):
    every = tuple(range(len(args)))
    gradients = jax.grad(loss, every)
    squares = jax.grad(lambda *args: sum(jnp.sum(x**2) for x in gradients(*args)), every)
    slope = jax.jvp(function, args, tuple(map(jnp.cos, args)))[1]
    return function(*args), gradients(*args), slope, squares(*args)

  return run


@pytest.mark.parametrize('name', CASES)
def test_values_and_derivatives_are_those_of_the_plain_form(name):
  function, args, _ = CASES[name]
  with backend.lowering_for('tpu'):
    own = x64.jit(derivatives(function))(*args)
  with backend.reference():
    plain = x64.jit(derivatives(function))(*args)
  for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(plain), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())
    assert np.abs(b).max() > 1e-3


@pytest.mark.parametrize('name', CASES)
def test_which_form_a_platform_takes(name):
  """As it is lowered, whatever the platform that it was traced for."""
  function, args, (only_plain, only_own) = CASES[name]
  gradient = jax.jit(jax.grad(lambda *args: jnp.sum(jnp.sin(function(*args)))))
  args = jax.tree.map(np.float32, args)

  def operations(context):
    with context:
      text = gradient.trace(*args).lower(lowering_platforms=('tpu',)).as_text()
    return set(re.findall(r'stablehlo\.(\w+)', text))

  own, plain = operations(backend.lowering_for('tpu')), operations(backend.reference())
  assert own != plain
  assert only_plain is None or (only_plain in plain and only_plain not in own)
  assert only_own is None or (only_own in own and only_own not in plain)
  if name in backend.FORMS:
    first = {name: backend.FORMS[name].names[0]}
    with backend.lowering_for('tpu'):
      assert operations(backend.choose(**first)) != own


def test_planes_are_lowered_for_each_platform_from_one_trace():
  planes, *at = jax.tree.map(np.float32, CASES['planes'][1])
  gradient = jax.jit(jax.grad(lambda planes, x, y: jnp.sum(sum_on_planes(planes, x, y) ** 2)))
  traced = gradient.trace(planes, *at)

  def sorts(platform):
    with backend.lowering_for(platform):
      return 'stablehlo.sort' in traced.lower(lowering_platforms=(platform,)).as_text()

  assert sorts('tpu') and not sorts('cuda') and sorts('tpu')


def test_what_is_not_taken_may_be_infinite():
  values = np.float32([[np.inf, 1, np.nan, 2]])
  with backend.lowering_for('tpu'):
    np.testing.assert_array_equal(jax.jit(take)(values, np.array([[3, 1, 1]])), [[2, 1, 1]])
