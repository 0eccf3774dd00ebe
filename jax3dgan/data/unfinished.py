"""A folder of shards that is being written: its settings, finished shards, what was left out."""

import contextlib
import errno
import hashlib
import json
import os

import numpy as np

from jax3dgan import atomic
from jax3dgan.data import images, labels, locks, records, workers
from jax3dgan.data import names as names_lib
from jax3dgan.errors import UserError

SETTINGS = 'prepare.json'
REPORT = 'report.json'
# More than this part left out is no accident but the wrong folder or a broken copy.
MAX_SKIPPED = 0.1
# Settings of later versions, and what was done before there was a choice.
_LATER = {'resize': images.RESIZES[0], 'enlarge': False}


def claim(out, settings, names=()):
  """Notes the settings in the folder; UserError where it holds a data set of others.

  Args:
    out: the folder.
    settings: what decides on the shards, a dict.
    names: of the source's images, to say what has changed.

  Returns:
    a hash of the settings, for the shards.
  """
  path = os.path.join(out, SETTINGS)
  if os.path.exists(path):
    try:
      with open(path, 'rb') as file:
        before = _LATER | json.loads(file.read())['settings']
    except (ValueError, KeyError, TypeError) as error:
      raise UserError(f'{path} is damaged. Delete {out}, or choose another --out.') from error
    changed = [name for name in settings if before.get(name) != settings[name]]
    if changed:
      what = ', '.join(
        _other_images(out, names, before.get('files'))
        if name == 'fingerprint'
        else f'{name} {before.get(name)}'
        for name in changed
        if name != 'files' or 'fingerprint' not in changed
      )
      raise UserError(
        f'{out} was begun with other settings ({what}). Choose another --out, or delete it.'
      )
  elif os.path.exists(os.path.join(out, records.INDEX)):
    raise UserError(f'{out} holds another data set. Choose another --out, or delete it.')
  _write_json(path, {'settings': settings})
  # As before there was a choice.
  settings = {name: v for name, v in settings.items() if name not in _LATER or v != _LATER[name]}
  return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _other_images(out, names, count):
  """What is different of the images of which shards were made, as far as it is known."""
  before, index = set(), 0
  while (sidecar := _read_sidecar(out, index)) is not None:
    before |= {name for name, *_ in sidecar.get('sources', ())}
    index += 1
  if len(before) != count:  # not all of them are known
    return 'other images or labels'
  new, gone = sorted(set(names) - before), sorted(before - set(names))
  parts = [f'{len(new)} images are new, such as {new[0]}'] if new else []
  parts += [f'{len(gone)} are gone, such as {gone[0]}'] if gone else []
  return 'other images or labels: ' + (', '.join(parts) or 'of the same names')


def check_contents(out, source, shards, done, stamps):
  """UserError where images have changed since their shards were finished.

  The stamp of an image tells that it is as it was; where it is another, the content decides.

  Args:
    out: the folder of the shards.
    source: of the images, see `sources`.
    shards: the numbers of the images of each shard.
    done: dict of shard -> sidecar.
    stamps: list of the source's stamps.
  """
  changed = []
  for i, sidecar in done.items():
    for j, (name, stamp, digest) in zip(shards[i], sidecar.get('sources', ()), strict=False):
      if stamp != stamps[j] and _digest(source, j) != digest:
        changed.append(name)
  if changed:
    raise UserError(
      f'{len(changed)} images have changed since {out} was made of them, such as {changed[0]}. '
      'Choose another --out, or delete it.'
    )


def _digest(source, i):
  try:
    return workers.digest(source.read(i).image)
  except images.ImageError:
    return ''


def _write_json(path, value):
  atomic.write(path, json.dumps(value).encode(), alone=True)


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


def write_shard(out, i, key, results, stamps=None):
  """Writes shard i and, after it, its sidecar, which is what makes it count as finished.

  Args:
    out: the folder of the shards.
    key: from `claim`.
    results: of `workers.run`, one for each image.
    stamps: of these images; None where they are made of no files.
  """
  writer = records.ShardWriter(out, records.shard_name(i))
  skipped, read = [], []
  for name, examples, cause, digest in results:
    for example in examples:
      writer.add(example)
    if cause:
      skipped.append({'file': names_lib.readable(name), 'cause': cause})
    read.append((name, digest))
  entry, sums = writer.close() if len(writer) else (None, labels.sums(np.zeros((0, 25))))
  sidecar = {'settings': key, 'shard': entry, 'label_sums': sums.tolist(), 'skipped': skipped}
  if stamps is not None:
    sidecar['sources'] = [
      [names_lib.readable(name), stamp, digest]
      for (name, digest), stamp in zip(read, stamps, strict=True)
    ]
  _write_json(os.path.join(out, _sidecar_name(i)), sidecar)
  return sidecar


def finished(out, i, key):
  """The sidecar of shard i, if the shard is there, whole, and of these settings."""
  sidecar = _read_sidecar(out, i)
  try:
    if sidecar is None or sidecar['settings'] != key:
      return None
    shard = sidecar['shard']
    return sidecar if shard is None or records.is_whole(out, shard) else None
  except (FileNotFoundError, ValueError, KeyError, TypeError):
    return None


def _read_sidecar(out, i):
  try:
    with open(os.path.join(out, _sidecar_name(i)), 'rb') as file:
      sidecar = json.loads(file.read())
  except (FileNotFoundError, ValueError):
    return None
  return sidecar if isinstance(sidecar, dict) else None


def _sidecar_name(i):
  return records.shard_name(i).replace('.tfrecord', '.json')


def left_out(done):
  """The images that are left out of the finished shards: their names and causes."""
  return [item for i in sorted(done) for item in done[i]['skipped']]


def write_report(out, skipped, count, max_left_out=MAX_SKIPPED):
  """Writes the report; UserError where too many images are left out."""
  report = {'images': count, 'left_out': len(skipped), 'causes': causes(skipped), 'files': skipped}
  path = os.path.join(out, REPORT)
  _write_json(path, report)
  if len(skipped) > max_left_out * count:
    first = skipped[0]
    small = ' --enlarge takes small ones.' if first['cause'].startswith('too small') else ''
    raise UserError(
      f'{len(skipped)} of {count} images cannot be used, such as {first["file"]}: '
      f'{first["cause"]}. {path} names them all: mend or remove them, or let more be '
      f'left out than {max_left_out:.0%} with --max-left-out=SHARE.{small}'
    )


def causes(skipped):
  """Number of images for each cause, without the cause's details."""
  counts = {}
  for item in skipped:
    cause = item['cause'].split(' (')[0]
    counts[cause] = counts.get(cause, 0) + 1
  return counts
