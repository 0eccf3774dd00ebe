"""The training step of any recipe, for one device's share of the batch.

Phase by phase: inputs are drawn from per-example keys, gradients of micro-batches are accumulated
in a scan and averaged over devices (the only pmean), the network's optimizer makes a step. A lazy
phase does so only where it is due. Then come the averages.

Written to be wrapped by `parallel.data_parallel`. What examples share of the whole batch (labels)
is gathered from all devices, so that one device and many give the same training.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jax3dgan import recipes
from jax3dgan.devices import compilation, parallel
from jax3dgan.losses import regularizers
from jax3dgan.recipes import Networks, Now, Phase, Photos
from jax3dgan.training import faults, microbatches, schedule, small_leaves, streams
from jax3dgan.training import frozen as frozen_lib
from jax3dgan.training import state as state_lib
from jax3dgan.training.batch_split import BatchSplit
from jax3dgan.training.schedule import Stage
from jax3dgan.training.state import TrainState

# In a batch, beside its examples: rows of the whole data set, of a recipe that needs codes.
TABLE = 'table'


def to_float(images):
  """uint8 images to float32 in [−1, 1]; images of floats are there already."""
  if jnp.issubdtype(images.dtype, jnp.floating):
    return images
  return images.astype(jnp.float32) / 127.5 - 1


def photos_of(batch, batch_size: int) -> Photos:
  """The photos of a device's part {'image': [b, h, w, 3], or 4 with masks, 'label': [b, 25] or
  none, codes by their names, TABLE: {name: [n, k]} of the whole data set or none} of a batch."""
  label, all_labels = batch.get('label'), None
  if label is not None:
    all_labels = jax.lax.all_gather(label, parallel.AXIS, tiled=True)[:batch_size]
  image, opacity = to_float(batch['image']), None
  if image.shape[-1] == 4:
    image, opacity = image[..., :3], 0.5 * (image[..., 3] + 1)
  codes = {name: x for name, x in batch.items() if name not in ('image', 'label', TABLE)}
  return Photos(image, label, all_labels, opacity, codes, batch.get(TABLE, {}))


def weights_of(split: BatchSplit):
  """Factors [micro_batches] of this device's micro-batches, of which those beyond the batch do not
  count; None where all do."""
  if not split.padding:
    return None
  counted = split.batch_size // split.micro_batch_size
  computed = split.num_devices * split.micro_batches
  first = jax.lax.axis_index(parallel.AXIS) * split.micro_batches
  number = first + jnp.arange(split.micro_batches)
  return jnp.where(number < counted, computed / counted, 0.0)


def gradients_of(
  phase: Phase,
  networks: Networks,
  inputs,
  now: Now,
  num_micro_batches: int = 1,
  weights=None,
  frozen=(),
):
  """(gradients, (scalar, Terms)) of a phase on this device: means over its micro-batches.

  Args:
    weights: Of the micro-batches, see `weights_of`.
    frozen: See `Recipe.frozen`.
  """
  if phase.prepare is not None:
    inputs = phase.prepare(networks, inputs, now, num_micro_batches)
  params = networks.params[phase.network]

  def of_part(part):
    return phase.gradients(params, networks, part, now, frozen)

  gradients, aux = microbatches.mean(of_part, inputs, num_micro_batches, weights)
  if phase.scale != 1:
    gradients = jax.tree.map(lambda x: phase.scale * x, gradients)
  return gradients, aux


def make_train_step(
  config, generator, discriminator, stage: Stage, draw: Callable | None = None
) -> Callable:
  """One whole training step of a stage.

  Args:
    draw: Instead of the recipe's, see `Recipe.draw`.

  Returns:
    step(state, batch) for one device's share, batch {'image': [b, h, w, 3] (see `to_float`; 4 with
    masks), 'label': [b, 25] where `config.data.use_labels`}; gives (state, metrics), both the same
    on every device. Metrics of a phase that is not due are NaN.

  Raises:
    UserError: The config's networks and fields do not go together.
  """
  recipe = recipes.create(config.recipe)
  recipe.check(config, generator, discriminator)
  phases = recipe.phases(config, generator, discriminator, stage)
  transforms = state_lib.optimizers(config, phases)
  draw = draw or recipe.draw
  frozen = {network: recipe.frozen(network, config) for network in transforms}

  def updated(params, moments, gradients, layout, network, now):
    """Parameters and moments after a step of a network's optimizer; the gradients are joined."""
    transform, factor = transforms[network]
    params, constant = frozen_lib.split(params, frozen[network])
    # No parameters are given: neither optimizer uses them.
    updates, moments = transform.update(gradients, layout.join_within(moments))
    updates, moments = layout.split(updates), layout.split_within(moments)
    updates = recipe.scale_updates(network, updates, config, now)
    own = config.optimizer
    rate = schedule.learning_rate(
      factor * stage.learning_rates[network],
      now.step,
      own.decay,
      own.decay_steps,
      tuple(own.milestones),
    )
    params = jax.tree.map(lambda p, u: p - rate * u, params, updates)
    return frozen_lib.joined(params, constant), moments

  def run(phase: Phase, state: TrainState, keys, photos, now, weights):
    """The state after a phase, and its metrics."""
    networks = Networks(state.networks, state.buffers)
    name, network = phase.name, phase.network

    def update(own):
      own_keys = streams.named_keys(keys, phase.stream or name)
      inputs = draw(own_keys, name, config, generator, photos, now, state.buffers)
      gradients, aux = gradients_of(
        phase, networks, inputs, now, stage.micro_batches, weights, frozen[network]
      )
      layout = small_leaves.Layout(gradients)
      gradients, (value, terms) = jax.lax.pmean((layout.join(gradients), aux), parallel.AXIS)
      if phase.every > 1:
        gradients = jax.tree.map(lambda x: phase.every * x, gradients)
      metrics = {
        **terms.metrics,
        f'{name}/loss': value,
        f'{name}/gradient_norm': optax.tree.norm(gradients),
        faults.PREFIX + name: faults.first_bad_leaf(gradients, layout),
      }
      params, moments = updated(*own, gradients, layout, network, now)
      return params, moments, terms.buffers, metrics

    own = (state.networks[network], state.optimizers[network])
    if phase.every > 1:
      # Only what the phase changes goes through the condition, not the whole state. It is traced
      # once, for its shapes and for the condition.
      update = jax.jit(update)
      shapes = jax.eval_shape(update, own)

      def leave(own):
        buffers = {name: _those_of(state.buffers[name], new) for name, new in shapes[2].items()}
        return *own, buffers, jax.tree.map(_not_due, shapes[3])

      due = regularizers.is_due(now.step, phase.every)
      params, moments, buffers, metrics = jax.lax.cond(due, update, leave, own)
    else:
      params, moments, buffers, metrics = update(own)
    state = state.replace(
      networks={**state.networks, network: params},
      optimizers={**state.optimizers, network: moments},
      buffers={**state.buffers, **{n: _changed(state.buffers[n], b) for n, b in buffers.items()}},
    )
    return state, metrics

  def step(state: TrainState, batch):
    now = Now(state.step, stage.position_at(state.step))
    photos = photos_of(batch, stage.batch_size)
    keys = parallel.example_keys(streams.step_key(state.key, state.step), photos.image.shape[0])
    weights = weights_of(stage.split)
    metrics = {}
    for phase in phases:
      state, own = run(phase, state, keys, photos, now, weights)
      metrics |= own

    def averaged(network, old, rate):
      params, constant = frozen_lib.split(state.networks[network], recipe.frozen(network, config))
      old = {name: old[name] for name in params} if constant else old
      now = state_lib.ema_update(old, params, float(rate), state.step + 1, config.ema.ramp_up)
      return frozen_lib.joined(now, constant)

    averages = {
      network: {rate: averaged(network, old, rate) for rate, old in by_rate.items()}
      for network, by_rate in state.ema.items()
    }
    buffers = recipe.update_buffers(state.buffers, metrics, config, stage, now)
    state = state.replace(step=state.step + 1, ema=averages, buffers=buffers)
    key = streams.named(streams.step_key(state.key, now.step), 'after_step')
    state, own = recipe.after_step(state, key, config, stage, now)
    state = recipes.update_grid(state, recipe, config, stage, now)
    return state, metrics | own

  return step


def _those_of(buffers, changed):
  """Of a network's buffers those that a phase changes."""
  return {name: buffers[name] for name in changed} if isinstance(changed, dict) else buffers


def _changed(buffers, changed):
  """A network's buffers after a phase that changes some of them."""
  return {**buffers, **changed} if isinstance(changed, dict) else changed


def _not_due(shape):
  """What a metric is in steps where its phase is not due."""
  if jnp.issubdtype(shape.dtype, jnp.floating):
    return jnp.full(shape.shape, jnp.nan, shape.dtype)
  return jnp.full(shape.shape, faults.NONE, shape.dtype)


def compiler_options(config) -> dict[str, str]:
  """Options of `jax.stages.Lowered.compile` that suit a recipe's step on this platform."""
  recipe = recipes.create(config.recipe)
  return compilation.options_for_convolutions() if recipe.has_convolutions else {}
