"""Reading ahead: many reads at once, results in order, errors that pass, and what a stall says."""

import errno
import io
import os
import struct
import threading
import time
import zipfile

import numpy as np
import pytest

from jax3dgan.data import (
  feed,
  handles,
  images,
  mounts,
  order,
  pipeline,
  prepare,
  reading,
  records,
  sources,
  tfrecord,
  workers,
)
from jax3dgan.errors import UserError
from jax3dgan.training import checks

COUNT = 24


def _image(i):
  return np.full((8, 8, 3), 10 * i, np.uint8)


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
  directory = tmp_path_factory.mktemp('shards')
  examples = ({'image': _image(i), 'key': str(i)} for i in range(COUNT))
  records.write_dataset(directory, examples, resolution=8, shard_size=4)
  return str(directory)


def _open(source, **fields):
  dataset = pipeline.open_dataset({'source': source, **fields}, 8)
  said = []
  dataset.skips.say = said.append
  return dataset, said


@pytest.mark.parametrize('loader', ['arrays', 'tfdata'])
def test_so_many_records_are_read_at_once_and_no_more_are_requested(shards, monkeypatch, loader):
  if loader == 'tfdata':
    pytest.importorskip('tensorflow')
  plain, lock, counts = tfrecord.RecordFiles.payload, threading.Lock(), {'now': 0, 'most': 0}
  together = threading.Barrier(6)

  def payload(self, i):
    with lock:
      counts['now'] += 1
      counts['most'] = max(counts['most'], counts['now'])
      counts['all'] = counts.get('all', 0) + 1
    # Each waits until there are six of them: fewer threads would never go on.
    together.wait(20)
    try:
      return plain(self, i)
    finally:
      with lock:
        counts['now'] -= 1

  monkeypatch.setattr(tfrecord.RecordFiles, 'payload', payload)
  dataset, _ = _open(shards, loader=loader, read_threads=6)
  iterator = pipeline.batches(dataset, 4)
  found = [next(iterator)['image'] for _ in range(3)]
  expected = [_image(i) for i in order.shuffled_index(np.arange(12), COUNT, 0)]
  np.testing.assert_array_equal(np.concatenate(found), expected)
  assert counts['most'] == 6
  if loader == 'arrays':  # TensorFlow has batches of its own in advance
    assert counts['all'] <= 4 * (3 + reading.num_ahead(4, 6))
  together.abort()


def test_results_are_in_order_and_few_are_requested_in_advance():
  started = []

  def late(i):
    started.append(i)
    time.sleep(0.001 * (10 - i % 10))
    return i

  with reading.threads(5, 'test') as pool:
    batches = ([(3 * i + j,) for j in range(3)] for i in range(8))
    results = reading.in_order(pool, late, batches, 2)
    assert next(results) == [0, 1, 2] and len(started) <= 9
    assert [x for batch in results for x in batch] == list(range(3, 24))


def test_an_error_comes_in_its_place():
  def fail(i):
    if i == 1:
      raise UserError('the second')
    return i

  with reading.threads(2, 'test') as pool:
    results = reading.in_order(pool, fail, ([(i,)] for i in range(3)), 2)
    assert next(results) == [0]
    with pytest.raises(UserError, match='the second'):
      next(results)


def test_a_read_that_hangs_is_not_waited_for_by_a_program_that_is_to_stop(shards, monkeypatch):
  monkeypatch.setattr(reading, 'STOP_SECONDS', 0.01)
  answers, asked = threading.Event(), []
  monkeypatch.setattr(tfrecord.RecordFiles, 'payload', lambda self, i: answers.wait(20))
  dataset, _ = _open(shards)
  dataset.skips.stops = lambda: asked.append(1) or len(asked) > 2
  with pytest.raises(UserError, match='when the program was to stop'):
    next(pipeline.batches(dataset, 4))
  assert len(asked) == 3 and not answers.is_set()
  answers.set()


@pytest.mark.parametrize('loader', ['arrays', 'tfdata'])
def test_a_system_that_refuses_threads_is_one_line(shards, monkeypatch, loader):
  if loader == 'tfdata':
    pytest.importorskip('tensorflow')
  dataset, _ = _open(shards, loader=loader, read_threads=8)
  plain, started = threading.Thread.start, []

  def start(thread):
    if thread.name.startswith('read_'):
      started.append(thread)
      if len(started) > 2:
        raise RuntimeError("can't start new thread")
    plain(thread)

  monkeypatch.setattr(threading.Thread, 'start', start)
  with pytest.raises(UserError, match='No thread can be started.*read_threads=4'):
    for _ in zip(range(9), pipeline.batches(dataset, 4), strict=False):
      pass


