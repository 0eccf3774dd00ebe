"""Rays that are sampled inside a box: what a pixel shows is its own ray's, and a miss is empty."""

import dataclasses

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan import cameras
from jax3dgan.errors import UserError
from jax3dgan.rendering import hierarchical, parts, rays, sampling
from jax3dgan.rendering.options import RenderOptions

SIDE, NUM_RAYS = 0.4, 49
# Half of the rays miss the box.
OPTIONS = RenderOptions(
  resolution=7, num_coarse=4, num_fine=4, box=SIDE, last_interval='infinite', white_back=True
)


@flax.struct.dataclass
class Fog:
  """Density everywhere, also outside of the box."""

  frequencies: jax.Array  # [b, 3]
  width: int = flax.struct.field(pytree_node=False, default=4)

  def __call__(self, points, directions):
    del directions
    wave = jnp.sin(points * self.frequencies[:, None, None])
    return 5 + wave.sum(-1), 0.4 + 0.3 * wave


def two_views():
  camera = cameras.orbit(np.array([0.0, 2.0]), np.array([0.1, -0.4]), 1.0, 40.0)
  return rays.camera_rays(camera, OPTIONS.resolution)


FIELD = Fog(jnp.array([[9.0, 7.0, 5.0], [3.0, 8.0, 6.0]]))


@pytest.mark.parametrize('marcher', ['samples', 'midpoints'])
def test_an_image_does_not_depend_on_what_is_rendered_with_it(marcher):
  options = dataclasses.replace(OPTIONS, marcher=marcher)

  @jax.jit
  def render(rays):
    first = jax.tree.map(lambda x: x[:1], (FIELD, rays))
    return {
      'batch': hierarchical.render_images(FIELD, rays, options),
      'alone': hierarchical.render_images(*first, options),
      'chunks': hierarchical.render_images(*first, dataclasses.replace(options, ray_chunk=7)),
      'parts': jax.tree.map(
        lambda *x: jnp.concatenate(x, 1)[:, :NUM_RAYS],
        *(parts.render_part(*first, options, i, 3) for i in range(3)),
      ),
    }

  images = render(two_views())
  for name in ('batch', 'chunks', 'parts'):
    for a, b in zip(images[name][:3], images['alone'][:3], strict=True):
      np.testing.assert_allclose(a[0], b[0], atol=1e-6)
  out = images['alone']
  missed = np.asarray(out.opacity) == 0
  assert 10 < missed.sum() < 40
  np.testing.assert_array_equal(np.asarray(out.colour)[missed], 1)
  assert np.abs(np.asarray(out.colour)[~missed] - 1).min() > 1e-3


def test_limits_are_where_a_ray_crosses_the_box():
  views = jax.tree.map(np.float64, two_views())
  near, far, hit = x64.jit(sampling.box_limits, static_argnums=2)(
    views.origins, views.directions, SIDE
  )
  ends = [np.abs(hierarchical.points_at(views, t)).max(-1) for t in (near, far)]
  np.testing.assert_allclose(np.concatenate(ends, -1)[hit[..., 0]], SIDE / 2, rtol=1e-12)
  # Points along a ray that misses are outside.
  between = near + (far - near) * np.linspace(0, 1, 101)
  outside = np.abs(hierarchical.points_at(views, between)).max(-1) > SIDE / 2
  np.testing.assert_array_equal(outside.all(-1), ~hit[..., 0])
  assert (near < far).all() and (near > 0).all()


def test_limits_of_cameras_inside_and_of_rays_along_a_face():
  origins = np.float32([[0, 0, 0], [0, 0, 1], [0, 0, 1], [SIDE / 2, 0, 1], [0.3, 0, 1]])
  ahead = np.float32([0, 0, -1])
  directions = np.stack([ahead, ahead, -ahead, ahead, ahead])

  def total(origins, directions):
    limits = sampling.box_limits(origins, directions, SIDE)
    return jnp.sum(limits.near) + jnp.sum(limits.far), limits

  gradients, limits = jax.jit(jax.grad(total, (0, 1), has_aux=True))(origins, directions)
  np.testing.assert_array_equal(limits.hit[[0, 1, 2, 4], 0], [True, True, False, False])
  np.testing.assert_allclose(limits.near[:2, 0], [1e-4 * SIDE, 0.8], rtol=1e-6)
  np.testing.assert_allclose(limits.far[:2, 0], [0.2, 1.2], rtol=1e-6)
  assert all(np.isfinite(x).all() for x in (*gradients, limits.near, limits.far))


def test_the_last_interval_ends_with_the_box():
  """Half a stratum behind it, as half a stratum behind `far` without a box."""
  options = dataclasses.replace(OPTIONS, num_fine=0, last_interval='far', density='field')

  def mist(points, directions):
    del directions
    return jnp.full(points.shape[:-1], 2.0), jnp.zeros(points.shape)

  views = two_views()
  limits = sampling.box_limits(views.origins, views.directions, SIDE)
  out = jax.jit(lambda r: hierarchical.render_rays(mist, r, options))(views)
  chord = np.where(limits.hit, limits.far - limits.near, 0)[..., 0]
  np.testing.assert_allclose(out.opacity, -np.expm1(-2 * chord * (1 + 0.5 / 3)), atol=1e-6)


def test_the_release_samples_missing_rays_where_the_others_are():
  views = two_views()
  own = sampling.box_limits(views.origins, views.directions, SIDE)
  near, far, hit = sampling.release_box_limits(views.origins, views.directions, SIDE)
  missed = ~np.asarray(own.hit)
  assert hit.all()
  np.testing.assert_array_equal(near[missed], own.near[own.hit].min())
  np.testing.assert_array_equal(far[missed], own.near[own.hit].max())
  np.testing.assert_array_equal(near[~missed], own.near[~missed])
  nothing = sampling.release_box_limits(views.origins, -views.directions, SIDE)
  np.testing.assert_array_equal(nothing.near, -1)
  np.testing.assert_array_equal(nothing.far, -2)
  with pytest.raises(UserError, match='Set box'):
    RenderOptions(compat_box_limits=True)
