"""The progressive discriminators against the official network's arrays, and their own contract."""

import functools

import goldens
import jax
import numpy as np
import pytest

from jax3dgan import discriminators
from jax3dgan.convert import pigan
from jax3dgan.errors import UserError
from jax3dgan.losses import regularizers

RELEASED = {
  'ProgressiveDiscriminator': dict(block='progressive', latent_dim=0, pose_dim=0),
  'ProgressiveEncoderDiscriminator': dict(block='progressive'),
  'CCSEncoderDiscriminator': dict(block='ccs'),
  'StridedDiscriminator': dict(block='strided', latent_dim=0, pose_dim=0),
}
# Each test compiles a network of its own and runs it once: half the time is saved without LLVM's
# optimizations.
quick_jit = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})
SMALL_CHANNELS = (4, 6, 8, 10, 12, 14, 14, 14, 14)


def from_official(arrays):
  """Our parameter tree from official state_dict names and OIHW weights."""
  return pigan.from_official(arrays, pigan.discriminator_names(arrays))


@functools.cache
def released(name):
  """(module, parameters, arrays) of an official discriminator with few channels."""
  arrays = goldens.load(f'{name}_small')
  block = RELEASED[name]['block']
  channels = SMALL_CHANNELS if block == 'progressive' else SMALL_CHANNELS[1:]
  module = discriminators.create(dict(name='progressive', channels=channels, **RELEASED[name]))
  official = {k.removeprefix('param/'): v for k, v in arrays.items() if k.startswith('param/')}
  return module, from_official(official), arrays


def image(arrays, size, dtype=np.float32):
  return np.transpose(arrays[f'image/{size}'], (0, 2, 3, 1)).astype(dtype)


@pytest.mark.parametrize('size', [4, 16, 32])
@pytest.mark.parametrize('name', RELEASED)
def test_matches_official(name, size):
  module, params, arrays = released(name)
  apply = quick_jit(lambda p, x, fade: module.apply({'params': p}, x, fade))
  for fade in (0.0, 0.37, 1.0):
    out = apply(params, image(arrays, size), fade)
    prefix = f'out/res{size}_alpha{fade}'
    np.testing.assert_allclose(out.logits, arrays[f'{prefix}/prediction'][:, 0], atol=1e-5)
    if module.pose_dim:
      np.testing.assert_allclose(out.pose, arrays[f'{prefix}/position'], atol=1e-5)
      np.testing.assert_allclose(out.latent, arrays[f'{prefix}/latent'], atol=1e-5)
    else:
      assert out.pose is None and out.latent is None


def concatenated_conv(x, layer, stride, padding, coords):
  """A plain float64 convolution by numpy, tap by tap, the coordinates concatenated."""
  b, h, w, _ = x.shape
  if coords:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, h), np.linspace(-1, 1, w), indexing='ij'), -1)
    x = np.concatenate([x, np.broadcast_to(grid, (b, h, w, 2))], -1)
  kernel = np.float64(layer['kernel'])
  k = kernel.shape[0]
  x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  n = (h + 2 * padding - k) // stride + 1
  end = (n - 1) * stride + 1
  taps = (
    x[:, i : i + end : stride, j : j + end : stride] @ kernel[i, j] for i, j in np.ndindex(k, k)
  )
  return sum(taps) + layer['bias']


def numpy_discriminator(params, x, fade, block):
  """The network in float64; (features after each block, final outputs [b, 1 + ...])."""
  coords, pool = block != 'strided', block == 'progressive'

  def lrelu(y):
    return np.where(y > 0, y, 0.2 * y)

  def mean_pool(y):
    return (y[:, ::2, ::2] + y[:, 1::2, ::2] + y[:, ::2, 1::2] + y[:, 1::2, 1::2]) / 4

  def enter(y):
    return lrelu(concatenated_conv(y, params[f'from_rgb_{y.shape[1]}'], 1, 0, False))

  image, x, features, stride = x, enter(x), [], 1 if pool else 2
  while (size := x.shape[1]) > 2:
    layers = params[f'block_{size}']
    y = lrelu(concatenated_conv(x, layers['conv_0'], 1, 1, coords))
    y = lrelu(concatenated_conv(y, layers['conv_1'], stride, 1, coords))
    if pool:
      x, y = mean_pool(x), mean_pool(y)
    if 'shortcut' in layers:
      x = concatenated_conv(x, layers['shortcut'], stride, 0, False)
    x = (x + y) / np.sqrt(2)
    features.append(x)
    if len(features) == 1 and size > 4:
      x = fade * x + (1 - fade) * enter(image[:, ::2, ::2])
  return features, concatenated_conv(x, params['final'], 1, 0, False)[:, 0, 0]


