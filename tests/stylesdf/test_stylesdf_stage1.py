"""StyleSDF's first stage against official arrays: field, rendering, losses and their gradients."""

import functools

import golden_stylesdf as golden
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras, recipes
from jax3dgan import config as config_lib
from jax3dgan.fields import signed_distance
from jax3dgan.losses import adversarial, regularizers
from jax3dgan.recipes import Inputs, Networks, Now
from jax3dgan.rendering import compositing, hierarchical, rays, sampling
from jax3dgan.training import schedule

FILE = golden.STAGE1
RENDERER, END_TO_END, EXACT = 3e-4, 1e-3, 1e-5


@functools.cache
def arrays():
  return goldens.load(FILE)


def compare(key, actual, relative):
  """In the official layout, up to trailing axes of one."""
  goldens.compare(FILE, key, np.reshape(actual, arrays()[key].shape), relative=relative)


def image(x):
  """[b, h·w, ...] → [b, h, w, ...]."""
  return np.reshape(x, (x.shape[0], golden.SIZE, golden.SIZE, *x.shape[2:]))


@pytest.fixture(scope='module')
def stages():
  """Every step from z to pixels, each of the result of the one before."""
  generator, variables = golden.stage1()
  options, draws, camera = golden.OPTIONS, golden.draws(FILE), golden.camera(FILE)

  @jax.jit
  def run(variables, z, draws, camera):
    w = generator.apply(variables, z, method='map')
    lines = rays.camera_rays(camera, golden.SIZE)
    limits = hierarchical.ray_limits(lines, options)
    depths = sampling.stratified_depths(
      limits.near, limits.far, golden.SAMPLES, draws.jitter, options.strata
    )
    points = hierarchical.points_at(lines, depths)
    field = generator.apply(variables, w, method='radiance_field')
    sigma, colour = field(points, lines.directions)
    distance, gradient = field.distance_and_gradient(points.reshape(2, -1, 3))
    deltas = compositing.intervals(depths, compositing.INFINITE_INTERVAL)
    rendering = generator.apply(variables, w, camera, draws, options, method='synthesize')
    return dict(
      w=w,
      length=1 / lines.axis_cosine,
      depths=depths,
      points=points,
      directions=lines.directions,
      sigma=sigma,
      colour=colour,
      distance=distance.reshape(depths.shape),
      gradient=gradient.reshape(points.shape),
      deltas=deltas,
      alpha=compositing.ray_weights(sigma[..., None], deltas[..., None])[..., 0],
      weights=compositing.ray_weights(sigma, deltas),
      thumb=rendering.image,
    )

  return jax.device_get(run(variables, arrays()['z'], draws, camera))


def test_rays_and_samples(stages):
  s = stages
  compare('w', s['w'], EXACT)
  compare('rays_d', image(s['directions'] * s['length']), EXACT)
  compare('viewdirs', image(s['directions']), EXACT)
  # Official depths are along the camera's axis.
  compare('z_vals', image(s['depths'] / s['length']), EXACT)
  compare('pts', image(s['points']), EXACT)
  compare('norm_pts', image(s['points'] * golden.stage1()[0].input_scale), EXACT)
  # The last one is infinite here, and infinite times the length of a direction there.
  finite = np.arange(golden.SAMPLES) < golden.SAMPLES - 1
  last = np.where(finite, s['deltas'], s['deltas'] * s['length'])
  goldens.compare(FILE, 'dists', image(last), relative=EXACT)
  goldens.compare(FILE, 'dists', image(last), atol=1e-6, where=finite)


def test_field_and_composite(stages):
  s = stages
  colour = np.log(s['colour'] / (1 - s['colour']))
  raw = np.concatenate([colour, s['distance'][..., None]], axis=-1)
  compare('raw', image(raw), RENDERER)
  for key, ours in (
    ('sdf', 'distance'), ('sigma', 'sigma'), ('eikonal', 'gradient'), ('alpha', 'alpha'),
    ('weights', 'weights'),
  ):  # fmt: skip
    compare(key, image(s[ours]), RENDERER)
  goldens.compare(FILE, 'thumb', np.moveaxis(s['thumb'], -1, 1), relative=RENDERER)
  eikonal, surface = signed_distance.eikonal(s['gradient']), s['distance']
  compare('eikonal_loss', eikonal.mean(), RENDERER)
  compare('min_surf_loss', signed_distance.minimal_surface(surface).mean(), RENDERER)


