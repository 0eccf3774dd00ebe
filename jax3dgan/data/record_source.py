"""Images of TFRecord files, of whatever maker. No TensorFlow."""

import math
import os
import re

import numpy as np

from jax3dgan import camera_checks
from jax3dgan.data import folders, images, label_files, skips, tfrecord
from jax3dgan.data.records import Record
from jax3dgan.errors import UserError


class TFRecordSource:
  """The images of TFRecord files of tf.train.Example, also those of a prepared TFDS data set.

  Of StyleGAN's files, one for each resolution with images as bare numbers, the largest is read.

  Args:
    paths: the files.
    labels_file: path of a dataset.json whose names are the records' keys; False for no
      labels.

  Attributes:
    notes: lines on what was found and is not used.
  """

  _IMAGE_FEATURES = ('image/encoded', 'image', 'image_raw', 'encoded')
  _KEY_FEATURES = ('image/key', 'image/filename', 'key', 'filename')

  def __init__(self, paths, labels_file=None):
    paths, self.notes = _largest_level(paths)
    self._paths, offsets = paths, []
    for path in paths:
      try:
        with open(path, 'rb') as file:
          offsets.append(tfrecord.scan(file))
      except (tfrecord.RecordError, OSError) as error:
        raise UserError(
          f'{path} is not a whole TFRecord file ({error}). '
          'Copy it again; if it is compressed, unpack it first.'
        ) from error
    self._files = tfrecord.RecordFiles(paths, offsets)
    self._sizes = np.concatenate([np.diff(part) for part in offsets] or [np.zeros(0, int)])
    self._names = [f'{os.path.basename(path)}' for path in paths]
    self.label_table = label_files.load_labels(labels_file or None)
    self._has_own = labels_file is not False
    self.labelled = self.label_table is not None or (len(self) > 0 and self._has_label())

  def __len__(self):
    return len(self._files)

  def describe(self, i):
    file, number = self._files.where(i)
    return f'{self._names[file]}:{number:06d}'

  def size(self, i):
    """Bytes of record i."""
    return int(self._sizes[i])

  def stamp(self, i):
    """A text that changes whenever the content of record i does, and sometimes without."""
    return folders.status(self._paths[self._files.where(i)[0]])[1]

  def read(self, i):
    try:
      features = tfrecord.decode_example(self._files.payload(i))
    except skips.UnreachableError as error:
      raise images.UnreachableImageError(str(error)) from error
    except (UserError, tfrecord.RecordError) as error:
      raise images.ImageError(f'damaged record ({error})') from error
    data = _first(features, self._IMAGE_FEATURES)
    if data is None and {'data', 'shape'} <= features.keys():
      data = _bare_image(features['data'], features['shape'])
    if not isinstance(data, bytes):
      raise images.ImageError(f'record without an image (features: {", ".join(sorted(features))})')
    key = _first(features, self._KEY_FEATURES)
    key = key.decode(errors='replace') if isinstance(key, bytes) else self.describe(i)
    if self.label_table is not None:
      if key not in self.label_table:
        raise images.ImageError(f'has no label (its key is {key})')
      return Record(data, self.label_table[key], key)
    return Record(data, _label(features.get('label')) if self._has_own else None, key)

  def _has_label(self):
    try:
      return self.read(0).label is not None
    except images.ImageError:
      return False

  def close(self):
    """Closes the files."""
    self._files.close()


def _first(features, names):
  return next((features[name] for name in names if name in features), None)


def _label(label):
  """The label of a record: 25 numbers are a camera, others (classes) are none."""
  is_label = isinstance(label, np.ndarray) and label.dtype == np.float32
  if not is_label or label.shape != (camera_checks.NUM_NUMBERS,):
    return None
  try:
    return camera_checks.check_labels(label)
  except UserError as error:
    raise images.ImageError(f'its label is no camera ({error})') from error


def _largest_level(paths):
  """(paths, notes): of StyleGAN's files name-r02.tfrecords to name-r10.tfrecords the largest."""
  levels = [re.search(r'-r(\d\d)\.tfrecords?$', os.path.basename(path)) for path in paths]
  if not paths or not all(levels):
    return paths, []
  numbers = [int(level[1]) for level in levels]
  kept = [path for path, n in zip(paths, numbers, strict=True) if n == max(numbers)]
  notes = (
    []
    if len(kept) == len(paths)
    else [
      f"Of StyleGAN's files for several resolutions those of {2 ** max(numbers)} pixels are read."
    ]
  )
  return kept, notes


def _bare_image(data, shape):
  """The bytes of a PPM of StyleGAN's form: uint8 [c, h, w], c 1 or 3, row by row."""
  shape = tuple(np.ravel(shape).tolist())
  is_image = len(shape) == 3 and shape[0] in (1, 3) and min(shape) > 0
  if not is_image or not isinstance(data, bytes) or len(data) != math.prod(shape):
    raise images.ImageError(f'record with data of the shape {list(shape)}, not [3, h, w]')
  image = np.frombuffer(data, np.uint8).reshape(shape).transpose(1, 2, 0)
  return images.encode_ppm(np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3))))
