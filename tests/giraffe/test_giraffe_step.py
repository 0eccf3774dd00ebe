"""A step of GIRAFFE's training against the official one: generator, averages, discriminator."""

import dataclasses
import functools
import math

import golden_giraffe as golden
import goldens
import jax
import numpy as np
import pytest
from x64 import DTYPES

from jax3dgan import cameras, generators, recipes
from jax3dgan import config as config_lib
from jax3dgan.convert import giraffe_names
from jax3dgan.devices import parallel
from jax3dgan.discriminators import create as create_discriminator
from jax3dgan.recipes import Inputs, Networks, Now
from jax3dgan.recipes.giraffe import shortened
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib

FILE = 'giraffe/train_step'
# Relative, of images, of gradients of the generator and of the discriminator: float32's by the
# README, and of the official float64 what the rounding of its matrices to float32 leaves.
ALLOWED = {np.float64: (1e-5, 1e-4, 1e-5), np.float32: (4e-4, 2e-3, 1e-4)}


@functools.cache
def make_config():
  config = config_lib.base_config('giraffe')
  state = golden.weights(FILE, 'g/')
  fields = giraffe_names.model_fields(state)
  changes = {k: v for k, v in golden.MODEL.items() if k not in fields}
  config.model.update(fields | changes)
  judge = giraffe_names.discriminator_fields(golden.weights(FILE, 'd/'))
  config_lib.set_discriminator(config, **judge)
  config.resolution, config.batch_size = 32, 2
  options = dataclasses.asdict(dataclasses.replace(golden.OPTIONS, num_coarse=6))
  config.render.update({k: v for k, v in options.items() if k in config.render})
  return config


def camera_of(arrays, prefix, dtype):
  """By the release's axes: divided by the largest norms in the batch."""
  u, v, radius = (arrays[f'{prefix}draw_camera_{name}'].astype(dtype)
                  for name in ('u', 'v', 'radius'))  # fmt: skip
  u, v, radius = 0.1 * u, 0.35 + 0.15 * v, 2.6 + 0.3 * radius
  elevation = math.pi / 2 - np.arccos(1 - 2 * v)
  camera = cameras.orbit((2 * math.pi * u), elevation, radius[:, None])
  mesh = parallel.make_mesh(jax.devices()[:1])
  run = jax.shard_map(lambda camera: shortened(camera, 2), mesh=mesh, in_specs=jax.P(),
                      out_specs=jax.P(), check_vma=False)  # fmt: skip
  intrinsics = golden.camera(np.tile(np.eye(4), (2, 1, 1)), dtype).intrinsics
  return jax.jit(run)(camera).replace(intrinsics=intrinsics)


def inputs_of(arrays, prefix, dtype, images=None):
  """Inputs of a phase, of the official draws."""
  draws = {name.removeprefix(f'{prefix}draw_'): x for name, x in arrays.items()}
  z = golden.codes(draws, '', dtype)
  return Inputs(
    z=z,
    camera=camera_of(arrays, prefix, dtype),
    keys=golden.numbers(draws, '', dtype),
    images=images,
    extras={'object poses': golden.fractions(draws, '', dtype)},
  )


