"""Layers with an equalised learning rate."""

import functools
import math

import goldens
import jax
import numpy as np
import pytest
from layouts import hwio, nchw, nhwc

from jax3dgan.errors import UserError
from jax3dgan.nn import equalized
from jax3dgan.nn.equalized import EqualizedConv, EqualizedDense

BIAS_ACT, LAYERS = 'ops_bias_act', 'ops_layers'


def test_gelu_is_of_the_normal_distribution_with_the_gain_of_relu():
  x = np.linspace(-3, 3, 7, dtype=np.float32)
  wanted = [v * (1 + math.erf(v / math.sqrt(2))) / math.sqrt(2) for v in x]
  np.testing.assert_allclose(equalized.activate(x, 'gelu'), wanted, rtol=1e-5, atol=1e-6)


# GELU is not one of StyleGAN2's.
@pytest.mark.parametrize('name', [name for name in equalized.ACTIVATIONS if name != 'gelu'])
def test_activations_are_the_official_ones(name):
  arrays = goldens.load(BIAS_ACT)
  x = arrays['x'] + arrays['b'][:, None, None]
  own = equalized.ACTIVATIONS[name][1]
  y = equalized.activate(x, name)
  goldens.compare(BIAS_ACT, f'{name}_default', y, relative=1e-6)
  y = equalized.activate(x, name, 0.7 / own, 1.1)  # the official gain stands for ours too
  goldens.compare(BIAS_ACT, f'{name}_gain0.7_clamp1.1', y, relative=1e-6)


def test_an_unknown_activation():
  with pytest.raises(UserError, match="'leaky'.*lrelu"):
    equalized.activate(np.zeros(3), 'leaky')


@pytest.mark.parametrize(
  'name, options',
  [
    ('fc_linear', {}),
    ('fc_lrelu_lr0p01', {'activation': 'lrelu', 'lr_multiplier': 0.01}),
    ('fc_bias1', {'bias_init': 1.0}),
  ],
)
def test_dense_layers_are_the_official_ones(name, options):
  arrays = goldens.load(LAYERS)
  params = {'kernel': arrays[f'{name}_weight'].T, 'bias': arrays[f'{name}_bias']}
  y = EqualizedDense(6, **options).apply({'params': params}, arrays['x'])
  goldens.compare(LAYERS, f'{name}_y', y, relative=1e-6)


@pytest.mark.parametrize(
  'name, options, gains',
  [
    ('conv3_lrelu_clamp', {'activation': 'lrelu', 'clamp': 0.9}, ('', '_gain_sqrt0.5')),
    ('conv3_down2', {'activation': 'lrelu', 'down': 2}, ('',)),
    ('conv1_down2_nobias', {'down': 2}, ('',)),
    ('conv1_up2_nobias', {'up': 2}, ('',)),
  ],
)
def test_convolutions_are_the_official_ones(name, options, gains):
  arrays = goldens.load(LAYERS)
  kernel = hwio(arrays[f'{name}_weight'])
  params = {'kernel': kernel}
  if bias := (f'{name}_bias' in arrays):
    params['bias'] = arrays[f'{name}_bias']
  layer = EqualizedConv(6, kernel.shape[0], use_bias=bias, **options)
  for gain in gains:
    y = jax.jit(functools.partial(layer.apply, gain=0.5**0.5 if gain else 1.0))(
      {'params': params}, nhwc(arrays['xi'])
    )
    goldens.compare(LAYERS, f'{name}_y{gain}', nchw(y), relative=2e-6)


def test_normalisation_is_the_official_one():
  arrays = goldens.load(LAYERS)
  y = equalized.normalize_2nd_moment(arrays['x'])
  goldens.compare(LAYERS, 'normalize_2nd_moment', y, relative=1e-6)


@pytest.mark.parametrize('lr_multiplier', [1.0, 0.01])
def test_fresh_layers_keep_the_second_moment(lr_multiplier):
  """And a step of Adam, which moves each stored weight by as much, moves the product by the
  multiplier."""
  layer = EqualizedDense(
    256, activation='lrelu', bias_init=0.0, lr_multiplier=lr_multiplier, name=None
  )
  x = np.random.default_rng(0).standard_normal((64, 512)).astype(np.float32)
  variables = layer.init(jax.random.key(0), x)
  y = layer.apply(variables, x)
  assert np.mean(np.square(y)) == pytest.approx(1.04, abs=0.05)  # 2 (1 + 0.2²)/2 of a normal input
  assert variables['params']['kernel'].std() == pytest.approx(1 / lr_multiplier, rel=0.02)
  linear = EqualizedDense(256, lr_multiplier=lr_multiplier)
  moved = jax.tree.map(lambda p: p + 1e-2, variables)
  change = linear.apply(moved, x) - linear.apply(variables, x)
  expected = 1e-2 * lr_multiplier * (x.sum(1, keepdims=True) / 512**0.5 + 1)
  np.testing.assert_allclose(change, np.broadcast_to(expected, change.shape), atol=2e-4)


def test_a_bias_begins_at_its_value():
  layer = EqualizedDense(3, bias_init=1.0, lr_multiplier=0.01)
  x = np.zeros((1, 4), np.float32)
  y, variables = layer.init_with_output(jax.random.key(0), x)
  np.testing.assert_allclose(y, 1.0, rtol=1e-6)
  np.testing.assert_allclose(variables['params']['bias'], 100.0, rtol=1e-6)
