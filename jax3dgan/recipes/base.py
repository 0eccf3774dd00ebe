"""The contract of a recipe: how one paper trains, as phases of a step.

A step of training draws, for each phase that is due, the inputs of a batch, takes the gradient of
the phase's loss in the parameters of its network, averages it over devices, and makes a step of
that network's optimizer (`training.step`). A recipe says which phases there are; it contains no
optimizer, no device and no loop.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jax3dgan import cameras, discriminators, generators
from jax3dgan.cameras import Camera
from jax3dgan.discriminators import Discriminator
from jax3dgan.errors import not_written
from jax3dgan.generators import Generator
from jax3dgan.recipes.values import Inputs, Networks, Now, Photos, Terms
from jax3dgan.training import frozen as frozen_lib
from jax3dgan.training import streams

__all__ = ['Inputs', 'Networks', 'Now', 'Phase', 'Photos', 'Recipe', 'Terms']


@dataclasses.dataclass(frozen=True)
class Phase:
  """A part of a step that trains one network with one loss.

  Attributes:
    name: Its random numbers (but see `stream`) and its metrics are named after it.
    network: In whose parameters the loss is differentiated.
    loss: loss(params, networks, inputs, now) → (scalar, Terms): `params` of the network, all
      `Networks`, the `Inputs` of one micro-batch on one device, where training is (`Now`).
    every: It is due each so many steps, and its gradient counts so many times.
    lazy: A regularisation beside its network's main phase: the optimizer is corrected for its
      additional steps (`state.lazy_factor`).
    gradient: Instead of the loss's own: gradient(params, networks, inputs, now) → (gradients,
      (scalar, Terms)).
    scale: Factor on the mean of the micro-batches' gradients.
    prepare: prepare(networks, inputs, now, num_micro_batches) → inputs, once for a device's whole
      share of the batch: what must be known of all examples before the first gradient.
    stream: Its random numbers are named after it instead of the phase: phases of the same stream
      draw the same ones. '' for the phase's own.
  """

  name: str
  network: str
  loss: Callable
  every: int = 1
  lazy: bool = False
  gradient: Callable | None = None
  scale: float = 1.0
  prepare: Callable | None = None
  stream: str = ''

  def gradients(self, params, networks: Networks, inputs: Inputs, now: Now, frozen=()):
    """(gradients, (scalar, Terms)) of one micro-batch.

    Args:
      frozen: Top-level names of `params` of which there are no gradients (`Recipe.frozen`).
    """
    trained, constant = frozen_lib.split(params, frozen)
    if self.gradient is not None:
      gradients, aux = self.gradient(params, networks, inputs, now)
      return frozen_lib.split(gradients, frozen)[0], aux

    def loss(trained):
      return self.loss(frozen_lib.joined(trained, constant), networks, inputs, now)

    (value, terms), gradients = jax.value_and_grad(loss, has_aux=True)(trained)
    return gradients, (value, terms)


class Recipe:
  """How a paper trains. Subclasses have no state of their own.

  Attributes:
    groups: {group of the config: dataclass whose fields and defaults it has}.
    defaults: Values of common config fields that are the paper's: {'optimizer': dict(beta2=0.99)}.
    model, discriminator: Names of the networks of `base_config(recipe)`.
    draws_radius: Whether its cameras have the distances of `config.pose_prior.radius_std`.
    uses_labels: Whether it can train with the photos' camera labels (`config.data.use_labels`).
    needs_labels: Whether it cannot train without them.
    of_weights: {weight, or a tuple of weights: fields that say more of their term}, which have no
      effect where these are 0: {'loss.r1': ('loss.r1_every',)}.
    has_convolutions: Whether a step is dominated by convolutions, for which the compiler gets
      options of its own.
  """

  groups: Mapping[str, type] = {}
  defaults: Mapping[str, Any] = {}
  model = 'pigan'
  discriminator = 'progressive'
  draws_radius = False
  uses_labels = False
  needs_labels = False
  of_weights: Mapping[str | tuple[str, ...], tuple[str, ...]] = {}
  has_convolutions = False

  def phases(
    self, config, generator: Generator, discriminator: Discriminator | None, stage
  ) -> tuple[Phase, ...]:
    """The phases of a stage's step (`schedule.Stage`), in their order."""
    raise not_written(self, 'phases')

  def draw(self, keys, phase: str, config, generator: Generator, photos: Photos, now: Now, buffers):
    """The `Inputs` of a phase.

    Args:
      keys: Per-example keys [b] of this step and this phase alone.
      phase: Its name.
      buffers: As of `Networks`.
    """
    raise not_written(self, 'draw')

  def check(self, config, generator: Generator, discriminator: Discriminator | None) -> None:
    """UserError in one line for a combination that does not train, or a field that is not used."""
    raise not_written(self, 'check')

  def needs_masks(self, config) -> bool:
    """Whether it needs the photos' masks (`Photos.opacity`): data without them is an error."""
    del config
    return False

  def needs_codes(self, config) -> Mapping[str, int]:
    """{name: how many numbers} of the codes of photos that it needs (`Photos.codes`, `.table`), as
    the weights of a face model: data whose records do not have them is an error."""
    del config
    return {}

  def check_data(self, config, dataset) -> None:
    """UserError in one line for data that a config does not fit.

    Args:
      dataset: `data.pipeline.Dataset` of the first stage.
    """

  def init_networks(self, config, generator, discriminator, keys) -> Networks:
    """Fresh networks and buffers.

    Args:
      keys: (generator's, discriminator's).
    """
    del config
    params, buffers = {}, {}
    fresh = {'generator': generators.init(generator, keys[0])}
    if discriminator is not None:
      fresh['discriminator'] = discriminators.init(discriminator, keys[1])
    for name, variables in fresh.items():
      params[name] = variables['params']
      if variables.get('buffers'):
        buffers[name] = variables['buffers']
    return Networks(params, buffers)

  def warm_up(self, config, generator, networks: Networks, given, report, say=print) -> Networks:
    """The networks of a fresh run after what is fitted before its first step, as a field that
    begins as a sphere; the same `Networks` where there is nothing to do. Not inside of a compiled
    program, and not in a run that goes on.

    Args:
      networks: Of `init_networks`, or what `config.init_from` has made of them.
      given: Names 'generator/field/beta' of the parameters that are another run's.
      report: report(done, total, of) at first and after each piece of the work, `of` a word for it;
        it shows progress, and raises KeyboardInterrupt where the run is to stop.
      say: Called with a line of text, as of a fit that has gone wrong.
    """
    del config, generator, given, report, say
    return networks

  def update_buffers(self, buffers, metrics, config, stage, now: Now) -> dict:
    """The buffers after a step, from the metrics of its phases (adaptive augmentation)."""
    del metrics, config, stage, now
    return buffers

  def after_step(self, state, key, config, stage, now: Now):
    """The state after a step, with what changes its arrays other than by gradients (Gaussians that
    come and go), and metrics; within the compiled step, after the averages.

    Args:
      state: `training.state.TrainState`, its step the next one.
      key: of this step and this method alone, the same on every device.
      now: of the step that was done.
    """
    del key, config, stage, now
    return state, {}

  def scale_updates(self, network: str, updates, config, now: Now):
    """The optimizer's updates of a network, scaled leaf by leaf: parts that learn slower, or not
    yet. The optimizer's moments go on."""
    del network, config, now
    return updates

  def grad_clip(self, network: str, config) -> float:
    """The bound on the norm of each phase's gradient of a network; 0 for none."""
    del network
    return config.optimizer.grad_clip

  def frozen(self, network: str, config) -> tuple[str, ...]:
    """Top-level names of a network's parameters that are not trained: those of a part whose weights
    come from another run (`config.init_from`). They have no gradients and no optimizer's moments,
    and their averages are they themselves. A network that no phase trains is frozen as a whole."""
    del network, config
    return ()

  def frozen_fields(self, config) -> tuple[str, ...]:
    """Fields of the config, 'render.near', with which what is frozen computes or is asked something
    else: they must have the values of the run whose weights it has (`config.init_from`). Fields of
    `model` also say that the generator must be of the same name."""
    del config
    return ()

  def judged_resolution(self, config, stage, discriminator) -> int:
    """Pixels on a side of what the discriminator sees of the stage's images, whole by default."""
    del config, discriminator
    return stage.resolution

  def averaged_networks(self) -> tuple[str, ...]:
    """Networks of whose parameters moving averages are kept."""
    return ('generator',)

  def pose_prior(self, config, params):
    """The distribution of the cameras: `cameras.PosePrior`, or one that is learned with the
    generator's parameters."""
    del params
    return cameras.pose_prior(**config.pose_prior)


