"""Makes the toys at first use and keeps them in a cache.

`ensure` gives the folder of a split, in the format of `jax3dgan.data.records`. Image i of a split
depends on (seed, split, i) alone: neither on how many are made nor on the number of threads. The
split 'test' also has the true geometry, see `truth`. 'scenes' is of two or three cars on a ground,
and 'scenes_test' has their truth, see `scenes_truth`.
"""

import concurrent.futures
import contextlib
import functools
import os
import sys

import jax
import numpy as np

from jax3dgan.data import images, records
from jax3dgan.data.builders import cached
from jax3dgan.data.builders.toys import car as cars
from jax3dgan.data.builders.toys import scene, scenes
from jax3dgan.devices.compilation import cache_root
from jax3dgan.errors import UserError

VERSION = 1  # To be raised with every change of the pictures, so that no cache mixes them.
SEED = 0
SPLITS = {'train': 4000, 'test': 256, 'scenes': 4000, 'scenes_test': 256}
_SHARD_SIZE = 500  # as many are made again at most after an interruption
_CHUNK = 64  # Images handed to the threads at a time.


def ensure(split='train', cache_dir=None, num_images=None, masks=False):
  """Makes a split unless it is in the cache.

  Safe with several processes: one makes it while the others wait. It appears in its place whole
  or not at all; an interrupted one is continued, a damaged one is made again.

  Args:
    split: of `SPLITS`.
    cache_dir: where caches are, see `compilation.cache_root`.
    num_images: how many of the split's images, `SPLITS[split]` by default.
    masks: whether records have masks too, see `records.OPACITY`.

  Returns:
    the folder, which `records.Shards` opens.

  Raises:
    UserError: where there is no such split, or none with masks, or the cache cannot be written.
  """
  num_images = _checked(split, num_images, masks)
  parent = os.path.join(cache_dir or cache_root(), f'toys-v{VERSION}')
  directory = os.path.join(parent, f'{split}-{num_images}{"-masks" if masks else ""}')

  def make(folder):
    print(
      f'toys {split}: compiling the renderer, then {num_images:,} images, once', file=sys.stderr
    )
    cached.write(
      folder,
      functools.partial(render, split, masks=masks),
      num_images,
      resolution=scene.RESOLUTION,
      shard_size=_SHARD_SIZE,
      made_by=_made_by(split, masks),
      what=f'toys {split}',
    )

  def is_complete(folder):
    return cached.is_complete(folder, num_images, _made_by(split, masks))

  return cached.ensure(directory, is_complete, make, 'toys')


def examples(split='train', num_images=None):
  """Yields the images of a split as `records.write_dataset` takes them, in order."""
  return render(split, range(_checked(split, num_images)))


def render(split, numbers, masks=False):
  """Yields the images of a split with these numbers, in order."""
  make = functools.partial(_example, split, masks=masks)
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


def scenes_truth(features):
  """The truth of an image of the split 'scenes_test'.

  Args:
    features: of its record (`records.Record.features`).

  Returns:
    dict of depth, float32 [64, 64], see `truth`, inf for the sky; objects, uint8 [64, 64], which
    car the ray through the centre of each pixel meets: 0 for the ground, then 1, 2, ...; poses,
    float32 [3, 8], see `scenes.poses`; and moved, the same scene with the first car elsewhere,
    turned otherwise, from the same camera: a dict of image (uint8 [64, 64, 3]), depth, objects and
    poses.
  """
  moved = {
    'image': images.decode(features['moved/image']),
    **_objects(features, 'moved/'),
  }
  return {**_objects(features, ''), 'moved': moved}


def _objects(features, prefix):
  shape = (scene.RESOLUTION, scene.RESOLUTION)
  return {
    'depth': np.asarray(features[prefix + 'depth'], np.float32).reshape(shape),
    'objects': np.frombuffer(features[prefix + 'objects'], np.uint8).reshape(shape),
    'poses': np.asarray(features[prefix + 'poses'], np.float32).reshape(scenes.MAX_CARS, 8),
  }


def _checked(split, num_images, masks=False):
  if split not in SPLITS:
    raise UserError(f'The toys have no split {split!r}. Choose one of {", ".join(SPLITS)}.')
  if masks and split.startswith('scenes'):
    raise UserError(f"The toys' {split} fill their pictures: there are no masks. Take split train.")
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


@jax.jit
def _draw_scene(key, i):
  scene_key, camera_key, move_key = jax.random.split(jax.random.fold_in(key, i), 3)
  objects, ground = scenes.sample(scene_key)
  camera = scenes.sample_camera(camera_key)
  return objects, scenes.moved(objects, move_key), ground, camera, camera.label()


def _scene_example(split, i):
  objects, moved, ground, camera, label = _draw_scene(_key(split), i)
  example = {
    'image': images.encode_png(np.asarray(scenes.render(objects, ground, camera))),
    'label': np.asarray(label),
    'key': f'{split}-{i:06d}',
  }
  if split == 'scenes_test':
    image = images.encode_png(np.asarray(scenes.render(moved, ground, camera)))
    example['extras'] = {
      **_scene_truth(objects, ground, camera, ''),
      'moved/image': image,
      **_scene_truth(moved, ground, camera, 'moved/'),
    }
  return example


def _scene_truth(objects, ground, camera, prefix):
  depth, number = scenes.render_truth(objects, ground, camera)
  return {
    prefix + 'depth': np.asarray(depth),
    prefix + 'objects': np.asarray(number).tobytes(),
    prefix + 'poses': np.asarray(scenes.poses(objects)),
  }


def _example(split, i, masks=False):
  if split.startswith('scenes'):
    return _scene_example(split, i)
  car, (first, second) = _draw(_key(split), i)
  example = {
    'image': _png(car, first[0]),
    'label': np.asarray(first[1]),
    'key': f'{split}-{i:06d}',
  }
  if masks:
    opacity = np.asarray(scene.render_opacity(car, first[0]))
    example['extras'] = {records.OPACITY: images.encode_png(opacity)}
  if split == 'test':
    example['extras'] = {
      **example.get('extras', {}),
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


def _made_by(split, masks=False):
  version = scenes.VERSION if split.startswith('scenes') else VERSION
  made_by = {'source': 'toys', 'toys': {'version': version, 'seed': SEED, 'split': split}}
  return {**made_by, records.MASKS: True} if masks else made_by
