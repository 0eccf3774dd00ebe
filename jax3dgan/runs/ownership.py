"""One run at a time in a workdir.

Two runs in one folder mix their checkpoints. A run locks a file there, which names it; the system
releases the lock when the process ends, however it does. An NFS server may keep that of a machine
that went down: the lock of another machine counts only while its run also touches the file. Where
the system or the file system has no locks between machines (Windows, gcsfuse), nothing is noticed.
"""

import contextlib
import datetime
import json
import os
import pathlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import jax

from jax3dgan.devices import agreement
from jax3dgan.errors import UserError
from jax3dgan.runs import workdirs

FILE = '.running'  # in the workdir
BEAT = 5.0  # seconds between two touches


@contextlib.contextmanager
def owned(workdir: pathlib.Path, say: Callable[[str], None] = print) -> Iterator[None]:
  """In the block no other run works in `workdir`; called by all processes of this run.

  Args:
    workdir: The run's folder; made where it is missing.
    say: Called with one line while it is not certain that another run is there.

  Raises:
    UserError: Another run is there, in all processes.
  """
  handle = agreement.together(lambda: _claim(workdir, say) if jax.process_index() == 0 else None)
  if handle is None:
    yield
    return
  ended = threading.Event()
  beats = threading.Thread(target=_beat, args=(workdir / FILE, ended), daemon=True)
  beats.start()
  try:
    yield
  finally:
    ended.set()
    beats.join()
    with contextlib.suppress(OSError):
      os.ftruncate(handle, 0)  # the file stays: one that waits for the lock may have it open
    os.close(handle)


def _claim(workdir: pathlib.Path, say) -> int | None:
  """An open file with the lock, or None where there are no locks."""
  try:
    import fcntl
  except ImportError:
    return None
  path = workdir / FILE
  with workdirs.disk_errors(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
    # Network file systems lock only what is open for writing.
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
  try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    if _is_alive(path, say):
      os.close(handle)
      raise UserError(
        f'Another run is at work in {workdir} ({_owner(path)}). Wait for its end, stop it, or '
        'choose another --workdir.'
      ) from None
  except OSError:
    os.close(handle)
    return None
  with workdirs.disk_errors(workdir):
    os.ftruncate(handle, 0)
    started = datetime.datetime.now().isoformat(' ', 'seconds')
    record = {'host': socket.gethostname(), 'pid': os.getpid(), 'started': started}
    record['processes'] = _processes()
    os.pwrite(handle, json.dumps(record).encode(), 0)
  return handle


def _is_alive(path: pathlib.Path, say) -> bool:
  """Whether the run that has the lock of a file is there, also suspended, or touches it."""
  record = _record(path)
  if record.get('processes') == _processes() != '' and _exists(record.get('pid')):
    return True
  say(f'Another run may be at work in {path.parent} ({_owner(path)}); waiting for a sign of it ...')
  before, end = _touched(path), time.monotonic() + 3 * BEAT
  while time.monotonic() < end:
    time.sleep(BEAT / 10)
    if _touched(path) != before:
      return True
  return False


def _touched(path: pathlib.Path) -> int:
  """When the file was touched, in ns; it is opened since NFS then asks the server."""
  with workdirs.disk_errors(path.parent), open(path, 'rb') as file:
    return os.fstat(file.fileno()).st_mtime_ns


def _record(path: pathlib.Path) -> dict:
  """What a run says of itself in its file; {} where nothing can be read."""
  try:
    record = json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
  return record if isinstance(record, dict) else {}


def _owner(path: pathlib.Path) -> str:
  record = _record(path)
  try:
    return f'process {record["pid"]} of {record["host"]}, since {record["started"]}'
  except LookupError:
    return 'unknown'


def _processes() -> str:
  """Names the set of processes in which an id has one meaning: of this machine since its start, and
  of this container; '' where that is not known."""
  try:
    boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    return f'{boot} {os.readlink("/proc/self/ns/pid")}'
  except OSError:
    return ''


def _exists(pid) -> bool:
  try:
    os.kill(pid, 0)
  except (ProcessLookupError, TypeError):
    return False
  except OSError:  # of another user
    pass
  return True


def _beat(path: pathlib.Path, ended: threading.Event) -> None:
  while not ended.wait(BEAT):
    with contextlib.suppress(OSError):  # the disk may be full, or the folder gone
      os.utime(path)
