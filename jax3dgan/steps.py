"""The discriminator's and the generator's step, for one device's shard of the batch.

Written to be wrapped by `parallel.data_parallel`: gradients are local, and `_mean_over_devices`
holds the only pmean. A step draws its latents and cameras itself, from per-example keys.
Micro-batches accumulate gradients in a scan; top-k looks at the logits of the whole global batch,
whatever it is split into.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jax3dgan import cameras, generators, parallel, schedule
from jax3dgan import state as state_lib
from jax3dgan.losses import adversarial, regularizers
from jax3dgan.schedule import Stage
from jax3dgan.state import TrainState

# Streams of randomness within a step, folded into each example's key.
_DISCRIMINATOR, _GENERATOR = 0, 1


def to_float(images):
  """uint8 images to float32 in [−1, 1]."""
  return images.astype(jnp.float32) / 127.5 - 1


def pose_target(yaw, pitch, encoding: str):
  """What the pose head should say of cameras [b]: (pitch, yaw) [b, 2], or the direction [b, 3]."""
  if encoding == 'angles':
    return jnp.stack([pitch, yaw], axis=-1)
  return cameras.from_yaw_pitch(yaw, pitch).origin


def draw_inputs(keys, config, z_dim: int):
  """Latents [b, z_dim], (yaw, pitch) [b] and rendering keys [b] for per-example keys [b]."""
  prior = cameras.pose_prior(**config.pose_prior)
  z_keys, pose_keys, render_keys = jnp.moveaxis(
    jax.vmap(lambda key: jax.random.split(key, 3))(keys), 1, 0
  )
  z = jax.vmap(lambda key: jax.random.normal(key, (z_dim,)))(z_keys)
  angles = jax.vmap(functools.partial(cameras.sample_angles, prior))(pose_keys)
  return z, angles, render_keys


def _mean_over_devices(tree):
  return jax.lax.pmean(tree, parallel.AXIS)


def _split(tree, parts: int):
  """[b, ...] → [parts, b / parts, ...]."""
  return jax.tree.map(lambda x: x.reshape(parts, x.shape[0] // parts, *x.shape[1:]), tree)


def _accumulate(grad_fn: Callable, params, inputs, parts: int):
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


def make_train_step(config, generator, discriminator, stage: Stage) -> Callable:
  """One whole training step of a stage: D, then G against the new D, then EMA (π-GAN, Sec. 3.4).

  Returns:
    step(state, images) for one device's uint8 images [b, h, w, 3]; gives (state, metrics), both
    the same on every device. To be wrapped by `parallel.data_parallel`.
  """
  loss = config.loss
  transform = state_lib.optimizer(config.optimizer)
  options = generators.render_options(
    config,
    resolution=stage.resolution,
    num_coarse=stage.num_coarse,
    num_fine=stage.num_fine,
    ray_chunk=stage.ray_chunk,
  )

  def generate(params, keys, noise_std):
    z, (yaw, pitch), render_keys = draw_inputs(keys, config, generator.z_dim)
    camera = cameras.from_yaw_pitch(yaw, pitch, config.render.radius, config.render.fov_degrees)
    images = generator.apply({'params': params}, z, camera, render_keys, options, noise_std).image
    return images, z, pose_target(yaw, pitch, loss.pose_encoding)

  def judge(params, images, fade):
    return discriminator.apply({'params': params}, images, fade)

  def penalties(out, z, pose):
    """λ-weighted regression of pose and latent, and the bare pose error."""
    pose_error = regularizers.pose_loss(out.pose, pose) if loss.pose else jnp.zeros(())
    total = loss.pose * pose_error
    if loss.latent:
      total += loss.latent * regularizers.latent_loss(out.latent, z)
    return total, pose_error

  def r1(params, images, fade, step):
    if not loss.r1:
      return jnp.zeros(())

    def penalty():
      return regularizers.r1_penalty(lambda x: judge(params, x, fade).logits, images)

    if loss.r1_every <= 1:
      return penalty()
    due = regularizers.is_due(step, loss.r1_every)
    return jax.lax.cond(due, lambda: loss.r1_every * penalty(), lambda: jnp.zeros(()))

  def discriminator_gradients(state, images, keys, fade, noise_std):
    def loss_fn(params, inputs):
      reals, part_keys = inputs
      fakes, z, pose = generate(state.generator, part_keys, noise_std)
      fakes = jax.lax.stop_gradient(fakes)
      real, fake = judge(params, reals, fade).logits, judge(params, fakes, fade)
      adversarial_loss = adversarial.discriminator_loss(real, fake.logits)
      r1_penalty = r1(params, reals, fade, state.step)
      regression, pose_error = penalties(fake, z, pose)
      total = adversarial_loss + 0.5 * loss.r1 * r1_penalty + regression
      return total, {
        'discriminator/loss': total,
        'discriminator/adversarial': adversarial_loss,
        'discriminator/real_logits': real.mean(),
        'discriminator/fake_logits': fake.logits.mean(),
        'discriminator/r1': r1_penalty,
        'discriminator/pose_error': pose_error,
      }

    grad_fn = jax.grad(loss_fn, has_aux=True)
    inputs = (to_float(images), jax.vmap(lambda key: jax.random.fold_in(key, _DISCRIMINATOR))(keys))
    return _accumulate(grad_fn, state.discriminator, inputs, stage.micro_batches)

  def global_top_k(logits, step):
    """Weights [b] of this device's examples, such that their weighted mean is the top-k mean of
    all."""
    everyone = jax.lax.all_gather(logits, parallel.AXIS, tiled=True)
    fraction = adversarial.top_k_fraction(step, loss.top_k_interval, loss.top_k_floor)
    weights = adversarial.top_k_weights(everyone, fraction) * everyone.shape[0]
    first = jax.lax.axis_index(parallel.AXIS) * logits.shape[0]
    return jax.lax.dynamic_slice_in_dim(weights, first, logits.shape[0])

  def generator_gradients(state, keys, fade, noise_std):
    keys = jax.vmap(lambda key: jax.random.fold_in(key, _GENERATOR))(keys)
    parts = stage.micro_batches
    weights = None
    if loss.top_k_interval and parts > 1:
      # The choice needs every logit before the first gradient: one more forward pass, without
      # gradients.
      def logits_of(part):
        return judge(
          state.discriminator, generate(state.generator, part, noise_std)[0], fade
        ).logits

      weights = global_top_k(jax.lax.map(logits_of, _split(keys, parts)).reshape(-1), state.step)

    def loss_fn(params, inputs):
      part_keys, part_weights = inputs
      fakes, z, pose = generate(params, part_keys, noise_std)
      out = judge(state.discriminator, fakes, fade)
      if loss.top_k_interval and parts == 1:
        part_weights = global_top_k(out.logits, state.step)
      losses = adversarial.generator_losses(out.logits)
      adversarial_loss = losses.mean() if part_weights is None else (losses * part_weights).mean()
      regression, pose_error = penalties(out, z, pose)
      total = adversarial_loss + regression
      return total, {
        'generator/loss': total,
        'generator/adversarial': adversarial_loss,
        'generator/pose_error': pose_error,
      }

    return _accumulate(jax.grad(loss_fn, has_aux=True), state.generator, (keys, weights), parts)

  def update(params, optimizer_state, gradients, learning_rate):
    updates, optimizer_state = transform.update(gradients, optimizer_state, params)
    params = jax.tree.map(lambda p, u: p - learning_rate * u, params, updates)
    return params, optimizer_state

  def step(state: TrainState, images):
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    keys = parallel.example_keys(key, images.shape[0])
    fade = schedule.fade(stage, state.step, loss.fade_steps)
    noise_std = schedule.density_noise(state.step, loss.density_noise, loss.density_noise_steps)

    gradients, d_metrics = _mean_over_devices(
      discriminator_gradients(state, images, keys, fade, noise_std)
    )
    d_metrics['discriminator/gradient_norm'] = optax.tree.norm(gradients)
    params, optimizer_state = update(
      state.discriminator, state.discriminator_optimizer, gradients, stage.lr_discriminator
    )
    state = state.replace(discriminator=params, discriminator_optimizer=optimizer_state)

    gradients, g_metrics = _mean_over_devices(generator_gradients(state, keys, fade, noise_std))
    g_metrics['generator/gradient_norm'] = optax.tree.norm(gradients)
    params, optimizer_state = update(
      state.generator, state.generator_optimizer, gradients, stage.lr_generator
    )
    state = state.replace(
      step=state.step + 1,
      generator=params,
      generator_optimizer=optimizer_state,
      ema={
        rate: ema_update(old, params, float(rate), state.step + 1)
        for rate, old in state.ema.items()
      },
    )
    return state, {**d_metrics, **g_metrics}

  return step


def ema_update(average, params, rate: float, num_updates):
  """Exponential moving average with decay min(rate, (1 + n)/(10 + n)) at update n = 1, 2, ..."""
  decay = jnp.minimum(rate, (1 + num_updates) / (10 + num_updates))
  return jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, average, params)
