"""The quadrature of volume rendering: the official code's integrals, closed forms, gradients."""

import functools

import goldens
import hypothesis.extra.numpy as st_np
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64
from hypothesis import given, settings
from hypothesis import strategies as st

from jax3dgan.errors import UserError
from jax3dgan.rendering import compositing

FILE = 'volume_edge_cases'
NUM_SAMPLES = 8
FLAGS = {
  'last_back': dict(last_back=True),
  'white_back': dict(white_back=True),
  'both': dict(last_back=True, white_back=True),
}
MODES = ('relu', 'softplus', 'relu_noise', *FLAGS)


@x64.jit
def every_mode(rgb_sigma, depths, noise):
  """The golden modes in one program."""
  colour, raw = rgb_sigma[..., :3], rgb_sigma[..., 3]
  result = {}
  for mode in MODES:
    activation = 'softplus' if mode == 'softplus' else 'relu'
    density = compositing.activate_density(
      raw, activation, 0.7 * noise if 'noise' in mode else None
    )
    result[mode] = compositing.composite(density, colour, depths, **FLAGS.get(mode, {}))
  return result


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_integrals_match_official(dtype):
  """Empty, very dense, dense at the last sample alone, two samples at one depth."""
  arrays = goldens.load(FILE)
  arrays = {k: v.astype(dtype) for k, v in arrays.items() if k.startswith('integ/')}
  depths, noise = arrays['integ/z'][..., 0], arrays['integ/noise_n'][..., 0]
  result = every_mode(arrays['integ/rgb_sigma'], depths, noise)
  for mode, out in result.items():
    assert out.colour.dtype == dtype
    goldens.compare(FILE, f'integ/{mode}/weights', out.weights[..., None], atol=3e-7)
    goldens.compare(FILE, f'integ/{mode}/rgb', out.colour, atol=3e-7)
    goldens.compare(FILE, f'integ/{mode}/depth', out.depth[..., None], atol=3e-7)
    if 'last_back' not in FLAGS.get(mode, {}):
      total = arrays[f'integ/{mode}/weights'][..., 0].sum(-1)
      np.testing.assert_allclose(out.opacity, total, atol=1e-6)
  # The official pictures of the opacity.
  out = result['relu']
  opacity = out.opacity[..., None]
  marked = np.where(opacity < 0.9, np.array([1, 0, 0], dtype), out.colour)
  for fill, colour in (('fill_weight', np.tile(opacity, 3)), ('fill_debug', marked)):
    goldens.compare(FILE, f'integ/{fill}/rgb', colour, atol=3e-7)
    goldens.compare(FILE, f'integ/{fill}/weights', out.weights[..., None], atol=3e-7)
    goldens.compare(FILE, f'integ/{fill}/depth', out.depth[..., None], atol=3e-7)


def homogeneous(num, near, far):
  """Composites of constant densities and one colour; the intervals cover near to far."""

  @x64.jit
  def render(densities):
    depths = jnp.linspace(near, far, num + 1)[:-1]
    density = jnp.broadcast_to(densities[:, None], (len(densities), num))
    colour = jnp.broadcast_to(jnp.array([0.2, 0.5, 1.0]), (*density.shape, 3))
    depths = jnp.broadcast_to(depths, density.shape)
    return compositing.composite(density, colour, depths, last_interval=(far - near) / num)

  return render


def test_a_homogeneous_medium():
  """Its opacity, 1 - exp(-density length), is exact for any samples; its depth is a limit."""
  densities, near, length = np.array([0.0, 0.3, 2.0, 10.0, 1e3]), 0.5, 1.5
  opacity = 1 - np.exp(-densities * length)
  coarse, dense = (homogeneous(num, near, near + length)(densities) for num in (5, 2000))
  # The floor of the transmittance adds up to 1e-10 per sample.
  for out in (coarse, dense):
    np.testing.assert_allclose(out.opacity, opacity, rtol=0, atol=2e-7)
    np.testing.assert_allclose(out.colour, opacity[:, None] * [0.2, 0.5, 1], rtol=0, atol=2e-7)
  # The mean of near + t under the exponential distribution, cut off at the length.
  d = densities[1:]
  depth = near * opacity[1:] + (1 - np.exp(-d * length) * (1 + d * length)) / d
  spacing = length / 2000
  np.testing.assert_allclose(dense.depth[1:], depth, rtol=0, atol=spacing)
  np.testing.assert_array_equal(dense.depth[0], 0)


def test_thin_mist_is_not_empty():
  """1 − exp(−x) would be 0, or a multiple of 6e-8."""
  optical = np.float32([1e-12, 1e-8, 3e-8, 1e-7, 2e-5])
  weights = compositing.ray_weights(optical[:, None], np.ones((5, 1), 'f'))
  np.testing.assert_allclose(weights[:, 0], -np.expm1(-np.float64(optical)), rtol=1e-6)
  hit = np.array([True, False])
  some = compositing.ray_weights(np.full((2, 3), 1e9, np.float32), np.ones((2, 3), 'f'), hit)
  np.testing.assert_allclose(some[0], [1, 0, 0], atol=2e-10)  # the floor of the transmittance
  np.testing.assert_array_equal(some[1], 0)


