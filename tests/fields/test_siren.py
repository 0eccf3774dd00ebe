"""FiLM-SIREN: the folded field against the formulas, its initialisation and its options."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan.fields.siren import FilmSiren
from jax3dgan.nn import siren_init
from jax3dgan.nn.mapping import MappingNetwork

B, R, S, HIDDEN, LAYERS = 2, 3, 4, 16, 3


def inputs(seed=0):
  """(points, unit directions, styles) in float64, frequencies about 30."""
  rng = np.random.default_rng(seed)
  points = rng.uniform(-0.12, 0.12, (B, R, S, 3))
  directions = rng.normal(size=(B, R, 3))
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  return points, directions, rng.normal(size=(B, LAYERS + 1, 2, HIDDEN)) * 0.3


@functools.cache
def parameters():
  """Fresh parameters in float32; they are the same for every option."""
  args = [jnp.zeros(shape) for shape in ((1, 1, 1, 3), (1, 1, 3), (1, LAYERS + 1, 2, HIDDEN))]
  init = jax.jit(FilmSiren(HIDDEN, LAYERS).init)
  return jax.device_get(init(jax.random.key(0), *args))['params']


def unfolded(params, points, directions, styles, input_scale=2 / 0.24):
  """The field layer by layer and point by point, in float64 (π-GAN, Sec. 3.1)."""
  p = {name: np.float64(value) for name, value in params.items()}

  def film(name, x, i):
    frequency, phase = (styles[:, i, j, None, None] for j in (0, 1))  # [b, 1, 1, h]
    linear = x @ p[f'{name}_kernel'] + p[f'{name}_bias']
    return np.sin((15 * frequency + 30) * linear + phase)

  x = points * input_scale
  for i in range(LAYERS):
    x = film(f'film_{i}', x, i)
  raw = (x @ p['density_kernel'] + p['density_bias'])[..., 0]
  every = np.broadcast_to(directions[:, :, None], points.shape)
  x = film('colour_film', np.concatenate([every, x], -1), LAYERS)
  return raw, 1 / (1 + np.exp(-(x @ p['colour_kernel'] + p['colour_bias'])))


@pytest.mark.parametrize('input_scale', [2 / 0.24, 1.0])
def test_the_folded_field_is_the_unfolded_one(input_scale):
  module = FilmSiren(HIDDEN, LAYERS, input_scale=input_scale)
  params = parameters()
  args = inputs()

  @x64.jit
  def run(params, points, directions, styles):
    field = module.apply({'params': params}, styles, method='fold')
    whole = module.apply({'params': params}, points, directions, styles)
    return whole, field.density(points.reshape(B, R * S, 3))

  (raw, colour), density = run(jax.tree.map(np.float64, params), *args)
  expected = unfolded(params, *args, input_scale)
  np.testing.assert_allclose(raw, expected[0], rtol=0, atol=1e-10)
  np.testing.assert_allclose(colour, expected[1], rtol=0, atol=1e-10)
  np.testing.assert_allclose(density.reshape(B, R, S), expected[0], rtol=0, atol=1e-10)
  # In float32, the phases of up to a few hundred radians are rounded to 1e-5.
  (raw, colour), _ = run(params, *(x.astype(np.float32) for x in args))
  assert raw.dtype == colour.dtype == np.float32
  np.testing.assert_allclose(raw, expected[0], atol=2e-4)
  np.testing.assert_allclose(colour, expected[1], atol=2e-4)


def test_density_gain():
  module, args = FilmSiren(HIDDEN, LAYERS, density_gain=4.0), inputs()
  params = jax.tree.map(np.float64, parameters())
  raw, colour = x64.jit(lambda p, *a: module.apply({'params': p}, *a))(params, *args)
  expected = unfolded(params, *args)
  np.testing.assert_allclose(raw, 4 * expected[0], rtol=0, atol=1e-10)
  np.testing.assert_allclose(colour, expected[1], rtol=0, atol=1e-10)


def test_the_colour_alone_depends_on_the_view():
  module, (points, directions, styles) = FilmSiren(HIDDEN, LAYERS), inputs()
  params = parameters()
  run = x64.jit(lambda *args: module.apply({'params': params}, *args))
  raw, colour = run(points, directions, styles)
  other_raw, other_colour = run(points, -directions, styles)
  np.testing.assert_array_equal(raw, other_raw)
  assert np.abs(colour - other_colour).max() > 1e-3
  # Each example has its own field.
  swapped, _ = run(points[::-1], directions[::-1], styles[::-1])
  np.testing.assert_allclose(swapped, raw[::-1], atol=1e-12)
  crossed, _ = run(points, directions, styles[::-1])
  assert np.abs(crossed - raw).max() > 1e-3


def test_bfloat16_products_stay_near():
  """Rounded inputs of the hidden products: phases of 30 times a weight's rounding, and no more."""
  args = [x.astype(np.float32) for x in inputs()]
  params = parameters()

  @jax.jit
  def run(*args):
    modules = [FilmSiren(HIDDEN, LAYERS, matmul_dtype=t) for t in ('float32', 'bfloat16')]
    return [module.apply({'params': params}, *args) for module in modules]

  (raw, colour), (rounded_raw, rounded_colour) = run(*args)
  assert rounded_raw.dtype == rounded_colour.dtype == np.float32
  assert 1e-6 < np.abs(raw - rounded_raw).max() < 0.05
  assert np.abs(colour - rounded_colour).max() < 0.05


