"""ADA's augmentations against closed forms, and their controller."""

import dataclasses
import math

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.augment import (
  AdaState,
  Augmentations,
  ada_update,
  adjust,
  augment,
  augment_pair,
  colour,
  geometry,
  observe,
  pipeline,
)
from jax3dgan.errors import UserError
from jax3dgan.nn import resample

KINDS = [f.name for f in dataclasses.fields(Augmentations) if f.default == 1.0]
KINDS = [name for name in KINDS if not name.endswith(('_max', '_std'))]
NONE = Augmentations(**dict.fromkeys(KINDS, 0.0))
SIZE = 16


def only(*names):
  return dataclasses.replace(NONE, **dict.fromkeys(names, 1.0))


def images(num=4, channels=3):
  return jax.random.uniform(jax.random.key(1), (num, SIZE, SIZE, channels), minval=-1)


def keys(num=4, seed=0):
  return jax.random.split(jax.random.key(seed), num)


run = jax.jit(augment, static_argnums=3)
warp = jax.jit(geometry.warp)
move = jax.jit(geometry.move_pixels)
drawn = jax.jit(pipeline.draw, static_argnums=(2, 3))


def one(matrix, num=4):
  return jnp.broadcast_to(matrix, (num, *matrix.shape))


def blob(x0, y0, sx, sy=None, size=32):
  """A Gaussian at (x0, y0) pixels from the centre, [1, size, size, 3]."""
  i = np.arange(size) - (size - 1) / 2
  y, x = np.meshgrid(i, i, indexing='ij')
  value = np.exp(-0.5 * ((x - x0) / sx) ** 2 - 0.5 * ((y - y0) / (sy or sx)) ** 2)
  return np.repeat(value[None, ..., None], 3, -1).astype(np.float32)


def test_there_are_twelve_kinds():
  assert len(KINDS) == 12 and 'saturation' in KINDS and 'xflip' in KINDS


def test_without_strength_nothing_changes_by_a_bit():
  x = images(channels=6)
  np.testing.assert_array_equal(run(keys(), x, 0.0, Augmentations()), x)
  np.testing.assert_array_equal(run(keys(), x, 1.0, NONE), x)
  assert (np.abs(run(keys(), x, 1.0, Augmentations()) - x).max((1, 2, 3)) > 0.1).all()


def test_the_wavelet_is_orthonormal_and_the_papers():
  h = geometry.SYM6
  for k in range(6):
    np.testing.assert_allclose(h[2 * k :] @ h[: 12 - 2 * k], k == 0, atol=1e-11)
  # Six vanishing moments of its high-pass.
  high = h[::-1] * (-1.0) ** np.arange(12)
  for power in range(6):
    assert abs(high @ (np.arange(12.0) - 5.5) ** power) < 1e-5 * 5.5**power
  goldens.compare('blur', 'f_sym6_1d', (h / h.sum()).astype(np.float32), relative=1e-6)


def test_warping_by_nothing_gives_the_image_borders_included():
  x = images()
  np.testing.assert_allclose(warp(x, one(jnp.eye(3))), x, atol=5e-6)


@pytest.mark.parametrize('turns', [0, 1, 2, 3])
def test_pixels_move_exactly(turns):
  x = images()
  # Down is y: a quarter from x to y turns clockwise.
  np.testing.assert_array_equal(
    move(x, one(geometry.quarter_turns(turns))), np.rot90(x, -turns, axes=(1, 2))
  )
  both = geometry.quarter_turns(turns) @ geometry.scale(-1.0, 1.0)
  np.testing.assert_array_equal(move(x, one(both)), np.rot90(x[:, :, ::-1], -turns, axes=(1, 2)))
  flipped = move(x, one(geometry.scale(-1.0, 1.0)))
  np.testing.assert_array_equal(flipped, x[:, :, ::-1])
  shifted = move(x, one(geometry.translate(2.0, -3.0)))
  np.testing.assert_array_equal(shifted[:, :-3, 2:], x[:, 3:, :-2])
  # What comes in is the mirror image, the border's pixels once.
  np.testing.assert_array_equal(shifted[:, :-3, :2], x[:, 3:, 2:0:-1])
  padded = np.pad(x, ((0, 0), (0, 3), (0, 0), (0, 0)), mode='reflect')
  np.testing.assert_array_equal(shifted[:, :, 2:], padded[:, 3:, :-2])


