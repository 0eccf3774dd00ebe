"""A step of GRAF's discriminator and one of its generator, as the recipe makes them, in float64."""

import dataclasses
import functools

import golden_graf as golden
import goldens
import jax
import numpy as np
import x64

from jax3dgan import config as config_lib
from jax3dgan import discriminators, generators, recipes
from jax3dgan.convert import graf_names
from jax3dgan.recipes import Inputs, Networks, Now, base, graf
from jax3dgan.rendering import patches
from jax3dgan.rendering.hierarchical import Draws
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib

FILE = 'graf/train_step'
STEP, SIZE, K = 30_000, 40, 32
compare = functools.partial(goldens.compare, FILE, relative=1e-7)


def double(state):
  return {name: x.astype(np.float64) for name, x in state.items()}


def inputs(kind, photos=None) -> Inputs:
  """The random numbers of a step."""
  arrays = double(goldens.load(FILE))
  u, bits = arrays[f'{kind}_step/draw_patch_u'], arrays[f'{kind}_step/draw_patch_sign_bit']
  u_pose = arrays[f'{kind}_step/draw_pose_uv'] * [1, 0.45642212862617093]
  yaw, pitch = golden.angles(*u_pose.T)
  # The pose in double precision, rounded: as the release has it.
  sin, cos = np.sin(pitch), np.cos(pitch)
  theta = np.pi / 2 - yaw
  z = np.stack([sin * np.cos(theta), sin * np.sin(theta), cos], -1)
  x = np.cross([0, 0, 1.0], z)
  x /= np.linalg.norm(x, axis=-1, keepdims=True)
  pose = np.stack([x, np.cross(z, x), z, 10 * z], -1).astype(np.float32)
  extras = {'fake': (u[:, 0], golden.offsets(u, bits))}
  if photos is not None:
    extras['real'] = (np.ones(2), np.zeros((2, 2)))  # the whole photo
    extras['wanted'] = arrays['real_patch_flat'].reshape(2, K, K, 3)
  return Inputs(
    z=arrays[f'z_{kind}'],
    camera=golden.camera(pose, SIZE),
    keys=Draws(
      jitter=arrays[f'{kind}_step/draw_t_rand'].reshape(2, K * K, 4),
      final_noise=arrays[f'{kind}_step/draw_noise_n'].reshape(2, K * K, 4),
    ),
    images=photos,
    extras=extras,
  )


def photos():
  """Photos [2, 40, 40, 3] whose whole patches are the golden ones."""
  wanted = double(goldens.load(FILE))['real_patch_flat'].reshape(2, K, K, 3)
  with jax.enable_x64(True):
    places = patches.place(np.ones(1), np.zeros((1, 2)), K, SIZE)
    # Of photos that are 1 in row i: column i of the weights of rows; columns have the same.
    stripes = np.broadcast_to(np.eye(SIZE)[:, :, None, None], (SIZE, SIZE, SIZE, 1))
    places = jax.tree.map(lambda x: np.repeat(x, SIZE), places)
    rows = np.asarray(patches.photos_of(stripes, places, K))[:, :, 0, 0].T
  inverse = np.linalg.pinv(rows)
  return np.einsum('ap,bpqc,dq->badc', inverse, wanted, inverse)


@functools.cache
def setup():
  config = config_lib.base_config('graf')
  g, d = (double(golden.weights(FILE, f'{name}/')) for name in 'gd')
  config_lib.set_model(config, 'graf', **graf_names.model_fields(g))
  fields, variables = graf_names.discriminator_params(d)
  config_lib.set_discriminator(config, **fields)
  config.resolution, config.batch_size = SIZE, 2
  config.render.update(num_coarse=4, near=7.5, far=12.5, white_back=True, fov_degrees=30.0)
  params = graf_names.generator_params(g, config.model)
  networks = Networks(
    {'generator': params, 'discriminator': variables['params']},
    {'discriminator': variables['buffers']},
  )
  return config, networks, fields


def compare_images(kind, fakes, logits):
  """A part of the file has no fakes."""
  if f'{kind}_step/fake_flat' in goldens.load(FILE):
    compare(f'{kind}_step/fake_flat', fakes.reshape(-1, 3))
  for name, x in logits.items():
    compare(f'{kind}_step/logit_{name}', x, relative=1e-6)


