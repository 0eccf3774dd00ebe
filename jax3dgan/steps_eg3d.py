"""EG3D's training step, for one device's shard of the batch (Chan et al., CVPR 2022, Sec. 5 and
supplement).

In this order: the generator against the discriminator; every few steps its density
regularisation; the discriminator; every few steps R1 on the picture and on what was rendered;
the averages. Lazy terms count as often as they are left out, and Adam knows of it. Cameras come
from the photos' labels, or, where there are none, from the pose prior: then nothing but the prior
is known of poses, and it may be learned too (`camera_generator`).

Written to be wrapped by `parallel.data_parallel`: gradients are local, `_mean_over_devices` holds
the pmean. Examples draw from keys of their own; what they share of the batch (labels) is gathered
from all devices, so that one device and many give the same training.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jax3dgan import augment
from jax3dgan import steps as steps_lib
from jax3dgan.cameras import camera_generator
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.losses import blur, eg3d, eg3d_inputs, regularizers
from jax3dgan.steps import ema_update, to_float
from jax3dgan.training import faults
from jax3dgan.training import state as state_lib
from jax3dgan.training.schedule import Stage
from jax3dgan.training.state import TrainState

AUGMENTATIONS = ('none', 'fixed', 'ada')


def _mean_over_devices(tree):
  return jax.lax.pmean(tree, parallel.AXIS)


def make_train_step(config, generator, discriminator, stage: Stage) -> Callable:
  """One whole training step of a stage.

  Returns:
    step(state, batch) for one device's shard, batch {'image': [b, h, w, 3], 'label': [b, 25] where
    the cameras of the fakes are those of the photos}; gives (state, metrics), both the same on
    every device.
  """
  own, loss, learned = config.eg3d, config.loss, camera_generator.is_learned(config)
  if config.augment.name not in AUGMENTATIONS:
    raise UserError(
      f"config.augment.name is '{config.augment.name}'. Choose one of {', '.join(AUGMENTATIONS)}."
    )
  if own.density_kind not in eg3d.DENSITY_TERMS:
    raise UserError(
      f"config.eg3d.density_kind is '{own.density_kind}'. Choose one of "
      f'{", ".join(eg3d.DENSITY_TERMS)}.'
    )
  losses = eg3d.make_losses(config, generator, discriminator, stage)
  parts = stage.micro_batches
  box = getattr(generator, 'box', 1.0)
  g_optimizer, d_optimizer = state_lib.optimizers(config)

  def accumulate(loss_fn, params, inputs):
    """Gradients and metrics of a loss of (params, *inputs), averaged over parts and devices."""
    grad_fn = jax.grad(loss_fn, has_aux=True)
    return averaged(grad_fn, params, inputs)

  def averaged(grad_fn, params, inputs):
    """What grad_fn(params, *inputs) gives, averaged over parts and devices."""

    def of_part(params, part):
      return grad_fn(params, *part)

    return _mean_over_devices(steps_lib.accumulate(of_part, params, inputs, parts))

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
    swap = eg3d_inputs.swap_probability(seen, own.pose_swap, own.pose_swap_images)
    if own.label_noise and labels is not None:
      told = labels + eg3d_inputs.label_noise(keys, config, everyone)
    else:
      told = labels
    draw = functools.partial(
      eg3d_inputs.draw_inputs,
      keys,
      config=config,
      z_dim=generator.z_dim,
      labels=everyone,
      swap=swap,
    )
    metrics, augmentation = {}, None
    if state.augment is not None:
      augment_keys = jax.vmap(lambda key: jax.random.fold_in(key, eg3d_inputs.AUGMENT))(keys)
      augmentation = (augment_keys, jnp.broadcast_to(state.augment.p, (b,)))
      metrics['discriminator/augment_p'] = state.augment.p

    # The generator.
    def g_gradient(params, inputs, sigmas, augmentation):
      return losses.generator_gradient(params, state.discriminator, inputs, sigmas[0], augmentation)

    before = state.generator
    inputs = (draw(eg3d_inputs.GENERATOR), sigmas, augmentation)
    gradients, own_metrics = averaged(g_gradient, state.generator, inputs)
    metrics |= own_metrics
    metrics['generator/gradient_norm'] = optax.tree.norm(gradients)
    metrics[faults.PREFIX + 'generator'] = faults.first_bad_leaf(gradients)
    state = _updated(state, 'generator', gradients, g_optimizer, stage.lr_generator)

    if own.density:
      points, neighbours = eg3d_inputs.draw_points(keys, config, box)
      inputs = (draw(eg3d_inputs.DENSITY), points, neighbours)
      state, terms = _lazily(
        state,
        'generator',
        lambda params: accumulate(losses.density, params, inputs),
        own.density_every,
        g_optimizer,
        stage.lr_generator,
        eg3d.DENSITY_TERMS[own.density_kind],
      )
      metrics |= terms

    if learned:
      state = _cameras_held(state, before, seen < config.camera_generator.from_images)

    # The discriminator.
    def d_loss(params, images, labels, fakes, sigmas, augmentation):
      return losses.discriminator(
        params, state.generator, images, labels, fakes, sigmas[0], augmentation
      )

    inputs = (images, told, draw(eg3d_inputs.DISCRIMINATOR), sigmas, augmentation)
    gradients, (own_metrics, w_mean) = accumulate(d_loss, state.discriminator, inputs)
    metrics |= own_metrics
    metrics['discriminator/gradient_norm'] = optax.tree.norm(gradients)
    metrics[faults.PREFIX + 'discriminator'] = faults.first_bad_leaf(gradients)
    state = _updated(state, 'discriminator', gradients, d_optimizer, stage.lr_discriminator)

    if loss.r1:

      def r1_loss(params, images, labels, sigmas, augmentation):
        return losses.r1(params, images, labels, sigmas[0], augmentation)

      reals = (images, told, sigmas, augmentation)
      state, terms = _lazily(
        state,
        'discriminator',
        lambda params: accumulate(r1_loss, params, reals),
        max(loss.r1_every, 1),
        d_optimizer,
        stage.lr_discriminator,
        ('discriminator/r1',),
      )
      metrics |= terms

    if config.augment.name == 'ada':
      ada = augment.observe(state.augment, metrics['discriminator/real_signs'], stage.batch_size)
      own_ada = config.augment
      ada = augment.adjust(ada, state.step, own_ada.every, own_ada.target, own_ada.kimg)
      state = state.replace(augment=ada)

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


def _lazily(state, network, gradients_of, every, optimizer, learning_rate, names):
  """A lazy term's own step of the optimizer, where it is due; it counts `every` times there.

  Args:
    gradients_of: parameters → (gradients, terms).
    names: of the terms, which are 0 where it is not due.

  Returns:
    (state, terms). Only what the step changes goes through the condition, not the whole state.
  """
  moments = f'{network}_optimizer'

  def update(own):
    gradients, terms = gradients_of(own[0])
    gradients = jax.tree.map(lambda x: every * x, gradients)
    return _step(*own, gradients, optimizer, learning_rate), terms

  def leave(own):
    return own, {name: jnp.zeros(()) for name in names}

  due = regularizers.is_due(state.step, every)
  own = (getattr(state, network), getattr(state, moments))
  (params, own_moments), terms = jax.lax.cond(due, update, leave, own)
  return state.replace(**{network: params, moments: own_moments}), terms


def _step(params, moments, gradients, optimizer, learning_rate):
  """Parameters and moments after a step of an optimizer, itself (transform, factor on the rate)."""
  transform, factor = optimizer
  updates, moments = transform.update(gradients, moments, params)
  rate = factor * learning_rate
  return jax.tree.map(lambda p, u: p - rate * u, params, updates), moments


def _cameras_held(state, before, held) -> TrainState:
  """The state with the camera generator as it was before, where it is held; Adam looks on."""
  name = camera_generator.PARAMS
  own = jax.tree.map(lambda x, y: jnp.where(held, x, y), before[name], state.generator[name])
  return state.replace(generator={**state.generator, name: own})


def _updated(state: TrainState, network: str, gradients, optimizer, learning_rate) -> TrainState:
  """The state after one step of a network's optimizer."""
  name = f'{network}_optimizer'
  params, moments = getattr(state, network), getattr(state, name)
  params, moments = _step(params, moments, gradients, optimizer, learning_rate)
  return state.replace(**{network: params, name: moments})