@functools.cache
def results(dtype):
  with jax.enable_x64(dtype == np.float64):
    arrays, config = goldens.load(FILE), make_config()
    networks = generators.create(config), create_discriminator(config.discriminator)
    stage = schedule.stages(config)[0]
    phases = recipes.create('giraffe').phases(config, *networks, stage)
    transforms = state_lib.optimizers(config, phases)
    names = [giraffe_names.generator_names(config.model),
             giraffe_names.discriminator_names(config.discriminator)]  # fmt: skip
    params = {
      network: giraffe_names.from_official(golden.weights(FILE, f'{network[0]}/'), of, dtype)
      for network, of in zip(('generator', 'discriminator'), names, strict=True)
    }
    real = np.moveaxis(2 * arrays['real'].astype(dtype) - 1, 1, -1)
    inputs = [inputs_of(arrays, 'g_step/', dtype), inputs_of(arrays, 'd_step/', dtype, real)]

    @jax.jit
    def run(params, inputs):
      out, params = {}, dict(params)
      for phase, own in zip(phases, inputs, strict=True):
        before = Networks(dict(params), {})
        mine = params[phase.network]
        gradients, (loss, terms) = phase.gradients(mine, before, own, Now(0, 0))
        transform, factor = transforms[phase.network]
        updates, _ = transform.update(gradients, transform.init(mine), mine)
        rate = factor * stage.learning_rates[phase.network]
        params[phase.network] = jax.tree.map(lambda p, u, r=rate: p - r * u, mine, updates)
        w = networks[0].apply(
          {'params': before.params['generator']}, own.z, method='map',
          fractions=own.extras['object poses'],
        )  # fmt: skip
        image = networks[0].apply(
          {'params': before.params['generator']}, w, own.camera, own.keys, stage.options, 1.0,
          method='synthesize',
        ).image  # fmt: skip
        judged = {'params': before.params['discriminator']}
        logits = networks[1].apply(judged, image).logits
        out[phase.name] = dict(
          gradients=gradients, loss=loss, terms=terms.metrics, after=params[phase.network],
          image=0.5 * (image + 1), logits=logits,
        )  # fmt: skip
        if own.images is not None:
          out['real logits'] = networks[1].apply(judged, own.images).logits
      # Far into training, where an average's decay is its rate.
      average = state_lib.ema_update(inputs_params, params['generator'], 0.999, 10**6)
      return out, average

    inputs_params = params['generator']
    out, average = jax.tree.map(np.asarray, run(params, inputs))
    return out, average, params


def official(tree, network):
  config = make_config()
  names = {'generator': giraffe_names.generator_names(config.model),
           'discriminator': giraffe_names.discriminator_names(config.discriminator)}  # fmt: skip
  return giraffe_names.to_official(tree, names[network])


def compare_after(prefix, after, gradients, rate, kept=1.0):
  """The first step of RMSprop is ±10 times the rate, whatever the size of a gradient, of which
  those near 0 may have another sign."""
  arrays = goldens.load(FILE)
  for name, value in after.items():
    gradient = np.abs(gradients[name])
    sure = gradient > 0.02 * gradient.max()
    assert sure.any()
    goldens.compare(FILE, f'{prefix}{name}', value, atol=1e-6 + 1e-4 * rate, where=sure)
    assert np.abs(value - arrays[f'{prefix}{name}']).max() < 21 * rate * kept


@pytest.mark.parametrize('dtype', DTYPES)
def test_a_step_of_the_generator(dtype):
  out, average, _ = results(dtype)
  own, allowed = out['generator'], ALLOWED[dtype]
  compare = functools.partial(goldens.compare, FILE)
  compare('g_step/image', golden.nchw(own['image']), relative=allowed[0])
  compare('g_step/logit', own['logits'], relative=allowed[0])
  compare('g_step/loss', own['loss'], relative=allowed[0])
  gradients = official(own['gradients'], 'generator')
  for name, gradient in gradients.items():
    compare(f'g_step/grad/{name}', gradient, relative=allowed[1])
  compare_after('g_step/param_after/', official(own['after'], 'generator'), gradients, 5e-4)
  compare_after('g_step/ema_after/', official(average, 'generator'), gradients, 5e-4, 1e-3)


@pytest.mark.parametrize('dtype', DTYPES)
def test_a_step_of_the_discriminator(dtype):
  out, _, _ = results(dtype)
  own, allowed = out['discriminator'], ALLOWED[dtype]
  compare = functools.partial(goldens.compare, FILE)
  # The generator has just been changed: where a sign differs, so do images, a little.
  compare('d_step/image', golden.nchw(own['image']), relative=3 * allowed[0] + 1e-3)
  compare('d_step/logit_fake', own['logits'], relative=allowed[0])
  compare('d_step/logit_real', out['real logits'], relative=allowed[2])
  compare('d_step/loss_bce_sum', own['terms']['discriminator/adversarial'], relative=allowed[2])
  compare('d_step/reg', 10 * own['terms']['discriminator/r1'], relative=allowed[2])
  gradients = official(own['gradients'], 'discriminator')
  for name, gradient in gradients.items():
    compare(f'd_step/grad/{name}', gradient, relative=allowed[0])
  compare_after('d_step/param_after/', official(own['after'], 'discriminator'), gradients, 1e-4)