@pytest.mark.parametrize('number', [-1, 10**6])
def test_an_impossible_number_of_threads(shards, number):
  with pytest.raises(UserError, match=f'read_threads is {number}'):
    _open(shards, read_threads=number)
  assert checks.RANGES['data.read_threads'].high == reading.MAX_THREADS


def test_a_stall_is_reported_once_and_then_its_end():
  said, arrived = [], threading.Event()

  def slow():
    yield 1
    arrived.wait(20)
    yield 2

  def say(line):
    said.append(line)
    arrived.set()

  items = reading.watched(slow(), '/bucket/data', say, seconds=0.05)
  assert list(items) == [1, 2]
  assert said[0].startswith('Warning: waiting for images from /bucket/data for 0 s. ')
  assert '--config.data.local_copy=DIR' in said[0]
  assert said[-1].startswith('Images from /bucket/data come again, after 0 s')
  assert len(said) == 2


def _fail_once(error):
  """`os.pread` that fails or gives other bytes at its first call, and its calls."""
  plain, calls = os.pread, []

  def pread(*args):
    calls.append(args)
    if len(calls) == 1:
      if isinstance(error, Exception):
        raise error
      return error(plain(*args))
    return plain(*args)

  return pread, calls


@pytest.mark.parametrize(
  'error',
  [
    *(OSError(number, os.strerror(number)) for number in (errno.EIO, errno.ESTALE)),
    TimeoutError(errno.ETIMEDOUT, 'timed out'),
    lambda data: data[:7],  # less than there is, as a signal or a network may give
    lambda data: b'',
    lambda data: bytes(len(data)),
  ],
  ids=['EIO', 'ESTALE', 'ETIMEDOUT', 'short', 'nothing', 'zeros'],
)
@pytest.mark.parametrize('loader', ['arrays', 'tfdata'])
def test_an_error_that_passes_is_no_damage(shards, monkeypatch, error, loader):
  if loader == 'tfdata':
    pytest.importorskip('tensorflow')
  dataset, said = _open(shards, loader=loader)
  pread, calls = _fail_once(error)
  monkeypatch.setattr(os, 'pread', pread)
  batch = next(pipeline.batches(dataset, COUNT))['image']
  assert sorted(batch[:, 0, 0, 0]) == [10 * i for i in range(COUNT)]
  assert len(dataset.skips) == 0 and not said and len(calls) > COUNT


def test_a_lack_of_memory_is_no_damage(shards, monkeypatch):
  dataset, said = _open(shards)
  plain, calls = images.decode, []

  def decode(data):
    calls.append(data)
    if len(calls) == 1:
      raise images.OutOfMemoryError('out of memory')
    return plain(data)

  monkeypatch.setattr(images, 'decode', decode)
  np.testing.assert_array_equal(dataset[3][0], _image(3))
  assert len(dataset.skips) == 0 and len(calls) == 2


@pytest.fixture(scope='module')
def zipped(tmp_path_factory):
  """A zip of stored and deflated images, one with a long extra field; the images' bytes."""
  path = tmp_path_factory.mktemp('zip') / 'x.zip'
  pngs = [images.encode_png(_image(i)) + bytes(i) for i in range(6)]
  with zipfile.ZipFile(path, 'w') as file:
    for i, png in enumerate(pngs):
      entry = zipfile.ZipInfo(f'{i}.png')
      entry.compress_type = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)[i % 3]
      entry.extra = struct.pack('<HH', 0x7777, 200) + bytes(200) if i == 3 else b''
      file.writestr(entry, png)
  return path, pngs


def test_threads_read_a_zip_as_zipfile_does(zipped):
  path, pngs = zipped
  source = sources.ZipSource(path)
  with reading.threads(6, 'test') as pool:
    assert [record.image for record in pool.map(source.read, range(6))] == pngs
  source.close()
  assert source.read(0).image == pngs[0]
  source.close()


@pytest.mark.parametrize('error', [OSError(errno.EIO, 'EIO'), lambda data: bytes(len(data))])
@pytest.mark.parametrize('i', [0, 1])
def test_an_error_of_a_zip_that_passes_is_no_damage(zipped, monkeypatch, error, i):
  path, pngs = zipped
  dataset, said = _open(str(path))
  monkeypatch.setattr(os, 'pread', _fail_once(error)[0])
  np.testing.assert_array_equal(dataset[i][0], _image(i))
  assert not said and len(dataset.skips) == 0


