"""Pose accuracy with estimators whose error is known."""

import math

import numpy as np
import pytest
import standin

from jax3dgan.errors import UserError
from jax3dgan.evaluation import pose, probes


def directions(azimuth, elevation=0.0):
  azimuth, elevation = np.broadcast_arrays(azimuth, elevation)
  c = np.cos(elevation)
  return np.stack([c * np.sin(azimuth), np.sin(elevation), c * np.cos(azimuth)], axis=-1)


def asked(num_latents=40, num_views=8, seed=0):
  rng = np.random.default_rng(seed)
  shape = (num_latents, num_views)
  return rng.uniform(-np.pi, np.pi, shape), rng.uniform(0.2, 0.7, shape)


def test_azimuth_and_wrap():
  angles = np.array([-3.0, 0.0, 0.5, 3.1])
  np.testing.assert_allclose(pose.azimuth(directions(angles, 0.4)), angles)
  np.testing.assert_allclose(pose.wrap(angles + 4 * np.pi), angles)
  assert pose.wrap(np.pi) == -np.pi


def test_angular_error_is_the_angle_also_where_it_is_small():
  small = 1e-7
  assert probes.angular_error(directions(0.0), directions(small)) == pytest.approx(
    math.degrees(small)
  )
  assert probes.angular_error(directions(0.0), -3 * directions(0.0)) == pytest.approx(180)
  np.testing.assert_allclose(
    probes.angular_error(directions(0.0, 0.3), directions(0.0, 0.8)), 28.6, 0.01
  )


@pytest.mark.parametrize('yaw', [-2.0, 0.0, 0.7, math.pi])
@pytest.mark.parametrize('mirrored', [False, True])
def test_a_frame_of_its_own_is_found_and_is_no_error(yaw, mirrored):
  azimuth, elevation = asked()
  seen = directions((-azimuth if mirrored else azimuth) + yaw, elevation)
  frame = pose.best_frame(directions(azimuth, elevation), seen)
  assert frame.mirrored == mirrored
  assert abs(pose.wrap(frame.yaw - yaw)) < 1e-9
  np.testing.assert_allclose(frame(directions(azimuth, elevation)), seen, atol=1e-12)
  values = pose.accuracy(directions(azimuth, elevation), seen)
  for name in ('error_degrees_aligned', 'error_degrees_own_frame', 'frame_spread_degrees'):
    assert values[f'pose/{name}'] == pytest.approx(0, abs=1e-5)
  assert values['pose/fixed_by_camera'] == pytest.approx(1)
  assert values['pose/mirrored'] == mirrored
  if not mirrored:  # the chord of a yaw on a circle of latitude
    chord = 2 * np.arcsin(np.cos(elevation) * abs(math.sin(yaw / 2)))
    assert values['pose/error_degrees'] == pytest.approx(np.degrees(chord).mean(), abs=1e-6)


def test_noise_of_the_estimate_is_the_aligned_error():
  azimuth, _ = asked(300, 6)
  noise = np.radians(5)
  rng = np.random.default_rng(1)
  seen = directions(azimuth + 1.0 + noise * rng.standard_normal(azimuth.shape))
  values = pose.accuracy(directions(azimuth), seen)
  expected = 5 * math.sqrt(2 / math.pi)  # mean of |normal|
  assert values['pose/error_degrees_aligned'] == pytest.approx(expected, rel=0.04)
  # Fitting a latent's own yaw on n of its views adds the noise of a mean of n.
  own = expected * math.sqrt(1 + 1 / 3)
  assert values['pose/error_degrees_own_frame'] == pytest.approx(own, rel=0.04)
  assert values['pose/frame_spread_degrees'] == pytest.approx(5 / math.sqrt(6), rel=0.1)
  assert values['pose/fixed_by_camera'] == pytest.approx(math.exp(-(noise**2) / 2), abs=1e-3)


def test_latents_that_face_where_they_like_spread_the_frame():
  azimuth, _ = asked(600, 4)
  spread = np.radians(25)
  own = np.random.default_rng(2).normal(0, spread, (600, 1))
  values = pose.accuracy(directions(azimuth), directions(azimuth + own - 2.0))
  assert values['pose/frame_spread_degrees'] == pytest.approx(25, rel=0.06)
  assert values['pose/error_degrees_own_frame'] == pytest.approx(0, abs=1e-5)
  assert values['pose/error_degrees_aligned'] == pytest.approx(
    25 * math.sqrt(2 / math.pi), rel=0.06
  )
  assert values['pose/fixed_by_camera'] == pytest.approx(math.exp(-(spread**2) / 2), abs=0.01)


def test_circular_std():
  angles = np.random.default_rng(0).normal(3, 0.5, 200_000)
  assert pose.circular_std(angles) == pytest.approx(0.5, rel=0.01)
  assert pose.circular_std(np.full(3, 2.0)) == pytest.approx(0, abs=1e-7)


def test_a_generator_without_a_camera_is_not_fixed_by_it(tiny_model):
  model = standin.Generator(lambda z: np.arctan2(z[:, 0], z[:, 1]), lambda z: z[:, 2:6])
  model.prior_of, model.params = tiny_model.prior_of, tiny_model.params
  model.orbit = tiny_model.orbit
  result = pose.measure(model, standin.probes(about='known'), num_latents=64)
  assert result.values['pose/fixed_by_camera'] < 0.25
  assert result.values['pose/error_degrees_aligned'] > 60
  assert 'known' in result.protocol
  assert result.sheet.dtype == np.uint8 and result.sheet.ndim == 3


def test_the_cameras_are_those_that_were_asked_for(tiny_model):
  """A probe with the true cameras has no error: order and frame of `measure` are right."""
  camera, direction = pose.prior_cameras(tiny_model, 6, 0)
  np.testing.assert_allclose(np.linalg.norm(direction, axis=-1), 1, rtol=1e-6)
  np.testing.assert_allclose(direction, -np.asarray(camera.cam2world)[:, :3, 2], atol=1e-5)
  exact = standin.probes()
  exact.pose = lambda images: direction
  values = pose.measure(tiny_model, exact, num_latents=3, num_views=2).values
  assert values['pose/error_degrees'] == pytest.approx(0, abs=1e-4)


def test_what_cannot_be_measured_is_said():
  with pytest.raises(UserError, match='num_latents'):
    pose.accuracy(np.ones((1, 4, 3)), np.ones((1, 4, 3)))
  with pytest.raises(UserError, match='not a number'):
    pose.accuracy(np.ones((2, 4, 3)), np.full((2, 4, 3), np.nan))
