"""The processes that render."""

import collections
import concurrent.futures
import multiprocessing
import os
import sys

import tqdm

from jax3dgan.data import workers

_CHUNK = 16  # Images at a time: little to hand over, and a bar that moves.
_FEW = 64  # So many are made sooner than processes start.


def run(task, numbers, total, num_workers=None):
  """Yields the examples of images, in order, and shows how far it is.

  Args:
    task: (`generate.Source`, split, resolution).
    numbers: of the images.
    total: images of the split, of which those that are not in numbers are finished.
    num_workers: processes; by default one for each core. Few images are made in this one.
  """
  chunks = [numbers[i : i + _CHUNK] for i in range(0, len(numbers), _CHUNK)]
  num_workers = num_workers or os.cpu_count() or 1
  num_workers = min(num_workers, len(chunks)) if len(numbers) > _FEW else 1
  made = _alone(task, chunks) if num_workers <= 1 else _together(task, chunks, num_workers)
  # A log gets a line now and then, a terminal a bar that moves.
  every = 0.2 if sys.stderr.isatty() else 10.0
  with tqdm.tqdm(
    total=total,
    initial=total - len(numbers),
    desc=f'faces {task[1]}',
    unit='img',
    mininterval=every,
    disable=not numbers,
  ) as bar:
    for examples in made:
      for example in examples:
        yield example
        bar.update()


def _alone(task, chunks):
  for chunk in chunks:
    yield _render(task, chunk)


def _together(task, chunks, num_workers):
  # Spawned, not forked: a fork of a process with threads (JAX) may hang.
  context = multiprocessing.get_context('spawn')
  pool = concurrent.futures.ProcessPoolExecutor(num_workers, context, workers.follow_parent)
  pending, remaining = collections.deque(), iter(chunks)
  given = collections.deque()
  try:
    while True:
      # A few for each process: the results of all at once might not fit into memory.
      while len(pending) < 4 * num_workers and (chunk := next(remaining, None)):
        given.append(chunk)
        pending.append(pool.submit(_render, task, chunk))
      if not pending:
        return
      examples = pending[0].result()
      pending.popleft()
      given.popleft()
      yield examples
  except concurrent.futures.process.BrokenProcessPool:
    # For want of memory, or where a script that is run again in each process starts this anew.
    print('faces: a process was killed; going on in this one alone', file=sys.stderr)
    for chunk in (*given, *remaining):
      yield _render(task, chunk)
  finally:
    pool.shutdown(cancel_futures=True)


def _render(task, numbers):
  # Imported here, as `generate` imports this module.
  from jax3dgan.data.builders.ict_faces import generate, model

  source, split, resolution = task
  faces = model.load(source.folder)
  return [generate.example(faces, source, split, i, resolution) for i in numbers]
