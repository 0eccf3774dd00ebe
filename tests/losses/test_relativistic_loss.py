"""The relativistic loss of pairs, R1 and R2, against closed forms in NumPy."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan.losses import adversarial, real_images
from jax3dgan.recipes import loss_terms

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(0, 2, (2, 5))
PHOTOS, FAKES = RNG.normal(0, 1, (2, 5, 3))
PARAMS = {'slope': RNG.normal(0, 1, 3), 'curve': np.float64(0.7)}


def logits_of(params, x):
  """Of points [b, 3]; their gradient is slope + curve · x."""
  return x @ params['slope'] + 0.5 * params['curve'] * jnp.square(x).sum(-1)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def loss(kind='relativistic'):
  return types.SimpleNamespace(adversarial=kind)


def test_the_losses_are_of_differences_within_pairs():
  differences = FAKE - REAL
  with jax.enable_x64():
    value, (of_real, of_fake) = jax.jit(jax.value_and_grad(adversarial.relativistic_loss, (0, 1)))(
      jnp.asarray(REAL), jnp.asarray(FAKE)
    )
    of_generator, of_fakes = jax.jit(
      jax.value_and_grad(
        lambda fake: adversarial.generator_loss(loss_terms.margins(loss(), fake, lambda: REAL))
      )
    )(jnp.asarray(FAKE))
  np.testing.assert_allclose(value, np.log1p(np.exp(differences)).mean(), rtol=1e-12)
  np.testing.assert_allclose(of_fake, sigmoid(differences) / 5, rtol=1e-12)
  np.testing.assert_allclose(of_real, -of_fake, rtol=1e-12)
  np.testing.assert_allclose(of_generator, np.log1p(np.exp(-differences)).mean(), rtol=1e-12)
  np.testing.assert_allclose(of_fakes, -sigmoid(-differences) / 5, rtol=1e-12)


def test_the_non_saturating_loss_asks_for_no_photos():
  def none():
    raise AssertionError

  margins = loss_terms.margins(loss('non_saturating'), FAKE, none)
  np.testing.assert_array_equal(margins, FAKE)
  assert loss_terms.paired(loss('non_saturating'), none) is None


@pytest.mark.parametrize('terms_fn', [real_images.real_terms, real_images.reference_terms])
def test_photos_in_few_passes(terms_fn):
  """Values, and gradients in the parameters and in the fakes' logits."""

  @x64.jit
  def run(params, fake):
    def total(params, fake):
      terms = terms_fn(logits_of, params, PHOTOS, fake)
      return terms.loss + 0.3 * terms.r1, terms

    return jax.grad(total, (0, 1), has_aux=True)(params, fake)

  (of_params, of_fake), terms = run(PARAMS, FAKE)
  slope, curve = PARAMS['slope'], PARAMS['curve']
  real = PHOTOS @ slope + 0.5 * curve * np.square(PHOTOS).sum(-1)
  gradients = slope + curve * PHOTOS
  weights = sigmoid(FAKE - real) / 5
  np.testing.assert_allclose(terms.loss, np.log1p(np.exp(FAKE - real)).mean(), rtol=1e-10)
  np.testing.assert_allclose(terms.r1, np.square(gradients).sum(-1).mean(), rtol=1e-10)
  np.testing.assert_allclose(terms.logits, real, rtol=1e-10)
  np.testing.assert_allclose(of_fake, weights, rtol=1e-10)
  expected = -weights @ PHOTOS + 0.6 * gradients.mean(0)
  np.testing.assert_allclose(of_params['slope'], expected, rtol=1e-9)
  expected = -weights @ (0.5 * np.square(PHOTOS).sum(-1)) + 0.6 * (gradients * PHOTOS).sum() / 5
  np.testing.assert_allclose(of_params['curve'], expected, rtol=1e-9)


@pytest.mark.parametrize('r1, r2', [(0.6, 0.2), (0.6, 0.0), (0.0, 0.2)])
def test_penalties_of_photos_and_of_fakes(r1, r2):
  logit_fn = lambda x: logits_of(PARAMS, x)  # noqa: E731
  with jax.enable_x64():
    fakes = (logit_fn, jnp.asarray(FAKES) if r2 else None)
    total, metrics = loss_terms.of_gradients(
      dict(r1=r1, r2=r2), (logit_fn, jnp.asarray(PHOTOS)), fakes
    )
  norms = [np.square(PARAMS['slope'] + 0.7 * x).sum(-1).mean() for x in (PHOTOS, FAKES)]
  np.testing.assert_allclose(total, 0.5 * (r1 * norms[0] + r2 * norms[1]), rtol=1e-10)
  wanted = {'discriminator/r1': r1 and norms[0], 'discriminator/r2': r2 and norms[1]}
  assert metrics == pytest.approx({name: x for name, x in wanted.items() if x})
