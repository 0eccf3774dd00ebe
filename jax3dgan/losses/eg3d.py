"""EG3D's losses (Chan et al., CVPR 2022, Sec. 5 and supplement).

For one device's shard of the batch; `steps_eg3d` makes a step of them. `eg3d_inputs` has what the
fakes are made from.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan import augment, cameras, generators
from jax3dgan.cameras import Camera, camera_generator
from jax3dgan.devices import parallel
from jax3dgan.losses import adversarial, blur, density, eg3d_inputs, regularizers
from jax3dgan.nn import resample
from jax3dgan.training.schedule import Stage

# What each kind of density regularisation measures.
DENSITY_TERMS = {
  'l1': ('generator/density',),
  'monotonic': ('generator/density', 'generator/monotonic'),
}


class Losses(NamedTuple):
  """The losses of a stage; each gives (loss, metrics) but the last.

  Images are [b, h, w, 3], labels [b, 25] or None, sigma of the blur in pixels. Where it says
  augmentation there may be one: (keys [b], probabilities [b], all the same), None for none.

  Attributes:
    generator: (g_params, d_params, inputs, sigma, augmentation).
    density: (g_params, inputs, points, neighbours) of each term, see `eg3d_inputs.draw_points`.
    discriminator: (d_params, g_params, images, labels, inputs, sigma, augmentation).
    r1: (d_params, images, labels, sigma, augmentation).
    generator_gradient: of the same as `generator`, giving (gradients, metrics) of that loss.
  """

  generator: Callable
  density: Callable
  discriminator: Callable
  r1: Callable
  generator_gradient: Callable


def pose_target(camera: Camera, encoding: str):
  """What a pose head should say of cameras [b]: (pitch, yaw) [b, 2], or the direction [b, 3]."""
  direction = camera.origin / jnp.linalg.norm(camera.origin, axis=-1, keepdims=True)
  if encoding == 'direction':
    return direction
  x, y, z = jnp.moveaxis(direction, -1, 0)
  return jnp.stack([jnp.arccos(jnp.clip(y, -1, 1)), jnp.arctan2(z, x)], axis=-1)


def make_losses(config, generator, discriminator, stage: Stage) -> Losses:
  """The losses of a stage, before their mean over devices.

  A judge of pairs (`discriminators.dual`) sees the picture and what was rendered; any other the
  picture alone.
  """
  loss, learned = config.loss, camera_generator.is_learned(config)
  options = generators.render_options(
    config,
    resolution=stage.resolution,
    low_resolution=stage.low_resolution,
    num_coarse=stage.num_coarse,
    num_fine=stage.num_fine,
    ray_chunk=stage.ray_chunk,
  )
  sees_pairs = getattr(discriminator, 'sees_pairs', False)
  sees_label = bool(getattr(discriminator, 'label_dim', 0))
  low_size = options.low_resolution or getattr(generator, 'low_resolution', stage.resolution)

  def styles(params, inputs):
    return generator.apply({'params': params}, inputs.z, inputs.condition, method='map')

  def pictures(params, inputs):
    """(image, low_res) and the styles."""
    w = styles(params, inputs)
    camera = cameras.from_label(inputs.label)
    out = generator.apply(
      {'params': params}, w, camera, inputs.rendering, options, method='synthesize'
    )
    return (out.image, out.low_res), w

  def blurred(image, sigma):
    return blur.gaussian_blur(image, sigma, config.eg3d.blur) if config.eg3d.blur else image

  def judge(params, pair, label, sigma, augmentation=None):
    image, low = pair
    image = blurred(image, sigma)
    if augmentation is not None:
      keys, p = augmentation[0], augmentation[1][0]
      if sees_pairs:
        image, low = augment.augment_pair(keys, image, low, p)
      else:
        image = augment.augment(keys, image, p)
    return discriminator.apply(
      {'params': params},
      (image, low) if sees_pairs else image,
      **({'label': label} if sees_label else {}),
    )

  def told(inputs):
    """What the discriminator is told of the cameras of fakes."""
    return inputs.label if inputs.noise is None else inputs.label + inputs.noise

  def real_pair(images, sigma):
    """The photo, and the photo as if it had been rendered."""
    low = resample.resize_bilinear(images, low_size) if sees_pairs else images
    return images, blurred(low, sigma)

  def regression(out, label):
    if not loss.pose:
      return jnp.zeros(()), jnp.zeros(())
    target = pose_target(cameras.from_label(label), loss.pose_encoding)
    error = regularizers.pose_loss(out.pose, target)
    return loss.pose * error, error

  def generator_terms(g_params, d_params, inputs, sigma, augmentation=None):
    inputs = eg3d_inputs.placed(config, g_params, inputs)
    pair, _ = pictures(g_params, inputs)
    out = judge(d_params, pair, told(inputs), sigma, _stream(augmentation, 0))
    adversarial_loss = adversarial.generator_loss(out.logits)
    penalty, pose_error = regression(out, inputs.label)
    metrics = {'generator/adversarial': adversarial_loss, 'generator/pose_error': pose_error}
    if learned:
      prior = camera_generator.pose_prior(config, g_params)
      of_means, of_stds = prior.divergence()
      metrics |= {'pose_prior/divergence': of_means + of_stds, **prior.metrics()}
      own = config.camera_generator
      adversarial_loss += own.mean_penalty * of_means + own.std_penalty * of_stds
    return (adversarial_loss, penalty), metrics

  def of_generator(*inputs):
    (adversarial_loss, penalty), metrics = generator_terms(*inputs)
    total = adversarial_loss + penalty
    return total, {'generator/loss': total, **metrics}

  def generator_gradient(g_params, *inputs):
    if not (learned and loss.pose):
      return jax.grad(of_generator, has_aux=True)(g_params, *inputs)
    # Cameras must not move to where their pose is guessed easily: what they learn from is the
    # adversarial loss. The rendering is run backwards once more for them, not forwards.
    terms, pull_back, metrics = jax.vjp(
      lambda params: generator_terms(params, *inputs), g_params, has_aux=True
    )
    one, none = jnp.ones(()), jnp.zeros(())
    (gradients,), (of_cameras,) = pull_back((one, one)), pull_back((one, none))
    own = {camera_generator.PARAMS: of_cameras[camera_generator.PARAMS]}
    return {**gradients, **own}, {'generator/loss': sum(terms), **metrics}

  def of_density(g_params, inputs, points, neighbours):
    inputs = eg3d_inputs.placed(config, jax.lax.stop_gradient(g_params), inputs)
    w = styles(g_params, inputs)
    keys = inputs.rendering if parallel.are_keys(inputs.rendering) else None

    def density_of(w):
      scene = generator.apply({'params': g_params}, w, keys, method='prepare')
      return lambda points: generator.apply({'params': g_params}, scene, points, method='query')[0]

    term = density.l1(density_of(w), *(x[-1] for x in (points, neighbours)))
    total = config.eg3d.density * term
    metrics = {'generator/density': term}
    if config.eg3d.density_kind == 'monotonic':
      inwards = density.monotonic(density_of(w), *(x[0] for x in (points, neighbours)))
      total += config.eg3d.monotonic * inwards
      metrics['generator/monotonic'] = inwards
    return total, metrics

  def of_discriminator(d_params, g_params, images, labels, inputs, sigma, augmentation=None):
    inputs = eg3d_inputs.placed(config, g_params, inputs)
    pair, w = jax.lax.stop_gradient(pictures(g_params, inputs))
    fake = judge(d_params, pair, told(inputs), sigma, _stream(augmentation, 1))
    real_images = real_pair(images, sigma)
    real = judge(d_params, real_images, labels, sigma, _stream(augmentation, 2))
    adversarial_loss = adversarial.discriminator_loss(real.logits, fake.logits)
    penalty, pose_error = regression(fake, inputs.label)
    total = adversarial_loss + penalty
    metrics = {
      'discriminator/loss': total,
      'discriminator/adversarial': adversarial_loss,
      'discriminator/real_logits': real.logits.mean(),
      'discriminator/fake_logits': fake.logits.mean(),
      'discriminator/real_signs': jnp.sign(real.logits).mean(),
      'discriminator/pose_error': pose_error,
    }
    return total, (metrics, w[:, 0].mean(0))

  def of_r1(d_params, images, labels, sigma, augmentation=None):
    pair = real_pair(images, sigma)
    penalty = regularizers.r1_penalty(
      lambda pair: judge(d_params, pair, labels, sigma).logits,
      pair if sees_pairs else (pair[0],) * 2,
    )
    return 0.5 * loss.r1 * penalty, {'discriminator/r1': penalty}

  return Losses(of_generator, of_density, of_discriminator, of_r1, generator_gradient)


def _stream(augmentation, number: int):
  """An augmentation with random numbers of its own."""
  if augmentation is None:
    return None
  keys, p = augmentation
  return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys), p
