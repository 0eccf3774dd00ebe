"""Locks against other processes; a killed process releases its own."""

import contextlib
import os
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def locked(path, busy: Callable[[], None]) -> Iterator[bool]:
  """Holds the lock of a file until the block or the process ends, however it does.

  Gives False where the system (Windows) or the file system has no locks.

  Args:
    path: of a file that stands for what is locked; it is made if it is missing and stays, empty.
    busy: called where another process has the lock: it raises to give up, or returns to wait, for
      as long as that process takes.
  """
  try:
    import fcntl
  except ImportError:
    yield False
    return
  # Network file systems lock only what is open for writing.
  handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
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
