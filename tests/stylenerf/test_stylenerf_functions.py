"""StyleNeRF's functions: official arrays, closed forms."""

import functools
import math

import golden_stylenerf as golden
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.losses import nerf_path
from jax3dgan.nn import (
  feature_upsampling,
  modulated_conv,
  positional_encoding,
  resample,
  stylenerf_upsampler,
)
from jax3dgan.nn.equalized import activate
from jax3dgan.nn.feature_upsampling import Adapter
from jax3dgan.nn.modulated_dense import modulated_kernel, product
from jax3dgan.rendering import background, compositing, sampling

FILE = 'stylenerf_functions'
compare = functools.partial(goldens.compare, FILE)


def test_cameras():
  arrays = goldens.load(FILE)
  theta, phi = (arrays[f'gausspose.draw0{i}.np_normal'] for i in (0, 1))
  camera = golden.camera(0.3 * theta, math.pi / 2 + 0.155 * phi)
  compare('K_inv_fov12', golden.inverse_intrinsics(camera)[:1], relative=1e-6)
  compare('gausspose.RT', golden.poses(camera), atol=1e-6)
  theta, phi = (2 * arrays[f'unipose.draw0{i}.np_uniform01'] - 1 for i in (0, 1))
  radius = 0.9 + 0.2 * arrays['unipose.draw02.rand']
  camera = golden.camera(math.pi * theta, math.pi / 2 + 0.155 * phi, radius[:, None])
  compare('unipose.RT', golden.poses(camera), atol=1e-6)


def test_sampling():
  arrays = goldens.load(FILE)
  bins, weights = arrays['pdf.bins'], arrays['pdf.weights']
  u = np.broadcast_to(sampling.edge_uniforms(9), (3, 9))
  compare('pdf.det', sampling.importance_sample(bins, weights, u), relative=1e-5)
  found = sampling.importance_sample(bins, weights, arrays['pdf.draw00.rand'])
  compare('pdf.rand_out', found, relative=1e-5)
  depths = sampling.stratified_depths(0.88, 3.2, 7, spacing='disparity')
  compare('warp.depth_0.88_3.2', depths, relative=1e-6)


def test_encoding_and_density():
  arrays = goldens.load(FILE)
  encoded = positional_encoding.encode(arrays['pe.x'], 4, include_input=False, use_pi=True)
  compare('pe.L4', encoded, atol=2e-6)
  compare('dens.relu', compositing.activate_density(arrays['dens.raw'], 'relu'), relative=1e-6)


def test_points_outside():
  arrays = goldens.load(FILE)
  o, d, inverse = (jnp.asarray(arrays[f'outside.{name}']) for name in ('o', 'd', 'depth'))
  points = background.points_outside(o, d, inverse)
  compare('outside.pts4', points, atol=1e-6)
  # The point is on the ray, so far from the origin.
  where = points[:, :3] / points[:, 3:]
  distance = jnp.sum((where - o) * d, axis=-1)
  assert np.allclose(o + distance[:, None] * d, where, atol=1e-5)
  compare('outside.real_depth', distance, relative=1e-5)
  assert np.allclose(jnp.linalg.norm(where, axis=-1), 1 / inverse, rtol=1e-5)
  assert np.allclose(background.points_outside(o, d, 0 * inverse)[:, :3], d, atol=1e-6)


def _dense(weight, gain=1.0):
  return jnp.asarray(weight.reshape(weight.shape[:2]).T * gain)


def adapter_of(arrays, mode: str) -> Adapter | None:
  """Ours of the arrays' adapter, its equalised learning rate in the weights."""
  if mode not in feature_upsampling.WITH_ADAPTER:
    return None
  kernels = [arrays[f'adapter.{i}.weight'] for i in (0, 1)]
  biases = [arrays[f'adapter.{i}.bias'] for i in (0, 1)]
  if mode == 'pixelshuffle':
    biases[1] = biases[1].reshape(-1, 4).T.ravel()
    kernels[1] = kernels[1].reshape(-1, 4, kernels[1].shape[1]).swapaxes(0, 1).reshape(
      kernels[1].shape[:2]
    )  # fmt: skip
  kernels = [_dense(kernel, kernel.shape[1] ** -0.5) for kernel in kernels]
  return Adapter(kernels[0], jnp.asarray(biases[0]), kernels[1], jnp.asarray(biases[1]))


@functools.partial(jax.jit, static_argnames=('mode', 'blur', 'double'))
def layer(x, style, kernel, bias, power, adapter, mode, blur, double):
  """A modulated layer, 1x1 as a product, larger as a convolution."""
  x = x * jax.lax.rsqrt(power)
  if kernel.shape[0] == 1:
    x = product(x, modulated_kernel(kernel[0, 0], style))
  elif double and mode == 'default':
    x = modulated_conv.modulated_conv2d(x, kernel, style, up=2)
    return activate(x + bias)
  else:
    x = modulated_conv.modulated_conv2d(x, kernel, style)
  if double:
    x = feature_upsampling.interleave(feature_upsampling.upsample_features(x, mode, blur, adapter))
  return activate(x + bias)


