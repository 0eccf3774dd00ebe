"""The search behind `jax3dgan invert`: styles and, where they are not known, cameras of photos.

Adam on the coordinates of a style (`spaces`) and on the pose of each photo's camera (`poses`),
starting from the average style. Noise on the style falls to zero, so that the first steps see a
neighbourhood rather than a point, and the learning rate rises at first and falls at the end, as in
StyleGAN2's projection (Karras et al. 2020, App. D). The loss is the mean squared error, a
perceptual distance (`losses`) and how unlikely the style is.

Where a camera is not known, short searches at a low resolution start from several sides, and the
best of them goes on: a loss in the camera has a valley for every side from which an object looks
alike.
"""

import dataclasses
import functools
from collections.abc import Callable
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

_MOST_AT_ONCE = 20  # steps of one program: progress is shown between them
_START_RESOLUTION = 16


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


def search(
  model,
  image,
  camera: Camera | None = None,
  space: spaces.Space | str = 'w+',
  find: tuple[str, ...] = (),
  perceptual: Perceptual = losses.PYRAMID,
  options: SearchOptions = SearchOptions(),
  one_identity: bool = False,
  seed: int = 0,
  callback: Callable[[int], None] | None = None,
) -> Found:
  """Finds the styles of photos, and their cameras.

  Each photo is found as if it were alone, unless all show one object. A batch shape is compiled
  once.

  Args:
    model: a `trained.Trained`.
    image: [b, h, h, 3] in [−1, 1].
    camera: [b] or [1]; None searches for it from several sides, with `find` yaw and pitch at least.
      A generator without a camera takes none.
    space: see `spaces`.
    find: what of the camera to move, of `poses.NUMBERS`; () keeps it as given.
    perceptual: see `losses.choose`.
    options: see SearchOptions.
    one_identity: whether the photos share one style.
    seed: of the noise.
    callback: called with the number of steps that have been made since the last call.

  Raises:
    UserError: Images or cameras that do not fit.
  """
  image = checked(image)
  if isinstance(space, str):
    space = spaces.create(model, space)
  if not model.has_camera:
    camera, find = model.orbit(0.0), ()
  say = callback or (lambda steps: None)
  coordinates = None
  if camera is None:
    find = tuple(dict.fromkeys(('yaw', 'pitch', *find)))
    camera, coordinates = _start(model, image, space, options, one_identity, seed, say)
  num = len(image)
  if len(camera.cam2world) not in (1, num):
    raise UserError(f'{len(camera.cam2world)} cameras do not fit {num} photos. Give one for each.')
  camera = jax.tree.map(lambda x: np.broadcast_to(x, (num, *x.shape[1:])), camera)
  owner = np.zeros(num, np.int32) if one_identity else np.arange(num, dtype=np.int32)
  if coordinates is None:
    coordinates = space.start(1 if one_identity else num)
  photos = (image, _features(perceptual, image), owner)
  return _run(model, photos, camera, space, coordinates, find, perceptual, options, seed, say)


def checked(image) -> jax.Array:
  """Photos as an array [b, h, h, 3] in [−1, 1]; UserError for anything else."""
  image = np.asarray(image)
  if image.ndim != 4 or image.shape[1] != image.shape[2] or image.shape[3] != 3 or not len(image):
    raise UserError(f'Photos of the shape {image.shape} are not [b, h, h, 3]. Crop them square.')
  if not np.issubdtype(image.dtype, np.floating):
    raise UserError(f'Photos of {image.dtype} are not in [−1, 1]. Give image / 127.5 − 1.')
  if not np.isfinite(image).all() or np.abs(image).max() > 1.01:
    raise UserError('Photos have values that are not in [−1, 1]. Give image / 127.5 − 1.')
  return jnp.asarray(image, jnp.float32)


