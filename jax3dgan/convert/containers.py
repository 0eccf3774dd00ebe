"""The zip files of `torch.save`, read defensively.

PyTorch stores without compression, so that entries are slices of the file, without unpacking. What
PyTorch never writes is refused: compression, encryption, two entries with one name or in one place,
names outside of the archive.
"""

import dataclasses
import os
import zipfile
import zlib

from jax3dgan.convert.values import DAMAGED, HOSTILE, show
from jax3dgan.errors import UserError

# About 100,000 entries; the standard library reads the directory at once.
_MAX_DIRECTORY = 16 * 2**20
_END, _LOCAL, _LOCATOR = b'PK\x05\x06', b'PK\x03\x04', b'PK\x06\x07'
_END_SIZE, _LOCAL_SIZE, _LOCATOR_SIZE = 22, 30, 20
_ENCRYPTED, _UTF_8 = 0x1, 0x800


@dataclasses.dataclass(frozen=True)
class Entry:
  """Bytes [start, end) of the file and their checksum."""

  start: int
  end: int
  crc: int


class Zip:
  """The entries of a zip file by their names, without the folder that contains all of them.

  Args:
    path: what to call the file in errors.
    file: open for reading.
    data: the same file as a mmap.

  Raises:
    UserError: It is no archive as `torch.save` writes it.
  """

  def __init__(self, path, file, data):
    self._path, self._data = path, data
    found = data.rfind(_END, max(0, len(data) - _END_SIZE - 0xFFFF))
    if found < 0:
      raise self._error('the end of the zip archive is missing', 'Download it again, to its end.')
    comment = int.from_bytes(data[found + 20 : found + 22], 'little')
    behind = len(data) - found - _END_SIZE - comment
    if behind:
      raise self._error(
        f'the zip archive ends {abs(behind):,} bytes too {"early" if behind > 0 else "late"}',
        DAMAGED,
      )
    if self._directory_size(found) > _MAX_DIRECTORY:
      raise self._error(f'a zip directory of more than {_MAX_DIRECTORY:,} bytes', HOSTILE)
    file.seek(0, os.SEEK_SET)
    try:
      with zipfile.ZipFile(file) as archive:
        infos, directory = archive.infolist(), archive.start_dir
    except Exception as error:  # of many types, for damage that only this module detects
      raise self._error('its zip directory cannot be read', DAMAGED) from error
    self._entries = self._read(infos, directory)

  def _error(self, what: str, remedy: str) -> UserError:
    return UserError(f'{self._path}: {what}. {remedy}')

  def _directory_size(self, end: int) -> int:
    """Bytes of the directory, by the record at `end` or its counterpart for large archives."""
    locator = end - _LOCATOR_SIZE
    if locator >= 0 and self._data[locator : locator + 4] == _LOCATOR:
      large = int.from_bytes(self._data[locator + 8 : locator + 16], 'little')
      return int.from_bytes(self._data[large + 40 : large + 48], 'little')
    return int.from_bytes(self._data[end + 12 : end + 16], 'little')

  def _read(self, infos, directory) -> dict[str, Entry]:
    entries, before = {}, 0
    for info in sorted(infos, key=lambda info: info.header_offset):
      name = info.orig_filename
      parts = name.split('/')
      if '\\' in name or '\0' in name or ':' in name or {'', '.', '..'} & set(parts):
        raise self._error(f'the entry name {show(name)} leads out of the archive', HOSTILE)
      if info.flag_bits & _ENCRYPTED:
        raise self._error(f'the entry {show(name)} is encrypted', HOSTILE)
      if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        raise self._error(
          f'the entry {show(name)} is compressed, from {info.file_size:,} bytes',
          'Unpack the archive and zip it again with zip -0: PyTorch does not compress.',
        )
      start = self._data_start(info)
      end = start + info.file_size
      if end > directory:
        raise self._error(f'the entry {show(name)} reaches beyond the archive', DAMAGED)
      if info.header_offset < before:
        raise self._error(f'the entry {show(name)} lies on top of another', HOSTILE)
      if not entries and info.header_offset:
        raise self._error(f'{info.header_offset:,} bytes in front of the archive', HOSTILE)
      before = end
      inner = '/'.join(parts[1:])
      if len(parts) < 2 or parts[0] != infos[0].orig_filename.split('/')[0]:
        raise self._error(
          f'the entry {show(name)} is outside of its one folder',
          'It is no file of torch.save: give one of these.',
        )
      if inner in entries:
        raise self._error(f'two entries are called {show(name)}', HOSTILE)
      entries[inner] = Entry(start, end, info.CRC)
    return entries

  def _data_start(self, info) -> int:
    offset = info.header_offset
    header = self._data[offset : offset + _LOCAL_SIZE] if offset >= 0 else b''
    if len(header) < _LOCAL_SIZE or header[:4] != _LOCAL:
      raise self._error(f'the entry {show(info.orig_filename)} is not where it should be', DAMAGED)
    name_size, extra_size = (int.from_bytes(header[i : i + 2], 'little') for i in (26, 28))
    start = offset + _LOCAL_SIZE
    name = self._data[start : start + name_size]
    encoding = 'utf-8' if info.flag_bits & _UTF_8 else 'cp437'
    flags, method = (int.from_bytes(header[i : i + 2], 'little') for i in (6, 8))
    if name.decode(encoding, 'replace') != info.orig_filename or method or flags & _ENCRYPTED:
      raise self._error(
        f'the entry {show(info.orig_filename)} is another one than its header says', HOSTILE
      )
    return start + name_size + extra_size

  def __contains__(self, name: str) -> bool:
    return name in self._entries

  def names(self) -> list[str]:
    """All names."""
    return list(self._entries)

  def entry(self, name: str) -> Entry:
    """Where an entry is, its checksum verified."""
    if name not in self._entries:
      raise self._error(f'the entry {show(name)} is missing', DAMAGED)
    entry = self._entries[name]
    with memoryview(self._data) as view, view[entry.start : entry.end] as part:
      if zlib.crc32(part) != entry.crc:
        raise self._error(f'the checksum of the entry {show(name)} is wrong', DAMAGED)
    return entry

  def read(self, name: str, limit: int) -> bytes:
    """A copy of a small entry."""
    entry = self.entry(name)
    if entry.end - entry.start > limit:
      raise self._error(f'the entry {show(name)} has more than {limit:,} bytes', HOSTILE)
    return self._data[entry.start : entry.end]
