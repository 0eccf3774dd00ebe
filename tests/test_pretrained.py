"""The model that comes with the package is a 3D one."""

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
