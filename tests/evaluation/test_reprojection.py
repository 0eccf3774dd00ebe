"""Warps and reprojection error on scenes whose occlusions are known exactly."""

import jax
import numpy as np
import pytest
import scenes

from jax3dgan import cameras, generators
from jax3dgan.errors import UserError
from jax3dgan.evaluation import geometry3d, reprojection
from jax3dgan.rendering import depth_maps, rays
from jax3dgan.rendering.hierarchical import RenderOptions

PAIR = scenes.orbit([-0.1, 0.1])
SWAP = np.array([1, 0])
TOLERANCE = 0.02


def warp(views, camera, tolerance=TOLERANCE, align_corners=False, scale=1.0):
  """Each of two views, warped into the other; the targets' depth may be scaled."""
  image, distance, mask = views
  other = jax.tree.map(lambda x: np.asarray(x)[SWAP], camera)
  source = (image[SWAP], distance[SWAP], mask[SWAP], other)
  return geometry3d.warp(source, (distance * scale, mask, camera), tolerance, align_corners)


def mse(views, warped):
  sums = reprojection.pair_sums(views[0][SWAP], views[0], warped)
  return reprojection.values(sums)


@pytest.mark.parametrize('align_corners', [False, True])
def test_positions_are_those_of_the_renderer(align_corners):
  camera = scenes.orbit([-0.4, 0.3])
  intrinsics = np.array(camera.intrinsics)
  intrinsics[1] = [[1.2, 0.1, 0.45], [0, 1.4, 0.55], [0, 0, 1]]  # skewed and off centre
  camera = cameras.Camera(camera.cam2world, intrinsics)
  directions = geometry3d.ray_directions(camera, 7, align_corners)
  expected = rays.camera_rays(camera, 7, align_corners).directions
  np.testing.assert_allclose(directions.reshape(2, 49, 3), expected, atol=1e-6)
  distance = np.random.default_rng(0).uniform(0.5, 1.5, (2, 7, 7))
  points = geometry3d.world_points(camera, distance, align_corners).reshape(2, 49, 3)
  row, column, length, front = geometry3d.pixel_positions(camera, points, 7, align_corners)
  rows, columns = np.meshgrid(np.arange(7), np.arange(7), indexing='ij')
  np.testing.assert_allclose(row, [rows.ravel()] * 2, atol=2e-5)
  np.testing.assert_allclose(column, [columns.ravel()] * 2, atol=2e-5)
  np.testing.assert_allclose(length, distance.reshape(2, 49), atol=1e-6)
  assert front.all()
  behind = 2 * np.asarray(camera.origin, np.float64)[:, None] - points
  assert not geometry3d.pixel_positions(camera, behind, 7, align_corners)[3].any()


@pytest.mark.parametrize('align_corners', [False, True])
def test_a_view_warped_onto_itself_is_itself(align_corners):
  scene = [scenes.Box((0.2, 0.15, 0.1), yaw=0.4)]
  image, distance, mask = scenes.render(scene, PAIR, 24, align_corners)
  warped = geometry3d.warp(
    (image, distance, mask, PAIR), (distance, mask, PAIR), TOLERANCE, align_corners
  )
  np.testing.assert_array_equal(warped.valid, mask)
  np.testing.assert_array_equal(warped.solid, mask)
  np.testing.assert_allclose(warped.image[mask], image[mask], atol=1e-4)


SCENES = {
  'plane': [scenes.Plane(-0.1)],
  'sphere': [scenes.Sphere(0.3)],
  'box': [scenes.Box((0.2, 0.15, 0.2), yaw=0.5)],
}


@pytest.mark.parametrize('name', SCENES)
@pytest.mark.parametrize('align_corners', [False, True])
def test_error_is_that_of_interpolation(name, align_corners):
  """Bilinear: the error falls with the square of a pixel's size, the MSE with its fourth power."""
  errors = []
  for resolution in (32, 64, 128):
    views = scenes.render(SCENES[name], PAIR, resolution, align_corners)
    # As fine as the pixels: nearer the outline points are hidden by less than any fixed tolerance.
    figures = mse(views, warp(views, PAIR, 1.3 / resolution, align_corners=align_corners))
    errors.append(figures['mse'])
    assert figures['valid'] > 0.65 and figures['l1'] < 0.02
    assert figures['mse'] < 5e-3 * figures['still']
  # A box has edges, where its image has kinks: there the MSE falls with the third power.
  fall = 5 if name == 'box' else 10
  assert errors[0] > fall * errors[1] > fall**2 * errors[2]
  assert errors[0] < 2e-4


