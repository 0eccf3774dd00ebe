"""Rays of pixels against the official code's, hand-made ones and the projection's inverse."""

import goldens
import jax
import numpy as np
import pytest
import x64

from jax3dgan import cameras
from jax3dgan.rendering import rays, sampling

camera_rays = x64.jit(rays.camera_rays, static_argnums=(1, 2))


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
@pytest.mark.parametrize('resolution, fov_degrees', [(4, 12), (5, 30)])
def test_rays_match_official(resolution, fov_degrees, dtype):
  prefix = f'rays_res{resolution}_fov{fov_degrees}'
  with jax.enable_x64(True):
    intrinsics = cameras.intrinsics_from_fov(fov_degrees).astype(dtype)
    directions = camera_rays(cameras.Camera(np.eye(4, dtype=dtype), intrinsics), resolution, True)
    directions = directions.directions
    depths = sampling.stratified_depths(0.88, 1.12, 3).astype(dtype)
  depths = np.broadcast_to(depths, (resolution**2, 3))
  # The official camera looks along -z with y up.
  official = directions * np.array([1, -1, -1], dtype)
  goldens.compare('camera', f'{prefix}/dirs_cam', official, atol=2e-7)
  goldens.compare('camera', f'{prefix}/z', depths, atol=2e-7)
  points = official[:, None] * depths[..., None]
  goldens.compare('camera', f'{prefix}/points_cam', points, atol=2e-7)


def test_pixel_grid():
  expected = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
  np.testing.assert_array_equal(rays.pixel_grid(2), expected)
  expected = [[u, v] for v in (0, 0.5, 1) for u in (0, 0.5, 1)]
  np.testing.assert_array_equal(rays.pixel_grid(3, align_corners=True), expected)


def test_rays_of_a_frontal_camera_by_hand():
  camera = cameras.orbit(0.0, 0.0, radius=2.0, fov_degrees=90.0)
  actual = camera_rays(camera, 2)
  # Pixel centres lie half way to the border, whose slope is 1; top left first, y up in the world.
  expected = np.array([[-0.5, 0.5, -1], [0.5, 0.5, -1], [-0.5, -0.5, -1], [0.5, -0.5, -1]])
  np.testing.assert_allclose(actual.directions, expected / np.sqrt(1.5), atol=1e-6)
  np.testing.assert_allclose(actual.origins, np.tile([0, 0, 2], (4, 1)), atol=1e-6)


@pytest.mark.parametrize('align_corners', [False, True])
def test_points_on_a_ray_project_onto_its_pixel(align_corners):
  rng = np.random.default_rng(0)
  matrix = cameras.look_at(rng.normal(size=(2, 3, 3)).astype(np.float32), (0.1, 0.2, 0.3))
  intrinsics = np.tile(np.float32([[1.2, 0.1, 0.45], [0, 0.9, 0.6], [0, 0, 1]]), (2, 3, 1, 1))
  intrinsics[1] += np.float32([[0.3, -0.2, 0], [0, 0.1, 0], [0, 0, 0]])
  camera = cameras.Camera(matrix, intrinsics)
  actual = camera_rays(camera, 4, align_corners)
  assert actual.origins.shape == actual.directions.shape == (2, 3, 16, 3)
  np.testing.assert_allclose(np.linalg.norm(actual.directions, axis=-1), 1, atol=1e-6)
  points = actual.origins + 1.7 * actual.directions
  uv, depth = x64.jit(cameras.project)(camera, points)
  pixels = np.broadcast_to(rays.pixel_grid(4, align_corners), uv.shape)
  np.testing.assert_allclose(uv, pixels, atol=2e-6)
  assert (depth > 0).all() and (depth < 1.7).all()


def test_one_camera_and_many_resolutions_see_the_same_cone():
  """Normalised intrinsics hold at any resolution: the corner-aligned corners never move."""
  camera = cameras.orbit(0.3, 0.2)
  corners = [camera_rays(camera, n, True).directions[np.array([0, n - 1, -n, -1])] for n in (2, 5)]
  np.testing.assert_allclose(*corners, atol=1e-6)
