"""StyleNeRF's generator, stage by stage: official arrays in the release's axes."""

import functools

import golden_stylenerf as golden
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.generators import stylenerf_rendering
from jax3dgan.nn import stylenerf_upsampler
from jax3dgan.nn.feature_upsampling import interleave
from jax3dgan.rendering import background, compositing, hierarchical, merging, rays, sampling

FILE = 'stylenerf_eval'
compare = functools.partial(goldens.compare, FILE)


def of_rays(x) -> np.ndarray:
  """[b, r, s, ...] as [b, r·s, ...]."""
  x = np.asarray(x)
  return x.reshape(x.shape[0], -1, *x.shape[3:])


@functools.cache
def stages():
  """What the library's functions give on the way to the image, by name."""
  generator, variables = golden.model()
  camera = golden.evaluated_camera()
  options = golden.OPTIONS

  @jax.jit
  def run(variables, w, camera):
    scene = generator.apply(variables, w, method='prepare')
    layers = generator.apply(variables, scene, method='layers')
    own = rays.camera_rays(camera, 8)
    out = {'rays': own, 'layers': layers}
    limits = hierarchical.ray_limits(own, options)
    field = layers.foreground

    def at(name, depths):
      out[f'{name}_points'] = hierarchical.points_at(own, depths)
      raw, hidden = field(out[f'{name}_points'], None)
      features = field.head(hidden.reshape(2, -1, hidden.shape[-1]))
      out[f'{name}_features'] = jnp.concatenate(features, axis=-1)
      out[f'{name}_raw'] = raw
      return raw

    depths = sampling.stratified_depths(*limits[:2], 5, strata='between')
    density = compositing.activate_density(at('coarse', depths), 'relu')
    weights = compositing.ray_weights(density, compositing.intervals(depths, 0.0))
    fine = sampling.importance_depths(depths, weights, sampling.edge_uniforms(5), floor=0.0)
    fine_raw = at('fine', fine)
    merged = merging.merge(fine, depths)
    out['coarse_depths'], out['coarse_weights'], out['depths'] = depths, weights, merged.depths
    out['density'] = jax.nn.relu(merged.together(fine_raw, out['coarse_raw']))
    out['foreground'] = hierarchical.render_rays(field, own, options, return_samples=True)
    share = out['foreground'].opacity
    near = jnp.concatenate(field.head(out['foreground'].colour, share), axis=-1)

    points = background.points_outside(
      own.origins[:, :, None], own.directions[:, :, None], jnp.linspace(0.5, 0.0, 4)
    )
    behind = layers.background
    raw, hidden = behind(points)
    out['background_points'], out['background_raw'] = points, raw
    features = behind.head(hidden.reshape(2, -1, hidden.shape[-1]))
    out['background_features'] = jnp.concatenate(features, axis=-1)
    out['background'] = background.render_rays(behind, own, 4)
    far = jnp.concatenate(behind.head(out['background'].colour), axis=-1)
    far = (1 - share)[..., None] * far
    out['near'], out['far'] = near, far

    features = (near + far).reshape(2, 8, 8, -1)
    x, rgb = features[..., 3:], features[..., :3]
    powers = variables['buffers']['powers']
    out['low'] = (x, rgb)
    for i, block in enumerate(layers.blocks):
      name = f'b{16 << i}'
      first, _ = stylenerf_upsampler.run_layer(block, block.conv0, x, powers[i, 0], double=True)
      x, _ = stylenerf_upsampler.run_block(block, x, powers[i])
      torgb, x = interleave(block.colours(x)), interleave(x)
      rgb, _ = stylenerf_upsampler.upsample(layers.blocks[: i + 1], *out['low'], powers)
      out[name] = dict(conv0=interleave(first), conv1=x, torgb=torgb, rgb=rgb)
    return out

  arrays = goldens.load(FILE)
  z = np.concatenate([arrays['z'], arrays['z_shape_bg']], axis=1)
  return run(variables, generator.apply(variables, z, method='map'), camera)


def theirs(x) -> np.ndarray:
  """Positions or directions [..., 3 or 4] of ours in the release's axes."""
  return np.asarray(x)[..., [2, 0, 1, *range(3, x.shape[-1])]]