def config():
  """The recipe's with the golden networks."""
  config = config_lib.base_config('stylesdf_stage1')
  config.model.update(**golden.FIELDS)
  config.discriminator.channels = (6, 8, 10, 12)
  config.resolution, config.batch_size = golden.SIZE, 2
  config.render.num_coarse = golden.SAMPLES
  return config


@pytest.fixture(scope='module')
def losses():
  """(gradients, (loss, terms)) of the recipe's phases, by name."""
  generator, variables = golden.stage1()
  discriminator, own = golden.stage1_discriminator()
  azimuth, elevation = arrays()['viewpoint'].T
  inputs = Inputs(
    z=arrays()['z'],
    camera=golden.camera(FILE),
    keys=golden.draws(FILE),
    images=golden.nhwc(arrays()['real']),
    extras={'yaw': np.pi / 2 - azimuth, 'pitch': np.pi / 2 - elevation},
  )
  networks = Networks({'generator': variables['params'], 'discriminator': own['params']}, {})
  stage = schedule.stages(config())[0]
  phases = recipes.create('stylesdf_stage1').phases(config(), generator, discriminator, stage)

  @jax.jit
  def run(networks, inputs):
    now = Now(0, 0)
    found = {
      phase.name: phase.gradients(networks.params[phase.network], networks, inputs, now)
      for phase in phases
    }
    fakes = generator.apply(
      networks.variables('generator'),
      generator.apply(networks.variables('generator'), inputs.z, method='map'),
      inputs.camera,
      inputs.keys,
      stage.options,
      method='synthesize',
    ).image
    judge = lambda x: discriminator.apply(networks.variables('discriminator'), x)  # noqa: E731
    return found, judge(fakes), judge(inputs.images)

  return jax.device_get(run(networks, inputs))


def test_the_generators_loss_and_all_its_gradients(losses):
  (gradients, (total, terms)), fake = losses[0]['generator'], losses[1]
  compare('d_fake', fake.logits, END_TO_END)
  compare('d_fake_view', fake.heads['pose'], END_TO_END)
  compare('g_gan_loss', terms.metrics['generator/adversarial'], END_TO_END)
  compare('view_loss', terms.metrics['generator/pose_error'], END_TO_END)
  compare('g_total_loss', total, END_TO_END)
  compare('eikonal_loss', terms.metrics['generator/eikonal'], END_TO_END)
  names = {k[2:]: v.shape for k, v in arrays().items() if k.startswith('g.')}
  official = golden.in_official_layout(golden.renderer, names, gradients)
  assert len(official) == sum(key.startswith('ggrad.') for key in arrays())
  for name, gradient in official.items():
    goldens.compare(FILE, f'ggrad.{name}', np.float32(gradient), relative=END_TO_END)


def test_the_discriminators_loss_and_gradients(losses):
  (gradients, (total, terms)), real = losses[0]['discriminator'], losses[2]
  compare('d_real', real.logits, END_TO_END)
  compare('d_gan_loss', terms.metrics['discriminator/adversarial'], END_TO_END)
  compare('d_r1_penalty', terms.metrics['discriminator/r1'], END_TO_END)
  compare('d_view_loss_w', 15 * terms.metrics['discriminator/pose_error'], END_TO_END)
  compare('d_total_loss', total, END_TO_END)
  for key, layer in (
    ('convs.0.conv.weight', gradients['from_rgb']),
    ('convs.1.conv1.conv.conv.weight', gradients['block_16']['conv_0']),
    ('final_conv.conv.weight', gradients['final']),
  ):
    goldens.compare(
      FILE, f'dgrad.{key}', np.transpose(layer['kernel'], (3, 2, 0, 1)), relative=END_TO_END
    )


