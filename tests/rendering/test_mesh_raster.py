"""The z-buffer beside every pixel with every triangle, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.nn import backend
from jax3dgan.rendering import mesh_raster, rays

SIZE = (7, 9)


@functools.partial(jax.jit, static_argnames=('size', 'perspective', 'cull'))
def rasterize(points, depth, faces, size=SIZE, perspective=False, cull=False):
  return mesh_raster.rasterize(points, depth, faces, size, perspective, cull)


def every_pixel(points, depth, faces, perspective, cull):
  """Depth [t, h, w] of each triangle at each centre, inf where it is not; and weights."""
  v, u = np.meshgrid(*[np.arange(n) + 0.5 for n in SIZE], indexing='ij')
  a, b, c = (np.float64(points)[faces[:, i], :, None, None] for i in range(3))

  def cross(p, q):
    return (q[:, 0] - p[:, 0]) * (v - p[:, 1]) - (q[:, 1] - p[:, 1]) * (u - p[:, 0])

  shares = np.stack([cross(b, c), cross(c, a), cross(a, b)], axis=-1)  # [t, h, w, 3]
  area = shares.sum(-1)
  inside = (shares <= 0).all(-1)
  if not cull:
    inside |= (shares >= 0).all(-1)
  inside &= area != 0
  shares = shares / np.where(area == 0, 1, area)[..., None]
  corners = np.float64(depth)[faces][:, None, None]
  if perspective:
    shares = shares / corners
    inside &= (corners > 0).all(-1)
    total = shares.sum(-1, keepdims=True)
    shares = shares / np.where(total == 0, 1, total)
  return np.where(inside, (shares * corners).sum(-1), np.inf), shares


@pytest.mark.parametrize(('perspective', 'cull'), [(False, False), (True, True)])
def test_as_every_pixel_with_every_triangle(perspective, cull, monkeypatch):
  monkeypatch.setattr(mesh_raster, 'CHUNK', 64)  # several rounds
  rng = np.random.default_rng(0)
  # On quarters of pixels sums are exact: many centres are on edges and corners, sides have no area.
  points = (rng.integers(-12, 48, (2, 30, 2)) / 4).astype(np.float32)
  depth = rng.uniform(-0.2, 3, (2, 30)).astype(np.float32)
  faces = rng.integers(0, 30, (14, 3))
  faces = np.concatenate([faces, faces[:4]])  # of two that are equal the first is seen
  hits = jax.device_get(rasterize(points, depth, faces, SIZE, perspective, cull))
  for i in range(2):
    each, weights = every_pixel(points[i], depth[i], faces, perspective, cull)
    nearest = each.min(0)
    assert 0.1 < np.isfinite(nearest).mean() < 0.98
    np.testing.assert_array_equal(hits.face[i] >= 0, np.isfinite(nearest))
    assert hits.face.max() < 14
    seen = np.isfinite(nearest)
    np.testing.assert_allclose(hits.depth[i][seen], nearest[seen], rtol=2e-5, atol=2e-6)
    assert np.isinf(hits.depth[i][~seen]).all()
    assert not hits.weights[i][~seen].any()
    row, column = np.nonzero(seen)
    face = hits.face[i][seen]
    np.testing.assert_allclose(each[face, row, column], nearest[seen], rtol=1e-5, atol=1e-6)
    expected = weights[face, row, column]
    np.testing.assert_allclose(hits.weights[i][seen], expected, rtol=2e-4, atol=2e-5)


def test_blocks_of_triangles_and_other_images_change_nothing(monkeypatch):
  rng = np.random.default_rng(1)
  points = rng.uniform(-2, 11, (2, 30, 2)).astype(np.float32)
  depth = rng.uniform(1, 3, (2, 30)).astype(np.float32)
  faces = rng.integers(0, 30, (45, 3))
  whole = rasterize(points, depth, faces, perspective=True)
  monkeypatch.setattr(mesh_raster, '_MOST', 2 * 63 * 7)  # seven triangles at a time
  again = jax.jit(lambda *x: mesh_raster.rasterize(*x, SIZE))(points, depth, faces)
  monkeypatch.undo()
  alone = jax.jit(lambda *x: mesh_raster.rasterize(*x, SIZE))(points[1:], depth[1:], faces)
  for all_of_it, blocks, one in zip(whole, again, alone, strict=True):
    np.testing.assert_array_equal(all_of_it, blocks)
    np.testing.assert_array_equal(all_of_it[1:], one)


def test_a_closed_surface_has_no_cracks():
  rng = np.random.default_rng(2)
  places = np.stack(np.meshgrid(np.linspace(-1, 33, 12), np.linspace(-1, 33, 12)), axis=-1)
  points = (places + rng.uniform(-0.9, 0.9, places.shape)).reshape(1, -1, 2).astype(np.float32)
  i = (np.arange(11)[:, None] * 12 + np.arange(11)).ravel()
  faces = np.concatenate([np.stack([i, i + 12, i + 13], 1), np.stack([i + 13, i + 1, i], 1)])
  turns = rng.integers(0, 3, len(faces))  # the order of corners must not matter
  faces = np.stack([np.roll(face, turn) for face, turn in zip(faces, turns, strict=True)])
  hits = rasterize(points, np.ones((1, 144), np.float32), faces, (32, 32), cull=True)
  assert hits.mask.all()
  away = rasterize(points, np.ones((1, 144), np.float32), faces[:, ::-1], (32, 32), cull=True)
  assert not away.mask.any()


def plane():
  """A square that leans away from two cameras, and its corners' coordinates on itself."""
  camera = cameras.orbit(np.array([0.3, -0.2]), np.array([0.1, -0.15]), 2.7, 13.0)
  corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], np.float32)
  axes = np.array([(0.2, 0, 0.12), (0, 0.24, 0.1)], np.float32)
  vertices = np.broadcast_to(corners @ axes, (2, 4, 3))
  return camera, vertices, np.array([(0, 1, 2), (0, 2, 3)]), corners, axes


