"""HoloGAN's networks and losses: official arrays at 64² and 128²."""

import functools
import math

import golden_hologan as golden
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jax3dgan import config as config_lib
from jax3dgan import recipes
from jax3dgan.recipes import Inputs, Networks, Now
from jax3dgan.rendering import rigid_transform
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib

SIZES = pytest.mark.parametrize('size', [64, 128])
# Losses and steps of 128 have all that those of 64 have, and styles.
STEPS = pytest.mark.parametrize('size', [pytest.param(64, marks=pytest.mark.thorough), 128])


def of_sample(key: str, array):
  """What a golden key says of an array: one sample, rows, every fourth pixel."""
  if key.endswith('@0'):
    return array[:1]
  if key.endswith('@rows0_63'):
    return array[:64]
  return array[:, ::4, ::4] if key.endswith('_every4') else array


def compare_all(size: int, found: dict, relative: float):
  """Every array by its golden key, whichever part of it the file has."""
  file = golden.FILES[size]
  arrays = goldens.load(file)
  keys = [f'{key}{part}' for key in found for part in ('', '@0', '@rows0_63', '_every4')]
  keys = [key for key in keys if key in arrays]
  assert keys
  for key in keys:
    name = key.split('@')[0].removesuffix('_every4')
    goldens.compare(file, key, of_sample(key, np.asarray(found[name])), relative=relative)


@functools.cache
def recipe_of(size: int):
  """(config, phases by name) of a golden file: the release's losses."""
  config = config_lib.base_config('hologan')
  config.resolution, config.loss.latent = size, 0.7 if size == 64 else 1.0
  if size == 128:
    config.hologan.update(style=1.0, generator_style=False)
  networks = golden.generator(size), golden.discriminator(size)
  phases = recipes.create('hologan').phases(config, *networks, schedule.stages(config)[0])
  return config, {phase.name: phase for phase in phases}


def inputs_of(size: int) -> Inputs:
  arrays = goldens.load(golden.FILES[size])
  # Normal numbers of which our uniform ones are the release's latents.
  z = math.sqrt(2) * scipy.special.erfinv(arrays['z'].astype(np.float64))
  return Inputs(z=z.astype(np.float32), camera=golden.view(arrays['view']), images=arrays['real'])


@functools.cache
def intermediates(size: int):
  """By golden names: stages of the generator, and of the discriminator on photos and fakes."""
  of_generator, of_discriminator = golden.variables(size)
  generator, discriminator = golden.generator(size), golden.discriminator(size)
  inputs = inputs_of(size)

  def is_kept(module, method):
    return method in ('__call__', 'convolve', 'normalise')

  options = dict(capture_intermediates=is_kept, mutable=['intermediates'])

  @jax.jit
  def run(of_generator, of_discriminator, inputs):
    w = generator.apply(of_generator, inputs.z, method='map')
    scene = generator.apply(of_generator, w, method='prepare')
    out, stages = generator.apply(of_generator, w, inputs.camera, method='synthesize', **options)
    turned = rigid_transform.rigid_transform(scene.voxels, inputs.camera)
    places = np.indices((16, 16, 16)).reshape(3, -1)[::-1].T
    found = {
      'image': out.image,
      'source_coords_xyz': rigid_transform.source_places(inputs.camera, places, 16).swapaxes(1, 2),
      'rotated_zyx': turned,
      'rotated_image_axes_ch0': rigid_transform.image_axes(scene.voxels, inputs.camera)[..., :1],
    }
    judged = [
      discriminator.apply(of_discriminator, x, **options) for x in (inputs.images, out.image)
    ]
    _, moved = discriminator.apply(of_discriminator, method='advance', mutable=['buffers'])
    return found, stages['intermediates'], judged, moved['buffers']

  found, stages, judged, moved = run(of_generator, of_discriminator, inputs)
  for i in range(generator.num_ws):
    found[f'adain#{i}' if i else 'adain'] = stages[f'style_{i}']['__call__'][0]
  found |= {
    theirs: stages[ours]['__call__'][0]
    for ours, theirs in golden.LAYERS[size].items()
    if ours != 'rgb'
  }
  found = {f'G/{key}': value for key, value in found.items()}
  num = len(discriminator.channels)
  for prefix, (out, stages) in zip(('Dreal', 'Dfake'), judged, strict=True):
    of_it, stages = {}, stages['intermediates']
    for i in range(num):
      block = stages[f'block_{i}']
      of_it[f'd_h{i}_conv'] = block['convolve'][0]
      if i:
        of_it[f'specnorm_w#{i - 1}' if i > 1 else 'specnorm_w'] = block['norm']['__call__'][0]
        normal = block['normalise'][0]
        of_it |= dict(zip((f'd_in{i}', f'd_in{i}_mean', f'd_in{i}_var'), normal, strict=True))
      if f'style_{i}' in out.heads:
        of_it[f'out_style{i}'] = out.heads[f'style_{i}'].T.reshape(-1, 1)  # all means first
    of_it['d_latent'] = stages['latent_hidden']['__call__'][0]
    of_it |= {'out_logit': out.logits[:, None], 'out_q': out.heads['latent']}
    found |= {f'{prefix}/{key}': value for key, value in of_it.items()}
  for i in range(1, num):
    found[f'u_after/{golden.u_name(i)}'] = moved[f'block_{i}']['norm']['u'][None]
  return found


