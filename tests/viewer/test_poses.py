"""viser's cameras and ours say the same, and the trained views are known."""

import math

import jax
import numpy as np
import pytest
from viser import transforms

from jax3dgan import cameras
from jax3dgan.rendering import rays
from jax3dgan.viewer import poses


def viser_rotation(wxyz):
  """viser's own reading of its quaternion."""
  return transforms.SO3(np.asarray(wxyz)).as_matrix()


def some_cameras():
  rng = np.random.default_rng(0)
  for _ in range(20):
    azimuth, elevation = rng.uniform(-math.pi, math.pi), rng.uniform(-1.4, 1.4)
    yield cameras.orbit(azimuth, elevation, rng.uniform(0.5, 3), rng.uniform(5, 90))


@pytest.mark.parametrize('aspect', [0.5, 1.0, 1.8])
def test_there_and_back(aspect):
  for camera in some_cameras():
    camera = jax.tree.map(lambda x: np.asarray(x)[None], camera)
    position, wxyz, fov = poses.to_viser(camera, aspect)
    np.testing.assert_allclose(viser_rotation(wxyz), camera.cam2world[0, :3, :3], atol=1e-6)
    again = poses.from_viser(position, wxyz, fov, aspect)
    np.testing.assert_allclose(again.cam2world, camera.cam2world, atol=1e-6)
    np.testing.assert_allclose(again.intrinsics, camera.intrinsics, rtol=1e-5)


def test_back_and_there():
  rng = np.random.default_rng(1)
  for _ in range(20):
    wxyz = rng.standard_normal(4)
    wxyz /= np.linalg.norm(wxyz) * (1 if wxyz[0] > 0 else -1)
    position, fov = rng.standard_normal(3), rng.uniform(0.1, 2)
    again = poses.to_viser(poses.from_viser(position, wxyz, fov, 0.7), 0.7)
    np.testing.assert_allclose(again[0], position, atol=1e-6)
    np.testing.assert_allclose(again[1], wxyz, atol=1e-6)
    assert again[2] == pytest.approx(fov, rel=1e-5)


def test_the_square_of_a_canvas():
  # A wide canvas: the square is as high as it; the top of the canvas is the top of the image.
  fov = math.radians(40)
  camera = poses.from_viser([0, 0, 2], poses.to_viser(cam(0.0))[1], fov, aspect=2.0)
  top = np.array([[[0, 2 * math.tan(fov / 2), 0]]], np.float32)
  at, depth = cameras.project(camera, top)
  np.testing.assert_allclose(at, [[[0.5, 0.0]]], atol=1e-5)
  np.testing.assert_allclose(depth, [[2.0]], rtol=1e-6)
  # A tall one: as wide; the right edge of the canvas is the right edge of the image.
  camera = poses.from_viser([0, 0, 2], poses.to_viser(cam(0.0))[1], fov, aspect=0.5)
  right = np.array([[[2 * 0.5 * math.tan(fov / 2), 0, 0]]], np.float32)
  np.testing.assert_allclose(cameras.project(camera, right)[0], [[[1.0, 0.5]]], atol=1e-5)
  assert poses.square_fov(poses.canvas_fov(0.3, 0.5), 0.5) == pytest.approx(0.3)


def cam(azimuth, elevation=0.0, radius=1.0, fov=30.0):
  return jax.tree.map(lambda x: np.asarray(x)[None], cameras.orbit(azimuth, elevation, radius, fov))


