"""Data sets of TFDS at first use: fetched, cropped and prepared once, or one line that says how."""

import concurrent.futures
import os
import socket
import time

import numpy as np
import pytest

from jax3dgan.data import images, pipeline, prepare, records, workers
from jax3dgan.data.builders import tfds_files, tfds_sets
from jax3dgan.errors import UserError

tfds = pytest.importorskip('tensorflow_datasets')
pytestmark = pytest.mark.filterwarnings('ignore')  # TensorFlow's own, at import
SIZE = 218, 178
COUNT = 6


def _photo(i):
  rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
  return np.stack([rows, columns, np.full(SIZE, 40 * i)], -1).astype(np.uint8)


class CelebATiny(tfds.core.GeneratorBasedBuilder):
  """Images of CelebA's size; its name begins as CelebA's."""

  VERSION = tfds.core.Version('1.0.0')
  url = None

  def _info(self):
    features = tfds.features.FeaturesDict({'image': tfds.features.Image(shape=(*SIZE, 3))})
    return tfds.core.DatasetInfo(builder=self, features=features)

  def _split_generators(self, dl_manager):
    if self.url:
      dl_manager.download(self.url)
    return {'train': self._generate_examples()}

  def _generate_examples(self):
    for i in range(COUNT):
      yield i, {'image': _photo(i)}


@pytest.fixture
def cache(tmp_path, monkeypatch):
  """A cache, and nothing of TFDS elsewhere."""
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'none'))
  monkeypatch.setattr(tfds.core.constants, 'DATA_DIR', str(tmp_path / 'none'), raising=False)
  monkeypatch.setattr(records, 'default_shard_size', lambda resolution: 2)
  monkeypatch.setenv('JAX3DGAN_CACHE', str(tmp_path / 'cache'))
  return tmp_path / 'cache'


def test_celeba_is_fetched_and_cropped_as_pigan_does(cache, capsys):
  data = dict(source='tfds:celeb_a_tiny', loader='arrays')
  dataset = pipeline.open_dataset(data, 16, largest=32)
  assert len(dataset) == COUNT and dataset.source.resolution == 32
  stored = {images.decode(dataset.record(i).image).tobytes() for i in range(COUNT)}
  # The shorter side resized to 320, the middle 256: the middle 142 of 178 x 218.
  expected = [images.crop_and_resize(_photo(i)[38:180, 18:160], 32) for i in range(COUNT)]
  assert stored == {image.tobytes() for image in expected}
  halved = {dataset[i][0].tobytes() for i in range(COUNT)}
  assert halved == {images.box_downscale(image, 2).tobytes() for image in expected}
  shown = capsys.readouterr().err
  assert 'tfds:celeb_a_tiny: prepared at 32²' in shown and 'TFDS fetches it into' in shown
  assert (cache / 'tensorflow_datasets' / 'celeb_a_tiny').is_dir()
  pipeline.open_dataset(data, 32)  # no word of making it again
  assert capsys.readouterr().err == ''


def test_of_two_at_once_one_prepares_it(cache, monkeypatch, capsys):
  calls, whole = [], prepare.prepare
  tfds_files.tfrecord_files('tfds:celeb_a_tiny', places=[cache])

  def counted(*args, **options):
    calls.append(args)
    time.sleep(0.5)  # the other one comes meanwhile
    return whole(*args, **options)

  monkeypatch.setattr(prepare, 'prepare', counted)
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    make = lambda _: tfds_sets.ensure('tfds:celeb_a_tiny', 16, cache_dir=cache)  # noqa: E731
    first, second = pool.map(make, range(2))
  assert first == second and len(calls) == 1 and len(records.Shards(first)) == COUNT
  assert 'waiting for another process, which makes celeb_a_tiny-train-16' in capsys.readouterr().err


def test_an_interrupted_preparation_continues(cache, monkeypatch, capsys):
  process = workers._process

  def interrupted(source, options, i, name):
    if i == 4:
      raise KeyboardInterrupt
    return process(source, options, i, name)

  monkeypatch.setattr(workers, '_process', interrupted)
  monkeypatch.setattr(workers, '_CHUNK', 1)
  monkeypatch.setattr(os, 'cpu_count', lambda: 1)
  with pytest.raises(KeyboardInterrupt):
    tfds_sets.ensure('tfds:celeb_a_tiny', 16)
  monkeypatch.setattr(workers, '_process', process)
  capsys.readouterr()
  assert len(records.Shards(tfds_sets.ensure('tfds:celeb_a_tiny', 16))) == COUNT
  shown = capsys.readouterr().err
  assert '2 of 3 shards are finished already' in shown and 'fetches' not in shown


def test_a_download_that_fails_is_one_line(cache, monkeypatch):
  with socket.socket() as silent:
    silent.bind(('127.0.0.1', 0))
    silent.listen()  # takes connections and never answers
    monkeypatch.setattr(CelebATiny, 'url', f'http://127.0.0.1:{silent.getsockname()[1]}/x.zip')
    monkeypatch.setattr(tfds_files, '_READ_SECONDS', 0.2)
    monkeypatch.setattr(tfds_files, '_TRIES', 0)
    monkeypatch.setenv('no_proxy', '*')
    begin = time.monotonic()
    with pytest.raises(UserError) as error:
      tfds_sets.ensure('tfds:celeb_a_tiny', 16)
  assert time.monotonic() - begin < 30
  message = str(error.value)
  assert (
    message.startswith('TFDS cannot fetch celeb_a_tiny: 127.0.0.1 cannot be reached. ')
    and '\n' not in message
  )
  assert (
    'Download img_align_celeba.zip yourself (the CelebA project; its downloads have a daily '
    'quota), run python -m jax3dgan.data.prepare --source=img_align_celeba.zip --out=data/celeba16 '
    '--resolution=16 --crop=celeba and set --config.data.source=data/celeba16.'
  ) in message


def test_what_tfds_does_not_have(cache):
  with pytest.raises(UserError, match='TFDS cannot open'):
    tfds_sets.ensure('tfds:no_such_faces', 32)
  with pytest.raises(UserError, match="no split 'nowhere'. Choose one of train"):
    tfds_sets.ensure('tfds:celeb_a_tiny', 32, split='nowhere')


def test_a_cache_that_cannot_be_written(cache):
  cache.write_text('')
  tfds_files.tfrecord_files('tfds:celeb_a_tiny', places=[cache.parent / 'tfds'])
  with pytest.raises(UserError, match='JAX3DGAN_CACHE or --config.data.cache_dir'):
    tfds_sets.ensure('tfds:celeb_a_tiny', 16)