@pytest.mark.parametrize('size', [1, 3])
@pytest.mark.parametrize('mode', [*feature_upsampling.MODES, 'nn_cat_noblur'])
def test_layers_that_double_the_size(mode, size):
  arrays, name = goldens.load(FILE), f'up.{mode}.k{size}'
  if f'{name}.out' not in arrays:
    pytest.skip(f'{name} is in none of the golden files that are here')
  own = {key.removeprefix(f'{name}.'): arrays[key] for key in arrays if key.startswith(f'{name}.')}
  style = arrays['up.w'] @ own['affine.weight'].T / 4 + own['affine.bias']
  blur, mode = not mode.endswith('noblur'), mode.removesuffix('_noblur')
  for double, key in ((True, f'{name}.out'), (False, f'{name}.out_skipup')):
    kernel = own['weight'].transpose(2, 3, 1, 0)
    if double:
      kernel = kernel[::-1, ::-1]  # the release turns larger kernels where it doubles the size
    found = layer(
      np.moveaxis(arrays['up.x'], 1, -1),
      style,
      kernel,
      own['bias'],
      own['w_avg'],
      adapter_of(own, mode),
      mode=mode,
      blur=blur,
      double=double,
    )
    compare(key, golden.nchw(found), relative=1e-5)


@pytest.mark.parametrize('blur', [True, False])
def test_rows_at_a_time_make_the_same_image(blur, monkeypatch):
  """Two examples and blocks: all at once, two rows of the second, one row of both."""
  rng = np.random.default_rng(0)
  normal = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
  module, w = stylenerf_upsampler.Upsampler((6, 4), 4, 'nn_cat', blur), normal(2, 5, 3)
  params = jax.eval_shape(lambda: module.init(jax.random.key(0), 5, w))
  params = jax.tree.map(lambda x: normal(*x.shape), params)
  features, rgb, powers = normal(2, 4, 4, 5), normal(2, 4, 4, 3), np.float32([[1, 2], [3, 4]])

  images = []
  for limit in (10**9, 2 * 2 * 8 * 6, 0):
    monkeypatch.setattr(stylenerf_upsampler, '_CPU_TILE', limit)

    @jax.jit
    def image(params):
      blocks = module.apply(params, 5, w)
      return stylenerf_upsampler.upsample(blocks, features, rgb, powers, 0.7)[0]

    images.append(image(params))
  for apart in images[1:]:
    np.testing.assert_allclose(apart, images[0], rtol=1e-5, atol=1e-5)
    assert np.any(apart != images[0])  # another program


def test_repeated_borders_leave_an_even_image_even_and_its_middle_as_it_is():
  arrays, name = goldens.load(FILE), 'up.nn_cat.k1'
  own = {key.removeprefix(f'{name}.'): arrays[key] for key in arrays if key.startswith(f'{name}.')}
  adapter = adapter_of(own, 'nn_cat')
  c = adapter.bias_1.shape[-1]
  noise = np.random.default_rng(0).normal(size=(1, 6, 6, c)).astype(np.float32)

  def found(x, border):
    y = feature_upsampling.upsample_features(x, 'nn_cat', True, adapter, border=border)
    return np.asarray(feature_upsampling.interleave(y))

  even = jnp.broadcast_to(noise[:, :1, :1], noise.shape)
  assert np.ptp(found(even, 'repeat'), axis=(1, 2)).max() < 1e-5
  assert np.ptp(found(even, 'zeros'), axis=(1, 2)).max() > 0.1
  both = [found(noise, border) for border in ('repeat', 'zeros')]
  assert np.allclose(both[0][:, 4:-4, 4:-4], both[1][:, 4:-4, 4:-4], atol=1e-5)
  assert not np.allclose(*both, atol=1e-2)


def test_an_unknown_mode_or_border_is_refused():
  with pytest.raises(UserError, match='Choose one of nn_cat'):
    feature_upsampling.upsample_features(jnp.zeros((1, 2, 2, 4)), 'cat')
  with pytest.raises(UserError, match='Choose one of zeros, repeat'):
    resample.check_border('edge')


def test_the_grid_of_pixels_and_its_loss():
  index, uv = nerf_path.pixel_grid(jnp.array([[0.0, 0.0], [0.9, 0.5]]), 8, 2)
  assert index.tolist() == [[0, 4, 32, 36], [19, 23, 51, 55]]
  assert np.allclose(uv[1, 0], [3.5 / 8, 2.5 / 8])
  image = jnp.arange(2 * 8 * 8 * 3.0).reshape(2, 8, 8, 3)
  pixels = image.reshape(2, 64, 3)[jnp.arange(2)[:, None], index]
  assert np.allclose(nerf_path.nerf_path_loss(image, pixels, index), 0)
  away = pixels.at[:, 1, 2].add(3.0)
  assert np.allclose(nerf_path.nerf_path_loss(image, away, index), 2 * 9 / 4)