def test_cameras_and_rays():
  camera, own = golden.evaluated_camera(), stages()['rays']
  compare('cam_RT', golden.poses(camera), atol=2e-6)
  compare('cam_K', golden.inverse_intrinsics(camera), relative=1e-6)
  pixels = (2 * np.asarray(rays.pixel_grid(8)) - 1) * np.array([1, -1])
  compare('eval.vol_pixels', np.tile(pixels, (2, 1, 1)).astype(np.float32), atol=1e-6)
  compare('eval.ray_origin', theirs(own.origins), atol=2e-6)
  compare('eval.ray_vector', theirs(own.directions / own.axis_cosine), atol=2e-6)


def test_the_foreground():
  out = stages()
  cosine, size = out['rays'].axis_cosine, 2
  compare('eval.coarse_z', out['coarse_depths'] * cosine, relative=1e-5)
  compare('eval.all_z', out['depths'] * cosine, relative=1e-5)
  compare('eval.all_sigma', out['density'], relative=3e-4)
  compare('eval.coarse_weights', out['coarse_weights'], relative=1e-5)
  for name in ('coarse', 'fine'):
    compare(f'eval.{name}_pts', theirs(of_rays(out[f'{name}_points'])), atol=1e-5)
    compare(f'eval.{name}_feat', out[f'{name}_features'], relative=3e-4)
    raw = np.asarray(out[f'{name}_raw']).reshape(size, -1, 1)
    compare(f'eval.{name}_sigma_raw', raw, relative=3e-4)
  near = out['foreground']
  compare('eval.fg_weights', near.weights, relative=3e-4)
  compare('eval.bg_lambda', 1 - near.opacity, relative=3e-4)
  compare('eval.fg_map', out['near'], relative=3e-4)
  surface = out['rays'].origins + near.depth[..., None] * out['rays'].directions
  compare('eval.early_surface_xyz', golden.nchw(theirs(surface).reshape(2, 8, 8, 3)), atol=1e-5)


def test_the_background():
  out = stages()
  depths = -np.asarray(out['background_points'])[..., 3]
  compare('eval.bg_z', depths, atol=1e-6)
  compare('eval.bg_pts4', theirs(of_rays(out['background_points'])), atol=2e-6)
  compare('eval.bg_feat', out['background_features'], relative=3e-4)
  compare('eval.bg_sigma_raw', np.reshape(out['background_raw'], (2, -1, 1)), relative=3e-4)
  compare('eval.bg_weights', out['background'].weights, relative=3e-4)
  compare('eval.bg_map', out['far'], relative=3e-4)


def test_the_up_sampler():
  out = stages()
  features, rgb = out['low']
  compare('eval.lowres_feat', golden.nchw(features), relative=3e-4)
  compare('eval.lowres_img', golden.nchw(rgb), relative=3e-4)
  for size in (16, 32, 64):
    block = out[f'b{size}']
    for name in ('conv0', 'conv1', 'torgb'):
      compare(f'eval.b{size}.{name}', golden.nchw(block[name]), relative=3e-4)
    compare(f'eval.b{size}.0', golden.nchw(block['conv1']), relative=3e-4)
    compare(f'eval.b{size}.1', golden.nchw(block['rgb']), relative=3e-4)


def mosaic(x) -> np.ndarray:
  """Samples [b, 16, 14, c] as the release lays them out: 2x7 images of 4²."""
  x = np.asarray(x).reshape(2, 4, 4, 2, 7, -1)  # [b, h, w, l, m, c]
  return x.transpose(0, 5, 3, 1, 4, 2).reshape(2, -1, 8, 28)


