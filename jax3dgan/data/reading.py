"""Reading ahead on threads: many of them wait for reads, and one a core decodes.

On a network file system a read takes 20 to 100 ms, nearly all of it waiting. The records of a batch
and of the next ones are requested at the same time, so that threads / latency of them arrive in a
second: 64 threads and 50 ms give 1,280. On a local disk more threads than cores only hinder each
other. Results are in the order of the requests, whichever arrives first, and their number in memory
is bounded.
"""

import collections
import concurrent.futures
import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from jax3dgan.data import mounts
from jax3dgan.devices import cores as cores_lib
from jax3dgan.errors import UserError

# Threads that read from a network file system.
REMOTE_THREADS = 64
# More threads would only take memory: of each the record is requested in advance.
MAX_THREADS = 1024
# Batches that are complete while one is being used.
_AHEAD = 2
# Of Python's error where the system refuses one; a pool that has ended raises another.
_NO_THREAD = "can't start new thread"
# Seconds without a batch before this is reported; then again after two, four, ... times as long.
STALL_SECONDS = 60.0
# A program that is to stop waits so many seconds for an image: schedulers give it 30.
STOP_SECONDS = 5.0


def num_workers() -> int:
  """How many threads work at the same time: as many as cores, but leave some of a large host."""
  return min(16, cores_lib.cores())


def num_readers(path, wanted: int = 0) -> int:
  """How many threads read below a path: `wanted`, or by its file system where that is 0.

  Raises:
    UserError: `wanted` is no possible number.
  """
  if not 0 <= wanted <= MAX_THREADS:
    raise UserError(
      f'config.data.read_threads is {wanted}. Set it to a number up to {MAX_THREADS}, or to 0 '
      'for as many as suit the file system.'
    )
  return wanted or (REMOTE_THREADS if mounts.is_remote(path) else num_workers())


def num_ahead(batch_size: int, num_threads: int) -> int:
  """Batches to request in advance: `_AHEAD`, and what keeps all threads busy."""
  return _AHEAD + -(-num_threads // batch_size)


@contextlib.contextmanager
def threads(count: int, name: str) -> Iterator[concurrent.futures.ThreadPoolExecutor]:
  """A pool of threads; at the end nothing more is begun, and nothing that hangs is waited for, but
  by the interpreter when it exits."""
  pool = concurrent.futures.ThreadPoolExecutor(count, thread_name_prefix=name)
  # Bound here: when the interpreter exits, which ends the threads itself, modules lose their names.
  is_exiting = sys.is_finalizing
  try:
    yield pool
  finally:
    if not is_exiting():
      pool.shutdown(wait=False, cancel_futures=True)


def in_order(
  pool, function: Callable, batches: Iterable, ahead: int, stops: Callable = lambda: False
) -> Iterator[list]:
  """Yields the results of each batch, in order; ends early where the pool has ended.

  Args:
    pool: from `threads`.
    function: of the arguments of one element.
    batches: iterable, perhaps without end, of lists of tuples of arguments.
    ahead: how many batches are requested beside the one that is waited for.
    stops: () → whether the program is to stop: then a read that hangs is not waited for.

  Raises:
    what `function` raises, in its element's place.
    UserError: the system refuses threads, or the program is to stop.
  """
  queue = collections.deque()
  for batch in batches:
    try:
      queue.append([pool.submit(function, *arguments) for arguments in batch])
    except RuntimeError as error:
      if _NO_THREAD in str(error):
        raise UserError(
          f'No thread can be started to read images ({error}). Raise the limit of processes '
          '(ulimit -u, or that of the container), or read with fewer: --config.data.read_threads=4.'
        ) from error
      return
    if len(queue) > ahead:
      try:
        results = [_result(future, stops) for future in queue.popleft()]
      except concurrent.futures.CancelledError:
        return
      yield results
  while queue:
    yield [_result(future, stops) for future in queue.popleft()]


def _result(future, stops):
  """The result of a future; a UserError where it does not come and the program is to stop."""
  while not future.done():
    concurrent.futures.wait([future], STOP_SECONDS)
    if not future.done() and stops():
      raise UserError('An image was still being read when the program was to stop.')
  return future.result()


def examples(dataset, batches: Iterable[Iterable[int]], batch_size: int) -> Iterator[list]:
  """Yields lists of (image uint8 [h, w, 3], label float32 [25] or None), in order.

  Args:
    dataset: from `pipeline.open_dataset`; its `read_threads` read.
    batches: iterable, perhaps without end, of batches of numbers of images.
    batch_size: how many a batch has at most.

  Raises:
    UserError: as `Dataset.__getitem__`.
  """

  slots = threading.BoundedSemaphore(num_workers())

  def read(i):
    record = concurrent.futures.Future()
    try:
      record.set_result(dataset.record(i))
    except Exception as error:  # it is raised where the image is decoded, which also replaces it
      record.set_exception(error)
    with slots:
      return dataset.example(i, record)

  with threads(dataset.read_threads, 'read') as readers:
    numbers = ([(i,) for i in batch] for batch in batches)
    ahead = num_ahead(batch_size, dataset.read_threads)
    yield from in_order(readers, read, numbers, ahead, lambda: dataset.skips.stops())


def watched(iterator: Iterator, name: str, say: Callable[[str], None], seconds=None) -> Iterator:
  """Passes items on; reports to `say` where the next one takes `seconds`, and when it has come.

  Args:
    iterator: of batches of images.
    name: of the data set, for the message.
    say: called with one line, from another thread.
    seconds: how long; by default `STALL_SECONDS`.
  """
  seconds = STALL_SECONDS if seconds is None else seconds
  asked, closed = [None], threading.Event()

  def watch():
    since, due = None, seconds
    while not closed.wait(seconds / 60):
      now, before = time.monotonic(), since
      since = asked[0]
      if since != before:
        due = seconds
      if since is not None and now - since >= due:
        say(
          f'Warning: waiting for images from {name} for {now - since:.0f} s. Check its disk or '
          'network; --config.data.local_copy=DIR copies a prepared folder to a disk of this host.'
        )
        due *= 2

  threading.Thread(target=watch, name='stalls', daemon=True).start()
  try:
    while True:
      asked[0] = began = time.monotonic()
      try:
        item = next(iterator)
      except StopIteration:
        return
      finally:
        asked[0] = None
      if (waited := time.monotonic() - began) >= seconds:
        say(f'Images from {name} come again, after {waited:.0f} s.')
      yield item
  finally:
    closed.set()
    if hasattr(iterator, 'close'):
      iterator.close()
