"""The models that come with the package: a 3D one, and a 2D one to measure it against."""

import math

import numpy as np
import pytest

from jax3dgan import trained


@pytest.fixture(scope='module')
def views():
  """Four seeds from four sides: images, depths and opacities, each [4, 4, 32, 32, ...]."""
  model = trained.load(pretrained='toys')
  w = np.repeat(np.asarray(model.map(model.latents(range(4)))), 4, axis=0)
  out = model.render(w, model.orbit(np.tile(np.arange(4) * math.pi / 2, 4)), resolution=32)
  return [x.reshape(4, 4, *x.shape[1:]) for x in (out.image, out.depth, out.opacity)]


def test_it_is_small_and_says_how_it_was_trained():
  path = trained.PRETRAINED / 'toys.npz'
  assert path.stat().st_size <= trained.MAX_BYTES
  assert 'configs/toys.py' in (trained.PRETRAINED / 'toys.json').read_text()


def test_objects_stand_on_a_white_ground(views):
  image, _, opacity = views
  corners = np.stack([image[..., y, x, :] for y in (0, -1) for x in (0, -1)])
  assert np.median(corners) > 0.95
  assert np.all(opacity[..., 12:20, 12:20].mean((-1, -2)) > 0.8)
  assert 0.1 < opacity.mean() < 0.6


def test_depth_has_shape(views):
  _, depth, opacity = views
  for d, o in zip(depth.reshape(-1, 32, 32), opacity.reshape(-1, 32, 32), strict=True):
    solid = d[o > 0.9] / o[o > 0.9]
    assert 0.55 < solid.min() and solid.max() < 1.45
    assert np.ptp(solid) > 0.1  # a car is about 0.4 to 0.8 deep, a card is not


def test_identities_differ_more_than_views_of_one(views):
  image, _, opacity = views
  colour = (image * opacity[..., None]).sum((2, 3)) / opacity.sum((2, 3))[
    ..., None
  ]  # [seed, view, 3]
  between = colour.mean(1).std(0).mean()
  within = colour.std(1).mean()
  assert between > within


@pytest.fixture(scope='module')
def flat():
  """32 seeds of the 2D baseline, [32, 32, 32, 3], not truncated."""
  model = trained.load(pretrained='toys_2d')
  out = model.render(model.map(model.latents(range(32)), psi=1), model.orbit(0.0))
  assert out.depth is None
  return out.image


def test_the_2d_baseline_is_small_and_says_how_it_was_trained():
  path = trained.PRETRAINED / 'toys_2d.npz'
  assert path.stat().st_size <= 2 * 2**20
  assert 'configs/toys_2d.py' in (trained.PRETRAINED / 'toys_2d.json').read_text()


def test_the_2d_baseline_draws_objects_on_a_white_ground(flat):
  corners = np.stack([flat[:, y, x] for y in (0, -1) for x in (0, -1)])
  assert np.median(corners) > 0.95
  middle = flat[:, 10:22, 10:22]
  assert np.all(middle.mean((1, 2, 3)) < 0.8)
  assert np.mean(np.abs(flat) > 1.2) < 0.02  # in [−1, 1] by training alone


def test_the_2d_baselines_objects_differ(flat):
  """Hardly two alike: the nearest other one is not much nearer than the others are."""
  distances = np.sqrt(((flat[:, None] - flat[None]) ** 2).mean((2, 3, 4)))
  nearest = np.sort(distances, axis=1)[:, 1]
  assert nearest.min() > 0.2 * np.median(distances)


@pytest.fixture(scope='module')
def of_planes():
  """Two seeds of EG3D from four sides: images [2, 4, 64, 64, 3], depths and opacities."""
  model = trained.load(pretrained='toys_eg3d')
  w = np.repeat(np.asarray(model.map(model.latents([0, 4]))), 4, axis=0)
  out = model.render(w, model.orbit(np.tile(np.arange(4) * math.pi / 2, 2)))
  return [x.reshape(2, 4, *x.shape[1:]) for x in (out.image, out.depth, out.opacity)]


def test_eg3d_is_small_and_says_how_it_was_trained():
  path = trained.PRETRAINED / 'toys_eg3d.npz'
  assert path.stat().st_size <= 2 * 2**20
  assert 'configs/eg3d_toys.py' in (trained.PRETRAINED / 'toys_eg3d.json').read_text()


def test_eg3ds_objects_are_solid_on_a_white_ground(of_planes):
  image, depth, opacity = of_planes
  assert image.shape[2] == 64
  corners = np.stack([image[..., y, x, :] for y in (3, -4) for x in (3, -4)])
  assert np.median(corners) > 0.9
  h = opacity.shape[2]
  middle = slice(h * 3 // 8, h * 5 // 8)
  assert np.all(opacity[..., middle, middle].mean((-1, -2)) > 0.8)
  inner = depth[..., middle, middle] / opacity[..., middle, middle]
  # The back is the flattest side.
  relief = np.ptp(inner.reshape(2, 4, -1), axis=-1)
  assert np.all(np.sort(relief, axis=1)[:, 1:] > 0.04)


def test_eg3ds_cars_are_blue_and_green_from_all_sides(of_planes):
  image, _, _ = of_planes
  middle = image[:, :, 20:44, 20:44].mean((2, 3))  # [seed, view, 3]
  assert np.all(middle[0, :, 2] > middle[0, :, 1] + 0.1)
  assert np.all(middle[1, :, 1] > middle[1, :, 2] + 0.1)
