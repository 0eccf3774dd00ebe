"""The files of a scene: of a folder, a tar or a zip, by their paths below it.

A `Files` can be pickled: a process that gets one opens the archive itself.
"""

import functools
import os
import tarfile
import zipfile
import zlib

from jax3dgan.data import folders as folders_lib
from jax3dgan.data import images, names
from jax3dgan.errors import UserError

# A transforms.json of 10,000 frames has some MiB; a points3D.bin of a million points some 100.
_MAX_BYTES = 2**31


class Files:
  """The files of a scene.

  Args:
    path: folder, .tar or .zip.

  Attributes:
    path: as given.
    sizes: dict of path -> bytes, '/' between folders, hidden files left out.

  Raises:
    UserError: where it does not exist, or is another kind of file.
  """

  def __init__(self, path):
    self.path = os.fspath(path)
    self._offsets = {}
    if os.path.isdir(self.path):
      self._kind, sizes = 'folder', dict(_walk(self.path))
    elif not os.path.isfile(self.path):
      raise UserError(f'{path} does not exist. Name the folder, the tar or the zip of a scene.')
    elif zipfile.is_zipfile(self.path):
      self._kind, sizes = 'zip', _list_zip(self.path)
    else:
      self._kind = 'tar'
      sizes, self._offsets = _list_tar(self.path)
    self.sizes = {name: size for name, size in sizes.items() if not _is_hidden(name)}

  def __getstate__(self):
    return {name: value for name, value in self.__dict__.items() if name != '_zip'}

  @functools.cached_property
  def _zip(self):
    return zipfile.ZipFile(self.path)  # its directory may be long: it is read once

  def __contains__(self, name):
    return name in self.sizes

  def read(self, name, max_bytes=_MAX_BYTES):
    """The content of a file, at most max_bytes of it; ImageError where it cannot be read."""
    try:
      if self._kind == 'zip':
        with self._zip.open(name) as file:
          return file.read(max_bytes)
      if self._kind == 'tar':
        with open(self.path, 'rb') as file:
          file.seek(self._offsets[name])
          return file.read(min(max_bytes, self.sizes[name]))
      with open(os.path.join(self.path, name), 'rb') as file:
        return file.read(max_bytes)
    except OSError as error:
      raise images.ImageError(error.strerror or 'cannot be read') from error
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
      raise images.ImageError(f'damaged in {os.path.basename(self.path)} ({error})') from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or packed unusually
      raise images.ImageError(f'cannot be unpacked ({error})') from error

  def find(self, path):
    """The file of a path, perhaps of another case or other composed characters; '' without any."""
    return path if path in self.sizes else self._spellings.get(names.canonical(path).casefold(), '')

  @functools.cached_property
  def _spellings(self):
    """{spelling without case: file}; '' where several files have it."""
    result = {}
    for name in self.sizes:
      key = names.canonical(name).casefold()
      result[key] = '' if key in result else name
    return result

  def stamp(self, name):
    """A text that changes whenever a file does, and sometimes without."""
    if name not in self:
      return 'missing'
    if self._kind == 'zip':
      entry = self._zip.getinfo(name)
      return f'{entry.file_size}:crc{entry.CRC:08x}'
    path = os.path.join(self.path, name) if self._kind == 'folder' else self.path
    return folders_lib.status(path)[1]

  def read_description(self, name):
    """The content of a file that describes the scene; UserError where it cannot be read."""
    try:
      return self.read(name)
    except images.ImageError as error:
      raise UserError(f'{name} of {self.path}: {error}. Fetch the scene again.') from error

  def folders(self, parent=''):
    """The names of the folders directly below a folder ('' for the top), sorted."""
    prefix = f'{parent}/' if parent else ''
    below = (name[len(prefix) :] for name in self.sizes if name.startswith(prefix))
    return sorted({name.partition('/')[0] for name in below if '/' in name})


def _walk(folder):
  for name in folders_lib.walk(folder):
    try:
      yield name, os.path.getsize(os.path.join(folder, name))
    except OSError:  # a link that leads nowhere
      continue


def _list_zip(path):
  try:
    with zipfile.ZipFile(path) as archive:
      entries = [entry for entry in archive.infolist() if not entry.is_dir()]
      return {entry.filename: entry.file_size for entry in entries}
  except (zipfile.BadZipFile, OSError) as error:
    raise UserError(f'{path} cannot be read ({error}). Is it whole? Fetch it again.') from error


def _list_tar(path):
  try:
    with tarfile.open(path, 'r:') as archive:  # not packed: any member is one seek away
      members = [member for member in archive if member.isreg() and not member.issparse()]
  except (tarfile.TarError, OSError, EOFError) as error:
    raise UserError(
      f'{path} is neither a folder, a zip, nor an uncompressed tar ({error}). Unpack it, and name '
      'its folder.'
    ) from error
  end = os.path.getsize(path)
  for member in members:
    if member.offset_data + member.size > end:
      raise UserError(f'{path} is cut short in {member.name}. Fetch it again.')
  names = [os.path.normpath(member.name).replace(os.sep, '/') for member in members]
  sizes = {name: member.size for name, member in zip(names, members, strict=True)}
  return sizes, {name: member.offset_data for name, member in zip(names, members, strict=True)}


def _is_hidden(name):
  parts = name.split('/')
  return '__MACOSX' in parts or any(part.startswith('.') for part in parts)
