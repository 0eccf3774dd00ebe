"""What a discriminator pays for real images, the loss and R1 together.

Left to autodiff, loss and R1 go through the network's transpose once each: R1 with the cotangent 1
of every logit, the loss with its slope. But a logit depends on its own image alone, so both passes
hold the same vectors, image by image, up to that slope. One pass with the slopes gives the gradient
of the loss and, divided by them, that of the images; with the second pass through it, a step's real
images cost five passes instead of six.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.losses import adversarial, regularizers
from jax3dgan.nn import backend

# The least slope of a loss, times the batch, that the pass is made with. It is divided out again,
# so it must not vanish in float32; a gradient of this size does not matter to anyone.
_LEAST_SLOPE = 1e-12


class RealTerms(NamedTuple):
  """loss and r1 are scalars, means over the batch; logits [b] are for looking at, not for
  gradients."""

  loss: jax.Array
  r1: jax.Array
  logits: jax.Array


def reference_terms(logit_fn: Callable, params, images, fake_logits=None) -> RealTerms:
  """`real_terms`, left to autodiff; also for logits that depend on each other's images."""
  logits = logit_fn(params, images)
  r1 = regularizers.r1_penalty(lambda x: logit_fn(params, x), images)
  loss = adversarial.real_loss(_margins(logits, fake_logits))
  return RealTerms(loss, r1, jax.lax.stop_gradient(logits))


def _margins(logits, fake_logits):
  """What the loss is of."""
  return logits if fake_logits is None else logits - fake_logits


def real_terms(logit_fn: Callable, params, images, fake_logits=None) -> RealTerms:
  """softplus(−logit) and E‖∇logit‖² (R1; multiply by λ/2) of real images, in few passes.

  Args:
    logit_fn: (params, images [b, h, w, c], or a pytree of such) → logits [b]; each depends on its
      own image alone (otherwise: `reference_terms`).
    params: their gradient is exact; it cannot be differentiated again.
    images: get no gradient.
    fake_logits: [b], for the relativistic loss of pairs in place of that of photos alone, see
      `adversarial.relativistic_loss`; they get a gradient.
  """
  if not backend.own_forms():
    return reference_terms(logit_fn, params, jax.lax.stop_gradient(images), fake_logits)
  return _real_terms(logit_fn, params, images, fake_logits)


_real_terms = jax.custom_vjp(reference_terms, nondiff_argnums=(0,))


def _forward(logit_fn, params, images, fake_logits):
  def first(params):
    logits, transpose = jax.vjp(logit_fn, params, images)
    b = logits.shape[0]
    margins = _margins(logits, fake_logits)
    slopes = jax.lax.stop_gradient(-jnp.maximum(jax.nn.sigmoid(-margins), _LEAST_SLOPE) / b)
    of_loss, of_images = transpose(slopes.astype(logits.dtype))

    def divide(x):
      return x / slopes.reshape(-1, *(1,) * (x.ndim - 1))

    return jax.tree.map(divide, of_images), (of_loss, logits)

  of_images, transpose, (of_loss, logits) = jax.vjp(first, params, has_aux=True)
  r1 = regularizers.squared_norms(of_images).mean()
  (of_r1,) = transpose(jax.tree.map(lambda x: 2 / logits.shape[0] * x, of_images))
  of_fakes, margins = None, _margins(logits, fake_logits)
  if fake_logits is not None:
    of_fakes = jax.nn.sigmoid(-margins) / logits.shape[0]
  return RealTerms(adversarial.real_loss(margins), r1, logits), (of_loss, of_r1, of_fakes)


def _backward(logit_fn, gradients, g):
  of_loss, of_r1, of_fakes = gradients
  of_params = jax.tree.map(lambda a, b: g.loss * a + g.r1 * b, of_loss, of_r1)
  return of_params, None, None if of_fakes is None else g.loss * of_fakes


_real_terms.defvjp(_forward, _backward)
