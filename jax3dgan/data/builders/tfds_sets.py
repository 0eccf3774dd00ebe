"""Data sets of TensorFlow Datasets (TFDS): fetched and prepared into the cache at first use."""

import dataclasses
import os
import re
import sys

from jax3dgan.data import images, prepare, records
from jax3dgan.data.builders import cached, tfds_files
from jax3dgan.errors import UserError

SCHEME = tfds_files.SCHEME


def ensure(source, resolution, split='train', cache_dir=None):
  """Fetches and prepares a split unless it is in the cache; returns its folder of shards.

  One process does it while the others wait; an interrupted one continues: TFDS keeps the archives
  that it has fetched whole, finished shards are kept.

  Args:
    source: 'tfds:NAME', NAME with version and config if need be.
    resolution: of the shards, in pixels.
    split: a whole split.
    cache_dir: where caches are, see `compilation.cache_root`.

  Raises:
    UserError: the data set cannot be fetched, or the cache cannot be written.
  """
  from jax3dgan.devices.compilation import cache_root

  cache = os.fspath(cache_dir or cache_root())
  options = prepare.Options(
    resolution, images.default_crop(source), shard_size=records.default_shard_size(resolution)
  )
  made_by = {'source': source, 'options': dataclasses.asdict(options)}
  name = re.sub(r'[^\w.+-]+', '_', source.removeprefix(SCHEME))
  directory = os.path.join(cache, 'tfds', f'{name}-{split}-{resolution}')

  def is_complete(folder):
    # Large: checking each bit at each start would take longer than the start.
    return cached.is_complete(folder, None, made_by, sizes_only=True)

  def make(folder):
    print(f'{source}: prepared at {resolution}² in {directory}, once', file=sys.stderr, flush=True)
    places = [cache_dir, None, os.path.join(cache, 'tensorflow_datasets')]
    files = tfds_files.tfrecord_files(source, split, places, resolution)
    try:
      prepare.prepare(source, folder, options, files=files)
    except UserError as error:
      # Its remedy is another --out; that of the cache is another one.
      raise error.__cause__ if isinstance(error.__cause__, OSError) else error from None

  return cached.ensure(directory, is_complete, make, source)
