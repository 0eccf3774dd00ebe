"""The progressive discriminators against the official network's arrays, and their own contract."""

import functools

import goldens
import jax
import numpy as np
import pytest
import x64

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
QUICK = dict(compiler_options={'xla_backend_optimization_level': 0})
quick_jit = functools.partial(jax.jit, **QUICK)
x64_jit = functools.partial(x64.jit, **QUICK)
DTYPES = (np.float64, np.float32)
# Twice what float32 costs the official code: features 8e-7; gradients of R1, as a share of the
# largest entry, 1.7e-6.
OUTPUT, R1 = 2e-6, 3.5e-6
SMALL_CHANNELS = (4, 6, 8, 10, 12, 14, 14, 14, 14)


@functools.cache
def released(name):
  """(module, parameters, arrays) of an official discriminator with few channels."""
  arrays = goldens.load(f'{name}_small')
  block = RELEASED[name]['block']
  channels = SMALL_CHANNELS if block == 'progressive' else SMALL_CHANNELS[1:]
  module = discriminators.create(dict(name='progressive', channels=channels, **RELEASED[name]))
  official = {k.removeprefix('param/'): v for k, v in arrays.items() if k.startswith('param/')}
  return module, pigan.from_official(official, pigan.discriminator_names(official)), arrays


def cast(params, dtype):
  return jax.tree.map(lambda x: np.asarray(x, dtype), params)


def image(arrays, size, dtype=np.float32):
  return np.transpose(arrays[f'image/{size}'], (0, 2, 3, 1)).astype(dtype)


@pytest.mark.parametrize('dtype', x64.DTYPES)
@pytest.mark.parametrize('size', [4, 16, 32])
@pytest.mark.parametrize('name', RELEASED)
def test_matches_official(name, size, dtype):
  module, params, arrays = released(name)
  apply = x64_jit(lambda p, x, fade: module.apply({'params': p}, x, fade))
  for fade in (0.0, 0.37, 1.0):
    out = apply(cast(params, dtype), image(arrays, size, dtype), dtype(fade))
    prefix = f'out/res{size}_alpha{fade}'
    outputs = {
      'prediction': out.logits[:, None],
      'position': out.heads.get('pose'),
      'latent': out.heads.get('latent'),
    }
    for key, actual in outputs.items():
      if f'{prefix}/{key}' in arrays:
        goldens.compare(f'{name}_small', f'{prefix}/{key}', actual, atol=OUTPUT)
      else:
        assert actual is None and not module.pose_dim


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


@functools.cache
def with_features(name, dtype):
  """(outputs, {block: its features}) of the images of 32²."""
  module, params, arrays = released(name)

  @x64_jit
  def apply(params, x):
    return module.apply({'params': params}, x, 0.37, capture_intermediates=True)

  out, captured = apply(cast(params, dtype), image(arrays, 32, dtype))
  blocks = captured['intermediates']
  return out, {key: value['__call__'][0] for key, value in blocks.items() if 'block' in key}


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', RELEASED)
def test_block_features_match_official(name, dtype):
  _, features = with_features(name, dtype)
  for i in range(4):
    block = np.transpose(features[f'block_{32 // 2**i}'], (0, 3, 1, 2))
    goldens.compare(f'{name}_small', f'feature/res32_alpha0.37/block{i}', block, atol=OUTPUT)


@pytest.mark.parametrize('name', RELEASED)
def test_float64_is_the_formula(name):
  module, params, arrays = released(name)
  features, outputs = numpy_discriminator(
    params, image(arrays, 32, np.float64), 0.37, RELEASED[name]['block']
  )
  out, blocks = with_features(name, np.float64)
  assert out.logits.dtype == np.float64
  np.testing.assert_allclose(out.logits, outputs[:, 0], rtol=0, atol=1e-12)
  if module.pose_dim:
    np.testing.assert_allclose(out.heads['latent'], outputs[:, 1:257], rtol=0, atol=1e-12)
    np.testing.assert_allclose(out.heads['pose'], outputs[:, 257:], rtol=0, atol=1e-12)
  for i, feature in enumerate(features):
    np.testing.assert_allclose(blocks[f'block_{32 // 2**i}'], feature, rtol=0, atol=1e-12)


R1_CASES = [(16, 1.0), (32, 0.37)]


@pytest.mark.parametrize('dtype', x64.DTYPES)
@pytest.mark.parametrize('size, fade', R1_CASES)
@pytest.mark.parametrize('name', RELEASED)
def test_r1_matches_official(name, size, fade, dtype):
  module, params, arrays = released(name)
  file, prefix = f'{name}_small', f'r1/res{size}_alpha{fade}'

  def logits(params, x):
    return module.apply({'params': params}, x, fade).logits

  @x64_jit
  def derivatives(params, x):
    def penalty(params):
      squared_norm = regularizers.r1_penalty(lambda i: logits(params, i), x)
      return 0.5 * 10 * squared_norm, squared_norm

    (value, squared_norm), gradient = jax.value_and_grad(penalty, has_aux=True)(params)
    return value, squared_norm, gradient, jax.grad(lambda x: logits(params, x).sum())(x)

  value, squared_norm, gradient, grad_real = derivatives(
    cast(params, dtype), image(arrays, size, dtype)
  )
  goldens.compare(file, f'{prefix}/mean_sqnorm', squared_norm, relative=R1)
  goldens.compare(file, f'{prefix}/penalty_lambda10', value, relative=R1)
  grad_real = np.transpose(grad_real, (0, 3, 1, 2))
  goldens.compare(file, f'{prefix}/grad_real', grad_real, relative=R1)
  names = [k.removeprefix('param/') for k in arrays if k.startswith('param/')]
  num_compared = 0
  for key, actual in pigan.to_official(gradient, pigan.discriminator_names(names)).items():
    if f'{prefix}/param_grad/{key}' in arrays:
      goldens.compare(file, f'{prefix}/param_grad/{key}', actual, relative=R1)
      num_compared += 1
    else:  # layers that this size does not use, and biases behind the last nonlinearity
      assert not np.any(actual)
  assert num_compared > 10


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
  with pytest.raises(UserError, match="'patches'.*progressive"):
    discriminators.create(dict(name='patches'))
  with pytest.raises(UserError, match="'dense'.*strided"):
    discriminators.create(dict(name='progressive', block='dense'))
