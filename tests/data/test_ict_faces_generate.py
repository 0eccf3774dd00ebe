"""Making the faces: the cache and its accidents, processes, the commands that use it."""

import concurrent.futures
import json
import os
import pathlib

import ict_synthetic
import numpy as np
import PIL.Image
import pytest

from jax3dgan.data import pipeline, prepare, records
from jax3dgan.data.builders.ict_faces import convert, generate, model, sheet
from jax3dgan.errors import UserError


@pytest.fixture(scope='module')
def source(tmp_path_factory):
  """A source whose model is made of ellipsoids."""
  return 'ict:' + ict_synthetic.write(tmp_path_factory.mktemp('model'))


@pytest.fixture
def calls(monkeypatch):
  """Shards of three images, and the numbers of those that are rendered."""
  rendered, example = [], generate.example

  def counted(faces, source, split, i, resolution):
    rendered.append(i)
    return example(faces, source, split, i, resolution)

  monkeypatch.setattr(generate, 'example', counted)
  monkeypatch.setattr(generate, '_SHARD_SIZE', 3)
  return rendered


def test_source_is_opened_as_any_data_set(source, tmp_path, calls):
  data = dict(source=source, loader='arrays', cache_dir=str(tmp_path), num_images=7)
  dataset = pipeline.open_dataset(data, 32)
  assert len(dataset) == 7 and dataset.labelled and dataset.resolution == 32
  batch = next(pipeline.batches(dataset, 4))
  assert batch['image'].shape == (4, 32, 32, 3) and batch['label'].shape == (4, 25)
  assert sorted(calls) == list(range(7))
  again = pipeline.open_dataset(data, 64)
  assert len(calls) == 7  # From the cache.
  record = again.record(2)
  expected = generate.example(model.load(source[4:]), generate.parse(source), 'train', 2, 64)
  assert record.image == expected['image'] and record.key == 'train-000002'
  np.testing.assert_array_equal(record.label, expected['label'])
  for name, count in (('identity', 100), ('expression', len(ict_synthetic.NAMES))):
    assert len(record.features[name]) == count
    np.testing.assert_array_equal(record.features[name], expected['extras'][name])
  assert 'depth' not in record.features
  index = again.source.index
  assert index['ict_faces']['model_sha256'] == model.checksum(source[4:])


def test_test_split_has_its_truth(source, tmp_path):
  shards = records.Shards(generate.ensure(source, 64, 'test', tmp_path, 2))
  found = generate.truth(shards.read(1).features)
  shards.close()
  expected = generate.examples_with_truth(source, 2)[1]
  for name in ('depth', 'mask', 'identity', 'expression'):
    np.testing.assert_array_equal(found[name], expected[name])
  for name, value in expected['second'].items():
    np.testing.assert_array_equal(found['second'][name], value)


def test_interrupted_making_continues_where_it_was(source, tmp_path, calls, monkeypatch):
  example = generate.example

  def interrupted(faces, source, split, i, resolution):
    if i == 5:
      raise KeyboardInterrupt
    return example(faces, source, split, i, resolution)

  monkeypatch.setattr(generate, 'example', interrupted)
  monkeypatch.setattr(generate, '_CHUNK', 1)
  with pytest.raises(KeyboardInterrupt):
    generate.ensure(source, 64, cache_dir=tmp_path, num_images=8)
  monkeypatch.setattr(generate, 'example', example)
  assert sorted(calls) == [0, 1, 2, 3, 4]
  directory = generate.ensure(source, 64, cache_dir=tmp_path, num_images=8)
  assert sorted(calls) == [0, 1, 2, 3, 3, 4, 4, 5, 6, 7]  # The first shard was finished.
  whole = generate.ensure(source, 64, cache_dir=tmp_path / 'other', num_images=8)
  for name in os.listdir(whole):
    assert (pathlib.Path(directory) / name).read_bytes() == (
      pathlib.Path(whole) / name
    ).read_bytes()


