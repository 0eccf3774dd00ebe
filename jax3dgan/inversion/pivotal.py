"""Pivotal tuning: the generator's weights move a little, so that a found style draws its photo.

Roich et al. 2021, *Pivotal Tuning for Latent-based Editing of Real Images* (arXiv 2106.05744): the
style (the pivot) stays and the weights are trained on the photo, while images of styles between the
pivot and random ones are kept as they were (locality regularisation, Eq. 4 and 5), here from random
cameras of the pose prior, so that the other sides of the object stay an object.

The result is a run's workdir of the tuned weights, in their own precision: `--workdir` of every app
opens it. Only the generator and its averages lie in it: nothing can go on training from there.
"""

import dataclasses
import functools
import pathlib
import shutil
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jax3dgan import cameras
from jax3dgan.cameras import Camera, camera_generator
from jax3dgan.inversion import losses, search
from jax3dgan.inversion.losses import Perceptual
from jax3dgan.rendering.hierarchical import divisor


@dataclasses.dataclass(frozen=True)
class TuneOptions:
  """How to tune.

  Attributes:
    num_steps: of Adam.
    learning_rate: of the weights.
    locality: weight of what must stay as it was.
    reach: how far from the pivot to a random style the guarded ones lie.
    perceptual_weight: of the perceptual distance; the mean squared error has 1.
    samples: per ray, in one pass.
  """

  num_steps: int = 100
  learning_rate: float = 1e-3
  locality: float = 1.0
  reach: float = 0.5
  perceptual_weight: float = 1.0
  samples: int = 12


def tune(
  model,
  image,
  w,
  camera: Camera,
  perceptual: Perceptual = losses.PYRAMID,
  options: TuneOptions = TuneOptions(),
  seed: int = 0,
  callback: Callable[[int], None] | None = None,
):
  """Returns the model with weights that draw the photos [n, h, h, 3] of one object.

  Args:
    model: a `trained.Trained`.
    image: [n, h, h, 3] in [−1, 1].
    w: [1, ...] the pivot.
    camera: [n].
    perceptual: see `losses.choose`.
    options: see TuneOptions.
    seed: of the guarded styles and cameras.
    callback: called with the number of steps that have been made since the last call.
  """
  image = search.checked(image)
  render = search.render_options(model, image.shape[1], options.samples)
  count = divisor(options.num_steps, 20)
  cameras_of = model.config.render
  orbit = (cameras_of.radius, cameras_of.fov_degrees, tuple(cameras_of.pivot))
  label = jnp.asarray(model.front.label()) if model.is_conditioned else None
  static = (model.generator, render, options, count, orbit)
  target = jax.jit(lambda perceptual, image: perceptual.features(image))(perceptual, image)
  key = jax.random.key(seed)
  prior = model.prior_of(model.params)
  frozen = (model.variables, perceptual, image, target, jnp.asarray(w), camera, label, key, prior)
  state = (model.params, optax.scale_by_adam().init(model.params))
  for first in range(0, options.num_steps, count):
    state = _steps(*static, frozen, state, first)
    if callback is not None:
      callback(count)
  return model.with_params(state[0], model.step)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _steps(generator, render, options, count, orbit, frozen, state, first):
  before, perceptual, image, target, pivot, camera, label, key, prior = frozen

  def picture(params, w, view):
    inputs = (w, view, None, render)
    variables = {**before, 'params': params}
    return generator.apply(variables, *inputs, method='synthesize').image

  def total(params, index):
    w = jnp.broadcast_to(pivot, (len(image), *pivot.shape[1:]))
    drawn = picture(params, w, camera)
    loss = losses.mse(drawn, image) + options.perceptual_weight * perceptual.distance(drawn, target)
    keys = jax.random.split(jax.random.fold_in(key, index))
    z = jax.random.normal(keys[0], (1, generator.z_dim))
    other = generator.apply(before, z, label, method='map')
    near = pivot + options.reach * (other - pivot)
    yaw, pitch = camera_generator.sample_angles(prior, keys[1])
    view = cameras.from_yaw_pitch(yaw[None], pitch[None], *orbit)
    kept = losses.mse(picture(params, near, view), picture(before['params'], near, view))
    return jnp.mean(loss) + options.locality * kept[0]

  def step(state, index):
    params, moments = state
    gradient = jax.grad(total)(params, index)
    updates, moments = optax.scale_by_adam().update(gradient, moments)
    params = jax.tree.map(lambda x, u: x - options.learning_rate * u, params, updates)
    return (params, moments), None

  return jax.lax.scan(step, state, first + jnp.arange(count))[0]


def save(workdir, model) -> None:
  """Writes the weights of a model as a run's workdir, in place of one that is there.

  What only training needs is zeros, which take no room.

  Raises:
    UserError: The disk does not take it.
  """
  from jax3dgan import discriminators
  from jax3dgan.runs import checkpoints, workdirs
  from jax3dgan.training import state as state_lib

  workdir = pathlib.Path(workdir)
  with workdirs.disk_errors(workdir):
    shutil.rmtree(workdir, ignore_errors=True)
  config = model.config
  discriminator = discriminators.create(config.discriminator)
  shapes = jax.eval_shape(lambda: state_lib.create(config, model.generator, discriminator))
  state = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  state = state_lib.with_generator(state, model.variables)
  state = state.replace(step=jnp.asarray(model.step, jnp.int32))
  every, keep = config.checkpoint.every, config.checkpoint.keep
  saver = checkpoints.Checkpoints(workdir, every, keep, config=config)
  saver.save(model.step, state, force=True)
  saver.close()
