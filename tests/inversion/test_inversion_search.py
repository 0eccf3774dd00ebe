"""The search finds objects that a generator drew itself, and their cameras."""

import dataclasses
import functools
import math

import jax
import numpy as np
import pytest

from jax3dgan import cameras, trained
from jax3dgan.errors import UserError
from jax3dgan.inversion import descent, losses, pivotal, poses, quality, search, spaces
from jax3dgan.inversion.search import SearchOptions

SHORT = SearchOptions(num_steps=4, samples=4, num_starts=2, start_steps=2)


@functools.cache
def drawn():
  """(model, azimuths, photos [2, 16, 16, 3]) of two cars of the pretrained model."""
  model, azimuth = trained.load(pretrained='toys'), np.float32([0.9, 2.5])
  w = np.asarray(model.map(model.latents([2, 4]), psi=1))
  return model, azimuth, w, picture(model, w, model.orbit(azimuth))


def picture(model, w, camera):
  out = model.render(w, camera, 16, num_coarse=12, num_fine=0, ray_chunk=0)
  return np.clip(out.image, -1, 1)


def test_a_wrong_camera_is_corrected():
  """Of two cars whose cameras are given 17° wrong; the objects are found on the way."""
  model, azimuth, w, image = drawn()
  wrong = azimuth + np.float32([0.3, -0.3])
  options = SearchOptions(num_steps=40, learning_rate=0.1)
  steps = []
  parts = (model, image, model.orbit(wrong), 'w+', ('yaw', 'pitch'))
  found = search.search(*parts, options=options, callback=steps.append)
  assert sum(steps) == 40 and found.losses['mse'].shape == (40, 2)
  turn = np.radians(poses.angles(found.camera)[0]) - azimuth
  turn = np.abs((turn + math.pi) % (2 * math.pi) - math.pi)
  assert (turn < 0.15).all(), turn
  seen = quality.psnr(picture(model, found.w, found.camera), image)
  start = quality.psnr(picture(model, np.stack([model.average_w] * 2), model.orbit(wrong)), image)
  assert (seen > start + 6).all(), (seen, start)
  # From another side too the objects are nearer than the average is.
  first, second = model.orbit(azimuth), model.orbit(azimuth + 1.5)
  true = picture(model, w, second)
  other = picture(model, found.w, poses.follow(found.camera, first, second))
  average = picture(model, np.stack([model.average_w] * 2), second)
  gain = quality.psnr(other, true) - quality.psnr(average, true)
  assert (gain > 1).all(), gain


@pytest.mark.parametrize('one_identity', [False, True])
def test_the_best_side_to_start_from(tiny_model, monkeypatch, one_identity):
  """With a loss that says how far a camera is from the photo's."""
  right = np.radians([90, 180, 0])  # of photos 0, 1, 2
  image = np.float32([0.0, 0.5, 1.0])[:, None, None, None] * np.ones((1, 16, 16, 3), np.float32)
  rates = []

  def run(model, photos, camera, space, coordinates, find, perceptual, options, seed, say):
    azimuth = np.radians(poses.angles(camera)[0])
    which = np.round(2 * np.asarray(photos[0])[:, 0, 0, 0]).astype(int)
    far = 1 - np.cos(azimuth - right[which])
    rates.append(options.learning_rate)
    losses = {name: np.stack([far] * 4) for name in ('mse', 'perceptual', 'unlikely')}
    marked = np.asarray(coordinates) + np.arange(len(coordinates))[:, None]
    return search.Found(None, camera, marked, losses)

  monkeypatch.setattr(descent, 'run', run)
  space = spaces.create(tiny_model, 'w+')
  options = dataclasses.replace(SHORT, num_starts=4)
  parts = (tiny_model, image, space, options, one_identity, 0, None)
  camera, coordinates = search._start(*parts)
  azimuth = np.radians(poses.angles(camera)[0])
  np.testing.assert_allclose(np.cos(azimuth - right), 1, atol=1e-6)
  # Photos of one object: the first gives its style, the others look for their cameras alone.
  assert len(coordinates) == (1 if one_identity else 3)
  assert rates == ([SHORT.learning_rate, 0.0] if one_identity else [SHORT.learning_rate])
  expected = [1] if one_identity else [1, 4 + 2, 8]
  np.testing.assert_array_equal(coordinates[:, 0], expected)


def test_photos_of_one_object_share_its_style(tiny_model):
  w = tiny_model.map(tiny_model.latents([0]), psi=1)
  image = picture(tiny_model, w, tiny_model.orbit([0.0, 1.0, 2.0]))
  found = search.search(tiny_model, image, None, 'w+', options=SHORT, one_identity=True)
  assert found.w.shape == (1, *tiny_model.average_w.shape)
  assert found.camera.cam2world.shape == (3, 4, 4) and found.losses['mse'].shape == (4, 3)
  given = tiny_model.orbit([0.0, 1.0, 2.0])
  found = search.search(tiny_model, image, given, 'w+', options=SHORT, one_identity=True)
  np.testing.assert_array_equal(found.camera.cam2world, given.cam2world)
  # What all photos ask for is one gradient: the same photos in another order give the same style.
  back = jax.tree.map(lambda x: x[::-1], given)
  again = search.search(tiny_model, image[::-1], back, 'w+', options=SHORT, one_identity=True)
  np.testing.assert_allclose(found.w, again.w, atol=1e-4)


