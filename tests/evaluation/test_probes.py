"""The probes: what they learn, what they report, and their cache."""

import jax
import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.errors import UserError
from jax3dgan.evaluation import probe_network, probes, toy_cars

R = 16
SMALL = dict(resolution=R, steps=40, num_train=256, num_held_out=64)


@pytest.fixture(scope='module')
def toys(tmp_path_factory):
  cache = tmp_path_factory.mktemp('cache')
  return cache, probes.toys(cache_dir=cache, **SMALL)


def test_they_learn(toys):
  """A few steps already beat guessing: 90° between random directions, R² 0 by the mean."""
  _, found = toys
  assert found.report['pose/median_degrees'] < 60
  assert max(found.report[f'r2/body_{c}'] for c in 'rgb') > 0.5
  assert set(found.report) >= {f'r2/{name}' for name in toy_cars.ATTRIBUTES}


def test_what_is_read_badly_is_no_part_of_the_embedding(toys):
  _, found = toys
  good = [n for n in toy_cars.ATTRIBUTES if found.report[f'r2/{n}'] >= probes.MIN_R2]
  assert list(found.names) == good and 0 < len(good) < len(toy_cars.ATTRIBUTES)
  images, _, _ = toy_cars.images(3, 5, R)
  assert found.embedding(images).shape == (3, len(good))
  assert f'{len(good)} of 20 attributes' in found.protocol
  assert f'{found.report["pose/median_degrees"]:.1f}°' in found.protocol


def test_the_cache_gives_the_same_probes_without_training(toys, monkeypatch):
  cache, found = toys
  monkeypatch.setattr(probes, 'fit', None)
  again = probes.toys(cache_dir=cache, **SMALL)
  images, _, _ = toy_cars.images(3, 5, R)
  np.testing.assert_array_equal(again.direction(images), found.direction(images))
  np.testing.assert_array_equal(again.embedding(images), found.embedding(images))
  assert again.report == found.report


def test_other_settings_and_damaged_files_are_trained_again(toys, monkeypatch):
  cache, found = toys
  calls = []
  trained, real = [], probes.fit

  def fit(images, targets, steps, *rest):
    calls.append(steps)
    if len(trained) < 2:
      trained.append(real(images, targets, 1, *rest))
    return trained[(len(calls) - 1) % 2]  # what is trained again comes to the same

  monkeypatch.setattr(probes, 'fit', fit)
  small = SMALL | dict(num_train=64, num_held_out=16)
  probes.toys(cache_dir=cache, **small)
  probes.toys(cache_dir=cache, **small)
  assert calls == [40, 40]  # both networks, once
  newest = max((cache / 'eval').glob('*.npz'), key=lambda p: p.stat().st_mtime_ns)
  newest.write_bytes(newest.read_bytes()[:1000])
  probes.toys(cache_dir=cache, **small)
  assert calls == [40] * 4
  assert not list((cache / 'eval').glob('.*'))


def test_images_of_another_resolution_are_refused(toys):
  with pytest.raises(UserError, match='16²'):
    toys[1].direction(np.zeros((1, 8, 8, 3), np.uint8))


def test_floats_and_bytes_are_read_alike(toys):
  images, _, _ = toy_cars.images(3, 5, R)
  floats = images / np.float32(127.5) - 1
  np.testing.assert_array_equal(toys[1].direction(images), toys[1].direction(floats))
  np.testing.assert_allclose(np.linalg.norm(toys[1].direction(images), axis=-1), 1)


def test_toy_cars_keep_their_attributes_in_all_views():
  """The same cars from two sides, and the azimuths that were asked for."""
  seen = toy_cars.views(2, [[0.0, np.pi]], 3, R)
  assert seen.shape == (2, 2, R, R, 3) and seen.dtype == np.uint8
  np.testing.assert_array_equal(toy_cars.views(2, [[np.pi, 0.0]], 3, R), seen[:, ::-1])
  # From the right and from the left the outline is mirrored: the car's sides are alike.
  left, right = toy_cars.views(1, [[np.pi / 2, -np.pi / 2]], 3, R)[0]
  outline = [(side.min(-1) < 200) for side in (left, right)]
  assert (outline[0] == outline[1][:, ::-1]).mean() > 0.97


def test_images_and_what_is_known_of_them_belong_together():
  images, direction, attributes = toy_cars.images(24, 0, R)
  again = toy_cars.images(24, 0, R)
  for a, b in zip((images, direction, attributes), again, strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_allclose(np.linalg.norm(direction, axis=-1), 1, rtol=1e-5)
  # A body's colour is most of what is seen: red bodies make red images.
  red = attributes[:, toy_cars.ATTRIBUTES.index('body_r')]
  seen = np.array([x[x.min(-1) < 220].mean(0)[0] for x in images])
  assert np.corrcoef(red, seen)[0, 1] > 0.6


def test_augmentation_is_slight_and_keeps_flat_images():
  flat = np.full((4, 8, 8, 3), 0.3, np.float32)
  out = np.asarray(probe_network.augment(flat, jax.random.key(0)))
  np.testing.assert_allclose(out, 0.3, atol=6 * probe_network._NOISE)
  assert (out.reshape(4, -1).std(1) > 0).all()
  np.testing.assert_allclose(out.mean(), 0.3, atol=0.01)


def test_r_squared():
  truth = np.array([[0.0], [1.0], [2.0]])
  np.testing.assert_allclose(probes.r_squared(truth, truth), 1)
  np.testing.assert_allclose(probes.r_squared(truth, np.ones((3, 1))), 0)
  np.testing.assert_allclose(probes.r_squared(truth, truth + 1), -0.5)


def test_pose_from_labels_learns_what_the_labels_say(tmp_path):
  """Images that are their camera's direction; labels whose camera stands at a distance of 3."""
  rng = np.random.default_rng(0)
  azimuth, elevation = rng.uniform(-np.pi, np.pi, 256), rng.uniform(0, 0.5, 256)
  camera = cameras.orbit(azimuth, elevation, 3.0, 30.0)
  direction = np.asarray(camera.origin) / 3
  flat = np.repeat(np.round((direction + 1) * 127.5), R * R, axis=0)
  images = flat.reshape(-1, R, R, 3).astype(np.uint8)
  labels = np.asarray(camera.label())
  found = probes.pose_from_labels(images, labels, steps=60, cache_dir=tmp_path)
  assert found.report['pose/median_degrees'] < 12
  assert found.embedding is None
  error = probes.angular_error(found.direction(images), direction)
  assert np.median(error) < 12
  with pytest.raises(UserError, match='25 numbers'):
    probes.pose_from_labels(images, labels[:5])
  with pytest.raises(UserError, match='origin'):
    probes.pose_from_labels(images, np.zeros_like(labels))
