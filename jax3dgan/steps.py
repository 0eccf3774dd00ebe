"""The discriminator's and the generator's step, for one device's shard of the batch.

Written to be wrapped by `parallel.data_parallel`: gradients are local, and `_mean_over_devices`
holds the only pmean. A step draws its latents and cameras itself, from per-example keys, unless it
is made with another way to draw. Micro-batches accumulate gradients in a scan; top-k looks at the
logits of the whole global batch, whatever it is split into.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jax3dgan import cameras, generators
from jax3dgan.devices import parallel
from jax3dgan.losses import adversarial, real_images, regularizers
from jax3dgan.losses.real_images import RealTerms
from jax3dgan.training import faults, schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training.schedule import Stage
from jax3dgan.training.state import TrainState

# Streams of randomness within a step, folded into each example's key: for whose gradient it is.
DISCRIMINATOR, GENERATOR = 0, 1


class Inputs(NamedTuple):
  """What a batch of fakes is made from.

  Attributes:
    z: [b, z_dim] latents.
    yaw, pitch: [b] cameras by π-GAN's angles, radians.
    rendering: what the generator's `synthesize` takes as its key: per-example keys [b], or the
      random numbers themselves.
  """

  z: jax.Array
  yaw: jax.Array
  pitch: jax.Array
  rendering: Any


def to_float(images):
  """uint8 images to float32 in [−1, 1]; images of floats are there already."""
  if jnp.issubdtype(images.dtype, jnp.floating):
    return images
  return images.astype(jnp.float32) / 127.5 - 1


def pose_target(yaw, pitch, encoding: str):
  """What the pose head should say of cameras [b]: (pitch, yaw) [b, 2], or the direction [b, 3]."""
  if encoding == 'angles':
    return jnp.stack([pitch, yaw], axis=-1)
  return cameras.from_yaw_pitch(yaw, pitch).origin


def draw_inputs(keys, stream: int, config, z_dim: int) -> Inputs:
  """Inputs of the fakes of a stream (DISCRIMINATOR or GENERATOR) for per-example keys [b]."""
  keys = jax.vmap(lambda key: jax.random.fold_in(key, stream))(keys)
  prior = cameras.pose_prior(**config.pose_prior)
  z_keys, pose_keys, render_keys = jnp.moveaxis(
    jax.vmap(lambda key: jax.random.split(key, 3))(keys), 1, 0
  )
  z = jax.vmap(lambda key: jax.random.normal(key, (z_dim,)))(z_keys)
  yaw, pitch = jax.vmap(functools.partial(cameras.sample_angles, prior))(pose_keys)
  return Inputs(z, yaw, pitch, render_keys)


def generate(generator, params, inputs: Inputs, config, options, noise_std=0.0):
  """Fakes [b, h, w, 3] in [−1, 1]; `options` and `noise_std` as in the generator's `synthesize`."""
  camera = cameras.from_yaw_pitch(
    inputs.yaw,
    inputs.pitch,
    config.render.radius,
    config.render.fov_degrees,
    tuple(config.render.pivot),
  )
  variables = {'params': params}
  return generator.apply(variables, inputs.z, camera, inputs.rendering, options, noise_std).image


def _mean_over_devices(tree):
  return jax.lax.pmean(tree, parallel.AXIS)


