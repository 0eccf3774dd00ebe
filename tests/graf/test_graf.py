"""GRAF's generator: official stages, images and gradients, in float64."""

import dataclasses
import functools

import golden_graf as golden
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import x64
from layouts import nchw

from jax3dgan import cameras
from jax3dgan.convert import graf_names
from jax3dgan.nn import positional_encoding
from jax3dgan.rendering import hierarchical, patches, sampling
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.hierarchical import Draws

FILE, VARIANTS = 'graf/generator', 'graf/generator_variants'
compare = functools.partial(goldens.compare, FILE, relative=1e-9)
SIZE, K = 20, 6


def inputs():
  arrays = goldens.load(FILE)
  camera = golden.camera(arrays['stage/pose'], SIZE)
  u, bits = arrays['draw/patch_u'].astype(np.float64), arrays['draw/patch_sign_bit']
  scale = 0.25 + 0.75 * u[:, 0]
  draws = Draws(
    jitter=arrays['draw/t_rand'].reshape(2, 36, 8).astype(np.float64),
    final_noise=arrays['draw/noise_n'].reshape(2, 36, 8).astype(np.float64),
  )
  return arrays['z'].astype(np.float64), camera, (scale, golden.offsets(u, bits)), draws


@functools.cache
def stages():
  generator, variables = golden.model()
  z, _, _, draws = inputs()

  @x64.jit
  def run(variables, z, rays, draws):
    w = generator.apply(variables, z, method='map')
    field = generator.apply(variables, w, method='radiance_field')
    limits = hierarchical.ray_limits(rays, golden.OPTIONS)
    depths = sampling.stratified_depths(limits.near, limits.far, 8, draws.jitter, 'between')
    points = hierarchical.points_at(rays, depths)
    raw, colour = field(points, rays.directions)
    out = hierarchical.render_rays(field, rays, golden.OPTIONS, draws, 1.0)
    first = field.replace(codes=jax.tree.map(lambda x: x[:1], field.codes))
    hidden = [
      first.replace(kernels=field.kernels[: i + 1], biases=field.biases[: i + 1]).trunk(
        points[:1, :10].reshape(1, 80, 3)
      )
      for i in range(8)
    ]
    return depths, points, raw, colour, out, hidden, field

  return run(variables, z, official_rays(), draws)


def official_rays():
  arrays = goldens.load(FILE)
  return golden.rays(*(arrays[f'stage/rays_{x}'].reshape(2, K * K, 3) for x in 'od'))


def test_cameras_of_the_sphere():
  arrays = goldens.load(FILE)
  yaw, pitch = golden.angles(*(arrays['draw/pose_uv'] * [1, 0.45642212862617093]).T)
  pose = golden.pose_of(cameras.from_yaw_pitch(np.float32(yaw), np.float32(pitch), 10.0))
  compare('stage/pose', pose, relative=1e-6)


def test_patches_and_rays():
  _, camera, (scale, offset), _ = inputs()

  @x64.jit
  def run(camera, scale, offset):
    places = patches.place(scale, offset, K, SIZE)
    rays = rays_lib.camera_rays(patches.cameras_of(camera, places), K)
    return places, rays, hierarchical.ray_limits(rays, golden.OPTIONS)

  places, rays, limits = run(camera, scale, offset)
  step = places.side / K
  ticks = np.arange(K)
  x, y = (
    2 * ((first[:, None] + (ticks + 0.5) * step[:, None]) * SIZE - 0.5) / (SIZE - 1) - 1
    for first in (places.left, places.top)
  )
  grid = np.stack(
    [np.broadcast_to(x[:, None], (2, K, K)), np.broadcast_to(y[..., None], (2, K, K))], -1
  )
  compare('stage/patch_grid', grid)
  compare('stage/rays_o', golden.rows(rays.origins)[:, golden.BACK])
  directions = rays.directions / rays.axis_cosine
  compare('stage/rays_d', golden.rows(directions)[:, golden.BACK])
  # Poses are rounded to float32, and then no rotations.
  compare('stage/viewdirs', golden.rows(rays.directions)[:, golden.BACK], relative=1e-7)
  ends = [limits.near * rays.axis_cosine, limits.far * rays.axis_cosine]
  compare('stage/near_far', golden.rows(np.concatenate(ends, -1)), relative=1e-6)


def test_stages_of_the_rendering():
  depths, points, raw, colour, out, _, _ = stages()
  cosine = golden.rows(official_rays().axis_cosine)
  z_vals = golden.rows(depths) * cosine
  compare('stage/z_vals', z_vals)
  compare('stage/pts', golden.rows(points)[..., golden.BACK])
  raw = np.concatenate([np.log(colour / (1 - colour)), raw[..., None]], -1)
  compare('stage/raw', golden.rows(raw))
  compare('stage/weights', golden.rows(out.weights))
  compare('stage/rgb_map', golden.rows(out.colour))
  compare('stage/acc_map', golden.rows(out.opacity))
  depth = golden.rows(out.depth) * cosine[:, 0]
  compare('stage/depth_map', depth)
  disp = 1 / np.maximum(1e-10, depth / (golden.rows(out.opacity) + 1e-10))
  compare('stage/disp_map', disp)
  compare('stage/output', golden.rows(2 * out.colour - 1))


