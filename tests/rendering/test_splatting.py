"""Splatting by tiles beside its plain form, which `test_splatting_parity` compares with golden
arrays."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from jax3dgan import cameras
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.nn import backend
from jax3dgan.rendering import rays, splatting
from jax3dgan.rendering.splatting import Gaussians, Splatting
from jax3dgan.tools import products

N, SIZE = 70, (12, 20)  # no multiples of a word's bits, nor of the tiles
# Some that need several blocks, with tiles that reach beyond the image.
LAYOUTS = [Splatting(), Splatting(tile=8, chunk=8, block=4), Splatting(tile=16, chunk=32, block=2)]
BACKGROUND = np.float32([0.2, 0.5, 0.7])


def scene(images=2, seed=0):
  rng = np.random.default_rng(seed)

  def normal(*shape):
    return rng.normal(size=(images, N, *shape)).astype(np.float32)

  gaussians = Gaussians(
    means=0.2 * normal(3),
    scales=0.05 * np.exp(0.7 * normal(3)),
    quaternions=normal(4),
    opacities=1 / (1 + np.exp(-2 * normal())),
    harmonics=0.5 * normal(4, 3),
    features=normal(2),
  )
  angles = np.linspace(0, 1, images).astype(np.float32)
  return gaussians, jax.device_get(cameras.orbit(angles, 0.3 * angles, 1.0, 40.0))


@functools.partial(jax.jit, static_argnames=('options', 'form'))
def images_and_gradients(gaussians, camera, options=LAYOUTS[0], form='tiles'):
  """What is drawn, and the gradients of a sum of all of it with fixed weights."""
  rng = np.random.default_rng(1)

  def loss(gaussians, camera, background):
    with backend.choose(splatting=form):
      out = splatting.splat(gaussians, camera, SIZE, background, options)
    leaves = jax.tree.leaves(out)
    weights = [rng.normal(size=leaf.shape).astype(np.float32) for leaf in leaves]
    return sum(jnp.sum(a * b) for a, b in zip(leaves, weights, strict=True)), out

  return jax.grad(loss, argnums=(0, 1, 2), has_aux=True)(gaussians, camera, BACKGROUND)


def run(*args, **kwargs):
  grads, out = jax.device_get(images_and_gradients(*args, **kwargs))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((grads, out)))
  return grads, out


def assert_near(actual, expected, tolerance):
  """Largest differences as shares of each array's largest entry."""
  for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(np.abs(other).max(), 1e-6))


@pytest.mark.parametrize('options', LAYOUTS, ids=lambda options: f'tile{options.tile}')
def test_tiles_agree_with_every_pixel_and_every_gaussian(options, thorough):
  if options.tile == 16 and not thorough:
    pytest.skip('a program of its own: pytest --thorough')
  expected = run(*scene(), options=LAYOUTS[0], form='dense')
  actual = run(*scene(), options=options)
  assert_near(actual[1], expected[1], 2e-6)
  assert_near(actual[0], expected[0], 2e-5)


def test_the_order_of_gaussians_is_their_depth():
  gaussians, camera = scene()
  order = np.random.default_rng(2).permutation(N)
  grads, out = run(gaussians, camera)
  moved, again = run(jax.tree.map(lambda x: x[:, order], gaussians), camera)
  assert_near(again, out, 1e-6)
  assert_near(moved[0], jax.tree.map(lambda x: x[:, order], grads[0]), 1e-5)


def test_equal_depths_are_drawn_by_index():
  """Two in one place: the first one's colour counts more."""
  gaussians, camera = scene()
  gaussians = jax.tree.map(lambda x: np.repeat(x[:, :1], N, axis=1), gaussians)
  gaussians = gaussians._replace(
    means=np.zeros_like(gaussians.means), opacities=np.full((2, N), 0.6, np.float32)
  )
  gaussians.features[:, :, 0] = np.arange(N)
  _, out = run(gaussians, camera)
  middle = out.features[:, 6, 10, 0] / out.composite.opacity[:, 6, 10]
  alpha = out.composite.opacity[:, 6, 10]
  np.testing.assert_array_less(0.99, alpha)
  # Σ k α (1 − α)^k is (1 − α) / α; at most .6 of α here.
  assert (0.3 < middle).all() and (middle < 2).all()


def test_an_image_does_not_depend_on_the_others():
  gaussians, camera = scene()
  _, out = run(gaussians, camera)
  others = scene(seed=5)
  first = jax.tree.map(lambda one, other: np.stack([other[1], one[0]]), (gaussians, camera), others)
  _, again = run(*first)
  for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(out), strict=True):
    np.testing.assert_allclose(one[1], other[0], rtol=0, atol=1e-6)


