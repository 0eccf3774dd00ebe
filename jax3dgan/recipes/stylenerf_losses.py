"""StyleNeRF's losses, for one device's share of the batch (Gu et al., ICLR 2022, Sec. 3.3, App. B).

`recipes.stylenerf` makes phases of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.generators.stylenerf import Path
from jax3dgan.losses import adversarial, nerf_path, path_length, regularizers
from jax3dgan.recipes import base, loss_terms, mixing
from jax3dgan.recipes.base import Terms
from jax3dgan.training import schedule

PATH_MEAN = 'path_length'  # the buffer of the running mean of the path lengths


class Losses(NamedTuple):
  """The losses of a stage, see `Phase.loss`: (params, networks, inputs, now) → (scalar, Terms).

  Attributes:
    generator, path_length: Of the generator's parameters.
    discriminator, r1: Of the discriminator's.
  """

  generator: Callable
  path_length: Callable
  discriminator: Callable
  r1: Callable


def make_losses(config, generator, discriminator, stage) -> Losses:
  """The losses of a `schedule.Stage`, before their mean over devices."""
  loss, own, options = config.loss, config.stylenerf, stage.options
  # Without the up-sampler's blocks an image is its own NeRF path.
  has_path = bool(own.nerf_path) and options.resolution > generator.low_resolution

  def fade_at(now):
    return schedule.fade(stage, now.step, loss.fade_steps)

  def noise_at(now):
    if not loss.density_noise_steps:
      return loss.density_noise
    return schedule.density_noise(now.step, loss.density_noise, loss.density_noise_steps)

  def styles(variables, inputs):
    w = generator.apply(variables, inputs.z, method='map')
    if 'crossover' not in inputs.extras:
      return w
    other = generator.apply(variables, inputs.extras['mixed z'], method='map')
    return mixing.mix(w, other, inputs.extras['crossover'])

  def images(variables, w, inputs, now):
    out = generator.apply(
      variables,
      w,
      inputs.camera,
      inputs.keys,
      options,
      noise_at(now),
      fade_at(now),
      method='synthesize',
    )
    return out.image

  def discriminate(variables, image, now):
    return discriminator.apply(variables, image, fade_at(now))

  def regression(out, inputs):
    """The weighted error of the fakes' poses, and the bare one."""
    if not loss.pose:
      return jnp.zeros(()), jnp.zeros(())
    target = regularizers.pose_target(
      inputs.extras['yaw'], inputs.extras['pitch'], loss.pose_encoding
    )
    error = regularizers.pose_loss(out.heads['pose'], target)
    return loss.pose * error, error

  def of_generator(params, networks, inputs, now):
    variables = networks.variables('generator', params)
    w = styles(variables, inputs)
    path = index = None
    if has_path:
      pixels = min(own.nerf_path_pixels, options.resolution)
      index, uv = nerf_path.pixel_grid(inputs.extras['places'], options.resolution, pixels)
      path = Path(uv, inputs.extras['path keys'])
    made = generator.apply(
      variables,
      w,
      inputs.camera,
      inputs.keys,
      options,
      noise_at(now),
      fade_at(now),
      path,
      method='synthesize_for_training',
    )
    judge = networks.variables('discriminator')
    out = discriminate(judge, made.rendering.image, now)
    photo_logits = lambda: discriminate(judge, inputs.images, now).logits  # noqa: E731
    adversarial_loss = adversarial.generator_loss(
      loss_terms.margins(loss, out.logits, photo_logits)
    )
    penalty, pose_error = regression(out, inputs)
    metrics = {'generator/adversarial': adversarial_loss, 'generator/pose_error': pose_error}
    total = adversarial_loss + penalty
    if has_path:
      path_loss = nerf_path.nerf_path_loss(made.rendering.image, made.path_colours, index).mean()
      metrics['generator/nerf_path'] = path_loss
      total += own.nerf_path * path_loss
    buffers = base.running_w_average(networks, w, own.w_average_decay)
    if generator.channels:
      buffers['generator']['powers'] = made.powers
    return total, Terms(metrics, buffers)

  def of_path_length(params, networks, inputs, now):
    variables = networks.variables('generator', params)
    lengths = path_length.lengths(
      lambda w: images(variables, w, inputs, now),
      styles(variables, inputs),
      inputs.extras['noise'],
    )
    # The mean of before: what this batch adds is a mean over all micro-batches and devices.
    mean = networks.buffers[PATH_MEAN]
    penalty = path_length.penalty(lengths, mean)
    metrics = {'generator/path_length': lengths.mean(), 'generator/path_penalty': penalty}
    moved = path_length.updated_mean(mean, lengths)
    return own.path_length * penalty, Terms(metrics, {PATH_MEAN: moved})

  def fakes_of(networks, inputs, now):
    variables = networks.variables('generator')
    return jax.lax.stop_gradient(images(variables, styles(variables, inputs), inputs, now))

  def gradients(variables, inputs, fakes, now):
    logit_fn = lambda image: discriminate(variables, image, now).logits  # noqa: E731
    return loss_terms.of_gradients(loss, (logit_fn, inputs.images), (logit_fn, fakes))

  def of_discriminator(params, networks, inputs, now):
    fakes = fakes_of(networks, inputs, now)
    variables = networks.variables('discriminator', params)
    fake = discriminate(variables, fakes, now)
    real = discriminate(variables, inputs.images, now)
    relativistic = loss_terms.is_relativistic(loss)
    adversarial_loss, metrics = loss_terms.of_discriminator(real.logits, fake.logits, relativistic)
    penalty, metrics['discriminator/pose_error'] = regression(fake, inputs)
    if loss_terms.is_joint(loss):
      more, own_metrics = gradients(variables, inputs, fakes, now)
      penalty, metrics = penalty + more, metrics | own_metrics
    return adversarial_loss + penalty, Terms(metrics)

  def of_r1(params, networks, inputs, now):
    fakes = fakes_of(networks, inputs, now) if loss.r2 else None
    variables = networks.variables('discriminator', params)
    total, metrics = gradients(variables, inputs, fakes, now)
    return total, Terms(metrics)

  return Losses(of_generator, of_path_length, of_discriminator, of_r1)
