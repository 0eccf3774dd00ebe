"""Open files that many threads read from at once: not too many, and reopened after errors."""

import collections
import errno
import io
import os
import threading
from collections.abc import Callable

# A large data set has thousands of shards; a process may usually open 1,024 files.
MAX_OPEN = 256


class _Handle:
  """An open file, and how many threads are reading from it."""

  def __init__(self):
    self.lock = threading.Lock()
    self.file = None
    self.num_readers = 0


class Handles:
  """Files that are opened at their first read; safe with threads.

  Args:
    open_file: opens a file, a binary one that can seek, of its key.
  """

  def __init__(self, open_file: Callable):
    self._open_file = open_file
    self._handles = collections.OrderedDict()  # the least recently used one first
    self._unused = []  # to be closed when nobody reads from them any more
    self._lock = threading.Lock()

  def read(self, key, begin: int, size: int) -> bytes:
    """The bytes [begin, begin + size) of a file.

    Raises:
      OSError: they cannot be read now; the next read opens the file again.
    """
    handle = self._acquire(key)
    try:
      return _read(self._opened(handle, key), handle.lock, begin, size)
    except OSError:
      # The handle of a file that was away stays stale.
      self._drop(key, handle)
      raise
    finally:
      self._release(handle)

  def forget(self, key) -> None:
    """The next read opens the file again."""
    with self._lock:
      if key in self._handles:
        self._unused.append(self._handles.pop(key))

  def close(self) -> None:
    """Closes the files, those in use after their read; they open again at the next read."""
    with self._lock:
      self._unused += self._handles.values()
      self._handles.clear()
      self._close_unused()

  def __del__(self):
    self.close()

  def _acquire(self, key):
    with self._lock:
      handle = self._handles.get(key)
      if handle is None:
        handle = self._handles[key] = _Handle()
      self._handles.move_to_end(key)
      handle.num_readers += 1
      while len(self._handles) > MAX_OPEN:
        self._unused.append(self._handles.popitem(last=False)[1])
      self._close_unused()
      return handle

  def _release(self, handle):
    with self._lock:
      handle.num_readers -= 1
      self._close_unused()

  def _drop(self, key, handle):
    with self._lock:
      if self._handles.get(key) is handle:
        self._unused.append(self._handles.pop(key))

  def _close_unused(self):
    for handle in [each for each in self._unused if not each.num_readers]:
      self._unused.remove(handle)
      if handle.file is not None:
        try:
          handle.file.close()
        except OSError:  # of a file that is away
          pass

  def _opened(self, handle, key):
    if handle.file is None:
      with handle.lock:  # opening waits for the network too: only for this file
        if handle.file is None:
          handle.file = self._open_file(key)
    return handle.file


def _number(file) -> int | None:
  """The system's number of a file; None of one that is none of the system's, as in a bucket."""
  try:
    return file.fileno()
  except (AttributeError, io.UnsupportedOperation):
    return None


def _read(file, lock, begin, size):
  number = _number(file)
  if number is not None and hasattr(os, 'pread'):
    # Of a network file system a read may give less than there is.
    parts, done = [], 0
    while done < size:
      part = os.pread(number, size - done, begin + done)
      if not part:
        break
      parts.append(part)
      done += len(part)
    data = parts[0] if len(parts) == 1 else b''.join(parts)
  else:
    with lock:
      file.seek(begin)
      data = file.read(size)
  if len(data) < size:
    # The file had its full size when the data set was opened.
    raise OSError(errno.EIO, f'it ends after {begin + len(data)} bytes')
  return data
