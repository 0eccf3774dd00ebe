"""Cameras against the official code's, closed forms and the statistics of the pose priors."""

import functools
import math

import goldens
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax3dgan import cameras
from jax3dgan import config as config_lib
from jax3dgan.errors import UserError

# OpenGL's camera looks along -z with y up, OpenCV's along +z with y down.
OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
NUM_DRAWS = 4096

from_yaw_pitch = jax.jit(cameras.from_yaw_pitch)
look_at = jax.jit(cameras.look_at)
orbit = jax.jit(cameras.orbit, static_argnames='fov_degrees')
project = jax.jit(cameras.project)


def golden_prior(arrays, mode):
  yaw_std, pitch_std, yaw_mean, pitch_mean = map(
    float, arrays.get(f'{mode}/h_stddev_v_stddev_h_mean_v_mean', (0.3, 0.155, *[math.pi / 2] * 2))
  )
  return cameras.pose_prior(
    mode, yaw_mean=yaw_mean, yaw_std=yaw_std, pitch_mean=pitch_mean, pitch_std=pitch_std
  )


DTYPES = [np.float64, np.float32]


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('mode', ['gaussian', 'uniform', 'spherical_uniform', 'truncated_gaussian'])
def test_pose_priors_match_official(mode, dtype):
  arrays = goldens.load('camera')
  suffix = '_4' if mode == 'truncated_gaussian' else ''
  draws = (arrays[f'{mode}/draw_{angle}{suffix}'][:, 0].astype(dtype) for angle in ('yaw', 'pitch'))
  with jax.enable_x64(True):
    angles_from_draws = jax.jit(cameras.angles_from_draws, static_argnums=0)
    yaw, pitch = angles_from_draws(golden_prior(arrays, mode), *draws)
    camera = jax.device_get(from_yaw_pitch(yaw, pitch))
  # One to four units in the last place of float32.
  goldens.compare('camera', f'{mode}/yaw', yaw[:, None], atol=5e-7)
  goldens.compare('camera', f'{mode}/pitch', pitch[:, None], atol=5e-7)
  goldens.compare('camera', f'{mode}/origin', camera.cam2world[:, :3, 3], atol=5e-7)
  if f'{mode}/cam2world' in arrays:
    official = camera.cam2world @ OPENGL_TO_OPENCV.astype(dtype)
    goldens.compare('camera', f'{mode}/cam2world', official, atol=5e-7)


@pytest.mark.parametrize('dtype', DTYPES)
def test_fixed_poses_match_official_even_at_the_pole(dtype):
  arrays = goldens.load('camera')
  with jax.enable_x64(True):
    pitch, yaw = arrays['fixed/pitch_yaw'].astype(dtype).T
    assert pitch[3] < 1.1e-5  # where the official clamp holds it; ours does from the pole itself
    pitch[3] = 0
    camera = jax.device_get(from_yaw_pitch(yaw, pitch))
  assert camera.cam2world.dtype == dtype
  official = camera.cam2world @ OPENGL_TO_OPENCV.astype(dtype)
  goldens.compare('camera', 'fixed/origin', camera.cam2world[:, :3, 3], atol=5e-7)
  goldens.compare('camera', 'fixed/cam2world', official, atol=5e-7)


def test_look_at_is_a_rotation_that_looks_at_the_target():
  rng = np.random.default_rng(0)
  origin, target = rng.normal(size=(2, NUM_DRAWS, 3)).astype(np.float32)
  matrix = np.asarray(look_at(origin, target), np.float64)
  right, down, forward = np.moveaxis(matrix[:, :3, :3], -1, 0)
  rotation = matrix[:, :3, :3]
  identity = np.broadcast_to(np.eye(3), rotation.shape)
  np.testing.assert_allclose(np.swapaxes(rotation, 1, 2) @ rotation, identity, atol=2e-6)
  np.testing.assert_allclose(np.linalg.det(rotation), 1, atol=2e-6)
  np.testing.assert_allclose(np.cross(right, down), forward, atol=2e-6)
  np.testing.assert_allclose(matrix[:, 3], np.tile([0, 0, 0, 1], (NUM_DRAWS, 1)))
  np.testing.assert_allclose(right[:, 1], 0, atol=1e-7)  # the horizon is level
  assert (down[:, 1] <= 0).all()
  ahead = (target - origin) / np.linalg.norm(target - origin, axis=-1, keepdims=True)
  np.testing.assert_allclose(forward, ahead, atol=1e-6)