@pytest.mark.parametrize('name', SCENES)
def test_a_wrong_depth_shows(name):
  views = scenes.render(SCENES[name], PAIR, 64)
  right, wrong = (mse(views, warp(views, PAIR, 0.1, scale=scale)) for scale in (1.0, 1.05))
  assert wrong['valid'] > 0.5
  assert wrong['mse'] > 10 * right['mse'] and wrong['mse'] > 1e-3


def test_a_picture_that_turns_with_the_camera_shows():
  image, distance, mask = scenes.render(SCENES['plane'], PAIR, 64)
  views = (image[[0, 0]], distance, mask)
  figures, true = mse(views, warp(views, PAIR)), mse((image, distance, mask), warp(views, PAIR))
  assert figures['still'] == 0
  # Undoing a motion that is not there costs what the motion itself would.
  assert figures['mse'] == pytest.approx(true['still'], rel=0.2) and figures['mse'] > 0.02


@pytest.mark.parametrize('resolution', [32, 64])
@pytest.mark.parametrize(
  ('scene', 'edges'),
  [
    ([scenes.Box((0.12, 0.1, 0.05), (0.0, 0.0, 0.25), 0.3), scenes.Plane(-0.2)], 8),
    ([scenes.Sphere(0.15, (0.05, 0, 0.25)), scenes.Sphere(0.3, (0, 0, -0.2))], 17),
  ],
  ids=['box_before_plane', 'two_spheres'],
)
def test_occlusion_is_exact(scene, edges, resolution):
  camera = scenes.orbit([-0.3, 0.3])
  views = scenes.render(scene, camera, resolution)
  warped = warp(views, camera)
  points = geometry3d.world_points(camera, np.where(views[2], views[1], 0))
  origins = np.asarray(camera.origin, np.float64)
  for i in range(2):
    own = points[i].reshape(-1, 3)
    hidden, deep = (
      scenes.hidden(scene, own, origins[1 - i], margin).reshape(resolution, resolution)
      & warped.solid[i]
      & ~warped.outside[i]
      for margin in (1e-4, 3 * TOLERANCE)
    )
    assert deep.sum() > 0.04 * resolution**2
    # Sides that face away by a little are hidden by less than a depth map can tell.
    shallow = hidden & ~deep
    assert shallow.sum() < 0.06 * warped.solid[i].sum()
    sure = ~warped.silhouette[i] & ~shallow
    np.testing.assert_array_equal(warped.occluded[i] & sure, hidden & sure)
    assert not (warped.occluded[i] & ~hidden).any() and not (warped.valid[i] & deep).any()
    # Only edges are left open: their share falls with the pixel's size.
    assert warped.silhouette[i].sum() < edges / resolution * warped.solid[i].sum()
  assert mse(views, warped)['mse'] < (1e-4 if resolution == 32 else 1e-5)
  # Without the test for occlusion the hidden pixels are what the error is made of.
  assert mse(views, warp(views, camera, tolerance=10.0))['mse'] > 0.05


@pytest.mark.parametrize('align_corners', [False, True])
def test_outside_is_exact(align_corners):
  camera, resolution = scenes.orbit([-0.5, 0.5]), 32
  views = scenes.render(SCENES['plane'], camera, resolution, align_corners)
  warped = warp(views, camera, align_corners=align_corners)
  points = geometry3d.world_points(camera, np.where(views[2], views[1], 0), align_corners)
  other = jax.tree.map(lambda x: np.asarray(x)[SWAP], camera)
  uv, z = cameras.project(other, points.reshape(2, -1, 3).astype(np.float32))
  border = 0 if align_corners else 0.5 / resolution
  inside = np.all((uv >= border) & (uv <= 1 - border), axis=-1) & (np.asarray(z) > 0)
  outside = views[2] & ~inside.reshape(views[2].shape)
  assert 0.1 < outside.mean() < 0.9
  np.testing.assert_array_equal(warped.outside, outside)