@pytest.mark.parametrize('name, resolution', [('a1', 64), ('a06', 32)])
def test_stages_of_training(name, resolution):
  file = f'stylenerf_train_{name}'
  check = functools.partial(goldens.compare, file)
  arrays, (generator, variables) = goldens.load(file), golden.model()
  camera, options = golden.trained_camera(file), golden.OPTIONS
  check('cam_RT', golden.poses(camera), atol=2e-6)
  check('cam_K', golden.inverse_intrinsics(camera), relative=1e-6)
  numbers, (_, uv) = golden.draws(file), golden.path(file, resolution)
  low, away = rays.camera_rays(camera, 8), rays.rays_through(camera, uv)
  together = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), low, away)  # [2, 80, 3]
  count = generator.resolutions.index(resolution)

  @jax.jit
  def run(variables, w, rays_of, numbers, powers):
    scene = generator.apply(variables, w, method='prepare')
    layers = generator.apply(variables, scene, method='layers')
    near, far = numbers
    limits = hierarchical.ray_limits(rays_of, options)
    depths = sampling.stratified_depths(*limits[:2], 5, near.jitter, 'between')
    raw, _ = layers.foreground(hierarchical.points_at(rays_of, depths))
    density = compositing.activate_density(raw, 'relu', near.coarse_noise)
    out = {'coarse': (depths, density)}
    weights = compositing.ray_weights(density, compositing.intervals(depths, 0.0))
    out['coarse weights'] = weights
    fine = sampling.importance_depths(depths, weights, near.pdf, floor=0.0)
    fine_raw, _ = layers.foreground(hierarchical.points_at(rays_of, fine))
    merged = merging.merge(fine, depths)
    fine_density = jax.nn.relu(fine_raw + near.fine_noise)
    out['all'] = (merged.depths, merged.together(fine_density, density))
    inverse = sampling.stratified_depths(-0.5, 0.0, 4, far.jitter, 'between')
    points = background.points_outside(
      rays_of.origins[:, :, None], rays_of.directions[:, :, None], -inverse
    )
    behind = layers.background
    out['bg'] = (inverse, jax.nn.relu(behind(points)[0] + far.noise))
    out['bg weights'] = background.render_rays(behind, rays_of, 4, far, 1.0).weights
    samples = stylenerf_rendering.render_samples(layers, rays_of, numbers, options, 4, 1.0)
    out['samples'] = samples
    pixels = stylenerf_rendering.render(layers, rays_of, numbers, options, 4, 1.0)
    x, rgb = (part[:, :64].reshape(2, 8, 8, -1) for part in (pixels.features, pixels.rgb))
    out['low'] = (x, rgb)
    path_x, path_rgb = (part[:, 64:] for part in (samples.features, samples.rgb))
    first, path_first = rgb, path_rgb
    start, path_start = x, path_x
    for i, block in enumerate(layers.blocks[:count]):
      # Both passes measure, the image's first.
      x, squares = stylenerf_upsampler.run_block(
        block, x, powers[i], measure=True, compat_first=True
      )
      x = interleave(x)
      after = stylenerf_upsampler.moving_power(powers[i], squares)
      path_x, _ = stylenerf_upsampler.run_block(
        block, path_x, after, double=False, measure=True, compat_first=True
      )
      done = layers.blocks[: i + 1]
      run_both = dict(measure=True, compat_first=True)
      rgb, squares = stylenerf_upsampler.upsample(done, start, first, powers, **run_both)
      moved = stylenerf_upsampler.moved_powers(powers, squares)
      path_rgb, _ = stylenerf_upsampler.upsample(
        done, path_start, path_first, moved, double=False, **run_both
      )
      out[f'b{16 << i}'] = (x, rgb, path_x, path_rgb)
    return out

  z = np.concatenate([arrays['z'], arrays['draw08.randn']], axis=1)
  w = generator.apply(variables, z, method='map')
  out = run(variables, w, together, numbers, variables['buffers']['powers'])
  cosine = together.axis_cosine
  for part in ('coarse', 'all'):
    depths, density = out[part]
    check(f'{part}_z', depths * cosine, relative=1e-5)
    check(f'{part}_sigma', density, relative=3e-4)
  check('bg_z', out['bg'][0], relative=1e-5)
  check('bg_sigma', out['bg'][1], relative=3e-4)
  samples = out['samples']
  near, far = samples.weights[..., :10], out['bg weights']
  check('coarse_weights', out['coarse weights'], relative=3e-4)
  check('all_weights', near, relative=3e-4)
  check('bg_weights', far, relative=3e-4)
  check('coarse_T', 1 - out['coarse weights'].sum(-1), relative=3e-4)
  check('all_T', 1 - near.sum(-1), relative=3e-4)
  check('bg_T', far[..., -1], relative=3e-4)  # what reaches the last sample
  check('lowres_feat', golden.nchw(out['low'][0]), relative=3e-4)
  check('rand_feat', mosaic(samples.features[:, 64:]), relative=3e-4)
  check('rand_img', mosaic(samples.rgb[:, 64:]), relative=3e-4)
  probs = np.asarray(samples.weights[:, 64:]).transpose(0, 2, 1).reshape(2, 14, 4, 4)
  check('rand_probs', probs, relative=3e-4)
  for size in (16, 32, 64)[:count]:
    x, rgb, path_x, path_rgb = out[f'b{size}']
    check(f'b{size}.0', golden.nchw(x), relative=3e-4)
    check(f'b{size}.1', golden.nchw(rgb), relative=3e-4)
    check(f'b{size}#1.0', mosaic(path_x), relative=3e-4)
    check(f'b{size}#1.1', mosaic(path_rgb), relative=3e-4)
