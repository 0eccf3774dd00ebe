"""Loss and R1 of real images in few passes: the reference's values and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan import discriminators
from jax3dgan.losses import real_images

MODULE = discriminators.create(
  dict(name='progressive', channels=(4, 6, 8), block='ccs', latent_dim=2)
)
WEIGHTS = dict(loss=1.0, r1=3.0)


def inputs(dtype):
  params = discriminators.init_params(MODULE, jax.random.key(0))
  images = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8, 3))
  return jax.tree.map(lambda x: np.asarray(x, dtype), (params, images))


@functools.cache
def gradient(terms_fn):
  """f(params, images, scale, shift) → weighted sum's gradient and terms; of logits scaled and
  shifted."""

  @x64.jit
  def run(params, images, scale, shift):
    def logits(params, images):
      return scale * MODULE.apply({'params': params}, images).logits + shift

    def total(params):
      terms = terms_fn(logits, params, images)
      return WEIGHTS['loss'] * terms.loss + WEIGHTS['r1'] * terms.r1, terms

    return jax.grad(total, has_aux=True)(params)

  return run


@pytest.mark.parametrize('dtype, error', [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_terms_and_gradients_are_the_references(dtype, error):
  args = (*inputs(dtype), dtype(5), dtype(0))
  expected, terms = gradient(real_images.reference_terms)(*args)
  actual, actual_terms = gradient(real_images.real_terms)(*args)
  assert terms.r1 > 1e-3 and actual_terms.logits.shape == (3,)
  for a, b in zip(actual_terms, terms, strict=True):
    np.testing.assert_allclose(a, b, rtol=error * 10)
  largest = max(np.abs(x).max() for x in jax.tree.leaves(expected))
  assert largest > 1e-2
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=error * largest), actual, expected
  )


@pytest.mark.parametrize('shift', [-200.0, 200.0])
def test_saturated_logits(shift):
  """Where the loss has no slope in float32, R1 keeps its gradient and nothing is infinite."""
  args = (*inputs(np.float32), np.float32(1), np.float32(shift))
  expected, terms = gradient(real_images.reference_terms)(*args)
  actual, actual_terms = gradient(real_images.real_terms)(*args)
  np.testing.assert_allclose(actual_terms.r1, terms.r1, rtol=1e-4)
  largest = max(np.abs(x).max() for x in jax.tree.leaves(expected))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5 * largest), actual, expected)


def test_one_pass_less():
  """Counted in products: the reference's transpose of the loss is gone."""
  args = (*inputs(np.float32), np.float32(1), np.float32(0))

  def dots(terms_fn):
    # Convolutions and products that remain after XLA has merged equal ones.
    text = jax.jit(gradient(terms_fn).__wrapped__).lower(*args).compile().as_text()
    return text.count(' dot(') + text.count(' convolution(') + text.count('ynn_fusion"')

  assert dots(real_images.real_terms) < dots(real_images.reference_terms)


def test_images_get_no_gradient():
  params, images = inputs(np.float32)

  def loss(images):
    logits = lambda p, x: MODULE.apply({'params': p}, x).logits  # noqa: E731
    return real_images.real_terms(logits, params, images).loss

  assert not np.any(jax.jit(jax.grad(loss))(jnp.asarray(images)))