@functools.cache
def after():
  config, networks, _ = setup()
  modules = generators.create(config), discriminators.create(config.discriminator)
  now = Now(np.asarray(STEP), np.asarray(8 * STEP))
  (stage,) = schedule.stages(config, 1)
  transforms = state_lib.optimizers(config, state_lib.phases_of(config, *modules))
  found = {}
  # The golden D step has a noise of 1, the G step one of .5.
  for kind, network, std in (('d', 'discriminator', 2.0), ('g', 'generator', 1.0)):
    with config.unlocked():
      config.loss.update(density_noise=std, density_noise_steps=2 * STEP)
    phases = recipes.create('graf').phases(config, *modules, stage)
    phase = {phase.network: phase for phase in phases}[network]
    rate = stage.learning_rates[network]

    def fakes_and_logits(networks, inputs, kind, std):
      """What the losses are of."""
      least = patches.least_scale(now.images, 0.25, 1.0, 0.0075, 8000)
      uniform, offset = inputs.extras['fake']
      places = patches.place(least + (1 - least) * uniform, offset, K, SIZE)
      camera = patches.cameras_of(inputs.camera, places)
      options = dataclasses.replace(stage.options, resolution=K)
      variables = networks.variables('generator')
      w = modules[0].apply(variables, inputs.z, method='map')
      args = (w, camera, inputs.keys, options, std)
      fakes = modules[0].apply(variables, *args, method='synthesize').image
      logits = {}
      if kind == 'd':
        networks = base.advanced(modules[1], networks)
        wanted = inputs.extras['wanted']
        logits['real'] = modules[1].apply(networks.variables('discriminator'), wanted).logits
      networks = base.advanced(modules[1], networks)
      logits['fake'] = modules[1].apply(networks.variables('discriminator'), fakes).logits
      return fakes, logits

    def run(networks, inputs, network=network, phase=phase, rate=rate, kind=kind, std=std):
      params = networks.params[network]
      gradients, (value, terms) = phase.gradients(params, networks, inputs, now)
      transform, factor = transforms[network]
      updates, _ = transform.update(gradients, transform.init(params), params)
      params = jax.tree.map(lambda x, u: x - rate * factor * u, params, updates)
      return gradients, value, terms, params, *fakes_and_logits(networks, inputs, kind, std / 2)

    own = inputs(kind, photos() if kind == 'd' else None)
    found[kind] = gradients, value, terms, params, *images = x64.jit(run)(networks, own)
    compare_images(kind, *images)
    networks = networks._replace(
      params={**networks.params, network: params}, buffers={**networks.buffers, **terms.buffers}
    )
  return found


def test_the_discriminators_step():
  _, _, fields = setup()
  gradients, value, terms, params, *_ = after()['d']
  compare('d_step/loss_bce', terms.metrics['discriminator/adversarial'])
  reg = 0.5 * graf.Loss().r1 * terms.metrics['discriminator/r1']
  compare('d_step/reg', reg)
  np.testing.assert_allclose(value, terms.metrics['discriminator/adversarial'] + reg)
  own = terms.buffers['discriminator']
  for tree, kind in ((gradients, 'grad'), (params, 'param_after')):
    state = graf_names.discriminator_state({'params': tree, 'buffers': own}, fields)
    for name, x in state.items():
      if name.endswith('orig'):
        compare(f'd_step/{kind}/{name}', x)
      elif kind == 'grad':
        compare(f'd_step/buffer_after/{name}', x)


def test_the_generators_step():
  config, networks, _ = setup()
  gradients, value, _, params, *_ = after()['g']
  compare('g_step/loss', value)
  with jax.enable_x64(True):
    average = state_lib.ema_update(
      networks.params['generator'], params, 0.999, 1, config.ema.ramp_up
    )
  for tree, kind in ((gradients, 'grad'), (params, 'param_after'), (average, 'ema_after')):
    for name, x in graf_names.generator_state(tree, config.model).items():
      compare(f'g_step/{kind}/{name}', x)
