"""FIR resampling and convolutions that resample: against official arrays and closed forms."""

import functools
import itertools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from layouts import hwio, nchw, nhwc

from jax3dgan.nn import backend, resample
from jax3dgan.nn.style_decoder import StyleDecoder
from jax3dgan.nn.superresolution import SuperResolution
from jax3dgan.tools import flops

UPFIRDN, RESAMPLE = 'ops_upfirdn2d', 'ops_conv2d_resample'


@pytest.mark.parametrize('case', range(10))
def test_upfirdn_is_the_official_one(case):
  arrays = goldens.load(UPFIRDN)
  numbers = arrays[f'case{case}_ux_uy_dx_dy_px0_px1_py0_py1_flip']
  up_x, up_y, down_x, down_y, left, right, top, bottom, flip = (int(n) for n in numbers)
  options = dict(
    up=(up_y, up_x),
    down=(down_y, down_x),
    padding=((top, bottom), (left, right)),
    gain=float(arrays[f'case{case}_gain']),
    flip=bool(flip),
  )
  fir = arrays[str(arrays[f'case{case}_filter'])]
  run = functools.partial(resample.upfirdn, nhwc(arrays['x']), **options)
  goldens.compare(UPFIRDN, f'case{case}_y', nchw(jax.jit(lambda: run(fir))()), relative=1e-6)
  if fir.shape == (4, 4):  # the same by its factors
    separable = jax.jit(lambda: run(resample.fir_filter()))()
    goldens.compare(UPFIRDN, f'case{case}_y', nchw(separable), relative=1e-6)


def test_upsampling_is_the_official_one():
  x = nhwc(goldens.load(UPFIRDN)['x'])
  goldens.compare(UPFIRDN, 'upsample2d_f4', nchw(jax.jit(resample.upsample)(x)), relative=1e-6)


@pytest.mark.parametrize('up, down', [(1, 1), (2, 1), (3, 1), (5, 1), (1, 2), (1, 3)])
@pytest.mark.parametrize('padding', [(2, 1), (0, 3), (-1, 2)])
@pytest.mark.parametrize('taps', [(1, 2, 4), (1, 2, 3, 4)])
def test_phases_are_the_definition(up, down, padding, taps):
  """Zeros, padding, `np.convolve`, dropped pixels, one row at a time."""
  x = np.random.default_rng(0).standard_normal((1, 5, 6, 2)).astype(np.float32)
  fir = resample.fir_filter(taps)
  y = jax.jit(lambda x: resample.upfirdn(x, fir, up=up, down=down, padding=padding))(x)

  def along(row):
    stuffed = np.zeros(len(row) * up)
    stuffed[::up] = row
    before, after = padding
    stuffed = np.pad(stuffed, (max(before, 0), max(after, 0)))
    stuffed = stuffed[max(-before, 0) : len(stuffed) - max(-after, 0)]
    return np.convolve(stuffed, fir, 'valid')[::down]

  expected = np.apply_along_axis(along, 2, np.apply_along_axis(along, 1, x))
  np.testing.assert_allclose(y, expected, atol=1e-6)


def test_resampling_of_a_plain_keeps_it():
  x = np.full((1, 8, 8, 3), 0.7, np.float32)
  fours = resample.fir_filter(np.convolve([1, 2, 2, 2, 1], [1, 1, 1, 1]))
  for y in (resample.upsample(x), resample.upsample(x, fours, factor=4)):
    np.testing.assert_allclose(y[:, 4:-4, 4:-4], 0.7, atol=1e-6)


@pytest.mark.parametrize('up, down', [(1, 1), (2, 1), (3, 1), (1, 2), (1, 3)])
@pytest.mark.parametrize('n', [1, 2, 3, 4, 6])
def test_the_gradient_of_a_filter_is_that_of_autodiff(up, down, n, thorough):
  rng = np.random.default_rng(0)
  x, taps = rng.standard_normal((2, 9, 8, 3), np.float32), tuple(rng.standard_normal(n))
  axes = (1, 2) if thorough else (1 + n % 2,)

  @jax.jit
  def run(x):
    results = []
    for axis, padding in itertools.product(axes, [(-1, 5), (0, 0), (1, 3), (4, -2)]):
      filters = (resample._filter_axis, resample._correlate_axis)
      own, plain = (
        functools.partial(f, taps=taps, axis=axis, up=up, down=down, padding=padding)
        for f in filters
      )
      y, transpose = jax.vjp(plain, x)
      g = jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
      results.append((jax.vjp(own, x)[1](g), transpose(g)))
      results.append((jax.jvp(own, (x,), (2 * x,))[1], 2 * y))
    return results

  for own, plain in run(x):
    np.testing.assert_allclose(own, plain, atol=1e-5)