def test_look_at_of_whole_numbers():
  np.testing.assert_allclose(
    cameras.look_at((0, 0, 2), up=(0, 0.5, 0))[:3],
    [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 2]],
    atol=1e-7,
  )


@pytest.mark.parametrize(
  'azimuth, elevation, origin',
  [(0, 0, (0, 0, 2)), (90, 0, (2, 0, 0)), (-90, 0, (-2, 0, 0)), (180, 0, (0, 0, -2))]
  + [(0, 30, (0, 1, 3**0.5)), (90, -30, (3**0.5, -1, 0))],
)
def test_orbit_conventions(azimuth, elevation, origin):
  camera = orbit(np.radians(azimuth), np.radians(elevation), radius=2.0)
  np.testing.assert_allclose(camera.origin, origin, atol=1e-6)
  np.testing.assert_allclose(camera.cam2world[:3, 2], -np.float64(origin) / 2, atol=1e-6)


def test_orbit_of_many_azimuths_at_one_elevation():
  azimuth = np.linspace(0, 3, 5)
  around = orbit(azimuth, 0.2)
  assert around.cam2world.shape == (5, 4, 4) and around.intrinsics.shape == (5, 3, 3)
  np.testing.assert_allclose(around.cam2world[4], orbit(3.0, 0.2).cam2world, atol=1e-6)
  up = orbit(0.3, np.linspace(-1, 1, 5))
  np.testing.assert_allclose(up.origin[:, 1], np.sin(np.linspace(-1, 1, 5)), atol=1e-6)


def test_projection_of_known_points():
  camera = orbit(0.0, 0.0, radius=2.0, fov_degrees=90.0)  # half the view is 45 degrees
  points = np.float32([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-2, 2, 0], [0.5, 0, 1], [0.5, -0.25, -2]])
  uv, depth = project(camera, points)
  expected = [[0.5, 0.5], [0.75, 0.5], [0.5, 0.25], [0, 0], [0.75, 0.5], [0.5625, 0.53125]]
  np.testing.assert_allclose(uv, expected, atol=1e-6)
  np.testing.assert_allclose(depth, [2, 2, 2, 2, 1, 4], atol=1e-6)


@pytest.mark.parametrize('fov_degrees', [12.0, 60.0, 90.0])
def test_intrinsics_put_the_field_of_view_on_the_border(fov_degrees):
  intrinsics = cameras.intrinsics_from_fov(fov_degrees, (3,))
  assert intrinsics.shape == (3, 3, 3)
  border = np.array([math.tan(math.radians(fov_degrees) / 2), 0, 1])
  np.testing.assert_allclose(intrinsics[0] @ border, [1, 0.5, 1], atol=1e-6)


def test_label_round_trip():
  camera = orbit(np.float32([[0.1, 0.5, -2], [3, 0, 1]]), 0.3, 1.5, fov_degrees=30.0)
  label = camera.label()
  assert label.shape == (2, 3, 25)
  np.testing.assert_array_equal(label[0, 1, :16].reshape(4, 4), camera.cam2world[0, 1])
  np.testing.assert_array_equal(label[1, 2, 16:], camera.intrinsics[1, 2].ravel())
  back = cameras.from_label(np.asarray(label))
  np.testing.assert_array_equal(back.cam2world, camera.cam2world)
  np.testing.assert_array_equal(back.intrinsics, camera.intrinsics)
  with pytest.raises(UserError, match='25 numbers, not 16'):
    cameras.from_label(np.zeros((2, 16)))


