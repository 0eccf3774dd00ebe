"""Terms that several recipes have, with what is logged of them."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from jax3dgan.losses import adversarial, real_images, regularizers
from jax3dgan.losses.real_images import RealTerms
from jax3dgan.recipes.base import Terms


@dataclasses.dataclass(frozen=True)
class Loss:
  """`config.loss` of R1 and a head that guesses poses.

  Attributes:
    r1, r1_every: Weight of R1, and each how many steps it has a step of its own.
    pose, pose_encoding: Weight of the regression of the fakes' poses, and what is regressed:
      'angles' (pitch, yaw) or 'direction' (the unit vector towards the camera).
  """

  r1: float = 1.0
  r1_every: int = 16
  pose: float = 0.0
  pose_encoding: str = 'angles'


def of_discriminator(real_logits, fake_logits):
  """The discriminator's non-saturating loss of logits [b] each: (scalar, metrics)."""
  loss = adversarial.discriminator_loss(real_logits, fake_logits)
  return loss, discriminator_metrics(loss, real_logits, fake_logits)


def discriminator_metrics(loss, real_logits, fake_logits) -> dict:
  """What is logged of the discriminator's adversarial loss, a scalar, and its logits [b]."""
  return {
    'discriminator/adversarial': loss,
    'discriminator/real_logits': real_logits.mean(),
    'discriminator/fake_logits': fake_logits.mean(),
  }


def of_r1(weight: float, logit_fn: Callable, images):
  """R1 as a phase of its own, weight/2·E‖∇logit‖²: (scalar, `Terms`).

  Args:
    logit_fn: images → logits [b], see `regularizers.r1_penalty`.
    images: Photos, or a pytree of such.
  """
  penalty = regularizers.r1_penalty(logit_fn, images)
  return 0.5 * weight * penalty, Terms({'discriminator/r1': penalty})


def of_pose(loss, out, camera):
  """The regression of the fakes' poses by the discriminator's head: (weighted error, error).

  Args:
    loss: `config.loss` with `pose` and `pose_encoding`.
    out: The discriminator's output for images from cameras [b].
  """
  if not loss.pose:
    return jnp.zeros(()), jnp.zeros(())
  target = regularizers.camera_pose_target(camera, loss.pose_encoding)
  error = regularizers.pose_loss(out.heads['pose'], target)
  return loss.pose * error, error


def of_photos(discriminator, logit_fn: Callable, params, images, has_r1: bool) -> RealTerms:
  """The loss of photos in the discriminator's own phase, with R1 or without: 0 then.

  Args:
    discriminator: One that compares images of a batch has no short cut.
    logit_fn, params, images: See `real_images.real_terms`.
  """
  if not has_r1:
    logits = logit_fn(params, images)
    return RealTerms(adversarial.real_loss(logits), jnp.zeros(()), logits)
  alone = discriminator.independent_logits
  return (real_images.real_terms if alone else real_images.reference_terms)(
    logit_fn, params, images
  )


def depth_spread(depth, options):
  """Standard deviation of the depths [b, h, w] of an image, averaged, as a share of the depth of
  the scene (`hierarchical.RenderOptions`): 0 is flat."""
  return jnp.std(depth, axis=(1, 2)).mean() / (options.far - options.near)