@pytest.mark.parametrize('name', RELEASED)
def test_float64_and_block_features(name):
  module, params, arrays = released(name)
  features, outputs = numpy_discriminator(
    params, image(arrays, 32, np.float64), 0.37, RELEASED[name]['block']
  )
  with jax.enable_x64(True):

    @quick_jit
    def apply(params, x):
      return module.apply({'params': params}, x, 0.37, capture_intermediates=True)

    out, captured = apply(jax.tree.map(np.float64, params), image(arrays, 32, np.float64))
  assert out.logits.dtype == np.float64
  np.testing.assert_allclose(out.logits, outputs[:, 0], rtol=0, atol=1e-12)
  if module.pose_dim:
    np.testing.assert_allclose(out.latent, outputs[:, 1:257], rtol=0, atol=1e-12)
    np.testing.assert_allclose(out.pose, outputs[:, 257:], rtol=0, atol=1e-12)
  for i, feature in enumerate(features):
    block = captured['intermediates'][f'block_{32 // 2**i}']['__call__'][0]
    np.testing.assert_allclose(block, feature, rtol=0, atol=1e-12)
    official = arrays[f'feature/res32_alpha0.37/block{i}']
    np.testing.assert_allclose(np.transpose(block, (0, 3, 1, 2)), official, atol=1e-5)


def close(actual, expected, relative):
  """Agreement relative to the largest entry, since a sum's rounding scales with it."""
  np.testing.assert_allclose(actual, expected, rtol=0, atol=relative * np.abs(expected).max())


@pytest.mark.parametrize(
  'name, size, fade',
  [
    ('ProgressiveDiscriminator', 16, 1.0),
    ('ProgressiveEncoderDiscriminator', 32, 0.37),
    ('CCSEncoderDiscriminator', 32, 0.37),
    ('StridedDiscriminator', 16, 1.0),
  ],
)
def test_r1_matches_official(name, size, fade):
  module, params, arrays = released(name)
  prefix = f'r1/res{size}_alpha{fade}'
  with jax.enable_x64(True):

    def logits(params, x):
      return module.apply({'params': params}, x, fade).logits

    @quick_jit
    def derivatives(params, x):
      def penalty(params):
        squared_norm = regularizers.r1_penalty(lambda i: logits(params, i), x)
        return 0.5 * 10 * squared_norm, squared_norm

      (value, squared_norm), gradient = jax.value_and_grad(penalty, has_aux=True)(params)
      return value, squared_norm, gradient, jax.grad(lambda x: logits(params, x).sum())(x)

    value, squared_norm, gradient, grad_real = derivatives(
      jax.tree.map(np.float64, params), image(arrays, size, np.float64)
    )
  close(squared_norm, arrays[f'{prefix}/mean_sqnorm'], 1e-6)
  close(value, arrays[f'{prefix}/penalty_lambda10'], 1e-6)
  close(np.transpose(grad_real, (0, 3, 1, 2)), arrays[f'{prefix}/grad_real'], 2e-6)
  keys = [k for k in arrays if k.startswith(f'{prefix}/param_grad/')]
  # Layers that this size does not use have no golden gradient; ours is zero.
  official = {
    k.removeprefix('param/'): np.zeros_like(arrays[k]) for k in arrays if k.startswith('param/')
  }
  official |= {k.removeprefix(f'{prefix}/param_grad/'): arrays[k] for k in keys}
  assert len(keys) > 10
  expected = from_official(official)
  jax.tree.map(lambda a, e: close(a, e, 5e-6), gradient, expected)


