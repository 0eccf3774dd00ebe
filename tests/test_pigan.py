"""π-GAN's generator against the official code's arrays, stage by stage.

`generator_tiny` (committed) holds everything but the mapping network; the tests that need that or
more rays read the large files and are skipped without them.
"""

import functools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pigan_names
import pytest
import x64
from pigan_names import HIDDEN, NUM_RAYS, RESOLUTION, inputs, to_styles

from jax3dgan import cameras, rays
from jax3dgan.convert import pigan
from jax3dgan.generators.pigan import PiGAN
from jax3dgan.rendering import hierarchical
from jax3dgan.rendering.hierarchical import RenderOptions

DTYPES = (np.float64, np.float32)
NOISE_STD = 0.5
OPTIONS = dict(
  resolution=RESOLUTION,
  near=0.88,
  far=1.12,
  num_coarse=6,
  num_fine=6,
  density='relu',
  last_interval='infinite',
  align_corners=True,
)


def render(
  params, styles, angles, draws, noise_std=0.0, fov_degrees=12.0, input_scale=2 / 0.24, **fields
):
  """(Composite, directions, [(points, raw density, colour) of each pass])."""
  generator = PiGAN(z_dim=16, hidden_dim=HIDDEN, input_scale=input_scale)
  field = generator.apply({'params': params}, styles, method=lambda g, w: g.field.fold(w))
  if not noise_std:
    draws = draws._replace(coarse_noise=None, final_noise=None)
  passes = []

  def recorded(points, directions):
    raw, colour = field(points, directions)
    passes.append((points, raw, colour))
    return raw, colour

  camera = cameras.from_yaw_pitch(*angles, fov_degrees=fov_degrees)
  camera = jax.tree.map(lambda x: x.astype(styles.dtype), camera)
  options = RenderOptions(**(OPTIONS | fields))
  every = rays.camera_rays(camera, options.resolution, options.align_corners)
  return hierarchical.render_rays(recorded, every, options, draws, noise_std), every, passes


def to_image(colour):
  """Official layout and range, [b, c, h, w] in [-1, 1], of colours [b, r, c]."""
  return jnp.moveaxis(2 * colour - 1, -1, 1).reshape(-1, 3, RESOLUTION, RESOLUTION)


@x64.jit
def stages(*args):
  """The official stages by their names, samples of each pass in the order of their depths."""
  out, every, ((coarse, raw, colour), (fine, *_)) = render(*args, noise_std=NOISE_STD)
  along = jnp.sum((fine - every.origins[:, :, None]) * every.directions[:, :, None], -1)
  return {
    'ray_dirs_world': every.directions,
    'points_coarse': coarse,
    'coarse_rgb_sigma': jnp.concatenate([colour, raw[..., None]], -1),
    'z_fine': along,
    'weights_all': out.weights,
    'depth': out.depth,
    'pixels': to_image(out.colour),
  }


@functools.cache
def golden_stages(dtype):
  return stages(*inputs(dtype))


# What the official code itself loses in float32, from the goldens' README, times two and a half for
# another order of rounding. A fine sample that moves meets a steep field: hence weights and images.
FLOAT32 = {
  'points_coarse': 1e-6,
  'coarse_rgb_sigma': 1.5e-3,
  'z_fine': 2e-4,
  'weights_all': 5e-3,
  'depth': 1.2e-3,
  'pixels': 2.5e-3,
}


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', FLOAT32)
def test_stages_match_official(name, dtype):
  expected = goldens.load('generator_tiny')[f'f64/{name}']
  actual = golden_stages(dtype)[name]
  assert actual.dtype == dtype
  if actual.shape != expected.shape:
    actual = pigan_names.some_rays(actual)
  error = np.abs(actual - expected).max()
  assert error < (1e-9 if dtype == np.float64 else FLOAT32[name])


