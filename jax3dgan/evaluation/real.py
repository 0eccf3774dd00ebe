"""The statistics of a data set's photos, computed once and kept in a cache.

The cache is `eval/` under `compilation.cache_root()`. A file's name is a hash of all that its
numbers depend on, so that other data, sizes, choices of photos or networks have other files.
"""

import concurrent.futures
import contextlib
import hashlib
import io
import json
import os
import pathlib
import warnings
import zipfile
from collections.abc import Callable, Iterator

import numpy as np

from jax3dgan import atomic
from jax3dgan.data import images, order, reading, records, sources
from jax3dgan.devices import compilation
from jax3dgan.errors import UserError
from jax3dgan.evaluation.statistics import Collected
from jax3dgan.runs import progress

# Increase it with every change of the numbers, so that older caches are not used.
VERSION = 1


def dataset_hash(dataset) -> str:
  """Returns a hash (hex) of the content of a data set's files, in their order.

  Of prepared shards the sha256 of each, from their index; of a zip the names, sizes and CRCs of its
  images, from its directory; of anything else the files of its images, which are read. The name of
  the data set is not in it: a copy in another folder has the same hash.

  Args:
    dataset: A `data.pipeline.Dataset`.
  """
  source = dataset.source
  if isinstance(source, records.Shards):
    parts = ['shards', *(entry['sha256'] for entry in source.index['shards'])]
  elif isinstance(source, sources.ZipSource):
    parts = ['zip', *_zip_entries(os.path.expanduser(dataset.name))]
  else:
    parts = ['files', *_mapped(lambda i: _file_hash(dataset, i), range(len(dataset)))]
  if len(dataset) < len(source):
    parts.append(f'the first {len(dataset)}')
  return hashlib.sha256('\n'.join(parts).encode()).hexdigest()


def _zip_entries(path):
  with zipfile.ZipFile(path) as file:
    entries = {entry.filename: entry for entry in file.infolist() if not entry.is_dir()}
  names = sorted(name for name in entries if sources.is_image(name))
  return [f'{name}\0{entries[name].file_size}\0{entries[name].CRC}' for name in names]


def _file_hash(dataset, i):
  try:
    return hashlib.sha256(dataset.source.read(i).image).hexdigest()
  except images.ImageError as error:
    raise UserError(
      f'{dataset.source.describe(i)} of {dataset.name} cannot be read: {error}. '
      'Prepare the data set: python -m jax3dgan.data.prepare --help'
    ) from error


def choose(size: int, num: int = 0, mirror: bool = False, seed: int = 0):
  """Returns the chosen photos: (index, whether mirrored), int64 [n] and bool [n].

  The order is a permutation by `data.order.shuffled_index`, so that the first photos are a fair
  sample too (files are often sorted by what they show). Mirrored, the photos and their mirror
  images count as a data set of twice the size.

  Args:
    size: Number of photos that there are.
    num: Number of photos; 0, or more than there are, for all.
    mirror: Whether to mirror.
    seed: Of the permutation.
  """
  whole = size * (2 if mirror else 1)
  count = min(num or whole, whole)
  numbers = order.shuffled_index(np.arange(count), whole, seed).astype(np.int64)
  return numbers % size, numbers >= size


def photos(dataset, chosen, batch_size: int = 64) -> Iterator[np.ndarray]:
  """Yields the chosen photos, uint8 [b, h, w, 3]; the last batch may be smaller.

  Args:
    dataset: A `data.pipeline.Dataset`.
    chosen: From `choose`.
    batch_size: Images in a batch. They are read and decoded on threads, as in training.

  Raises:
    UserError: A photo cannot be used.
  """
  numbers, mirrored = (
    [part[i : i + batch_size].tolist() for i in range(0, len(part), batch_size)] for part in chosen
  )
  with contextlib.closing(reading.examples(dataset, numbers, batch_size)) as found:
    for examples, flips in zip(found, mirrored, strict=True):
      rows = [image for image, _ in examples]
      yield np.stack([x[:, ::-1] if flip else x for x, flip in zip(rows, flips, strict=True)])


def real_statistics(
  dataset,
  extractor,
  num: int = 0,
  cache_dir=None,
  say: Callable[[str], None] | None = None,
  keep: int = 0,
  *,
  mirror: bool = False,
  seed: int = 0,
  batch_size: int = 64,
) -> Collected:
  """Returns the statistics of a data set's photos, from the cache if they are there.

  Photos are preprocessed as in training: cropped and box-downscaled to the data set's resolution,
    and
  only mirrored where `mirror` says so (which suits a generator that was trained with
  `config.data.flip`), never at random.

  Args:
    dataset: A `data.pipeline.Dataset`.
    extractor: Has `dims`, `fingerprint` (str) and, called with an iterator of uint8
      [n, h, w, 3], gives an iterator of float32 [n, dims].
    num: Number of photos, see `choose`; 0 for all.
    cache_dir: Folder of the caches; None for `compilation.cache_root()`.
    say: Called with lines of progress.
    keep: Number of photos whose features are kept.
    mirror, seed: See `choose`.
    batch_size: Images in a batch.

  Raises:
    UserError: A photo cannot be used. (A cache that cannot be written is only a warning.)
  """
  chosen = choose(len(dataset), num, mirror, seed)
  count = len(chosen[0])
  keep = min(keep, count)
  path = _path(cache_dir, dataset, extractor, count, mirror, seed)
  found = _read(path, count, extractor.dims, keep)
  if found is not None:
    return found
  counter = progress.Counter('photos', count, say)
  collected = Collected(extractor.dims, keep)
  for features in extractor(photos(dataset, chosen, batch_size)):
    collected.update(features)
    counter.add(len(features))
  if collected.statistics.count != count:
    raise ValueError(f'{count} photos gave {collected.statistics.count} rows of features')
  _write(path, collected, say)
  return collected


def _path(cache_dir, dataset, extractor, count, mirror, seed) -> pathlib.Path:
  protocol = {
    'version': VERSION,
    'dataset': dataset_hash(dataset),
    'resolution': dataset.resolution,
    'crop': str(dataset.crop),
    # Also if all photos are taken: their order decides which features are kept.
    'seed': seed,
    'count': count,
    'mirror': mirror,
    'features': str(extractor.fingerprint),
    'dims': extractor.dims,
  }
  name = hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:32]
  return pathlib.Path(cache_dir or compilation.cache_root()) / 'eval' / f'photos-{name}.npz'


def _read(path, count, dims, keep) -> Collected | None:
  """The cached statistics; None if there are none, too few features, or a damaged file."""
  try:
    # Opened here: NumPy does not close a file that is not a zip.
    with open(path, 'rb') as file, np.load(file, allow_pickle=False) as arrays:
      found = Collected.from_npz(arrays, keep)
  except Exception:  # zipfile and NumPy raise many kinds for a damaged file: it is made again
    return None
  statistics = found.statistics
  return found if (statistics.count, statistics.dims) == (count, dims) else None


def _write(path, collected, say) -> None:
  file = io.BytesIO()
  np.savez(file, **collected.to_npz())
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, file.getbuffer())
  except OSError as error:
    # The result took minutes to compute: it is returned all the same.
    (say or warnings.warn)(
      f'The statistics of the photos are not cached: {path}: {error.strerror or error}. '
      'Make room, or set JAX3DGAN_CACHE to another folder.'
    )


def _mapped(function, values) -> list:
  """`function` of each value, on threads, in order."""
  with concurrent.futures.ThreadPoolExecutor(reading.num_workers()) as pool:
    return list(pool.map(function, values))
