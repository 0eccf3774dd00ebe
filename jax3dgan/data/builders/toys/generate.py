"""Makes the toys at first use and keeps them in a cache.

`ensure` gives the folder of a split, in the format of `jax3dgan.data.records`. Image i of a split
depends on (seed, split, i) alone: neither on how many are made nor on the number of threads. The
split 'test' also has the true geometry, see `truth`.
"""

import concurrent.futures
import contextlib
import functools
import os
import sys

import jax
import numpy as np

from jax3dgan.data import images
from jax3dgan.data.builders import cached
from jax3dgan.data.builders.toys import car as cars
from jax3dgan.data.builders.toys import scene
from jax3dgan.devices.compilation import cache_root
from jax3dgan.errors import UserError

VERSION = 1  # To be raised with every change of the pictures, so that no cache mixes them.
SEED = 0
SPLITS = {'train': 4000, 'test': 256}
_SHARD_SIZE = 500  # as many are made again at most after an interruption
_CHUNK = 64  # Images handed to the threads at a time.


def ensure(split='train', cache_dir=None, num_images=None):
  """Makes a split unless it is in the cache.

  Safe with several processes: one makes it while the others wait. It appears in its place whole
  or not at all; an interrupted one is continued, a damaged one is made again.

  Args:
    split: 'train' or 'test'.
    cache_dir: where caches are, see `compilation.cache_root`.
    num_images: how many of the split's images, `SPLITS[split]` by default.

  Returns:
    the folder, which `records.Shards` opens.

  Raises:
    UserError: where there is no such split, or the cache cannot be written.
  """
  num_images = _checked(split, num_images)
  parent = os.path.join(cache_dir or cache_root(), f'toys-v{VERSION}')
  directory = os.path.join(parent, f'{split}-{num_images}')

  def make(folder):
    print(
      f'toys {split}: compiling the renderer, then {num_images:,} images, once', file=sys.stderr
    )
    cached.write(
      folder,
      functools.partial(render, split),
      num_images,
      resolution=scene.RESOLUTION,
      shard_size=_SHARD_SIZE,
      made_by=_made_by(split),
      what=f'toys {split}',
    )

  def is_complete(folder):
    return cached.is_complete(folder, num_images, _made_by(split))

  return cached.ensure(directory, is_complete, make, 'toys')


def examples(split='train', num_images=None):
  """Yields the images of a split as `records.write_dataset` takes them, in order."""
  return render(split, range(_checked(split, num_images)))


def render(split, numbers):
  """Yields the images of a split with these numbers, in order."""
  make = functools.partial(_example, split)
  # Rendering and compressing both release Python's lock to the other threads.
  with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
    for start in range(0, len(numbers), _CHUNK):
      yield from pool.map(make, numbers[start : start + _CHUNK])


def truth(features):
  """The true geometry of an image of the split 'test'.

  Args:
    features: of its record (`records.Record.features`).

  Returns:
    dict of depth, float32 [64, 64], the distance from the camera along the ray through the centre
    of each pixel, inf beside the car; mask, bool [64, 64], where that ray meets the car; and
    second, the same car from another camera of the prior: a dict of image (uint8 [64, 64, 3]),
    label (float32 [25]), depth and mask.
  """
  second = {
    'image': images.decode(features['second/image']),
    'label': np.asarray(features['second/label'], np.float32),
    **_geometry(features, 'second/'),
  }
  return {**_geometry(features, ''), 'second': second}


def _geometry(features, prefix):
  shape = (scene.RESOLUTION, scene.RESOLUTION)
  mask = np.frombuffer(features[prefix + 'mask'], np.uint8).reshape(shape) > 0
  return {'depth': np.asarray(features[prefix + 'depth'], np.float32).reshape(shape), 'mask': mask}


def _checked(split, num_images):
  if split not in SPLITS:
    raise UserError(f'The toys have no split {split!r}. Choose one of {", ".join(SPLITS)}.')
  num_images = SPLITS[split] if num_images is None else num_images
  if num_images < 1:
    raise UserError(f'{num_images} toys cannot be made. Ask for one or more.')
  return num_images


@jax.jit
def _draw(key, i):
  car_key, camera_key, second_key = jax.random.split(jax.random.fold_in(key, i), 3)
  views = [scene.sample_camera(k) for k in (camera_key, second_key)]
  return cars.sample_car(car_key), [(camera, camera.label()) for camera in views]


@functools.cache
def _key(split):
  """Key of a split, on the CPU, which the computations then follow: the same pixels everywhere."""
  key = jax.random.key(SEED, impl='threefry2x32')
  if jax.default_backend() != 'cpu':
    with contextlib.suppress(RuntimeError):  # JAX_PLATFORMS may leave the CPU out.
      key = jax.device_put(key, jax.local_devices(backend='cpu')[0])
  return jax.random.fold_in(key, list(SPLITS).index(split))


def _example(split, i):
  car, (first, second) = _draw(_key(split), i)
  example = {
    'image': _png(car, first[0]),
    'label': np.asarray(first[1]),
    'key': f'{split}-{i:06d}',
  }
  if split == 'test':
    example['extras'] = {
      **_truth(car, first[0], ''),
      'second/image': _png(car, second[0]),
      'second/label': np.asarray(second[1]),
      **_truth(car, second[0], 'second/'),
    }
  return example


def _png(car, camera):
  return images.encode_png(np.asarray(scene.render(car, camera)))


def _truth(car, camera, prefix):
  depth, mask = scene.render_truth(car, camera)
  return {
    prefix + 'depth': np.asarray(depth),
    prefix + 'mask': np.asarray(mask).astype(np.uint8).tobytes(),
  }


def _made_by(split):
  return {'source': 'toys', 'toys': {'version': VERSION, 'seed': SEED, 'split': split}}
