"""What people bring to `prepare`: names, endings, links, encodings, archives, labels."""

import io
import json
import os
import time
import unicodedata
import zipfile

import numpy as np
import pytest
from PIL import Image, features

from jax3dgan import cameras, texts
from jax3dgan.data import (
  folders,
  images,
  names,
  pipeline,
  prepare,
  records,
  sources,
  tfrecord,
  unfinished,
)
from jax3dgan.errors import UserError

COUNT = 4


def _pixels(i, size=12):
  return np.random.default_rng(i).integers(0, 256, (size, size, 3), dtype=np.uint8)


def _png(i, size=12):
  return images.encode_png(_pixels(i, size))


def _label(i):
  return np.asarray(cameras.orbit(0.2 * i, 0.1 * i, 2.0, 30.0).label())


def _table(file_names):
  labels = [[name, _label(i).tolist()] for i, name in enumerate(file_names)]
  return json.dumps({'labels': labels})


def _write(folder, file_names, size=12):
  for i, name in enumerate(file_names):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_png(i, size))
  return folder


def _zip(path, entries):
  with zipfile.ZipFile(path, 'w') as file:
    for name, data in entries.items():
      info = zipfile.ZipInfo('x')
      info.filename = name  # as it is, also with backslashes
      file.writestr(info, data)
  return path


def _run(source, out, *flags):
  flags = ('--resolution=8', '--workers=1', *flags)
  return prepare.main([f'--source={source}', f'--out={out}', *flags])


def _check_labels(source):
  """Each image has its own label: that of its number."""
  assert source.labelled and len(source) == COUNT
  for i in range(COUNT):
    record = source.read(i)
    number = next(n for n in range(COUNT) if record.image == _png(n))
    np.testing.assert_array_equal(record.label, _label(number))


NAMES = [f'00000/img{i}.png' for i in range(COUNT)]


@pytest.mark.parametrize('separator', ['/', '\\'])
def test_a_zip_made_of_a_folder(tmp_path, separator):
  entries = {f'mydata/{name}': _png(i) for i, name in enumerate(NAMES)}
  entries |= {f'__MACOSX/mydata/{name}': b'\0\5\x16\7' for name in NAMES}
  entries |= {'mydata/dataset.json': _table(NAMES), '__MACOSX/mydata/dataset.json': b'\0'}
  entries = {name.replace('/', separator): data for name, data in entries.items()}
  _check_labels(sources.open_source(_zip(tmp_path / 'x.zip', entries)))


def test_labels_in_a_folder_below(tmp_path):
  _write(tmp_path / 'parent' / 'ffhq', NAMES)
  (tmp_path / 'parent' / 'ffhq' / 'dataset.json').write_text(_table(NAMES))
  _check_labels(sources.open_source(str(tmp_path / 'parent')))


@pytest.mark.parametrize(
  'spell',
  [
    lambda name: f'./{name}',
    lambda name: name.replace('/', '\\'),
    lambda name: name.replace('.png', '.PNG'),
    lambda name: name.replace('.png', '.jpg'),
    lambda name: f'/home/me/data/{name}',
    lambda name: name.rpartition('/')[2],
    lambda name: unicodedata.normalize('NFC', name),
  ],
)
def test_names_of_labels_that_are_spelled_otherwise(tmp_path, spell):
  file_names = [unicodedata.normalize('NFD', f'photos/mädchen{i}.png') for i in range(COUNT)]
  _write(tmp_path, file_names)
  (tmp_path / 'dataset.json').write_text(_table(map(spell, file_names)))
  source = sources.open_source(str(tmp_path))
  _check_labels(source)
  (note,) = source.notes or ['another spelling']  # backslashes are read as slashes anyway
  assert 'another spelling' in note


def test_what_could_mean_several_means_none():
  assert names.match(['a/1.png', 'b/1.png'], ['1.png']) == {}
  assert names.match(['1.png'], ['a/1.png', 'b/1.png']) == {}
  assert names.match(['1.png', '1.jpg'], ['1.png']) == {'1.png': '1.png'}
  assert names.match(['A.png', 'b.png'], ['a.png', 'b.jpg']) == {'A.png': 'a.png', 'b.png': 'b.jpg'}
  assert names.match([], ['a']) == {} == names.match(['a'], [])


def test_labels_of_other_images_are_named(tmp_path):
  _write(tmp_path, NAMES)
  (tmp_path / 'dataset.json').write_text(_table(['cat7.png']))
  with pytest.raises(UserError, match=r'such as cat7\.png, but of none .* such as 00000/img0\.png'):
    sources.open_source(str(tmp_path))


