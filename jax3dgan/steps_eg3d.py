"""EG3D's training step, for one device's shard of the batch (Chan et al., CVPR 2022, Sec. 5 and
supplement).

In this order: the generator against the discriminator; every few steps its density
regularisation; the discriminator; every few steps R1 on the picture and on what was rendered;
the averages. Lazy terms count as often as they are left out, and Adam knows of it. Cameras come
from the photos' labels, or, where there are none, from the pose prior: then nothing but the prior
is known of poses.

Written to be wrapped by `parallel.data_parallel`: gradients are local, `_mean_over_devices` holds
the pmean. Examples draw from keys of their own; what they share of the batch (labels) is gathered
from all devices, so that one device and many give the same training.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax3dgan import cameras, faults, generators, parallel
from jax3dgan import state as state_lib
from jax3dgan import steps as steps_lib
from jax3dgan.cameras import Camera
from jax3dgan.losses import adversarial, blur, density, regularizers
from jax3dgan.nn import resample
from jax3dgan.schedule import Stage
from jax3dgan.state import TrainState
from jax3dgan.steps import ema_update, to_float

GENERATOR, DENSITY, DISCRIMINATOR = 0, 1, 2


class Inputs(NamedTuple):
  """What a batch of fakes is made from.

  Attributes:
    z: [b, z_dim] latents.
    label: [b, 25] the cameras.
    condition: [b, 25] what the mapping network is told of them.
    rendering: per-example keys [b], or `hierarchical.Draws`.
  """

  z: jax.Array
  label: jax.Array
  condition: jax.Array
  rendering: Any


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

  def camera_labels(keys):
    if labels is not None:
      return labels[jax.vmap(lambda key: jax.random.randint(key, (), 0, len(labels)))(keys)]
    prior = cameras.pose_prior(**config.pose_prior)
    yaw, pitch = jax.vmap(functools.partial(cameras.sample_angles, prior))(keys)
    render = config.render
    camera = cameras.from_yaw_pitch(
      yaw, pitch, render.radius, render.fov_degrees, tuple(render.pivot)
    )
    return camera.label()

  label = camera_labels(own)
  swapped = jax.vmap(jax.random.uniform)(choice) < swap
  condition = jnp.where(swapped[:, None], camera_labels(other), label)
  return Inputs(z, label, condition, render_keys)


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


def _mean_over_devices(tree):
  return jax.lax.pmean(tree, parallel.AXIS)


def make_losses(config, generator, discriminator, stage: Stage) -> tuple[Callable, ...]:
  """The losses of a stage, before their mean over devices.

  A judge of pairs (`discriminators.dual`) sees the picture and what was rendered; any other the
  picture alone.

  Returns:
    of_generator(g_params, d_params, inputs, sigma),
    of_density(g_params, inputs, points, neighbours) with points of each term (`draw_points`),
    of_discriminator(d_params, g_params, images, labels, inputs, sigma) and
    of_r1(d_params, images, labels, sigma), each giving (loss, metrics); images [b, h, w, 3], labels
    [b, 25] or None, sigma of the blur in pixels.
  """
  loss = config.loss
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

  def judge(params, pair, label, sigma):
    image, low = pair
    image = blurred(image, sigma)
    return discriminator.apply(
      {'params': params},
      (image, low) if sees_pairs else image,
      **({'label': label} if sees_label else {}),
    )

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

  def of_generator(g_params, d_params, inputs, sigma):
    pair, _ = pictures(g_params, inputs)
    out = judge(d_params, pair, inputs.label, sigma)
    adversarial_loss = adversarial.generator_loss(out.logits)
    penalty, pose_error = regression(out, inputs.label)
    total = adversarial_loss + penalty
    return total, {
      'generator/loss': total,
      'generator/adversarial': adversarial_loss,
      'generator/pose_error': pose_error,
    }

  def of_density(g_params, inputs, points, neighbours):
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

  def of_discriminator(d_params, g_params, images, labels, inputs, sigma):
    pair, w = jax.lax.stop_gradient(pictures(g_params, inputs))
    fake = judge(d_params, pair, inputs.label, sigma)
    real = judge(d_params, real_pair(images, sigma), labels, sigma)
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

  def of_r1(d_params, images, labels, sigma):
    pair = real_pair(images, sigma)
    penalty = regularizers.r1_penalty(
      lambda pair: judge(d_params, pair, labels, sigma).logits,
      pair if sees_pairs else (pair[0],) * 2,
    )
    return 0.5 * loss.r1 * penalty, {'discriminator/r1': penalty}

  return of_generator, of_density, of_discriminator, of_r1


def make_train_step(config, generator, discriminator, stage: Stage) -> Callable:
  """One whole training step of a stage.

  Returns:
    step(state, batch) for one device's shard, batch {'image': [b, h, w, 3], 'label': [b, 25] where
    the cameras of the fakes are those of the photos}; gives (state, metrics), both the same on
    every device.
  """
  own, loss = config.eg3d, config.loss
  of_generator, of_density, of_discriminator, of_r1 = make_losses(
    config, generator, discriminator, stage
  )
  parts = stage.micro_batches
  box = getattr(generator, 'box', 1.0)
  g_optimizer, d_optimizer = state_lib.optimizers(config)

  def accumulate(loss_fn, params, inputs):
    """Gradients and metrics of a loss of (params, *inputs), averaged over parts and devices."""
    grad_fn = jax.grad(lambda params, part: loss_fn(params, *part), has_aux=True)
    return _mean_over_devices(steps_lib.accumulate(grad_fn, params, inputs, parts))

  def step(state: TrainState, batch):
    images, labels = to_float(batch['image']), batch.get('label')
    b = images.shape[0]
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    keys = parallel.example_keys(key, b)
    seen = stage.position + (state.step - stage.from_step) * stage.batch_size
    sigma = blur.blur_sigma(seen, own.blur, own.blur_images)
    sigmas = jnp.broadcast_to(sigma, (b,))  # splits into parts as examples do
    everyone = None
    if labels is not None:
      everyone = jax.lax.all_gather(labels, parallel.AXIS, tiled=True)
    swap = swap_probability(seen, own.pose_swap, own.pose_swap_images)
    draw = functools.partial(
      draw_inputs, keys, config=config, z_dim=generator.z_dim, labels=everyone, swap=swap
    )
    metrics = {}

    # The generator.
    def g_loss(params, inputs, sigmas):
      return of_generator(params, state.discriminator, inputs, sigmas[0])

    gradients, own_metrics = accumulate(g_loss, state.generator, (draw(GENERATOR), sigmas))
    metrics |= own_metrics
    metrics['generator/gradient_norm'] = optax.tree.norm(gradients)
    metrics[faults.PREFIX + 'generator'] = faults.first_bad_leaf(gradients)
    state = _updated(state, 'generator', gradients, g_optimizer, stage.lr_generator)

    if own.density:
      points, neighbours = draw_points(keys, config, box)
      inputs = (draw(DENSITY), points, neighbours)

      def regularised(state):
        gradients, terms = accumulate(of_density, state.generator, inputs)
        gradients = jax.tree.map(lambda x: own.density_every * x, gradients)
        return _updated(state, 'generator', gradients, g_optimizer, stage.lr_generator), terms

      due = regularizers.is_due(state.step, own.density_every)
      state, terms = _where_due(due, regularised, state)
      metrics |= terms

    # The discriminator.
    def d_loss(params, images, labels, inputs, sigmas):
      return of_discriminator(params, state.generator, images, labels, inputs, sigmas[0])

    gradients, (own_metrics, w_mean) = accumulate(
      d_loss, state.discriminator, (images, labels, draw(DISCRIMINATOR), sigmas)
    )
    metrics |= own_metrics
    metrics['discriminator/gradient_norm'] = optax.tree.norm(gradients)
    metrics[faults.PREFIX + 'discriminator'] = faults.first_bad_leaf(gradients)
    state = _updated(state, 'discriminator', gradients, d_optimizer, stage.lr_discriminator)

    if loss.r1:

      def r1_loss(params, images, labels, sigmas):
        return of_r1(params, images, labels, sigmas[0])

      def penalised(state):
        gradients, terms = accumulate(r1_loss, state.discriminator, (images, labels, sigmas))
        gradients = jax.tree.map(lambda x: max(loss.r1_every, 1) * x, gradients)
        return _updated(
          state, 'discriminator', gradients, d_optimizer, stage.lr_discriminator
        ), terms

      due = regularizers.is_due(state.step, max(loss.r1_every, 1))
      state, terms = _where_due(due, penalised, state)
      metrics |= terms

    # The averages.
    params = state.generator
    if 'w_average' in params:
      mean = own.w_average_decay * params['w_average'] + (1 - own.w_average_decay) * w_mean
      params = {**params, 'w_average': mean}
    state = state.replace(
      step=state.step + 1,
      generator=params,
      ema={
        rate: ema_update(old, params, float(rate), state.step + 1, config.ema.ramp_up)
        for rate, old in state.ema.items()
      },
    )
    return state, metrics

  return step


def _where_due(due, update, state):
  """`update(state)` → (state, terms) where it is due; else the same state and zeros."""
  terms = jax.eval_shape(update, state)[1]
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), terms)
  return jax.lax.cond(due, update, lambda state: (state, zeros), state)


def _updated(state: TrainState, network: str, gradients, optimizer, learning_rate) -> TrainState:
  """The state after one step of a network's optimizer, itself (transform, factor on the rate)."""
  transform, factor = optimizer
  name = f'{network}_optimizer'
  params = getattr(state, network)
  updates, moments = transform.update(gradients, getattr(state, name), params)
  rate = factor * learning_rate
  params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
  return state.replace(**{network: params, name: moments})