def seen_plane(camera, vertices, faces, corners):
  hits = mesh_raster.rasterize_camera(camera, vertices, faces, SIZE)
  return hits, mesh_raster.interpolate(hits, corners[faces])


def test_depth_is_along_the_ray_and_values_are_those_of_the_surface():
  camera, vertices, faces, corners, axes = plane()
  hits, values = jax.device_get(jax.jit(seen_plane)(camera, vertices, faces, corners))
  v, u = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in SIZE], indexing='ij')
  r = rays.rays_through(camera, jnp.asarray(np.stack([u, v], -1).reshape(-1, 2), jnp.float32))
  normal = np.cross(*axes)
  distance = -(r.origins @ normal) / (r.directions @ normal)
  points = np.asarray(r.origins + distance[..., None] * r.directions)
  own = points @ np.linalg.pinv(axes)
  inside = (np.abs(own) <= 1).all(-1).reshape(2, *SIZE)
  assert 0.2 < inside.mean() < 0.9
  np.testing.assert_array_equal(hits.mask, inside)
  np.testing.assert_allclose(hits.depth[inside], distance.reshape(2, *SIZE)[inside], rtol=1e-5)
  np.testing.assert_allclose(values[inside], own.reshape(2, *SIZE, 2)[inside], atol=2e-4)
  assert not values[~inside].any()


@pytest.mark.parametrize('platform', ['cuda', 'tpu'])
def test_it_lowers_for_accelerators_without_calls_to_the_host(platform):
  with backend.lowering_for(platform):
    text = jax.jit(seen_plane).trace(*plane()[:4]).lower(lowering_platforms=(platform,)).as_text()
  assert 'custom_call' not in text and 'f64' not in text


def test_no_gradient_goes_through_it():
  camera, vertices, faces, corners, _ = plane()
  camera, vertices = jax.tree.map(lambda x: x[:1], (camera, vertices))

  def loss(vertices):
    hits, values = seen_plane(camera, vertices, faces, corners)
    return jnp.sum(values) + jnp.sum(jnp.where(hits.mask, hits.depth, 0))

  assert not np.asarray(jax.jit(jax.grad(loss))(vertices)).any()