def test_stages_of_the_network():
  *_, hidden, field = stages()
  arrays = goldens.load(FILE)
  points, directions = arrays['stage/pts'][:10], arrays['stage/viewdirs'][:10]
  z = np.broadcast_to(arrays['z'][:1].astype(np.float64), (80, 14))
  with jax.enable_x64(True):
    encoded = positional_encoding.encode(points.reshape(80, 3), 10)
    view = positional_encoding.encode(jnp.repeat(jnp.asarray(directions), 8, axis=0), 4)
    parts = [encoded, z[:, :8], view, z[:, 8:]]
    compare('stage/net_input_first', np.concatenate([np.asarray(x) for x in parts], axis=1))
    for i, x in enumerate(hidden):
      compare(f'stage/h{i}_first', x[0].T)
    feature = field.feature[0][0] @ hidden[7][0] + field.feature[1][0]
    compare('stage/feature_first', np.asarray(feature.T))
    first = field.replace(codes=jax.tree.map(lambda x: x[:1], field.codes))
    view = first._view(jnp.asarray(directions[None][..., golden.AXES]), 24)  # [1, c, 10]
    hidden = field.colour[0][0, :, :24] @ feature + np.repeat(view[0], 8, axis=1)
    compare('stage/view_hidden_first', np.maximum(hidden, 0).T)


@functools.cache
def patch_images(noise_std=1.0, **changes):
  """Images of patches through the generator, and gradients of mean(output²)."""
  generator, variables = golden.model()
  options = dataclasses.replace(golden.OPTIONS, **changes)

  @x64.jit
  def run(params, z, rays, draws):
    def image(params, z):
      w = generator.apply({'params': params}, z, method='map')
      out = generator.apply(
        {'params': params}, w, rays, draws, options, noise_std, method='render_rays'
      )
      image = 2 * out.colour - 1
      return jnp.mean(image**2), image

    (_, made), gradients = jax.value_and_grad(image, (0, 1), has_aux=True)(params, z)
    return made.reshape(-1, 3), gradients

  z, _, _, draws = inputs()
  return run(variables['params'], z, official_rays(), draws)


def test_images_and_gradients_of_patches():
  images, (params, z) = patch_images()
  compare('stage/output', images)
  fields = graf_names.model_fields(golden.weights(FILE, 'p/'))
  for name, gradient in graf_names.generator_state(params, fields).items():
    compare(f'grad/{name}', gradient)
  compare('grad_z', z)
  compare('variant/black_output', patch_images(white_back=False)[0])
  compare('variant/noise03_output', patch_images(0.3)[0])


@functools.cache
def renderer(options, fov=30.0, file=FILE, prefix='p/'):
  generator, variables = golden.model(file, prefix)

  @x64.jit
  def run(variables, z, pose):
    w = generator.apply(variables, z, method='map')
    camera = cameras.Camera(*pose)
    out = generator.apply(variables, w, camera, None, options, method='synthesize')
    rays = rays_lib.camera_rays(camera, SIZE)
    return out, rays, hierarchical.ray_limits(rays, options)

  def render(z, pose):
    camera = golden.camera(pose, SIZE, fov)
    return run(variables, z.astype(np.float64), (camera.cam2world, camera.intrinsics))

  return render


EVAL = dataclasses.replace(golden.OPTIONS, resolution=SIZE, ray_chunk=100)


def maps(out, rays):
  """(disparity, opacity) as the release has them, [b, 1, h, w]."""
  depth = out.depth * rays.axis_cosine.reshape(out.depth.shape)
  disp = 1 / np.maximum(1e-10, depth / (out.opacity + 1e-10))
  return (2 * disp - 1)[:, None], (2 * out.opacity - 1)[:, None]


def test_whole_images():
  arrays = goldens.load(FILE)
  for z, suffix in (('z', ''), ('eval/z_swapped_app', '_swapped_app')):
    out, rays, _ = renderer(EVAL)(arrays[z], arrays['stage/pose'])
    disp, acc = maps(out, rays)
    # Poses are rounded to float32, and then no rotations.
    compare(f'eval/image{suffix}', nchw(out.image), relative=2e-7)
    compare(f'eval/acc{suffix}', acc, relative=2e-7)
    if not suffix:
      compare('eval/disp', disp, relative=2e-7)
      compare('eval/rays_o', np.asarray(rays.origins)[..., golden.BACK])
      directions = rays.directions / rays.axis_cosine
      compare('eval/rays_d', np.asarray(directions)[..., golden.BACK])


compare_variant = functools.partial(goldens.compare, VARIANTS, relative=1e-9)


def test_without_view_directions():
  arrays = goldens.load(VARIANTS)
  out, *_ = renderer(EVAL, file=VARIANTS, prefix='noview/p/')(arrays['z'], arrays['pose'])
  compare_variant('noview/image', nchw(out.image), relative=2e-7)


