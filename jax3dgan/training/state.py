"""The state of a training run: all that a checkpoint must hold to go on exactly."""

import math
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax3dgan import recipes
from jax3dgan.errors import UserError
from jax3dgan.training import frozen as frozen_lib
from jax3dgan.training import schedule


@flax.struct.dataclass
class TrainState:
  """A pytree of arrays.

  Attributes:
    step: int32 scalar, steps done.
    key: key data (uint32) of the run; every random number is derived from it and the step.
    networks: Parameters by network: {'generator': ..., 'discriminator': ...}.
    optimizers: optax states by network.
    ema: Parameters averaged over steps, by network and rate: {'generator': {'0.999': ...}}.
    buffers: What no optimizer trains, by network: running means, constant noise; and what belongs
      to the recipe, such as 'augment', the strength of the augmentation.
  """

  step: jax.Array
  key: jax.Array
  networks: dict[str, Any]
  optimizers: dict[str, Any]
  ema: dict[str, dict[str, Any]]
  buffers: dict[str, Any]


def optimizer(config, lazy=(), grad_clip: float | None = None) -> optax.GradientTransformation:
  """Global-norm clipping and Adam or RMSprop without the learning rate, which is the stage's.

  Args:
    config: `config.optimizer`.
    lazy: Each how many steps the network's lazy phases are due. The betas are corrected for them
      (`lazy_factor`).
    grad_clip: Instead of the config's.
  """
  factor, clip = lazy_factor(lazy), config.grad_clip if grad_clip is None else grad_clip
  if config.name == 'rmsprop':
    scale = optax.scale_by_rms(config.beta2**factor, config.epsilon, eps_in_sqrt=False)
  else:
    scale = optax.scale_by_adam(config.beta1**factor, config.beta2**factor, config.epsilon)
  return optax.chain(optax.clip_by_global_norm(clip) if clip else optax.identity(), scale)


def lazy_factor(lazy) -> float:
  """k/(k + 1): StyleGAN2's correction of learning rate (times it) and betas (to this power), where
  each k steps have one more, of a lazy regularisation (Karras et al. 2020, App. B).

  Args:
    lazy: The k of each lazy phase of a network.
  """
  return math.prod(every / (every + 1) for every in lazy)


def phases_of(config, generator, discriminator):
  """The phases of a recipe at the first stage: which networks are trained, and how often."""
  stage = schedule.stages(config, None)[0]
  phases = recipes.create(config.recipe).phases(config, generator, discriminator, stage)
  if not isinstance(phases, tuple | list) or not all(isinstance(p, recipes.Phase) for p in phases):
    raise UserError(
      f"The recipe '{config.recipe}' has no tuple of phases. Return one from its method 'phases', "
      'such as (Phase(...),).'
    )
  return phases


def optimizers(config, phases) -> dict[str, tuple[optax.GradientTransformation, float]]:
  """(transform, factor on the learning rate) of each network that a phase trains."""
  result, recipe = {}, recipes.create(config.recipe)
  for network in dict.fromkeys(phase.network for phase in phases):
    lazy = tuple(phase.every for phase in phases if phase.network == network and phase.lazy)
    clip = recipe.grad_clip(network, config)
    result[network] = (optimizer(config.optimizer, lazy, clip), lazy_factor(lazy))
  return result


def create(config, generator, discriminator, phases=None) -> TrainState:
  """A fresh state; every array is a function of config.seed.

  Args:
    phases: Of the recipe, where they are at hand, see `phases_of`.
  """
  recipe = recipes.create(config.recipe)
  phases = phases or phases_of(config, generator, discriminator)
  key = jax.random.key(config.seed)
  g_key, d_key, run_key = jax.random.split(key, 3)
  params, buffers = recipe.init_networks(config, generator, discriminator, (g_key, d_key))
  transforms = optimizers(config, phases)
  if unknown := [name for name in transforms if name not in params]:
    raise UserError(
      f"A phase of the recipe '{config.recipe}' trains '{unknown[0]}', and the networks are "
      f'{", ".join(params)}. Name one of them, or make it in `init_networks`.'
    )
  trained = {name: trained_params(config, name, params[name]) for name in transforms}
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    key=jax.random.key_data(run_key),
    networks=params,
    optimizers={name: transform.init(trained[name]) for name, (transform, _) in transforms.items()},
    # Copies: the training step donates the state, and a buffer can be donated only once.
    ema={
      name: {str(rate): jax.tree.map(jnp.copy, params[name]) for rate in config.ema.rates}
      for name in recipe.averaged_networks()
    },
    buffers=buffers,
  )


