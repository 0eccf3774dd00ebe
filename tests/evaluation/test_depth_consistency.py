"""Chamfer distances between views of surfaces whose distance is known."""

import numpy as np
import pytest
import scenes

from jax3dgan.evaluation import depth_consistency, geometry3d

CAMERA = scenes.orbit([0.0, 0.4])


def compare(first, second, resolution, tolerance=0.05):
  """View 0 sees one scene, view 1 another."""
  views = [scenes.render(scene, CAMERA, resolution) for scene in (first, second)]
  distance = np.stack([view[1][i] for i, view in enumerate(views)])
  mask = np.stack([view[2][i] for i, view in enumerate(views)])
  return depth_consistency.compare(distance, mask, CAMERA, tolerance)


def test_distances_of_points_written_out():
  points = np.array([[0.0, 0, 0], [1, 0, 0], [5, 0, 0]])
  others = np.array([[0.0, 0, 0], [1, 2, 0]])
  np.testing.assert_allclose(
    depth_consistency.nearest_distances(points, others), [0, 1, np.hypot(4, 2)]
  )
  found = depth_consistency.chamfer(points, others)
  # Forward 0, 1, √20; backward 0, 2.
  assert found['median'] == pytest.approx((1 + 1) / 2)
  assert found['mean'] == pytest.approx(((1 + np.sqrt(20)) / 3 + 1) / 2)
  assert depth_consistency.spacing(points) == 1
  assert np.isnan(depth_consistency.chamfer(points, others[:0])['median'])
  rng = np.random.default_rng(0)
  a, b = rng.normal(size=(30, 3)), rng.normal(size=(40, 3))
  brute = np.linalg.norm(a[:, None] - b, axis=-1).min(1)
  np.testing.assert_allclose(depth_consistency.nearest_distances(a, b), brute)


@pytest.mark.parametrize(
  'scene',
  [[scenes.Sphere(0.3)], [scenes.Plane()], [scenes.Box((0.2, 0.15, 0.2), yaw=0.5)]],
  ids=['sphere', 'plane', 'box'],
)
def test_one_surface_is_within_its_sampling(scene):
  """No point is farther from the other cloud than the diagonal of that cloud's cells allows."""
  previous = np.inf
  for resolution in (32, 64):
    figures, maps, visible = compare(scene, scene, resolution)
    assert figures['median'] < 0.75 * figures['spacing']
    assert figures['median'] < 0.6 * previous  # twice the pixels, half the distance
    previous = figures['median']
    assert figures['visible'] > 0.5
    # A cell is at most a pixel's footprint at the largest distance, over the cosine of the slant.
    footprint = 1.3 * 2 * np.tan(np.radians(scenes.FOV / 2)) / resolution
    assert np.percentile(maps[visible], 95) < 2 * footprint


@pytest.mark.parametrize('delta', [0.02, 0.04])
def test_spheres_of_two_radii_are_their_difference_apart(delta):
  errors = []
  for resolution in (32, 128):
    figures, _, _ = compare(
      [scenes.Sphere(0.3)], [scenes.Sphere(0.3 + delta)], resolution, tolerance=0.1
    )
    assert figures['visible'] > 0.6
    errors.append(figures['median'] - delta)
  # Between samples the nearest point is a little farther: √(δ² + r²), r of the spacing's order.
  assert 0 <= errors[1] < 0.03 * delta and errors[1] < 0.2 * errors[0]


def test_planes_are_their_offset_apart():
  for delta in (0.03, -0.03):
    figures, _, _ = compare([scenes.Plane()], [scenes.Plane(delta)], 128, tolerance=0.1)
    assert figures['median'] == pytest.approx(0.03, rel=0.02)


def test_what_one_view_alone_sees_is_left_out():
  """A box's side that only one camera sees raises the mean of all points, not of the visible."""
  scene = [scenes.Box((0.12, 0.1, 0.05), (0.0, 0.0, 0.25), 0.3), scenes.Plane(-0.2)]
  figures, maps, visible = compare(scene, scene, 64)
  assert figures['mean_all'] > 2 * figures['mean']
  assert figures['median'] < figures['spacing']
  assert np.nanmax(maps) > 3 * np.nanmax(maps[visible])


def test_measure_in_units_of_the_bin():
  radius, change = 0.25, 0.04
  model = scenes.SphereModel(lambda s, a: radius + (change if a > 0.1 else 0), resolution=64)
  result = depth_consistency.measure(model, 2)
  unit = (scenes.FAR - scenes.NEAR) / 20
  assert geometry3d.sample_bin(model.options()) == pytest.approx(unit)
  assert result.values['chamfer/median'] == pytest.approx(change / unit, rel=0.1)
  assert result.values['chamfer/measured'] == 1
  same = depth_consistency.measure(scenes.SphereModel(lambda s, a: radius, resolution=64), 2)
  assert same.values['chamfer/median'] < 0.2
  assert result.sheet.dtype == np.uint8 and f'bin {unit:.4g}' in result.protocol
  empty = depth_consistency.measure(scenes.SphereModel(lambda s, a: 1e-6, resolution=64), 1)
  assert np.isnan(empty.values['chamfer/median']) and empty.values['chamfer/measured'] == 0
