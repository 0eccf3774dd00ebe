"""Exp-GAN's losses and their gradients beside golden arrays: whole steps of both networks, early
with R1, and late with the best three of four fakes."""

import types

import golden_expgan
import golden_morphable
import goldens
import jax
import numpy as np
import pytest
import x64
from golden_expgan import channels_last, typed

from jax3dgan import config as config_lib
from jax3dgan.devices import parallel
from jax3dgan.morphable import photo_cameras
from jax3dgan.recipes import Inputs, Networks, Now, expgan_losses

LOSSES, GRADIENTS = 'expgan/losses', 'expgan/loss_grads'
HEADS = (('pose', 'pose'), ('expression', 'exp'), ('identity', 'shape'))


def losses():
  config = config_lib.base_config('expgan')
  config.loss.pose_bound = 1.0
  fields = {
    name: getattr(golden_expgan.generator(), name)
    for name in golden_expgan.ExpGAN.__dataclass_fields__
    if name not in ('parent', 'name')
  }
  generator = golden_expgan.Orthographic(**fields)
  stage = types.SimpleNamespace(
    batch_size=4, split=types.SimpleNamespace(padding=0), options=golden_expgan.OPTIONS
  )
  return expgan_losses.make_losses(config, generator, golden_expgan.DISCRIMINATOR, stage)


def inputs(case: str, which: str) -> Inputs:
  """Of a step 'GA', 'DB', ...; `which` codes are guessed, 'fake' or 'real'."""
  arrays = goldens.load(LOSSES)

  def codes(whose):
    own = golden_morphable.codes(whose)
    return own.shape, np.concatenate([own.expression, own.pose[:, 3:]], axis=1)

  fake = codes('fake')
  identity, expression = codes(which)
  owner = {'fake': 'fake', 'real': 'photo'}[which]
  extras = dict(zip(('identity', 'expression'), fake, strict=True))
  extras |= {
    f'{owner} pose': arrays[f'pose_{which}'],
    f'{owner} expression': expression,
    f'{owner} identity': identity,
  }
  maps = golden_expgan.seen(arrays['in/uv'], arrays['in/depth'])
  return Inputs(
    z=arrays[f'{case}/draw0_normal'],
    camera={'c2w': arrays['in/c2w'], 'maps': maps},
    keys=golden_expgan.draws(arrays, f'{case}/'),
    images=channels_last(goldens.load('expgan/D_small')['real_image']),
    extras=extras,
  )


def networks_of(dtype) -> Networks:
  generator = golden_expgan.variables(dtype)
  params = {'discriminator': typed(golden_expgan.discriminator_weights(), dtype)}
  params['generator'] = generator['params']
  return Networks(params, {'generator': generator['buffers']})


def on_one_device(loss, network):
  """(gradients, metrics and buffers) of a loss, as in a step: the batch's axis has a name."""

  def run(networks, inputs, step):
    def own(params):
      return loss(params, networks, inputs, Now(step, 4 * step))

    (value, terms), gradients = jax.value_and_grad(own, has_aux=True)(networks.params[network])
    return value, terms, gradients

  return lambda *args: jax.tree.map(
    lambda x: x[0],
    jax.vmap(run, axis_name=parallel.AXIS, in_axes=(None, None, None), axis_size=1)(*args),
  )


def compare(key, actual, dtype, relative=5e-5):
  goldens.compare(LOSSES, key, np.asarray(actual), relative=relative, dtype=dtype)


def compare_gradients(case, net, gradients, dtype):
  """With the whole gradients of the early step, and the norms of the late one; returns the sum of
  their squares, of the release's parameters."""
  file, norms = goldens.load(GRADIENTS), goldens.load(LOSSES)
  found = golden_expgan.official_gradients(gradients, net)
  for name, gradient in found.items():
    key = f'grad/{net}/{name}'
    if case == 'A' and key in file:
      goldens.compare(GRADIENTS, key, gradient, relative=2e-4, dtype=dtype)
    of_norm = f'GB/gradnorm/{name}' if net == 'G' else f'DB/gradnorm/{net}/{name}'
    if case == 'B' and of_norm in norms:
      compare(of_norm, np.float64(np.linalg.norm(gradient)), dtype, 2e-4)
  return sum(np.square(gradient, dtype=np.float64).sum() for gradient in found.values())