def test_coming_nearer_is_zooming_in():
  near = poses.dolly_to_zoom(cam(0.7, 0.2, radius=0.5), (0, 0, 0), 1.0)
  np.testing.assert_allclose(near.origin, cam(0.7, 0.2).origin, atol=1e-6)
  # What lies in the plane of the point that it turns about is where it was.
  camera = cam(0.7, 0.2, radius=0.5)
  points = np.einsum('bij,nj->bni', camera.cam2world[:, :3, :3], [[0.1, 0.05, 0], [0, -0.1, 0]])
  np.testing.assert_allclose(
    cameras.project(near, points.astype(np.float32))[0],
    cameras.project(camera, points.astype(np.float32))[0],
    atol=1e-5,
  )
  again = poses.zoom_to_dolly(near, (0, 0, 0), math.radians(30))
  np.testing.assert_allclose(again, camera.origin[0], atol=1e-6)
  middle = rays.camera_rays(near, 3).directions[0, 4]
  np.testing.assert_allclose(middle, near.cam2world[0, :3, 2], atol=1e-6)


def test_angles_and_positions():
  for azimuth, elevation in ((0.0, 0.0), (2.5, -0.4), (-1.0, 1.2)):
    at = poses.position(azimuth, elevation, 1.7, (0.1, 0.2, 0.3))
    np.testing.assert_allclose(poses.angles(at, (0.1, 0.2, 0.3)), (azimuth, elevation), atol=1e-9)
    origin = cameras.orbit(azimuth, elevation, 1.7).origin
    np.testing.assert_allclose(poses.position(azimuth, elevation, 1.7), origin, atol=1e-5)


@pytest.mark.parametrize('name', ['uniform', 'spherical_uniform', 'truncated_gaussian'])
def test_every_trained_camera_is_within_the_range(name):
  prior = cameras.PosePrior(name, yaw_std=0.4, pitch_mean=1.3, pitch_std=0.2)
  keys = jax.random.split(jax.random.key(0), 2000)
  yaw, pitch = jax.jit(jax.vmap(lambda key: cameras.sample_angles(prior, key)))(keys)
  low, high = poses.elevation_range(prior)
  elevation = math.pi / 2 - np.asarray(pitch)
  assert low - 1e-3 <= elevation.min() < low + 0.1 * (high - low)
  assert high - 0.1 * (high - low) < elevation.max() <= high + 1e-3
  views = poses.TrainedViews(cameras.yaw_half_range(prior), (low, high))
  azimuth = math.pi / 2 - np.asarray(yaw)
  assert all(views.contains(*pair) for pair in zip(azimuth, elevation, strict=True))


def test_views_are_held_softly():
  views = poses.TrainedViews(0.5, (-0.2, 0.4))
  assert views.limit(0.3, 0.1) == (0.3, 0.1)
  azimuth, elevation = views.limit(2.0, -1.0)
  assert 0.5 < azimuth <= 0.5 + views.SOFT_MARGIN and -0.2 - views.SOFT_MARGIN <= elevation < -0.2
  # Without a step at the end of the range.
  over = views.limit(0.5 + 1e-4, 0.0)[0] - 0.5
  assert over == pytest.approx(1e-4, rel=1e-3)
  assert not views.contains(0.6, 0) and not views.contains(0, 0.5) and views.contains(-0.5, 0.4)
  assert poses.TrainedViews(math.pi, (-0.2, 0.4)).limit(3.0, 0.0)[0] == 3.0
  assert '±29°' in views.words() and '-11° to 23°' in views.words()


def test_a_limited_camera_keeps_its_zoom_and_its_look_at_point():
  views = poses.TrainedViews(0.5, (-0.2, 0.4))
  inside = cam(0.2, 0.1)
  assert poses.limited(inside, views, (0, 0, 0), 1.0) is inside
  outside = cam(1.5, 0.1, fov=20.0)
  camera = poses.limited(outside, views, (0, 0, 0), 1.0)
  assert poses.angles(camera.cam2world[0, :3, 3])[0] <= 0.5 + views.SOFT_MARGIN + 1e-6
  np.testing.assert_array_equal(camera.intrinsics, outside.intrinsics)
  at, _ = cameras.project(camera, np.zeros((1, 1, 3), np.float32))
  np.testing.assert_allclose(at, 0.5, atol=1e-5)