@functools.cache
def sampler(prior):
  return jax.jit(jax.vmap(lambda key: cameras.sample_angles(prior, key)))


def draw_angles(prior):
  yaw, pitch = sampler(prior)(jax.random.split(jax.random.key(0), NUM_DRAWS))
  return np.asarray(yaw, np.float64), np.asarray(pitch, np.float64)


def assert_distributed(values, cumulative):
  """Kolmogorov-Smirnov: one key in a thousand passes 1.95/sqrt(n) by chance; ours is fixed."""
  expected = cumulative(np.sort(values))
  actual = (np.arange(len(values)) + 0.5) / len(values)
  assert np.abs(expected - actual).max() < 1.95 / math.sqrt(len(values))


def normal_cdf(mean, std):
  return np.vectorize(lambda x: 0.5 * (1 + math.erf((x - mean) / std / math.sqrt(2))))


def uniform_cdf(low, high):
  return lambda x: np.clip((x - low) / (high - low), 0, 1)


def test_gaussian_prior_statistics():
  prior = cameras.pose_prior('gaussian', yaw_mean=1.0, yaw_std=0.3, pitch_mean=1.4, pitch_std=0.1)
  yaw, pitch = draw_angles(prior)
  assert_distributed(yaw, normal_cdf(1.0, 0.3))
  assert_distributed(pitch, normal_cdf(1.4, 0.1))
  assert abs(np.corrcoef(yaw, pitch)[0, 1]) < 4 / math.sqrt(NUM_DRAWS)


def test_truncated_gaussian_prior_statistics():
  yaw, pitch = draw_angles(cameras.pose_prior('truncated_gaussian', yaw_mean=0.0, yaw_std=0.5))
  assert np.abs(yaw).max() < 1 and np.abs(pitch - math.pi / 2).max() < 2 * 0.155
  low, high = normal_cdf(0, 0.5)([-1, 1])
  assert_distributed(yaw, lambda x: (normal_cdf(0, 0.5)(x) - low) / (high - low))


def test_uniform_prior_statistics():
  yaw, pitch = draw_angles(cameras.pose_prior('uniform', yaw_mean=0.5, yaw_std=0.25))
  assert_distributed(yaw, uniform_cdf(0.25, 0.75))
  assert_distributed(pitch, uniform_cdf(math.pi / 2 - 0.155, math.pi / 2 + 0.155))


def test_spherical_uniform_prior_covers_equal_areas_equally():
  """By Archimedes, the height of a uniform point on the sphere is uniform."""
  whole = cameras.pose_prior('spherical_uniform', yaw_std=math.pi, pitch_std=math.pi / 2)
  yaw, pitch = draw_angles(whole)
  assert_distributed(np.cos(pitch), uniform_cdf(-1, 1))
  assert_distributed(yaw, uniform_cdf(-math.pi / 2, 3 * math.pi / 2))
  half = math.pi / 4  # from the pole to the horizon: CARLA's upper half
  carla = cameras.pose_prior('spherical_uniform', pitch_mean=half, pitch_std=half)
  _, pitch = draw_angles(carla)
  assert_distributed(np.cos(pitch), uniform_cdf(0, 1))
  assert pitch.min() > 0 and pitch.max() < math.pi / 2 + 1e-6
  # The mean pitch is that of the mean height.
  assert math.isclose(cameras.mean_pitch(carla), math.acos(0.5), abs_tol=1e-6)
  assert abs(np.cos(pitch).mean() - math.cos(cameras.mean_pitch(carla))) < 0.02


MIXTURE = dict(
  name='mixture',
  components=(
    dict(name='uniform', yaw_mean=0.0, yaw_std=0.1, pitch_mean=1.0, pitch_std=0.1),
    dict(name='gaussian', yaw_mean=5.0, yaw_std=0.1, pitch_mean=2.0, pitch_std=0.1),
    dict(name='uniform', yaw_mean=9.0, yaw_std=0.1, pitch_mean=1.0, pitch_std=0.1),
  ),
)


