"""Reading a checkpoint where files, file systems and memory fail: which failure is damage.

Only damage may cost a checkpoint. A failure of the file system (a bucket or an NFS server that does
not answer) is waited for and then ends the run; so do missing permissions and too little memory.
The errors of the libraries do not tell them apart: Orbax reads metadata that it may not open as a
tree without arrays, and TensorStore raises ValueErrors. So a failure is damage only if every file
of the checkpoint can be read to its end, and reading the checkpoint fails again.
"""

import contextlib
import enum
import errno
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures

from jax3dgan.errors import UserError, first_line

# Seconds between the attempts after failures of the file system: an outage of a minute and a half
# passes.
DELAYS = (1, 2, 4, 8, 16, 30, 30)
# Seconds after which damage is read again: a cache of a network file system may be older than the
# files.
CONFIRMATION = 0.5
# Seconds: between two lines about a file system that does not answer, and until it is given up, all
# attempts together.
PATIENCE = 30
LIMIT = 1800

_READ = 4 << 20  # bytes at once
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # also of a file that is damaged
_DENIED = (errno.EACCES, errno.EPERM)
_OS_NUMBER = re.compile(r"\[os='(\d+)'\]")  # in the texts of TensorStore's errors
_CODE = re.compile(r'^([A-Z_]{5,}): ')
_TRANSIENT_CODES = ('UNAVAILABLE', 'DEADLINE_EXCEEDED', 'ABORTED', 'CANCELLED')
_DENIED_CODES = ('PERMISSION_DENIED', 'UNAUTHENTICATED')
# Of a program or an installation: they say nothing about the files.
_OF_PROGRAMS = (ImportError, NotImplementedError, NameError, RuntimeError)


class Damaged(Exception):
  """A checkpoint whose files differ from what was saved."""


class Kind(enum.Enum):
  """What a failure is due to."""

  DAMAGE = 'damage'
  FILE_SYSTEM = 'file system'
  DENIED = 'denied'
  MEMORY = 'memory'
  PROGRAM = 'program'


def classify(error: Exception, folder) -> tuple[Kind, str]:
  """The kind of a failure to read the checkpoint in `folder`, and its cause in a few words.

  Reads all files of the checkpoint if the error leaves the kind open.
  """
  for link in _chain(error):
    if found := of_error(link):
      return found
  try:
    _read_all(folder)
  except (OSError, MemoryError) as found_there:
    if found := of_error(found_there):
      return found
  kind = Kind.PROGRAM if isinstance(error, _OF_PROGRAMS) else Kind.DAMAGE
  return kind, first_line(error)


def of_error(error: BaseException) -> tuple[Kind, str] | None:
  """The kind that an error alone shows, and its cause; None if the files have to be read."""
  text = str(error)
  number = getattr(error, 'errno', None) if isinstance(error, OSError) else None
  if match := _OS_NUMBER.search(text):
    number = int(match[1])
  code = match[1] if (match := _CODE.match(text)) else ''
  if number in _MISSING:
    return None
  if isinstance(error, MemoryError) or number == errno.ENOMEM:
    return Kind.MEMORY, 'out of memory'
  if number in _DENIED or code in _DENIED_CODES:
    return Kind.DENIED, os.strerror(number or errno.EACCES)
  if number is not None:
    return Kind.FILE_SYSTEM, os.strerror(number)
  if code == 'RESOURCE_EXHAUSTED':
    return Kind.MEMORY, first_line(error)
  if code in _TRANSIENT_CODES or isinstance(error, OSError):
    return Kind.FILE_SYSTEM, first_line(error)
  return None


def _chain(error: BaseException) -> Iterator[BaseException]:
  """An error, those that it is a group of, and those that led to it."""
  pending, known = [error], set()
  while pending:
    link = pending.pop()
    if link is None or id(link) in known:
      continue
    known.add(id(link))
    yield link
    pending += [link.__context__, link.__cause__, *getattr(link, 'exceptions', ())]


