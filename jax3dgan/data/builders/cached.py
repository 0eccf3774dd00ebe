"""Data sets that are made at first use: is the folder whole, and who is making it."""

import contextlib
import os
import sys
from collections.abc import Iterator

from jax3dgan.data import locks, records
from jax3dgan.errors import UserError


def is_complete(directory, num_images: int, made_by: dict, what: str) -> bool:
  """Whether a folder holds all shards, down to the last bit; says so where it is damaged.

  Args:
    directory: The folder.
    num_images: How many it should hold.
    made_by: What its index should say of its making.
    what: What it is, for people.
  """
  if not os.path.isdir(directory):
    return False
  try:
    shards = records.Shards(directory)
    same = {name: shards.index.get(name) for name in made_by} == made_by
    whole = all(records.is_whole(directory, entry) for entry in shards.index['shards'])
    complete = len(shards) == num_images and same and whole
    shards.close()
  # An index that is JSON but not ours fails in as many ways as there are fields.
  except (UserError, OSError, KeyError, TypeError, ValueError):
    complete = False
  if not complete:
    print(f'{what}: {directory} is damaged, it is made again', file=sys.stderr)
  return complete


@contextlib.contextmanager
def locked(parent, name: str, what: str) -> Iterator[bool]:
  """Holds the lock of a cached folder, waiting for it; a killed process loses it.

  Gives False where the system or the file system has no locks.
  """
  path = os.path.join(parent, f'.{name}.lock')
  say = f'{what}: waiting for another process that makes {name}'
  open(path, 'a').close()
  with locks.held(path, lambda: print(say, file=sys.stderr)) as alone:
    yield alone
