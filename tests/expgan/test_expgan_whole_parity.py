"""Exp-GAN's whole networks beside golden arrays: the generator in training and in evaluation, both
discriminators with R1."""

import golden_expgan
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64
from golden_expgan import RAYS, SAMPLES, channels_first, channels_last, typed

from jax3dgan.discriminators.expgan import LOW
from jax3dgan.generators.expgan_rendering import orthographic_rays
from jax3dgan.losses import regularizers
from jax3dgan.nn import resample
from jax3dgan.nn.minibatch_stddev import minibatch_stddev
from jax3dgan.rendering import compositing, hierarchical, sampling
from jax3dgan.rendering.draws import Draws
from jax3dgan.rendering.rays import Surface

TRAIN, EVAL, JUDGES = 'expgan/G_small_train', 'expgan/G_small_eval', 'expgan/D_small'


def compare(file, key, actual, dtype, relative=5e-5):
  goldens.compare(file, key, actual, relative=relative, dtype=dtype)


def run_train(variables, x):
  """Styles, the picture, and what the modules return on the way."""
  generator = golden_expgan.generator()
  w = generator.apply(variables, x['z'], x['shape'], x['expression'], method='map_codes')
  of_scene, made = generator.apply(variables, w, method='prepare', capture_intermediates=True)
  out, rendered = generator.apply(
    variables, of_scene, x['c2w'], x['maps'], x['draws'], x['noise_std'],
    method=golden_expgan.render, capture_intermediates=True,
  )  # fmt: skip
  return w, out, made['intermediates'], rendered['intermediates']


@pytest.mark.thorough
@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_a_picture_in_training(dtype):
  arrays = goldens.load(TRAIN)
  codes = arrays['in/shape_jaw']
  x = dict(
    z=arrays['draw0_normal'],
    shape=codes[:, :8],
    expression=np.concatenate([np.zeros((2, 6)), codes[:, 8:]], axis=1),
    c2w=arrays['in/c2w'],
    maps=golden_expgan.seen(arrays['in/uv'], arrays['in/depth']),
    draws=golden_expgan.draws(arrays, ''),
    noise_std=arrays['noise_std'],
  )
  run = x64.jit(run_train)
  w, out, made, rendered = run(golden_expgan.variables(dtype), typed(x, dtype))
  compare(TRAIN, 'w', w[:, 0], dtype)
  compare(TRAIN, 'mean_w_after', w[:, 0].mean(0), dtype)
  for ours, official in (('planes', 'triplane'), ('texture', 'texture')):
    for i in range(4):
      features, image = made[ours][f'b{4 << i}']['__call__'][0]
      compare(TRAIN, f'{official}/x{i}', channels_first(features), dtype)
      compare(TRAIN, f'{official}/img{i}', channels_first(image), dtype)
  head, up = rendered['texture_head'], rendered['upsampler']
  compare(TRAIN, 'texture_head/pose_code', head['pose_1']['__call__'][0], dtype)
  compare(TRAIN, 'texture_head/plane', channels_first(head['__call__'][0]), dtype)
  compare(TRAIN, 'texture_head/alpha', out.alpha[:, None], dtype)
  compare(TRAIN, 'up/conv1', channels_first(up['conv1']['__call__'][0]), dtype)
  for i, size in enumerate((32, 64)):
    block = up[f'b{size}']
    for j in range(2):
      value = block[f'conv{j}']['__call__'][0]
      compare(TRAIN, f'up/convs{2 * i + j}', channels_first(value), dtype)
    # The release's to-RGB layer adds the image of before.
    if i == 0:
      compare(TRAIN, 'up/rgb0', channels_first(block['__call__'][0][1]), dtype)
  compare(TRAIN, 'out/pred', channels_first(out.rendering.image), dtype)
  np.testing.assert_allclose(out.rendering.low_res, arrays['render/out#1'][..., :3], atol=1e-4)


