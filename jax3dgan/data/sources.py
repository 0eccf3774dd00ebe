"""Where images come from: a folder, a zip, TFRecord files. No TensorFlow.

A source has `len`, `read(i) -> Record`, `describe(i)` (a name for messages), `size(i)`, `labelled`
and `label_table`, and is in the order of the sorted names: the same files give the same data set
anywhere. An image that cannot be read is an `images.ImageError`.
"""

import errno
import glob
import hashlib
import json
import os
import threading
import zipfile
import zlib

import numpy as np

from jax3dgan.data import images, labels, skips, tfrecord, zip_entries
from jax3dgan.data.records import Record
from jax3dgan.errors import UserError

LABELS_FILE = 'dataset.json'


class UnreachableImageError(images.ImageError):
  """An image whose file cannot be read now, perhaps later."""


class FolderSource:
  """The images below a folder, at any depth.

  Args:
    directory: the folder.
    labels_file: path of a dataset.json; by default the folder's own, if it has one.
  """

  def __init__(self, directory, labels_file=None):
    self._directory = os.fspath(directory)
    names = []
    for folder, _, files in os.walk(self._directory):
      for name in files:
        if is_image(name):
          path = os.path.relpath(os.path.join(folder, name), self._directory)
          names.append(path.replace(os.sep, '/'))
    self._names = sorted(names)
    own = os.path.join(self._directory, LABELS_FILE)
    if labels_file is None and os.path.exists(own):
      labels_file = own
    self.label_table = load_labels(labels_file)
    self.labelled = self.label_table is not None

  def __len__(self):
    return len(self._names)

  def describe(self, i):
    return self._names[i]

  def size(self, i):
    """Bytes of file i."""
    return os.path.getsize(os.path.join(self._directory, self._names[i]))

  def read(self, i):
    name = self._names[i]
    try:
      with open(os.path.join(self._directory, name), 'rb') as file:
        data = file.read(images.MAX_BYTES + 1)
    except OSError as error:
      # These stay so; all others, such as EIO or ESTALE, may be the network.
      lasting = isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError))
      lasting |= error.errno in (errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR)
      kind = images.ImageError if lasting else UnreachableImageError
      raise kind(error.strerror or 'cannot be read') from error
    return Record(data, find_label(self.label_table, name), name)


class ZipSource:
  """The images of a zip; of EG3D's form with labels in dataset.json. Safe with threads.

  Args:
    path: the zip.
    labels_file: path of a dataset.json; by default the one at the zip's root, if there is one.
  """

  def __init__(self, path, labels_file=None):
    self._path = os.fspath(path)
    self._files = zip_entries.Entries(self._path)
    try:
      self._zip = zipfile.ZipFile(self._path)
    except (zipfile.BadZipFile, OSError) as error:
      raise UserError(f'{path} cannot be read ({error}). Is it whole? Fetch it again.') from error
    entries = {entry.filename: entry for entry in self._zip.infolist() if not entry.is_dir()}
    self._entries = [entries[name] for name in sorted(entries) if is_image(name)]
    self._lock = threading.Lock()
    if labels_file is not None:
      self.label_table = load_labels(labels_file)
    else:
      entry = entries.get(LABELS_FILE)
      try:
        content = None if entry is None else self._read(entry)
      except images.ImageError as error:
        raise UserError(f'{LABELS_FILE} of {path} is damaged: {error}. Fetch it again.') from error
      self.label_table = content and parse_labels(content, f'{LABELS_FILE} of {path}')
    self.labelled = self.label_table is not None

  def __len__(self):
    return len(self._entries)

  def describe(self, i):
    return self._entries[i].filename

  def size(self, i):
    """Bytes of file i, as the zip has it."""
    return self._entries[i].file_size

  def read(self, i):
    name = self.describe(i)
    return Record(self._read(self._entries[i]), find_label(self.label_table, name), name)

  def _read(self, entry):
    # The directory's sizes may lie: never more than this is unpacked.
    limit = images.MAX_BYTES + 1
    try:
      if zip_entries.is_plain(entry):
        return self._files.read(entry, limit)
      # One open member at a time: they share the file's position.
      with self._lock, self._zip.open(entry) as file:
        return file.read(limit)
    except OSError as error:
      raise UnreachableImageError(f'cannot be read from the zip ({error})') from error
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
      raise images.ImageError(f'damaged in the zip ({error})') from error
    except (RuntimeError, NotImplementedError) as error:
      raise images.ImageError(f'cannot be unpacked ({error})') from error

  def close(self):
    """Closes the zip."""
    self._files.close()
    self._zip.close()


