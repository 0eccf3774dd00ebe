"""Making the toys: determinism, a cache that survives accidents, the TFDS builder."""

import concurrent.futures
import json
import pathlib

import numpy as np
import pytest

from jax3dgan.data import images, records
from jax3dgan.data.builders import cached
from jax3dgan.data.builders.toys import generate, scene
from jax3dgan.errors import UserError


def test_image_depends_on_its_number_alone():
  few = list(generate.examples('train', 2))
  more = list(generate.examples('train', 4))
  for a, b in zip(few, more[:2], strict=True):
    assert a['key'] == b['key'] and a['image'] == b['image']
    np.testing.assert_array_equal(a['label'], b['label'])
  assert len({e['image'] for e in more}) == 4
  assert next(generate.examples('test', 1))['image'] != few[0]['image']


def test_made_split_is_a_data_set_and_is_not_made_twice(tmp_path, monkeypatch):
  directory = generate.ensure('train', tmp_path, 3)
  shards = records.Shards(directory)
  assert len(shards) == 3 and shards.resolution == scene.RESOLUTION and shards.labelled
  expected = next(generate.examples('train', 1))
  record = shards.read(0)
  assert record.image == expected['image'] and record.key == 'train-000000'
  np.testing.assert_array_equal(record.label, expected['label'])
  shards.close()
  monkeypatch.setattr(generate, '_example', _refuse)
  assert generate.ensure('train', tmp_path, 3) == directory


def _refuse(*_):
  raise AssertionError('made again')


@pytest.fixture
def quick(monkeypatch):
  """Generation without rendering: tests of the cache need no pictures."""
  png = images.encode_png(np.full((64, 64, 3), 255, np.uint8))
  calls = []

  def example(split, i, masks=False):
    assert not masks
    calls.append(i)
    return {'image': png, 'label': np.arange(25, dtype=np.float32), 'key': f'{split}-{i}'}

  monkeypatch.setattr(generate, '_example', example)
  return calls


def test_interrupted_generation_continues_where_it_was(tmp_path, quick, monkeypatch):
  monkeypatch.setattr(generate, '_SHARD_SIZE', 2)
  monkeypatch.setattr(generate, '_CHUNK', 1)
  example = generate._example

  def interrupted(split, i, masks=False):
    if i == 3:
      raise KeyboardInterrupt
    return example(split, i)

  monkeypatch.setattr(generate, '_example', interrupted)
  with pytest.raises(KeyboardInterrupt):
    generate.ensure('train', tmp_path, 5)
  folder = tmp_path / 'toys-v1'
  assert [path.name for path in folder.iterdir() if path.is_dir()] == ['.train-5.partial']
  monkeypatch.setattr(generate, '_example', example)
  assert len(records.Shards(generate.ensure('train', tmp_path, 5))) == 5
  assert sorted(quick) == [0, 1, 2, 2, 3, 4]  # the first shard was finished
  assert [path.name for path in folder.iterdir() if path.is_dir()] == ['train-5']


def test_what_a_killed_process_left_is_not_trusted(tmp_path, quick):
  for name in ('.train-5.partial', 'train-5'):
    left = tmp_path / 'toys-v1' / name
    left.mkdir(parents=True)
    (left / 'shard-00000.tfrecord').write_bytes(b'half')
  directory = generate.ensure('train', tmp_path, 5)
  assert len(records.Shards(directory)) == 5 and len(quick) == 5


@pytest.mark.parametrize('damage', ['bit', 'truncated', 'missing', 'index', 'foreign', 'version'])
def test_damaged_cache_is_made_again(tmp_path, quick, capsys, damage):
  directory = pathlib.Path(generate.ensure('train', tmp_path, 2))
  shard, index = directory / 'shard-00000.tfrecord', directory / records.INDEX
  content = shard.read_bytes()
  if damage == 'bit':
    shard.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
  elif damage == 'truncated':
    shard.write_bytes(content[:100])
  elif damage == 'missing':
    shard.unlink()
  elif damage == 'index':
    index.write_text('{"format": "jax3')
  elif damage == 'foreign':
    index.write_text(json.dumps({'format': 'jax3dgan-shards', 'version': 1}))
  else:
    changed = json.loads(index.read_text())
    changed['toys']['version'] += 1
    index.write_text(json.dumps(changed))
  assert generate.ensure('train', tmp_path, 2) == str(directory)
  assert 'damaged' in capsys.readouterr().err
  assert shard.read_bytes() == content and len(quick) == 4
  assert cached.is_complete(str(directory), 2, generate._made_by('train'))


def test_of_two_at_once_one_makes_it(tmp_path, quick):
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    first, second = pool.map(lambda _: generate.ensure('train', tmp_path, 40), range(2))
  assert first == second and len(quick) == 40
  assert cached.is_complete(first, 40, generate._made_by('train'))


def test_progress_says_how_far(tmp_path, quick, capsys):
  generate.ensure('train', tmp_path, 5)
  assert '5/5' in capsys.readouterr().err


def test_errors_name_the_remedy(tmp_path, quick):
  with pytest.raises(UserError, match='train, test'):
    generate.ensure('validation', tmp_path)
  with pytest.raises(UserError, match='one or more'):
    generate.ensure('train', tmp_path, 0)
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='JAX3DGAN_CACHE'):
    generate.ensure('train', tmp_path / 'file', 2)


@pytest.mark.filterwarnings('ignore')  # TensorFlow's own, at import.
def test_tfds_builder_has_the_same_images(tmp_path):
  pytest.importorskip('tensorflow')
  tfds = pytest.importorskip('tensorflow_datasets')
  from jax3dgan.data.builders.toys import toys_dataset_builder as builders

  config = builders.ToysConfig(name='tiny', truth=True, num_images={'test': 2})
  builder = builders.Builder(data_dir=tmp_path, config=config)
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=1))
  read = {bytes(e['label']): e for e in tfds.as_numpy(builder.as_dataset(split='test'))}
  assert len(read) == 2
  for made in generate.examples('test', 2):
    example, truth = read[made['label'].tobytes()], generate.truth(made['extras'])
    np.testing.assert_array_equal(example['image'], images.decode(made['image']))
    np.testing.assert_array_equal(example['depth'], truth['depth'])
    np.testing.assert_array_equal(example['mask'], truth['mask'])
    np.testing.assert_array_equal(example['second']['image'], truth['second']['image'])
    np.testing.assert_array_equal(example['second']['label'], truth['second']['label'])
