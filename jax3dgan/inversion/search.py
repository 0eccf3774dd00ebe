"""The search behind `jax3dgan invert`: styles and, where they are not known, cameras of photos.

Adam on the coordinates of a style (`spaces`) and on the pose of each photo's camera (`poses`),
starting from the average style. Noise on the style falls to zero, so that the first steps average
over a neighbourhood, and the learning rate rises at first and falls at the end, as in StyleGAN2's
projection (Karras et al. 2020, App. D). The loss is the mean squared error, a perceptual distance
(`losses`) and a penalty of unlikely styles.

Where a camera is not known, short searches at a low resolution start from several sides, and the
best of them is continued: the loss has a local minimum for every side from which an object looks
similar. Scenes of objects start from several poses of these too, also where the camera is known
(`scenes`).
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.inversion import descent, losses, poses, scenes, spaces
from jax3dgan.inversion.descent import Found, SearchOptions, render_options
from jax3dgan.inversion.losses import Perceptual

_START_RESOLUTION = 16


def search(
  model,
  image,
  camera: Camera | None = None,
  space: spaces.Space | str = 'w+',
  find: tuple[str, ...] = (),
  perceptual: Perceptual = losses.PYRAMID,
  options: SearchOptions | None = None,
  one_identity: bool = False,
  seed: int = 0,
  callback: Callable[[int], None] | None = None,
) -> Found:
  """Finds the styles of photos, and their cameras.

  Photos are independent of each other, unless all show one object. Each batch shape is compiled
  once.

  Args:
    model: a `trained.Trained`.
    image: [b, h, h, 3] in [−1, 1].
    camera: [b] or [1]; None searches for it from several sides, with `find` what of it is unknown
      at least (`poses.unknown`). A generator without a camera takes none.
    space: see `spaces`.
    find: what of the camera to move, of `poses.NUMBERS`; () keeps it as given.
    perceptual: see `losses.choose`.
    options: None for the defaults.
    one_identity: whether the photos share one style.
    seed: of the noise.
    callback: called with the number of steps that have been made since the last call.

  Raises:
    UserError: Images or cameras that do not fit.
  """
  image, options = checked(image), options or SearchOptions()
  if isinstance(space, str):
    space = spaces.create(model, space)
  if not model.has_camera:
    camera, find = model.orbit(0.0), ()
  say = callback or (lambda steps: None)
  num, unknown, coordinates = len(image), find, None
  if camera is None:
    unknown = poses.unknown(model, one_identity)
    find = tuple(dict.fromkeys((*unknown, *find)))
  else:
    if (cameras := len(camera.cam2world)) not in (1, num):
      raise UserError(f'{cameras} cameras do not fit {num} photos. Give one for each.')
    camera = jax.tree.map(lambda x: np.broadcast_to(x, (num, *x.shape[1:])), camera)
  if camera is None or model.generator.object_layout is not None:
    camera, coordinates = _start(
      model, image, space, options, one_identity, seed, say, camera, unknown
    )
  owner = np.zeros(num, np.int32) if one_identity else np.arange(num, dtype=np.int32)
  if coordinates is None:
    coordinates = space.start(1 if one_identity else num)
  photos = (image, _features(perceptual, image), owner)
  return descent.run(
    model, photos, camera, space, coordinates, find, perceptual, options, seed, say
  )


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


def _start(
  model, image, space, options, one_identity, seed, say, camera=None, find=('yaw', 'pitch')
):
  """(cameras [b], coordinates) of the best of several short searches for each photo.

  Args:
    camera: [b] where they are given; else they start from several sides.
    find: what of them to move.
  """
  k, b = options.num_starts, len(image)
  short = dataclasses.replace(options, num_steps=options.start_steps, noise=0.0, cool_down=0.2)
  # Super-resolution is made for one size, and costs more than everything else: omitted here.
  model = dataclasses.replace(model, generator=model.generator.without_super_resolution())
  small = _shrunk(model, image)
  turns = poses.objects_turn(model)  # in front of the cameras, but for several photos of a scene
  sides = np.zeros(k) if turns else poses.starts(model, k)
  first = space.start(k)
  if model.generator.object_layout is not None:
    first = scenes.starts(model, space, k, seed)

  def best(pictures, views, coordinates, rate):
    n = len(pictures)
    every = jnp.repeat(pictures, k, axis=0)
    owner = np.arange(n * k, dtype=np.int32)
    own = dataclasses.replace(short, learning_rate=rate)
    photos = (every, every, owner)
    found = descent.run(
      model, photos, views, space, coordinates, find, Perceptual(), own, seed, say
    )
    total = found.losses['mse'] + options.perceptual_weight * found.losses['perceptual']
    total = total + options.unlikely * found.losses['unlikely']
    rows = np.argmin(total[-3:].mean(0).reshape(n, k), axis=1) + k * np.arange(n)
    return jax.tree.map(lambda x: x[rows], (found.camera, found.coordinates))

  def views(first, last, sides):
    if camera is None:
      return model.orbit(np.tile(sides, last - first))
    return jax.tree.map(lambda x: np.repeat(x[first:last], k, axis=0), camera)

  if not one_identity:
    coordinates = jnp.tile(first, (b,) + (1,) * (first.ndim - 1))
    return best(small, views(0, b, sides), coordinates, short.learning_rate)
  found, coordinates = best(small[:1], views(0, 1, sides), first, short.learning_rate)
  if b == 1 or camera is not None:
    return (found if camera is None else camera), coordinates
  # The others show the object that the first has given: only their cameras are searched.
  many = jnp.repeat(coordinates, (b - 1) * k, axis=0)
  rest, _ = best(small[1:], views(1, b, poses.starts(model, k, turns)), many, 0.0)
  return jax.tree.map(lambda *x: np.concatenate(x), found, rest), coordinates


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


@jax.jit
def _features(perceptual, image):
  return perceptual.features(image)
