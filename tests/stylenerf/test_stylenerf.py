"""StyleNeRF's generator: official stages."""

import dataclasses
import functools

import golden_stylenerf as golden
import goldens
import jax.numpy as jnp
import numpy as np
import pytest

FILE = 'stylenerf_eval'
compare = functools.partial(goldens.compare, FILE)


@functools.cache
def styles(name: str = 'z'):
  generator, variables = golden.model()
  arrays = goldens.load(FILE)
  z = np.concatenate([arrays[name], arrays['z_shape_bg']], axis=1)
  return generator.apply(variables, z, method='map')


def synthesize(w, resolution=64, fade=1.0, **changes):
  generator, variables = golden.model()
  options = dataclasses.replace(golden.OPTIONS, resolution=resolution, **changes)
  return generator.apply(
    variables, w, golden.evaluated_camera(), None, options, fade=fade, method='synthesize'
  )


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
  compare('eval.lowres_img', golden.nchw(out.low_res), relative=1e-4)
  mixed = jnp.concatenate([styles()[:, :10], styles('z2')[:, 10:]], axis=1)
  compare('eval.image_mix10', golden.nchw(synthesize(mixed).image), relative=1e-4)
  alone = synthesize(styles(), last_back=True)
  compare('eval.image_nobg', golden.nchw(alone.image), relative=1e-4)


@pytest.mark.parametrize('alpha, resolution, fade', [(0.0, 8, 1.0), (0.2, 16, 0.6), (0.6, 32, 0.8)])
def test_growth(alpha, resolution, fade):
  image = synthesize(styles(), resolution, fade).image
  compare(f'eval.image_alpha{alpha}', golden.nchw(image), relative=1e-4)