@SIZES
def test_the_stages(size):
  found = intermediates(size)
  # Through both networks single precision costs more.
  far = {key for key in found if key.startswith('Dfake/out')}
  compare_all(size, {key: found[key] for key in found.keys() - far}, relative=3e-5)
  compare_all(size, {key: found[key] for key in far}, relative=1e-4)


def as_official(size: int, names: dict, gradients, prefix: str) -> dict:
  """{prefix/official name: array} of gradients, or parameters."""
  found = {}
  for path, name in names.items():
    node = gradients
    for part in path.split('/'):
      node = node[part]
    found[f'{prefix}/{name}'] = golden.moved(path, np.asarray(node))
  return found


@functools.cache
def step_of(size: int):
  """Losses, gradients before the step, and what one step of both networks makes of them."""
  config, phases = recipe_of(size)
  of_generator, of_discriminator = golden.variables(size)
  adam = state_lib.optimizer(config.optimizer)
  networks = Networks(
    {'generator': of_generator['params'], 'discriminator': of_discriminator['params']},
    {'discriminator': of_discriminator['buffers']},
  )
  inputs = inputs_of(size)

  @functools.partial(jax.jit, static_argnums=0)
  def run(name, networks):
    phase = phases[name]
    params = networks.params[phase.network]
    gradients, (loss, terms) = phase.gradients(params, networks, inputs, Now(0, 0))
    updates, _ = adam.update(gradients, adam.init(params))
    rate = config.optimizer[f'lr_{phase.network}']
    stepped = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    return jax.device_get((loss, terms, gradients, stepped))

  judges = run('discriminator', networks)
  later = Networks(
    {**networks.params, 'discriminator': judges[3]}, {**networks.buffers, **judges[1].buffers}
  )
  return judges, run('generator', networks), run('generator', later)


def gradient_of_image(size: int):
  """Of the generator's loss, in its images."""
  config, _ = recipe_of(size)
  latents = goldens.load(golden.FILES[size])['z']

  def loss(image):
    out = golden.discriminator(size).apply(golden.variables(size)[1], image)
    error = jnp.mean(jnp.square(out.heads['latent'] - latents))
    return jax.nn.softplus(-out.logits).mean() + config.loss.latent * error

  return jax.jit(jax.grad(loss))(intermediates(size)['G/image'])