VARIANTS = {
  'nerf_noise_0': {},
  'last_back': dict(last_back=True),
  'white_back': dict(white_back=True),
  'last_back_and_white_back': dict(last_back=True, white_back=True),
  'softplus': dict(density='softplus'),
  'lock_view_dependence': dict(lock_view_direction=True),
  'no_hierarchical': dict(num_fine=0),
  'tallsiren_no_boxwarp': dict(input_scale=1.0),
  'fov30_carla_rays': dict(fov_degrees=30.0, near=0.7, far=1.3, white_back=True),
}


@x64.jit
def variants(*args):
  return {name: to_image(render(*args, **fields)[0].colour) for name, fields in VARIANTS.items()}


@functools.cache
def golden_variants(dtype):
  return variants(*inputs(dtype))


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('name', VARIANTS)
def test_variants_match_official(name, dtype):
  """The official images are of float32, so neither type can be nearer than that.

  Where the box is 2.5 times as large, the field's phases are too, and so is each rounding.
  """
  expected = goldens.load('generator_tiny')[f'variant/{name}']
  error = np.abs(golden_variants(dtype)[name] - expected)
  assert error.max() < (8e-3 if name == 'fov30_carla_rays' else 1.5e-3)
  assert error.mean() < (1.5e-4 if name == 'fov30_carla_rays' else 4e-5)


@x64.jit
def gradients(*args):
  """Of the mean squared pixel, with respect to parameters and styles."""

  def loss(params, styles, *rest):
    out, *_ = render(params, styles, *rest, noise_std=NOISE_STD)
    return jnp.mean(to_image(out.colour) ** 2)

  return jax.grad(loss, argnums=(0, 1))(*args)


@functools.cache
def golden_gradients(dtype):
  return gradients(*inputs(dtype))


def relative(actual, expected):
  return np.abs(actual - expected).max() / np.abs(expected).max()


# Relative to the largest entry; the official float32 gradient is itself 1.5e-3 from float64.
GRADIENT = 2.5e-3


@pytest.mark.parametrize('dtype', DTYPES)
def test_gradients_match_official(dtype):
  arrays = goldens.load('generator_tiny')
  gradient = pigan.to_official(golden_gradients(dtype)[0])
  assert len(gradient) == 22
  errors = {key: relative(value, arrays[f'grad/{key}']) for key, value in gradient.items()}
  assert max(errors.values()) < GRADIENT, errors


# With the large files: the mapping network, all rays, sharper inputs.


@functools.cache
def mapped(dtype):
  """(styles, truncated styles, gradient of parameters, of z) through the mapping network."""
  arrays = goldens.load('generator_small')
  generator = PiGAN(z_dim=16, hidden_dim=HIDDEN)
  average = to_styles(arrays['avg_frequencies'], arrays['avg_phase_shifts'], dtype)[0]

  def styles(params, z):
    return generator.apply({'params': params}, z, method='map')

  @x64.jit
  def run(params, z, cotangent):
    w, vjp = jax.vjp(styles, params, z)
    truncated = generator.apply({'params': params}, z, None, 0.7, average, method='map')
    return w, truncated, *vjp(cotangent)

  params = pigan_names.from_official(arrays, dtype=dtype)
  return run(params, arrays['z'].astype(dtype), golden_gradients(dtype)[1])


@pytest.mark.parametrize('dtype', DTYPES)
def test_mapping_matches_official(dtype):
  expected = inputs(np.float64)[1]
  error = np.abs(mapped(dtype)[0] - expected).max()
  assert error < (1e-12 if dtype == np.float64 else 2e-6)


@pytest.mark.parametrize('dtype', DTYPES)
def test_gradients_of_the_mapping_match_official(dtype):
  extra = goldens.load('generator_small_extra')
  _, _, of_params, of_z = mapped(dtype)
  errors = {'z': relative(of_z, extra['grad_z'])}
  for key, value in pigan.to_official({'mapping': of_params['mapping']}).items():
    if f'grad/{key}' in extra:
      errors[key] = relative(value, extra[f'grad/{key}'])
    else:
      errors[key] = relative(np.linalg.norm(value), extra[f'gradnorm/{key}'])
  assert len(errors) == 9 and max(errors.values()) < GRADIENT, errors


