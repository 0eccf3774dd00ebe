"""Fields that bring their own density, and a fine pass with a field of its own (NeRF)."""

import dataclasses
import functools

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan import cameras
from jax3dgan.errors import UserError
from jax3dgan.rendering import compositing, hierarchical, parts, rays, sampling
from jax3dgan.rendering.hierarchical import Draws
from jax3dgan.rendering.options import RenderOptions

NUM_RAYS = 16
OPTIONS = RenderOptions(4, 0.5, 1.5, num_coarse=5, num_fine=4, white_back=True)


@flax.struct.dataclass
class Waves:
  params: jax.Array  # [b or 1, 4]
  width: int = flax.struct.field(pytree_node=False, default=4)

  def __call__(self, points, directions):
    a = self.params[:, None, None]
    raw = 3 * jnp.sin(4 * jnp.sum(points * a[..., :3], -1)) + a[..., 3]
    tint = jnp.sum(directions * a[:, :, 0, :3], -1)
    return raw, jax.nn.sigmoid(points + tint[..., None, None])


COARSE = Waves(np.float32([[1.0, -2.0, 0.5, 0.3]]))  # shared
FINE = Waves(np.float32([[-1.0, 1.5, -1.0, 0.5], [0.3, 0.2, 2.0, -0.4]]))


@functools.cache
def views():
  camera = cameras.orbit(np.array([0.0, 1.0]), 0.3, radius=1.0, fov_degrees=50.0)
  return jax.tree.map(np.asarray, rays.camera_rays(camera, OPTIONS.resolution))


def test_the_fine_field_is_integrated_over_all_depths():
  """As written out: the coarse field alone chooses, the fine one alone makes the pixel."""
  rng = np.random.default_rng(0)
  draws = Draws(
    *(rng.uniform(size=(2, NUM_RAYS, 5)), rng.normal(size=(2, NUM_RAYS, 5))),
    *(rng.uniform(size=(2, NUM_RAYS, 4)), rng.normal(size=(2, NUM_RAYS, 9))),
  )

  def both(coarse_field, fine_field, every, draws):
    out = hierarchical.render_rays(
      coarse_field, every, OPTIONS, draws, 0.5, None, fine_field, return_coarse=True
    )
    depths = sampling.stratified_depths(0.5, 1.5, 5, draws.jitter)
    raw, colour = coarse_field(hierarchical.points_at(every, depths), every.directions)
    density = jax.nn.softplus(raw + 0.5 * draws.coarse_noise)
    coarse = compositing.composite(density, colour, depths, white_back=True)
    fine = sampling.importance_depths(depths, jax.lax.stop_gradient(coarse.weights), draws.pdf)
    depths = jnp.sort(jnp.concatenate([fine, depths], -1))
    raw, colour = fine_field(hierarchical.points_at(every, depths), every.directions)
    density = jax.nn.softplus(raw + 0.5 * draws.final_noise)
    expected = compositing.composite(density, colour, depths, white_back=True)
    return out, expected._replace(coarse=coarse)

  def loss(coarse_field, fine_field, every, draws):
    outs = both(coarse_field, fine_field, every, draws)
    values = [jnp.sum(jnp.sin(o.colour)) + jnp.sum(o.coarse.colour**2 * o.colour) for o in outs]
    return jnp.stack(values), outs

  run = x64.jit(jax.jacrev(loss, argnums=(0, 1), has_aux=True))
  gradients, (out, expected) = run(*jax.tree.map(np.float64, (COARSE, FINE, views(), draws)))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), out, expected)
  for gradient in gradients:
    np.testing.assert_allclose(gradient.params[0], gradient.params[1], rtol=1e-9)
    assert np.abs(gradient.params).min() > 0


def test_chunks_tiles_and_parts_of_two_fields():
  """All the ways to divide the work give the same two composites."""

  @jax.jit
  def render(fine_field, every):
    def images(ray_chunk, **fields):
      options = dataclasses.replace(OPTIONS, ray_chunk=ray_chunk)
      return hierarchical.render_images(COARSE, every, options, **fields, return_coarse=True)

    one = jax.tree.map(lambda x: x[1:], (fine_field, every))
    pieces = [parts.render_part(COARSE, one[1], OPTIONS, i, 3, one[0]) for i in range(3)]
    pieces = jax.tree.map(lambda *x: jnp.concatenate(x, 1)[:, :NUM_RAYS], *pieces)
    both = images(0, fine_field=fine_field), images(4, fine_field=fine_field)
    return *both, images(0), pieces

  whole, chunked, single, pieces = render(FINE, views())
  assert whole.weights is whole.coarse.weights is None and whole.coarse.coarse is None
  for a, b in zip(jax.tree.leaves(chunked), jax.tree.leaves(whole), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-6)
  np.testing.assert_allclose(pieces.colour, whole.colour[1:], atol=2e-6)
  # The coarse pass is the same with one field; the pixel is another.
  np.testing.assert_allclose(single.coarse.colour, whole.coarse.colour, atol=2e-6)
  assert np.abs(single.colour - whole.colour).max() > 0.05


def test_tiles_count_what_the_fine_field_takes():
  assert hierarchical.tile(COARSE, 2, 10**6, OPTIONS)[1] == 2**20 // (5 * 4)
  wide = Waves(FINE.params, width=8)
  assert hierarchical.tile(COARSE, 2, 10**6, OPTIONS, wide)[1] == 2**20 // (9 * 8)


@pytest.mark.parametrize('marcher', ['samples', 'midpoints'])
def test_a_field_with_a_density_of_its_own(marcher):
  """Laplace's density of a sphere's signed distance (StyleSDF, eq. 4): opaque within, and the
  depth is the surface's."""
  beta, radius = 0.002, 0.3

  def sphere(points, directions):
    del directions
    sdf = jnp.linalg.norm(points, axis=-1) - radius
    return jax.nn.sigmoid(-sdf / beta) / beta, jnp.full(points.shape, 0.25)

  options = RenderOptions(
    4, 0.5, 1.5, 128, 0, density='field', last_interval='far', white_back=True, marcher=marcher
  )
  render = x64.jit(lambda r: hierarchical.render_rays(sphere, r, options))
  every = jax.tree.map(np.float64, views())
  out = render(every)
  along = -np.sum(every.origins * every.directions, -1)
  closest = np.sum(every.origins**2, -1) - along**2
  hit = closest < (radius - 0.05) ** 2
  assert 4 <= hit.sum() <= 24
  np.testing.assert_allclose(out.opacity[hit], 1, atol=1e-6)
  entry = along - np.sqrt(np.where(hit, radius**2 - closest, 0))
  np.testing.assert_allclose((out.depth - entry)[hit], 0, atol=0.02)
  np.testing.assert_allclose(out.colour[hit], 0.25, atol=1e-5)
  missed = closest > (radius + 0.1) ** 2
  assert missed.any()
  np.testing.assert_allclose(out.colour[missed], 1, atol=1e-12)
  noise = Draws(coarse_noise=np.zeros((2, NUM_RAYS, 128)))
  with pytest.raises(UserError, match='loss.density_noise to 0'):
    hierarchical.render_rays(sphere, every, options, noise)