def test_each_photo_is_found_as_if_it_were_alone(tiny_model):
  image = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
  run = functools.partial(search.search, tiny_model, options=SHORT, seed=3)
  both, other = run(image), run(image * np.float32([1, -1])[:, None, None, None])
  np.testing.assert_array_equal(both.w[0], other.w[0])
  np.testing.assert_array_equal(both.camera.cam2world[0], other.camera.cam2world[0])
  assert np.abs(both.w[1] - other.w[1]).max() > 1e-3
  swapped = run(image[::-1])
  np.testing.assert_allclose(swapped.w[::-1], both.w, atol=1e-5)
  again = run(image)
  np.testing.assert_array_equal(again.w, both.w)
  seeded = search.search(tiny_model, image, options=SHORT, seed=4)
  assert np.abs(seeded.w - both.w).max() > 1e-4


def test_what_is_given_stays_and_what_is_searched_moves(tiny_model):
  image = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
  camera = tiny_model.orbit([0.3, 0.7])
  fixed = search.search(tiny_model, image, camera, 'z', options=SHORT)
  np.testing.assert_array_equal(fixed.camera.cam2world, camera.cam2world)
  moved = search.search(tiny_model, image, camera, 'z', ('yaw',), options=SHORT)
  (azimuth, elevation), before = poses.angles(moved.camera), poses.angles(camera)
  assert (np.abs(azimuth - before[0]) > 1e-3).all()
  np.testing.assert_allclose(elevation, before[1], atol=1e-3)
  # In z a style stays one that the mapping network gives.
  w = tiny_model.map(np.asarray(moved.coordinates), psi=1)
  np.testing.assert_allclose(moved.w, w, atol=1e-5)
  four = ('yaw', 'pitch', 'roll', 'distance')
  moved = search.search(tiny_model, image, camera, 'z', four, options=SHORT)
  assert (np.abs(np.linalg.norm(moved.camera.origin, axis=1) - 1) > 1e-4).all()


def test_the_rate_rises_and_falls_and_noise_ends():
  options = SearchOptions(num_steps=100, warm_up=0.1, cool_down=0.5)
  rate = np.asarray([options.rate(i) for i in range(100)])
  assert rate[0] == pytest.approx(0.1) and rate[9] == rate[49] == 1
  assert rate[-1] == pytest.approx(0, abs=1e-6) and rate[74] == pytest.approx(0.5, abs=1e-6)
  assert (np.diff(rate[49:]) < 0).all()


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(image=np.zeros((2, 16, 8, 3), np.float32)), 'Crop them square'),
    (dict(image=np.zeros((2, 16, 16, 3), np.uint8)), 'Give image / 127.5'),
    (dict(image=np.full((2, 16, 16, 3), np.nan, np.float32)), r'not in \[−1, 1\]'),
    (dict(image=np.full((2, 16, 16, 3), 9.0, np.float32)), r'not in \[−1, 1\]'),
    (dict(camera=cameras.orbit(np.zeros(3), 0.0)), '3 cameras do not fit 2 photos'),
    (dict(find=('tilt',)), 'A camera has no tilt'),
  ],
)
def test_what_does_not_fit(tiny_model, fields, message):
  image = np.zeros((2, 16, 16, 3), np.float32)
  inputs = {'image': image, 'camera': tiny_model.orbit(0.0), 'space': 'z', **fields}
  with pytest.raises(UserError, match=message):
    search.search(tiny_model, **inputs, options=SHORT)


def test_tuned_weights_draw_the_photo_and_keep_other_styles(tiny_model):
  w = tiny_model.map(tiny_model.latents([0]), psi=1)
  camera = tiny_model.orbit(0.5)
  image = np.clip(picture(tiny_model, w, camera) + 0.2, -1, 1)
  options = pivotal.TuneOptions(20, learning_rate=2e-3, samples=4)

  def error(model):
    out = model.render(w, camera, 16, num_coarse=4, num_fine=0, ray_chunk=0, align_corners=False)
    return ((out.image - image) ** 2).mean()

  def drift(model):
    other = np.asarray(tiny_model.map(tiny_model.latents(range(1, 9)), psi=1))
    views = tiny_model.orbit(np.arange(8.0))
    return ((picture(model, other, views) - picture(tiny_model, other, views)) ** 2).mean()

  tuned = pivotal.tune(tiny_model, image, w, camera, options=options)
  assert error(tuned) < 0.5 * error(tiny_model)
  free = dataclasses.replace(options, locality=0.0)
  assert drift(tuned) < 0.9 * drift(pivotal.tune(tiny_model, image, w, camera, options=free))
  # The mapping network stays: the same latents mean the same objects.
  before, after = tiny_model.params['mapping'], tuned.params['mapping']
  jax.tree.map(np.testing.assert_array_equal, before, after)


def test_without_a_perceptual_loss(tiny_model):
  image = np.zeros((1, 16, 16, 3), np.float32)
  none = losses.choose('none')
  space = spaces.create(tiny_model, 'w+')
  parts = (tiny_model, image, tiny_model.orbit(0.0), space, (), none, SHORT)
  assert (search.search(*parts).losses['perceptual'] == 0).all()