def test_the_sphere():
  """Official points lie between the middles of the cells' beginnings."""
  a, (generator, variables) = arrays(), golden.stage1()
  z = np.linspace(0.88, 1.12, golden.SAMPLES, endpoint=False, dtype=np.float32)
  mids = 0.5 * (z[1:] + z[:-1])
  low, high = np.concatenate([z[:1], mids]), np.concatenate([mids, z[-1:]])
  depths = low + (high - low) * a['sphere_t_rand']
  origin = a['extrinsics'][:, None, None, None, :, 3]
  points = np.float32(origin + a['rays_d'][..., None, :] * depths[..., None])
  w = generator.apply(variables, a['z'], method='map')
  distance = jax.jit(lambda *args: generator.apply(*args, method='distance'))(
    variables, w, points.reshape(2, -1, 3)
  )
  compare('sphere_sdf', distance, RENDERER)
  target = signed_distance.sphere(points, 0.24 / 4)
  goldens.compare(FILE, 'sphere_target', np.asarray(target), relative=EXACT * 10)
  error = jnp.abs(distance.reshape(target.shape) - target).mean()
  compare('sphere_l1', error, RENDERER)


def test_losses_of_given_logits():
  a = arrays()
  compare('g_gan_loss', adversarial.generator_loss(a['d_fake']), EXACT)
  compare('view_loss', regularizers.smooth_l1(a['d_fake_view'], a['viewpoint']), EXACT)
  compare('d_gan_loss', adversarial.discriminator_loss(a['d_real'], a['d_fake']), EXACT)


def test_cameras():
  file = golden.CAMERA
  a = goldens.load(file)
  draws = {
    'gauss_': (0.3 * a['gauss_azim_randn'], 0.15 * a['gauss_elev_randn']),
    'unif_': (0.3 * (2 * a['unif_azim_rand'] - 1), 0.15 * (2 * a['unif_elev_rand'] - 1)),
    # Eight azimuths of each elevation.
    'sweep_': (
      np.tile(-0.3 + 0.6 / 7 * np.arange(8), 2)[:, None],
      np.repeat(0.15 * (2 * a['sweep_elev_rand'] - 1), 8, axis=0),
    ),
    '': (a['locations'][:, :1], a['locations'][:, 1:]),
  }
  for name, angles in draws.items():
    azimuth, elevation = (np.float32(angle[:, 0]) for angle in angles)
    camera = jax.device_get(cameras.orbit(azimuth, elevation, 1.0, 12.0))
    matrix = camera.cam2world[:, :3] @ np.diag(np.float32([1, -1, -1, 1]))
    goldens.compare(file, f'{name}extrinsics', matrix, atol=1e-6)
    viewpoint = np.stack([azimuth, elevation], axis=1)
    goldens.compare(file, f'{name}viewpoint', viewpoint, atol=1e-6)
    if f'{name}focal' in a:
      focal = camera.intrinsics[:, :1, :1] * (64 if name else int(a['resolution']))
      goldens.compare(file, f'{name}focal', focal, relative=EXACT)
  # The recipe's cameras and depths are those.
  own = config()
  assert own.pose_prior.yaw_std == 0.3 and own.pose_prior.pitch_std == 0.15
  for of in (file, FILE, golden.FULL):
    for key in ('near', 'far'):
      goldens.compare(of, key, np.full((2, 1, 1), own.render[key], np.float32), relative=1e-6)
    if of == file:
      continue
    # Where the other files' cameras are, on the unit sphere, says all of them.
    x, y, z = goldens.load(of)['extrinsics'][:, :, 3].T
    azimuth, elevation = np.arctan2(x, z), np.arcsin(y)
    camera = jax.device_get(cameras.orbit(azimuth, elevation, 1.0, own.render.fov_degrees))
    matrix = camera.cam2world[:, :3] @ np.diag(np.float32([1, -1, -1, 1]))
    goldens.compare(of, 'extrinsics', matrix, atol=1e-6)
    focal = camera.intrinsics[:, :1, :1] * golden.SIZE
    goldens.compare(of, 'focal', focal, relative=EXACT)
    if of == FILE:
      goldens.compare(of, 'viewpoint', np.stack([azimuth, elevation], 1), atol=1e-6)
