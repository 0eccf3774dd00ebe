"""Each stage of π-GAN's generator, fed with the official stage before it.

So no stage inherits the errors of those before, which the steep field makes large, and float32 is
compared as sharply as float64. The official stages are of float32.
"""

import functools

import goldens
import jax.numpy as jnp
import numpy as np
import pytest
import x64
from pigan_names import HIDDEN, RESOLUTION, from_official, from_styles, to_styles

from jax3dgan import cameras
from jax3dgan.fields import siren
from jax3dgan.generators.pigan import PiGAN
from jax3dgan.rendering import compositing, hierarchical, merging, rays, sampling

NEAR, FAR, NUM_COARSE, NOISE_STD = 0.88, 1.12, 6, 0.5
# OpenGL's camera looks along -z with y up, OpenCV's along +z with y down.
AXES = np.diag([1.0, -1.0, -1.0, 1.0])
GENERATOR = PiGAN(z_dim=16, hidden_dim=HIDDEN)


def rgb_sigma(params, styles, points, directions):
  field = GENERATOR.apply({'params': params}, styles, method=lambda g, w: g.field.fold(w))
  raw, colour = field(points, directions)
  return jnp.concatenate([colour, raw[..., None]], -1)


def integrate(samples, depths, noise):
  density = compositing.activate_density(samples[..., 3], 'relu', NOISE_STD * noise)
  return compositing.composite(density, samples[..., :3], depths)


@x64.jit
def every_stage(params, styles, draws, stage, axes):
  """Official name → our array, each from the official arrays before it."""
  prior = cameras.pose_prior('gaussian')  # yaw ±.3, pitch ±.155
  yaw, pitch = cameras.angles_from_draws(prior, draws['yaw_n'][:, 0], draws['pitch_n'][:, 0])
  camera = cameras.from_yaw_pitch(stage['yaw'][:, 0], stage['pitch'][:, 0])
  at_origin = cameras.Camera(axes, cameras.intrinsics_from_fov(12.0).astype(axes.dtype))
  official = cameras.Camera(stage['cam2world'] @ axes, camera.intrinsics.astype(axes.dtype))
  world = rays.camera_rays(official, RESOLUTION, align_corners=True)
  every = rays.Rays(
    jnp.broadcast_to(stage['ray_origins_world'][:, None], stage['ray_dirs_world'].shape),
    stage['ray_dirs_world'],
  )
  density = compositing.activate_density(
    stage['coarse_rgb_sigma'][..., 3], 'relu', NOISE_STD * draws['noise_coarse_n'][..., 0]
  )
  deltas = compositing.intervals(stage['z_coarse'], compositing.INFINITE_INTERVAL)
  fine, coarse = stage['fine_rgb_sigma'], stage['coarse_rgb_sigma']
  places = jnp.arange(12).reshape(2, 6) + jnp.zeros((*fine.shape[:2], 1, 1), int)
  merged = merging.merge(stage['z_fine'], stage['z_coarse'])
  out = integrate(stage['rgb_sigma_all'], stage['z_all'], draws['noise_final_n'][..., 0])
  u = draws['pdf_u'].reshape(stage['z_fine'].shape)
  return {
    'freq_scaled': siren.scale_frequencies(stage['freq_raw']),
    'rays_d_cam': rays.camera_rays(at_origin, RESOLUTION, align_corners=True).directions,
    'z_linspace': sampling.stratified_depths(NEAR, FAR, NUM_COARSE).astype(axes.dtype),
    'yaw': yaw[:, None],
    'pitch': pitch[:, None],
    'pose_pitch_yaw': jnp.stack([pitch, yaw], -1),
    'cam2world': camera.cam2world @ axes,
    'ray_dirs_world': world.directions,
    'ray_origins_world': world.origins[:, 0],
    'z_coarse': sampling.stratified_depths(NEAR, FAR, NUM_COARSE, draws['jitter_u'][..., 0]),
    'points_coarse': hierarchical.points_at(every, stage['z_coarse']),
    'coarse_rgb_sigma': rgb_sigma(params, styles, stage['points_coarse'], every.directions),
    'coarse_weights': compositing.ray_weights(density, deltas),
    'z_fine': sampling.importance_depths(stage['z_coarse'], stage['coarse_weights'], u),
    'points_fine': hierarchical.points_at(every, stage['z_fine']),
    'fine_rgb_sigma': rgb_sigma(params, styles, stage['points_fine'], every.directions),
    'sort_index': merged.together(places[:, :, 0], places[:, :, 1]),
    'z_all': merged.depths,
    'rgb_sigma_all': merged.together(fine, coarse),
    'weights_all': out.weights,
    'rgb': out.colour,
    'depth': out.depth,
    'pixels': jnp.swapaxes(2 * stage['rgb'] - 1, 1, 2).reshape(-1, 3, RESOLUTION, RESOLUTION),
  }


@functools.cache
def golden_stages(dtype):
  whole = goldens.load('generator_small', whole=True)

  def part(prefix):
    chosen = {k.removeprefix(prefix): v for k, v in whole.items() if k.startswith(prefix)}
    return {k: v.astype(dtype) for k, v in chosen.items()}

  params = from_official(whole, dtype=dtype)
  styles = to_styles(whole['stage/freq_raw'], whole['stage/phase_raw'], dtype)
  result = every_stage(params, styles, part('draw_'), part('stage/'), AXES.astype(dtype))
  styles = x64.jit(lambda p, z: GENERATOR.apply({'params': p}, z, method='map'))(
    params, whole['z'].astype(dtype)
  )
  return result | dict(zip(('freq_raw', 'phase_raw'), from_styles(styles), strict=True))


# About three units in the last place of float32, or twice what the official float32 loses; 0 where
# numbers are only moved.
TOLERANCES = {
  'freq_raw': 1e-6,
  'phase_raw': 1e-6,
  'freq_scaled': 8e-6,  # of about 45
  'rays_d_cam': 4e-7,
  'z_linspace': 2e-7,
  'yaw': 3e-7,
  'pitch': 3e-7,
  'pose_pitch_yaw': 3e-7,
  'cam2world': 4e-7,
  'ray_dirs_world': 5e-7,
  'ray_origins_world': 0,
  'z_coarse': 4e-7,
  'points_coarse': 5e-7,
  # Sines of up to a hundred radians, nine deep: what the goldens' README allows.
  'coarse_rgb_sigma': 5e-4,
  'fine_rgb_sigma': 5e-4,
  'coarse_weights': 5e-7,
  'z_fine': 5e-7,
  'points_fine': 3e-7,
  'sort_index': 0,
  'z_all': 0,
  'rgb_sigma_all': 0,
  'weights_all': 5e-7,
  'rgb': 6e-7,
  'depth': 1e-6,
  'pixels': 1e-7,
}


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
@pytest.mark.parametrize('name', TOLERANCES)
def test_stages_match_official(name, dtype):
  actual = golden_stages(dtype)[name]
  assert actual.dtype in (dtype, np.int32, np.int64)  # sort_index is whole numbers
  goldens.compare('generator_small', f'stage/{name}', actual, atol=TOLERANCES[name], dtype=dtype)