@pytest.mark.parametrize('weights', [(), (1.0, 3.0, 0.0)])
def test_mixture_honours_its_weights(weights):
  prior = cameras.pose_prior(**MIXTURE, weights=weights)
  yaw, pitch = draw_angles(prior)
  shares = [np.mean(np.abs(yaw - centre) < 1) for centre in (0, 5, 9)]
  expected = np.array(weights or (1, 1, 1)) / sum(weights or (1, 1, 1))
  np.testing.assert_allclose(sum(shares), 1)
  # Four standard deviations of a share.
  np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / math.sqrt(NUM_DRAWS))
  assert shares[2] > 0 or expected[2] == 0
  # yaw and pitch are of one component
  second = np.abs(yaw - 5) < 1
  assert (np.abs(pitch[second] - 2) < 0.6).all() and (np.abs(pitch[~second] - 1) <= 0.1001).all()
  np.testing.assert_allclose(cameras.mean_pitch(prior), expected @ [1, 2, 1])
  assert cameras.yaw_half_range(prior) == 0.2


@pytest.mark.parametrize('prior', [dict(name='gaussian'), MIXTURE])
def test_angles_depend_on_their_key_alone(prior):
  sample = sampler(cameras.pose_prior(**prior))
  keys = jax.random.split(jax.random.key(0), NUM_DRAWS)
  order = np.random.default_rng(0).permutation(NUM_DRAWS)
  yaw, pitch = sample(keys)
  assert len(np.unique(yaw)) > NUM_DRAWS - 10
  for actual, expected in zip(sample(keys[order]), (yaw, pitch), strict=True):
    np.testing.assert_array_equal(actual, expected[order])


def test_angles_stay_off_the_poles():
  _, pitch = draw_angles(cameras.pose_prior('gaussian', pitch_mean=0.1, pitch_std=1.0))
  assert pitch.min() >= 0.99e-5 and np.mean(pitch < 2e-5) > 0.3


def test_ranges_that_show_a_prior():
  assert cameras.yaw_half_range(cameras.pose_prior('gaussian', yaw_std=0.3)) == 0.6
  assert cameras.yaw_half_range(cameras.pose_prior('uniform', yaw_std=0.3)) == 0.3
  assert cameras.yaw_half_range(cameras.pose_prior('gaussian', yaw_std=3.0)) == math.pi
  assert cameras.mean_pitch(cameras.pose_prior('gaussian', pitch_mean=1.2)) == 1.2


def test_a_prior_from_a_config():
  prior = cameras.pose_prior(**config_lib.base_config().pose_prior)
  assert prior == cameras.PosePrior() and hash(prior) == hash(cameras.PosePrior())


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(name='gausian'), "'gausian'.*gaussian, truncated_gaussian"),
    (dict(name='mixture'), 'needs components'),
    (MIXTURE | dict(weights=(1.0,)), 'as many weights'),
    (MIXTURE | dict(weights=(1.0, -1.0, 1.0)), 'weights.*positive'),
    (MIXTURE | dict(weights=(0.0, 0.0, 0.0)), 'weights.*positive'),
  ],
)
def test_errors_of_pose_priors(fields, message):
  with pytest.raises(UserError, match=message):
    cameras.pose_prior(**fields)


@settings(max_examples=25, deadline=None)
@given(st.floats(-10, 10), st.floats(0.01, math.pi - 0.01), st.floats(0.5, 3))
def test_the_origin_is_in_the_middle_of_the_image(yaw, pitch, radius):
  camera = from_yaw_pitch(np.float32(yaw), np.float32(pitch), np.float32(radius))
  uv, depth = project(camera, np.zeros((1, 3), np.float32))
  np.testing.assert_allclose(uv, [[0.5, 0.5]], atol=1e-5)
  np.testing.assert_allclose(depth, [radius], rtol=1e-5)