def test_endings_of_browsers_and_phones(tmp_path):
  endings = {'.jfif': 'JPEG', '.jpe': 'JPEG', '.tga': 'TGA', '.jp2': 'JPEG2000', '.avif': 'AVIF'}
  if not features.check('avif'):  # an older Pillow
    del endings['.avif']
  for i, (ending, kind) in enumerate(endings.items()):
    Image.fromarray(_pixels(i)).save(tmp_path / f'{i}{ending}', kind)
  (tmp_path / 'a.HEIC').write_bytes(b'\0\0\0\x24ftypheic')
  source = sources.open_source(str(tmp_path))
  assert len(source) == len(endings) and '1 .heic' in source.notes[0]
  for i in (2, 3):  # of no loss, by default
    np.testing.assert_array_equal(images.decode(source.read(i).image), _pixels(i))
  for i in range(len(source)):
    assert images.decode(source.read(i).image).shape == (12, 12, 3)
  for i, ending in enumerate(endings):
    (tmp_path / f'{i}{ending}').unlink()
  with pytest.raises(UserError, match=r'holds no image.*\(1 \.heic\).* It has 1 .HEIC\.'):
    sources.open_source(str(tmp_path))


def test_links_to_folders_are_followed_once(tmp_path):
  _write(tmp_path / 'elsewhere', ['1.png'])
  _write(tmp_path / 'in', ['a/0.png'])
  (tmp_path / 'in' / 'there').symlink_to(tmp_path / 'elsewhere')
  (tmp_path / 'in' / 'twice').symlink_to(tmp_path / 'elsewhere')
  (tmp_path / 'in' / 'a' / 'up').symlink_to(tmp_path / 'in')
  (tmp_path / 'elsewhere' / 'itself').symlink_to('itself')
  skipped = []
  found = list(folders.walk(tmp_path / 'in', skipped))
  assert sorted(found) == ['a/0.png', 'there/1.png', 'there/itself']
  assert len(skipped) == 2 and 'a/up' in ''.join(skipped) and 'twice' in ''.join(skipped)
  source = sources.open_source(str(tmp_path / 'in'))
  assert len(source) == 2 and source.notes == skipped


def test_a_link_that_leads_nowhere_is_one_image_less(tmp_path):
  source = _write(tmp_path / 'in', [f'{i}.png' for i in range(11)])
  (source / 'lost.png').symlink_to('/nowhere/lost.png')
  assert _run(source, tmp_path / 'out') == 0
  report = json.loads((tmp_path / 'out' / 'report.json').read_text())
  assert [item['file'] for item in report['files']] == ['lost.png']


def test_names_that_are_not_utf8(tmp_path, capsys):
  folder = os.fsencode(tmp_path) + b'/in'
  os.mkdir(folder)
  for i in range(COUNT):
    try:
      with open(folder + b'/m\xe4dchen%d.png' % i, 'wb') as file:
        file.write(_png(i))
    except OSError:
      pytest.skip('this file system has names in UTF-8 alone')
  (tmp_path / 'in' / 'dataset.json').write_text(_table(f'mädchen{i}.png' for i in range(COUNT)))
  assert _run(tmp_path / 'in', tmp_path / 'out') == 0
  shards = records.Shards(tmp_path / 'out')
  assert [shards.read(i).key for i in range(COUNT)] == [f'mädchen{i}.png' for i in range(COUNT)]
  np.testing.assert_array_equal(shards.read(1).label, _label(1))


def test_cameras_that_are_not_read_are_a_line(tmp_path):
  _write(tmp_path, ['a/b/0.png'])
  (tmp_path / 'a' / 'b' / 'transforms_train.json').write_text('{}')
  (note,) = sources.open_source(str(tmp_path)).notes
  assert 'a/b/transforms_train.json' in note and '--source' in note
  assert sources.open_source(str(tmp_path), False).notes == []  # --labels=none asks for this
  _write(tmp_path, ['c/images/0.png'])
  (tmp_path / 'c' / 'transforms.json').write_text('{}')
  (note,) = sources.open_source(str(tmp_path / 'c' / 'images')).notes
  assert '../transforms.json' in note


def test_a_folder_whose_name_is_a_pattern(tmp_path):
  folder = tmp_path / 'rec [1]'
  folder.mkdir()
  data = tfrecord.frame(records.encode_example({'image': _pixels(0), 'key': 'x'}))
  (folder / 'x.tfrecord').write_bytes(data)
  for spec in (folder, folder / '*.tfrecord', folder / 'x.tfrecord'):
    assert len(sources.open_source(str(spec))) == 1


