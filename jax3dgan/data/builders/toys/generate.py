"""Makes the toys at first use and keeps them in a cache.

`ensure` gives the folder of a split, in the format of `jax3dgan.data.records`. Image i of a split
depends on (seed, split, i) and on nothing else: not on how many are made, nor by how many threads.
The split 'test' also keeps what only a renderer knows, see `truth`.
"""

import concurrent.futures
import contextlib
import functools
import os
import shutil
import sys
import tempfile
import time

import jax
import numpy as np

from jax3dgan.data import images, records
from jax3dgan.data.builders import cached
from jax3dgan.data.builders.toys import car as cars
from jax3dgan.data.builders.toys import scene
from jax3dgan.devices.compilation import cache_root
from jax3dgan.errors import UserError

VERSION = 1  # To be raised with every change of the pictures, so that no cache mixes them.
SEED = 0
SPLITS = {'train': 4000, 'test': 256}
_SHARD_SIZE = 1000
_CHUNK = 64  # Images handed to the threads at a time.


def ensure(split='train', cache_dir=None, num_images=None):
  """Makes a split unless it is in the cache.

  Safe with several processes: one makes it while the others wait. It appears in its place whole
  or not at all; a damaged one is made again.

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
  if _is_complete(directory, split, num_images):
    return directory
  try:
    os.makedirs(parent, exist_ok=True)
    with _only_process(directory):
      # Another process may have made it while this one waited.
      if not _is_complete(directory, split, num_images):
        _make(directory, split, num_images)
  except OSError as error:
    raise UserError(
      f'The toys cannot be written to {directory}: {error.strerror or error}. Make room, or set '
      'JAX3DGAN_CACHE or --config.data.cache_dir to another folder.'
    ) from error
  return directory


def examples(split='train', num_images=None):
  """Yields the images of a split as `records.write_dataset` takes them, in order."""
  num_images = _checked(split, num_images)
  make = functools.partial(_example, split)
  # Rendering and compressing both leave Python's lock to the other threads.
  with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
    for start in range(0, num_images, _CHUNK):
      yield from pool.map(make, range(start, min(start + _CHUNK, num_images)))


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


def _provenance(split):
  return {'source': 'toys', 'toys': {'version': VERSION, 'seed': SEED, 'split': split}}


def _is_complete(directory, split, num_images):
  return cached.is_complete(directory, num_images, _provenance(split), 'toys')


def _make(directory, split, num_images):
  parent, name = os.path.split(directory)
  temporary = tempfile.mkdtemp(prefix=f'.{name}.', dir=parent)
  try:
    os.chmod(temporary, 0o755)  # mkdtemp's folder is for its maker alone; a cache may be shared.
    shown = _with_progress(examples(split, num_images), split, num_images)
    records.write_dataset(
      temporary,
      shown,
      resolution=scene.RESOLUTION,
      shard_size=_SHARD_SIZE,
      extra=_provenance(split),
    )
    shutil.rmtree(directory, ignore_errors=True)  # There is one only where it is damaged.
    os.rename(temporary, directory)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _only_process(directory):
  """Holds the lock of a cached folder; a killed process loses it. Clears what a killed one left."""
  parent, name = os.path.split(directory)
  with cached.locked(parent, name, 'toys') as alone:
    if alone:
      for entry in os.scandir(parent):
        if entry.is_dir() and entry.name.startswith(f'.{name}.'):
          shutil.rmtree(entry.path, ignore_errors=True)
    yield


def _with_progress(iterable, split, total, every=0.2):
  """Passes examples on and says on stderr how far it is; every is in seconds, for a terminal."""
  live = sys.stderr.isatty()
  every = every if live else 10.0
  print(f'toys {split}: compiling the renderer, then {total:,} images, once', file=sys.stderr)
  start = shown = None
  for done, example in enumerate(iterable, 1):
    yield example
    now = time.monotonic()
    if start is None:  # The first image waits for the compiler: it says nothing about the speed.
      start = shown = now
    if now - shown < every and done < total:
      continue
    shown = now
    speed = max(done - 1, 1) / max(now - start, 1e-6)
    line = (
      f'toys {split}: {done:,} of {total:,} images, {speed:.0f} images/s, '
      f'{(total - done) / speed:.0f} s left'
    )
    print(f'\r{line:<70}' if live else line, end='' if live else '\n', file=sys.stderr, flush=True)
  if live:
    print(file=sys.stderr)
