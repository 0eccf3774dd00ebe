"""Normals from a signed distance's gradient, in pictures."""

import numpy as np
import pytest
import sdf_ball

from jax3dgan import viz
from jax3dgan.pictures import maps, normals, paths


@pytest.fixture(scope='module')
def balls():
  model = sdf_ball.model()
  w = np.asarray(model.map(model.latents([0, 1]), 1.0))
  camera = paths.fixed(model, [0.0, 2.0]).camera(model)
  return model, w, camera, maps.render(model, w, camera, 24, ('colour', 'normals'))


def exact(w, camera, size=24):
  """Normals [h, w, 3] in camera axes of a ball, and the rays that meet it clearly."""
  from jax3dgan.rendering import rays

  lines = rays.camera_rays(camera, size)
  origins, directions = (np.asarray(x, np.float64)[0] for x in (lines.origins, lines.directions))
  offset = origins - w[:3]
  along = (offset * directions).sum(-1)
  root = along**2 - (offset**2).sum(-1) + w[3] ** 2
  points = offset + (-along - np.sqrt(np.maximum(root, 0)))[:, None] * directions
  local = points / w[3] @ np.asarray(camera.cam2world)[0, :3, :3]
  return local.reshape(size, size, 3), (root > 0.01).reshape(size, size)


def test_they_are_the_gradient_of_the_distance_in_camera_axes(balls):
  model, w, camera, views = balls
  assert views.normals.shape == (2, 2, 24, 24, 3)
  for i in range(2):
    for j in range(2):
      one = type(camera)(camera.cam2world[j : j + 1], camera.intrinsics[j : j + 1])
      expected, met = exact(w[i], one)
      assert met.mean() > 0.2
      found = views[i, j]
      np.testing.assert_allclose(found.normals[met], expected[met], atol=0.03)
      # No grid of pixels blurs them: nearer to the truth than those of the depth map.
      depth = viz.surface_depth(found.depth, found.opacity)
      other = viz.normals_from_depth(depth, found.fov_degrees)
      errors = [np.abs(x[met] - expected[met]).mean() for x in (found.normals, other)]
      assert errors[0] < 0.5 * errors[1]


def test_their_picture_faces_the_viewer(balls):
  model, _, _, views = balls
  picture = maps.picture(model, views, 'normals')
  expected = viz.colour_normals(views.normals, views.opacity)
  np.testing.assert_array_equal(picture, expected)
  solid = views.opacity > 0.99
  assert picture[solid][:, 2].mean() > 180  # blue: towards the viewer
  assert (picture[views.opacity < 0.001] == 255).all()


def test_each_style_with_its_own_camera(balls):
  model, w, camera, views = balls
  pairs = maps.render_pairs(model, w, camera, 24, ('normals',))
  np.testing.assert_allclose(pairs.normals[0], views.normals[0, 0], atol=1e-5)
  np.testing.assert_allclose(pairs.normals[1], views.normals[1, 1], atol=1e-5)


def test_a_density_has_those_of_its_depth(tiny_model):
  assert not normals.has_gradient(tiny_model)
  w = np.asarray(tiny_model.map(tiny_model.latents([0])))
  camera = paths.fixed(tiny_model, [0.0]).camera(tiny_model)
  assert maps.render(tiny_model, w, camera, 8, ('normals',)).normals is None