def test_archives_beside_images_are_a_line(tmp_path):
  _write(tmp_path, ['preview.png'])
  (tmp_path / 'out').mkdir()
  for name in ('a.tfrecord-00000-of-00001', 'b.zip', 'out/shard-00000.tfrecord'):
    (tmp_path / name).write_bytes(b'')
  (note,) = sources.open_source(str(tmp_path)).notes
  assert note.startswith('2 archives or TFRecord files')


def test_records_of_stylegan(tmp_path):
  for level in (2, 3):
    size = 2**level
    examples = [
      {'shape': np.array([3, size, size]), 'data': _pixels(i, size).transpose(2, 0, 1).tobytes()}
      for i in range(2)
    ]
    frames = [tfrecord.frame(tfrecord.encode_example(example)) for example in examples]
    (tmp_path / f'cats-r{level:02d}.tfrecords').write_bytes(b''.join(frames))
  source = sources.open_source(str(tmp_path))
  assert len(source) == 2 and '8 pixels' in source.notes[0]
  for i in range(2):
    np.testing.assert_array_equal(images.decode(source.read(i).image), _pixels(i, 8))


def test_a_record_whose_label_is_no_camera(tmp_path):
  example = {'image': _pixels(0), 'key': 'x', 'label': _label(0)}
  bad = {**example, 'label': _label(0) * 2}
  frames = [tfrecord.frame(records.encode_example(each)) for each in (example, bad)]
  (tmp_path / 'x.tfrecord').write_bytes(b''.join(frames))
  source = sources.open_source(str(tmp_path))
  np.testing.assert_array_equal(source.read(0).label, _label(0))
  with pytest.raises(images.ImageError, match='its label is no camera'):
    source.read(1)


