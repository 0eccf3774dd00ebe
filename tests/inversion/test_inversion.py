"""Inversion against the official procedure's arrays, and on real pictures of a trained model."""

import functools

import goldens
import jax
import numpy as np
import pytest
import x64
from pigan_names import HIDDEN, NUM_RAYS, RESOLUTION, from_official, from_styles, to_styles

from jax3dgan import cameras, inversion, trained
from jax3dgan.errors import UserError
from jax3dgan.generators.pigan import PiGAN
from jax3dgan.inversion import InversionDraws, InversionOptions
from jax3dgan.rendering.hierarchical import RenderOptions

NUM_STEPS = 4  # of the golden arrays
OPTIONS = RenderOptions(
  RESOLUTION,
  near=0.88,
  far=1.12,
  num_coarse=6,
  num_fine=0,
  density='relu',
  last_interval='infinite',
  align_corners=True,
)


@functools.cache
def golden_steps(dtype):
  """[(w [1, n, 2, h] after, image before, loss)] of the golden steps, and the average style."""
  arrays, whole = goldens.load('inverse_render_small'), goldens.load('generator_small')
  average = to_styles(whole['avg_frequencies'], whole['avg_phase_shifts'], dtype)[0]
  noise = [
    to_styles(arrays['noise_freq_n'][i], arrays['noise_phase_n'][i], dtype)
    for i in range(NUM_STEPS)
  ]
  jitter = arrays['draw_jitter_u'].reshape(NUM_STEPS, 1, NUM_RAYS, 6).astype(dtype)
  steps = []

  def record(index, w, image, loss):
    assert index == len(steps)
    steps.append(jax.device_get((w, image, loss)))

  with jax.enable_x64(True):
    camera = cameras.from_yaw_pitch(np.full(1, np.pi / 2), np.full(1, np.pi / 2))
    found = inversion.invert(
      PiGAN(z_dim=16, hidden_dim=HIDDEN),
      {'params': from_official(whole, dtype=dtype)},
      np.moveaxis(arrays['gt'], 1, -1).astype(dtype),
      jax.tree.map(lambda x: x.astype(dtype), camera),
      average,
      options=OPTIONS,
      num_steps=NUM_STEPS,
      search=InversionOptions(noise_steps=700),
      draws=InversionDraws(np.stack(noise), jitter),
      callback=record,
    )
    found = jax.device_get(found)
  np.testing.assert_array_equal(found.w, steps[-1][0])
  return steps, found.losses, average


# float64: what float32 costs the official code; float32: twice what it costs both. A step is .01.
FRAME = {np.float64: 1e-4, np.float32: 3e-4}
OFFSET = {np.float64: 4e-6, np.float32: 1.5e-5}


@pytest.mark.parametrize('dtype', x64.DTYPES)
def test_steps_match_official(dtype):
  steps, losses, average = golden_steps(dtype)
  file = 'inverse_render_small'
  for i, (w, image, _) in enumerate(steps):
    assert w.dtype == image.dtype == dtype
    frequencies, phases = from_styles(w - average)
    goldens.compare(file, f'frame_{i}', np.moveaxis(image, -1, 1), atol=FRAME[dtype])
    goldens.compare(file, f'freq_offset_after_{i}', frequencies, atol=OFFSET[dtype])
    goldens.compare(file, f'phase_offset_after_{i}', phases, atol=OFFSET[dtype])
  goldens.compare(file, 'loss', losses[:, 0], atol=3e-6)


def test_styles_of_a_trained_model_are_found_again():
  """What is found is the scene, not the picture: it is nearer from another side too.

  Not the style itself: many styles give one picture, and every one of its numbers moves.
  """
  model = trained.load(pretrained='toys')
  options = model.options(16, num_coarse=12, num_fine=0, ray_chunk=0)
  w = model.map(model.latents([0, 1]))

  def images(w, azimuth):
    camera = model.orbit(azimuth)
    return model.render(w, camera, 16, batch=2, num_coarse=12, num_fine=0, ray_chunk=0).image

  target = images(w, 0.7)
  found = inversion.invert(
    model.generator,
    model.variables,
    target,
    model.orbit(0.7),
    model.average_w,
    jax.random.key(0),
    options,
    num_steps=40,
  )
  assert found.w.shape == w.shape and found.losses.shape == (40, 2)
  assert (found.losses[-5:].mean(0) < 0.5 * found.losses[0]).all()
  average = np.broadcast_to(model.average_w, w.shape)
  for azimuth, share in ((0.7, 0.5), (2.2, 0.9)):
    true = images(w, azimuth)
    near, far = (np.mean((images(x, azimuth) - true) ** 2, (1, 2, 3)) for x in (found.w, average))
    assert (near < share * far).all(), (azimuth, near, far)