def run_eval(variables, x):
  generator = golden_expgan.generator()
  bare = generator.without_super_resolution()  # whose depth is of rays
  # Fine samples of the release have both ends; coarse ones in the middle of their strata.
  u = jnp.broadcast_to(jnp.linspace(0, 1, SAMPLES, dtype=x['z'].dtype), (2, RAYS**2, SAMPLES))
  draws = Draws(jitter=jnp.full_like(u, 0.5), pdf=u)

  def made(psi, told):
    average = generator.apply(variables, method='average_w')
    w = generator.apply(
      variables, x['z'], x['shape'], x['expression'], psi, average, method='map_codes'
    )
    scene = generator.apply(variables, w, method='prepare')
    rest = scene, x['c2w'], x['maps'], draws, 0.0, told
    out, of_rays = (
      each.apply(variables, *rest, method=golden_expgan.render) for each in (generator, bare)
    )
    return w, out.rendering, of_rays.rendering.depth, (scene, out.alpha)

  pictures = made(1.0, x['c2w']), made(0.5, x['c2w']), made(1.0, x['c2w'][::-1])
  scene, alpha = pictures[0][-1]
  field = generator.apply(variables, scene, method='radiance_field')
  samples = samples_of(field, x['c2w'], u, alpha, x['maps']['depth'])
  return [picture[:-1] for picture in pictures], samples


def samples_of(field, c2w, u, alpha, depth):
  """(depths of both passes, and, with the surface among them, weights and depths)."""
  rays = orthographic_rays(c2w, RAYS)
  z_coarse = sampling.stratified_depths(0.0, 3.0, SAMPLES, jnp.full_like(u, 0.5))
  raw, _ = field(hierarchical.points_at(rays, z_coarse))
  infinite = compositing.INFINITE_INTERVAL
  shares = compositing.ray_weights(jax.nn.relu(raw), compositing.intervals(z_coarse, infinite))
  z_fine = sampling.importance_depths(z_coarse, shares, u)
  more, _ = field(hierarchical.points_at(rays, z_fine))
  depths, raw = (jnp.concatenate(x, axis=-1) for x in ((z_fine, z_coarse), (more, raw)))
  order = jnp.argsort(depths, axis=-1)
  depths, raw = (jnp.take_along_axis(x, order, axis=-1) for x in (depths, raw))
  alpha, depth = (x.reshape(2, RAYS**2, 1) for x in (alpha, depth))
  surface = Surface(jnp.zeros_like(depth), alpha, depth)
  density, colour = jax.nn.relu(raw), jnp.zeros_like(raw)[..., None]
  out = compositing.composite(density, colour, depths, last_back=True, surface=surface)
  shares = jnp.concatenate([out.weights, out.means['surface'][..., None]], axis=-1)
  depths = jnp.concatenate([depths, depth], axis=-1)
  order = jnp.argsort(depths, axis=-1)
  sorted_ = [jnp.take_along_axis(x, order, axis=-1) for x in (shares, depths)]
  return z_coarse[0, 0], z_fine, *sorted_