@pytest.mark.parametrize('dtype', DTYPES)
def test_truncated_images_match_official(dtype):
  """`staged_forward`: raw frequencies and phases 0.7 of the way from the average."""
  extra = goldens.load('generator_small_extra')
  params, _, *rest = inputs(dtype)

  @x64.jit
  def run(*args):
    out, *_ = render(*args, last_back=True)
    return to_image(out.colour), out.depth, 2 * out.opacity - 1

  image, depth, opacity = run(params, mapped(dtype)[1], *rest)
  opacity = np.broadcast_to(opacity[:, None], (2, 3, NUM_RAYS)).reshape(image.shape)
  for name, actual in (
    ('last_back_pixels', image),
    ('last_back_depth', depth.reshape(2, RESOLUTION, RESOLUTION)),
    ('fill_weight_pixels', opacity),
  ):
    error = np.abs(actual - extra[f'staged/psi0.7_{name}']).max()
    assert error < 1e-3


@pytest.mark.parametrize('dtype', DTYPES)
def test_stages_match_official_given_the_stage_before(dtype):
  """All rays of the float32 run, each stage from the official one before: sharp in float32 too."""
  whole = goldens.load('generator_small')
  params, _, angles, _ = inputs(dtype)
  stage = {k.removeprefix('stage/'): v for k, v in whole.items() if k.startswith('stage/')}
  generator = PiGAN(z_dim=16, hidden_dim=HIDDEN)

  @x64.jit
  def run(params, styles, directions, fine_points, depths, samples, noise):
    field = generator.apply({'params': params}, styles, method=lambda g, w: g.field.fold(w))
    raw, colour = field(fine_points, directions)
    density = hierarchical.compositing.activate_density(samples[..., 3], 'relu', noise)
    out = hierarchical.compositing.composite(density, samples[..., :3], depths)
    return jnp.concatenate([colour, raw[..., None]], -1), out

  fine, out = run(
    params,
    to_styles(stage['freq_raw'], stage['phase_raw'], dtype),
    *(stage[k].astype(dtype) for k in ('ray_dirs_world', 'points_fine', 'z_all', 'rgb_sigma_all')),
    (NOISE_STD * whole['draw_noise_final_n'][..., 0]).astype(dtype),
  )
  merged = np.concatenate([stage['z_fine'], stage['z_coarse']], -1)
  order = np.argsort(merged, -1, kind='stable')
  np.testing.assert_array_equal(np.take_along_axis(merged, order, -1), stage['z_all'])
  for name, actual, expected, tolerance in (
    ('fine_rgb_sigma', fine, stage['fine_rgb_sigma'], 1.5e-3),
    ('weights_all', out.weights, stage['weights_all'], 1e-6),
    ('rgb', out.colour, stage['rgb'], 2e-6),
    ('depth', out.depth, stage['depth'], 2e-6),
    ('directions', golden_stages(dtype)['ray_dirs_world'], stage['ray_dirs_world'], 1e-6),
    ('yaw', angles[0], stage['yaw'][:, 0], 1e-6),
    ('pitch', angles[1], stage['pitch'][:, 0], 1e-6),
    ('points', golden_stages(dtype)['points_coarse'], stage['points_coarse'], 1e-6),
    ('pixels', golden_stages(dtype)['pixels'], stage['pixels'], 2e-3),
  ):
    error = np.abs(actual - expected).max()
    assert error < tolerance, name


def test_the_tiny_arrays_are_a_part_of_the_large_ones():
  tiny = goldens.load('generator_tiny')
  expected = pigan_names.tiny(
    goldens.load('generator_small'), goldens.load('generator_small_extra')
  )
  assert tiny.keys() == expected.keys()
  for name, value in expected.items():
    np.testing.assert_array_equal(tiny[name], value)
    assert tiny[name].dtype == value.dtype
