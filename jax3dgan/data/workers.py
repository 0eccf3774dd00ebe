"""The processes that decode, crop, resize and encode for `prepare`."""

import collections
import concurrent.futures
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading

from jax3dgan.data import images, labels, sources
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
    (name, examples, cause) for each task, in order: examples as `records.write_dataset` takes them
    and no cause, or no example and the cause.

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
  # Spawned, not forked: a fork of a process with threads (JAX, TensorFlow) may hang.
  context = multiprocessing.get_context('spawn')
  pool = concurrent.futures.ProcessPoolExecutor(
    num_workers, mp_context=context, initializer=_initialize, initargs=(opener, options)
  )
  pending = collections.deque()
  remaining = iter(chunks)
  try:
    while True:
      # A few for each process: the results of all at once might not fit into memory.
      while len(pending) < 4 * num_workers and (chunk := next(remaining, None)):
        pending.append(pool.submit(_process_chunk, chunk))
      if not pending:
        return
      yield from pending.popleft().result()
  except concurrent.futures.process.BrokenProcessPool as error:
    raise UserError(
      'A worker process was killed, perhaps for want of memory. '
      'Run the same command again with fewer --workers: finished shards are kept.'
    ) from error
  finally:
    pool.shutdown(cancel_futures=True)


def follow_parent():
  """Makes a worker process end with its parent, and leave Ctrl-C to it."""
  # Ctrl-C reaches the workers too; the parent alone has something to say about it.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  # A worker whose parent was killed would wait for work for ever.
  parent = multiprocessing.parent_process().sentinel

  def leave():
    multiprocessing.connection.wait([parent])
    os._exit(1)

  threading.Thread(target=leave, daemon=True).start()


def _initialize(opener, options):
  global _source_and_options
  follow_parent()
  _source_and_options = sources.open_source(*opener), options


def _process_chunk(chunk, source_and_options=None):
  source, options = source_and_options or _source_and_options
  return [(name, *_process(source, options, i, name)) for i, name in chunk]


def _process(source, options, i, name):
  """(examples, cause) of one image."""
  if i >= len(source) or source.describe(i) != name:
    raise UserError('The source has changed while it was read. Run again when it is at rest.')
  try:
    record = source.read(i)
    image = images.decode(record.image)
    box = images.crop_box(*image.shape[:2], options.crop)
    label = record.label if options.use_labels else None
    if label is not None:
      label = labels.crop(label, *image.shape[:2], box)
    elif options.use_labels and source.labelled:
      raise images.ImageError('has no label')
    image = images.crop_and_resize(image, options.resolution, options.crop, options.resize)
  except images.ImageError as error:
    return [], str(error)
  examples = [{'image': images.encode_png(image), 'label': label, 'key': record.key}]
  if options.mirror:
    mirrored = None if label is None else labels.mirror(label)
    png = images.encode_png(image[:, ::-1])
    examples.append({'image': png, 'label': mirrored, 'key': record.key + '#mirrored'})
  return examples, None
