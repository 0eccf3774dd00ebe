"""A prepared data set: a folder of TFRecord shards and an index.json.

Each record is a tf.train.Example with `image/encoded` (PNG), `image/format`, `image/key`, `label`
(float [25]) where the camera is known, `opacity/encoded` (PNG) where images have masks, and further
features of its maker. The index has the
offset of each record, so any record takes one read. It is written last: a folder with an index is
complete.
"""

import dataclasses
import hashlib
import io
import json
import os

import numpy as np
from etils import epath

from jax3dgan import atomic
from jax3dgan.data import images, labels, reading, skips, tfrecord
from jax3dgan.errors import UserError

INDEX = 'index.json'
FORMAT = 'jax3dgan-shards'
VERSION = 1
OPACITY = 'opacity/encoded'  # grey: 255 where the ground does not show
MASKS = 'masks'  # of the index: whether each record has it; images are on white then


@dataclasses.dataclass(frozen=True)
class Record:
  """One stored image: the encoded file, float32 [25] or None, its name, all its features."""

  image: bytes
  label: np.ndarray | None
  key: str
  features: dict = dataclasses.field(default_factory=dict)


def encode_example(example):
  """Serialises an example, see `write_dataset`."""
  image = example['image']
  png = image if isinstance(image, bytes) else images.encode_png(np.asarray(image))
  features = dict(example.get('extras') or {})
  features.update({'image/encoded': png, 'image/format': 'png', 'image/key': example['key']})
  if example.get('label') is not None:
    features['label'] = _checked_label(example['label'])
  return tfrecord.encode_example(features)


def _checked_label(label):
  label = np.asarray(label, np.float32).ravel()
  if label.shape != (labels.NUM_NUMBERS,) or not np.all(np.isfinite(label)):
    raise ValueError(f'A label is {labels.NUM_NUMBERS} finite numbers, got {label.shape}.')
  return label


class ShardWriter:
  """Collects the examples of one shard and writes them at once: `add` until done, then `close`.

  Args:
    directory: where.
    name: file name of the shard.
  """

  def __init__(self, directory, name):
    self._path = os.path.join(os.fspath(directory), name)
    self._file = io.BytesIO()
    self._offsets = []
    self._labels = []

  def __len__(self):
    return len(self._offsets)

  def add(self, example):
    """Appends an example, see `write_dataset`."""
    self._offsets.append(self._file.tell())
    self._file.write(tfrecord.frame(encode_example(example)))
    if example.get('label') is not None:
      self._labels.append(_checked_label(example['label']))

  def close(self):
    """Writes the shard, atomically; returns its entry of the index and its `labels.sums`."""
    data = self._file.getvalue()
    atomic.write(self._path, data, alone=True)
    entry = {
      'file': os.path.basename(self._path),
      'count': len(self),
      'bytes': len(data),
      'sha256': hashlib.sha256(data).hexdigest(),
      'offsets': self._offsets,
    }
    return entry, labels.sums(np.array(self._labels, np.float32))


