"""Data sets that are made at first use and kept in a cache, as folders of shards.

One process makes a data set while the others wait for it. It appears in its place whole or not at
all: until then it is in a folder beside, where an interrupted run finds its finished shards again.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterable

import numpy as np
import tqdm

from jax3dgan.data import labels, locks, records, unfinished
from jax3dgan.errors import UserError

_REMEDY = 'Make room, or set JAX3DGAN_CACHE or --config.data.cache_dir to another folder.'


def ensure(
  directory: str,
  is_complete: Callable[[str], bool],
  make: Callable[[str], None],
  what: str,
  remedy: str = _REMEDY,
) -> str:
  """Makes a data set unless it is in the cache; safe with several processes and machines.

  Args:
    directory: its place in the cache.
    is_complete: of a folder, whether it holds all of the data set.
    make: fills a folder, in which an interrupted call may have left finished shards.
    what: the data, for messages.
    remedy: for the message where it cannot be written.

  Returns:
    the directory.

  Raises:
    UserError: the cache cannot be written.
  """
  if is_complete(directory):
    return directory
  parent, name = os.path.split(directory)

  def wait():
    print(f'{what}: waiting for another process, which makes {name}', file=sys.stderr, flush=True)

  try:
    os.makedirs(parent, exist_ok=True)
    with locks.locked(os.path.join(parent, f'.{name}.lock'), wait) as alone:
      if is_complete(directory):  # another process has made it meanwhile
        return directory
      if os.path.isdir(directory):
        print(f'{what}: {directory} is damaged, it is made again', file=sys.stderr)
      # Without locks each process makes its own, and the first one counts.
      suffix = 'partial' if alone else f'{socket.gethostname()}-{os.getpid()}'
      work = os.path.join(parent, f'.{name}.{suffix}')
      make(work)
      if alone or not is_complete(directory):
        shutil.rmtree(directory, ignore_errors=True)  # there is one only where it is damaged
        os.rename(work, directory)
      else:
        shutil.rmtree(work, ignore_errors=True)
  except OSError as error:
    raise UserError(
      f'The {what} cannot be written to {directory}: {error.strerror or error}. {remedy}'
    ) from error
  return directory


def is_complete(directory: str, num_images: int | None, made_by: dict, sizes_only=False) -> bool:
  """Whether a folder holds all shards, down to the last bit.

  Args:
    directory: the folder.
    num_images: how many images it should hold; None for as many as its index says.
    made_by: fields that its index should have.
    sizes_only: compare the sizes of the shards instead of their checksums, for large data; records
      have checksums of their own.
  """
  if not os.path.isdir(directory):
    return False
  try:
    shards = records.Shards(directory)  # compares the sizes
    whole = {name: shards.index.get(name) for name in made_by} == made_by
    whole &= num_images is None or len(shards) == num_images
    shards.close()
    return whole and (
      sizes_only or all(records.is_whole(directory, entry) for entry in shards.index['shards'])
    )
  # An index that is JSON but not ours fails in as many ways as there are fields.
  except (UserError, OSError, KeyError, TypeError, ValueError):
    return False


def write(
  directory: str,
  examples: Callable[[list[int]], Iterable[dict]],
  num_images: int,
  *,
  resolution: int,
  shard_size: int,
  made_by: dict,
  what: str,
) -> dict:
  """Writes a data set whose image i depends on i and `made_by` alone; keeps finished shards.

  Args:
    directory: made if need be.
    examples: of the numbers of images, their examples in order, see `records.write_dataset`.
    num_images: how many.
    resolution: of the images, in pixels.
    shard_size: images a shard.
    made_by: all that decides the content, as fields of the index.
    what: the data, for the progress bar.

  Returns:
    the index, a dict.
  """
  os.makedirs(directory, exist_ok=True)
  index = os.path.join(directory, records.INDEX)
  if os.path.exists(index):
    os.remove(index)  # not true again before the new one is written
  plan = [range(i, min(i + shard_size, num_images)) for i in range(0, num_images, shard_size)]
  keys = [_key(made_by, resolution, numbers) for numbers in plan]
  done = {k: unfinished.finished(directory, k, key) for k, key in enumerate(keys)}
  todo = [k for k in done if done[k] is None]
  numbers = [i for k in todo for i in plan[k]]
  made = iter(examples(numbers))
  # A log gets a line now and then, a terminal a bar that moves.
  every = 0.2 if sys.stderr.isatty() else 10.0
  bar = tqdm.tqdm(
    total=num_images,
    initial=num_images - len(numbers),
    desc=what,
    unit='img',
    mininterval=every,
    disable=not numbers,
  )
  with bar, contextlib.ExitStack() as stack:
    if hasattr(made, 'close'):  # a generator with threads or processes
      stack.callback(made.close)
    for k in todo:
      results = ((None, [next(made)], None, '') for _ in unfinished.ticking(plan[k], bar))
      done[k] = unfinished.write_shard(directory, k, keys[k], results)
  total = labels.sums(np.zeros((0, labels.NUM_NUMBERS)))
  total = total + sum(np.array(each['label_sums']) for each in done.values())
  extra = {**made_by, 'report': {'images': num_images, 'left_out': 0, 'causes': {}}}
  entries = [each['shard'] for each in done.values()]
  return records.write_index(directory, entries, total, resolution, extra)


def _key(made_by, resolution, numbers):
  """What a shard has to be made of, as a hash."""
  content = {**made_by, 'resolution': resolution, 'numbers': [numbers.start, numbers.stop]}
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