def trained_params(config, network: str, params):
  """The parameters of a network that its optimizer trains: without those that are frozen.

  Raises:
    UserError: The recipe freezes what there is not, or all there is of a network with a phase.
  """
  frozen = recipes.create(config.recipe).frozen(network, config)
  if unknown := [name for name in frozen if name not in params]:
    raise UserError(
      f"The recipe '{config.recipe}' freezes '{unknown[0]}' of the {network}, whose parameters are "
      f'{", ".join(params)}. Return one of them from its method `frozen`.'
    )
  trained, _ = frozen_lib.split(params, frozen)
  if not trained:
    raise UserError(
      f"The recipe '{config.recipe}' has a phase that trains the {network}, and freezes all of it. "
      'Leave out the phase, or leave something to train.'
    )
  return trained


def warm_up(state: TrainState, config, generator, given, report, say=print) -> TrainState:
  """A fresh state after what its recipe fits or reads before the first step; its averages begin
  there.

  Each process computes it on one device of its own.

  Args:
    state: On its devices.
    given, report, say: See `Recipe.warm_up`.
  """
  local = jax.tree.map(lambda x: x.addressable_data(0), (state.networks, state.buffers))
  before = recipes.Networks(*local)
  after = recipes.create(config.recipe).warm_up(config, generator, before, given, report, say)
  if after is before:
    return state

  def placed(name, old, of=0):
    """The new parameters, or buffers, on the old ones' devices, in memory of their own."""
    if after[of][name] is before[of][name]:
      return old
    new = jax.tree.map(np.asarray, after[of][name])
    return jax.tree.map(
      lambda x, y: jax.make_array_from_callback(x.shape, y.sharding, lambda i: x[i]), new, old
    )

  return state.replace(
    networks={name: placed(name, params) for name, params in state.networks.items()},
    ema={
      name: {rate: placed(name, params) for rate, params in averages.items()}
      for name, averages in state.ema.items()
    },
    buffers={name: placed(name, buffers, of=1) for name, buffers in state.buffers.items()},
  )


def ema_update(average, params, rate: float, num_updates, ramp_up: float = 0.0):
  """Exponential moving average at update n = 1, 2, ...

  Its decay is min(rate, (1 + n)/(10 + n)), or, with `ramp_up`, that whose half-life is at most this
  share of the images seen (StyleGAN2's; rate = ½^(batch/half-life) in images).
  """
  if ramp_up:
    decay = jnp.minimum(rate, 0.5 ** (1 / (ramp_up * num_updates)))
  else:
    decay = jnp.minimum(rate, (1 + num_updates) / (10 + num_updates))
  rest = 1 - decay
  return jax.tree.map(lambda a, p: decay * a + rest * p, average, params)


def averaged_variables(state: TrainState, rate: str, network: str = 'generator') -> dict:
  """What `module.apply` takes of a network: its averaged parameters, and its buffers as they are,
  which are means already or constants."""
  networks = recipes.Networks(state.networks, state.buffers)
  return networks.variables(network, state.ema[network][rate])


def with_generator(state: TrainState, variables) -> TrainState:
  """A state whose generator, and each average of it, has these parameters and buffers."""
  params = variables['params']
  buffers = dict(state.buffers)
  if variables.get('buffers'):
    buffers['generator'] = variables['buffers']
  return state.replace(
    networks={**state.networks, 'generator': params},
    ema={**state.ema, 'generator': {rate: params for rate in state.ema['generator']}},
    buffers=buffers,
  )
