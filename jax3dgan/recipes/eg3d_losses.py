"""EG3D's losses, for one device's share of the batch (Chan et al., CVPR 2022, Sec. 5, supplement).

`recipes.eg3d` makes phases of them; `eg3d_inputs` draws what the fakes are made from.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan import augment
from jax3dgan.cameras import camera_generator
from jax3dgan.devices import parallel
from jax3dgan.losses import adversarial, blur, density
from jax3dgan.nn import resample
from jax3dgan.recipes import base, eg3d_inputs, loss_terms, views
from jax3dgan.recipes.base import Terms
from jax3dgan.training.schedule import Stage
from jax3dgan.training.streams import named_keys

DENSITY_KINDS = ('l1', 'monotonic')


class Losses(NamedTuple):
  """The losses of a stage, see `Phase.loss`: (params, networks, inputs, now) → (scalar, Terms).

  Attributes:
    generator, density: Of the generator's parameters.
    discriminator, r1: Of the discriminator's.
    generator_gradient: Of the same as `generator`, see `Phase.gradient`.
  """

  generator: Callable
  density: Callable
  discriminator: Callable
  r1: Callable
  generator_gradient: Callable


def make_losses(config, generator, discriminator, stage: Stage) -> Losses:
  """The losses of a stage, before their mean over devices.

  A discriminator of pairs gets the image and what was rendered; any other the image alone.
  """
  loss, own, learned = config.loss, config.eg3d, camera_generator.is_learned(config)
  options = stage.options
  takes_pairs = discriminator is not None and discriminator.takes_pairs
  conditioned = bool(discriminator is not None and discriminator.label_dim)
  low_size = options.low_resolution or generator.low_resolution or stage.resolution

  def sigma_at(now):
    return blur.blur_sigma(now.images, own.blur, own.blur_images)

  def styles(variables, inputs):
    condition = inputs.condition if generator.label_dim else None
    return generator.apply(variables, inputs.z, condition, method='map')

  def rendered(variables, scene, inputs):
    """(image, low_res) of styles or a scene."""
    out = generator.apply(
      variables, scene, inputs.camera, inputs.keys, options, method='synthesize'
    )
    return out.image, out.low_res

  def images_of(variables, inputs):
    """(image, low_res) and the styles."""
    w = styles(variables, inputs)
    return rendered(variables, w, inputs), w

  def blurred(image, sigma):
    return blur.gaussian_blur(image, sigma, own.blur) if own.blur else image

  def discriminate(variables, pair, label, sigma, networks, keys):
    """Logits and heads of a pair, blurred and augmented (with `keys`, where there is any)."""
    image, low = pair
    image = blurred(image, sigma)
    if keys is not None:
      p = networks.buffers['augment'].p
      if takes_pairs:
        image, low = augment.augment_pair(keys, image, low, p)
      else:
        image = augment.augment(keys, image, p)
    label = {'label': label} if conditioned else {}
    return discriminator.apply(variables, (image, low) if takes_pairs else image, **label)

  def label_of_fakes(inputs):
    """The label of fakes that the discriminator is conditioned on."""
    noise = inputs.extras.get('label_noise')
    return inputs.label if noise is None else inputs.label + noise

  def photo_pair(images, sigma):
    """The photo, and the photo as if it had been rendered."""
    low = resample.resize_bilinear(images, low_size) if takes_pairs else images
    return images, blurred(low, sigma)

  def of_photos(variables, pair, inputs, sigma, networks):
    """Logits and heads of the photos."""
    keys = inputs.extras.get('augment photos')
    return discriminate(variables, pair, inputs.image_label, sigma, networks, keys)

  def gradients(variables, inputs, sigma, networks, fakes):
    """R1 and R2, see `loss_terms.of_gradients`; of each image, or of pairs."""

    def logit_fn(judged):
      return lambda pair: judged(pair if takes_pairs else (pair, pair)).logits

    def of_fakes(pair):
      keys = inputs.extras.get('augment fakes')
      return discriminate(variables, pair, label_of_fakes(inputs), sigma, networks, keys)

    photos = logit_fn(lambda pair: of_photos(variables, pair, inputs, sigma, networks))
    pairs = photo_pair(inputs.images, sigma), fakes
    pairs = [pair if takes_pairs or pair is None else pair[0] for pair in pairs]
    return loss_terms.of_gradients(loss, (photos, pairs[0]), (logit_fn(of_fakes), pairs[1]))

  def views_of(params, variables, inputs):
    """The inputs of each view of the objects, and the images; all of the same scenes."""
    seen = [eg3d_inputs.view_of(inputs, number) for number in range(own.views)]
    seen = [eg3d_inputs.move_cameras(config, params, view) for view in seen]
    if own.views == 1:
      return seen, [images_of(variables, *seen)[0]]
    keys = named_keys(inputs.keys, 'scene') if parallel.are_keys(inputs.keys) else None
    scene = generator.apply(variables, styles(variables, seen[0]), keys, method='prepare')
    return seen, [rendered(variables, scene, view) for view in seen]

  def generator_terms(params, networks, inputs, now):
    seen, pairs = views_of(params, networks.variables('generator', params), inputs)
    labels = [label_of_fakes(view) for view in seen]
    judge, sigma = networks.variables('discriminator'), sigma_at(now)

    @functools.cache
    def photo_logits():
      return of_photos(judge, photo_pair(inputs.images, sigma), inputs, sigma, networks).logits

    terms = []
    # View by view, so that images which the discriminator compares are of different objects.
    for view, pair, label in zip(seen, pairs, labels, strict=True):
      out = discriminate(judge, pair, label, sigma, networks, view.extras.get('augment fakes'))
      margins = loss_terms.margins(loss, out.logits, photo_logits)
      of_pose = loss_terms.of_pose(loss, out, view.camera)
      terms.append((adversarial.generator_loss(margins), *of_pose))
    adversarial_loss, penalty, pose_error = map(views.mean, zip(*terms, strict=True))
    metrics = {'generator/adversarial': adversarial_loss, 'generator/pose_error': pose_error}
    if learned:
      prior = camera_generator.pose_prior(config, params)
      of_means, of_stds = prior.divergence()
      metrics |= {'pose_prior/divergence': of_means + of_stds, **prior.metrics()}
      weights = config.camera_generator
      adversarial_loss += weights.mean_penalty * of_means + weights.std_penalty * of_stds
    return (adversarial_loss, penalty), Terms(metrics)

  def of_generator(*inputs):
    (adversarial_loss, penalty), terms = generator_terms(*inputs)
    return adversarial_loss + penalty, terms

  def generator_gradient(params, *inputs):
    if not (learned and loss.pose):
      (value, terms), gradients = jax.value_and_grad(of_generator, has_aux=True)(params, *inputs)
      return gradients, (value, terms)
    # Cameras must not move to where their pose is guessed easily: what they learn from is the
    # adversarial loss. The rendering is run backwards once more for them, not forwards.
    values, pull_back, terms = jax.vjp(
      lambda params: generator_terms(params, *inputs), params, has_aux=True
    )
    one, none = jnp.ones(()), jnp.zeros(())
    (gradients,), (of_cameras,) = pull_back((one, one)), pull_back((one, none))
    own_gradients = {camera_generator.PARAMS: of_cameras[camera_generator.PARAMS]}
    return {**gradients, **own_gradients}, (sum(values), terms)

  def of_density(params, networks, inputs, now):
    del now
    inputs = eg3d_inputs.move_cameras(config, jax.lax.stop_gradient(params), inputs)
    variables = networks.variables('generator', params)
    w = styles(variables, inputs)
    keys = inputs.keys if parallel.are_keys(inputs.keys) else None
    scene = generator.apply(variables, w, keys, method='prepare')

    def density_fn(points):
      return generator.apply(variables, scene, points, method='query')[0]

    places = inputs.extras
    term = density.l1(density_fn, places['points'], places['neighbours'])
    total = own.density * term
    metrics = {'generator/density': term}
    if own.density_kind == 'monotonic':
      inwards = density.monotonic(density_fn, places['front'], places['behind'])
      total += own.monotonic * inwards
      metrics['generator/monotonic'] = inwards
    return total, Terms(metrics)

  def of_discriminator(params, networks, inputs, now):
    inputs = eg3d_inputs.move_cameras(config, networks.params['generator'], inputs)
    sigma, variables = sigma_at(now), networks.variables('discriminator', params)
    pair, w = jax.lax.stop_gradient(images_of(networks.variables('generator'), inputs))
    keys = inputs.extras.get('augment fakes')
    fake = discriminate(variables, pair, label_of_fakes(inputs), sigma, networks, keys)
    real = of_photos(variables, photo_pair(inputs.images, sigma), inputs, sigma, networks)
    relativistic = loss_terms.is_relativistic(loss)
    adversarial_loss, metrics = loss_terms.of_discriminator(real.logits, fake.logits, relativistic)
    penalty, metrics['discriminator/pose_error'] = loss_terms.of_pose(loss, fake, inputs.camera)
    if loss_terms.is_joint(loss):
      more, own_metrics = gradients(variables, inputs, sigma, networks, pair)
      penalty, metrics = penalty + more, metrics | own_metrics
    metrics['discriminator/real_signs'] = jnp.sign(real.logits).mean()
    if keys is not None:
      metrics['discriminator/augment_p'] = networks.buffers['augment'].p
    average = base.running_w_average(networks, w, own.w_average_decay)
    return adversarial_loss + penalty, Terms(metrics, average)

  def of_r1(params, networks, inputs, now):
    sigma, variables = sigma_at(now), networks.variables('discriminator', params)
    fakes = None
    if loss.r2:
      inputs = eg3d_inputs.move_cameras(config, networks.params['generator'], inputs)
      fakes, _ = jax.lax.stop_gradient(images_of(networks.variables('generator'), inputs))
    total, metrics = gradients(variables, inputs, sigma, networks, fakes)
    return total, Terms(metrics)

  return Losses(of_generator, of_density, of_discriminator, of_r1, generator_gradient)
