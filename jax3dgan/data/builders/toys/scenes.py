"""Two or three toy cars on a ground: scenes whose objects have known poses, shapes and colours.

Cameras are on a sphere around the origin, at its front, and differ in elevation; it is the cars
that turn, all the way round. Tiles of two colours cover the ground, which fades into a sky far
away. The light is from above and nothing casts a shadow: a car looks the same wherever it stands,
and where one moves, only pixels that show it before or afterwards change. That is the exact truth
that a compositional generator is compared with.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan import cameras
from jax3dgan.cameras import Camera
from jax3dgan.data.builders.toys import car as cars
from jax3dgan.data.builders.toys import scene as toys
from jax3dgan.rendering import rays

VERSION = 1  # To be raised with every change of the pictures.
MAX_CARS = 3
RADIUS = 1.6
FOV_DEGREES = 40.0
NEAR, FAR = 0.9, 2.5  # of all cars; the ground goes on
ELEVATION_DEGREES = (25.0, 40.0)
SCALE = (0.46, 0.54)  # of a toy car, in its own world units
REACH = 0.4  # Centres of cars are within ± this, along x and z.
_APART = 0.40  # Least distance of two centres: at any turn they do not touch.
_TRIES = 64
_TILE = 0.22
_LAMP = (0.0, 1.0, 0.0)


class Objects(NamedTuple):
  """The cars of a scene, those that are not there among them.

  Attributes:
    cars: `cars.Car` of arrays [MAX_CARS].
    scale: [MAX_CARS] world units of a unit of a car's.
    position: [MAX_CARS, 3] of the middle of the box around a car, world units, y up.
    turn: [MAX_CARS] radians about the vertical axis, counter-clockwise from above.
    presence: [MAX_CARS] bool.
  """

  cars: cars.Car
  scale: jax.Array
  position: jax.Array
  turn: jax.Array
  presence: jax.Array


class Ground(NamedTuple):
  """Colours of a ground: of both kinds of tiles and of the sky, (red, green, blue) in [0, 1]."""

  first: tuple[jax.Array, ...]
  second: tuple[jax.Array, ...]
  sky: tuple[jax.Array, ...]


def _middle(car):
  """The height of the middle of a car's box, in its own units, and half sizes (x, y, z)."""
  x, top, z = cars.extent(car)
  low = cars.ground(car)
  return 0.5 * (top + low), (x, 0.5 * (top - low), z)


def half_sizes(objects: Objects):
  """[MAX_CARS, 3] of the boxes around the cars, world units."""
  sizes = jnp.stack(_middle(objects.cars)[1], axis=-1)
  return objects.scale[:, None] * sizes


def sample_places(key):
  """Places [MAX_CARS, 2] on the ground of cars that do not touch."""
  tries = jax.random.uniform(key, (_TRIES, MAX_CARS, 2), minval=-REACH, maxval=REACH)
  apart = jnp.linalg.norm(tries[:, :, None] - tries[:, None], axis=-1)  # [t, n, n]
  apart = apart + 10 * jnp.eye(MAX_CARS)
  nearest = jnp.minimum(apart.min((1, 2)), _APART)
  return tries[jnp.argmax(nearest)]  # the first that are far enough apart


def sample(key):
  """(Objects, Ground) of one scene; two cars or three."""
  keys = jax.random.split(key, 6)
  own = jax.vmap(cars.sample_car)(jax.random.split(keys[0], MAX_CARS))
  low, high = SCALE
  scale = jax.random.uniform(keys[1], (MAX_CARS,), minval=low, maxval=high)
  place = sample_places(keys[2])
  height = scale * (_middle(own)[0] - cars.ground(own))
  position = jnp.stack([place[:, 0], height, place[:, 1]], axis=-1)
  turn = jax.random.uniform(keys[3], (MAX_CARS,), maxval=2 * math.pi)
  presence = jnp.arange(MAX_CARS) < 2 + jax.random.randint(keys[4], (), 0, MAX_CARS - 1)
  hue, light, other = jax.random.uniform(keys[5], (3,))
  first = cars.from_hsv(hue, 0.25, 0.55 + 0.25 * light)
  second = cars.from_hsv(hue, 0.35, 0.42 + 0.25 * light)
  sky = cars.from_hsv(0.55 + 0.1 * other, 0.15 + 0.2 * other, 0.95)
  return Objects(own, scale, position, turn, presence), Ground(first, second, sky)


def sample_camera(key):
  """A camera of the distribution: in front, its elevation uniform."""
  low, high = (math.radians(degrees) for degrees in ELEVATION_DEGREES)
  elevation = jax.random.uniform(key, minval=low, maxval=high)
  return cameras.orbit(0.0, elevation, RADIUS, FOV_DEGREES)


def moved(objects: Objects, key, index: int = 0) -> Objects:
  """The same scene with one car somewhere else, turned otherwise, where it touches no other."""
  place_key, turn_key = jax.random.split(key)
  tries = jax.random.uniform(place_key, (_TRIES, 2), minval=-REACH, maxval=REACH)
  others = objects.position[:, ::2]
  apart = jnp.linalg.norm(tries[:, None] - others, axis=-1)  # [t, n]
  counts = objects.presence & (jnp.arange(MAX_CARS) != index)
  nearest = jnp.minimum(jnp.where(counts, apart, _APART).min(-1), _APART)
  place = tries[jnp.argmax(nearest)]
  position = objects.position.at[index, ::2].set(place)
  turn = objects.turn.at[index].set(jax.random.uniform(turn_key, maxval=2 * math.pi))
  return objects._replace(position=position, turn=turn)


