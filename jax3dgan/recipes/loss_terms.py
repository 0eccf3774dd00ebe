"""Terms that several recipes have, with what is logged of them."""

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp

from jax3dgan.losses import adversarial, real_images, regularizers
from jax3dgan.losses.real_images import RealTerms

NON_SATURATING, RELATIVISTIC = KINDS = ('non_saturating', 'relativistic')


@dataclasses.dataclass(frozen=True)
class Adversarial:
  """Fields of `config.loss` of any recipe whose discriminator has R1 (`loss.r1`).

  Attributes:
    adversarial: 'non_saturating', each paper's, or 'relativistic': photo i is compared with fake i
      of the batch, in the generator's loss too. With R1 and R2 of one weight, γ, in every step it
      is R3GAN's (Huang et al., NeurIPS 2024, arXiv 2501.05441, whose γ is 2 at 64² and 150 at
      256²).
    r2: Weight of R2, the same of fakes as R1 is of photos; it counts when R1 does.
  """

  adversarial: str = NON_SATURATING
  r2: float = 0.0


@dataclasses.dataclass(frozen=True)
class Loss(Adversarial):
  """`config.loss` of R1 and a head that guesses poses.

  Attributes:
    r1, r1_every: Weight of R1; with the discriminator's own loss if it counts every step, or each
      so many steps as a step of its own.
    pose, pose_encoding: Weight of the regression of the fakes' poses, and what is regressed:
      'angles' (pitch, yaw) or 'direction' (the unit vector towards the camera).
  """

  r1: float = 1.0
  r1_every: int = 16
  pose: float = 0.0
  pose_encoding: str = 'angles'


def is_relativistic(loss) -> bool:
  """Whether `config.loss` compares photos and fakes in pairs."""
  return loss.adversarial == RELATIVISTIC


def sees_photos(loss, phase: str) -> bool:
  """Whether a phase's loss is of photos: the discriminator's ones, and the generator's where it is
  relativistic."""
  return phase in ('discriminator', 'r1') or (phase == 'generator' and is_relativistic(loss))


def makes_fakes(loss, phase: str) -> bool:
  """Whether a phase's loss is of fakes: R1 alone is not."""
  return phase != 'r1' or bool(loss.r2)


def is_lazy(loss) -> bool:
  """Whether R1 and R2 are a phase of their own, 'r1'."""
  return bool(loss.r1 or loss.r2) and loss.r1_every > 1


def is_joint(loss) -> bool:
  """Whether R1 and R2 count with the discriminator's own loss."""
  return bool(loss.r1 or loss.r2) and loss.r1_every <= 1


def of_discriminator(real_logits, fake_logits, relativistic: bool = False):
  """The discriminator's loss of logits [b] each: (scalar, metrics)."""
  of_both = adversarial.relativistic_loss if relativistic else adversarial.discriminator_loss
  loss = of_both(real_logits, fake_logits)
  return loss, discriminator_metrics(loss, real_logits, fake_logits)


def paired(loss, fake_logits_fn: Callable):
  """What `of_photos` is told of fakes: their logits, `fake_logits_fn()`; None where the loss of
  photos is of photos alone."""
  return fake_logits_fn() if is_relativistic(loss) else None


def of_both(loss, of_photos, fake_logits):
  """The discriminator's loss, of that of photos and the fakes' logits [b]: a scalar."""
  return of_photos if is_relativistic(loss) else of_photos + adversarial.fake_loss(fake_logits)


def margins(loss, fake_logits, real_logits_fn: Callable):
  """What the generator's loss is of: the fakes' logits [b], or, where it is relativistic, their
  differences from those of the photos beside them, `real_logits_fn()`."""
  return fake_logits - real_logits_fn() if is_relativistic(loss) else fake_logits


def discriminator_metrics(loss, real_logits, fake_logits) -> dict:
  """What is logged of the discriminator's adversarial loss, a scalar, and its logits [b]."""
  return {
    'discriminator/adversarial': loss,
    'discriminator/real_logits': real_logits.mean(),
    'discriminator/fake_logits': fake_logits.mean(),
  }


def of_gradients(loss, photos, fakes):
  """R1 of photos and R2 of fakes, weight/2·E‖∇logit‖² each: (scalar, metrics).

  Args:
    loss: `config.loss` with `r1` and `r2`; what has the weight 0 is left out.
    photos, fakes: (logit_fn, images) each, see `regularizers.r1_penalty`.
  """
  terms, metrics = [], {}
  for name, of_images in (('r1', photos), ('r2', fakes)):
    if loss[name]:
      metrics[f'discriminator/{name}'] = penalty = regularizers.r1_penalty(*of_images)
      terms.append(0.5 * loss[name] * penalty)
  return functools.reduce(jnp.add, terms), metrics


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


def of_photos(
  discriminator, logit_fn: Callable, params, images, has_r1: bool, fake_logits=None
) -> RealTerms:
  """The loss of photos in the discriminator's own phase, with R1 or without: 0 then.

  Args:
    discriminator: One that compares images of a batch has no short cut.
    logit_fn, params, images, fake_logits: See `real_images.real_terms`.
  """
  if not has_r1:
    logits = logit_fn(params, images)
    if fake_logits is None:
      return RealTerms(adversarial.real_loss(logits), jnp.zeros(()), logits)
    return RealTerms(adversarial.relativistic_loss(logits, fake_logits), jnp.zeros(()), logits)
  alone = discriminator.independent_logits
  return (real_images.real_terms if alone else real_images.reference_terms)(
    logit_fn, params, images, fake_logits
  )


def depth_spread(depth, options):
  """Standard deviation of the depths [b, h, w] of an image, averaged, as a share of the depth of
  the scene (`hierarchical.RenderOptions`): 0 is flat."""
  return jnp.std(depth, axis=(1, 2)).mean() / (options.far - options.near)
