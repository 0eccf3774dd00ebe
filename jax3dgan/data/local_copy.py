"""A copy of a prepared folder on a disk of this host, made once, for data that is on a network.

`config.data.local_copy` names the folder that holds such copies; '' is for none. It is off by
default: whether a network is too slow depends on the step, a copy takes the room of the whole data
set, and each host needs it to itself. The processes of a host share one copy. It goes on where a
kill left off, and is compared with the checksums of the index.
"""

import functools
import hashlib
import json
import os
import shutil
import sys
import time

import tqdm
from etils import epath

from jax3dgan import atomic
from jax3dgan.data import mounts, reading, records, skips
from jax3dgan.data.builders import cached
from jax3dgan.errors import UserError

# Shards that are copied at the same time: one stream of a bucket gives some 100 MB/s.
_NUM_STREAMS = 8
_CHUNK = 2**22
# Room to leave on the disk, for what else the host writes there.
_MARGIN = 2**28
_REMEDY = 'Make room, name another folder (--config.data.local_copy=DIR), or leave it out.'


def ensure(source, folder: str) -> str:
  """Copies a prepared folder unless it has been copied; safe with several processes.

  Args:
    source: the folder of the shards.
    folder: holds the copies, each under a name made of the source's and of a hash of its index, so
      that other content is another copy.

  Returns:
    the folder to read: the copy, or the source where that is on a disk of this host already.

  Raises:
    UserError: no room, a folder that cannot be written, a source that cannot be read.
  """
  source = os.fspath(source)
  if not mounts.is_remote(source):
    _say_local(source)
    return source
  if (kind := mounts.kind(folder)) and mounts.is_remote(folder):
    skips.report(
      f'Warning: config.data.local_copy={folder} is no disk of this host either ({kind}): reads of '
      'the copy may be as slow. Name a folder on one.'
    )
  index = records.read_index(source)
  key = hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()[:12]
  name = os.path.basename(os.path.normpath(source)) or 'data'
  directory = os.path.join(os.path.abspath(os.path.expanduser(folder)), f'{name}-{key}')
  return cached.ensure(
    directory,
    lambda copy: cached.is_complete(copy, None, index, sizes_only=True),
    lambda work: _copy(source, work, index, directory),
    f'local copy of {source}',
    _REMEDY,
  )


@functools.cache  # one line a process, also where a data set is opened again
def _say_local(source):
  skips.report(f'{source} is on a disk of this host: config.data.local_copy makes no copy of it.')


def _copy(source, work, index, directory):
  """Copies what is not there yet; the index last."""
  os.makedirs(work, exist_ok=True)
  entries = index['shards']
  todo = [entry for entry in entries if not _is_whole(work, entry)]
  needed, total = (sum(entry['bytes'] for entry in each) for each in (todo, entries))
  # Of a shard that was being copied, the half is written over.
  free = shutil.disk_usage(work).free - _MARGIN
  if needed > free:
    raise UserError(
      f'The local copy of {source} needs {_gib(needed)} more in {os.path.dirname(directory)}, '
      f'where {_gib(max(free, 0))} can be used. {_REMEDY}'
    )
  skips.report(f'{source}: copied to {directory}, once ({_gib(needed)} of {_gib(total)}).')
  bar = tqdm.tqdm(
    total=total,
    initial=total - needed,
    desc='copy',
    unit='B',
    unit_scale=True,
    mininterval=0.2 if sys.stderr.isatty() else 10.0,
  )
  with bar, reading.threads(_NUM_STREAMS, 'copy') as pool:
    for future in [pool.submit(_copy_shard, source, work, entry) for entry in todo]:
      bar.update(future.result())
  atomic.write(os.path.join(work, records.INDEX), json.dumps(index).encode(), alone=True)


def _is_whole(work, entry):
  try:
    return records.is_whole(work, entry)
  except FileNotFoundError:
    return False


def _copy_shard(source, work, entry):
  """Copies a shard, again after errors of reading; returns its size."""
  path = epath.Path(source) / entry['file']
  before = None
  for pause in (*skips.PAUSES, None):
    try:
      found = _copy_file(path, os.path.join(work, entry['file']))
    except _ReadError as error:
      if pause is None:
        raise UserError(
          f'Cannot read {path}: {error}. Bring the file or its disk back, then run the same '
          'command: what has been copied is kept.'
        ) from error
      skips.report(f'Warning: cannot read {path}: {error}. Trying again in {pause:g} s.')
      time.sleep(pause)
      continue
    if found == (entry['bytes'], entry['sha256']):
      return entry['bytes']
    if found == before:  # twice the same: this is what the source has
      break
    before = found
  if found[0] != entry['bytes']:
    raise UserError(
      f'The shard {path} has {found[0]} bytes, not the {entry["bytes"]} of the index. '
      'Copy it again, or run the same prepare command again.'
    )
  # Training skips a few damaged records, wherever they are read from.
  skips.report(f'Warning: {path} is not what its index says: some of its records are damaged.')
  return entry['bytes']


class _ReadError(Exception):
  """The source cannot be read now; errors of writing stay OSErrors."""


def _copy_file(path, target):
  """Copies a file, atomically; returns its size and SHA-256."""
  digest, size = hashlib.sha256(), 0
  # The index, which makes the copy count, is not on the disk before the shards are.
  with atomic.replacing(target, alone=True) as temporary, open(temporary, 'wb') as out:
    for chunk in _chunks(path):
      digest.update(chunk)
      out.write(chunk)
      size += len(chunk)
  return size, digest.hexdigest()


def _chunks(path):
  try:
    with path.open('rb') as file:
      while chunk := file.read(_CHUNK):
        yield chunk
  except OSError as error:
    raise _ReadError(error.strerror or str(error)) from error


def _gib(num_bytes):
  return f'{num_bytes / 2**30:.2f} GiB'
