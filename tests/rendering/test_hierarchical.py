"""Hierarchical rendering: analytic scenes, gradients, chunks, and what the random numbers reach."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan import cameras
from jax3dgan.errors import UserError
from jax3dgan.rendering import compositing, hierarchical, rays, sampling
from jax3dgan.rendering.hierarchical import Draws, RenderOptions

RESOLUTION, NUM_RAYS = 8, 64
OPTIONS = RenderOptions(
  RESOLUTION, 0.5, 1.5, num_coarse=6, num_fine=5, last_interval='far', ray_chunk=16
)
COLOUR = np.float32([0.2, 0.5, 0.9])


@functools.cache
def make_rays(dtype=np.float32):
  """Rays [2, r] of two cameras."""
  camera = cameras.orbit(np.array([0.0, 1.0]), 0.3, radius=1.0, fov_degrees=50.0)
  return jax.tree.map(lambda x: np.asarray(x, dtype), rays.camera_rays(camera, RESOLUTION))


def waves(params):
  """A smooth field that depends on point, direction and parameters [b, 5]."""

  def field(points, directions):
    a = params[:, None, None]
    raw = 3 * jnp.sin(4 * jnp.sum(points * a[..., :3], -1)) + a[..., 3]
    tint = jnp.sum(directions * a[:, :, 0, :3], -1)[..., None] + a[..., 4]
    return raw, jax.nn.sigmoid(points + tint[..., None])

  return field


PARAMS = np.float32([[1.0, -2.0, 0.5, 0.3, 0.1], [0.4, 1.5, -1.0, 0.5, -0.6]])


def sphere(radius, density):
  def field(points, directions):
    raw = jnp.where(jnp.linalg.norm(points, axis=-1) < radius, density, 0.0)
    return raw, jnp.broadcast_to(jnp.asarray(COLOUR, points.dtype), points.shape)

  return field


def entry_and_chord(every, radius):
  """Where rays enter a sphere at the origin, and how long they stay; NaN for a miss."""
  along = -np.sum(every.origins * every.directions, -1)
  squared = radius**2 - (np.sum(every.origins**2, -1) - along**2)
  half = np.sqrt(np.where(squared > 0, squared, np.nan))
  return along - half, 2 * half


def render_sphere(radius, density, every, num_coarse, num_fine, **fields):
  options = RenderOptions(
    RESOLUTION,
    0.5,
    1.5,
    num_coarse,
    num_fine,
    **({'density': 'relu', 'last_interval': 'far'} | fields),
  )
  render = x64.jit(lambda r: hierarchical.render_rays(sphere(radius, density), r, options))
  return render(every)


def test_depth_of_an_opaque_sphere():
  every = make_rays()
  entry, chord = entry_and_chord(every, 0.3)
  out = render_sphere(0.3, 1e6, every, 32, 32)
  hit = np.isfinite(entry)
  assert 10 < hit.sum() < hit.size - 10
  spacing = 1 / 31
  deep = hit & (np.nan_to_num(chord) > 2 * spacing)
  np.testing.assert_allclose(out.opacity[deep], 1, atol=1e-6)
  np.testing.assert_allclose(out.opacity[~hit], 0, atol=1e-6)
  np.testing.assert_allclose(out.colour[deep], np.broadcast_to(COLOUR, (deep.sum(), 3)), atol=1e-6)
  # The first sample inside is at most a coarse interval behind the surface. The fine ones,
  # spread over about two intervals there, come a good deal nearer.
  error = out.depth[deep] - entry[deep]
  assert error.min() > -1e-5 and error.max() < spacing
  coarse_error = render_sphere(0.3, 1e6, every, 32, 0).depth[deep] - entry[deep]
  assert error.mean() < 0.3 * coarse_error.mean()


def test_opacity_of_a_misty_sphere():
  every = make_rays()
  _, chord = entry_and_chord(every, 0.3)
  out = render_sphere(0.3, 2.0, every, 128, 0, white_back=True)
  expected = -np.expm1(-2 * np.nan_to_num(chord))
  # The chord is known to a sample at each end.
  np.testing.assert_allclose(out.opacity, expected, atol=2 * 2 / 127)
  assert np.abs(out.opacity - expected).mean() < 4e-3
  white = expected[..., None] * COLOUR + (1 - expected)[..., None]
  np.testing.assert_allclose(out.colour, white, atol=2 * 2 / 127)


@pytest.mark.parametrize('num_fine', [0, 5])
def test_a_ray_through_mist_passes_or_does_not(num_fine):
  """'far' ends half a stratum behind the last depth; 'infinite' lets nothing pass."""
  every = make_rays()
  spacing = 1 / 5
  options = dict(num_coarse=6, num_fine=num_fine)
  passing = render_sphere(9.0, 0.7, every, **options)
  np.testing.assert_allclose(passing.opacity, -np.expm1(-0.7 * (1 + spacing / 2)), atol=1e-6)
  stopped = render_sphere(9.0, 0.7, every, **options, last_interval='infinite')
  np.testing.assert_allclose(stopped.opacity, 1, atol=1e-6)
  last = render_sphere(0.0, 0.0, every, **options, last_back=True)
  np.testing.assert_allclose(last.colour, np.broadcast_to(COLOUR, (2, NUM_RAYS, 3)), atol=1e-6)
  np.testing.assert_allclose(last.depth, 1.5, atol=1e-6)
  assert last.opacity.max() == 0


def make_draws(dtype=np.float32):
  rng = np.random.default_rng(0)
  s, k = OPTIONS.num_coarse, OPTIONS.num_fine
  uniforms = [rng.uniform(size=(2, NUM_RAYS, n)).astype(dtype) for n in (s, k)]
  normals = [rng.normal(size=(2, NUM_RAYS, n)).astype(dtype) for n in (s, s + k)]
  return Draws(uniforms[0], normals[0], uniforms[1], normals[1])


NOISE_STD = 0.5


def loss(params, draws, every):
  out = hierarchical.render_rays(waves(params), every, OPTIONS, draws, NOISE_STD)
  return jnp.sum(jnp.sin(3 * out.colour)) + jnp.sum(out.depth**2)


def test_no_gradient_goes_through_the_fine_depths():
  """The gradient is that of the integral at fine depths that are given as numbers."""

  def given_depths(params, fine, draws, every):
    field = waves(params)
    coarse = sampling.stratified_depths(0.5, 1.5, 6, draws.jitter)
    depths = jnp.sort(jnp.concatenate([fine, coarse], -1))
    raw, colour = field(hierarchical.points_at(every, depths), every.directions)
    out = compositing.composite(
      jax.nn.softplus(raw + NOISE_STD * draws.final_noise),
      colour,
      depths,
      last_interval=1.6 - depths[..., -1],
    )
    return jnp.sum(jnp.sin(3 * out.colour)) + jnp.sum(out.depth**2)

  @x64.jit
  def both(params, draws, every):
    coarse = sampling.stratified_depths(0.5, 1.5, 6, draws.jitter)
    raw, _ = waves(params)(hierarchical.points_at(every, coarse), every.directions)
    density = jax.nn.softplus(raw + NOISE_STD * draws.coarse_noise)
    deltas = compositing.intervals(coarse, 1.6 - coarse[..., -1])
    weights = compositing.ray_weights(density, deltas)
    fine = sampling.importance_depths(coarse, weights, draws.pdf)
    actual = jax.value_and_grad(loss, argnums=(0, 1))(params, draws, every)
    return actual, jax.value_and_grad(given_depths)(params, fine, draws, every)

  (value, (gradient, of_draws)), (expected, expected_gradient) = both(
    np.float64(PARAMS), make_draws(np.float64), make_rays(np.float64)
  )
  np.testing.assert_allclose(value, expected, rtol=1e-12)
  np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-10)
  # These numbers do nothing but place the fine samples.
  assert not of_draws.coarse_noise.any() and not of_draws.pdf.any()
  assert np.abs(of_draws.final_noise).min() > 0


@functools.cache
def renderer(ray_chunk):
  """(composite, gradient) with chunks of rays; keys may be None."""
  options = dataclasses.replace(OPTIONS, ray_chunk=ray_chunk)

  @jax.jit
  def run(params, every, keys):
    def scalar(params):
      out = hierarchical.render_chunked(waves(params), every, options, keys, NOISE_STD)
      return jnp.sum(jnp.sin(3 * out.colour)) + jnp.sum(out.depth**2), out

    gradient, out = jax.grad(scalar, has_aux=True)(params)
    return out, gradient

  return lambda *args: jax.device_get(run(*args))


@pytest.mark.parametrize('ray_chunk', [16, 63])
def test_chunks_give_the_same_image_and_gradient(ray_chunk):
  every = make_rays()
  whole, expected = renderer(0)(PARAMS, every, None)
  out, gradient = renderer(ray_chunk)(PARAMS, every, None)
  assert whole.weights is None and out.weights is None
  for a, b in zip(out[:3], whole[:3], strict=True):
    assert a.shape == b.shape and a.shape[:2] == (2, NUM_RAYS)
    np.testing.assert_allclose(a, b, atol=2e-6)
  np.testing.assert_allclose(gradient, expected, atol=2e-6 * np.abs(expected).max())


def test_chunk_sizes_divide_the_rays():
  sizes = [hierarchical.divisor(64, chunk) for chunk in (0, 1, 7, 16, 63, 64, 100)]
  assert sizes == [64, 1, 4, 16, 32, 64, 64]
  assert hierarchical.divisor(49, 48) == 7


@pytest.mark.parametrize('ray_chunk', [0, 16])
def test_each_example_depends_on_its_own_key_alone(ray_chunk):
  every, keys = make_rays(), jax.random.split(jax.random.key(0), 2)
  out, _ = renderer(ray_chunk)(PARAMS, every, keys)
  other = jnp.stack([keys[0], jax.random.key(5)])
  changed, _ = renderer(ray_chunk)(PARAMS, every, other)
  np.testing.assert_array_equal(out.colour[0], changed.colour[0])
  assert np.abs(out.colour[1] - changed.colour[1]).max() > 1e-2
  # Neighbouring chunks, and the examples, draw different numbers.
  draws = jax.jit(hierarchical.draw, static_argnums=(1, 2))(keys, NUM_RAYS, OPTIONS)
  assert len(np.unique(draws.jitter)) > 0.999 * draws.jitter.size
  if ray_chunk:
    same = jnp.stack([keys[0], keys[0]])
    twin = jax.tree.map(lambda x: np.tile(x[:1, :16], (2, 4, 1)), every)
    out, _ = renderer(ray_chunk)(np.tile(PARAMS[:1], (2, 1)), twin, same)
    np.testing.assert_array_equal(out.colour[0], out.colour[1])
    assert np.abs(out.colour[0, :16] - out.colour[0, 16:32]).max() > 1e-2


def test_draws():
  keys = jax.random.split(jax.random.key(1), 2)
  draw = jax.jit(hierarchical.draw, static_argnums=(1, 2, 3))
  draws = jax.device_get(draw(keys, 512, OPTIONS))
  assert draws.fine_noise is None
  assert [d.shape for d in draws[:4]] == [(2, 512, n) for n in (6, 6, 5, 11)]
  for uniforms in (draws.jitter, draws.pdf):
    assert uniforms.min() >= 0 and uniforms.max() < 1
    np.testing.assert_allclose(uniforms.mean(), 0.5, atol=4 / (12 * uniforms.size) ** 0.5)
  for normals in (draws.coarse_noise, draws.final_noise):
    np.testing.assert_allclose(normals.mean(), 0, atol=4 / normals.size**0.5)
    np.testing.assert_allclose(normals.std(), 1, atol=4 / (2 * normals.size) ** 0.5)
  quiet = draw(keys, 512, OPTIONS, False)
  assert quiet.coarse_noise is None and quiet.final_noise is None
  np.testing.assert_array_equal(quiet.jitter, draws.jitter)
  one_pass = draw(keys, 512, dataclasses.replace(OPTIONS, num_fine=0))
  assert one_pass.pdf is None and one_pass.coarse_noise is None
  assert one_pass.final_noise.shape == (2, 512, 6)


def test_locked_view_direction():
  """The colour of this field is the direction; both passes are asked."""
  every = make_rays()

  def field(points, directions):
    seen = jnp.broadcast_to(directions[..., None, :], points.shape)
    return jnp.full(points.shape[:-1], 1e3), seen

  @x64.jit
  def render(every):
    locked = dataclasses.replace(OPTIONS, lock_view_direction=True)
    return [hierarchical.render_rays(field, every, o).colour for o in (locked, OPTIONS)]

  locked, free = render(every)
  np.testing.assert_allclose(locked, np.broadcast_to([0, 0, -1], (2, NUM_RAYS, 3)), atol=1e-6)
  np.testing.assert_allclose(free, every.directions, atol=1e-6)


def test_limits_along_the_axis_are_planes():
  """Every ray is sampled between the same two planes across its camera's axis."""
  camera = cameras.orbit(np.array([0.0, 1.0]), 0.3, radius=1.0, fov_degrees=50.0)
  every = rays.camera_rays(camera, RESOLUTION)
  options = dataclasses.replace(OPTIONS, limits_along='axis', strata='cells')
  limits = hierarchical.ray_limits(every, options)
  forward = camera.cam2world[:, None, :3, 2]
  for distance, plane in ((limits.near, options.near), (limits.far, options.far)):
    points = distance * every.directions  # from the camera
    np.testing.assert_allclose(jnp.sum(points * forward, -1), plane, rtol=1e-6)


def test_limits_along_the_axis_need_an_axis():
  options = dataclasses.replace(OPTIONS, limits_along='axis')
  with pytest.raises(UserError, match='rays_through'):
    hierarchical.ray_limits(make_rays().replace(axis_cosine=None), options)
  with pytest.raises(UserError, match='box'):
    RenderOptions(limits_along='axis', box=1.0)


def test_one_offset_for_all_samples_of_a_ray():
  keys = jax.random.split(jax.random.key(0), 2)
  options = dataclasses.replace(OPTIONS, jitter='ray')
  draws = hierarchical.draw(keys, NUM_RAYS, options, noise=False)
  assert draws.jitter.shape == (2, NUM_RAYS, 1)

  every = make_rays()

  @jax.jit
  def render(jitter):
    return hierarchical.render_rays(waves(PARAMS), every, options, Draws(jitter=jitter))

  same = np.broadcast_to(draws.jitter, (2, NUM_RAYS, options.num_coarse))
  np.testing.assert_allclose(render(draws.jitter).colour, render(same).colour, rtol=1e-5)
