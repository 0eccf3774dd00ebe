"""Entries of a zip, read by many threads at once: `zipfile` shares one position among them.

PKWARE's APPNOTE.TXT, 4.3.7, defines the header in front of an entry's bytes.
"""

import os
import struct
import zipfile
import zlib

from jax3dgan.data import handles

_HEADER = struct.Struct('<4s22xHH')  # signature, ..., lengths of the name and of the extra field
# Beside an entry its extra field is read, whose length the zip's directory does not have: mostly
# time stamps and owners of 28 bytes. The directory behind all entries is longer than this.
_EXTRA = 64


def is_plain(entry: zipfile.ZipInfo) -> bool:
  """Whether an entry can be read by `Entries`: stored or deflated, and not encrypted."""
  plain = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
  return plain and not entry.flag_bits & 0x1


def name(entry: zipfile.ZipInfo) -> str:
  """The name of an entry. macOS writes UTF-8 without saying so, which reads as code page
  437; Windows may write backslashes."""
  text = entry.filename.replace('\\', '/')
  if entry.flag_bits & 0x800 or text.isascii():
    return text
  try:
    return text.encode('cp437').decode('utf-8')
  except UnicodeError:
    return text


class Entries:
  """The entries of a zip; safe with threads.

  Args:
    path: the zip.
  """

  def __init__(self, path):
    self._path = os.fspath(path)
    self._files = handles.Handles(lambda path: open(path, 'rb'))
    self.close = self._files.close
    self._size = None

  def read(self, entry: zipfile.ZipInfo, limit: int) -> bytes:
    """The content of an entry, cut off after `limit` bytes.

    Raises:
      zipfile.BadZipFile, zlib.error: it is damaged, at two reads.
      OSError: it cannot be read now.
    """
    try:
      return self._content(entry, limit)
    except (zipfile.BadZipFile, zlib.error):
      self._files.forget(self._path)
      return self._content(entry, limit)

  def _content(self, entry, limit):
    if self._size is None:
      self._size = os.path.getsize(self._path)
    begin, size = entry.header_offset, min(entry.compress_size, limit)
    guess = begin + _HEADER.size + len(entry.orig_filename.encode()) + _EXTRA + size
    data = self._between(begin, min(guess, self._size))
    if len(data) < _HEADER.size:
      raise zipfile.BadZipFile('an entry behind the end')
    signature, name, extra = _HEADER.unpack_from(data)
    if signature != b'PK\3\4':
      raise zipfile.BadZipFile('no header where an entry should be')
    first = _HEADER.size + name + extra
    if len(data) < first + size:
      end = begin + first + size
      if end > self._size:
        raise zipfile.BadZipFile('an entry beyond the end')
      data += self._between(begin + len(data), end)
    content = data[first : first + size]
    if entry.compress_type == zipfile.ZIP_DEFLATED:
      content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, limit)
    content = content[:limit]
    if len(content) < limit:
      if len(content) != entry.file_size or zlib.crc32(content) != entry.CRC:
        raise zipfile.BadZipFile('wrong checksum')
    return content

  def _between(self, begin, end):
    return self._files.read(self._path, begin, max(end - begin, 0))