def test_what_should_be_there_and_is_not_counts():
  """A surface that the other view does not have at all is an error, not a silhouette."""
  image, distance, mask = scenes.render([scenes.Sphere(0.2)], PAIR, 32)
  image[1], mask[1] = 1.0, False
  warped = warp((image, distance, mask), PAIR)
  np.testing.assert_array_equal(warped.valid[0], mask[0])
  assert mse((image, distance, mask), warped)['mse'] > 0.5


def test_nothing_solid_is_not_perfect():
  image, distance, mask = scenes.render([scenes.Sphere(0.2)], PAIR, 16)
  figures = mse((image, distance, mask), warp((image, distance, mask & False), PAIR))
  assert np.isnan(figures['mse']) and figures['valid'] == figures['solid'] == 0


def test_surface_takes_the_background_out():
  options = RenderOptions(4, near=0.5, far=1.5)
  opacity = np.array([[[1.0, 0.95], [0.5, 0.0]]])
  surface = np.array([[[0.8, 1.0], [1.2, 0.0]]])
  passing = generators.Rendering(None, surface * opacity, opacity)
  distance, solid = depth_maps.surface(passing, options)
  np.testing.assert_allclose(distance, surface)
  np.testing.assert_array_equal(solid, [[[True, True], [False, False]]])
  behind = generators.Rendering(None, surface * opacity + 1.5 * (1 - opacity), opacity)
  last_back = RenderOptions(4, near=0.5, far=1.5, last_back=True)
  np.testing.assert_allclose(depth_maps.surface(behind, last_back)[0], surface, atol=1e-12)
  with pytest.raises(UserError, match='NaN'):
    depth_maps.surface(passing.replace(depth=surface * np.nan), options)
  with pytest.raises(UserError, match='no depth'):
    depth_maps.surface(generators.Rendering(surface), options)


def test_measure_of_a_model_with_exact_geometry():
  said = []
  model = scenes.SphereModel(lambda seed, azimuth: 0.25, resolution=64)
  result = reprojection.measure(model, 17, say=said.append)
  values = {name.split('/')[1]: value for name, value in result.values.items()}
  # 64²: 16 latents at a time, the rest padded to the same shape.
  assert model.batches == [80, 80] and said == [16, 17]
  assert values['mse'] < 1e-5 < 1e-2 < values['still']
  parts = [values[name] for name in ('valid', 'occluded', 'outside', 'silhouette')]
  assert sum(parts) == pytest.approx(1) and parts[0] > 0.8
  # A sphere's outline: the cone that touches it, of sine 1/4.
  disc = np.pi * (0.5 / np.tan(np.radians(20)) * np.tan(np.arcsin(0.25))) ** 2
  assert values['solid'] == pytest.approx(disc, abs=0.01)
  assert '17 latents' in result.protocol and '64²' in result.protocol
  assert result.sheet.dtype == np.uint8 and result.sheet.std() > 10
  # A sphere that grows on one side is no longer one scene.
  worse = reprojection.measure(scenes.SphereModel(lambda s, a: 0.25 + 0.1 * a, resolution=64), 1)
  assert worse.values['reprojection/mse'] > 50 * values['mse']


def test_views_stay_in_the_prior():
  narrow = scenes.SphereModel(None, yaw_half_range=0.3)
  assert geometry3d.azimuth_step(narrow) == pytest.approx(0.15)
  np.testing.assert_array_equal(geometry3d.base_azimuth(narrow, range(3)), 0)
  full = scenes.SphereModel(None, yaw_half_range=np.pi)
  bases = np.sort(geometry3d.base_azimuth(full, range(20)))
  gaps = np.diff(np.append(bases, bases[0] + 2 * np.pi))
  assert gaps.max() < 2 * 2 * np.pi / 20  # spread over the circle
  assert set(geometry3d.seeds_from(5, 0)).isdisjoint(geometry3d.seeds_from(5, 1))
  with pytest.raises(UserError, match='0 latents'):
    geometry3d.seeds_from(0, 0)