def _start(model, image, space, options, one_identity, seed, say):
  """(cameras [b], coordinates) of the best of several short searches for each photo."""
  k, b = options.num_starts, len(image)
  short = dataclasses.replace(options, num_steps=options.start_steps, noise=0.0, cool_down=0.2)
  # Super-resolution is made for one size, and costs more than all else: short searches do without.
  model = dataclasses.replace(model, generator=model.generator.without_super_resolution())
  small = _shrunk(model, image)
  base = model.orbit(np.tile(poses.starts(model, k), b))

  def best(pictures, coordinates, rate):
    n = len(pictures)
    views = jax.tree.map(lambda x: x[: n * k], base)
    every = jnp.repeat(pictures, k, axis=0)
    owner = np.arange(n * k, dtype=np.int32)
    own = dataclasses.replace(short, learning_rate=rate)
    photos = (every, every, owner)
    parts = (space, coordinates, ('yaw', 'pitch'), Perceptual(), own, seed, say)
    found = _run(model, photos, views, *parts)
    total = found.losses['mse'] + options.perceptual_weight * found.losses['perceptual']
    total = total + options.unlikely * found.losses['unlikely']
    rows = np.argmin(total[-3:].mean(0).reshape(n, k), axis=1) + k * np.arange(n)
    return jax.tree.map(lambda x: x[rows], (found.camera, found.coordinates))

  if not one_identity:
    return best(small, space.start(b * k), short.learning_rate)
  camera, coordinates = best(small[:1], space.start(k), short.learning_rate)
  if b > 1:
    # The others show the object that the first has given: only their cameras are searched.
    many = jnp.repeat(coordinates, (b - 1) * k, axis=0)
    rest, _ = best(small[1:], many, 0.0)
    camera = jax.tree.map(lambda *x: np.concatenate(x), camera, rest)
  return camera, coordinates


def _shrunk(model, image):
  """The photos at the resolution of the short searches, where the generator can draw at it."""
  size = image.shape[1]
  while size % 2 == 0 and size // 2 >= _START_RESOLUTION:
    size //= 2
  if size == image.shape[1] or not model.has_depth:
    return image
  try:
    options = render_options(model, size, 4)
    view = model.orbit(0.0)
    w = jnp.asarray(model.average_w)[None]
    jax.eval_shape(
      lambda variables: (
        model.generator.apply(
          variables, w, view, key=None, options=options, method='synthesize'
        ).image
      ),
      model.variables,
    )
  except UserError:  # it draws at one resolution only
    return image
  while image.shape[1] > size:
    image = losses.halved(image)
  return image


def _run(model, photos, camera, space, coordinates, find, perceptual, options, seed, say):
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
  count = divisor(options.num_steps, _MOST_AT_ONCE)
  parts = []
  for first in range(0, options.num_steps, count):
    state, part = _steps(*static, count, *arrays, state, first)
    parts.append(jax.device_get(part))
    say(count)
  (coordinates, pose), _ = state
  w, moved = _result(model.generator, static[-1], model.variables, space, camera, coordinates, pose)
  camera = moved if find else camera
  found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
  return Found(w, jax.tree.map(np.asarray, camera), coordinates, found)


_ADAM = optax.scale_by_adam()


@jax.jit
def _features(perceptual, image):
  return perceptual.features(image)


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
    # Every photo has the same random numbers: a photo's result does not depend on its neighbours.
    jitter = jnp.broadcast_to(keys[1], (len(image),))
    out = generator.apply(variables, w[owner], view, jitter, render, method='synthesize')
    parts = {
      'mse': losses.mse(out.image, image),
      'perceptual': perceptual.distance(out.image, target),
      'unlikely': space.unlikelihood(coordinates)[owner],
    }
    if find:
      parts['unlikely'] += bounds.unlikelihood(view)
    weighted = parts['mse'] + options.perceptual_weight * parts['perceptual']
    # A sum over the batch: no photo weighs on another's gradient.
    return jnp.sum(weighted + options.unlikely * parts['unlikely']), parts

  def step(state, index):
    unknowns, moments = state
    gradient, parts = jax.grad(total, has_aux=True)(unknowns, index)
    (style, pose), moments = _ADAM.update(gradient, moments)
    rate = options.rate(index)
    coordinates = unknowns[0] - rate * options.learning_rate * style
    pose = unknowns[1] - rate * options.pose_rate * moved * pose
    return ((coordinates, pose), moments), parts

  return jax.lax.scan(step, state, first + jnp.arange(count))
