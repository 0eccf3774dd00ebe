"""Sphere tracing against rays and surfaces in closed form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering import sphere_tracing, surfaces
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.sphere_tracing import Tracing

CENTRE, RADIUS = np.float32([0.1, -0.05, 0.0]), 0.4
OPTIONS = RenderOptions(resolution=32, near=0.5, far=1.6, align_corners=False, last_interval='far')


def ball(points):
  return jnp.linalg.norm(points - CENTRE, axis=-1) - RADIUS


def wavy(points):
  """A learned one's likeness: the same surface, steeper and flatter in turns: gradients of length
  0.4 to 1.6 at the surface."""
  d = ball(points)
  return d * (1 + 0.6 * jnp.sin(7 * points[..., 0]) * jnp.exp(-((6 * d) ** 2)))


def camera(fov=60.0, azimuth=(0.0, 0.7)):
  azimuth = np.float32(azimuth)
  return cameras.orbit(azimuth, np.full_like(azimuth, 0.2), 1.0, fov)


def exact(origins, directions):
  """(depth, hit) of rays on the ball."""
  offset = np.asarray(origins, np.float64) - CENTRE
  directions = np.asarray(directions, np.float64)
  along = (offset * directions).sum(-1)
  root = along**2 - (offset**2).sum(-1) + RADIUS**2
  depth = -along - np.sqrt(np.maximum(root, 0))
  return depth, (root > 0) & (depth < 1.6)


traced = jax.jit(sphere_tracing.trace, static_argnums=(0, 5))


@functools.partial(jax.jit, static_argnums=(0, 2, 4))
def rendered(distance, cam, tracing, lipschitz, options=OPTIONS):
  def colour(points, directions):
    return 0.5 + 0.5 * points

  return surfaces.render(distance, colour, cam, options, tracing, lipschitz)


@pytest.mark.parametrize('distance, lipschitz, cone', [(ball, 1.0, 4), (wavy, 2.2, 1)])
def test_depth_mask_and_normals_are_those_of_the_surface(distance, lipschitz, cone):
  tracing = Tracing(num_steps=24 if distance is ball else 80, cone=cone)
  out = jax.device_get(rendered(distance, camera(), tracing, lipschitz))
  rays = rays_lib.camera_rays(camera(), 32)
  depth, hit = exact(rays.origins, rays.directions)
  np.testing.assert_allclose(out.directions, rays.directions, atol=1e-6)  # in the rows of pixels
  # Rays that only just touch or only just pass may go either way.
  closest = np.linalg.norm(np.cross(rays.origins - CENTRE, rays.directions), axis=-1) - RADIUS
  sure = np.abs(closest) > 0.01
  assert 0.1 < hit.mean() < 0.9 and sure.mean() > 0.9
  np.testing.assert_array_equal(out.hit[sure], hit[sure])
  both = hit & out.hit & sure
  np.testing.assert_allclose(out.depth[both], depth[both], atol=3e-3 if distance is ball else 6e-3)
  assert (out.depth[~out.hit] == np.float32(1.6)).all()
  points = rays.origins + out.depth[..., None] * rays.directions
  normals = (points - CENTRE) / np.linalg.norm(points - CENTRE, axis=-1, keepdims=True)
  cosine = (normals * out.normals).sum(-1)
  assert cosine[both].min() > (0.999 if distance is ball else 0.9)
  assert not out.normals[~out.hit].any()
  np.testing.assert_allclose(out.colour[both], 0.5 + 0.5 * points[both], atol=1e-5)
  assert not out.colour[~out.hit].any()


def test_a_steep_distance_needs_its_factor():
  """Without it rays step through; the factor is found from gradients."""

  def steep(points):
    return 4 * ball(points)

  points = jnp.asarray(np.random.default_rng(0).uniform(-0.5, 0.5, (256, 3)), jnp.float32)
  steepest = jax.jit(sphere_tracing.lipschitz_factor, static_argnums=0)
  factor = steepest(steep, points)
  assert float(factor) == pytest.approx(4 * 1.05, rel=1e-4)
  assert float(steepest(lambda p: 0.2 * ball(p), points)) == 1.0
  rays = rays_lib.camera_rays(camera(azimuth=(0.0,)), 16)
  depth, hit = exact(rays.origins, rays.directions)
  found = traced(steep, rays.origins, rays.directions, 0.5, 1.6, Tracing(num_steps=32), factor)
  both = hit & np.asarray(found.hit)
  assert both.sum() > 0.95 * hit.sum()
  np.testing.assert_allclose(np.asarray(found.depth)[both], depth[both], atol=3e-3)


def test_relaxed_steps_do_not_pass_a_thin_wall():
  """Two balls that are apart are noticed: a wall of a hundredth between two steps."""
  wall = lambda p: jnp.abs(p[..., 2] - 0.123) - 0.005  # noqa: E731
  count = 64
  origins = jnp.stack([jnp.zeros(count), jnp.zeros(count), jnp.linspace(1.0, 1.9, count)], -1)
  directions = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0]), (count, 3))
  tracing = Tracing(num_steps=32, relaxation=1.9)
  found = traced(wall, origins, directions, 0.0, 3.0, tracing)
  assert np.asarray(found.hit).all()
  np.testing.assert_allclose(found.depth, origins[:, 2] - 0.128, atol=7e-3)
  # A ray that ends before the surface, and one that begins inside.
  near, far = jnp.array([0.0, 0.0]), jnp.array([0.5, 3.0])
  start = jnp.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.123]])
  found = traced(wall, start, directions[:2], near, far, tracing)
  assert np.asarray(found.hit).tolist() == [False, True]
  np.testing.assert_allclose(found.depth, [0.5, 0.0], atol=1e-6)


def test_rays_end_early_where_all_of_them_have_arrived():
  rays = rays_lib.camera_rays(camera(fov=10.0, azimuth=(0.0,)), 8)
  found = traced(ball, rays.origins, rays.directions, 0.5, 1.6, Tracing(num_steps=50))
  assert np.asarray(found.hit).all() and np.asarray(found.num_steps).max() < 8


def test_the_shared_beginning_of_a_bundle_is_free():
  rays = rays_lib.camera_rays(camera(azimuth=(0.0,)), 8)
  axis = rays_lib.rays_through(camera(azimuth=(0.0,)), np.float32([[0.5, 0.5]]))
  spread = jnp.linalg.norm(rays.directions - axis.directions, axis=-1).max(-1, keepdims=True)
  shared = sphere_tracing.cone_depths(ball, axis.origins, axis.directions, spread, 0.1, 1.6, 8)
  depth, hit = exact(rays.origins, rays.directions)
  assert 0.1 < float(shared[0, 0]) <= depth[hit].min() + 1e-4


def test_backgrounds_and_odd_sizes():
  tracing = Tracing(num_steps=8)
  base = dict(resolution=6, near=0.5, far=1.6, align_corners=False, limits_along='axis')
  for fields, empty in (
    (dict(last_interval='far', white_back=True), 1.0),
    (dict(last_interval='infinite'), None),
  ):
    out = rendered(ball, camera(), tracing, 1.0, RenderOptions(**base, **fields))
    colour, missed = np.asarray(out.colour), ~np.asarray(out.hit)
    assert missed.any() and colour.shape == (2, 36, 3)
    if empty is None:
      ends = np.asarray(camera().origin)[:, None] + out.depth[..., None] * out.directions
      np.testing.assert_allclose(colour[missed], 0.5 + 0.5 * ends[missed], atol=1e-5)
    else:
      assert (colour[missed] == empty).all()


def test_shading_is_brightest_where_the_surface_faces_the_camera():
  normals = jnp.array([[0.0, 0, 1], [1, 0, 0], [0, 0, 0]])
  directions = jnp.broadcast_to(jnp.array([0.0, 0, -1]), (3, 3))
  grey = surfaces.shade(normals, directions, jnp.array([True, True, False]), 0.2)
  np.testing.assert_allclose(grey[:, 0], [1.0, 0.2, 1.0], atol=1e-6)
