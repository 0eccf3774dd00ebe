"""Where images come from: a folder, a zip, TFRecord files. No TensorFlow.

A source has `len`, `read(i) -> Record`, `describe(i)` (a name for messages), `size(i)`, `stamp(i)`,
`labelled`, `label_table` and `notes`, and is in the order of the sorted names: the same files give
the same data set anywhere. An image that cannot be read is an `images.ImageError`.
"""

import collections
import errno
import glob
import hashlib
import itertools
import os
import posixpath
import re
import threading
import zipfile
import zlib

from jax3dgan.data import (
  folders,
  images,
  label_files,
  names,
  own_pictures,
  record_source,
  zip_entries,
)
from jax3dgan.data.label_files import LABELS_FILE, load_labels, parse_labels
from jax3dgan.data.records import Record
from jax3dgan.errors import UserError

__all__ = ['LABELS_FILE', 'FolderSource', 'ZipSource', 'load_labels', 'open_source', 'parse_labels']


# Of a folder without images: files that are counted, and kinds that are shown.
_LOOKED_AT, _SHOWN = 10_000, 4
_ARCHIVES = ('.zip', '.tar', '.tar.gz', '.tgz', '.7z', '.rar')

UnreachableImageError = images.UnreachableImageError


def _label_tables(labels_file, members, load):
  """The tables for `label_files.Labels`, (folder, what it is called, labels) each.

  Args:
    labels_file: the file to use alone; False for none, None for every dataset.json there is.
    members: names in the folder or archive.
    load: name → (what it is called, labels).
  """
  if labels_file is False:
    return []
  if labels_file is not None:
    return [('', labels_file, load_labels(labels_file))]
  return [
    (posixpath.dirname(name), *load(name))
    for name in members
    if posixpath.basename(name) == LABELS_FILE and not _is_hidden(name)
  ]


class FolderSource:
  """The images below a folder, at any depth, also through links to folders.

  Args:
    directory: the folder.
    labels_file: path of a dataset.json; by default those of the folder and of folders below it;
      False for no labels.

  Attributes:
    notes: lines on what was found and is not used.
    label_notes: those of them on names that are spelled in another way in a dataset.json.
  """

  def __init__(self, directory, labels_file=None):
    self._directory = os.fspath(directory)
    self._statuses = {}
    skipped = []
    files = sorted(folders.walk(self._directory, skipped))
    own = own_pictures.own_pictures(files)
    if own:
      skipped.append(f'{len(own)} pictures of runs and inversions are no photos: left out.')
    self._names = [name for name in files if is_image(name) and name not in own]

    def load(name):
      path = os.path.join(self._directory, name)
      return path, load_labels(path)

    tables = _label_tables(labels_file, files, load)
    self._labels = label_files.Labels(self._names, tables)
    self.label_table = self._labels.table
    self.label_notes = self._labels.notes
    self.labelled = self.label_table is not None
    self.notes = [*_pictures_not_read(files), *self._labels.notes, *skipped]
    if self._names and (packed := [name for name in files if _is_packed(name)]):
      self.notes.append(
        f'{len(packed)} archives or TFRecord files among the images are not read, such as '
        f'{names.readable(packed[0])}. To use them, name them as --source.'
      )
    if labels_file is not False:
      self.notes += _cameras_not_read(files, self._directory)

  def __len__(self):
    return len(self._names)

  def describe(self, i):
    """The path of file i below the folder."""
    return self._names[i]

  def size(self, i):
    """Bytes of file i, 0 where a link leads nowhere."""
    return self._status(i)[0]

  def stamp(self, i):
    """A text that changes whenever the content of file i does, and sometimes without."""
    return self._status(i)[1]

  def _status(self, i):
    # Asked once: on a network it takes time.
    if i not in self._statuses:
      self._statuses[i] = folders.status(os.path.join(self._directory, self._names[i]))
    return self._statuses[i]

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
    return Record(data, self._labels.find(name), names.readable(name))


class ZipSource:
  """The images of a zip; of EG3D's form with labels in dataset.json. Safe with threads.

  Args:
    path: the zip.
    labels_file: path of a dataset.json; by default those in the zip; False for no labels.

  Attributes:
    notes: lines on what was found and is not used.
  """

  def __init__(self, path, labels_file=None):
    self._path = os.fspath(path)
    self._files = zip_entries.Entries(self._path)
    try:
      self._zip = zipfile.ZipFile(self._path)
    except (zipfile.BadZipFile, OSError) as error:
      raise UserError(f'{path} cannot be read ({error}). Is it whole? Fetch it again.') from error
    entries = {
      zip_entries.name(entry): entry for entry in self._zip.infolist() if not entry.is_dir()
    }
    self._names = [name for name in sorted(entries) if is_image(name)]
    self._entries = [entries[name] for name in self._names]
    self._lock = threading.Lock()
    tables = _label_tables(
      labels_file,
      sorted(entries),
      lambda name: (f'{name} of {path}', self._parse_labels(name, entries[name])),
    )
    self._labels = label_files.Labels(self._names, tables)
    self.label_table = self._labels.table
    self.labelled = self.label_table is not None
    self.notes = [*_pictures_not_read(entries), *self._labels.notes]
    if labels_file is not False:
      self.notes += _cameras_not_read(entries)

  def _parse_labels(self, name, entry):
    try:
      content = self._read(entry)
    except images.ImageError as error:
      raise UserError(f'{name} of {self._path} is damaged: {error}. Fetch it again.') from error
    return label_files.parse_labels(content, f'{name} of {self._path}')

  def __len__(self):
    return len(self._entries)

  def describe(self, i):
    """The name of entry i."""
    return self._names[i]

  def size(self, i):
    """Bytes of file i, as the zip has it."""
    return self._entries[i].file_size

  def stamp(self, i):
    """A text that changes whenever the content of file i does."""
    return f'{self._entries[i].file_size}:crc{self._entries[i].CRC:08x}'

  def read(self, i):
    name = self.describe(i)
    return Record(self._read(self._entries[i]), self._labels.find(name), name)

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


