"""Regularisation of the density, and the discriminator's blur: closed forms and official values."""

import functools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stylegan2_names
from layouts import nchw, nhwc

from jax3dgan.losses import blur, density
from jax3dgan.nn.stylegan2 import MappingNetwork, SynthesisNetwork


def ramp(points):
  """A density that rises by 2 for each unit of −z, and not otherwise."""
  return -2 * points[..., 2]


def keys(num=2):
  return jax.random.split(jax.random.key(0), num)


def test_l1_is_the_mean_difference():
  points = density.uniform_points(keys(), 500)
  steps = density.normal_offsets(keys(), 500, 0.01)
  value = density.l1(ramp, points, points + steps)
  np.testing.assert_allclose(value, 2 * np.abs(steps[..., 2]).mean(), rtol=1e-4)
  # E|N(0, σ²)| = σ √(2/π); a thousand draws come within some percent.
  np.testing.assert_allclose(value, 2 * 0.01 * np.sqrt(2 / np.pi), rtol=0.1)
  # Densities may keep an axis of 1.
  kept = density.l1(lambda p: ramp(p)[..., None], points, points + steps)
  np.testing.assert_allclose(kept, value, rtol=1e-6)


def test_points_fill_their_cube_and_examples_have_their_own():
  points = np.asarray(density.uniform_points(keys(), 2000, extent=0.5))
  assert points.shape == (2, 2000, 3) and np.abs(points).max() <= 0.5
  np.testing.assert_allclose(points.std((0, 1)), 0.5 / np.sqrt(3), rtol=0.05)
  np.testing.assert_array_equal(density.uniform_points(keys()[1:], 2000, 0.5)[0], points[1])
  assert np.abs(points[0] - points[1]).max() > 0.1


def test_monotonic_asks_for_no_less_behind():
  points = density.uniform_points(keys(), 100)
  behind = points + density.backward_offset(0.1)
  assert density.monotonic(ramp, points, behind) == 0
  value = density.monotonic(lambda p: -ramp(p), points, behind)
  np.testing.assert_allclose(value, 0.2, rtol=1e-4)

  def loss(a, detach):  # a: how much the front has, and how little the back
    def fn(points):
      front = jnp.arange(points.shape[1]) < 100
      return jnp.where(front, a[0], a[1]) + 0 * points[..., 0]

    return density.monotonic(fn, points, behind, detach)

  a = jnp.array([1.0, 0.0])
  gradient = jax.jit(jax.grad(loss), static_argnums=1)
  np.testing.assert_allclose(gradient(a, True), [0, -1], atol=1e-5)
  np.testing.assert_allclose(gradient(a, False), [1, -1], atol=1e-5)


def sample(plane, uv):
  """Bilinear features [n, c] of a plane [r, r, c] at uv [n, 2] in [−1, 1], zero outside."""
  r = plane.shape[0]
  x = (uv + 1) * r / 2 - 0.5
  low = jnp.floor(x)
  total = 0
  for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
    at = low + jnp.array(corner)
    weight = jnp.prod(1 - jnp.abs(x - at), axis=1) * jnp.all((at >= 0) & (at < r), axis=1)
    column, row = jnp.clip(at, 0, r - 1).astype(int).T
    total += weight[:, None] * plane[row, column]
  return total


@functools.cache
def official():
  """(the decoder's arrays, the planes, density of these and points) of EG3D's small generator."""
  weights = {}
  for part in ('mapping', 'backbone_lo', 'backbone_hi'):
    weights |= goldens.load(f'G_small_weights_{part}')
  inputs = goldens.load('loss_inputs')
  params = stylegan2_names.official_params(weights, 'backbone.mapping.')
  mapping = MappingNetwork(w_dim=512, num_layers=2, label_dim=25)
  network = SynthesisNetwork((32, 32, 32, 32, 16, 8, 4), image_channels=96)
  backbone = stylegan2_names.official_params(weights, 'backbone.synthesis.')

  @jax.jit
  def planes_of(params, backbone):
    w = mapping.apply({'params': params}, inputs['gen_z'], inputs['gen_c'])
    planes = network.apply({'params': backbone}, jnp.broadcast_to(w[:, None], (4, 14, 512)))
    return planes.reshape(4, 256, 256, 3, 32)

  def density_fn(decoder, planes, points):
    def one(planes, points):
      pairs = enumerate(((0, 1), (0, 2), (2, 0)))
      x = sum(sample(planes[:, :, i], 2 * points[:, pair]) for i, pair in pairs) / 3
      x = x @ decoder['net.0.weight'].T / np.sqrt(32) + decoder['net.0.bias']
      return (jax.nn.softplus(x) @ decoder['net.2.weight'].T / 8 + decoder['net.2.bias'])[:, 0]

    return jax.vmap(one)(planes, points)

  prefix = 'decoder.'
  names = [name for name in weights if name.startswith(prefix)]
  decoder = {name.removeprefix(prefix): jnp.asarray(weights[name]) for name in names}
  return decoder, planes_of(params, backbone), density_fn


