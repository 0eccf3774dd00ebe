"""Lens distortion: OpenCV's formula by hand, photos resampled, labels that follow."""

import math

import numpy as np
import posed_scenes as scenes
import pytest

from jax3dgan import cameras
from jax3dgan.data import images, posed
from jax3dgan.data.posed import distortion
from jax3dgan.errors import UserError

INTRINSICS = cameras.pixel_intrinsics(50, 55, 41, 30, 80, 64)
BARREL = (-0.2, 0.03, 0.004, -0.006)
PINCUSHION = (0.15, 0.02, -0.003, 0.002)


def test_closed_forms():
  x, y = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 100))
  r = np.hypot(x, y)
  points = np.stack([x, y], -1)
  # Radially: r' = r (1 + k1 r² + k2 r⁴ + k3 r⁶) / (1 + k4 r² + k5 r⁴ + k6 r⁶), the angle stays.
  moved = distortion.distort(points, (0.1, -0.2, 0, 0, 0.3, 0.05, 0.06, -0.07))
  above = 1 + 0.1 * r**2 - 0.2 * r**4 + 0.3 * r**6
  below = 1 + 0.05 * r**2 + 0.06 * r**4 - 0.07 * r**6
  np.testing.assert_allclose(np.hypot(*moved.T), r * above / below)
  np.testing.assert_allclose(np.arctan2(moved[:, 1], moved[:, 0]), np.arctan2(y, x))
  # Tangentially, at hand-picked points.
  points = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
  moved = distortion.distort(points, (0, 0, 0.1))
  np.testing.assert_allclose(moved, [[1, 0.1], [0, 1.3], [1.2, 1.4]])
  moved = distortion.distort(points, (0, 0, 0, 0.1))
  np.testing.assert_allclose(moved, [[1.3, 0], [0.1, 1], [1.4, 1.2]])


def test_one_radial_term_is_undone_by_cardanos_formula():
  """r' = r + k r³: the real root for k > 0 in hyperbolic form, so a ray's photo place is known."""
  k = 0.15
  targets = np.linspace(0.01, 0.6, 50)
  r = 2 / math.sqrt(3 * k) * np.sinh(np.arcsinh(1.5 * math.sqrt(3 * k) * targets) / 3)
  moved = distortion.distort(np.stack([r, 0 * r], -1), (k,))
  np.testing.assert_allclose(moved[:, 0], targets, rtol=1e-12)


@pytest.mark.parametrize('coefficients', [BARREL, PINCUSHION])
def test_a_ramp_is_resampled_where_the_formula_says(coefficients):
  """In a photo whose values are positions, values of the result are positions of the photo."""
  column, row = np.meshgrid(np.arange(80), np.arange(64))
  image = np.stack([3 * column, 3 * row, 0 * row], -1).astype(np.uint8)
  result, target = distortion.undistort(image, INTRINSICS, coefficients)
  x = ((np.arange(80) + 0.5) / 80 - target[0, 2]) / target[0, 0]
  y = ((np.arange(64) + 0.5) / 64 - target[1, 2]) / target[1, 1]
  points = distortion.distort(np.stack(np.meshgrid(x, y), -1), coefficients)
  expected_column = (points[..., 0] * 50 + 41 - 0.5) * 3
  expected_row = (points[..., 1] * 55 + 30 - 0.5) * 3
  expected = np.stack([expected_column, expected_row], -1)
  expected = np.clip(expected, 0, [3 * 79, 3 * 63])  # a photo's outermost half pixel
  assert np.abs(result[..., :2] - expected).max() <= 0.5 + 1e-3
  np.testing.assert_array_equal(target[:2, 2], INTRINSICS[:2, 2])
  assert target[0, 0] / INTRINSICS[0, 0] == pytest.approx(target[1, 1] / INTRINSICS[1, 1])


@pytest.mark.parametrize('coefficients', [BARREL, PINCUSHION])
def test_the_widest_view_that_is_known(coefficients):
  target = distortion.undistorted_intrinsics(INTRINSICS, coefficients)
  side = np.linspace(0, 1, 65)
  border = np.concatenate([np.stack(np.broadcast_arrays(side, e), -1) for e in (0, 1)])
  border = np.concatenate([border, border[:, ::-1]])
  focal, centre = target[[0, 1], [0, 1]], target[:2, 2]
  photo = distortion.distort((border - centre) / focal, coefficients)
  photo = photo * INTRINSICS[[0, 1], [0, 1]] + centre
  assert photo.min() >= -1e-6 and photo.max() <= 1 + 1e-6
  assert min(photo.min(), 1 - photo.max()) < 1e-5  # and it touches an edge
  # A barrel shows more at its corners than at its edges, and a pincushion less.
  assert (focal[0] < INTRINSICS[0, 0]) == (coefficients is BARREL)


def test_a_calibration_that_folds_the_picture():
  # r (1 − 2 r²) turns back at r² = 1/6: the photo shows what is beyond twice, or not at all.
  intrinsics = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
  corner = math.sqrt(0.5) / distortion.undistorted_intrinsics(intrinsics, (-2.0,))[0, 0]
  assert corner**2 == pytest.approx(1 / 6, rel=1e-5)
  with pytest.raises(images.ImageError, match='cannot be undone'):
    distortion.undistorted_intrinsics(intrinsics, (-100.0,))


def _blob(height, width, column, row):
  """A photo with a soft dot at a position in pixels from the corner."""
  y, x = np.mgrid[:height, :width] + 0.5
  value = np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * 3.0**2))
  return np.repeat((255 * value)[..., None], 3, -1).round().astype(np.uint8)


@pytest.mark.parametrize('model, coefficients', [('OPENCV', BARREL), ('SIMPLE_RADIAL', (0.15,))])
def test_a_dot_is_where_the_label_says(tmp_path, model, coefficients):
  rig = scenes.poses(5)
  point = np.array([0.3, -0.5, 0.6])
  focals = [100.0, 100, 80, 64] if model == 'OPENCV' else [100.0, 80, 64]
  scenes.write_colmap(tmp_path, rig, [*focals, *coefficients], model, (160, 128))
  (tmp_path / 'images').mkdir()
  for i, pose in enumerate(rig):
    x, y, z = (np.linalg.inv(pose) @ [*point, 1])[:3]
    k1, k2, p1, p2 = (coefficients + (0, 0, 0))[:4]
    x, y = x / z, y / z
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2 * r2
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    photo = _blob(128, 160, 100 * xd + 80, 100 * yd + 64)
    (tmp_path / f'images/img_{i}.png').write_bytes(images.encode_png(photo))
  for resolution in (None, 128):
    views = posed.load(tmp_path, resolution=resolution)
    moved = np.float32((views.framing.matrix @ [*point, 1])[:3])
    for image, label in zip(views.images, views.labels, strict=True):
      weights = image[..., 0].astype(np.float64)
      y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
      found = np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()
      uv, _ = cameras.project(cameras.from_label(label), moved[None])
      np.testing.assert_allclose(found, uv[0] * np.array(image.shape[1::-1]), atol=0.15)


def test_a_scene_whose_distortion_cannot_be_undone(tmp_path):
  scenes.write_photos(tmp_path / 'images', 5)
  scenes.write_transforms(tmp_path, scenes.poses(), fl_x=16.0, k1=-100.0)
  with pytest.raises(UserError, match='5 of 5 photos.*its lens distortion cannot be undone'):
    posed.load(tmp_path)
