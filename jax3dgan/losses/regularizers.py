"""Terms beside the adversarial loss: R1, and the regression of an image's pose and latent."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax3dgan import cameras
from jax3dgan.cameras import Camera


def r1_penalty(logit_fn: Callable, images):
  """E‖∇logit‖² at real images, or, R2, at fakes (Mescheder et al. 2018, arXiv 1801.04406); multiply
  by λ/2.

  Args:
    logit_fn: images → logits [b]. Where a logit depends on other images too (standard deviation
      of a minibatch), the gradient is that of all logits' sum, as in StyleGAN2.
    images: [b, h, w, c], or a pytree of such: a pair of a dual discriminator's (EG3D, Sec. 4.4).
  Returns: a scalar, the mean over the batch of the gradient's squared norm, of all images together.
  """
  gradient = jax.grad(lambda x: logit_fn(x).sum())(images)
  return squared_norms(gradient).mean()


def squared_norms(tree):
  """Squared norms [b] of a pytree of arrays [b, ...]."""
  leaves = jax.tree.leaves(tree)
  return sum(jnp.square(x).reshape(x.shape[0], -1).sum(1) for x in leaves)


def is_due(step, interval: int):
  """Whether a lazy term, which counts `interval` times where it does, is due (may be traced)."""
  return step % interval == 0


def pose_target(yaw, pitch, encoding: str):
  """What a pose head should predict of cameras by π-GAN's angles [b], radians.

  (pitch, yaw) [b, 2] for the encoding 'angles'; (azimuth, elevation) [b, 2] around the front for
  'view' (StyleSDF); the direction towards the camera [b, 3] for 'direction'.
  """
  if encoding == 'angles':
    return jnp.stack([pitch, yaw], axis=-1)
  if encoding == 'view':
    return math.pi / 2 - jnp.stack([yaw, pitch], axis=-1)
  return cameras.from_yaw_pitch(yaw, pitch).origin


def camera_pose_target(camera: Camera, encoding: str):
  """`pose_target` of cameras [b] that look at the origin."""
  direction = camera.origin / jnp.linalg.norm(camera.origin, axis=-1, keepdims=True)
  if encoding == 'direction':
    return direction
  x, y, z = jnp.moveaxis(direction, -1, 0)
  return pose_target(jnp.arctan2(z, x), jnp.arccos(jnp.clip(y, -1, 1)), encoding)


def pose_loss(predicted, true):
  """Mean squared error of pitch and yaw [b, 2], radians, over batch and angles."""
  return jnp.square(predicted - true).mean()


def smooth_l1(predicted, true):
  """Mean over batch and entries of e²/2 where |e| < 1 and of |e| − ½ elsewhere: errors e of a pose
  [b, n] (Huber's loss)."""
  error = jnp.abs(predicted - true)
  return jnp.where(error < 1, 0.5 * jnp.square(error), error - 0.5).mean()


def latent_loss(predicted, true):
  """Mean squared error of the latent [b, z_dim] that made an image, over batch and entries."""
  return jnp.square(predicted - true).mean()