@pytest.mark.parametrize('along', [0, 2, 4])
def test_filters_of_many(along):
  x = np.random.default_rng(0).standard_normal((3, 2, 6, 4, 5), np.float32)

  @jax.jit
  def slope(x):
    # A nonlinear gradient, so that both directions are mapped.
    return jax.grad(lambda x: jnp.sum(jnp.sin(resample.upsample(x))))(x)

  many = jax.jit(jax.vmap(slope, along, along))(np.moveaxis(x, 0, along))
  np.testing.assert_allclose(
    np.moveaxis(many, along, 0), np.stack([slope(y) for y in x]), rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize(
  'key, kernel, options',
  [
    ('k3_plain_pad1', 'w3', {}),
    ('k3_up2_pad1_flip_weight_True', 'w3', {'up': 2}),
    ('k3_up2_pad1_flip_weight_False', 'w3', {'up': 2, 'turned': True}),
    ('k3_plain_pad1_flipF', 'w3', {'turned': True}),
    ('k3_down2_pad1', 'w3', {'down': 2}),
    ('k1_up2_pad0', 'w1', {'up': 2}),
    ('k1_down2_pad0', 'w1', {'down': 2}),
  ],
)
@pytest.mark.parametrize('platform', ['cpu', 'gpu'])
def test_convolutions_that_resample(key, kernel, options, platform):
  """Also in the form for accelerators, which a CPU can run."""
  arrays = goldens.load(RESAMPLE)
  turned = options.get('turned')
  options = {name: value for name, value in options.items() if name != 'turned'}
  kernel = hwio(arrays[kernel])
  kernel = kernel[::-1, ::-1] if turned else kernel
  with backend.lowering_for(platform):
    y = jax.jit(lambda x: resample.conv2d_resample(x, kernel, **options))(nhwc(arrays['x']))
  goldens.compare(RESAMPLE, key, nchw(y), relative=2e-6)


@pytest.mark.parametrize('stride, k', [(2, 3), (3, 2), (2, 4), (1, 3)])
def test_both_forms_of_the_transposed_convolution(stride, k):
  """And their gradients. XLA's own multiplies no zeros, in the gradients neither."""
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, 4, 5, 3)).astype(np.float32)
  kernel = rng.standard_normal((k, k, 3, 2)).astype(np.float32)
  shape = (2, 3 * stride + k, 4 * stride + k, 2)
  weights = rng.standard_normal(shape).astype(np.float32)

  def run(implementation, x, kernel):
    layer = functools.partial(
      resample.conv2d_transpose, stride=stride, implementation=implementation
    )
    y, transpose = jax.vjp(layer, x, kernel)
    return y, *transpose(weights)

  traces = [jax.jit(functools.partial(run, name)).trace(x, kernel) for name in ('lax', 'patches')]
  lax, patches = (trace.lower().compile() for trace in traces)
  for a, b in zip(lax(x, kernel), patches(x, kernel), strict=True):
    np.testing.assert_allclose(a, b, atol=5e-5)
  needed = 3 * 2 * x.size * k**2 * 2  # every pixel with every tap and feature
  assert flops.products(traces[0].jaxpr) == needed
  assert lax.cost_analysis()['flops'] < 1.1 * needed


@pytest.mark.parametrize('options', [{'up': 2}, {'down': 2}])
def test_second_derivatives(options):
  rng = np.random.default_rng(0)
  with jax.enable_x64(True):
    x, kernel = rng.standard_normal((1, 4, 4, 2)), 0.3 * rng.standard_normal((3, 3, 2, 2))
    check_grads(
      jax.jit(lambda x, k: jnp.tanh(resample.conv2d_resample(x, k, **options)).sum()),
      (x, kernel),
      order=2,
      modes=['rev'],
      rtol=1e-4,
    )


@pytest.mark.parametrize('antialias', [0, 1])
def test_bilinear_resizing_is_the_official_one(antialias):
  x = nhwc(goldens.load('ops_resize')['x37'])
  y = resample.resize_bilinear(x, 16, bool(antialias))
  goldens.compare('ops_resize', f'bilinear_37to16_aa{antialias}', nchw(y), relative=1e-5)


def test_too_few_pixels():
  with pytest.raises(ValueError, match='too few'):
    resample.upfirdn(jnp.zeros((1, 2, 2, 1)), resample.fir_filter())


@pytest.mark.parametrize('up', [1, 2])
def test_a_border_that_is_repeated_leaves_no_frame(up):
  """Outside of a frame of what a kernel reaches nothing changes; what is even stays even."""
  kernel = jax.random.normal(jax.random.key(0), (3, 3, 2, 2))
  x = jax.random.normal(jax.random.key(1), (1, 8, 8, 2))
  run = jax.jit(functools.partial(resample.conv2d_resample, up=up), static_argnames='border')
  zeros, repeat = (run(x, kernel, border=border) for border in resample.BORDERS)
  assert zeros.shape == repeat.shape == (1, 8 * up, 8 * up, 2)
  inside = np.s_[:, 2 * up : -2 * up, 2 * up : -2 * up]
  np.testing.assert_allclose(zeros[inside], repeat[inside], atol=1e-5)
  even = jnp.ones_like(x)
  assert np.ptp(run(even, kernel), axis=(1, 2)).max() > 0.1
  np.testing.assert_allclose(np.ptp(run(even, kernel, border='repeat'), axis=(1, 2)), 0, atol=1e-5)
  with pytest.raises(ValueError, match='border repeated'):
    resample.conv2d_resample(x, kernel, down=2, border='repeat')


@pytest.mark.parametrize('name', ['superresolution', 'decoder'])
def test_an_even_ground_has_no_frame(name):
  """Neither EG3D's super-resolution nor StyleSDF's decoder sees where an image ends."""
  if name == 'decoder':
    make, styles = functools.partial(StyleDecoder, (3, 2), 4), jnp.ones((1, 4, 2))
  else:
    make, styles = functools.partial(SuperResolution, (3, 2), (1, 2), 4), jnp.ones((1, 2))
  features = jnp.ones((1, 4, 4, 4))
  variables = jax.jit(make().init)(jax.random.key(0), features, styles)

  def spread(border):
    out = jax.jit(make(border=border).apply)(variables, features, styles)
    return np.ptp(out[0] if name == 'superresolution' else out, axis=(1, 2)).max()

  assert spread('zeros') > 1e-2 and spread('repeat') < 1e-5
