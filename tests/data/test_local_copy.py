"""The copy of a prepared folder on a local disk: whole, made once, resumed, refused in one line."""

import collections
import os
import zipfile

import numpy as np
import pytest

from jax3dgan.data import local_copy, mounts, pipeline, records
from jax3dgan.errors import UserError


@pytest.fixture
def source(tmp_path, monkeypatch):
  """A prepared folder of three shards, on what counts as a network file system."""
  directory = tmp_path / 'bucket' / 'faces'
  examples = ({'image': np.full((8, 8, 3), i, np.uint8), 'key': str(i)} for i in range(6))
  records.write_dataset(directory, examples, resolution=8, shard_size=2)
  bucket = str(tmp_path / 'bucket')
  monkeypatch.setattr(mounts, 'is_remote', lambda path: str(path).startswith(bucket))
  monkeypatch.setattr(local_copy.time, 'sleep', lambda seconds: None)
  return directory


def _open(source, folder):
  return pipeline.open_dataset({'source': str(source), 'local_copy': str(folder)}, 8)


def test_the_copy_is_read_and_made_once(source, tmp_path, monkeypatch, capsys):
  dataset = _open(source, tmp_path / 'local')
  (copy,) = [path for path in (tmp_path / 'local').iterdir() if path.name[0] != '.']
  assert str(dataset.source.directory) == str(copy) and dataset.name == str(source)
  assert copy.name.startswith('faces-')
  for path in source.iterdir():
    if path.suffix == '.tfrecord':
      assert (copy / path.name).read_bytes() == path.read_bytes()
  assert [int(dataset[i][0][0, 0, 0]) for i in range(6)] == list(range(6))
  assert f'{source}: copied to {copy}, once' in capsys.readouterr().err
  monkeypatch.setattr(local_copy, '_copy', None)  # never again
  _open(source, tmp_path / 'local')


def test_a_copy_goes_on_where_it_was_killed(source, tmp_path, monkeypatch):
  copied, plain = [], local_copy._copy_file

  def copy_file(path, target):
    if len(copied) == 2:
      raise KeyboardInterrupt
    copied.append(path.name)
    return plain(path, target)

  monkeypatch.setattr(local_copy, '_NUM_STREAMS', 1)
  monkeypatch.setattr(local_copy, '_copy_file', copy_file)
  with pytest.raises(KeyboardInterrupt):
    _open(source, tmp_path / 'local')
  assert not [path for path in (tmp_path / 'local').iterdir() if path.name[0] != '.']
  again = []
  monkeypatch.setattr(
    local_copy, '_copy_file', lambda path, target: again.append(path.name) or plain(path, target)
  )
  assert len(_open(source, tmp_path / 'local')) == 6
  assert len(copied) == 2 and len(again) == 1 and len({*copied, *again}) == 3


def test_other_content_is_another_copy(source, tmp_path):
  first = _open(source, tmp_path / 'local').source.directory
  examples = ({'image': np.full((8, 8, 3), 9, np.uint8), 'key': str(i)} for i in range(2))
  records.write_dataset(source, examples, resolution=8, shard_size=2)
  second = _open(source, tmp_path / 'local')
  assert str(second.source.directory) != str(first) and len(second) == 2


def test_no_room_is_said_before_anything_is_copied(source, tmp_path, monkeypatch):
  usage = collections.namedtuple('usage', 'total used free')
  monkeypatch.setattr(local_copy.shutil, 'disk_usage', lambda path: usage(0, 0, 2**28 + 100))
  monkeypatch.setattr(local_copy, '_copy_file', None)
  with pytest.raises(UserError, match=r'needs 0\.00 GiB more in .*local_copy=DIR') as error:
    _open(source, tmp_path / 'local')
  assert '\n' not in str(error.value)


def test_a_read_that_fails_or_lies_is_repeated(source, tmp_path, monkeypatch, capsys):
  plain, calls = local_copy._chunks, []

  def chunks(path):
    calls.append(path)
    if len(calls) == 1:
      raise local_copy._ReadError('stale')
    if len(calls) == 2:
      yield b'something else'
    else:
      yield from plain(path)

  monkeypatch.setattr(local_copy, '_NUM_STREAMS', 1)
  monkeypatch.setattr(local_copy, '_chunks', chunks)
  dataset = _open(source, tmp_path / 'local')
  assert len(calls) == 5 and len(dataset) == 6
  assert 'stale. Trying again in 1 s' in capsys.readouterr().err
  assert all(
    records.is_whole(dataset.source.directory, entry) for entry in dataset.source.index['shards']
  )


def test_a_source_that_stays_away(source, tmp_path, monkeypatch):
  def chunks(path):
    raise local_copy._ReadError('Input/output error')
    yield

  monkeypatch.setattr(local_copy, '_chunks', chunks)
  with pytest.raises(UserError, match='Cannot read .*Input/output error.*is kept') as error:
    _open(source, tmp_path / 'local')
  assert '\n' not in str(error.value)


def test_damage_of_the_source_is_copied_and_said(source, tmp_path, capsys):
  entry = records.read_index(source)['shards'][1]
  path = source / entry['file']
  data = bytearray(path.read_bytes())
  data[entry['offsets'][1] + 40] ^= 1
  path.write_bytes(data)
  dataset = _open(source, tmp_path / 'local')
  assert 'shard-00001.tfrecord is not what its index says' in capsys.readouterr().err
  assert [int(dataset[i][0][0, 0, 0]) for i in range(6)] == [0, 1, 2, 4, 4, 5]
  os.truncate(path, 50)
  with pytest.raises(UserError, match='has 50 bytes, not the'):
    _open(source, tmp_path / 'elsewhere')


def test_data_on_a_local_disk_is_not_copied(source, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(mounts, 'is_remote', lambda path: False)
  for _ in range(2):
    assert str(_open(source, tmp_path / 'local').source.directory) == str(source)
  assert capsys.readouterr().err.count('makes no copy of it') == 1
  assert not (tmp_path / 'local').exists()


def test_a_copy_on_a_network_is_warned_of(source, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(mounts, 'is_remote', lambda path: True)
  monkeypatch.setattr(mounts, 'kind', lambda path: 'nfs4')
  assert len(_open(source, tmp_path / 'local')) == 6
  assert 'local is no disk of this host either (nfs4)' in capsys.readouterr().err


def test_a_zip_has_no_copy(tmp_path):
  with zipfile.ZipFile(tmp_path / 'x.zip', 'w') as file:
    file.writestr('0.png', b'')
  with pytest.raises(UserError, match='for prepared folders.*jax3dgan.data.prepare'):
    _open(f'{tmp_path}/x.zip', tmp_path / 'local')
