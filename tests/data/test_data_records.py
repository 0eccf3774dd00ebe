"""TFRecord shards: what is written is read back, damage is found and named."""

import io
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jax3dgan import atomic
from jax3dgan.data import images, records, tfrecord
from jax3dgan.errors import UserError


def _examples(count, size=4, labelled=True):
  rng = np.random.default_rng(0)
  for i in range(count):
    yield {
      'image': rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
      'label': rng.normal(size=25).astype(np.float32) if labelled else None,
      'key': f'image {i}',
      'extras': {'number': i, 'depth': b'\0\1', 'floats': np.arange(3.0)},
    }


def _write(directory, count=7, **kwargs):
  return records.write_dataset(directory, _examples(count), resolution=4, shard_size=3, **kwargs)


FEATURES = st.dictionaries(
  st.text(max_size=8),
  st.one_of(
    st.binary(max_size=20),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5).map(
      lambda values: np.array(values, np.int64)
    ),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=5).map(
      lambda values: np.array(values, np.float32)
    ),
  ),
  max_size=4,
)


@given(features=FEATURES)
@settings(max_examples=25, deadline=None)
def test_examples_round_trip(features):
  decoded = tfrecord.decode_example(tfrecord.unframe(tfrecord.frame(_encode(features))))
  assert decoded.keys() == features.keys()
  for name, value in features.items():
    np.testing.assert_array_equal(decoded[name], value)


def _encode(features):
  data = tfrecord.encode_example(features)
  assert data == tfrecord.encode_example(dict(reversed(features.items())))
  return data


def test_features_of_other_types():
  decoded = tfrecord.decode_example(tfrecord.encode_example({'a': 'ä', 'b': True, 'c': 1.5}))
  assert decoded == {'a': 'ä'.encode(), 'b': np.array([1]), 'c': np.array([1.5])}
  with pytest.raises(TypeError, match="'d'"):
    tfrecord.encode_example({'d': np.array([1j])})


@given(payload=st.binary(max_size=30), data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_changed_bit_goes_unnoticed(payload, data):
  record = bytearray(tfrecord.frame(payload))
  bit = data.draw(st.integers(0, 8 * len(record) - 1))
  record[bit // 8] ^= 1 << bit % 8
  with pytest.raises(tfrecord.RecordError):
    tfrecord.unframe(bytes(record))


def test_scan_finds_the_records_and_a_truncation():
  data = b''.join(tfrecord.frame(b'x' * n) for n in (0, 5, 1000))
  np.testing.assert_array_equal(tfrecord.scan(io.BytesIO(data)), [0, 16, 37, 1053])
  np.testing.assert_array_equal(tfrecord.scan(io.BytesIO(b'')), [0])
  for cut in (1040, 40, 20):
    with pytest.raises(tfrecord.RecordError, match='truncated'):
      tfrecord.scan(io.BytesIO(data[:cut]))
  with pytest.raises(tfrecord.RecordError, match='checksum'):
    tfrecord.scan(io.BytesIO(b'not a TFRecord file at all'))


def test_a_length_that_lies_is_refused():
  length = (2**40).to_bytes(8, 'little')
  header = length + tfrecord._masked_crc(length)
  with pytest.raises(tfrecord.RecordError, match='claims'):
    tfrecord.payload_size(header)


def test_not_an_example():
  with pytest.raises(tfrecord.RecordError, match='not a tf.train.Example'):
    tfrecord.decode_example(b'\xff\xff\xff')


def test_data_set_round_trip(tmp_path):
  index = _write(tmp_path, extra={'source': 'test'})
  assert [entry['count'] for entry in index['shards']] == [3, 3, 1]
  shards = records.Shards(tmp_path)
  assert len(shards) == 7 and shards.resolution == 4 and shards.labelled
  assert shards.index == json.loads(json.dumps(index)) and index['source'] == 'test'
  for i, example in enumerate(_examples(7)):
    record = shards.read(i)
    assert record.key == example['key']
    np.testing.assert_array_equal(images.decode(record.image), example['image'])
    np.testing.assert_array_equal(record.label, example['label'])
    assert record.features['number'] == [i] and record.features['depth'] == b'\0\1'
  with pytest.raises(IndexError):
    shards.read(7)
  shards.close()


def test_label_statistics_are_in_the_index(tmp_path):
  index = _write(tmp_path)
  table = np.stack([example['label'] for example in _examples(7)])
  assert index['labels']['count'] == 7
  np.testing.assert_allclose(index['labels']['mean'], table.mean(0), atol=1e-6)


def test_without_labels(tmp_path):
  records.write_dataset(tmp_path, _examples(2, labelled=False), resolution=4)
  shards = records.Shards(tmp_path)
  assert not shards.labelled and shards.read(1).label is None


def test_the_same_examples_give_the_same_bytes(tmp_path):
  first, second = _write(tmp_path / 'a'), _write(tmp_path / 'b')
  assert first == second


def test_labels_are_for_all_or_none(tmp_path):
  mixed = [*_examples(1), *_examples(1, labelled=False)]
  with pytest.raises(ValueError, match='all or none'):
    records.write_dataset(tmp_path, mixed, resolution=4)


def test_bad_labels_are_refused(tmp_path):
  for label in (np.zeros(24), np.full(25, np.nan)):
    example = {**next(_examples(1)), 'label': label}
    with pytest.raises(ValueError, match='25 finite numbers'):
      records.write_dataset(tmp_path, [example], resolution=4)


def test_a_damaged_record_is_named(tmp_path):
  index = _write(tmp_path)
  entry = index['shards'][1]
  path = tmp_path / entry['file']
  data = bytearray(path.read_bytes())
  data[entry['offsets'][2] + 30] ^= 1
  path.write_bytes(data)
  shards = records.Shards(tmp_path)
  assert shards.read(4).key == 'image 4'
  with pytest.raises(UserError, match=r'record 2 of .*shard-00001\.tfrecord: checksum'):
    shards.read(5)


@pytest.mark.parametrize(
  'damage, message',
  [
    (lambda path: os.remove(path / 'shard-00001.tfrecord'), 'shard-00001.tfrecord is missing'),
    (lambda path: os.truncate(path / 'shard-00001.tfrecord', 50), 'has 50 bytes'),
    (lambda path: os.remove(path / 'index.json'), 'has no index.json'),
    (lambda path: os.truncate(path / 'index.json', 50), 'cannot be read'),
    (lambda path: (path / 'index.json').write_text('[]'), 'not an index'),
    (
      lambda path: (path / 'index.json').write_text('{"format": "jax3dgan-shards", "version": 9}'),
      'version 9',
    ),
  ],
)
def test_what_is_missing_is_named(tmp_path, damage, message):
  _write(tmp_path)
  damage(tmp_path)
  with pytest.raises(UserError, match=message) as error:
    records.Shards(tmp_path)
  assert '\n' not in str(error.value)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / 'file'
  atomic.write(path, b'old')

  def fail(_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', fail)
  with pytest.raises(OSError, match='No space'):
    atomic.write(path, b'new')
  assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['file']


def test_shards_of_large_images_hold_fewer():
  assert records.default_shard_size(64) == 4096
  assert records.default_shard_size(1024) == 32