def test_what_is_not_drawn():
  """Behind the camera, or without opacity: the background, and gradients of 0 without NaN."""
  gaussians, camera = scene()
  behind = gaussians._replace(means=gaussians.means + 3 * camera.cam2world[:, None, :3, 3])
  (in_gaussians, _, _), out = run(behind, camera)
  assert (out.composite.colour == BACKGROUND).all() and not out.composite.depth.any()
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(in_gaussians))
  at_camera = gaussians._replace(means=np.broadcast_to(camera.origin[:, None], (2, N, 3)))
  assert not run(at_camera, camera)[1].composite.opacity.any()
  clear = gaussians._replace(opacities=gaussians.opacities * (np.arange(N) % 2))
  (in_gaussians, _, _), out = run(clear, camera)
  for leaf in jax.tree.leaves(in_gaussians):
    assert not leaf[:, ::2].any() and leaf[:, 1::2].any()
  half = jax.tree.map(lambda x: np.concatenate([x[:, 1::2], np.zeros_like(x[:, ::2])], 1), clear)
  half = half._replace(quaternions=np.where(half.quaternions == 0, 1, half.quaternions))
  assert_near(run(half, camera)[1], out, 1e-6)


def test_a_thin_disc_is_where_rays_meet_it():
  """Depth is along the ray, to a wall before the camera."""
  ticks = np.stack(np.meshgrid(np.linspace(-1, 1, 10), np.linspace(-0.6, 0.6, 7)), -1)
  means = np.concatenate([ticks.reshape(-1, 2), np.zeros((70, 1))], -1).astype(np.float32)
  gaussians, camera = scene()
  gaussians = gaussians._replace(
    means=np.stack([means] * 2),
    scales=np.full((2, N, 3), [0.15, 0.15, 1e-6], np.float32),
    quaternions=np.full((2, N, 4), [1, 0, 0, 0], np.float32),
    opacities=np.full((2, N), 1, np.float32),
  )
  frontal = jax.tree.map(lambda x: np.stack([x[0]] * 2), camera)
  _, out = run(gaussians, frontal)
  v, u = np.meshgrid((np.arange(12) + 0.5) / 12, (np.arange(20) + 0.5) / 20, indexing='ij')
  uv = np.stack([u.ravel(), v.ravel()], -1)
  directions = rays.rays_through(frontal, uv).directions
  expected = (-frontal.origin[:, None, 2] / directions[..., 2]).reshape(2, *SIZE)
  np.testing.assert_allclose(out.composite.depth / out.composite.opacity, expected, rtol=2e-3)
  np.testing.assert_array_less(0.95, out.composite.opacity)


def test_views_of_a_scene():
  """[scene, view] is what each camera sees, with a background of each pixel."""
  gaussians, camera = scene()
  gaussians = jax.tree.map(lambda x: x[:1], gaussians)
  background = np.random.default_rng(0).uniform(size=(1, 2, *SIZE, 3)).astype(np.float32)

  @jax.jit
  def draw(gaussians, camera):
    return splatting.splat(gaussians, camera, SIZE, background)

  views = jax.device_get(draw(gaussians, jax.tree.map(lambda x: x[None], camera)))
  twice = jax.tree.map(lambda x: np.concatenate([x, x]), gaussians)
  _, out = run(twice, camera)
  passing = 1 - out.composite.opacity[..., None]
  colour = out.composite.colour + passing * (background[0] - BACKGROUND)
  np.testing.assert_allclose(views.composite.colour[0], colour, atol=2e-6)
  np.testing.assert_allclose(views.features[0], out.features, atol=5e-6)


def test_what_cannot_be_drawn():
  gaussians, camera = scene()
  for wrong in (
    gaussians._replace(colours=gaussians.means),
    gaussians._replace(harmonics=None),
    gaussians._replace(harmonics=gaussians.harmonics[..., :3, :]),
    jax.tree.map(lambda x: x[:1], gaussians),
  ):
    with pytest.raises(UserError) as error:
      splatting.splat(wrong, camera, SIZE)
    assert '\n' not in str(error.value)
  with pytest.raises(UserError, match='divisor of 16'):
    splatting.splat(gaussians, camera, SIZE, options=Splatting(cuda_tiles=True, tile=5))


def test_programs_for_accelerators_exchange_nothing():
  """Images over devices, of one lowering for CUDA and TPUs each."""
  gaussians, camera = scene()
  mesh = AbstractMesh((2,), (parallel.AXIS,), axis_types=(AxisType.Auto,))

  def loss(gaussians, camera):
    return splatting.splat(gaussians, camera, SIZE).composite.colour

  def gradient(gaussians, camera):
    out, pull = jax.vjp(loss, gaussians, camera)
    return pull(out)

  spec = P(parallel.AXIS)
  program = jax.shard_map(
    gradient, mesh=mesh, in_specs=(spec, spec), out_specs=(spec, spec), check_vma=False
  )
  for platform in ('cuda', 'tpu'):
    with backend.lowering_for(platform):
      text = products.lowered(jax.jit(program).trace(gaussians, camera), platform)
    assert 'f64' not in text and not products.rounded_by_device(text)
    assert not any(f'stablehlo.{name}' in text for name in ('all_', 'collective', 'reduce_scatter'))
    assert 'stablehlo.while' in text