@pytest.mark.parametrize('damage', ['bit', 'missing', 'index', 'version'])
def test_damaged_cache_is_made_again(source, tmp_path, calls, capsys, damage):
  directory = pathlib.Path(generate.ensure(source, 64, cache_dir=tmp_path, num_images=2))
  shard, index = directory / 'shard-00000.tfrecord', directory / records.INDEX
  content = shard.read_bytes()
  if damage == 'bit':
    shard.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
  elif damage == 'missing':
    shard.unlink()
  elif damage == 'index':
    index.write_text('{"format": "jax3')
  else:
    changed = json.loads(index.read_text())
    changed['ict_faces']['version'] += 1
    index.write_text(json.dumps(changed))
  assert generate.ensure(source, 64, cache_dir=tmp_path, num_images=2) == str(directory)
  assert 'damaged' in capsys.readouterr().err
  assert shard.read_bytes() == content and len(calls) == 4


def test_of_two_at_once_one_makes_it(source, tmp_path, calls):
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    futures = [
      pool.submit(generate.ensure, source, 64, cache_dir=tmp_path, num_images=4) for _ in range(2)
    ]
  assert futures[0].result() == futures[1].result() and len(calls) == 4


def test_processes_make_the_same_bytes(source, tmp_path, monkeypatch):
  monkeypatch.setattr(generate, '_FEW', 4)
  monkeypatch.setattr(generate, '_CHUNK', 3)
  parsed = generate.parse(source)
  for workers in (1, 2):
    generate.write(parsed, tmp_path / str(workers), 64, num_images=8, num_workers=workers)
  names = sorted(os.listdir(tmp_path / '1'))
  assert names == sorted(os.listdir(tmp_path / '2')) and records.INDEX in names
  for name in names:
    assert (tmp_path / '1' / name).read_bytes() == (tmp_path / '2' / name).read_bytes()


def test_prepare_renders_faces(source, tmp_path, capsys):
  out = tmp_path / 'faces'
  command = [f'--source={source}?background=varied', f'--out={out}', '--resolution=48']
  assert prepare.main([*command, '--num-images=3', '--split=test']) == 0
  assert '3 images of 48 pixels' in capsys.readouterr().out
  dataset = pipeline.open_dataset(dict(source=str(out), loader='arrays'), 24)
  assert len(dataset) == 3 and dataset.labelled
  assert generate.truth(dataset.record(0).features)['depth'].shape == (48, 48)
  (tmp_path / 'photos').mkdir()
  PIL.Image.new('RGB', (32, 32)).save(tmp_path / 'photos' / 'a.png')
  photos = [f'--source={tmp_path / "photos"}', f'--out={tmp_path / "out"}', '--resolution=16']
  assert prepare.main(photos) == 0
  for args, words in (
    ([*command, '--crop=0.5'], 'Leave out'),
    ([command[0], photos[1], '--resolution=16'], 'another data set'),
    ([*photos, '--num-images=3'], '--num-images is of faces alone'),
    ([f'--source=ict:{tmp_path}/none', command[1], '--resolution=64'], 'no folder'),
  ):
    assert prepare.main(args) == 1
    assert words in capsys.readouterr().err


def test_sheet_shows_them(source, tmp_path, capsys):
  out = tmp_path / 'sheet.png'
  args = [f'--source={source}', f'--out={out}', '--resolution=32', '--num-images=2']
  assert sheet.main(args) == 0
  with PIL.Image.open(out) as image:
    picture = np.asarray(image.convert('RGB'))
  assert picture.shape[1] > 5 * 32 and picture.std() > 20
  assert sheet.main([args[0], args[1], '--num-images=0']) == 1
  assert '--num-images at least 1' in capsys.readouterr().err


def test_sources_are_read_or_refused(source, tmp_path, monkeypatch):
  assert generate.parse('ict:a/b') == generate.Source('a/b', 'white')
  assert generate.parse('ict:a?background=varied') == generate.Source('a', 'varied')
  monkeypatch.delenv('ICT_FACE_MODEL', raising=False)
  with pytest.raises(UserError, match='ICT_FACE_MODEL'):
    generate.parse('ict:')
  monkeypatch.setenv('ICT_FACE_MODEL', '/somewhere')
  assert generate.parse('ict:').folder == '/somewhere'
  for wrong in ('ict:a?background=blue', 'ict:a?ground=white'):
    with pytest.raises(UserError, match='background=white or background=varied'):
      generate.parse(wrong)
  with pytest.raises(UserError, match='train, test'):
    generate.ensure(source, 64, 'validation', tmp_path)
  with pytest.raises(UserError, match='one or more'):
    generate.ensure(source, 64, cache_dir=tmp_path, num_images=0)
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match='JAX3DGAN_CACHE'):
    generate.ensure(source, 64, cache_dir=tmp_path / 'file', num_images=1)