def assert_uniform(values, bound):
  """Within the bound, filling it, with the variance of a uniform distribution."""
  values = np.ravel(values)
  assert np.abs(values).max() <= bound
  if values.size > 500:
    assert np.abs(values).max() > 0.98 * bound
    np.testing.assert_allclose(values.std(), bound / math.sqrt(3), rtol=0.06)
    assert abs(values.mean()) < 4 * bound / math.sqrt(3 * values.size)


def test_initialisation():
  """SIREN's first layer ±1/3; FiLM layers ±sqrt(6/in)/25; biases ±1/sqrt(in)."""
  hidden = 256
  module = FilmSiren(hidden, 2)
  args = [jnp.zeros(shape) for shape in ((1, 1, 1, 3), (1, 1, 3), (1, 3, 2, hidden))]
  params = jax.device_get(jax.jit(module.init)(jax.random.key(1), *args))['params']
  fan_in = {'film_0': 3, 'film_1': hidden, 'density': hidden}
  fan_in |= {'colour_film': hidden + 3, 'colour': hidden}
  features = {'film_0': hidden, 'film_1': hidden, 'density': 1, 'colour_film': hidden, 'colour': 3}
  assert params.keys() == {f'{n}_{kind}' for n in fan_in for kind in ('kernel', 'bias')}
  for name, n in fan_in.items():
    kernel, bias = params[f'{name}_kernel'], params[f'{name}_bias']
    assert kernel.shape == (n, features[name]) and bias.shape == (features[name],)
    assert kernel.dtype == bias.dtype == np.float32
    assert_uniform(kernel, 1 / 3 if name == 'film_0' else math.sqrt(6 / n) / 25)
    assert_uniform(bias, 1 / math.sqrt(n))


def test_kaiming_normal():
  for slope, scale in ((0.2, 1.0), (0.0, 0.25)):
    sample = siren_init.kaiming_normal(slope, scale)(jax.random.key(0), (400, 100))
    expected = scale * math.sqrt(2 / (1 + slope**2) / 400)
    np.testing.assert_allclose(np.std(sample), expected, rtol=0.02)
    np.testing.assert_allclose(np.mean(sample), 0, atol=4 * expected / 200)


def test_mapping_network_is_the_formula():
  """Linear layers with LeakyReLU 0.2; all frequencies come before all phases."""
  module = MappingNetwork(num_styles=3, style_dim=4, hidden_dim=8, num_hidden=2)
  z = np.random.default_rng(0).normal(size=(5, 6))
  params = jax.device_get(jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, 6))))['params']
  x = z
  for i in range(2):
    x = x @ np.float64(params[f'hidden_{i}']['kernel']) + params[f'hidden_{i}']['bias']
    x = np.where(x > 0, x, 0.2 * x)
  x = x @ np.float64(params['out']['kernel']) + params['out']['bias']
  styles = x64.jit(lambda p, z: module.apply({'params': p}, z))(jax.tree.map(np.float64, params), z)
  assert styles.shape == (5, 3, 2, 4)
  np.testing.assert_allclose(styles[:, :, 0].reshape(5, -1), x[:, :12], rtol=0, atol=1e-12)
  np.testing.assert_allclose(styles[:, :, 1].reshape(5, -1), x[:, 12:], rtol=0, atol=1e-12)


def test_mapping_network_starts_near_frequency_30():
  module = MappingNetwork(num_styles=9, style_dim=32)
  z = jax.random.normal(jax.random.key(1), (64, 16))

  @jax.jit
  def run(key, z):
    params = module.init(key, z)
    wide = MappingNetwork(num_styles=9, style_dim=32, out_scale=1.0).init(key, z)
    return params['params'], module.apply(params, z), wide['params']

  params, styles, wide = jax.device_get(run(jax.random.key(0), z))
  np.testing.assert_allclose(wide['out']['kernel'], 4 * params['out']['kernel'], rtol=1e-6)
  gain = math.sqrt(2 / 1.04)
  for name, n, scale in (('hidden_0', 16, 1), ('hidden_1', 256, 1), ('out', 256, 0.25)):
    std = np.std(params[name]['kernel'])
    np.testing.assert_allclose(std, scale * gain / math.sqrt(n), rtol=0.05)
    assert_uniform(params[name]['bias'], 1 / math.sqrt(n))
  # Kaiming keeps the variance of z up to the last layer, which takes a quarter: 0.25·gain.
  assert 0.15 < styles.std() < 0.6 and abs(styles.mean()) < 0.1
