"""The optimisation of a search: Adam on the coordinates of styles and the poses of cameras."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.inversion import losses, poses, spaces
from jax3dgan.inversion.losses import Perceptual
from jax3dgan.rendering.hierarchical import RenderOptions, divisor

_MAX_STEPS_AT_ONCE = 20  # steps of one program: progress is shown between them


@dataclasses.dataclass(frozen=True)
class SearchOptions:
  """How to search; `docs/inversion.md` has the measurements behind the defaults.

  Attributes:
    num_steps: of the search.
    learning_rate: of the style, in standard deviations along its principal axes (z: of z).
    pose_rate: of yaw, pitch and roll in radians and of the distance's logarithm.
    noise: standard deviation of the noise on the style at the first step, in standard deviations
      of w; zero from the share `noise_share` of the steps on.
    warm_up, cool_down: shares of the steps in which the learning rate rises and falls.
    perceptual_weight: of the perceptual distance; the mean squared error has 1.
    unlikely: weight of the mean square of the style's coordinates, and of that of a searched yaw in
      deviations of the pose prior, where that is a normal distribution.
    samples: per ray, in one pass.
    num_starts: sides from which a search for the camera starts.
    start_steps: of each.
  """

  num_steps: int = 200
  learning_rate: float = 0.05
  pose_rate: float = 0.02
  noise: float = 0.05
  noise_share: float = 0.5
  warm_up: float = 0.05
  cool_down: float = 0.4
  perceptual_weight: float = 1.0
  unlikely: float = 1e-2
  samples: int = 12
  num_starts: int = 8
  start_steps: int = 40

  def rate(self, index):
    """The share of the learning rate at step `index`, which may be traced."""
    share = (index + 1) / self.num_steps
    up = jnp.minimum(share / max(self.warm_up, 1e-6), 1)
    down = jnp.minimum((1 - share) / max(self.cool_down, 1e-6), 1)
    return up * 0.5 * (1 - jnp.cos(jnp.pi * down))


class Found(NamedTuple):
  """What a search found of b photos of g objects.

  Attributes:
    w: [g, ...] styles.
    camera: [b].
    coordinates: [g, ...] of the styles, see `spaces`.
    losses: {'mse', 'perceptual', 'unlikely': [num_steps, b]} before each step, noise included.
  """

  w: jax.Array
  camera: Camera
  coordinates: jax.Array
  losses: dict[str, np.ndarray]


def render_options(model, resolution: int, samples: int) -> RenderOptions:
  """Options of the renderings in a search: one pass, pixel centres as photos have them."""
  return model.options(resolution, num_coarse=samples, num_fine=0, ray_chunk=0, align_corners=False)


def run(model, photos, camera, space, coordinates, find, perceptual, options, seed, say) -> Found:
  """Optimises styles and cameras from a start.

  Args:
    model: a `trained.Trained`.
    photos: (images [b, h, h, 3], their `perceptual.features`, index [b] of the style of each).
    camera: [b].
    space: of the styles.
    coordinates: [g, ...] where the styles start.
    find: what of the cameras to move, of `poses.NUMBERS`.
    perceptual, options, seed: see `search.search`.
    say: called with the number of steps that have been made since the last call.
  """
  unknown = set(find) - set(poses.NUMBERS)
  if unknown:
    raise UserError(f'A camera has no {sorted(unknown)[0]}. Choose of {", ".join(poses.NUMBERS)}.')
  num = len(photos[0])
  pose = jnp.zeros((num, len(poses.NUMBERS)), jnp.float32)
  unknowns = (jnp.asarray(coordinates), pose)
  state = (unknowns, _ADAM.init(unknowns))
  render = render_options(model, photos[0].shape[1], options.samples)
  static = (model.generator, render, options, tuple(find), poses.bounds(model))
  arrays = (model.variables, space, perceptual, photos, camera, jax.random.key(seed))
  count = divisor(options.num_steps, _MAX_STEPS_AT_ONCE)
  records = []
  for first in range(0, options.num_steps, count):
    state, record = _steps(*static, count, *arrays, state, first)
    records.append(jax.device_get(record))
    say(count)
  (coordinates, pose), _ = state
  w, moved = _result(model.generator, static[-1], model.variables, space, camera, coordinates, pose)
  camera = moved if find else camera
  found = {name: np.concatenate([record[name] for record in records]) for name in records[0]}
  return Found(w, jax.tree.map(np.asarray, camera), coordinates, found)


_ADAM = optax.scale_by_adam()


@functools.partial(jax.jit, static_argnums=(0, 1))
def _result(generator, bounds, variables, space, camera, coordinates, pose):
  return space.style(generator, variables, coordinates), poses.move(camera, pose, bounds.pitch)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _steps(
  generator,
  render: RenderOptions,
  options: SearchOptions,
  find: tuple[str, ...],
  bounds: poses.Bounds,
  count: int,
  variables,
  space: spaces.Space,
  perceptual: Perceptual,
  photos,
  camera: Camera,
  key,
  state,
  first,
) -> tuple[Any, dict]:
  """`count` steps from step `first` on: (state, losses {name: [count, b]})."""
  image, target, owner = photos
  moved = jnp.array([float(name in find) for name in poses.NUMBERS], jnp.float32)

  def total(unknowns, index):
    coordinates, pose = unknowns
    w = space.style(generator, variables, coordinates)
    keys = jax.random.split(jax.random.fold_in(key, index))
    if options.noise:
      share = jnp.maximum(1 - index / (options.noise_share * options.num_steps), 0)
      noise = jax.random.normal(keys[0], w.shape[1:], w.dtype)  # the same for every photo
      w = w + options.noise * share * space.spread * noise
    view = poses.move(camera, pose, bounds.pitch) if find else camera
    # All photos have the same random numbers: a result does not depend on the rest of the batch.
    jitter = jnp.broadcast_to(keys[1], (len(image),))
    out = generator.apply(variables, w[owner], view, jitter, render, method='synthesize')
    terms = {
      'mse': losses.mse(out.image, image),
      'perceptual': perceptual.distance(out.image, target),
      'unlikely': space.unlikelihood(coordinates)[owner],
    }
    if find:
      terms['unlikely'] += bounds.unlikelihood(view)
    weighted = terms['mse'] + options.perceptual_weight * terms['perceptual']
    # A sum over the batch: gradients of different photos are independent.
    return jnp.sum(weighted + options.unlikely * terms['unlikely']), terms

  def step(state, index):
    unknowns, moments = state
    gradient, terms = jax.grad(total, has_aux=True)(unknowns, index)
    (style, pose), moments = _ADAM.update(gradient, moments)
    rate = options.rate(index)
    coordinates = unknowns[0] - rate * options.learning_rate * style
    pose = unknowns[1] - rate * options.pose_rate * moved * pose
    return ((coordinates, pose), moments), terms

  return jax.lax.scan(step, state, first + jnp.arange(count))
