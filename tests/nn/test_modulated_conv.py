"""Modulated convolution: official arrays, kernels of one's own, derivatives."""

import re

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from layouts import hwio, nchw, nhwc

from jax3dgan.nn import conv, modulated_conv
from jax3dgan.nn.modulated_conv import SynthesisLayer, ToRGB, modulated_conv2d

FILE = 'ops_modulated_conv2d'


@pytest.mark.parametrize(
  'key, kernel, options, noise',
  [
    ('fused_demod_k3', 'w3', {}, None),
    ('fused_demod_k3_noise', 'w3', {}, 'noise_8'),
    ('fused_nodemod_k3', 'w3', {'demodulate': False}, None),
    ('fused_nodemod_k1', 'w1', {'demodulate': False}, None),
    ('fused_demod_k3_up2_noise', 'w3', {'up': 2}, 'noise_16'),
    ('fused_demod_k3_up2_noiseconst', 'w3', {'up': 2}, 'noise_const_16'),
    ('fused_demod_k3_down2', 'w3', {'down': 2}, None),
  ],
)
def test_it_is_the_official_one(key, kernel, options, noise):
  arrays = goldens.load(FILE)
  kernel = hwio(arrays[kernel])
  if options.get('up'):  # the official up-sampling layers turn their kernels
    kernel = kernel[::-1, ::-1]
  run = jax.jit(lambda x, s: modulated_conv2d(x, kernel, s, **options))
  y = nchw(run(nhwc(arrays['x']), arrays['styles']))
  goldens.compare(FILE, key, y if noise is None else y + arrays[noise], relative=2e-6)


def inputs(c=3, f=4, dtype=np.float32):
  rng = np.random.default_rng(0)
  x, kernel = rng.standard_normal((2, 4, 4, c)), rng.standard_normal((3, 3, c, f))
  return x.astype(dtype), kernel.astype(dtype), rng.standard_normal((2, c)).astype(dtype)


def test_it_is_one_convolution_with_each_examples_own_kernel():
  x, kernel, style = inputs()
  y = modulated_conv2d(x, kernel, style)
  for i in range(2):
    own = kernel * style[i][:, None]
    own /= np.sqrt((own**2).sum((0, 1, 2)) + 1e-8)
    np.testing.assert_allclose(y[i], conv.conv2d(x[i : i + 1], own, padding=1)[0], atol=1e-5)


def test_the_size_of_a_style_does_not_matter_to_demodulated_layers():
  x, kernel, style = inputs()
  np.testing.assert_allclose(
    modulated_conv2d(x, kernel, style), modulated_conv2d(x, kernel, 50 * style), atol=1e-5
  )


def test_demodulation_gives_unit_variance_on_white_input():
  _, kernel, style = inputs(c=8)
  x = np.random.default_rng(1).standard_normal((2, 64, 64, 8)).astype(np.float32)
  y = jax.jit(modulated_conv2d)(x, kernel, np.concatenate([style, style], 1)[:, :8])
  np.testing.assert_allclose(np.asarray(y)[:, 1:-1, 1:-1].std((1, 2)), 1, atol=0.1)


@pytest.mark.parametrize('up', [1, 2])
def test_second_derivatives(up):
  with jax.enable_x64(True):
    x, kernel, style = inputs(2, 2, np.float64)

    def total(x, kernel, style):
      return jnp.tanh(modulated_conv2d(x, kernel, style, up=up)).sum()

    check_grads(jax.jit(total), (x, kernel, style), order=2, modes=['rev'], rtol=1e-4)


def test_no_grouped_convolution():
  """A convolution with groups would be whole on every device of a split batch."""
  x, kernel, style = inputs()
  text = jax.jit(lambda *a: modulated_conv2d(*a, up=2)).lower(x, kernel, style).as_text()
  text += jax.jit(modulated_conv2d).lower(x, kernel, style).as_text()
  assert 'stablehlo.convolution' in text
  groups = re.findall(r'(feature|batch)_group_count = (\d+)', text)
  assert groups and {count for _, count in groups} == {'1'}


def test_noise_enters_with_its_strength_and_before_the_activation():
  x, _, _ = inputs()
  w = np.ones((2, 5), np.float32)
  noise = np.random.default_rng(2).standard_normal((2, 4, 4, 1)).astype(np.float32)
  layer = SynthesisLayer(4, activation='linear')
  variables = layer.init(jax.random.key(0), x, w)
  silent = layer.apply(variables, x, w)
  np.testing.assert_array_equal(layer.apply(variables, x, w, noise), silent)  # strength 0 at first
  variables['params']['noise_strength'] = jnp.float32(0.5)
  np.testing.assert_allclose(layer.apply(variables, x, w, noise) - silent, 0.5 * np.broadcast_to(
    noise, silent.shape), atol=1e-6)  # fmt: skip
  bent = SynthesisLayer(4, clamp=0.5).apply(variables, x, w, noise)
  expected = np.sqrt(2) * jax.nn.leaky_relu(layer.apply(variables, x, w, noise), 0.2)
  np.testing.assert_allclose(bent, np.clip(expected, -0.5, 0.5), atol=1e-6)


def test_to_rgb_scales_with_its_style():
  x, _, _ = inputs()
  w = np.random.default_rng(3).standard_normal((2, 5)).astype(np.float32)
  layer = ToRGB()
  variables = layer.init(jax.random.key(0), x, w)
  params = variables['params']['conv']
  style = modulated_conv.EqualizedDense(3, bias_init=1.0).apply({'params': params['affine']}, w)
  expected = np.einsum('bhwc,bc,cf->bhwf', x, style, params['kernel'][0, 0]) / np.sqrt(3)
  np.testing.assert_allclose(layer.apply(variables, x, w), expected, atol=1e-5)


@pytest.mark.parametrize('demodulate, up', [(True, 1), (True, 2), (False, 1)])
def test_an_example_alone_is_as_one_of_many(demodulate, up):
  """Alone, its factors are put on the kernel."""
  x, kernel, style = inputs()

  @jax.jit
  def run(x, style):
    options = dict(demodulate=demodulate, up=up, fir=modulated_conv.fir_filter((1, 3, 3, 1)))
    return modulated_conv2d(x, kernel, style, **options)

  alone = [run(x[i : i + 1], style[i : i + 1]) for i in range(len(x))]
  np.testing.assert_allclose(np.concatenate(alone), run(x, style), rtol=1e-5, atol=1e-5)
