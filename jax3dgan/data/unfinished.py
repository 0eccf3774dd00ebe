"""A folder of shards that is being written: its settings, finished shards, what was left out."""

import contextlib
import errno
import hashlib
import json
import os

import numpy as np

from jax3dgan.data import images, labels, locks, records
from jax3dgan.errors import UserError

SETTINGS = 'prepare.json'
REPORT = 'report.json'
# More than this part left out is no accident but the wrong folder or a broken copy.
MAX_SKIPPED = 0.1


def claim(out, settings):
  """Notes the settings in the folder; UserError where it holds a data set of others."""
  path = os.path.join(out, SETTINGS)
  if os.path.exists(path):
    try:
      with open(path, 'rb') as file:
        before = {'resize': images.RESIZES[0]} | json.loads(file.read())['settings']
    except (ValueError, KeyError, TypeError) as error:
      raise UserError(f'{path} is damaged. Delete {out}, or choose another --out.') from error
    changed = [name for name in settings if before.get(name) != settings[name]]
    if changed:
      what = ', '.join(
        'other images or labels' if name == 'fingerprint' else f'{name} {before.get(name)}'
        for name in changed
        if name != 'files' or 'fingerprint' not in changed
      )
      raise UserError(
        f'{out} was begun with other settings ({what}). Choose another --out, or delete it.'
      )
  elif os.path.exists(os.path.join(out, records.INDEX)):
    raise UserError(f'{out} holds another data set. Choose another --out, or delete it.')
  _write_json(path, {'settings': settings})
  if settings['resize'] == images.RESIZES[0]:  # as before there was a choice
    settings = {name: value for name, value in settings.items() if name != 'resize'}
  return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _write_json(path, value):
  records.write_atomically(path, json.dumps(value).encode())


@contextlib.contextmanager
def locked(out):
  """Refuses a second run that writes the folder; a killed process releases the lock."""

  def busy():
    raise UserError(f'Another run is writing {out}. Wait for it, or choose another --out.')

  os.makedirs(out, exist_ok=True)
  # Where there are no locks, two runs write the same bytes.
  with locks.locked(os.path.join(out, '.lock'), busy):
    yield


def ticking(items, bar):
  """Passes items on, each followed by a step of the progress bar."""
  for item in items:
    yield item
    bar.update()


@contextlib.contextmanager
def explained(out):
  """Turns what the file system refuses into an error with a remedy."""
  try:
    yield
  except OSError as error:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
      remedy = 'Free some space and run the same command again: finished shards are kept.'
    else:
      remedy = 'Choose an --out that can be written.'
    raise UserError(f'{out} cannot be written: {error.strerror or error}. {remedy}') from error


def write_shard(out, i, key, results):
  """Writes shard i and, after it, its sidecar, which is what makes it count as finished."""
  writer = records.ShardWriter(out, records.shard_name(i))
  skipped = []
  for name, examples, cause in results:
    for example in examples:
      writer.add(example)
    if cause:
      skipped.append({'file': name, 'cause': cause})
  entry, sums = writer.close() if len(writer) else (None, labels.sums(np.zeros((0, 25))))
  sidecar = {'settings': key, 'shard': entry, 'label_sums': sums.tolist(), 'skipped': skipped}
  _write_json(os.path.join(out, _sidecar_name(i)), sidecar)
  return sidecar


def finished(out, i, key):
  """The sidecar of shard i, if the shard is there, whole, and of these settings."""
  try:
    with open(os.path.join(out, _sidecar_name(i)), 'rb') as file:
      sidecar = json.loads(file.read())
    if sidecar['settings'] != key:
      return None
    shard = sidecar['shard']
    return sidecar if shard is None or records.is_whole(out, shard) else None
  except (FileNotFoundError, ValueError, KeyError, TypeError):
    return None


def _sidecar_name(i):
  return records.shard_name(i).replace('.tfrecord', '.json')


def left_out(done):
  """The images that are left out of the finished shards: their names and causes."""
  return [item for i in sorted(done) for item in done[i]['skipped']]


def write_report(out, skipped, count):
  """Writes the report; UserError where too many images are left out."""
  report = {'images': count, 'left_out': len(skipped), 'causes': causes(skipped), 'files': skipped}
  path = os.path.join(out, REPORT)
  _write_json(path, report)
  if len(skipped) > MAX_SKIPPED * count:
    first = skipped[0]
    raise UserError(
      f'{len(skipped)} of {count} images cannot be used, such as {first["file"]}: '
      f'{first["cause"]}. {path} names them all: mend or remove them.'
    )


def causes(skipped):
  """Number of images for each cause, without the cause's details."""
  counts = {}
  for item in skipped:
    cause = item['cause'].split(' (')[0]
    counts[cause] = counts.get(cause, 0) + 1
  return counts
