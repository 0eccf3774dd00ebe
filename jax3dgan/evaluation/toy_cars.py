"""Toy cars rendered for the probes: labelled images, and cars from many sides."""

import concurrent.futures
import functools
import math
import os

import jax
import numpy as np

from jax3dgan import cameras
from jax3dgan.data.builders.toys import car as cars
from jax3dgan.data.builders.toys import scene


@functools.partial(jax.jit, static_argnums=1)
def _draw(key, num):
  car_key, camera_key = jax.random.split(key)
  car = jax.vmap(cars.sample_car)(jax.random.split(car_key, num))
  camera = jax.vmap(scene.sample_camera)(jax.random.split(camera_key, num))
  return car, camera


def _cpu_key(seed: int):
  key = jax.random.key(seed, impl='threefry2x32')
  return jax.device_put(key, jax.local_devices(backend='cpu')[0])


def _render(car, camera, resolution: int) -> np.ndarray:
  """uint8 [n, h, w, 3] of n cars from n cameras, by threads: rendering leaves Python's lock."""
  car, camera = jax.tree.map(np.asarray, (car, camera))

  def one(i):
    return np.asarray(scene.render(*jax.tree.map(lambda x: x[i], (car, camera)), resolution))

  with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
    return np.stack(list(pool.map(one, range(camera.cam2world.shape[0]))))


def images(num: int, seed: int, resolution: int = 32):
  """Toy cars, one view of each.

  Returns:
    images uint8 [n, h, w, 3], directions [n, 3] towards the camera, attributes [n, a]; see
    `ATTRIBUTES` for their names.
  """
  car, camera = _draw(_cpu_key(seed), num)
  direction = np.asarray(camera.origin) / scene.RADIUS
  return _render(car, camera, resolution), direction, _attributes(car)


def views(num: int, azimuth, seed: int, resolution: int = 32) -> np.ndarray:
  """Images uint8 [n, v, h, w, 3] of toy cars, each from its azimuths [n, v] (radians).

  The elevation is the pose prior's middle. The cars differ from those of `images`.
  """
  azimuth = np.broadcast_to(np.asarray(azimuth, np.float32), (num, np.shape(azimuth)[-1]))
  car, _ = _draw(jax.random.fold_in(_cpu_key(seed), 7), num)
  car = jax.tree.map(lambda x: np.repeat(np.asarray(x), azimuth.shape[1], axis=0), car)
  elevation = math.radians(sum(scene.ELEVATION_DEGREES) / 2)
  camera = _orbit(azimuth.ravel(), np.full(azimuth.size, elevation, np.float32))
  return _render(car, camera, resolution).reshape(*azimuth.shape, resolution, resolution, 3)


_orbit = jax.jit(lambda a, e: cameras.orbit(a, e, scene.RADIUS, scene.FOV_DEGREES))
_SHAPES = tuple(name for name in cars.Car._fields if 'colour' not in name)
ATTRIBUTES = _SHAPES + tuple(f'{part}_{c}' for part in ('body', 'roof') for c in 'rgb')


def _attributes(car) -> np.ndarray:
  columns = [getattr(car, name) for name in _SHAPES] + [*car.colour, *car.roof_colour]
  return np.stack([np.asarray(c) for c in columns], axis=-1)
