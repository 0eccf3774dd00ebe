"""Locks of files and folders against other processes; a killed process loses them."""

import contextlib
import os
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def held(path, busy: Callable[[], None]) -> Iterator[bool]:
  """Holds the lock of a file or folder until the block or the process ends, however it does.

  Gives False where the system (Windows) or the file system has no locks.

  Args:
    path: Of a file or folder that is there; nothing is written to it.
    busy: Called where another process holds the lock: it raises to give up, or returns to wait.
  """
  try:
    import fcntl
  except ImportError:
    yield False
    return
  handle = os.open(path, os.O_RDONLY)
  try:
    alone = True
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      busy()
      fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
      alone = False
    yield alone
  finally:
    os.close(handle)