def _read_all(folder) -> None:
  """Reads every file below `folder`; OSError for the first that cannot be read."""

  def fail(error):
    raise error

  for parent, _, names in os.walk(folder, onerror=fail):
    for name in names:
      try:
        with open(os.path.join(parent, name), 'rb') as file:
          while file.read(_READ):
            pass
      except OSError as error:
        if error.errno not in _MISSING:
          raise


def read(work: Callable, folder, say: Callable[[str], None] = print):
  """Returns `work()`, which reads the checkpoint in `folder`; waits while the file system fails.

  Args:
    work: Reads and verifies. It raises `Damaged`, a UserError for what a user can mend, or whatever
      the libraries raise.
    folder: The checkpoint's.
    say: Called with one line for each attempt that failed, and while nothing answers.

  Raises:
    Damaged: Twice, while all its files can be read.
    UserError: Of `work`; or the file system still fails after the last attempt, or access is
      denied, or there is not enough memory.
    Exception: That of `work`, where it is due to the program.
  """
  _ignore_closed_loops()
  began, damaged = time.monotonic(), False
  for delay in (*DELAYS, None):
    try:
      with quiet_tasks():
        return _within(LIMIT - (time.monotonic() - began), work, folder, say)
    except UserError:
      raise
    except Exception as error:
      kind, cause = classify(error, folder)
      if kind is Kind.PROGRAM:
        raise
      if kind is Kind.DAMAGE:
        if damaged or delay is None:
          raise Damaged(cause) from error
        damaged = True
        time.sleep(CONFIRMATION)
        continue
      gave_up = isinstance(error, _NoAnswer)
      if kind is Kind.FILE_SYSTEM and delay is not None and not gave_up:
        say(f'{folder} cannot be read: {cause}. Trying again in {delay} s ...')
        time.sleep(delay)
        continue
      raise _explained(kind, cause, folder, time.monotonic() - began) from error


def _explained(kind: Kind, cause: str, folder, seconds: float) -> UserError:
  if kind is Kind.DENIED:
    reason = f'there is no permission to read it ({cause})'
    remedy = f'Become the user who owns it, or let all users read it: chmod -R a+rX {folder}'
  elif kind is Kind.MEMORY:
    reason = f'there is not enough memory ({cause})'
    remedy = 'End other programs on this machine, or use one with more memory'
  else:
    reason = f'the file system fails ({cause}), for {seconds:.0f} s so far'
    remedy = 'Check the disk or the connection to it, then run the same command'
  return UserError(f'{folder} cannot be read: {reason}. It is left as it is. {remedy}.')


class _NoAnswer(OSError):
  """Reading takes longer than anything that still moves."""


def _within(limit: float, work: Callable, folder, say):
  """`work()` in another thread, for at most `limit` seconds: a network file system may block."""
  result = futures.Future()

  def run():
    try:
      result.set_result(work())
    except BaseException as error:
      result.set_exception(error)

  threading.Thread(target=run, name='read checkpoint', daemon=True).start()
  waited = 0
  while True:
    try:
      return result.result(max(0, min(PATIENCE, limit - waited)))
    except futures.TimeoutError:
      if result.done():
        return result.result()  # also where the time-out is the work's own
      waited += PATIENCE
      if waited >= limit:
        raise _NoAnswer(errno.ETIMEDOUT, 'no answer') from None
      say(f'Still reading {folder} after {waited:g} s ...')


@contextlib.contextmanager
def quiet_tasks():
  """Without the stack that asyncio logs for each task that ran beside one that failed."""
  logger = logging.getLogger('asyncio')
  level = logger.level
  logger.setLevel(logging.CRITICAL)
  try:
    yield
  finally:
    logger.setLevel(level)


_CLOSED_LOOP = 'Event loop is closed'


def _ignore_closed_loops() -> None:
  """Drops the stacks of reads that end, in TensorStore's threads, after the one that failed."""
  plain = sys.unraisablehook
  if getattr(plain, 'drops', None) == _CLOSED_LOOP:
    return

  def hook(unraisable):
    error = unraisable.exc_value
    if not (isinstance(error, RuntimeError) and str(error) == _CLOSED_LOOP):
      plain(unraisable)

  hook.drops = _CLOSED_LOOP
  sys.unraisablehook = hook