def test_intervals():
  depths = np.float32([[1, 2, 4], [0, 0, 3]])
  np.testing.assert_array_equal(compositing.intervals(depths, 10), [[1, 2, 10], [0, 3, 10]])
  per_ray = compositing.intervals(depths, np.float32([5, 6]))
  np.testing.assert_array_equal(per_ray, [[1, 2, 5], [0, 3, 6]])


def test_background_of_an_empty_ray():
  colour = jnp.linspace(0, 0.7, NUM_SAMPLES)[:, None] * jnp.ones(3)
  depths = jnp.linspace(1, 2, NUM_SAMPLES)
  empty = functools.partial(compositing.composite, jnp.zeros(NUM_SAMPLES), colour, depths)
  plain, white, last, both = (
    empty(white_back=w, last_back=b) for b in (False, True) for w in (False, True)
  )
  np.testing.assert_allclose([plain.colour, white.colour], [[0] * 3, [1] * 3])
  np.testing.assert_allclose([last.colour, both.colour], [[0.7] * 3, [1.7] * 3], rtol=1e-6)
  np.testing.assert_allclose([plain.depth, white.depth, last.depth, both.depth], [0, 0, 2, 2])
  assert plain.opacity == last.opacity == white.opacity == both.opacity == 0
  np.testing.assert_array_equal(white.colour, 1)
  marched = compositing.march_midpoints(
    jnp.zeros(NUM_SAMPLES), colour, depths, activation='field', white_back=True
  )
  np.testing.assert_array_equal(marched.colour, 1)


@settings(max_examples=60, deadline=None)
@given(
  st_np.arrays(np.float32, NUM_SAMPLES, elements=st.floats(0, 2**100, width=32)),
  st_np.arrays(np.float32, NUM_SAMPLES, elements=st.floats(0, 1, width=32)),
)
def test_weights_are_shares(density, deltas):
  weights, gradient = weights_and_gradient(density, deltas)
  assert weights.min() >= 0 and weights.sum() <= 1 + 1e-6
  assert np.isfinite(gradient).all()
  # What is behind an opaque sample is not seen.
  opaque = np.flatnonzero(density * deltas > 30)
  if opaque.size:
    assert weights[opaque[0] + 1 :].sum() < 1e-6
  np.testing.assert_allclose(
    weights.sum(), -np.expm1(-np.sum(np.float64(density) * deltas)), atol=2e-6
  )


weights_and_gradient = jax.jit(
  lambda density, deltas: (
    compositing.ray_weights(density, deltas),
    jax.grad(lambda d: jnp.sum(compositing.ray_weights(d, deltas) * jnp.arange(NUM_SAMPLES)))(
      density
    ),
  )
)


def test_first_and_second_derivatives():
  """Of every way to end a ray, forwards and backwards, against finite differences."""
  rng = np.random.default_rng(0)
  depths = np.sort(rng.uniform(1, 2, (2, 5)))
  at = (rng.normal(size=(2, 5)), rng.uniform(size=(2, 5, 3)), depths)
  along = tuple(rng.normal(size=x.shape) for x in at)
  shares = rng.normal(size=(2, 3))
  infinite = compositing.INFINITE_INTERVAL
  ends = [dict(last_interval=0.3, last_back=True), dict(last_interval=infinite, **FLAGS['both'])]

  def total(raw, colour, depths):
    """All outputs in one number, so that one program holds all their derivatives."""
    density, result = compositing.activate_density(raw, 'softplus'), 0.0
    for end, (a, b, c) in zip(ends, shares, strict=True):
      out = compositing.composite(density, colour, depths, **end)
      outputs = a * jnp.sin(out.colour).sum(-1) + b * jnp.sin(out.depth) + c * out.opacity**2
      result += jnp.sum(outputs * jnp.array([1.0, -0.7]))
    return result

  def value_last(*at):
    value, gradient = jax.value_and_grad(total, argnums=(0, 1, 2))(*at)
    return gradient, value

  @x64.jit
  def derivatives(*at):
    gradient, slopes, value = jax.jvp(value_last, at, along, has_aux=True)
    return value, gradient, slopes

  def moved(step):
    return derivatives(*(x + step * v for x, v in zip(at, along, strict=True)))

  step = 1e-5
  (_, gradient, slopes), up, down = derivatives(*at), moved(step), moved(-step)
  slope = sum(np.vdot(g, v) for g, v in zip(gradient, along, strict=True))
  np.testing.assert_allclose((up[0] - down[0]) / (2 * step), slope, rtol=1e-7)
  for high, low, expected in zip(up[1], down[1], slopes, strict=True):
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose((high - low) / (2 * step), expected, atol=1e-7)


def test_density_activations():
  raw, noise = np.float32([-2, 0, 3]), np.float32([1, -1, 0.5])
  np.testing.assert_allclose(compositing.activate_density(raw, 'relu'), [0, 0, 3])
  np.testing.assert_allclose(
    compositing.activate_density(raw), np.log1p(np.exp(np.float64(raw))), rtol=1e-6
  )
  np.testing.assert_allclose(compositing.activate_density(raw, 'relu', noise), [0, 0, 3.5])
  np.testing.assert_array_equal(compositing.activate_density(np.abs(raw), 'field'), [2, 0, 3])
  with pytest.raises(UserError, match="'gelu'.*relu, softplus, field"):
    compositing.activate_density(raw, 'gelu')