def compare_gradients(file, gradients):
  for name, gradient in gradients.items():
    goldens.compare(file, f'grad.decoder.{name}', gradient, relative=1e-3)


def test_l1_is_the_official_one():
  file, (decoder, planes, density_fn) = 'loss_Greg_l1', official()
  draws = goldens.load(file)
  points = 2 * draws['draw1_rand'] - 1
  neighbours = points + 0.004 * draws['draw2_randn_like']

  @jax.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def loss(decoder, planes):
    value = density.l1(functools.partial(density_fn, decoder, planes), points, neighbours)
    return 4 * 0.25 * value, value  # every fourth step

  (_, value), gradients = loss(decoder, planes)
  goldens.compare(file, 'value.l1_unweighted', value, relative=1e-5)
  # A bias of the density drops out of a difference.
  assert np.abs(gradients.pop('net.2.bias')[0]) < 1e-6
  compare_gradients(file, gradients)


def test_the_monotonic_kind_is_the_official_one():
  file, (decoder, planes, density_fn) = 'loss_Greg_monotonic_detach', official()
  draws = goldens.load(file)
  fronts, points = (2 * draws[name] - 1 for name in ('draw1_rand', 'draw3_rand'))
  behind = fronts + density.backward_offset(1 / 256)
  neighbours = points + draws['draw4_randn_like'] / 256

  @jax.jit
  @functools.partial(jax.value_and_grad, has_aux=True)
  def loss(decoder, planes):
    fn = functools.partial(density_fn, decoder, planes)
    monotonic = density.monotonic(fn, fronts, behind)
    l1 = density.l1(fn, points, neighbours)
    return 4 * (10 * monotonic + 0.25 * l1), (monotonic, l1)

  (_, (monotonic, l1)), gradients = loss(decoder, planes)
  goldens.compare(file, 'value.monotonic_relu_mean_unweighted', monotonic, relative=1e-5)
  goldens.compare(file, 'value.l1_unweighted', l1, relative=1e-5)
  compare_gradients(file, gradients)


blurred = jax.jit(blur.gaussian_blur)


@pytest.mark.parametrize('sigma', [3.3, 1.7])
def test_the_blur_is_the_official_one(sigma):
  arrays = goldens.load('blur')
  y = blurred(nhwc(arrays['blur_x']), sigma)
  goldens.compare('blur', f'blur_sigma{sigma}_y', nchw(y), relative=1e-6)


def test_blur_of_a_point_is_its_window():
  x = np.zeros((1, 40, 40, 1), np.float32)
  x[0, 20, 20] = 1
  for sigma in (5.0, 2.5, 0.4):
    y = np.asarray(blurred(x, sigma))[0, :, :, 0]
    half = int(3 * sigma)
    t = np.arange(-half, half + 1)
    f = np.exp2(-((t / sigma) ** 2))
    expected = np.zeros((40, 40))
    expected[20 - half : 21 + half, 20 - half : 21 + half] = np.outer(f, f) / f.sum() ** 2
    np.testing.assert_allclose(y, expected, atol=1e-7)


def test_no_blur_leaves_images_and_gradients_alone():
  x = jax.random.normal(jax.random.key(0), (2, 40, 40, 3))
  for sigma in (0.0, 0.3):
    np.testing.assert_array_equal(blurred(x, sigma), x)
  gradient = jax.jit(jax.grad(lambda x, s: jnp.sum(jnp.square(blur.gaussian_blur(x, s)))))(x, 0.0)
  np.testing.assert_allclose(gradient, 2 * x, rtol=1e-6)


def test_a_window_larger_than_the_image_has_the_same_sum():
  x = np.ones((1, 8, 8, 1), np.float32)
  x = np.pad(x, ((0, 0), (40, 40), (40, 40), (0, 0)))
  whole = np.asarray(blurred(x, 10.0))[:, 40:-40, 40:-40]
  np.testing.assert_allclose(blurred(x[:, 40:-40, 40:-40], 10.0), whole, rtol=1e-5)


def test_the_blur_fades():
  assert blur.blur_sigma(0) == 10 and blur.blur_sigma(50_000) == 7.5
  assert blur.blur_sigma(200_000) == blur.blur_sigma(10**6) == 0
  assert blur.blur_sigma(5, initial=0.0) == 0.0 and blur.blur_sigma(5, fade_images=0) == 0.0