def _write_objs(folder, arrays):
  """The same model as OBJ files."""
  uv = [f'vt {u:.6f} {v:.6f}' for u, v in arrays['uv']]

  def write(name, vertices):
    lines = ['# a mesh', *(f'v {x:.6f} {y:.6f} {z:.6f}' for x, y, z in vertices), *uv]
    numbers = np.stack([arrays['faces'], arrays['faces_uv']], axis=-1) + 1
    corners = ([f'{i}/{j}' for i, j in quad] for quad in numbers)
    lines += ['f ' + ' '.join(c[:3] if c[2] == c[3] else c) for c in corners]
    (folder / f'{name}.obj').write_text('\n'.join(lines))

  neutral = arrays['neutral'].astype(np.float64)
  write('generic_neutral_mesh', neutral)
  for k in range(3):
    write(f'identity{k:03d}', neutral + arrays['identity'][k])
  for name, shape in zip(arrays['expression_names'], arrays['expression'], strict=True):
    write(name, neutral + shape)


def test_obj_files_become_the_model(tmp_path):
  arrays = ict_synthetic.build()
  # The tip of the nose stands out, and a quad is a triangle.
  arrays['neutral'][arrays['landmarks68'][30], 2] += 2.0
  for name in ('faces', 'faces_uv'):
    arrays[name][5, 3] = arrays[name][5, 2]
  _write_objs(tmp_path, arrays)
  parts = {name: arrays[name] for name in ('part_names', 'part_ranges', 'landmarks68')}
  found = convert.convert(tmp_path, parts)
  np.testing.assert_allclose(found['neutral'], arrays['neutral'], atol=1e-6)
  np.testing.assert_allclose(found['identity'], arrays['identity'][:3], atol=1e-3)
  np.testing.assert_allclose(found['expression'], arrays['expression'], atol=1e-3)
  np.testing.assert_array_equal(found['faces'], arrays['faces'])
  np.testing.assert_array_equal(found['faces_uv'], arrays['faces_uv'])
  np.testing.assert_allclose(found['uv'], arrays['uv'], atol=1e-6)
  assert tuple(found['expression_names']) == ict_synthetic.NAMES
  with pytest.raises(UserError, match='26719 and 26384'):
    convert.convert(tmp_path)
  other = {**parts, 'landmarks68': parts['landmarks68'][::-1]}
  with pytest.raises(UserError, match='landmarks elsewhere'):
    convert.convert(tmp_path, other)
  (tmp_path / 'jawOpen.obj').write_text('v 1 2 3')
  with pytest.raises(UserError, match='jawOpen.obj has 1 vertices'):
    convert.convert(tmp_path, parts)


def test_converting_names_what_is_missing(tmp_path, capsys):
  assert convert.main([f'--source={tmp_path}', f'--out={tmp_path / "out"}']) == 1
  assert 'no generic_neutral_mesh.obj' in capsys.readouterr().err


def test_layout_is_that_of_the_model_itself():
  real = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'ict_face_3dmm'
  if not (real / model.FILE).exists():
    pytest.skip('the ICT face model is not in ../shared/data/ict_face_3dmm')
  parts = convert.layout()
  with np.load(real / model.FILE) as arrays:
    np.testing.assert_array_equal(parts['landmarks68'], arrays['landmarks68'])
    np.testing.assert_array_equal(parts['part_names'][:9], arrays['part_names'][:9])
    np.testing.assert_array_equal(parts['part_ranges'][:9], arrays['part_ranges'][:9])
    assert parts['part_ranges'][-1, 1] + 1 == len(arrays['neutral'])
    marks = arrays['neutral'][parts['landmarks68']]
  assert marks[:, 2].argmax() == 30 and np.abs(marks[[27, 28, 29, 30, 8], 0]).max() < 0.1
