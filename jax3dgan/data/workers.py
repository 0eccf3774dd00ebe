"""Processes that compute in order; those of `prepare` decode, crop, resize and encode images."""

import collections
import concurrent.futures
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
import time

import numpy as np

from jax3dgan.data import images, labels, records, skips, sources
from jax3dgan.errors import UserError

# Tasks sent at a time: enough to hide the transfer, few enough for a smooth bar.
_CHUNK = 16
_source_and_options = None


def run(opener, options, tasks, num_workers=None):
  """Processes images in order.

  Args:
    opener: arguments of `sources.open_source`: each process opens its own.
    options: `prepare.Options`.
    tasks: list of (number of the image in the source, its name).
    num_workers: number of processes; 1 is this one.

  Yields:
    (name, examples, cause, digest) for each task, in order: examples as `records.write_dataset`
    takes them and no cause, or no example and the cause; and a hash of what was read.

  Raises:
    UserError: where a process was killed, or the source has changed meanwhile.
  """
  chunks = [tasks[i : i + _CHUNK] for i in range(0, len(tasks), _CHUNK)]
  num_workers = min(num_workers or os.cpu_count() or 1, len(chunks))
  if num_workers <= 1:
    source = sources.open_source(*opener) if chunks else None
    for chunk in chunks:
      yield from _process_chunk(chunk, (source, options))
    return
  for results in in_order(_process_chunk, chunks, num_workers, _open, (opener, options)):
    yield from results


def in_order(function, chunks, num_workers, initializer=None, initargs=(), alone_without=''):
  """Yields `function(chunk)` of each chunk, in order, computed by processes.

  Args:
    function: that another process can import.
    chunks: list of its arguments.
    num_workers: number of processes; 1 is this one.
    initializer, initargs: called once in each process.
    alone_without: what is computed, for a message, where this process may compute the rest alone
      after another one was killed; else that is an error.

  Raises:
    UserError: a process was killed.
  """
  num_workers = min(num_workers, len(chunks))
  if num_workers <= 1:
    yield from map(function, chunks)
    return
  # Spawned, not forked: a fork of a process with threads (JAX, TensorFlow) may hang.
  context = multiprocessing.get_context('spawn')
  pool = concurrent.futures.ProcessPoolExecutor(
    num_workers, mp_context=context, initializer=_initialize, initargs=(initializer, initargs)
  )
  pending, next_chunk, done = collections.deque(), 0, 0
  try:
    while done < len(chunks):
      # A few for each process: the results of all at once might not fit into memory.
      while len(pending) < 4 * num_workers and next_chunk < len(chunks):
        pending.append(pool.submit(function, chunks[next_chunk]))
        next_chunk += 1
      result = pending[0].result()
      pending.popleft()
      done += 1
      yield result
  except concurrent.futures.process.BrokenProcessPool as error:
    if not alone_without:
      raise UserError(
        'A worker process was killed, perhaps for want of memory. '
        'Run the same command again with fewer --workers: finished shards are kept.'
      ) from error
    # Also where a script without a guard of `__main__` is run again in each process.
    print(f'{alone_without}: a process was killed; this one continues alone', file=sys.stderr)
    yield from map(function, chunks[done:])
  finally:
    pool.shutdown(cancel_futures=True)


def _follow_parent():
  """Makes a worker process end with its parent, and leave Ctrl-C to it."""
  # Ctrl-C reaches the workers too; the parent alone has something to say about it.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  # A worker whose parent was killed would never end.
  parent = multiprocessing.parent_process().sentinel

  def leave():
    multiprocessing.connection.wait([parent])
    os._exit(1)

  threading.Thread(target=leave, daemon=True).start()


def _initialize(initializer, initargs):
  _follow_parent()
  if initializer is not None:
    initializer(*initargs)


def _open(opener, options):
  global _source_and_options
  _source_and_options = sources.open_source(*opener), options


def _process_chunk(chunk, source_and_options=None):
  source, options = source_and_options or _source_and_options
  return [(name, *_process(source, options, i, name)) for i, name in chunk]


def _process(source, options, i, name):
  """(examples, cause, digest) of one image."""
  if i >= len(source) or source.describe(i) != name:
    raise UserError('The source has changed while it was read. Run again when it is at rest.')
  content = ''
  try:
    record = _read(source, i, name)
    content = digest(record.image)
    image = images.decode(record.image)
    box = images.crop_box(*image.shape[:2], options.crop)
    opacity = _opacity(record.image, image) if options.masks else None
    label = record.label if options.use_labels else None
    if label is not None:
      label = labels.crop(label, *image.shape[:2], box)
    elif options.use_labels and source.labelled:
      raise images.ImageError('has no label')
    size = (options.resolution, options.crop, options.resize, options.enlarge)
    image = images.crop_and_resize(image, *size)
    mask = None if opacity is None else images.crop_and_resize(opacity, *size)[..., 0]
  except images.OutOfMemoryError as error:
    raise UserError(
      f'{name} cannot be decoded: {error}. Run the same command again with fewer --workers: '
      'finished shards are kept.'
    ) from error
  except images.ImageError as error:
    return [], str(error), content

  def example(turned, label, key):
    extras = {} if mask is None else {records.OPACITY: images.encode_png(turned(mask))}
    png = images.encode_png(turned(image))
    return {'image': png, 'label': label, 'key': key, 'extras': extras}

  examples = [example(lambda x: x, label, record.key)]
  if options.mirror:
    mirrored = None if label is None else labels.mirror(label)
    examples.append(example(lambda x: x[:, ::-1], mirrored, record.key + '#mirrored'))
  return examples, None, content


def _opacity(data, on_white):
  """uint8 [h, w, 3], the same in each channel, of an image whose decoding on white is given.

  Raises:
    ImageError: nothing in it is transparent.
  """
  on_black = images.decode(data, 'black')
  through = (on_white.astype(np.int16) - on_black).max(-1, keepdims=True)  # 255 (1 − α)
  if not through.any():
    raise images.ImageError('nothing in it is transparent, so it has no mask')
  return np.repeat((255 - through).astype(np.uint8), 3, axis=-1)


def digest(data) -> str:
  """A hash of a file's content: it is compared, not trusted."""
  return hashlib.sha256(data).hexdigest()[:16]


def _read(source, i, name):
  """Record i; a network that is away for a while must not leave out what it holds."""
  pauses = iter(skips.PAUSES)
  while True:
    try:
      return source.read(i)
    except sources.UnreachableImageError as error:
      pause = next(pauses, None)
      if pause is None:
        raise UserError(
          f'{name} cannot be read: {error}. Bring its disk back, or remove the file, then run the '
          'same command: finished shards are kept.'
        ) from error
      skips.report(f'Warning: {name} cannot be read: {error}. Trying again in {pause:g} s.')
      time.sleep(pause)
