"""Losses of 3D Gaussians whose images a discriminator judges, for one device's share of the batch:
what GGHead's recipe and CGS-GAN's share."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan import cameras
from jax3dgan.devices import parallel
from jax3dgan.generators.splatted import GaussianScene
from jax3dgan.losses import adversarial, blur
from jax3dgan.recipes import backgrounds, base, loss_terms
from jax3dgan.recipes.base import Terms
from jax3dgan.recipes.views import VIEWS
from jax3dgan.training.schedule import Stage

BACKGROUND = 'background'  # of `Inputs.extras`: [b, v, 3] colours of the ground behind each view


class Losses(NamedTuple):
  """The losses of a stage, see `Phase.loss`: (params, networks, inputs, now) → (scalar, Terms).

  Attributes:
    generator: Of the generator's parameters.
    discriminator, r1: Of the discriminator's.
  """

  generator: Callable
  discriminator: Callable
  r1: Callable


def make_losses(
  config,
  own,
  generator,
  discriminator,
  stage: Stage,
  regularisation: Callable,
  with_features: Callable | None = None,
) -> Losses:
  """The losses of a stage, before their mean over devices.

  Args:
    own: The recipe's own group, with `views`, `blur`, `blur_images` and `w_average_decay`.
    generator: Of Gaussians, with `raw_attributes(w, key)` and `gaussians_of(raw)`.
    regularisation: (variables, raw, gaussians, splats, now) → {name: weighted term} of the
      generator's loss.
    with_features: (variables, gaussians) → Gaussians with the features that the regularisation
      needs in images; None for those without.
  """
  loss, options = config.loss, stage.options
  conditioned = bool(discriminator is not None and discriminator.label_dim)

  def blurred(image, now):
    """What the discriminator sees."""
    if not own.blur:
      return image
    return blur.gaussian_blur(
      image, blur.blur_sigma(now.images, own.blur, own.blur_images), own.blur
    )

  def judge(variables, image, label):
    return discriminator.apply(variables, image, **({'label': label} if conditioned else {}))

  def objects_of(variables, inputs):
    """Raw attributes, the Gaussians of them, and the styles."""
    condition = inputs.condition if generator.label_dim else None
    w = generator.apply(variables, inputs.z, condition, method='map')
    keys = inputs.keys if parallel.are_keys(inputs.keys) else None
    raw = generator.apply(variables, w, keys, method='raw_attributes')
    return raw, generator.apply(variables, raw, method='gaussians_of'), w

  def draw(variables, gaussians, label):
    """Splats [b, views] of labels [b, views, 25]."""
    return generator.apply(
      variables, GaussianScene(gaussians), cameras.from_label(label), options, method='splat'
    )

  def images_of(composite, inputs):
    """Images [b, views, h, w, 3] in [−1, 1], each on its ground."""
    image = 2 * composite.colour - 1
    if BACKGROUND not in inputs.extras:
      return image
    return backgrounds.behind(image, composite.opacity, inputs.extras[BACKGROUND])

  def of_photos(variables, inputs, now):
    return judge(variables, blurred(inputs.images, now), inputs.image_label)

  def gradients(variables, inputs, now, fakes):
    """R1 and R2; in the releases R1 is the gradient in the blurred photo, not in the photo."""
    labels = {'photos': inputs.image_label, 'fakes': inputs.label}

    def logits_of(which):
      return lambda image: judge(variables, image, labels[which]).logits

    photos = logits_of('photos'), blurred(inputs.images, now)
    return loss_terms.of_gradients(loss, photos, (logits_of('fakes'), fakes))

  def fakes_of(variables, inputs, now):
    """Blurred images [b, h, w, 3] and the styles that they are of, without gradients."""
    _, gaussians, w = objects_of(variables, inputs)
    splats = draw(variables, gaussians, inputs.label[:, None])
    fakes = images_of(splats.composite, inputs)[:, 0]
    return jax.lax.stop_gradient((blurred(fakes, now), w))

  def of_generator(params, networks, inputs, now):
    variables = networks.variables('generator', params)
    raw, gaussians, _ = objects_of(variables, inputs)
    if with_features is not None:
      gaussians = with_features(variables, gaussians)
    label = inputs.label[:, None]
    if VIEWS in inputs.extras:  # their cameras [b, v − 1, 25]
      label = jnp.concatenate([label, inputs.extras[VIEWS]], axis=1)  # [b, v, 25]
    splats = draw(variables, gaussians, label)
    images = images_of(splats.composite, inputs)
    judges = networks.variables('discriminator')
    photo_logits = functools.cache(lambda: of_photos(judges, inputs, now).logits)
    adversarial_loss = penalty = pose_error = 0.0
    # View by view, so that images which the discriminator compares are of different objects.
    for view in range(own.views):
      image = blurred(images[:, view], now)
      out = judge(judges, image, label[:, view])
      margins = loss_terms.margins(loss, out.logits, photo_logits)
      adversarial_loss += adversarial.generator_loss(margins) / own.views
      of_view = loss_terms.of_pose(loss, out, cameras.from_label(label[:, view]))
      penalty += of_view[0] / own.views
      pose_error += of_view[1] / own.views
    terms = regularisation(variables, raw, gaussians, splats, now)
    metrics = {f'generator/{name}': term for name, term in terms.items()}
    metrics |= {
      'generator/adversarial': adversarial_loss,
      'generator/pose_error': pose_error,
      'gaussians/opacity': gaussians.opacities.mean(),
      'gaussians/scale': gaussians.scales.mean(),
      'gaussians/coverage': splats.composite.opacity.mean(),
    }
    return adversarial_loss + penalty + sum(terms.values()), Terms(metrics)

  def of_discriminator(params, networks, inputs, now):
    variables = networks.variables('discriminator', params)
    fakes, w = fakes_of(networks.variables('generator'), inputs, now)
    fake, real = judge(variables, fakes, inputs.label), of_photos(variables, inputs, now)
    relativistic = loss_terms.is_relativistic(loss)
    total, metrics = loss_terms.of_discriminator(real.logits, fake.logits, relativistic)
    penalty, metrics['discriminator/pose_error'] = loss_terms.of_pose(loss, fake, inputs.camera)
    if loss_terms.is_joint(loss):
      more, own_metrics = gradients(variables, inputs, now, fakes)
      penalty, metrics = penalty + more, metrics | own_metrics
    average = base.running_w_average(networks, w, own.w_average_decay)
    return total + penalty, Terms(metrics, average)

  def of_r1(params, networks, inputs, now):
    fakes = None
    if loss.r2:
      fakes, _ = fakes_of(networks.variables('generator'), inputs, now)
    total, metrics = gradients(networks.variables('discriminator', params), inputs, now, fakes)
    return total, Terms(metrics)

  return Losses(of_generator, of_discriminator, of_r1)