def sha256(path) -> str:
  """The SHA-256 of a file, in hexadecimal digits."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def is_whole(directory, entry) -> bool:
  """Whether a shard is, down to the last bit, what its entry of the index says."""
  return sha256(os.path.join(directory, entry['file'])) == entry['sha256']


def default_shard_size(resolution):
  """Images a shard: some tens of MiB, as a shard is made in memory and lost if a run is killed."""
  return max(16, min(4096, 2**25 // resolution**2))


def shard_name(i):
  """File name of shard i."""
  return f'shard-{i:05d}.tfrecord'


def write_index(directory, entries, label_sums, resolution, extra=None):
  """Writes the index, which makes the data set complete.

  Args:
    directory: where the shards are.
    entries: what `ShardWriter.close` returned for each shard, in order.
    label_sums: sum of their label sums, float64 [3, 27].
    resolution: size of the images in pixels.
    extra: dict of further fields (source, options, report).

  Returns:
    the index, a dict.
  """
  count = sum(entry['count'] for entry in entries)
  statistics = labels.statistics(label_sums)
  if statistics and statistics['count'] != count:
    raise ValueError(f'{statistics["count"]} of {count} examples have a label: all or none.')
  index = {
    'format': FORMAT,
    'version': VERSION,
    'count': count,
    'resolution': resolution,
    'channels': 3,
    'labels': statistics,
    **(extra or {}),
    'shards': entries,
  }
  atomic.write(os.path.join(directory, INDEX), json.dumps(index).encode(), alone=True)
  return index


def write_dataset(directory, examples, *, resolution, shard_size=None, extra=None):
  """Writes a data set from an iterable.

  Args:
    directory: where; made if need be.
    examples: iterable of dicts: image (uint8 [r, r, 3] or the bytes of a PNG), key (str, a name),
      label (float32 [25] or None), extras (optional dict of name -> bytes, floats or integers).
    resolution: r.
    shard_size: number of images in a shard; see `default_shard_size`.
    extra: dict of further fields of the index.

  Returns:
    the index, a dict.
  """
  os.makedirs(directory, exist_ok=True)
  shard_size = shard_size or default_shard_size(resolution)
  entries, total, writer = [], labels.sums(np.zeros((0, labels.NUM_NUMBERS))), None
  for example in examples:
    writer = writer or ShardWriter(directory, shard_name(len(entries)))
    writer.add(example)
    if len(writer) == shard_size:
      entry, sums = writer.close()
      entries, total, writer = [*entries, entry], total + sums, None
  if writer:
    entry, sums = writer.close()
    entries, total = [*entries, entry], total + sums
  return write_index(directory, entries, total, resolution, extra)


class Shards:
  """A prepared data set, opened for random access.

  Attributes:
    index: the content of index.json.
    resolution: size of the images in pixels.
    labelled: whether the records have labels.
    masked: whether they have masks.

  Raises:
    UserError: where the index or a shard is missing, or does not fit.
  """

  def __init__(self, directory):
    self.directory = epath.Path(directory)
    self.index = read_index(directory)
    self.resolution = int(self.index['resolution'])
    self.labelled = bool(self.index['labels'])
    self.masked = bool(self.index.get(MASKS))
    entries = self.index['shards']
    paths = [self.directory / entry['file'] for entry in entries]
    sizes = [entry['bytes'] for entry in entries]
    # A thousand shards in a bucket are a thousand requests.
    with reading.threads(reading.num_readers(directory), 'sizes') as pool:
      pairs = list(zip(paths, sizes, strict=True))
      list(reading.in_order(pool, _check_file, [pairs], 0))
    offsets = [[*entry['offsets'], entry['bytes']] for entry in entries]
    self._files = tfrecord.RecordFiles(paths, offsets)
    self.describe = self._files.describe

  def __len__(self):
    return len(self._files)

  def read(self, i):
    """Record i."""
    payload = self._files.payload(i)
    try:
      features = tfrecord.decode_example(payload)
      key = features['image/key'].decode()
    except (tfrecord.RecordError, KeyError, AttributeError, ValueError) as error:
      raise skips.DamagedError(
        f'{self.describe(i)} is none of {FORMAT}. Prepare the data set again.'
      ) from error
    if not isinstance(features.get('image/encoded'), bytes):
      raise skips.DamagedError(f'{self.describe(i)} has no image. Prepare the data set again.')
    return Record(features['image/encoded'], features.get('label'), key, features)

  def close(self):
    """Closes the files."""
    self._files.close()


def _check_file(path, size):
  try:
    actual = path.stat().length
  except OSError as error:
    raise UserError(
      f'The shard {path} is missing. Copy it there, or run the same prepare command again.'
    ) from error
  if actual != size:
    raise UserError(
      f'The shard {path} has {actual} bytes, not the {size} of the index. '
      'Copy it again, or run the same prepare command again.'
    )


def read_index(directory):
  """The index of a prepared data set, a dict; UserError where there is none that can be read."""
  path = epath.Path(directory) / INDEX
  try:
    index = json.loads(path.read_text())
  except FileNotFoundError as error:
    raise UserError(
      f'{directory} has no {INDEX}: it is no prepared data set, or its preparation did not finish. '
      f'Run python -m jax3dgan.data.prepare --source=IMAGES --out=DIR.'
    ) from error
  except (ValueError, OSError) as error:
    raise UserError(f'{path} cannot be read ({error}). Prepare the data set again.') from error
  if not isinstance(index, dict) or index.get('format') != FORMAT:
    raise UserError(f'{path} is not an index of {FORMAT}. Prepare the data set again.')
  if index['version'] != VERSION:
    raise UserError(
      f'{path} has the version {index["version"]}, this program reads {VERSION}. '
      'Update the program, or prepare the data set again.'
    )
  return index
