"""EG3D's losses, and what its fakes are made from (Chan et al., CVPR 2022, Sec. 5 and supplement).

For one device's shard of the batch; `steps_eg3d` makes a step of them.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan import augment, camera_generator, cameras, generators, parallel
from jax3dgan.cameras import Camera
from jax3dgan.losses import adversarial, blur, density, regularizers
from jax3dgan.nn import resample
from jax3dgan.schedule import Stage

GENERATOR, DENSITY, DISCRIMINATOR, AUGMENT, LABEL_NOISE = 0, 1, 2, 3, 4
# What each kind of density regularisation measures.
DENSITY_TERMS = {
  'l1': ('generator/density',),
  'monotonic': ('generator/density', 'generator/monotonic'),
}


class Inputs(NamedTuple):
  """What a batch of fakes is made from.

  Attributes:
    z: [b, z_dim] latents.
    label: [b, 25] the cameras.
    condition: [b, 25] what the mapping network is told of them.
    rendering: per-example keys [b], or `hierarchical.Draws`.
    angles: [b, 2, 2] yaw and pitch (last) of `label` and `condition`, still of the given pose
      prior, where a learned one moves them; else None.
    noise: [b, 25] what is added to the label that the discriminator is told; None for nothing.
  """

  z: jax.Array
  label: jax.Array
  condition: jax.Array
  rendering: Any
  angles: Any = None
  noise: Any = None


class Losses(NamedTuple):
  """The losses of a stage; each gives (loss, metrics) but the last.

  Images are [b, h, w, 3], labels [b, 25] or None, sigma of the blur in pixels. Where it says
  augmentation there may be one: (keys [b], probabilities [b], all the same), None for none.

  Attributes:
    generator: (g_params, d_params, inputs, sigma, augmentation).
    density: (g_params, inputs, points, neighbours) with points of each term (`draw_points`).
    discriminator: (d_params, g_params, images, labels, inputs, sigma, augmentation).
    r1: (d_params, images, labels, sigma, augmentation).
    generator_gradient: of the same as `generator`, giving (gradients, metrics) of that loss.
  """

  generator: Callable
  density: Callable
  discriminator: Callable
  r1: Callable
  generator_gradient: Callable


def swap_probability(num_images, probability: float, fade: float):
  """How often the mapping network is told another camera than the one that it is seen from.

  From always at first to `probability` after `fade` images.
  """
  share = jnp.minimum(num_images / fade, 1.0) if fade else 1.0
  return (1 - share) + share * probability


def draw_inputs(keys, stream: int, config, z_dim: int, labels=None, swap=0.0) -> Inputs:
  """Inputs of the fakes of a stream for per-example keys [b].

  Args:
    labels: [n, 25] cameras of photos, of all devices; None draws from the pose prior.
    swap: probability of telling the mapping network another camera.
  """
  keys = jax.vmap(lambda key: jax.random.fold_in(key, stream))(keys)
  z_keys, own, other, choice, render_keys = jnp.moveaxis(
    jax.vmap(lambda key: jax.random.split(key, 5))(keys), 1, 0
  )
  z = jax.vmap(lambda key: jax.random.normal(key, (z_dim,)))(z_keys)

  def angles_of(keys):
    prior = cameras.pose_prior(**config.pose_prior)
    return jax.vmap(functools.partial(cameras.sample_angles, prior))(keys)

  def camera_labels(keys):
    if labels is not None:
      return labels[jax.vmap(lambda key: jax.random.randint(key, (), 0, len(labels)))(keys)]
    return _label(config, *angles_of(keys))

  label = camera_labels(own)
  swapped = jax.vmap(jax.random.uniform)(choice) < swap
  condition = jnp.where(swapped[:, None], camera_labels(other), label)
  angles, noise = None, None
  if camera_generator.is_learned(config):
    seen, told = (jnp.stack(angles_of(keys), axis=-1) for keys in (own, other))
    angles = jnp.stack([seen, jnp.where(swapped[:, None], told, seen)], axis=1)
  if config.eg3d.label_noise and labels is not None:
    noise = label_noise(keys, config, labels)
  return Inputs(z, label, condition, render_keys, angles, noise)


def _label(config, yaw, pitch):
  """The cameras [b, 25] of a config by their angles [b]."""
  render = config.render
  return cameras.from_yaw_pitch(
    yaw, pitch, render.radius, render.fov_degrees, tuple(render.pivot)
  ).label()


def label_noise(keys, config, labels):
  """Noise [b, 25] of per-example keys [b], in deviations of the labels [n, 25] of the batch."""
  keys = jax.vmap(lambda key: jax.random.fold_in(key, LABEL_NOISE))(keys)
  noise = jax.vmap(lambda key: jax.random.normal(key, labels.shape[1:]))(keys)
  return config.eg3d.label_noise * labels.std(axis=0) * noise


def placed(config, params, inputs: Inputs) -> Inputs:
  """Inputs whose cameras are where a learned pose prior moves them.

  The generator's parameters get a gradient through the cameras that the pictures are seen from, not
  through what the mapping network is told.
  """
  if inputs.angles is None:
    return inputs
  prior = camera_generator.pose_prior(config, params)
  yaw, pitch = prior.move(inputs.angles[..., 0], inputs.angles[..., 1])
  seen, told = (_label(config, yaw[:, i], pitch[:, i]) for i in (0, 1))
  return inputs._replace(label=seen, condition=jax.lax.stop_gradient(told), angles=None)


def draw_points(keys, config, box: float):
  """Points and their neighbours, ([b, n, 3], ...) each, for the terms of the density.

  The last are of 'l1'; 'monotonic' has some more before them.
  """
  keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, DENSITY), 3))(keys)
  own = config.eg3d
  points = density.uniform_points(keys[:, 0], own.density_points)
  if own.density_kind == 'l1':
    return (points,), (
      points + density.normal_offsets(keys[:, 1], own.density_points, own.density_std),
    )
  front = density.uniform_points(keys[:, 2], 2 * own.density_points)
  near = points + density.normal_offsets(keys[:, 1], own.density_points, box / 256)
  return (front, points), (front + density.backward_offset(box / 256), near)


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
    inputs = placed(config, g_params, inputs)
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
    inputs = placed(config, jax.lax.stop_gradient(g_params), inputs)
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
    inputs = placed(config, g_params, inputs)
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
