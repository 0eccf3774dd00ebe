"""Both implementations of a convolution agree, and CoordConv equals plain concatenation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jax3dgan.errors import UserError
from jax3dgan.nn import backend, conv
from jax3dgan.nn.cpu import convolution

quick_jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
# (kernel size, stride, padding, height, width): all that the discriminators use, and odd ones.
SHAPES = [
  (3, 1, 1, 6, 6),
  (3, 2, 1, 8, 8),
  (1, 1, 0, 4, 4),
  (1, 2, 0, 4, 4),
  (2, 1, 0, 2, 2),
  (3, 2, 1, 7, 5),
  (4, 3, 2, 8, 7),
]


def arrays(kernel_size, height, width, in_channels=3, features=4, dtype=np.float64):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, height, width, in_channels)).astype(dtype)
  kernel = rng.normal(size=(kernel_size, kernel_size, in_channels, features)).astype(dtype)
  return x, kernel, rng.normal(size=features).astype(dtype)


@pytest.mark.parametrize('kernel_size, stride, padding, height, width', SHAPES)
def test_implementations_agree_to_second_order(kernel_size, stride, padding, height, width):
  with jax.enable_x64(True):
    args = arrays(kernel_size, height, width)

    def value_and_gradients(implementation):
      def loss(x, kernel, bias):
        y = conv.conv2d(
          x, kernel, bias, stride=stride, padding=padding, implementation=implementation
        )
        return jnp.tanh(y).sum(), y

      def penalty(x, kernel, bias):
        gradient, y = jax.grad(loss, has_aux=True)(x, kernel, bias)
        return jnp.square(gradient).sum(), (gradient, y)

      return quick_jit(jax.grad(penalty, (0, 1, 2), has_aux=True))(*args)

    lax, patches = value_and_gradients('lax'), value_and_gradients('patches')
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), lax, patches
    )


@pytest.mark.parametrize('kernel_size, padding', [(3, 1), (3, 0), (2, 0), (5, 2)])
def test_the_kernels_gradient_of_many_channels_is_of_some_rows_at_a_time(
  kernel_size, padding, monkeypatch
):
  monkeypatch.setattr(convolution, '_PIXELS', 30)
  monkeypatch.setattr(convolution, '_ROWS', 2)
  # 12, 10, 11 (a prime: strips of one row) and 12 rows of the result.
  x, kernel, _ = arrays(kernel_size, 12, 9, features=32, dtype=np.float32)

  def gradient(conv_fn):
    return quick_jit(jax.grad(lambda k: jnp.tanh(conv_fn(x, k, padding=padding)).sum()))

  found = gradient(convolution.canonical_conv)(kernel)
  expected = gradient(convolution.reference_conv)(kernel)
  np.testing.assert_allclose(found, expected, atol=1e-4)
  text = gradient(convolution.canonical_conv).lower(kernel).as_text()
  assert text.count('stablehlo.convolution') == 1  # of the image
  assert text.count('stablehlo.while') == 1


@pytest.mark.parametrize('stride', [1, 2])
def test_patches_derivatives(stride):
  with jax.enable_x64(True):
    x, kernel, bias = arrays(3, 4, 4, 1, 2)

    def f(x, kernel, bias):
      y = conv.conv2d(x, kernel, bias, stride=stride, padding=1, implementation='patches')
      return jnp.square(y).sum() / 10

    check_grads(jax.jit(f), (x, kernel, bias), order=2, modes=['rev'], atol=1e-5, rtol=1e-5)


def test_identity_and_shift_kernels():
  x, _, _ = arrays(3, 5, 5, 1, 1, np.float32)
  centre = np.zeros((3, 3, 1, 1), np.float32)
  centre[1, 1] = 1
  shift = np.zeros_like(centre)
  shift[0, 1] = 1  # the pixel above
  for implementation in ('lax', 'patches'):
    options = dict(padding=1, implementation=implementation)
    np.testing.assert_array_equal(conv.conv2d(x, centre, **options), x)
    np.testing.assert_array_equal(conv.conv2d(x, centre, stride=2, **options), x[:, ::2, ::2])
    above = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
    np.testing.assert_array_equal(conv.conv2d(x, shift, **options), above)


def test_coordinates_are_row_then_column():
  maps = conv.coordinates(3, 5)
  assert maps.shape == (1, 3, 5, 2)
  np.testing.assert_allclose(maps[0, :, 2, 0], [-1, 0, 1])
  np.testing.assert_allclose(maps[0, 1, :, 1], [-1, -0.5, 0, 0.5, 1])


@pytest.mark.parametrize('stride', [1, 2])
def test_coord_conv_is_concatenation(stride):
  with jax.enable_x64(True):
    x, _, _ = arrays(3, 6, 6)
    _, kernel, bias = arrays(3, 6, 6, in_channels=5)
    maps = jnp.broadcast_to(conv.coordinates(6, 6, x.dtype), (2, 6, 6, 2))

    def cheap(x, kernel):
      return conv.coord_conv2d(x, kernel, bias, stride=stride, padding=1)

    def plain(x, kernel):
      both = jnp.concatenate([x, maps], -1)
      return conv.conv2d(both, kernel, bias, stride=stride, padding=1, implementation='lax')

    def value_and_gradients(f):
      def loss(x, kernel):
        y = f(x, kernel)
        return jnp.tanh(y).sum(), y

      return quick_jit(jax.grad(loss, (0, 1), has_aux=True))(x, kernel)

    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12),
      value_and_gradients(cheap),
      value_and_gradients(plain),
    )


@pytest.mark.parametrize('policy', ['bfloat16', 'float16'])
@pytest.mark.parametrize('implementation', ['lax', 'patches'])
def test_rounded_policies_round_only_the_inputs(implementation, policy):
  x, kernel, _ = arrays(3, 6, 6, 16, dtype=np.float32)
  kernel /= 12  # outputs of about one, where tanh bends but is not flat

  def rounded(a):
    return np.asarray(jnp.asarray(a).astype(policy).astype(jnp.float32))

  options = dict(stride=2, padding=1, implementation=implementation)
  exact = quick_jit(functools.partial(conv.conv2d, **options))
  y = quick_jit(functools.partial(conv.conv2d, matmul_dtype=policy, **options))(x, kernel)
  assert y.dtype == jnp.float32
  np.testing.assert_allclose(y, exact(rounded(x), rounded(kernel)), atol=2e-5)

  # Second-order gradients exist, stay float32, and are near the exact ones.
  def penalty(kernel, matmul_dtype):
    def total(x):
      return jnp.tanh(conv.conv2d(x, kernel, matmul_dtype=matmul_dtype, **options)).sum()

    return jnp.square(jax.grad(total)(x)).sum()

  gradient = quick_jit(jax.grad(penalty), static_argnums=1)
  actual, expected = gradient(kernel, policy), gradient(kernel, 'float32')
  assert actual.dtype == np.float32
  np.testing.assert_allclose(actual, expected, atol=0.05 * np.abs(expected).max())


def test_unknown_matmul_dtype():
  x, kernel, _ = arrays(3, 4, 4, dtype=np.float32)
  with pytest.raises(UserError, match="'float8'.*bfloat16"):
    conv.conv2d(x, kernel, matmul_dtype='float8')


def test_choice_follows_the_platform():
  """The strided convolution of a CPU's program is a product; an accelerator's is a convolution."""
  x, kernel, _ = arrays(3, 4, 4, dtype=np.float32)

  def primitives():
    jaxpr = jax.make_jaxpr(lambda x: conv.conv2d(x, kernel, stride=2, padding=1))(x)
    return str(jaxpr)

  with backend.lowering_for('cpu'):
    assert 'conv_general_dilated' not in primitives()
    assert conv.choose_implementation(1, 3, 32) == 'lax'
  for name in ('gpu', 'tpu'):
    with backend.lowering_for(name):
      assert 'conv_general_dilated' in primitives()


@pytest.mark.parametrize('kernel_size, padding', [(3, 1), (3, 0), (1, 0), (4, 0), (3, 2), (2, 3)])
def test_gradients_of_any_order_on_a_cpu_keep_the_layout_that_is_fast(kernel_size, padding):
  """In a branch or a loop, other layouts cost 60 times the time there."""
  with jax.enable_x64(True):
    x, kernel, _ = arrays(kernel_size, 6, 7)

    def gradients(implementation):
      def loss(x, kernel):
        return jnp.sin(implementation(x, kernel)).sum()

      def penalty(x, kernel):
        of_x, of_kernel = jax.grad(loss, (0, 1))(x, kernel)
        return jnp.square(of_x).sum() + (of_kernel**3).sum()

      return jax.grad(penalty, (0, 1))

    native = gradients(lambda x, kernel: convolution.reference_conv(x, kernel, 1, padding))
    with backend.lowering_for('cpu'):
      own = gradients(
        lambda x, kernel: conv.conv2d(x, kernel, padding=padding, implementation='lax')
      )
      text = jax.jit(own).lower(x, kernel).as_text()
      for a, b in zip(quick_jit(own)(x, kernel), quick_jit(native)(x, kernel), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)
  usual = 'dim_numbers = [b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]'
  layouts = text.count('dim_numbers = ')
  assert layouts > 4
  assert text.count(usual) == layouts
