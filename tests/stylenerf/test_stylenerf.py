"""StyleNeRF's generator: official images, styles, training; the library's contract."""

import dataclasses
import functools
import math

import golden_stylenerf as golden
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan.generators.stylenerf import Path
from jax3dgan.losses import nerf_path
from jax3dgan.recipes import base

FILE = 'stylenerf_eval'
compare = functools.partial(goldens.compare, FILE)


@functools.cache
def styles(name: str = 'z'):
  generator, variables = golden.model()
  arrays = goldens.load(FILE)
  z = np.concatenate([arrays[name], arrays['z_shape_bg']], axis=1)
  return generator.apply(variables, z, method='map')


@functools.partial(jax.jit, static_argnums=0)
def _synthesize(options, variables, w, camera, fade):
  generator, _ = golden.model()
  return generator.apply(variables, w, camera, None, options, fade=fade, method='synthesize')


def synthesize(w, camera=None, resolution=64, fade=1.0, **changes):
  options = dataclasses.replace(golden.OPTIONS, resolution=resolution, **changes)
  camera = golden.evaluated_camera() if camera is None else camera
  return _synthesize(options, golden.model()[1], w, camera, fade)


def test_styles_and_truncation():
  generator, variables = golden.model()
  arrays = goldens.load(FILE)
  z = np.concatenate([arrays['z'], arrays['z_shape_bg']], axis=1)
  average = generator.apply(variables, method='average_w')
  map_ = functools.partial(generator.apply, variables, z, None, method='map')
  compare('ws', map_()[:, :-1], relative=1e-6)
  pulled = map_(truncation_psi=0.7, average_w=average)
  compare('ws_psi07', pulled[:, :-1], relative=1e-6)
  assert np.allclose(pulled[:, -1, :5], 0.7 * arrays['z_shape_bg'])
  cut = map_(truncation_psi=0.7, average_w=average, truncation_cutoff=4)
  compare('ws_psi07_cut4', cut[:, :-1], relative=1e-6)


def test_images():
  out = synthesize(styles())
  compare('eval.image', golden.nchw(out.image), relative=1e-4)
  compare('eval.lowres_img', golden.nchw(out.low_res), relative=3e-4)
  assert out.depth.shape == out.opacity.shape == (2, 64, 64)


def test_mixed_styles():
  mixed = jnp.concatenate([styles()[:, :10], styles('z2')[:, 10:]], axis=1)
  compare('eval.image_mix10', golden.nchw(synthesize(mixed).image), relative=1e-4)


def test_a_rolled_camera():
  camera, roll = golden.evaluated_camera(), np.eye(4, dtype=np.float32)
  roll[:2, :2] = [[math.cos(0.3), math.sin(0.3)], [-math.sin(0.3), math.cos(0.3)]]
  rolled = camera.replace(cam2world=camera.cam2world @ roll)
  compare('eval.image_roll0.3', golden.nchw(synthesize(styles(), rolled).image), relative=1e-4)


def test_the_foreground_alone():
  image = synthesize(styles(), last_back=True).image
  compare('eval.image_nobg', golden.nchw(image), relative=1e-4)


@pytest.mark.parametrize('alpha, resolution, fade', [(0.6, 32, 0.8), (0.2, 16, 0.6), (0.0, 8, 1.0)])
def test_growth(alpha, resolution, fade):
  image = synthesize(styles(), None, resolution, fade).image
  compare(f'eval.image_alpha{alpha}', golden.nchw(image), relative=1e-4)
  sizes = golden.model()[0].resolutions
  level = sizes.index(resolution)
  growth = np.array([len(sizes) - 1, level, sizes[max(level - 1, 0)], resolution])
  compare(f'eval.curres_alpha{alpha}', growth, atol=0, dtype=np.float32)


@pytest.mark.parametrize('file, resolution, fade', [('a1', 64, 1.0), ('a06', 32, 0.8)])
def test_training(file, resolution, fade):
  file = f'stylenerf_train_{file}'
  arrays = goldens.load(file)
  generator, variables = golden.model(compat_powers_first=True)
  camera = golden.trained_camera(file)
  z = np.concatenate([arrays['z'], arrays['draw08.randn']], axis=1)
  w = generator.apply(variables, z, method='map')
  goldens.compare(file, 'ws', w[:, :-1], relative=1e-6)
  networks = base.Networks({}, {'generator': {'w_average': arrays['mapping_w_avg_before']}})
  average = base.running_w_average(networks, w, decay=0.995)['generator']['w_average']
  goldens.compare(file, 'mapping_w_avg_after', average, relative=1e-6)

  options = dataclasses.replace(golden.OPTIONS, resolution=resolution)
  own, others = golden.apart(golden.draws(file))
  index, uv = golden.path(file, resolution)
  goldens.compare(file, 'rand_indexs', np.asarray(index), atol=0, dtype=np.float32)
  pixels = np.array([1, -1]) * (2 * np.asarray(uv) - 1)
  goldens.compare(file, 'rand_pixels', pixels.astype(np.float32), atol=1e-6)

  def loss(w, variables, camera, own, others, uv, fade):
    out = generator.apply(
      variables, w, camera, own, options, 1.0, fade,
      Path(uv, others, fade=1.0),  # as in the release, whose fade of the path has no effect
      method='synthesize_for_training',
    )  # fmt: skip
    losses = nerf_path.nerf_path_loss(out.rendering.image, out.path_colours, index)
    return losses.mean(), (losses, out)

  gradient = jax.jit(jax.grad(loss, has_aux=True))
  of_w, (losses, out) = gradient(w, variables, camera, own, others, uv, fade)
  goldens.compare(file, 'reg_loss', losses[:, None], relative=1e-4)
  goldens.compare(file, 'dreg_dws', of_w[:, :-1], relative=1e-3)
  for i, size in enumerate((16, 32, 64)):
    for j in (0, 1):
      power = np.asarray(out.powers[i, j])
      goldens.compare(file, f'w_avg_after.b{size}.conv{j}.w_avg', power, relative=1e-5)
  goldens.compare(file, 'lowres_img', golden.nchw(out.rendering.low_res), relative=3e-4)
  goldens.compare(file, 'image', golden.nchw(out.rendering.image), relative=1e-4)