@pytest.mark.thorough
@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_pictures_in_evaluation(dtype):
  arrays, given = goldens.load(EVAL), goldens.load(TRAIN)
  codes = given['in/shape_jaw']
  x = dict(
    z=arrays['z'],
    shape=codes[:, :8],
    expression=np.concatenate([np.zeros((2, 6)), codes[:, 8:]], axis=1),
    c2w=given['in/c2w'],
    maps=golden_expgan.seen(given['in/uv'], given['in/depth']),
  )
  run = x64.jit(run_eval)
  variables = golden_expgan.variables(dtype, arrays['mean_w'])
  found, (z_coarse, z_fine, shares, depths) = run(variables, typed(x, dtype))
  compare(EVAL, 'psi1/w', found[0][0][:, 0], dtype)
  compare(EVAL, 'psi1/ray/z_coarse', z_coarse, dtype)
  compare(EVAL, 'psi1/ray/z_fine', z_fine.reshape(-1, SAMPLES), dtype, 3e-3)
  for name, value, allowed in (('weights', shares, 2e-4), ('z', depths, 3e-3)):
    value = value[:1].reshape(1, RAYS, RAYS, -1, 1)
    compare(EVAL, f'psi1/render/{name}#1', value, dtype, allowed)
  # A rounding of the release's sums moves samples of rays that have almost no weight there.
  for name, (_, out, depth) in zip(('psi1', 'psi0.5', 'tex_pose_of_other'), found, strict=True):
    expected = arrays[f'{name}/pred']
    compare(EVAL, f'{name}/pred', channels_first(out.image)[: len(expected)], dtype, 2e-4)
    compare(EVAL, f'{name}/aux', channels_first(out.low_res), dtype, 2e-4)
    compare(EVAL, f'{name}/depth', depth[:, None], dtype, 2e-4)


def judge(variables, x, fade):
  """What both discriminators say, return on the way, and R1 of each."""
  model = golden_expgan.DISCRIMINATOR

  def logits(image, low):
    out = model.apply(variables, (image, low), fade)
    return out.logits.sum() + out.heads[LOW + 'logits'].sum()

  out, kept = model.apply(variables, (x['image'], x['low']), fade, capture_intermediates=True)
  gradients = jax.grad(logits, argnums=(0, 1))(x['image'], x['low'])
  r1 = [regularizers.squared_norms(g).mean() for g in gradients]
  return out, kept['intermediates'], gradients, r1


@pytest.mark.parametrize('dtype', x64.DTYPES)
def test_both_discriminators(dtype):
  arrays = goldens.load(JUDGES)
  x = {'image': arrays['real_image'], 'low': arrays['real_image_low']}
  x = {name: channels_last(value) for name, value in x.items()}
  low = x64.jit(lambda image: resample.resize_bilinear(image, 16, antialias=False))
  compare(JUDGES, 'real_image_low', channels_first(low(typed(x, dtype)['image'])), dtype)
  run = x64.jit(judge)
  variables = {'params': typed(golden_expgan.discriminator_weights(), dtype)}
  for fade in (1.0, 0.7):
    out, kept, gradients, r1 = run(variables, typed(x, dtype), np.asarray(fade, dtype))
    for i, (net, part, prefix) in enumerate((('D256', 'full', ''), ('D64', 'low', LOW))):
      key = f'{net}/alpha{fade:g}'
      logits = out.heads[LOW + 'logits'] if prefix else out.logits
      compare(JUDGES, f'{key}/logit', logits[:, None], dtype)
      names = {'pose': 'pose', 'expression': 'exp', 'identity': 'shape'}
      for ours, official in names.items():
        compare(JUDGES, f'{key}/{official}', out.heads[prefix + ours], dtype)
      compare(JUDGES, f'{key}/r1', r1[i], dtype, 2e-4)
      if f'{key}/r1_image_grad' in arrays:
        gradient = channels_first(gradients[i])[:1]
        compare(JUDGES, f'{key}/r1_image_grad', gradient, dtype, 2e-4)
      size, j, block = golden_expgan.SIZES[net], 0, None
      while size > 4:
        block = kept[part][f'b{size}']['__call__'][0]
        if f'{key}/block{j}' in arrays:
          compare(JUDGES, f'{key}/block{j}', channels_first(block), dtype)
        size, j = size // 2, j + 1
      if f'{key}/stddev_channel' in arrays:
        spread = np.asarray(minibatch_stddev(jnp.asarray(block), 4))[..., -1]
        compare(JUDGES, f'{key}/stddev_channel', spread, dtype, 1e-4)
        value = kept[part]['b4']['conv']['__call__'][0]
        compare(JUDGES, f'{key}/final_conv', channels_first(value), dtype)