def test_draws_are_blits_where_only_blits_are_drawn():
  x = images(64)
  y = run(keys(64), x, 1.0, only('xflip', 'rotate90'))
  orbit = [np.rot90(f, k, axes=(1, 2)) for f in (np.asarray(x), x[:, :, ::-1]) for k in range(4)]
  hits = np.array([(np.asarray(y) == o).all((1, 2, 3)) for o in orbit])
  assert (hits.sum(0) == 1).all()
  # All eight, about 8 each: a share of 1/8 of 64 has a standard deviation of 2.6.
  assert (hits.sum(1) > 0).all() and hits.sum(1).max() < 20
  shifted = run(keys(), x[:4], 1.0, only('xint'))
  matrix, *_ = drawn(keys(), 1.0, (SIZE, SIZE), only('xint'))
  assert np.abs(matrix[:, :2, 2]).max() in (1, 2)  # an eighth of 16 at most
  np.testing.assert_array_equal(matrix, np.round(matrix))
  for a, b, m in zip(shifted, x[:4], matrix, strict=True):
    dx, dy = int(m[0, 2]), int(m[1, 2])
    np.testing.assert_array_equal(a[2:-2, 2:-2], b[2 - dy : 14 - dy, 2 - dx : 14 - dx])


def test_a_turn_by_90_degrees_through_the_filters_is_rot90():
  x = blob(4.0, -6.0, 4.0, 3.0)
  y = warp(x, one(geometry.rotate(jnp.float32(math.pi / 2)), 1))
  np.testing.assert_allclose(y, np.rot90(x, -1, axes=(1, 2)), atol=0.01)
  y = warp(x, one(geometry.scale(-1.0, 1.0), 1))
  np.testing.assert_allclose(y, x[:, :, ::-1], atol=0.01)


@pytest.mark.parametrize(
  'matrix, expected',
  [
    (geometry.translate(2.5, -1.25), blob(4.5, -4.25, 2.5)),
    (geometry.scale(1.3, 1.3), blob(2.6, -3.9, 3.25)),
    (geometry.scale(1.25, 0.8), blob(2.5, -2.4, 3.125, 2.0)),
    (
      geometry.rotate(0.7),
      blob(2 * math.cos(0.7) + 3 * math.sin(0.7), 2 * math.sin(0.7) - 3 * math.cos(0.7), 2.5),
    ),
  ],
)
def test_a_blob_goes_where_it_should(matrix, expected):
  y = warp(blob(2.0, -3.0, 2.5), one(matrix, 1))
  # In the corners the mirror images come in.
  np.testing.assert_allclose(y[:, 6:-6, 6:-6], expected[:, 6:-6, 6:-6], atol=0.01)


def test_linear_images_and_constants_stay_so():
  """The filters have no delay that is not accounted for: a ramp moves by the very shift."""
  x = np.broadcast_to(np.arange(32.0, dtype=np.float32)[None, None, :, None], (1, 32, 32, 3))
  y = warp(x, one(geometry.translate(1.3, 0.4), 1))
  np.testing.assert_allclose(y[:, :, 8:-8], x[:, :, 8:-8] - 1.3, atol=1e-4)
  anything = geometry.rotate(0.5) @ geometry.scale(0.5, 1.7) @ geometry.translate(40.0, -9.0)
  np.testing.assert_allclose(warp(0 * x + 0.7, one(anything, 1)), 0.7, atol=1e-5)


def test_inverse():
  matrix = jax.random.normal(jax.random.key(0), (5, 3, 3)).at[:, 2].set(jnp.array([0.0, 0, 1]))
  np.testing.assert_allclose(geometry.invert(matrix) @ matrix, one(jnp.eye(3), 5), atol=1e-4)


def test_far_away_is_the_mirror_image():
  """No corner is ever empty: the plane is tiled with mirror images."""
  x = images()
  # Twice a mirror's period: the image itself.
  y = move(x, one(geometry.translate(2.0 * (SIZE - 1), -4.0 * (SIZE - 1))))
  np.testing.assert_array_equal(y, x)


