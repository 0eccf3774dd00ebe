"""Colour, depth, normals and opacity of views: right values in right places."""

import dataclasses

import numpy as np
import pytest

from jax3dgan import viz
from jax3dgan.pictures import display, maps, paths, turntables


@pytest.fixture(scope='module')
def views(tiny_model):
  w = np.asarray(tiny_model.map(tiny_model.latents([0, 1])))
  path = paths.fixed(tiny_model, [0.0, 0.5, 1.0])
  camera = path.camera(tiny_model)
  return w, camera, maps.render(tiny_model, w, camera, 8, display.KINDS)


def test_views_are_objects_by_cameras(tiny_model, views):
  w, camera, found = views
  assert found.image.shape == (2, 3, 8, 8, 3) and found.depth.shape == (2, 3, 8, 8)
  np.testing.assert_allclose(found.fov_degrees, tiny_model.config.render.fov_degrees, rtol=1e-5)
  expected = tiny_model.render(w[1:], camera, 8)
  np.testing.assert_array_equal(found.image[1], viz.to_uint8(expected.image))
  np.testing.assert_allclose(found[1].opacity, expected.opacity, atol=1e-6)
  pairs = maps.render_pairs(
    tiny_model, np.repeat(w, 3, 0), type(camera)(*(np.tile(x, (2, 1, 1)) for x in (
      camera.cam2world, camera.intrinsics))), 8, display.KINDS
  )  # fmt: skip
  np.testing.assert_array_equal(pairs.reshape(2, 3).image, found.image)
  plain = maps.render(tiny_model, w, camera, 8)
  assert plain.depth is None and plain.opacity is None


def test_pictures_of_each_kind(tiny_model, views):
  found = views[2]
  np.testing.assert_array_equal(maps.picture(tiny_model, found, 'colour'), found.image)
  opacity = maps.picture(tiny_model, found, 'opacity')
  np.testing.assert_array_equal(opacity[..., 1], np.round(found.opacity * 255).clip(0, 255))
  # An untrained field is haze: a surface of known distance in its place.
  distance = np.random.default_rng(0).uniform(0.9, 1.1, found.depth.shape)
  opacity = np.full_like(found.opacity, 0.8)
  found = dataclasses.replace(found, depth=distance * opacity, opacity=opacity)
  near, far = maps.depth_limits(tiny_model, found)
  assert (near, far) == pytest.approx(np.percentile(distance, [2, 98]))
  # A camera that stands farther back by what its depth grew shows the same colours.
  back = np.array([0.0, 0.3, 0.7])
  moved = maps.Views(
    found.image, found.depth + back[:, None, None] * found.opacity, found.opacity, found.fov_degrees
  )
  assert maps.depth_limits(tiny_model, moved, back) == pytest.approx((near, far), abs=1e-5)
  for kind in display.KINDS:
    picture = maps.picture(tiny_model, found, kind)
    assert picture.shape == found.image.shape and picture.dtype == np.uint8


def test_normals_of_different_fields_of_view():
  depth = np.random.default_rng(0).uniform(1, 1.1, (2, 6, 6))
  both = viz.normals_from_depth(depth, np.array([20.0, 50.0]))
  for i, fov in enumerate((20.0, 50.0)):
    np.testing.assert_allclose(both[i], viz.normals_from_depth(depth[i], fov), atol=1e-6)


def test_layout():
  def kinds(num, n):
    return [np.full((n, 4, 4, 3), 10 * i, np.uint8) for i in range(num)]

  assert maps.beside(kinds(1, 5), 4, 2).shape == (2 * 8 + 2, 4 * 8 + 6, 3)
  assert maps.beside(kinds(2, 1), 4, 1).shape == (4, 10, 3)  # one object: beside each other
  assert maps.beside(kinds(4, 1), 4, 1).shape == (10, 10, 3)
  assert maps.beside(kinds(3, 2), 4, 1).shape == (3 * 4 + 4, 10, 3)  # a row for each kind


def test_a_path_in_parts_is_in_order(tiny_model, views):
  """A dolly zoom is rendered by distance; its frames come back as they were."""
  w = views[0]
  path = paths.make(tiny_model, 6, 'dolly', dolly=(0.9, 1.3))
  whole = turntables.render_path(tiny_model, w, path, 8)
  assert whole.image.shape == (2, 6, 8, 8, 3)
  np.testing.assert_array_equal(whole.image[:, 1], whole.image[:, 5])  # there and back
  np.testing.assert_allclose(whole.fov_degrees[0], path.fov_degrees, rtol=1e-5)
  alone = path.depth_ranges(tiny_model)
  frames, ends = next((f, e) for f, e in alone if 3 in f)
  expected = tiny_model.render(w, path[[3]].camera(tiny_model), 8, **ends)
  np.testing.assert_array_equal(whole.image[:, 3], viz.to_uint8(expected.image))