def _split(tree, parts: int):
  """[b, ...] → [parts, b / parts, ...]."""
  return jax.tree.map(lambda x: x.reshape(parts, x.shape[0] // parts, *x.shape[1:]), tree)


def accumulate(grad_fn: Callable, params, inputs, parts: int):
  """Mean over micro-batches of grad_fn(params, inputs) → (gradients, metrics); inputs' leaves [b,
  ...]."""
  if parts == 1:
    return grad_fn(params, inputs)
  inputs = _split(inputs, parts)
  shapes = jax.eval_shape(grad_fn, params, jax.tree.map(lambda x: x[0], inputs))
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

  def body(total, part):
    return jax.tree.map(jnp.add, total, grad_fn(params, part)), None

  total, _ = jax.lax.scan(body, zeros, inputs)
  return jax.tree.map(lambda x: x / parts, total)


def make_gradients(config, generator, discriminator, stage: Stage) -> tuple[Callable, Callable]:
  """The gradients of a stage's step, before their mean over devices (π-GAN, Sec. 3.4).

  Returns:
    of_discriminator(state, images, inputs) and of_generator(state, inputs) for one device's shard,
    images [b, h, w, 3] (see `to_float`) and the `Inputs` of as many fakes; each gives (gradients,
    metrics). To be called inside `parallel.data_parallel`.
  """
  loss, compat, parts = config.loss, config.compat, stage.micro_batches
  options = generators.render_options(
    config,
    resolution=stage.resolution,
    num_coarse=stage.num_coarse,
    num_fine=stage.num_fine,
    ray_chunk=stage.ray_chunk,
  )

  def fake(params, inputs, step):
    noise_std = schedule.density_noise(step, loss.density_noise, loss.density_noise_steps)
    return generate(generator, params, inputs, config, options, noise_std)

  def judge(params, images, step):
    fade = schedule.fade(stage, step, loss.fade_steps)
    return discriminator.apply({'params': params}, images, fade)

  def penalties(out, inputs):
    """λ-weighted regression of pose and latent, and the bare pose error."""
    pose_error = jnp.zeros(())
    if loss.pose:
      target = pose_target(inputs.yaw, inputs.pitch, loss.pose_encoding)
      pose_error = regularizers.pose_loss(out.pose, target)
    total = loss.pose * pose_error
    if loss.latent:
      total += loss.latent * regularizers.latent_loss(out.latent, inputs.z)
    return total, pose_error

  def real_terms(params, images, step):
    """Loss and R1 of real images, and their logits; R1 where it is due."""

    def logits_of(params, images):
      return judge(params, images, step).logits

    def without_r1():
      logits = logits_of(params, images)
      return RealTerms(adversarial.real_loss(logits), jnp.zeros(()), logits)

    def with_r1():
      # A discriminator that looks at several images at once has no short cut.
      alone = getattr(discriminator, 'judges_alone', True)
      terms_of = real_images.real_terms if alone else real_images.reference_terms
      terms = terms_of(logits_of, params, images)
      return terms._replace(r1=loss.r1_every * terms.r1)

    if not loss.r1:
      return without_r1()
    if loss.r1_every <= 1:
      return with_r1()
    return jax.lax.cond(regularizers.is_due(step, loss.r1_every), with_r1, without_r1)

  def of_discriminator(state, images, inputs):
    def loss_fn(params, part):
      reals, inputs = part
      fakes = jax.lax.stop_gradient(fake(state.generator, inputs, state.step))
      real = real_terms(params, reals, state.step)
      out = judge(params, fakes, state.step)
      adversarial_loss = real.loss + adversarial.fake_loss(out.logits)
      regression, pose_error = penalties(out, inputs)
      total = adversarial_loss + 0.5 * loss.r1 * real.r1 + regression
      return total, {
        'discriminator/loss': total,
        'discriminator/adversarial': adversarial_loss,
        'discriminator/real_logits': real.logits.mean(),
        'discriminator/fake_logits': out.logits.mean(),
        'discriminator/r1': real.r1,
        'discriminator/pose_error': pose_error,
      }

    grad_fn = jax.grad(loss_fn, has_aux=True)
    return accumulate(grad_fn, state.discriminator, (to_float(images), inputs), parts)

  def top_k(logits, step):
    """Weights [b] of these examples, such that their weighted mean is the top-k mean of all."""
    fraction = adversarial.top_k_fraction(step, loss.top_k_interval, loss.top_k_floor)
    if compat.top_k_per_split:
      return adversarial.top_k_weights(logits, fraction) * logits.shape[0]
    everyone = jax.lax.all_gather(logits, parallel.AXIS, tiled=True)
    weights = adversarial.top_k_weights(everyone, fraction) * everyone.shape[0]
    first = jax.lax.axis_index(parallel.AXIS) * logits.shape[0]
    return jax.lax.dynamic_slice_in_dim(weights, first, logits.shape[0])

  # Whether a micro-batch's own logits are all that top-k needs.
  top_k_at_once = parts == 1 or compat.top_k_per_split

  def of_generator(state, inputs):
    weights = None
    if loss.top_k_interval and not top_k_at_once:
      # The choice needs every logit before the first gradient: one more forward pass, without
      # gradients.
      def logits_of(part):
        fakes = fake(state.generator, part, state.step)
        return judge(state.discriminator, fakes, state.step).logits

      weights = top_k(jax.lax.map(logits_of, _split(inputs, parts)).reshape(-1), state.step)

    def loss_fn(params, part):
      inputs, part_weights = part
      out = judge(state.discriminator, fake(params, inputs, state.step), state.step)
      if loss.top_k_interval and top_k_at_once:
        part_weights = top_k(out.logits, state.step)
      losses = adversarial.generator_losses(out.logits)
      adversarial_loss = losses.mean() if part_weights is None else (losses * part_weights).mean()
      regression, pose_error = penalties(out, inputs)
      total = adversarial_loss + regression
      return total, {
        'generator/loss': total,
        'generator/adversarial': adversarial_loss,
        'generator/pose_error': pose_error,
      }

    grad_fn = jax.grad(loss_fn, has_aux=True)
    gradients, metrics = accumulate(grad_fn, state.generator, (inputs, weights), parts)
    if compat.sum_micro_batches:
      gradients = jax.tree.map(lambda x: parts * x, gradients)
    return gradients, metrics

  return of_discriminator, of_generator


def make_train_step(
  config, generator, discriminator, stage: Stage, draw: Callable | None = None
) -> Callable:
  """One whole training step of a stage: D, then G against the new D, then EMA (π-GAN, Sec. 3.4).

  Args:
    draw: draw(keys, stream) gives the `Inputs` of per-example keys [b]; by default `draw_inputs`.

  Returns:
    step(state, images) for one device's images [b, h, w, 3] (see `to_float`); gives (state,
    metrics), both the same on every device. To be wrapped by `parallel.data_parallel`.
  """
  transform = state_lib.optimizer(config.optimizer)
  draw = draw or functools.partial(draw_inputs, config=config, z_dim=generator.z_dim)
  of_discriminator, of_generator = make_gradients(config, generator, discriminator, stage)

  def update(params, optimizer_state, gradients, learning_rate):
    updates, optimizer_state = transform.update(gradients, optimizer_state, params)
    params = jax.tree.map(lambda p, u: p - learning_rate * u, params, updates)
    return params, optimizer_state

  def step(state: TrainState, images):
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    keys = parallel.example_keys(key, images.shape[0])

    gradients, d_metrics = _mean_over_devices(
      of_discriminator(state, images, draw(keys, DISCRIMINATOR))
    )
    d_metrics['discriminator/gradient_norm'] = optax.tree.norm(gradients)
    d_metrics[faults.PREFIX + 'discriminator'] = faults.first_bad_leaf(gradients)
    params, optimizer_state = update(
      state.discriminator, state.discriminator_optimizer, gradients, stage.lr_discriminator
    )
    state = state.replace(discriminator=params, discriminator_optimizer=optimizer_state)

    gradients, g_metrics = _mean_over_devices(of_generator(state, draw(keys, GENERATOR)))
    g_metrics['generator/gradient_norm'] = optax.tree.norm(gradients)
    g_metrics[faults.PREFIX + 'generator'] = faults.first_bad_leaf(gradients)
    params, optimizer_state = update(
      state.generator, state.generator_optimizer, gradients, stage.lr_generator
    )
    state = state.replace(
      step=state.step + 1,
      generator=params,
      generator_optimizer=optimizer_state,
      ema={
        rate: ema_update(old, params, float(rate), state.step + 1, config.ema.ramp_up)
        for rate, old in state.ema.items()
      },
    )
    return state, {**d_metrics, **g_metrics}

  return step


def ema_update(average, params, rate: float, num_updates, ramp_up: float = 0.0):
  """Exponential moving average at update n = 1, 2, ...

  Its decay is min(rate, (1 + n)/(10 + n)), or, with `ramp_up`, that whose half-life is at most this
  share of the images seen (StyleGAN2's; rate = ½^(batch/half-life) in images).
  """
  if ramp_up:
    decay = jnp.minimum(rate, 0.5 ** (1 / (ramp_up * num_updates)))
  else:
    decay = jnp.minimum(rate, (1 + num_updates) / (10 + num_updates))
  return jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)
