"""The state of a training run: all that a checkpoint must hold to go on exactly."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from jax3dgan import discriminators, generators


@flax.struct.dataclass
class TrainState:
  """A pytree of arrays.

  Attributes:
    step: int32 scalar, steps done.
    key: key data (uint32) of the run; every random number is derived from it and the step.
    generator, discriminator: parameters.
    generator_optimizer, discriminator_optimizer: optax states.
    ema: generator parameters averaged over steps, by rate: {'0.999': params}.
  """

  step: jax.Array
  key: jax.Array
  generator: Any
  discriminator: Any
  generator_optimizer: Any
  discriminator_optimizer: Any
  ema: dict[str, Any]


def optimizer(config) -> optax.GradientTransformation:
  """Global-norm clipping and Adam without its learning rate, which is the stage's: see `steps`."""
  return optax.chain(
    optax.clip_by_global_norm(config.grad_clip) if config.grad_clip else optax.identity(),
    optax.scale_by_adam(config.beta1, config.beta2, config.epsilon),
  )


def create(config, generator, discriminator) -> TrainState:
  """A fresh state; every array is a function of config.seed."""
  key = jax.random.key(config.seed)
  g_key, d_key, run_key = jax.random.split(key, 3)
  g_params = generators.init_params(generator, g_key)
  d_params = discriminators.init_params(discriminator, d_key)
  transform = optimizer(config.optimizer)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    key=jax.random.key_data(run_key),
    generator=g_params,
    discriminator=d_params,
    generator_optimizer=transform.init(g_params),
    discriminator_optimizer=transform.init(d_params),
    # Copies: the training step donates the state, and a buffer can be donated only once.
    ema={str(rate): jax.tree.map(jnp.copy, g_params) for rate in config.ema.rates},
  )