@STEPS
def test_the_losses(size):
  config, _ = recipe_of(size)
  (d_loss, d_terms, *_), (g_loss, g_terms, *_), (later, later_terms, *_) = step_of(size)
  found = intermediates(size)
  softplus = lambda x: np.mean(np.logaddexp(0, np.asarray(x, np.float64)))  # noqa: E731
  own = {
    'loss/d': d_loss,
    'loss/g': g_loss,
    'loss/q': config.loss.latent * g_terms.metrics['generator/latent_error'],
    'loss/d_real': softplus(-found['Dreal/out_logit']),
    'loss/d_fake': softplus(found['Dfake/out_logit']),
    'step/loss_g': later,
    'step/loss_q': config.loss.latent * later_terms.metrics['generator/latent_error'],
  }
  for i in range(1, 5 if size == 128 else 1):
    real, fake = (found[f'{kind}/out_style{i}'] for kind in ('Dreal', 'Dfake'))
    own[f'loss/d_style{i}'] = softplus(-real) + softplus(fake)
  compare_all(size, {key: np.float32(value) for key, value in own.items()}, relative=1e-5)
  if size == 128:
    style = sum(own[f'loss/d_style{i}'] for i in range(1, 5))
    np.testing.assert_allclose(d_terms.metrics['discriminator/style'], style, rtol=1e-5)
  moved = d_terms.buffers['discriminator']
  for i in range(1, len(moved) + 1):
    u = moved[f'block_{i}']['norm']['u']
    np.testing.assert_allclose(u[None], found[f'u_after/{golden.u_name(i)}'], atol=1e-6)


def compare_gradients(size: int, names: dict, gradients, prefix: str):
  found = as_official(size, names, gradients, prefix)
  # A bias before a normalisation has a gradient of rounding errors alone, but for what style
  # discriminators see of it: it is compared with the largest gradient there is.
  ours = golden.generator(size)
  normalised = [f'voxels_{i}' for i in range(2)] + [f'image_{i}' for i in range(len(ours.channels))]
  normalised += [f'block_{i}' for i in range(1, 5)]
  biases = {
    f'{prefix}/{names[f"{layer}/bias"]}' for layer in normalised if f'{layer}/bias' in names
  }
  compare_all(size, {k: v for k, v in found.items() if k not in biases}, relative=1e-4)
  largest = max(np.abs(value).max() for value in found.values())
  arrays = goldens.load(golden.FILES[size])
  for name in sorted(biases & arrays.keys()):
    of_largest = max(largest / np.abs(arrays[name]).max(), 1)
    compare_all(size, {name: found[name]}, relative=float(1e-4 * of_largest))


@STEPS
def test_the_gradients(size):
  judges, generators, later = step_of(size)
  if any(key.startswith('ggrad_image') for key in goldens.load(golden.FILES[size])):
    compare_all(size, {'ggrad_image': gradient_of_image(size)}, relative=1e-4)
  compare_gradients(size, golden.discriminator_arrays(size), judges[2], 'dgrad')
  compare_gradients(size, golden.generator_arrays(size), generators[2], 'ggrad')
  compare_gradients(size, golden.generator_arrays(size), later[2], 'step/G_grad')


@STEPS
def test_a_step_of_both_networks(size):
  judges, _, later = step_of(size)
  arrays = goldens.load(golden.FILES[size])
  after = as_official(size, golden.discriminator_arrays(size), judges[3], 'step/D_after')
  after |= as_official(size, golden.generator_arrays(size), later[3], 'step/G_after')
  after = {key: value for key, value in after.items() if key in arrays}
  assert len(after) == 5
  for key, value in after.items():
    # A step is 1e-4, to a twentieth: TensorFlow adds its epsilon to the root before it corrects the
    # bias, so that the smallest gradients count less.
    goldens.compare(golden.FILES[size], key, value, atol=5e-6)
    before = arrays[f'param/{key.split("/", 2)[2]}']
    assert 0.5e-4 < np.abs(value - before).max() < 2e-4
