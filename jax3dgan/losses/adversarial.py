"""The non-saturating GAN loss (Goodfellow et al. 2014, arXiv 1406.2661), the relativistic one of
pairs (Jolicoeur-Martineau 2018, arXiv 1807.00734; R3GAN, Huang et al. 2024, arXiv 2501.05441), and
top-k training of the generator (Sinha et al. 2020, arXiv 2002.06224).

The relativistic loss is the non-saturating one of differences: of a photo's logit less that of the
fake beside it, and, for the generator, the other way round.

Losses are means over the batch, the generator's also a sum under the weights of `top_k_weights`.
"""

import jax
import jax.numpy as jnp


def real_loss(real_logits):
  """softplus(-real) of logits [b], averaged: the discriminator's loss on real images; a scalar."""
  return jax.nn.softplus(-real_logits).mean()


def fake_loss(fake_logits):
  """softplus(fake) of logits [b], averaged: the discriminator's loss on fakes; a scalar."""
  return jax.nn.softplus(fake_logits).mean()


def discriminator_loss(real_logits, fake_logits):
  """`real_loss` + `fake_loss`."""
  return fake_loss(fake_logits) + real_loss(real_logits)


def relativistic_loss(real_logits, fake_logits):
  """softplus(fake − real) of pairs of logits [b], averaged: the discriminator's; a scalar."""
  return real_loss(real_logits - fake_logits)


def generator_losses(fake_logits):
  """softplus(-fake) per example, [b] → [b]."""
  return jax.nn.softplus(-fake_logits)


def generator_loss(fake_logits, weights=None):
  """The mean of `generator_losses`, or their sum under weights [b] that sum to one; a scalar."""
  losses = generator_losses(fake_logits)
  return losses.mean() if weights is None else (losses * weights).sum()


def top_k_fraction(step, interval: int, floor: float, base: float = 0.99):
  """The share of a batch that trains the generator: max(base^(step / interval), floor).

  `step` may be traced. An `interval` of 0 switches top-k off: the share is 1.
  """
  if not interval:
    return jnp.ones(())
  return jnp.maximum(base ** (step / interval), floor)


def top_k_weights(logits, fraction):
  """Weights [b] that average over the most real-looking `fraction` of a batch and drop the rest.

  k = ceil(fraction * b) logits get 1/k, the others 0; ties go to the lower index. `logits` [b] are
  those of the GLOBAL batch: chosen within small parts of it, nothing is ever dropped. `fraction` in
  (0, 1] may be traced. No gradient goes through the choice.
  """
  b = logits.shape[0]
  # The slack keeps a fraction such as 0.6, whose float32 times b may exceed a whole number, at it.
  k = jnp.clip(jnp.ceil(fraction * b - 1e-4), 1, b)
  order = jnp.argsort(-jax.lax.stop_gradient(logits), stable=True)
  rank = jnp.zeros(b, jnp.int32).at[order].set(jnp.arange(b, dtype=jnp.int32))
  return (rank < k).astype(logits.dtype) / k.astype(logits.dtype)