def test_init_covers_every_size_as_released():
  module = discriminators.create(dict(name='progressive', channels=(32, 32, 64), block='ccs'))
  params = discriminators.init_params(module, jax.random.key(0))
  assert module.resolutions == (2, 4, 8) and module.max_resolution == 8
  names = {'final'} | {f'from_rgb_{r}' for r in (2, 4, 8)} | {f'block_{r}' for r in (4, 8)}
  assert set(params) == names
  kernel = params['block_8']['conv_1']['kernel']  # [3, 3, 34, 32]
  assert kernel.shape == (3, 3, 34, 32)
  # Standard error of the standard deviation of 9792 normals: .7 %.
  assert abs(float(kernel.std()) * (9 * 34 * 1.04 / 2) ** 0.5 - 1) < 0.03
  for layer, fan_in in ((params['final'], 4 * 64), (params['block_8']['shortcut'], 32)):
    for value in layer.values():
      extreme = float(abs(value).max()) * fan_in**0.5
      assert 0.9 < extreme <= 1
  pooling = discriminators.create(dict(name='progressive', channels=(32, 32, 64)))
  assert pooling.block == 'ccs'
  pooling = pooling.clone(block='progressive')
  params = discriminators.init_params(pooling, jax.random.key(0))
  assert 'shortcut' not in params['block_8'] and 'shortcut' in params['block_4']
  extreme = float(abs(params['block_8']['conv_0']['kernel']).max()) * (9 * 34) ** 0.5
  assert 1.98 < extreme <= 2


def test_parameter_counts_of_the_release():
  """12.4 to 13.3 million at the paper's channels."""
  counts = {}
  for block, channels in (
    ('progressive', (16, 32, 64, 128, 256, 400, 400, 400, 400)),
    ('ccs', (32, 64, 128, 256, 400, 400, 400, 400)),
    ('strided', (32, 64, 128, 256, 400, 400, 400, 400)),
  ):
    module = discriminators.create(dict(name='progressive', channels=channels, block=block))
    shapes = jax.eval_shape(lambda k, m=module: discriminators.init_params(m, k), jax.random.key(0))
    counts[block] = sum(leaf.size for leaf in jax.tree.leaves(shapes))
  assert all(12.3e6 < n < 13.4e6 for n in counts.values()), counts


def test_static_fade_and_bfloat16():
  module, params, arrays = released('CCSEncoderDiscriminator')
  x = image(arrays, 16)[:, ::2, ::2]
  traced = quick_jit(lambda p, fade: module.apply({'params': p}, x, fade).logits)(params, 1.0)
  static = quick_jit(lambda p: module.apply({'params': p}, x).logits)(params)
  np.testing.assert_allclose(static, traced, atol=1e-6)
  rounding = module.clone(matmul_dtype='bfloat16')
  rounded = quick_jit(lambda p: rounding.apply({'params': p}, x).logits)(params)
  assert rounded.dtype == np.float32
  # Each of four layers costs 2^-9 relative, of logits of about 0.5.
  np.testing.assert_allclose(rounded, traced, atol=2e-2)
  assert np.abs(rounded - traced).max() > 1e-5


@pytest.mark.parametrize('shape', [(1, 8, 16, 3), (1, 12, 12, 3), (1, 1024, 1024, 3), (1, 8, 8, 4)])
def test_wrong_images_name_the_sizes(shape):
  module, params, _ = released('StridedDiscriminator')
  with pytest.raises(UserError, match='2, 4, 8, 16, 32, 64, 128, 256') as error:
    module.apply({'params': params}, np.zeros(shape, np.float32))
  assert '\n' not in str(error.value)


def test_unknown_names_are_user_errors():
  with pytest.raises(UserError, match="'patch'.*progressive"):
    discriminators.create(dict(name='patch'))
  module = discriminators.create(dict(name='progressive', block='dense'))
  with pytest.raises(UserError, match="'dense'.*strided"):
    discriminators.init_params(module, jax.random.key(0))