class TFRecordSource:
  """The images of TFRecord files of tf.train.Example, also those of a prepared TFDS data set.

  Args:
    paths: the files.
    labels_file: path of a dataset.json whose names are the records' keys.
  """

  _IMAGE_FEATURES = ('image/encoded', 'image', 'image_raw', 'encoded')
  _KEY_FEATURES = ('image/key', 'image/filename', 'key', 'filename')

  def __init__(self, paths, labels_file=None):
    offsets = []
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
    self.label_table = load_labels(labels_file)
    self.labelled = self.label_table is not None or (len(self) > 0 and self._has_label())

  def __len__(self):
    return len(self._files)

  def describe(self, i):
    file, number = self._files.where(i)
    return f'{self._names[file]}:{number:06d}'

  def size(self, i):
    """Bytes of record i."""
    return int(self._sizes[i])

  def read(self, i):
    try:
      features = tfrecord.decode_example(self._files.payload(i))
    except skips.UnreachableError as error:
      raise UnreachableImageError(str(error)) from error
    except (UserError, tfrecord.RecordError) as error:
      raise images.ImageError(f'damaged record ({error})') from error
    data = _first(features, self._IMAGE_FEATURES)
    if not isinstance(data, bytes):
      raise images.ImageError(f'record without an image (features: {", ".join(sorted(features))})')
    key = _first(features, self._KEY_FEATURES)
    key = key.decode(errors='replace') if isinstance(key, bytes) else self.describe(i)
    if self.label_table is not None:
      return Record(data, find_label(self.label_table, key), key)
    label = features.get('label')
    return Record(data, label if _is_label(label) else None, key)

  def _has_label(self):
    try:
      return self.read(0).label is not None
    except images.ImageError:
      return False

  def close(self):
    """Closes the files."""
    self._files.close()


def fingerprint(source):
  """A hash (hex) of the names and sizes of a source's files and of its labels."""
  digest = hashlib.sha256()
  for i in range(len(source)):
    digest.update(f'{source.describe(i)}\0{source.size(i)}\n'.encode())
  for name, label in sorted((source.label_table or {}).items()):
    digest.update(name.encode() + b'\0' + label.tobytes())
  return digest.hexdigest()


def open_source(spec, labels_file=None, files=None):
  """Opens a folder, a zip, or TFRecord files.

  Args:
    spec: a path, a pattern of TFRecord files, or a `posed.PosedSource`, which is open already.
    labels_file: path of a dataset.json.
    files: the TFRecord files, where they are already known (TFDS).

  Returns:
    a source.

  Raises:
    UserError: where it does not exist, or holds no image.
  """
  if not isinstance(spec, str | os.PathLike):
    source = spec
  elif files is not None:
    source = TFRecordSource(files, labels_file)
  elif os.path.isdir(spec):
    source = FolderSource(spec, labels_file)
    if not len(source) and (records := sorted(glob.glob(os.path.join(spec, '*.tfrecord*')))):
      source = TFRecordSource(records, labels_file)
  elif os.path.isfile(spec) and zipfile.is_zipfile(spec):
    source = ZipSource(spec, labels_file)
  elif paths := sorted(path for path in glob.glob(spec) if os.path.isfile(path)):
    if any('.tfrecord' not in os.path.basename(path) for path in paths):
      raise UserError(
        f'--source={spec} is neither a folder, a zip, nor *.tfrecord files. Name one of these.'
      )
    source = TFRecordSource(paths, labels_file)
  else:
    raise UserError(f'--source={spec} does not exist. Name a folder, a zip or TFRecord files.')
  if not len(source):
    raise UserError(f'{spec} holds no image ({", ".join(images.EXTENSIONS)}). Name another folder.')
  return source


def is_image(name):
  """Whether a file of this name is taken for an image (hidden files and macOS's forks are not)."""
  parts = name.replace('\\', '/').split('/')
  hidden = any(part.startswith('.') for part in parts) or '__MACOSX' in parts
  return name.lower().endswith(images.EXTENSIONS) and not hidden


def load_labels(path):
  """The labels of a dataset.json, see `parse_labels`; None without one."""
  if path is None:
    return None
  try:
    with open(path, 'rb') as file:
      return parse_labels(file.read(), path)
  except OSError as error:
    raise UserError(f'The labels {path} cannot be read ({error.strerror}).') from error


def parse_labels(content, where):
  """Parses EG3D's dataset.json: {"labels": [[name, [25 numbers]], ...]}, or null.

  Args:
    content: bytes of the file.
    where: its name, for messages.

  Returns:
    dict of name -> float32 [25], or None where there are no labels.

  Raises:
    UserError: where it is of another form.
  """
  try:
    pairs = json.loads(content)['labels']
    if pairs is None:
      return None
    pairs = pairs.items() if isinstance(pairs, dict) else pairs
    table = {str(name).replace('\\', '/'): np.array(x, np.float32) for name, x in pairs}
  except (ValueError, TypeError, KeyError) as error:
    raise UserError(
      f'{where} is not of the form {{"labels": [[name, [25 numbers]], ...]}}. Mend or remove it.'
    ) from error
  for name, label in table.items():
    if not _is_label(label):
      raise UserError(
        f'{where}: the label of {name} is not {labels.NUM_NUMBERS} finite numbers '
        f'(cam2world row by row, then intrinsics). Mend it, or prepare with --labels=none.'
      )
  return table


def find_label(table, name):
  """The label of a file; None without labels; ImageError where only this one has none."""
  if table is None:
    return None
  if name not in table:
    raise images.ImageError('has no label')
  return table[name]


def _is_label(label):
  return (
    isinstance(label, np.ndarray)
    and label.dtype == np.float32
    and label.shape == (labels.NUM_NUMBERS,)
    and bool(np.all(np.isfinite(label)))
  )


def _first(features, names):
  return next((features[name] for name in names if name in features), None)
