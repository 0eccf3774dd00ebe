"""Top-k training of the generator (`adversarial.top_k_weights`) where devices and micro-batches
share a batch: the choice is among all of its images."""

import jax
import jax.numpy as jnp

from jax3dgan.devices import parallel
from jax3dgan.losses import adversarial
from jax3dgan.training import microbatches

WEIGHTS = 'weights'  # of `Inputs.extras`: what was chosen before the first gradient


def weights(logits, fraction, stage):
  """Weights [b] of these examples, such that their weighted mean is the top-k mean of the batch.

  Args:
    logits: [b] of a device's whole share of the batch.
    fraction: in (0, 1], may be traced.
    stage: `schedule.Stage`.
  """
  of_all = jax.lax.all_gather(logits, parallel.AXIS, tiled=True)[: stage.batch_size]
  chosen = adversarial.top_k_weights(of_all, fraction) * of_all.shape[0]
  chosen = jnp.pad(chosen, (0, stage.split.padding))
  first = jax.lax.axis_index(parallel.AXIS) * logits.shape[0]
  return jax.lax.dynamic_slice_in_dim(chosen, first, logits.shape[0])


def chosen_before(logits_of, weights_of):
  """`Phase.prepare` of micro-batches, whose choice needs every logit before the first gradient: one
  more forward pass.

  Args:
    logits_of: (networks, inputs of a micro-batch, now) → logits [b].
    weights_of: (logits of the device's share, now) → weights, see `weights`.
  """

  def prepare(networks, inputs, now, num_micro_batches):
    split = microbatches.split(inputs, num_micro_batches)
    logits = jax.lax.map(lambda part: logits_of(networks, part, now), split).reshape(-1)
    return inputs._replace(extras={**inputs.extras, WEIGHTS: weights_of(logits, now)})

  return prepare