RENDER = RenderOptions(8, num_coarse=4, num_fine=0)


@functools.cache
def scene():
  """(generator, variables, average style, two images, camera) of the smallest size."""
  generator = PiGAN(z_dim=4, hidden_dim=8, num_layers=2, mapping_dim=8, mapping_layers=1)
  variables = jax.jit(
    lambda key: generator.init(key, np.zeros((1, 4), np.float32), method='initialise')
  )(jax.random.key(0))
  rng = np.random.default_rng(0)
  image = rng.uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
  average = rng.normal(size=(3, 2, 8)).astype(np.float32)
  return generator, variables, average, image, cameras.orbit(np.zeros(1), 0.0)


def invert(image, key=None, camera=None, **fields):
  generator, variables, average, _, default = scene()
  args = (generator, variables, image, camera or default, average, key, RENDER)
  return inversion.invert(*args, **{'num_steps': 3, **fields})


def test_each_picture_is_found_as_if_it_were_alone():
  _, _, average, image, _ = scene()
  key = jax.random.key(0)
  both, other = invert(image, key), invert(image * np.float32([1, -1])[:, None, None, None], key)
  np.testing.assert_array_equal(both.w[0], other.w[0])
  np.testing.assert_array_equal(both.losses[:, 0], other.losses[:, 0])
  assert np.abs(both.w[1] - other.w[1]).max() > 1e-3
  # Each has random numbers of its own, and new ones at each step; without a key there are none.
  same = np.stack([image[0], image[0]])
  drawn, drawn_again, plain = invert(same, key), invert(same, key), invert(same)
  np.testing.assert_array_equal(drawn.w, drawn_again.w)
  assert np.abs(drawn.losses[:, 0] - drawn.losses[:, 1]).min() > 1e-7
  np.testing.assert_array_equal(plain.w[0], plain.w[1])
  assert (np.diff(plain.losses, axis=0) < 0).all()


def test_noise_falls_to_zero():
  generator, variables, average, image, camera = scene()
  noise = np.random.default_rng(1).normal(size=(3, 2, 3, 2, 8)).astype(np.float32)
  images = []
  invert(
    image,
    search=InversionOptions(learning_rate=0.0, noise_std=0.5, noise_steps=2),
    draws=InversionDraws(noise=noise),
    callback=lambda i, w, image, loss: images.append(image),
  )
  both = jax.tree.map(lambda x: np.repeat(x, 2, 0), camera)

  @jax.jit
  def render(w):
    return generator.apply(variables, w, both, method='synthesize', options=RENDER).image

  for actual, step_noise, share in zip(images, noise, (1, 0.5, 0), strict=True):
    expected = render(average + np.float32(0.5 * share) * step_noise)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
  assert np.abs(images[0] - images[2]).max() > 1e-3


def test_the_learning_rate_falls_and_the_offset_decays():
  """Under a constant gradient Adam's steps are the learning rate itself."""
  optimizer = InversionOptions(decay_steps=2, weight_decay=0.0).optimizer()
  state, rates = optimizer.init(np.zeros(1, np.float32)), []
  for _ in range(5):
    update, state = optimizer.update(np.full(1, 0.3, np.float32), state, np.ones(1, np.float32))
    rates.append(-update[0])
  np.testing.assert_allclose(rates, 0.01 * np.float64([1, 1, 0.75, 0.75, 0.75**2]), rtol=1e-4)
  # Weight decay is a part of the gradient: alone it moves by the whole rate, whatever its size.
  optimizer = InversionOptions().optimizer()
  zero, offset = np.zeros(1, np.float32), np.full(1, -3, np.float32)
  update, _ = optimizer.update(zero, optimizer.init(zero), offset)
  np.testing.assert_allclose(update, [0.01], rtol=1e-4)


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(image=np.zeros((2, 16, 16, 3))), r'are not \[b, 8, 8, 3\]. Resize'),
    (dict(image=np.zeros((8, 8, 3))), r'are not \[b, 8, 8, 3\]'),
    (dict(image=np.zeros((2, 8, 8, 3), np.uint8)), 'uint8 are not in .* Give image / 127.5'),
    (dict(camera=cameras.orbit(np.zeros(3), 0.0)), 'do not fit 2 images'),
    (dict(camera=cameras.orbit(0.0, 0.0)), r'Give one camera, \[1, 4, 4\]'),
  ],
)
def test_what_does_not_fit(fields, message):
  with pytest.raises(UserError, match=message):
    invert(**{'image': scene()[3], **fields})