def test_colours():
  x = images()

  def matrix(m):
    return one(m)

  assert np.allclose(colour.apply(x, matrix(colour.brightness(0.3))), x + 0.3, atol=1e-6)
  assert np.allclose(colour.apply(x, matrix(colour.contrast(1.7))), 1.7 * x, atol=1e-6)
  luma = x.mean(-1, keepdims=True)
  assert np.allclose(colour.apply(x, matrix(colour.luma_flip(1.0))), x - 2 * luma, atol=1e-6)
  assert np.allclose(colour.apply(x, matrix(colour.luma_flip(0.0))), x, atol=1e-6)
  expected = luma + 0.4 * (x - luma)
  assert np.allclose(colour.apply(x, matrix(colour.saturation(0.4))), expected, atol=1e-6)
  # A third of a turn takes red to green to blue.
  third = colour.apply(x, matrix(colour.hue(2 * math.pi / 3)))
  assert np.allclose(third, np.roll(x, 1, axis=-1), atol=1e-6)
  turned = colour.apply(x, matrix(colour.hue(0.5)))
  assert np.allclose(turned.mean(-1), x.mean(-1), atol=1e-6)
  assert np.allclose(np.square(turned).sum(-1), np.square(x).sum(-1), atol=1e-5)
  # Brightness after saturation: matrices of columns, the last one first.
  both = colour.brightness(0.1) @ colour.saturation(0.0)
  assert np.allclose(colour.apply(x, matrix(both)), luma + 0.1, atol=1e-6)


def test_means_stay():
  """Where geometry is drawn, an image of one colour keeps it; brightness averages to nothing."""
  x = jnp.full((4, SIZE, SIZE, 3), 0.25)
  geometric = only('xflip', 'rotate90', 'xint', 'scale', 'rotate', 'aniso', 'xfrac')
  np.testing.assert_allclose(run(keys(), x, 1.0, geometric), 0.25, atol=1e-5)
  _, _, _, colours = drawn(keys(400), 1.0, (SIZE, SIZE), only('brightness'))
  shifts = np.asarray(colours)[:, 0, 3]
  # σ = .2, so the mean's standard error is .01.
  assert abs(shifts.mean()) < 0.04 and abs(shifts.std() - 0.2) < 0.03