@pytest.mark.parametrize('dtype', x64.DTYPES)
def test_poses_that_are_guessed(dtype):
  arrays = goldens.load(LOSSES)
  run = x64.jit(photo_cameras.guessed_pose)
  for which, cameras in (('real', arrays['c2w_real']), ('fake', arrays['in/c2w'])):
    compare(f'pose_{which}', run(cameras.astype(dtype)), dtype)


@pytest.mark.thorough
@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_the_generators(dtype):
  run = x64.jit(on_one_device(losses().generator, 'generator'))
  for case, step in (('A', 700), ('B', 60_000)):
    given = typed(inputs(f'G{case}', 'fake'), dtype)
    value, terms, gradients = run(networks_of(dtype), given, np.asarray(step, dtype))
    compare(f'G{case}/loss', value, dtype)
    own = {name.removeprefix('generator/'): x for name, x in terms.metrics.items()}
    compare(f'G{case}/adv', own['adversarial'] + own['low_adversarial'], dtype)
    compare(f'G{case}/aux', own['auxiliary'], dtype)
    compare(f'G{case}/alpha', own['face_alpha'], dtype)
    for ours, name in HEADS:
      low = own[f'low_{ours}_error']
      compare(f'G{case}/{name}_auxgan', low, dtype)
      compare(f'G{case}/{name}_stylegan', 2 * own[f'{ours}_error'] - low, dtype)
    norm = np.sqrt(compare_gradients(case, 'G', gradients, dtype))
    compare(f'G{case}/grad_norm_total', norm, dtype, 2e-4)


@pytest.mark.thorough
@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_the_discriminators(dtype):
  arrays = goldens.load(LOSSES)
  made = losses()
  run, run_r1 = (
    x64.jit(on_one_device(loss, 'discriminator')) for loss in (made.discriminator, made.r1)
  )
  for case, step in (('A', 700), ('B', 60_000)):
    given = typed(inputs(f'D{case}', 'real'), dtype)
    at = np.asarray(step, dtype)
    value, terms, gradients = run(networks_of(dtype), given, at)
    own = {name.removeprefix('discriminator/'): x for name, x in terms.metrics.items()}
    compare(f'D{case}/dis_stylegan', own['adversarial'], dtype)
    compare(f'D{case}/dis_auxgan', own['low_adversarial'], dtype)
    for ours, name in HEADS:
      low = own[f'low_{ours}_error']
      compare(f'D{case}/dis_{name}_{"aux" if name == "shape" else "auxgan"}', low, dtype)
      compare(f'D{case}/dis_{name}_stylegan', 2 * own[f'{ours}_error'] - low, dtype)
    if case == 'A':  # a step with R1, which counts sixteen times
      penalty, terms, more = run_r1(networks_of(dtype), given, at)
      compare('DA/r1_stylegan', 16 * 5 * terms.metrics['discriminator/r1'], dtype, 2e-4)
      compare('DA/r1_auxgan', 16 * 0.1 * terms.metrics['discriminator/low_r1'], dtype, 2e-4)
      value = value + 16 * penalty
      gradients = jax.tree.map(lambda a, b: a + 16 * b, gradients, more)
    compare(f'D{case}/loss', np.reshape(value, arrays[f'D{case}/loss'].shape), dtype, 2e-4)
    nets = (('D256', 'full'), ('D64', 'low'))
    squares = [compare_gradients(case, net, gradients[part], dtype) for net, part in nets]
    compare(f'D{case}/grad_norm_total', np.sqrt(sum(squares)), dtype, 2e-4)
