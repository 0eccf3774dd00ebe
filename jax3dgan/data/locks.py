"""Locks against other processes; a killed process releases its own."""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator

from jax3dgan.errors import UserError


@contextlib.contextmanager
def locked(path, busy: Callable[[], None]) -> Iterator[bool]:
  """Holds the lock of a file until the block or the process ends, however it does.

  Gives False where the system (Windows) or the file system has no locks.

  Args:
    path: of a file that stands for what is locked; it is made if it is missing and stays, empty.
    busy: called where another process has the lock: it raises to give up, or returns to wait, for
      as long as that process takes.

  Raises:
    UserError: a script without a guard is run again by the processes that it starts itself, which
      would wait for its lock, and it for them.
  """
  # A spawned process first imports the script it comes from; multiprocessing looks at the same.
  if getattr(multiprocessing.current_process(), '_inheriting', False):
    raise UserError(
      'This script starts processes, and each of them runs it again. Put what it does below '
      "`if __name__ == '__main__':`."
    )
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