def fingerprint(source):
  """A hash (hex) of the names and sizes of a source's files and of its labels."""
  digest = hashlib.sha256()
  for i in range(len(source)):
    digest.update(_bytes(f'{source.describe(i)}\0{source.size(i)}\n'))
  for name, label in sorted((source.label_table or {}).items()):
    digest.update(_bytes(name) + b'\0' + label.tobytes())
  return digest.hexdigest()


def _bytes(text):
  return text.encode('utf-8', 'surrogateescape')


def open_source(spec, labels_file=None, files=None):
  """Opens a folder, a zip, or TFRecord files.

  Args:
    spec: a path, a pattern of TFRecord files, or a `posed.PosedSource`, which is open already.
    labels_file: path of a dataset.json; False for no labels.
    files: the TFRecord files, where they are already known (TFDS).

  Returns:
    a source.

  Raises:
    UserError: where it does not exist, or holds no image.
  """
  if not isinstance(spec, str | os.PathLike):
    source = spec
  elif files is not None:
    source = record_source.TFRecordSource(files, labels_file)
  elif os.path.isdir(spec):
    source = FolderSource(spec, labels_file)
    if not len(source) and (records := _matching(os.fspath(spec), '*.tfrecord*')):
      source = record_source.TFRecordSource(records, labels_file)
  elif os.path.isfile(spec) and zipfile.is_zipfile(spec):
    source = ZipSource(spec, labels_file)
  elif paths := [os.fspath(spec)] if os.path.isfile(spec) else _matching(*os.path.split(spec)):
    if any('.tfrecord' not in os.path.basename(path) for path in paths):
      raise UserError(
        f'--source={spec} is neither a folder, a zip, nor *.tfrecord files. Name one of these.'
      )
    source = record_source.TFRecordSource(paths, labels_file)
  else:
    raise UserError(f'--source={spec} does not exist. Name a folder, a zip or TFRecord files.')
  if not len(source):
    found = ' '.join(['', *source.notes, *_kinds(spec)])
    raise UserError(
      f'{spec} holds no image ({", ".join(images.EXTENSIONS)}).{found} Name another folder.'
    )
  return source


def _matching(folder, pattern):
  """The files of a folder whose names match; where there is no such folder, it is a pattern too."""
  if os.path.isdir(folder or '.'):
    folder = glob.escape(folder)  # a folder's name may have brackets
  return sorted(path for path in glob.glob(os.path.join(folder, pattern)) if os.path.isfile(path))


def _kinds(spec):
  """A line on what else a folder has."""
  if not isinstance(spec, str | os.PathLike) or not os.path.isdir(spec):
    return []
  files = itertools.islice(folders.walk(spec), _LOOKED_AT)
  kinds = collections.Counter(
    os.path.splitext(name)[1] or 'without an ending' for name in files if not _is_hidden(name)
  )
  if not kinds:
    return ['It is empty.']
  found = ', '.join(f'{count} {kind}' for kind, count in kinds.most_common(_SHOWN))
  return [f'It has {found}.']


def is_image(name):
  """Whether a file of this name is taken for an image (hidden files and macOS's forks are not)."""
  return name.lower().endswith(images.EXTENSIONS) and not _is_hidden(name)


def _is_hidden(name):
  parts = name.replace('\\', '/').split('/')
  return '__MACOSX' in parts or any(part.startswith('.') for part in parts if part not in '..')


def _pictures_not_read(files):
  endings = [os.path.splitext(name)[1].lower() for name in files if not _is_hidden(name)]
  counts = collections.Counter(e for e in endings if e in images.OTHER_EXTENSIONS)
  if not counts:
    return []
  kinds = ', '.join(f'{count} {ending}' for ending, count in sorted(counts.items()))
  return [f'Pictures of kinds that are not read are left out ({kinds}). Make .png of them.']


def _is_packed(name):
  last = os.path.basename(name).lower()
  is_own = re.match(r'shard-\d+\.tfrecord', last)  # prepared in a folder below
  return not (is_own or _is_hidden(name)) and ('.tfrecord' in last or last.endswith(_ARCHIVES))


def _cameras_not_read(files, directory=None):
  """A line on a scene's cameras among files, or in the folder above a directory."""
  found = [name for name in files if not _is_hidden(name) and _describes_cameras(name)]
  if not found and directory is not None:
    above = os.path.join(directory, os.pardir)
    candidates = ('transforms.json', 'transforms_train.json', 'sparse/0/cameras.bin')
    candidates = (*candidates, 'sparse/0/cameras.txt')
    found = [f'../{name}' for name in candidates if os.path.isfile(os.path.join(above, name))]
  if not found:
    return []
  return [
    f'Cameras are described in {names.readable(found[0])}, and the images are taken without them. '
    'To use them, name the folder of this one scene as --source, see docs/posed_data.md.'
  ]


def _describes_cameras(name):
  folder, _, last = name.lower().replace('\\', '/').rpartition('/')
  if last in ('cameras.bin', 'cameras.txt'):
    return 'sparse' in folder.split('/')
  return last.startswith('transforms') and last.endswith('.json')