def test_cameras_at_any_distance():
  arrays = goldens.load(VARIANTS)
  low, high = arrays['radius/range_u_v_r'].T
  u, v, r = (low + (high - low) * arrays['radius/draw_u_v_r']).T
  yaw, pitch = golden.angles(u, v)
  ours = cameras.from_yaw_pitch(np.float32(yaw), np.float32(pitch), np.float32(r)[:, None])
  compare_variant('radius/pose', golden.pose_of(ours), relative=1e-6)
  options = dataclasses.replace(EVAL, limits_radius=10.5)
  out, rays, limits = renderer(options)(arrays['z'], arrays['radius/pose'][:2])
  compare_variant('radius/image', nchw(out.image), relative=1e-6)  # poses are rounded to float32
  ends = np.concatenate([x * rays.axis_cosine for x in limits[:2]], -1)[:, 0]
  compare_variant('radius/near_far', ends, relative=1e-6)


def test_parallel_rays():
  """Rays are the renderer's input: an orthographic camera is other rays."""
  arrays = goldens.load(VARIANTS)
  generator, variables = golden.model()
  pose = arrays['pose'].astype(np.float64)
  height, width = arrays['ortho/size_hw']
  j, i = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing='ij')
  on_plane = np.stack(
    [(i - SIZE / 2) * width / SIZE, -(j - SIZE / 2) * height / SIZE, 0 * i], -1
  ).reshape(-1, 3)
  origins = pose[:, None, :, 3] + on_plane @ np.swapaxes(pose[:, :, :3], 1, 2)
  directions = np.broadcast_to(-pose[:, None, :, 2], origins.shape)
  compare_variant('ortho/rays_o', origins)
  compare_variant('ortho/rays_d', directions)
  rays = rays_lib.Rays(
    origins[..., golden.AXES], directions[..., golden.AXES], np.ones((2, SIZE**2, 1))
  )

  @x64.jit
  def run(variables, z, rays):
    w = generator.apply(variables, z, method='map')
    return generator.apply(variables, w, rays, None, EVAL, method='render_rays').colour

  image = run(variables, arrays['z'].astype(np.float64), rays).reshape(2, SIZE, SIZE, 3)
  # Directions are of unit length but for the rounding of the poses to float32.
  compare_variant('ortho/image', nchw(2 * image - 1), relative=2e-6)


def test_a_second_network_at_finer_depths():
  generator, variables = golden.model()
  _, fine = golden.model(VARIANTS, 'fine/p/')
  arrays = goldens.load(VARIANTS)
  z, *_ = inputs()
  options = dataclasses.replace(golden.OPTIONS, num_fine=5, importance='nerf')
  names = ('t_rand', 'noise_coarse_n', 'pdf_u', 'noise_fine_n')
  numbers = [arrays[f'fine/draw_{name}'].astype(np.float64).reshape(2, 36, -1) for name in names]

  @x64.jit
  def run(variables, fine, z, rays, numbers):
    w = generator.apply(variables, z, method='map')
    fields = [generator.apply(x, w, method='radiance_field') for x in (variables, fine)]
    out = hierarchical.render_rays(
      fields[0], rays, options, Draws(*numbers), 1.0, None, fields[1], return_coarse=True
    )
    limits = hierarchical.ray_limits(rays, options)
    depths = sampling.stratified_depths(limits.near, limits.far, 8, numbers[0], 'between')
    samples = sampling.importance_depths(depths, out.coarse.weights, numbers[2], floor=0.0)
    return out, depths * rays.axis_cosine, samples * rays.axis_cosine

  out, coarse, samples = run(variables, fine, z, official_rays(), numbers)
  compare_variant('fine/coarse_weights', golden.rows(out.coarse.weights))
  compare_variant('fine/rgb_map_coarse', golden.rows(out.coarse.colour))
  compare_variant('fine/z_samples', golden.rows(samples))
  together = np.sort(np.concatenate([coarse, samples], -1), -1)
  compare_variant('fine/z_vals_sorted', golden.rows(together))
  compare_variant('fine/weights', golden.rows(out.weights), relative=1e-8)
  compare_variant('fine/output', golden.rows(2 * out.colour - 1), relative=1e-8)


def test_codes_of_shape_and_appearance():
  """Density depends on the shape's row alone, and a batch's examples on their own codes."""
  generator, variables = golden.model()
  z = np.random.default_rng(0).normal(size=(3, 14))
  points = np.random.default_rng(1).normal(size=(3, 4, 3))

  @x64.jit
  def query(z):
    w = generator.apply(variables, z, method='map')
    return generator.apply(variables, w, points, method='query')

  density, colour = query(z)
  mixed = np.concatenate([z[:, :8], z[::-1, 8:]], axis=1)
  same, other = query(mixed)
  np.testing.assert_allclose(same, density, rtol=1e-12)
  assert np.abs(other[0] - colour[0]).max() > 1e-3
  again = query(np.concatenate([z[:1], z[:1], z[2:]]))[1]
  np.testing.assert_allclose(again[[0, 2]], colour[[0, 2]], rtol=1e-12)
  assert np.abs(again[1] - colour[1]).max() > 1e-3