@pytest.mark.parametrize('is_dated', [True, False])
def test_changed_photos_are_noticed(tmp_path, capsys, is_dated):
  """Of the same names and sizes: the file's time, or its content, decides."""
  source = tmp_path / 'in'
  source.mkdir()
  for i in range(COUNT):
    Image.fromarray(_pixels(i)).save(source / f'{i}.bmp')
  assert _run(source, tmp_path / 'out', '--shard-size=2') == 0
  status = os.stat(source / '3.bmp')
  if not is_dated:  # a copy: another time, and nothing else
    os.utime(source / '3.bmp', ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    assert _run(source, tmp_path / 'out', '--shard-size=2') == 0
    return
  Image.fromarray(_pixels(9)).save(source / '3.bmp')
  assert os.stat(source / '3.bmp').st_size == status.st_size
  os.utime(source / '3.bmp', ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
  capsys.readouterr()
  assert _run(source, tmp_path / 'out', '--shard-size=2') == 1
  error = capsys.readouterr().err.strip().splitlines()[-1]
  assert '1 images have changed since' in error and '3.bmp' in error


def test_changed_photos_of_a_zip(tmp_path, capsys):
  bmp = io.BytesIO()
  Image.fromarray(_pixels(0)).save(bmp, 'BMP')
  path = _zip(tmp_path / 'x.zip', {'0.bmp': bmp.getvalue()})
  assert _run(path, tmp_path / 'out') == 0
  _zip(path, {'0.bmp': bmp.getvalue()[:-1] + b'\0'})
  assert _run(path, tmp_path / 'out') == 1
  assert '0.bmp' in capsys.readouterr().err


def test_which_images_are_new_or_gone(tmp_path, capsys):
  source = _write(tmp_path / 'in', NAMES)
  assert _run(source, tmp_path / 'out') == 0
  os.rename(source / NAMES[0], source / '00000/new.png')
  assert _run(source, tmp_path / 'out') == 1
  error = capsys.readouterr().err
  assert '1 images are new, such as 00000/new.png' in error and f'gone, such as {NAMES[0]}' in error


def test_a_folder_from_before_contents_were_noted_goes_on(tmp_path, capsys):
  source, out = _write(tmp_path / 'in', NAMES), tmp_path / 'out'
  assert _run(source, out) == 0
  sidecar = json.loads((out / 'shard-00000.json').read_text())
  del sidecar['sources']
  (out / 'shard-00000.json').write_text(json.dumps(sidecar))
  settings = json.loads((out / unfinished.SETTINGS).read_text())
  del settings['settings']['enlarge']
  (out / unfinished.SETTINGS).write_text(json.dumps(settings))
  capsys.readouterr()
  assert _run(source, out) == 0
  assert '1 of 1 shards are finished already' in capsys.readouterr().err


def test_small_photos_by_flags(tmp_path, capsys):
  source = _write(tmp_path / 'in', [f'{i}.png' for i in range(8)])
  _write(source, ['s0.png', 's1.png'], size=5)
  assert _run(source, tmp_path / 'a') == 1
  error = capsys.readouterr().err
  assert '--max-left-out=SHARE' in error and '--enlarge' in error
  assert _run(source, tmp_path / 'a', '--max-left-out=0.2') == 0
  assert len(records.Shards(tmp_path / 'a')) == 8
  assert _run(source, tmp_path / 'b', '--enlarge') == 0
  shards = records.Shards(tmp_path / 'b')
  enlarged = Image.fromarray(_pixels(0, 5)).resize((8, 8), Image.Resampling.LANCZOS)
  np.testing.assert_array_equal(images.decode(shards.read(8).image), np.asarray(enlarged))
  assert _run(source, tmp_path / 'b') == 1  # enlarged or not are different shards
  assert _run(source, tmp_path / 'c', '--max-left-out=1.5') == 1


def test_shards_do_not_lie_among_their_images(tmp_path, capsys):
  source = _write(tmp_path / 'in', NAMES)
  assert _run(source, source) == 1
  assert 'is the folder of the source' in capsys.readouterr().err
  assert sorted(os.listdir(source)) == ['00000']


def test_odd_cameras_are_one_warning(tmp_path, capsys):
  source = _write(tmp_path / 'in', NAMES)
  table = {}
  for i, name in enumerate(NAMES):
    label = _label(i).copy()
    label[:16].reshape(4, 4)[:3, 1:3] *= -1
    table[name] = label.tolist()
  (source / 'dataset.json').write_text(json.dumps({'labels': table}))
  assert _run(source, tmp_path / 'out') == 0
  error = capsys.readouterr().err
  assert error.count('warning: ') == 1 and 'OpenGL' in error


def test_what_is_no_camera_is_an_error_and_labels_can_be_left_out(tmp_path, capsys):
  source = _write(tmp_path / 'in', NAMES)
  table = {name: (_label(i) * 2).tolist() for i, name in enumerate(NAMES)}
  (source / 'dataset.json').write_text(json.dumps({'labels': table}))
  assert _run(source, tmp_path / 'out') == 1
  error = capsys.readouterr().err.strip().splitlines()[-1]
  assert f'the label of {NAMES[0]}' in error and '--labels=none' in error
  assert _run(source, tmp_path / 'out', '--labels=none') == 0


@pytest.mark.parametrize(
  'text, place',
  [
    ('{"a": [1,\n 2,\n ]}', 'line 2, column 3: a comma before a closing bracket'),
    ('{"a": 1,}', 'line 1, column 8: a comma'),
    ('{"a"\n 1}', 'line 2, column 2: Expecting'),
  ],
)
def test_where_json_is_wrong(text, place):
  with pytest.raises(UserError, match=place):
    texts.parse_json(text, 'x.json')


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
def test_json_of_any_editor(encoding):
  assert texts.parse_json('{"ä": 1}'.encode(encoding), 'x.json') == {'ä': 1}
  with pytest.raises(UserError, match='Save it as UTF-8'):
    texts.parse_json('{"ä": 1}'.encode('latin-1'), 'x.json')


def test_classes_are_no_cameras():
  with pytest.raises(UserError, match='classes'):
    sources.parse_labels(b'{"labels": [["a.png", 3]]}', 'dataset.json')


def test_a_zip_in_training_says_what_is_odd(tmp_path, capsys):
  table = dict.fromkeys(NAMES, _label(0).tolist())
  entries = {name: _png(i) for i, name in enumerate(NAMES)} | {'a.heic': b''}
  entries['dataset.json'] = json.dumps({'labels': table})
  path = _zip(tmp_path / 'x.ZIP', entries)
  pipeline.open_dataset({'source': str(path)}, 12)
  error = capsys.readouterr().err
  assert '1 .heic' in error and 'All cameras are the same' in error and error.count('\n') == 2


def test_many_names_are_matched_in_little_time():
  wanted = [f'{i // 100}/{i}.png' for i in range(20_000)]
  began = time.process_time()
  found = names.match(wanted, [f'/home/me/{name}' for name in wanted])
  assert len(found) == len(wanted) and found['0/7.png'] == '/home/me/0/7.png'
  assert time.process_time() - began < 10  # not the square of their number, some minutes