def test_six_channels_are_two_images_treated_alike():
  x = images(channels=6)
  both = run(keys(), x, 0.8, Augmentations())
  halves = [run(keys(), x[..., i : i + 3], 0.8, Augmentations()) for i in (0, 3)]
  np.testing.assert_allclose(both, np.concatenate(halves, -1), atol=1e-5)
  pair = jax.jit(augment_pair)
  image, raw = pair(keys(), x[..., :3], x[:, ::2, ::2, 3:], 0.8)
  assert raw.shape == (4, SIZE // 2, SIZE // 2, 3)
  np.testing.assert_allclose(image, halves[0], atol=1e-5)
  # A smooth raw image that is the image made smaller stays so.
  smooth = np.repeat(blob(1.0, -3.0, 3.0, size=SIZE), 4, 0)
  image, raw = pair(keys(), smooth, resample.resize_bilinear(smooth, SIZE // 2), 0.8)
  np.testing.assert_allclose(resample.resize_bilinear(image, SIZE // 2), raw, atol=0.2)


@jax.jit
def drawn_with_factors(p, factors):
  options = dataclasses.replace(NONE, **dict(zip(KINDS, factors, strict=True)))
  return pipeline.draw(keys(400), p, (64, 64), options)


def shares(p):
  """{kind: share of 400 examples that it changes} at p."""
  out = {}
  for i, name in enumerate(KINDS):
    pixels, matrix, moves, colours = drawn_with_factors(p, np.eye(len(KINDS), dtype=np.float32)[i])

    def changed(m, n):
      return np.any(np.abs(m - np.eye(n)) > 1e-7, axis=(1, 2))

    any_change = changed(pixels, 3) | changed(matrix, 3) | changed(colours, 4)
    assert (np.asarray(moves) == changed(matrix, 3)).all()
    out[name] = any_change.mean()
  return out


@pytest.mark.parametrize('p', [0.0, 0.3, 1.0])
def test_the_strength_is_the_frequency(p):
  # Of a flip half are none, of turns a quarter, of translations by up to 8 pixels 1/16².
  whole = dict(xflip=1 / 2, lumaflip=1 / 2, rotate90=3 / 4, xint=1 - 1 / 256)
  for name, share in shares(p).items():
    expected = p * whole.get(name, 1.0)
    # Four standard errors.
    assert abs(share - expected) <= 4 * math.sqrt(expected * (1 - expected) / 400) + 1e-6, name


def test_a_factor_scales_the_strength():
  half = dataclasses.replace(NONE, scale=0.5)
  _, _, moves, _ = drawn(keys(400), 0.8, (64, 64), half)
  assert abs(moves.mean() - 0.4) < 4 * math.sqrt(0.24 / 400)


def test_gradients_of_any_order():
  """Augmentation is affine in the image: its transpose is exact, and R1 goes through it."""
  x, y = images(2), images(2, 3)[::-1]

  def fn(x):
    return augment(keys(2), x, 1.0, Augmentations())

  @jax.jit
  def products(x, y):
    out, tangent = jax.jvp(fn, (x,), (y,))
    _, transpose = jax.vjp(fn, x)
    return jnp.vdot(out, tangent), jnp.vdot(transpose(out)[0], y)

  forward, backward = products(x, y)
  np.testing.assert_allclose(forward, backward, rtol=1e-3, atol=1e-3)

  def penalty(scale, x):
    slope = jax.grad(lambda x: jnp.sum(jnp.square(scale * fn(x))))(x)
    return jnp.square(slope).mean()

  value, gradient = jax.jit(jax.value_and_grad(penalty))(1.0, x)
  # The slope goes with the square of the scale, the penalty with its fourth power.
  np.testing.assert_allclose(gradient, 4 * value, rtol=1e-4)
  assert value > 1e-3


def test_examples_have_their_own_keys():
  x = images()
  whole = run(keys(), x, 1.0, Augmentations())
  parts = [run(keys()[i : i + 2], x[i : i + 2], 1.0, Augmentations()) for i in (0, 2)]
  np.testing.assert_allclose(whole, np.concatenate(parts), atol=1e-5)


def test_wrong_images():
  with pytest.raises(UserError, match='not 16x16x4'):
    augment(keys(), images(channels=4), 0.5)
  with pytest.raises(UserError, match='not 8x16x3'):
    augment(keys(), images()[:, :8], 0.5)


def test_the_controller_goes_from_nothing_to_all_in_500_kimg():
  assert ada_update(0.2, 0.7, 32, 4) == pytest.approx(0.2 + 32 * 4 / 500_000, abs=1e-6)
  assert ada_update(0.2, 0.5, 32, 4) == pytest.approx(0.2 - 32 * 4 / 500_000, abs=1e-6)
  assert ada_update(0.2, 0.6, 32, 4) == pytest.approx(0.2, abs=1e-6)
  assert ada_update(0.0, -1.0, 32, 4) == 0 and ada_update(1.0, 1.0, 32, 4) == 1
  state, states = AdaState.create(), []
  one_step = jax.jit(lambda state, step: adjust(observe(state, 0.9, 5000), step))
  for step in range(100):
    state = one_step(state, step)
    states.append(float(state.p))
  # Every fourth step, 20,000 images further.
  assert states[2] == 0 and states[3] == pytest.approx(0.04, abs=1e-6) == states[6]
  assert states[97] == pytest.approx(0.96, abs=1e-5) and states[99] == pytest.approx(1, abs=1e-5)


def test_the_controller_averages_over_the_interval():
  state = AdaState.create(0.5)
  for step, mean in enumerate((1.0, 1.0, 1.0, -1.0)):  # .5 on average, below the target of .6
    state = adjust(observe(state, mean, 8), step)
  assert float(state.p) == pytest.approx(0.5 - 32 / 500_000, abs=1e-7)
  assert float(state.count) == float(state.sign_sum) == 0
