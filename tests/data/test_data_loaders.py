"""Both loaders: the same images for the same step, on any host, from any position."""

import importlib
import json
import os
import re
import subprocess
import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras, discriminators, generators, recipes
from jax3dgan import config as config_lib
from jax3dgan.data import arrays, feed, first_use, images, labels, order, pipeline, records, skips
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.evaluation import real
from jax3dgan.training import schedule

COUNT = 21
_LABELS = np.asarray(
  cameras.orbit(0.1 * np.arange(COUNT), 0.05 * np.arange(COUNT), 2.0, 30.0).label()
)


def _example(i):
  rng = np.random.default_rng(i)
  return {
    'image': rng.integers(0, 256, (64, 64, 3), dtype=np.uint8),
    'label': _LABELS[i],
    'key': str(i),
  }


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
  directory = tmp_path_factory.mktemp('shards')
  examples = (_example(i) for i in range(COUNT))
  records.write_dataset(directory, examples, resolution=64, shard_size=8)
  return str(directory)


def _open(source, loader='arrays', resolution=64, flip=True, **fields):
  config = {'source': source, 'loader': loader, 'flip': flip, **fields}
  return pipeline.open_dataset(config, resolution)


def _expected(positions, resolution, seed, flip=True):
  """The batch by the definition."""
  indices = order.shuffled_index(np.asarray(positions), COUNT, seed)
  flips = order.flipped(np.asarray(positions), COUNT, seed) & flip
  image = np.stack([_example(i)['image'] for i in indices])
  label = np.stack([_example(i)['label'] for i in indices])
  image = images.box_downscale(image, 64 // resolution)
  image = np.where(flips[:, None, None, None], image[:, :, ::-1], image)
  return {'image': image, 'label': np.where(flips[:, None], labels.mirror(label), label)}


def _assert_equal(batch, expected):
  assert batch.keys() == expected.keys()
  for name, array in expected.items():
    assert batch[name].dtype == array.dtype
    np.testing.assert_array_equal(batch[name], array)


@pytest.mark.parametrize('loader', ['arrays', 'tfdata'])
@pytest.mark.parametrize('resolution', [64, 32])
# The second begins within an epoch far on and crosses into the next.
@pytest.mark.parametrize('position', [0, COUNT * 2**33 + 15])
@pytest.mark.parametrize('process_index', [0, 1])
def test_batches_are_those_of_the_definition(shards, loader, resolution, position, process_index):
  if loader == 'tfdata':
    pytest.importorskip('tensorflow')
  dataset = _open(shards, loader, resolution)
  iterator = pipeline.batches(
    dataset, 4, position, seed=5, process_index=process_index, process_count=2
  )
  for step in range(3):
    begin = position + step * 8 + process_index * 4
    batch = next(iterator)
    assert batch['image'].shape == (4, resolution, resolution, 3)
    _assert_equal(batch, _expected(begin + np.arange(4), resolution, 5))


@pytest.mark.parametrize('loader', ['arrays', 'tfdata'])
def test_hosts_may_read_more_than_a_batch(shards, loader):
  """Where the devices do not divide a batch, its last images are also the next one's first."""
  if loader == 'tfdata':
    pytest.importorskip('tensorflow')
  batches = pipeline.batches(
    _open(shards, loader), 4, 2, seed=3, process_index=1, process_count=2, stride=6
  )
  for first in (2, 8, 14, 20):
    _assert_equal(next(batches), _expected(range(first + 4, first + 8), 64, 3))


@pytest.mark.parametrize('loader', ['arrays', 'tfdata'])
def test_a_part_of_ones_own_data_is_its_first_images(shards, loader):
  dataset = _open(shards, loader, 64, flip=False, num_images=5)
  batch = next(pipeline.batches(dataset, 10, position=5))  # two epochs
  expected = order.shuffled_index(np.arange(5, 15), 5, 0)
  np.testing.assert_array_equal(batch['image'], [_example(i)['image'] for i in expected])
  assert len(dataset) == 5 and len(_open(shards, num_images=COUNT + 1)) == COUNT
  assert real.dataset_hash(dataset) != real.dataset_hash(_open(shards))


def test_a_split_of_data_that_has_none_is_refused(shards, tmp_path):
  with pytest.raises(UserError, match="split is 'test', and .* has no splits: .*split=train, or"):
    _open(shards, split='test')
  with zipfile.ZipFile(tmp_path / 'x.ZIP', 'w') as file:  # as Windows writes the ending
    file.writestr('a.png', images.encode_png(np.zeros((64, 64, 3), np.uint8)))
  assert len(_open(str(tmp_path / 'x.ZIP'))) == 1
  with pytest.raises(UserError, match="split is 'test', and a zip has no splits"):
    _open(str(tmp_path / 'x.ZIP'), split='test')


@pytest.fixture(scope='module')
def resident(shards):
  return arrays.resident(_open(shards, resolution=32), progress=False)


@pytest.mark.parametrize('position', [0, COUNT + 15, 2**31 + 3])
def test_draw_inside_jit_gives_the_same(resident, position):
  draw = jax.jit(lambda r, p: arrays.draw(r, p, 8, 5, True))
  batch = draw(resident, jnp.uint32(position))
  _assert_equal(batch, _expected(position + np.arange(8), 32, 5))


def test_draw_beyond_32_bits_and_for_a_device(resident):
  position = 2**40 + 7
  draw = jax.jit(lambda r, p, start: arrays.draw(r, p, 8, 5, True, start))
  batch = draw(resident, order.split(position, COUNT), jnp.int32(8))
  _assert_equal(batch, _expected(position + 8 + np.arange(8), 32, 5))


def test_without_flips(shards, resident):
  batch = next(pipeline.batches(_open(shards, resolution=32, flip=False), 4, 9, seed=1))
  _assert_equal(batch, _expected(9 + np.arange(4), 32, 1, flip=False))
  _assert_equal(
    arrays.draw(resident, jnp.uint32(9), 4, 1, False), _expected(9 + np.arange(4), 32, 1, False)
  )


@pytest.mark.parametrize('loader', ['arrays', 'tfdata'])
def test_every_epoch_in_the_same_order(shards, resident, loader):
  if loader == 'tfdata':
    pytest.importorskip('tensorflow')
  config = {'source': shards, 'loader': loader}
  dataset = pipeline.open_dataset(config, 32, same_order=True)
  expected = _expected(np.arange(4), 32, 5, flip=False)
  _assert_equal(next(pipeline.batches(dataset, 4, 3 * COUNT, seed=5)), expected)
  _assert_equal(
    arrays.draw(resident, jnp.uint32(3 * COUNT), 4, 5, False, same_order=True), expected
  )
  # Without, the fourth epoch is another.
  shuffled = next(pipeline.batches(pipeline.open_dataset(config, 32), 4, 3 * COUNT, seed=5))
  assert np.any(shuffled['image'] != expected['image'])


def test_zip_for_arrays(tmp_path):
  path = tmp_path / 'x.zip'
  with zipfile.ZipFile(path, 'w') as file:
    for i in range(COUNT):
      file.writestr(f'{i:03d}.png', images.encode_png(_example(i)['image']))
    file.writestr('dataset.json', json.dumps({'labels': None}))
  dataset = _open(str(path), resolution=32)
  assert not dataset.labelled
  expected = {'image': _expected(np.arange(4), 32, 0)['image']}
  _assert_equal(next(pipeline.batches(dataset, 4)), expected)
  on_device = arrays.resident(dataset, progress=False)
  _assert_equal(arrays.draw(on_device, jnp.uint32(0), 4, 0, True), expected)
  with pytest.raises(UserError, match='loader=arrays'):
    _open(str(path), 'tfdata')
  with pytest.raises(UserError, match='000.png of .* too small'):
    _open(str(path), resolution=128)[0]


def test_prefetch_to_device(shards):
  sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  dataset = _open(shards, resolution=32)
  for argument in (None, sharding):
    iterator = pipeline.prefetch_to_device(pipeline.batches(dataset, 4, seed=5), argument)
    for step in range(3):
      batch = next(iterator)
      assert isinstance(batch['image'], jax.Array)
      _assert_equal(batch, _expected(4 * step + np.arange(4), 32, 5))


def test_prefetch_keeps_order_and_ends():
  numbers = ({'a': np.full(1, i)} for i in range(5))
  assert [int(batch['a'][0]) for batch in pipeline.prefetch_to_device(numbers)] == list(range(5))


@pytest.mark.parametrize('loader', ['arrays', 'tfdata'])
def test_damage_is_named_by_both_loaders(tmp_path, loader):
  if loader == 'tfdata':
    pytest.importorskip('tensorflow')
  index = records.write_dataset(tmp_path, [_example(0)], resolution=64)
  path = tmp_path / index['shards'][0]['file']
  data = bytearray(path.read_bytes())
  data[100] ^= 1
  path.write_bytes(data)
  iterator = pipeline.batches(_open(str(tmp_path), loader), 2)
  with pytest.raises(UserError, match=r'record 0 of .*shard-00000\.tfrecord: checksum') as error:
    next(iterator)
  assert '\n' not in str(error.value)


def _turn(path, place):
  data = bytearray(path.read_bytes())
  data[place] ^= 1
  path.write_bytes(data)


@pytest.mark.parametrize('loader', ['arrays', 'tfdata', 'resident'])
def test_the_next_image_stands_in_for_a_damaged_one(tmp_path, loader):
  if loader == 'tfdata':
    pytest.importorskip('tensorflow')
  examples = [_example(i) for i in range(COUNT)]
  # A record that is whole, with half a PNG in it; and one whose checksum is wrong, just after.
  png = images.encode_png(examples[4]['image'])
  examples[4]['image'] = png[: len(png) // 2]
  index = records.write_dataset(tmp_path, examples, resolution=64)
  (shard,) = index['shards']
  _turn(tmp_path / shard['file'], shard['offsets'][5] + 40)
  config = {'source': str(tmp_path), 'loader': loader if loader == 'tfdata' else 'arrays'}
  dataset = pipeline.open_dataset(config, 64)
  told = []
  dataset.skips.say = told.append
  wanted = order.shuffled_index(np.arange(2 * COUNT), COUNT, 5)
  wanted = [6 if i in (4, 5) else int(i) for i in wanted]
  if loader == 'resident':
    data = arrays.resident(dataset, progress=False)
    found = [np.asarray(arrays.draw(data, jnp.uint32(0), 2 * COUNT, 5, False)['image'])]
  else:
    iterator = pipeline.batches(dataset, 7, seed=5)
    found = [next(iterator)['image'] for _ in range(6)]
  expected = np.stack([_example(i)['image'] for i in wanted])
  np.testing.assert_array_equal(np.concatenate(found), expected)
  assert len(dataset.skips) == len(told) == 2
  assert any('record 5 of' in line and 'checksum' in line for line in told)
  assert any('record 4 of' in line for line in told)
  config['max_skipped'] = 1
  with pytest.raises(UserError, match='2 of 21 images are damaged, and at most 1 may be'):
    strict = pipeline.open_dataset(config, 64)
    for i in range(COUNT):
      strict[i]


def test_a_shard_that_is_away_is_tried_again(tmp_path, monkeypatch):
  index = records.write_dataset(tmp_path, [_example(0), _example(1)], resolution=64)
  path = tmp_path / index['shards'][0]['file']
  dataset, told = _open(str(tmp_path)), []
  dataset.skips.say = told.append
  away = path.rename(tmp_path / 'away')
  come_back = lambda: away.exists() and away.rename(path)  # noqa: E731
  monkeypatch.setattr(skips.time, 'sleep', lambda s: len(told) == 2 and come_back())
  np.testing.assert_array_equal(dataset[1][0], _example(1)['image'])
  assert len(told) == 2 and 'Trying again in 4 s (2 of 4)' in told[1] and path.name in told[1]
  dataset.source.close()
  path.rename(away)
  monkeypatch.setattr(skips.time, 'sleep', lambda s: None)
  with pytest.raises(UserError, match='shard-00000.tfrecord: No such file.*Bring the file'):
    dataset[0]
  assert len(dataset.skips) == 0


def test_a_program_that_is_to_stop_waits_for_no_shard(tmp_path, monkeypatch):
  index = records.write_dataset(tmp_path, [_example(0), _example(1)], resolution=64)
  dataset, slept = _open(str(tmp_path)), []
  dataset.skips.say = lambda line: None
  (tmp_path / index['shards'][0]['file']).unlink()
  monkeypatch.setattr(skips.time, 'sleep', slept.append)
  dataset.skips.stops = lambda: len(slept) == 3  # within the first second
  for _ in range(2):  # also what other threads ask for
    with pytest.raises(UserError, match='No such file'):
      dataset[0]
  assert len(slept) == 3


def test_tensorflow_reads_the_shards(shards):
  tf = pytest.importorskip('tensorflow')
  files = tf.data.TFRecordDataset(sorted(tf.io.gfile.glob(shards + '/*.tfrecord')))
  description = {
    'image/encoded': tf.io.FixedLenFeature([], tf.string),
    'label': tf.io.FixedLenFeature([25], tf.float32),
  }
  for i, payload in enumerate(files.as_numpy_iterator()):
    example = tf.io.parse_single_example(payload, description)
    np.testing.assert_array_equal(tf.io.decode_png(example['image/encoded']), _example(i)['image'])
    np.testing.assert_array_equal(example['label'], _example(i)['label'])
  assert i == COUNT - 1


@pytest.fixture(scope='module')
def tfds_dir(tmp_path_factory):
  """A TFDS data set of images of several sizes, prepared on disk."""
  pytest.importorskip('tensorflow')
  tfds = pytest.importorskip('tensorflow_datasets')

  class TinyFaces(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version('1.0.0')

    def _info(self):
      features = tfds.features.FeaturesDict({'image': tfds.features.Image()})
      return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
      return {'train': self._generate_examples()}

    def _generate_examples(self):
      for i in range(6):
        yield i, {'image': np.full((60 + i, 50, 3), 40 * i, np.uint8)}

  directory = tmp_path_factory.mktemp('tfds')
  builder = TinyFaces(data_dir=directory, file_format='tfrecord')
  builder.download_and_prepare()
  return str(directory)


@pytest.mark.parametrize('loader', ['arrays', 'tfdata'])
def test_tfds_is_prepared_at_first_use(tfds_dir, tmp_path, monkeypatch, capsys, loader):
  from jax3dgan.data import prepare

  dataset = _open('tfds:tiny_faces', loader, 16, cache_dir=tfds_dir, num_images=0)
  shown = capsys.readouterr().err
  assert len(dataset) == 6 and dataset.source.resolution == 16
  iterator = pipeline.batches(dataset, 6, seed=2)
  first, second = next(iterator)['image'], next(iterator)['image']
  for batch in (first, second):
    assert sorted(batch[:, 0, 0, 0]) == [0, 40, 80, 120, 160, 200]
    np.testing.assert_array_equal(batch, np.broadcast_to(batch[:, :1, :1], batch.shape))
  resumed = next(pipeline.batches(dataset, 6, 6, seed=2))['image']
  np.testing.assert_array_equal(resumed, second)
  if loader == 'arrays':
    assert 'tfds:tiny_faces: prepared at 16²' in shown and 'prepare: 100%' in shown
  monkeypatch.setattr(prepare, 'prepare', None)  # never again
  _open('tfds:tiny_faces', loader, 16, cache_dir=tfds_dir)


def test_tfds_for_prepare(tfds_dir, tmp_path, monkeypatch):
  from jax3dgan.data import prepare

  monkeypatch.setenv('TFDS_DATA_DIR', tfds_dir)
  args = ['--source=tfds:tiny_faces', f'--out={tmp_path}', '--resolution=32', '--workers=1']
  assert prepare.main(args) == 0
  dataset = _open(str(tmp_path), resolution=32)
  assert sorted(int(dataset[i][0][0, 0, 0]) for i in range(6)) == [0, 40, 80, 120, 160, 200]


@pytest.mark.parametrize(
  'source, message',
  [
    ('nowhere/photos', '--source=IMAGES --out=nowhere/photos --resolution=32'),
    ('nowhere/celeba', '--source=tfds:celeb_a --out=nowhere/celeba --resolution=32'),
    ('nowhere/x.zip', 'nowhere/x.zip is not there'),
  ],
)
def test_data_that_is_not_there_says_how_to_get_it(source, message):
  with pytest.raises(UserError, match=message) as error:
    _open(source, resolution=32)
  assert '\n' not in str(error.value)


def test_data_of_a_config_that_is_not_there_says_what_it_is_made_from(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name, what, resolution in (
    ('cats', 'CATS', 64),
    ('cats_small', 'CATS', 64),
    ('carla', 'GRAF', 128),
    ('eg3d_cats64', 'CATS', 64),
    ('eg3d_ffhq', 'FFHQ', 512),
    ('eg3d_afhq', 'AFHQ', 512),
    ('eg3d_shapenet_cars', 'ShapeNet', 128),
  ):
    config = importlib.import_module(f'configs.{name}').get_config()
    with pytest.raises(UserError) as error:
      pipeline.open_dataset(
        config.data, config.resolution, False, first_use.largest_resolution(config)
      )
    source, message = config.data.source, str(error.value)
    assert message.startswith(f'The data {source} is not there. {config.data.origin} Make it with ')
    command = f'--source=IMAGES --out={source} --resolution={resolution}, where IMAGES is a folder'
    assert what in message and command in message and '\n' not in message


def test_toys_are_made_at_need(shards, monkeypatch):
  from jax3dgan.data.builders.toys import generate

  def ensure(split, cache_dir, num_images, masks):
    assert (split, cache_dir, num_images, masks) == ('heldout', None, 9, False)
    return shards

  monkeypatch.setattr(generate, 'ensure', ensure)
  assert len(_open('toys', resolution=32, split='heldout', cache_dir='', num_images=9)) == COUNT


def test_a_folder_that_is_not_prepared(tmp_path):
  with pytest.raises(UserError, match='jax3dgan.data.prepare'):
    _open(str(tmp_path))
  photos = tmp_path / 'my photos'
  photos.mkdir()
  (photos / 'a.jpg').write_bytes(b'')
  # No advice that puts shards among the photos.
  command = re.escape(f"--source='{photos}' --out='{photos}_32' --resolution=32")
  with pytest.raises(UserError, match=f'such as a.jpg.*{command}.*data.source='):
    _open(str(photos), resolution=32)
  with pytest.raises(UserError, match='is a file'):
    _open(str(photos / 'a.jpg'))
  (photos / 'prepare.json').write_text('{}')
  with pytest.raises(UserError, match='did not finish'):
    _open(str(photos))


@pytest.mark.parametrize(
  'change, message',
  [
    (lambda label: label * np.repeat(np.float32([0.5, 1]), [16, 9]), 'last row'),
    (lambda label: label * np.float32([*[0.5, 0.5, 0.5, 1] * 3, *[1] * 13]), '0.5 long'),
    (lambda label: label * np.repeat(np.float32([1, 512]), [16, 9]), 'in pixels'),
    (lambda label: label * 0, 'no cameras'),
  ],
)
def test_shards_of_labels_that_are_no_cameras(tmp_path, change, message):
  """Of a version that did not check them: the index's means show it."""
  examples = ({**_example(i), 'label': change(_LABELS[i])} for i in range(3))
  records.write_dataset(tmp_path, examples, resolution=64)
  with pytest.raises(UserError, match=message):
    _open(str(tmp_path))


@pytest.mark.parametrize('resolution, why', [(128, 'smaller than'), (48, 'not a multiple of')])
def test_wrong_resolution(shards, resolution, why):
  with pytest.raises(UserError, match=why + r'.*--resolution=' + str(resolution)):
    _open(shards, resolution=resolution)


def test_unknown_loader(shards):
  with pytest.raises(UserError, match='arrays, tfdata'):
    _open(shards, 'torch')


def test_too_much_for_the_memory():
  for on_host, on_device in ((2**60, 0), (0, 2**60)):
    with pytest.raises(UserError, match='on_device=False'):
      arrays._check_memory(on_host, on_device, 1)
  memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  arrays._check_memory(memory // 4, memory // 4, 1)
  with pytest.raises(UserError, match='this machine has'):  # the devices of a CPU share it
    arrays._check_memory(memory // 4, memory // 4, 3)


def test_arrays_need_no_tensorflow(shards):
  code = f"""
import sys
sys.modules['tensorflow'] = sys.modules['tensorflow_datasets'] = None
from jax3dgan.data import arrays, pipeline, prepare
config = dict(source={shards!r}, loader='arrays', flip=True)
assert next(pipeline.batches(pipeline.open_dataset(config, 32), 4))['image'].shape[0] == 4
for _ in range(2):
  dataset = pipeline.open_dataset(dict(config, loader='tfdata'), 32)
  assert dataset.loader == 'arrays'
iterator = pipeline.batches(dataset, 4)  # its threads read on when the interpreter exits
assert next(iterator)['image'].shape[0] == 4
"""
  result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
  assert result.returncode == 0, result.stderr
  (line,) = result.stderr.splitlines()
  assert line.startswith('TensorFlow is not installed: images are read with data.loader=arrays')


def test_closed_shards_open_again(shards):
  source = records.Shards(shards)
  source.read(0)
  source.close()
  assert source.read(1).key == '1'
  source.close()


@pytest.mark.parametrize(
  'recipe, label_dim, remedy',
  [
    ('eg3d', 25, 'pose prior: --config.data.use_labels=False --config.discriminator.label_dim=0.'),
    ('eg3d', 0, 'pose prior: --config.data.use_labels=False.'),
    ('nerf', 0, 'no camera labels. Prepare it with a dataset.json.'),  # it needs them
  ],
)
def test_data_without_labels_name_all_flags_of_training_without(
  recipe, label_dim, remedy, tmp_path
):
  examples = [{'image': np.zeros((16, 16, 3), np.uint8), 'key': 'a'}]
  records.write_dataset(tmp_path, examples, resolution=16)
  config = config_lib.tiny(config_lib.base_config(recipe))
  config.data.update(source=str(tmp_path), loader='arrays', use_labels=True)
  if recipe == 'eg3d':
    config.discriminator.label_dim = label_dim
  mesh = parallel.make_mesh()
  with pytest.raises(UserError) as error:
    feed.Feed(config, mesh, schedule.stages(config, mesh.size)[0])
  assert str(error.value).endswith(remedy)
  if recipe == 'eg3d':  # which is accepted
    config.data.use_labels, config.discriminator.label_dim = False, 0
    networks = generators.create(config), discriminators.create(config.discriminator)
    recipes.check(config, *networks, schedule.stages(config, mesh.size))
