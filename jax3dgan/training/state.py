"""The state of a training run: all that a checkpoint must hold to go on exactly."""

import functools
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jax3dgan import discriminators, generators
from jax3dgan.augment import AdaState
from jax3dgan.cameras import camera_generator


@flax.struct.dataclass
class TrainState:
  """A pytree of arrays.

  Attributes:
    step: int32 scalar, steps done.
    key: key data (uint32) of the run; every random number is derived from it and the step.
    generator, discriminator: parameters; the generator's with those of a `camera_generator`, where
      the pose prior is learned.
    generator_optimizer, discriminator_optimizer: optax states.
    ema: generator parameters averaged over steps, by rate: {'0.999': params}.
    augment: strength of the augmentation and what it hangs on, None without one.
  """

  step: jax.Array
  key: jax.Array
  generator: Any
  discriminator: Any
  generator_optimizer: Any
  discriminator_optimizer: Any
  ema: dict[str, Any]
  augment: Any = None


def optimizer(config, lazy_every: int = 0) -> optax.GradientTransformation:
  """Global-norm clipping and Adam without its learning rate, which is the stage's: see `steps`.

  Args:
    config: `config.optimizer`.
    lazy_every: every so many steps a regularisation has a step of its own; 0 for never. The betas
      are corrected for it (`lazy_factor`).
  """
  factor = lazy_factor(lazy_every)
  return optax.chain(
    optax.clip_by_global_norm(config.grad_clip) if config.grad_clip else optax.identity(),
    optax.scale_by_adam(config.beta1**factor, config.beta2**factor, config.epsilon),
  )


def lazy_factor(every: int) -> float:
  """k/(k + 1): StyleGAN2's correction of learning rate (times it) and betas (to this power), where
  each k steps have one more, of a lazy regularisation (Karras et al. 2020, App. B)."""
  return every / (every + 1) if every else 1.0


def optimizers(config):
  """(transform, factor on the learning rate) of generator and discriminator."""
  g_every = d_every = 0
  if config.recipe == 'eg3d':
    g_every = config.eg3d.density_every if config.eg3d.density else 0
    d_every = max(config.loss.r1_every, 1) if config.loss.r1 else 0
  g_transform, d_transform = (optimizer(config.optimizer, n) for n in (g_every, d_every))
  if camera_generator.is_learned(config):
    share = config.camera_generator.learning_rate
    g_transform = optax.chain(g_transform, optax.stateless(functools.partial(_slowed, share)))
  return (g_transform, lazy_factor(g_every)), (d_transform, lazy_factor(d_every))


def _slowed(share, updates, params):
  """Updates of the generator with the camera generator's at their own rate."""
  del params
  own = jax.tree.map(lambda x: share * x, updates[camera_generator.PARAMS])
  return {**updates, camera_generator.PARAMS: own}


def generator_params(config, generator, key) -> dict:
  """Fresh parameters of a generator, with those of a camera generator where there is one."""
  params = generators.init_params(generator, key)
  if camera_generator.is_learned(config):
    own = camera_generator.init_params(config, jax.random.fold_in(key, 1))
    params = {**params, camera_generator.PARAMS: own}
  return params


def augmentation(config) -> AdaState | None:
  """A fresh augmentation, None where there is none."""
  return None if config.augment.name == 'none' else AdaState.create(config.augment.p)


def create(config, generator, discriminator) -> TrainState:
  """A fresh state; every array is a function of config.seed."""
  key = jax.random.key(config.seed)
  g_key, d_key, run_key = jax.random.split(key, 3)
  g_params = generator_params(config, generator, g_key)
  d_params = discriminators.init_params(discriminator, d_key)
  (g_transform, _), (d_transform, _) = optimizers(config)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    key=jax.random.key_data(run_key),
    generator=g_params,
    discriminator=d_params,
    generator_optimizer=g_transform.init(g_params),
    discriminator_optimizer=d_transform.init(d_params),
    # Copies: the training step donates the state, and a buffer can be donated only once.
    ema={str(rate): jax.tree.map(jnp.copy, g_params) for rate in config.ema.rates},
    augment=augmentation(config),
  )