def draw_latents(keys, z_dim: int):
  """z [b, z_dim] of per-example keys [b]."""
  keys = streams.named_keys(keys, 'z')
  return jax.vmap(lambda key: jax.random.normal(key, (z_dim,)))(keys)


def draw_angles(keys, prior):
  """(yaw, pitch), [b] each, of a pose prior and per-example keys [b]: π-GAN's angles, radians."""
  return jax.vmap(functools.partial(cameras.sample_angles, prior))(keys)


def draw_radius(keys, config):
  """Distances of cameras, [b, 1] of per-example keys [b]; the number itself where all have one."""
  prior = cameras.pose_prior(**config.pose_prior)
  if not prior.radius_std:
    return config.render.radius
  keys = streams.named_keys(keys, 'radius')
  return jax.vmap(lambda key: cameras.sample_radius(prior, key, config.render.radius))(keys)[
    :, None
  ]


def camera_of(config, yaw, pitch, radius=None) -> Camera:
  """The cameras [b] of a config by their angles [b], radians, and distances, see `draw_radius`."""
  render = config.render
  radius = render.radius if radius is None else radius
  return cameras.from_yaw_pitch(yaw, pitch, radius, render.fov_degrees, tuple(render.pivot))


def advanced(discriminator: Discriminator, networks: Networks) -> Networks:
  """The networks after one step of the discriminator's buffers that move with training
  (`Discriminator.advance`). No gradient goes through it; a loss returns the new buffers in `Terms`,
  `{'discriminator': networks.buffers['discriminator']}`. They depend on parameters alone, so that
  all micro-batches and devices have the same."""
  if not discriminator.moves_buffers:
    return networks
  variables = jax.lax.stop_gradient(networks.variables('discriminator'))
  _, moved = discriminator.apply(variables, method='advance', mutable=['buffers'])
  return networks._replace(buffers={**networks.buffers, 'discriminator': moved['buffers']})


def running_w_average(networks: Networks, w, decay: float = 0.998) -> dict:
  """New buffers, for `Terms`, of a generator that keeps a running mean of its styles (Karras et al.
  2019), after styles w [b, num_ws, w_dim]; nothing for one that keeps none."""
  buffers = networks.buffers.get('generator') or {}
  if 'w_average' not in buffers:
    return {}
  mean = decay * buffers['w_average'] + (1 - decay) * w[:, 0].mean(0)
  return {'generator': {**buffers, 'w_average': jax.lax.stop_gradient(mean)}}