def _in_car(camera: Camera, scale, position, turn, middle) -> Camera:
  """The camera as a car sees it, which stands around its own origin."""
  cos, sin = jnp.cos(turn), jnp.sin(turn)
  zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
  back = jnp.stack(
    [
      jnp.stack([cos, zero, -sin]),
      jnp.stack([zero, one, zero]),
      jnp.stack([sin, zero, cos]),
    ]
  )
  pose = camera.cam2world
  place = jnp.sum(back * (pose[:3, 3] - position), axis=-1) / scale
  place = place + jnp.stack([zero, middle, zero])
  axes = jnp.sum(back[:, :, None] * pose[None, :3, :3], axis=1)
  return camera.replace(cam2world=pose.at[:3, :3].set(axes).at[:3, 3].set(place))


def _ground_colours(ground: Ground, origin, direction):
  """Colours of rays that meet no car, and the distance to what they show, infinite for the sky."""
  down = -direction[1]
  distance = jnp.where(down > 1e-3, origin[1] / jnp.maximum(down, 1e-3), jnp.inf)
  near = jnp.where(down > 1e-3, distance, 0.0)
  x, z = (origin[i] + near * direction[i] for i in (0, 2))
  # Tiles whose edges are soft over about a pixel, and fade with the distance.
  soft = 0.01 * (1 + near)
  wave = [_TILE / math.pi * jnp.sin(math.pi * v / _TILE) / soft for v in (x, z)]
  sign = jnp.clip(wave[0], -1, 1) * jnp.clip(wave[1], -1, 1)
  share = 0.5 + 0.5 * sign * jnp.exp(-0.25 * near)
  fog = jnp.where(down > 1e-3, 1 - jnp.exp(-0.5 * jnp.maximum(near - 1.2, 0.0)), 1.0)
  colours = []
  for a, b, far in zip(*ground, strict=True):
    colour = b + share * (a - b)
    colours.append(colour + fog * (far - colour))
  return tuple(colours), distance


def view(objects: Objects, ground: Ground, camera: Camera, resolution: int, quality):
  """One sample per pixel centre of a scene from a camera, without batch axes.

  Args:
    quality: see `toys.view`.

  Returns:
    red, green, blue (a tuple; sRGB in [0, 1]), depth (Euclidean, inf for the sky) and which object
    (0 for the ground, then 1, 2, ...), each [r] as of `camera_rays`.
  """
  bundle = rays.camera_rays(camera, resolution)
  origin = tuple(jnp.moveaxis(bundle.origins, -1, 0))
  direction = tuple(jnp.moveaxis(bundle.directions, -1, 0))
  colour, depth = _ground_colours(ground, origin, direction)
  number = jnp.zeros(depth.shape, jnp.uint8)

  def of_car(own):
    one, middle = own
    seen = _in_car(camera, one.scale, one.position, one.turn, middle)
    paint, distance, mask = toys.view(one.cars, seen, resolution, quality, _LAMP)
    return paint, jnp.where(mask & one.presence, one.scale * distance, jnp.inf)

  # One after another, so that the renderer is compiled once.
  paints, distances = jax.lax.map(of_car, (objects, _middle(objects.cars)[0]))
  for i in range(MAX_CARS):
    nearer = distances[i] < depth
    colour = tuple(jnp.where(nearer, p[i], c) for p, c in zip(paints, colour, strict=True))
    depth = jnp.where(nearer, distances[i], depth)
    number = jnp.where(nearer, jnp.uint8(i + 1), number)
  return colour, depth, number


@functools.partial(jax.jit, static_argnames='resolution')
def _colours(objects, ground, camera, resolution):
  return view(objects, ground, camera, resolution, toys.COLOUR)[0]


def render(objects: Objects, ground: Ground, camera: Camera, resolution: int = toys.RESOLUTION):
  """Antialiased image of one scene: uint8 [h, w, 3], the mean of 2 x 2 samples per pixel."""
  return toys.average(_colours(objects, ground, camera, 2 * resolution), resolution)


@functools.partial(jax.jit, static_argnames='resolution')
def render_truth(objects, ground, camera, resolution: int = toys.RESOLUTION):
  """Depth [h, w] (Euclidean along the ray, inf for the sky) and which object [h, w], uint8, at
  pixel centres: 0 for the ground, then 1, 2, ..."""
  _, depth, number = view(objects, ground, camera, resolution, toys.TRUTH)
  shape = (resolution, resolution)
  return depth.reshape(shape), number.reshape(shape)


def poses(objects: Objects):
  """[MAX_CARS, 8] half sizes (3), position (3), turn, presence of each object, as in styles
  (`generators.giraffe_scene.Layout`)."""
  turn, presence = objects.turn[:, None], objects.presence[:, None].astype(jnp.float32)
  return jnp.concatenate([half_sizes(objects), objects.position, turn, presence], axis=-1)
