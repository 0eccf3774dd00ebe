"""The photos' statistics: which photos, and a cache that is only ever taken for the same thing."""

import dataclasses
import io
import os
import shutil
import zipfile

import numpy as np
import pytest

from jax3dgan.data import images, pipeline, records, sources
from jax3dgan.errors import UserError
from jax3dgan.evaluation import real
from jax3dgan.evaluation.statistics import Statistics

COUNT, SIZE = 23, 8


def _photos(count=COUNT, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def _write(directory, photos):
  examples = ({'image': x, 'label': None, 'key': f'{i:03d}'} for i, x in enumerate(photos))
  records.write_dataset(directory, examples, resolution=SIZE, shard_size=10)
  return pipeline.open_dataset({'source': str(directory)}, SIZE)


def _write_zip(path, photos, extra=None):
  with zipfile.ZipFile(path, 'w') as file:
    for i, photo in enumerate(photos):
      file.writestr(f'{i:03d}.png', images.encode_png(photo))
    for name, content in (extra or {}).items():
      file.writestr(name, content)
  return pipeline.open_dataset({'source': str(path), 'max_skipped': 0}, SIZE)


def _features(photos):
  """Of each photo its corner's and its opposite corner's colours: they tell mirrored ones."""
  photos = np.asarray(photos, np.float32)
  return np.concatenate([photos[:, 0, 0], photos[:, -1, -1]], axis=1)


class Extractor:
  """Counts what it is asked for."""

  dims, label, fingerprint = 6, 'FID-6', 'corners'

  def __init__(self):
    self.sizes = []

  def __call__(self, batches):
    for batch in batches:
      assert batch.dtype == np.uint8 and batch.ndim == 4
      self.sizes.append(len(batch))
      yield _features(batch)

  @property
  def seen(self):
    return sum(self.sizes)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return _write(tmp_path_factory.mktemp('photos'), _photos())


def test_all_photos_once_in_a_permutation():
  index, mirrored = real.choose(1000)
  assert sorted(index) == list(range(1000)) and not mirrored.any()
  # The correlation of a random permutation with the order of the files is about 1/√1000.
  assert abs(np.corrcoef(index, np.arange(1000))[0, 1]) < 0.15
  np.testing.assert_array_equal(real.choose(1000, 10)[0], index[:10])
  assert not np.array_equal(real.choose(1000, seed=1)[0], index)
  for num in (1000, 2000):
    np.testing.assert_array_equal(real.choose(1000, num)[0], index)


def test_mirrored_is_a_data_set_of_twice_the_size():
  index, mirrored = real.choose(40, mirror=True)
  assert sorted(zip(index, mirrored, strict=True)) == [(i, m) for i in range(40) for m in (0, 1)]
  index, mirrored = real.choose(4000, 400, mirror=True)
  assert len(index) == 400
  assert 140 < mirrored.sum() < 260  # 6 standard deviations of a fair coin


@pytest.mark.parametrize('batch_size', [1, 4, 23, 64])
def test_photos_in_batches(dataset, batch_size):
  chosen = real.choose(COUNT, mirror=True)
  batches = list(real.photos(dataset, chosen, batch_size))
  assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
  expected = _photos()[chosen[0]]
  expected[chosen[1]] = expected[chosen[1], :, ::-1]
  np.testing.assert_array_equal(np.concatenate(batches), expected)


def test_statistics_are_those_of_the_photos(dataset, tmp_path):
  said = []
  found = real.real_statistics(
    dataset, Extractor(), cache_dir=tmp_path, say=said.append, keep=5, batch_size=4
  )
  expected = Statistics.of(_features(_photos()))
  assert found.statistics.count == COUNT
  np.testing.assert_allclose(found.statistics.mean, expected.mean, rtol=1e-12)
  np.testing.assert_allclose(found.statistics.scatter, expected.scatter, rtol=1e-9)
  first = _features(_photos()[real.choose(COUNT)[0]])
  np.testing.assert_array_equal(found.features, first[:5])
  assert said[-1].startswith('photos 23/23')


def test_the_second_time_nothing_is_computed(dataset, tmp_path):
  extractor = Extractor()
  first = real.real_statistics(dataset, extractor, 10, tmp_path, keep=4)
  assert extractor.seen == 10
  for keep in (4, 2, 0):
    again = real.real_statistics(dataset, extractor, 10, tmp_path, keep=keep)
    np.testing.assert_array_equal(again.statistics.scatter, first.statistics.scatter)
    np.testing.assert_array_equal(again.features, first.features[:keep])
  assert extractor.seen == 10
  # More features than were kept: once again, and then they are there.
  for _ in range(2):
    more = real.real_statistics(dataset, extractor, 10, tmp_path, keep=99)
    assert more.features.shape == (10, 6)
  assert extractor.seen == 20
  real.real_statistics(dataset, extractor, 10, tmp_path, keep=4)
  assert extractor.seen == 20 and len(list((tmp_path / 'eval').iterdir())) == 1


def test_other_protocols_are_other_files(dataset, tmp_path):
  extractor = Extractor()
  options = [{}, {'num': 20}, {'num': 19}, {'seed': 1}, {'num': 20, 'seed': 1}]
  options += [{'mirror': True}, {'num': 20, 'mirror': True}]
  for option in options:
    before = extractor.seen
    real.real_statistics(dataset, extractor, cache_dir=tmp_path, **option)
    assert extractor.seen > before, option
  other = Extractor()
  other.fingerprint = 'other weights'
  real.real_statistics(dataset, other, cache_dir=tmp_path)
  assert other.seen == COUNT and len(list((tmp_path / 'eval').iterdir())) == len(options) + 1
  # All of them, said in another way.
  before = extractor.seen
  for num in (COUNT, COUNT + 1):
    real.real_statistics(dataset, extractor, num, tmp_path)
  assert extractor.seen == before


def test_other_pictures_are_other_files(dataset, tmp_path):
  other = _write(tmp_path / 'other', _photos(seed=1))
  half = dataclasses.replace(dataset, resolution=SIZE // 2)
  cropped = dataclasses.replace(half, crop='0.5')
  means = []
  for each in (dataset, other, half, cropped):
    extractor = Extractor()
    means.append(tuple(real.real_statistics(each, extractor, cache_dir=tmp_path).statistics.mean))
    assert extractor.seen == COUNT
  assert len(set(means)) == 4


def test_a_damaged_file_is_made_again(dataset, tmp_path):
  extractor = Extractor()
  first = real.real_statistics(dataset, extractor, cache_dir=tmp_path, keep=9)
  (path,) = (tmp_path / 'eval').iterdir()
  whole = path.read_bytes()
  rng = np.random.default_rng(0)
  damages = [b'', b'not a zip', whole[: len(whole) // 2], whole[:-1], whole + b'x' * 70_000]
  for place in rng.integers(0, len(whole), 40):
    damages.append(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
  made_again = 0
  for damage in damages:
    path.write_bytes(damage)
    before = extractor.seen
    found = real.real_statistics(dataset, extractor, cache_dir=tmp_path, keep=9)
    made_again += extractor.seen > before
    # A changed byte that nothing depends on (a date) may pass; a changed number may not.
    np.testing.assert_array_equal(found.statistics.scatter, first.statistics.scatter)
    np.testing.assert_array_equal(found.features, first.features)
    assert found.statistics.count == COUNT
  assert made_again > len(damages) / 2
  path.write_bytes(damages[2])
  real.real_statistics(dataset, extractor, cache_dir=tmp_path, keep=9)
  assert path.read_bytes() == whole and len(list(path.parent.iterdir())) == 1


class Trap:
  """Makes a folder where it is unpickled."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (self.path,)


def test_pickles_in_the_cache_are_not_opened(dataset, tmp_path):
  extractor = Extractor()
  real.real_statistics(dataset, extractor, cache_dir=tmp_path)
  (path,) = (tmp_path / 'eval').iterdir()
  with open(path, 'wb') as file:
    mean = np.array([Trap(str(tmp_path / 'sprung'))], object)
    np.savez(file, count=np.int64(COUNT), mean=mean, scatter=np.zeros((6, 6)))
  real.real_statistics(dataset, extractor, cache_dir=tmp_path)
  assert extractor.seen == 2 * COUNT
  assert not (tmp_path / 'sprung').exists()


def test_a_folder_that_cannot_be_written_is_no_loss(dataset, tmp_path):
  (tmp_path / 'eval').write_text('a file in the way')
  said = []
  found = real.real_statistics(dataset, Extractor(), cache_dir=tmp_path, say=said.append)
  assert found.statistics.count == COUNT and 'JAX3DGAN_CACHE' in said[-1]
  with pytest.warns(UserWarning, match='not cached'):
    real.real_statistics(dataset, Extractor(), cache_dir=tmp_path)


def test_the_caches_usual_place(dataset, tmp_path, monkeypatch):
  monkeypatch.setenv('JAX3DGAN_CACHE', str(tmp_path))
  real.real_statistics(dataset, Extractor())
  assert [path.suffix for path in (tmp_path / 'eval').iterdir()] == ['.npz']


def test_a_hash_of_shards_is_one_of_their_content(dataset, tmp_path):
  expected = real.dataset_hash(dataset)
  shutil.copytree(dataset.name, tmp_path / 'copy')
  copy = pipeline.open_dataset({'source': str(tmp_path / 'copy')}, SIZE)
  assert real.dataset_hash(copy) == expected
  changed = _photos()
  changed[17, 3, 3, 0] ^= 1
  assert real.dataset_hash(_write(tmp_path / 'changed', changed)) != expected
  assert real.dataset_hash(_write(tmp_path / 'shorter', _photos()[:-1])) != expected
  assert real.dataset_hash(_write(tmp_path / 'turned', _photos()[::-1])) != expected


def test_a_hash_of_a_zip_is_one_of_its_images(tmp_path):
  expected = real.dataset_hash(_write_zip(tmp_path / 'a.zip', _photos()))
  assert real.dataset_hash(_write_zip(tmp_path / 'b.zip', _photos())) == expected
  notes = {'notes.txt': 'nothing to see', '__MACOSX/000.png': b'a fork'}
  assert real.dataset_hash(_write_zip(tmp_path / 'c.zip', _photos(), notes)) == expected
  changed = _photos()
  changed[17, 3, 3, 0] ^= 1
  assert real.dataset_hash(_write_zip(tmp_path / 'd.zip', changed)) != expected
  assert real.dataset_hash(_write_zip(tmp_path / 'e.zip', _photos()[:-1])) != expected


def test_a_hash_of_other_sources_reads_their_files(tmp_path):
  def folder(name, photos):
    (tmp_path / name).mkdir()
    for i, photo in enumerate(photos):
      (tmp_path / name / f'{i:03d}.png').write_bytes(images.encode_png(photo))
    return pipeline.Dataset(name, sources.FolderSource(tmp_path / name), SIZE)

  expected = real.dataset_hash(folder('a', _photos()))
  assert real.dataset_hash(folder('b', _photos())) == expected
  changed = _photos()
  changed[17, 3, 3, 0] ^= 1
  assert real.dataset_hash(folder('c', changed)) != expected
  broken = folder('d', _photos())
  (tmp_path / 'd' / '004.png').unlink()
  with pytest.raises(UserError, match='004.png of d cannot be read'):
    real.dataset_hash(broken)


def test_shards_and_a_zip_of_the_same_photos_agree(dataset, tmp_path):
  zipped = _write_zip(tmp_path / 'a.zip', _photos())
  a, b = (real.real_statistics(x, Extractor(), cache_dir=tmp_path) for x in (dataset, zipped))
  np.testing.assert_array_equal(a.statistics.scatter, b.statistics.scatter)


def test_a_photo_that_cannot_be_used_is_named(tmp_path):
  file = io.BytesIO(images.encode_png(_photos()[0]))
  broken = _write_zip(tmp_path / 'a.zip', _photos(5), {'zz.png': file.getvalue()[:60]})
  with pytest.raises(UserError, match='zz.png'):
    real.real_statistics(broken, Extractor(), cache_dir=tmp_path)
  assert not (tmp_path / 'eval').exists()