def test_damage_of_a_zip(zipped, tmp_path):
  path, pngs = zipped
  for place, byte in ((0, 0), (40, 255)):  # the header, the content
    data = bytearray(path.read_bytes())
    data[place] = byte
    (tmp_path / 'x.zip').write_bytes(data)
    source = sources.ZipSource(tmp_path / 'x.zip')
    with pytest.raises(images.ImageError, match='damaged in the zip'):
      source.read(0)
    source.close()


def test_preparing_waits_for_a_network_and_leaves_nothing_out(tmp_path, monkeypatch, capsys):
  (tmp_path / '0.png').write_bytes(images.encode_png(_image(0)))
  source, options = sources.FolderSource(tmp_path), prepare.Options(8)
  plain, left = open, [errno.EIO, errno.ENOTCONN]

  def opened(*args):
    if left:
      raise OSError(left[0], os.strerror(left.pop(0)))
    return plain(*args)

  monkeypatch.setattr(sources, 'open', opened, raising=False)
  monkeypatch.setattr(workers.time, 'sleep', lambda seconds: None)
  ((_, examples, cause, _),) = workers._process_chunk([(0, '0.png')], (source, options))
  assert cause is None and len(examples) == 1
  assert capsys.readouterr().err.count('0.png cannot be read') == 2
  left += [errno.EIO] * 9
  with pytest.raises(UserError, match='0.png cannot be read.*finished shards are kept'):
    workers._process_chunk([(0, '0.png')], (source, options))


def test_few_files_are_open_at_once(shards, monkeypatch):
  monkeypatch.setattr(handles, 'MAX_OPEN', 2)
  opened = []

  def open_file(path):
    opened.append(open(path, 'rb'))
    return opened[-1]

  paths = [f'{shards}/{records.shard_name(i)}' for i in range(6)]
  files = handles.Handles(open_file)
  for path in (*paths, paths[-1]):
    with open(path, 'rb') as file:
      assert files.read(path, 3, 9) == file.read(12)[3:]
  assert len(opened) == 6 and sum(not file.closed for file in opened) == 2
  files.close()
  assert all(file.closed for file in opened)
  with pytest.raises(OSError, match='ends after'):
    files.read(paths[0], 0, 10**6)


def test_a_file_that_is_none_of_the_systems_is_read_as_well():
  """Those of buckets say that they have no number."""
  files = handles.Handles(lambda key: io.BytesIO(b'abcdef'))
  assert files.read('gs://x', 1, 3) == b'bcd'


@pytest.mark.parametrize(
  'path, kind, remote',
  [
    ('/home/x', 'ext4', False),
    ('/bucket/data/x', 'fuse.gcsfuse', True),
    ('/bucketful', 'ext4', False),
    ('/a b/x', 'nfs4', True),
    ('gs://bucket/x', 'bucket', True),
  ],
)
def test_file_systems(tmp_path, monkeypatch, path, kind, remote):
  table = tmp_path / 'mountinfo'
  table.write_text(
    '1 0 8:1 / / rw - tmpfs none rw\n'
    '2 1 8:2 / / rw shared:1 - ext4 /dev/root rw\n'
    '3 2 0:4 / /bucket rw - fuse.gcsfuse name rw\n'
    '4 2 0:5 / /a\\040b rw - nfs4 host:/x rw\n'
  )
  monkeypatch.setattr(mounts, '_TABLE', str(table))
  assert mounts.kind(path) == kind and mounts.is_remote(path) == remote
  assert reading.num_readers(path) == (64 if remote else reading.num_workers())
  assert reading.num_readers(path, 7) == 7
  monkeypatch.setattr(mounts, '_TABLE', str(tmp_path / 'none'))
  assert mounts.is_remote('/home/x')


@pytest.mark.parametrize('processes', [[0], [0, 0], [0, 1], [0, 0, 1, 1, 2, 2]])
def test_a_mesh_in_the_order_of_its_processes(processes):
  feed.check_order(processes)


@pytest.mark.parametrize('processes', [[0, 1, 0, 1], [1, 0], [0, 0, 1], [1, 1, 2, 2]])
def test_a_mesh_in_another_order_is_refused(processes):
  with pytest.raises(ValueError, match='process_index, id'):
    feed.check_order(processes)
