"""Preparation: from folders, zips and TFRecords to shards; kills, damage, bad options."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from jax3dgan import cameras
from jax3dgan.data import images, labels, prepare, records, sources, unfinished, workers
from jax3dgan.errors import UserError


def _image(i, height=12, width=10):
  return np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _folder(path, count=12, **size):
  for i in range(count):
    file = path / f'd{i % 3}' / f'{i:03d}.png'
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(images.encode_png(_image(i, **size)))
  return path


def _label(i):
  """A camera of its own, which looks at the origin."""
  camera = cameras.orbit(0.1 * i - 0.5, 0.05 * i, 2.0 + 0.1 * i, 30.0 + i)
  return np.asarray(camera.label())


def _run(source, out, *args, resolution=8, num_workers=1):
  """Runs the command line in this process."""
  return prepare.main(
    [
      f'--source={source}',
      f'--out={out}',
      f'--resolution={resolution}',
      f'--workers={num_workers}',
      *args,
    ]
  )


def _hashes(out):
  """sha256 of each shard, from its bytes, checked against the index."""
  index = records.read_index(out)
  result = {}
  for entry in index['shards']:
    result[entry['file']] = hashlib.sha256((out / entry['file']).read_bytes()).hexdigest()
    assert result[entry['file']] == entry['sha256']
  return result


def test_nested_folder(tmp_path, capsys):
  source = _folder(tmp_path / 'in')
  (source / '.hidden.png').write_bytes(b'')
  (source / 'notes.txt').write_text('no image')
  assert _run(source, tmp_path / 'out', '--shard-size=5') == 0
  shards = records.Shards(tmp_path / 'out')
  assert len(shards) == 12 and shards.resolution == 8 and not shards.labelled
  keys = [shards.read(i).key for i in range(12)]
  assert keys == sorted(keys) and keys[0] == 'd0/000.png'
  for i, key in enumerate(keys):
    expected = images.crop_and_resize(_image(int(key[3:6])), 8)
    np.testing.assert_array_equal(images.decode(shards.read(i).image), expected)
  assert '12 images of 8 pixels, 0 left out, without labels.' in capsys.readouterr().out


def test_eg3d_zip_with_labels_mirrored_and_cropped(tmp_path):
  path = tmp_path / 'in.zip'
  with zipfile.ZipFile(path, 'w') as file:
    names = [f'00000/img{i:08d}.png' for i in range(4)]
    for i, name in enumerate(names):
      file.writestr(name, images.encode_png(_image(i, 16, 16)))
    table = [[name, _label(i).tolist()] for i, name in enumerate(names)]
    file.writestr('dataset.json', json.dumps({'labels': table}))
  assert _run(path, tmp_path / 'out', '--mirror', '--crop=0.5') == 0
  shards = records.Shards(tmp_path / 'out')
  assert len(shards) == 8 and shards.index['labels']['count'] == 8
  for i in range(4):
    straight, mirrored = shards.read(2 * i), shards.read(2 * i + 1)
    image = images.decode(straight.image)
    np.testing.assert_array_equal(image, _image(i, 16, 16)[4:12, 4:12])
    np.testing.assert_array_equal(images.decode(mirrored.image), image[:, ::-1])
    expected = labels.crop(_label(i), 16, 16, (4, 4, 8))
    np.testing.assert_array_equal(straight.label, expected)
    np.testing.assert_array_equal(mirrored.label, labels.mirror(expected))
    assert mirrored.key == straight.key + '#mirrored'


def test_labels_can_be_left_out_or_given(tmp_path):
  source = _folder(tmp_path / 'in', 3)
  table = {f'd{i}/{i:03d}.png': _label(i).tolist() for i in range(3)}
  given = tmp_path / 'labels.json'
  given.write_text(json.dumps({'labels': table}))
  assert _run(source, tmp_path / 'a', f'--labels={given}') == 0
  np.testing.assert_allclose(records.Shards(tmp_path / 'a').read(1).label[:16], _label(1)[:16])
  (source / 'dataset.json').write_text(given.read_text())
  assert _run(source, tmp_path / 'b', '--labels=none') == 0
  assert not records.Shards(tmp_path / 'b').labelled


def test_tfrecords_as_a_source(tmp_path):
  source = _folder(tmp_path / 'in')
  assert _run(source, tmp_path / 'a') == 0
  assert _run(tmp_path / 'a' / '*.tfrecord', tmp_path / 'b') == 0
  first, second = records.Shards(tmp_path / 'a'), records.Shards(tmp_path / 'b')
  for i in range(12):
    assert first.read(i).features.keys() == second.read(i).features.keys()
    assert first.read(i).image == second.read(i).image and first.read(i).key == second.read(i).key


def test_shards_do_not_depend_on_the_number_of_workers(tmp_path):
  source = _folder(tmp_path / 'in', 40)
  (source / 'd0' / '000.png').write_bytes(b'broken')
  assert _run(source, tmp_path / 'a', '--shard-size=16', num_workers=1) == 0
  assert _run(source, tmp_path / 'b', '--shard-size=16', num_workers=2) == 0
  assert _hashes(tmp_path / 'a') == _hashes(tmp_path / 'b') and len(_hashes(tmp_path / 'a')) == 3


def test_bad_images_are_left_out_and_named(tmp_path):
  source = _folder(tmp_path / 'in', 36)
  good = (source / 'd1' / '001.png').read_bytes()
  (source / 'd1' / '001.png').write_bytes(good[: len(good) // 2])
  (source / 'd2' / '002.png').write_bytes(b'not an image')
  (source / 'd0' / '003.png').write_bytes(images.encode_png(_image(0, 7, 30)))
  assert _run(source, tmp_path / 'out', '--shard-size=10') == 0
  report = json.loads((tmp_path / 'out' / 'report.json').read_text())
  assert report['images'] == 36 and report['left_out'] == 3
  causes = {item['file']: item['cause'] for item in report['files']}
  assert causes['d1/001.png'] == 'truncated'
  assert causes['d2/002.png'] == 'not an image'
  assert causes['d0/003.png'].startswith('too small (7 pixels')
  index = records.read_index(tmp_path / 'out')
  assert index['count'] == 33
  assert index['report']['causes'] == {'truncated': 1, 'not an image': 1, 'too small': 1}


def test_more_than_a_tenth_bad_is_an_error(tmp_path, capsys):
  source = _folder(tmp_path / 'in', 20)
  for i in range(3):
    (source / f'd{i}' / f'{i:03d}.png').write_bytes(b'')
  assert _run(source, tmp_path / 'out', '--shard-size=4') == 1
  error = capsys.readouterr().err.strip().splitlines()[-1]
  assert error.startswith('error: 3 of 20 images cannot be used, such as d0/000.png: empty file.')
  assert not (tmp_path / 'out' / 'index.json').exists()
  assert json.loads((tmp_path / 'out' / 'report.json').read_text())['left_out'] == 3


def test_labels_missing_for_one_image(tmp_path):
  source = _folder(tmp_path / 'in', 12)
  table = [[f'd{i % 3}/{i:03d}.png', _label(i).tolist()] for i in range(11)]
  (source / 'dataset.json').write_text(json.dumps({'labels': table}))
  assert _run(source, tmp_path / 'out') == 0
  report = json.loads((tmp_path / 'out' / 'report.json').read_text())
  (left_out,) = report['files']
  assert left_out['file'] == 'd2/011.png'
  assert left_out['cause'].startswith('has no label (in ') and 'd0/000.png' in left_out['cause']
  assert report['causes'] == {'has no label': 1}


def _start(source, out, shard_size=8, num_workers=2):
  return subprocess.Popen(
    [
      sys.executable,
      '-m',
      'jax3dgan.data.prepare',
      f'--source={source}',
      f'--out={out}',
      '--resolution=200',
      f'--shard-size={shard_size}',
      f'--workers={num_workers}',
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def _wait_until(condition, seconds=60):
  end = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < end, 'waited too long'
    time.sleep(0.02)


def _children(pid):
  """Process ids of the children (Linux)."""
  with open(f'/proc/{pid}/task/{pid}/children') as file:
    return [int(child) for child in file.read().split()]


def _alive(pid):
  try:
    with open(f'/proc/{pid}/stat') as file:
      return file.read().split(')')[1].split()[0] != 'Z'
  except FileNotFoundError:
    return False


@pytest.mark.skipif(not os.path.exists('/proc/self/task'), reason='looks into /proc')
def test_killed_and_run_again(tmp_path):
  # Large enough that the kill comes in the middle.
  source = _folder(tmp_path / 'in', 72, height=220, width=220)
  out = tmp_path / 'out'
  process = _start(source, out)
  _wait_until(lambda: (out / 'shard-00001.json').exists())
  pids = _children(process.pid)
  os.kill(process.pid, signal.SIGKILL)
  process.communicate()
  assert not (out / 'index.json').exists()
  # No worker outlives its parent.
  _wait_until(lambda: not any(_alive(pid) for pid in pids), 10)
  finished = {file: (out / file).stat().st_mtime_ns for file in _sidecars(out)}
  assert 2 <= len(finished) < 9
  # A half-written shard and a damaged one, as a crash of the machine may leave them.
  (out / 'shard-00008.tfrecord.tmp').write_bytes(b'half')
  os.truncate(out / 'shard-00000.tfrecord', 100)

  options = prepare.Options(200, shard_size=8)
  index = prepare.prepare(str(source), str(out), options, num_workers=1)
  again = {file: (out / file).stat().st_mtime_ns for file in finished}
  changed = [file for file in finished if again[file] != finished[file]]
  assert changed == ['shard-00000.json'] and index['count'] == 72
  prepare.prepare(str(source), str(tmp_path / 'whole'), options, num_workers=1)
  assert _hashes(out) == _hashes(tmp_path / 'whole')
  assert not list(out.glob('*.tmp'))


def _sidecars(out):
  return sorted(path.name for path in out.glob('shard-*.json'))


def test_finished_runs_do_nothing(tmp_path, monkeypatch, capsys):
  source = _folder(tmp_path / 'in')
  assert _run(source, tmp_path / 'out') == 0
  before = (tmp_path / 'out' / 'index.json').read_bytes()
  monkeypatch.setattr(workers, '_process', None)
  assert _run(source, tmp_path / 'out') == 0
  assert (tmp_path / 'out' / 'index.json').read_bytes() == before
  assert '1 of 1 shards are finished already' in capsys.readouterr().err


@pytest.mark.parametrize(
  'change, message',
  [
    (['--crop=0.9'], 'crop centre'),
    (['--mirror'], 'mirror False'),
    (['--resolution=4'], 'resolution 8'),
    (['--resize=nearest'], 'resize lanczos'),
    (None, 'other images or labels'),
  ],
)
def test_other_settings_are_refused(tmp_path, capsys, change, message):
  source = _folder(tmp_path / 'in', 3)
  assert _run(source, tmp_path / 'out') == 0
  if change is None:
    _folder(tmp_path / 'in', 4)
  assert _run(source, tmp_path / 'out', *(change or [])) == 1
  error = capsys.readouterr().err.strip().splitlines()[-1]
  assert 'begun with other settings' in error and message in error


def test_resized_without_a_filter(tmp_path, capsys):
  source, out = _folder(tmp_path / 'in', 3), tmp_path / 'out'
  assert _run(source, out, '--resize=nearest') == 0
  shards = records.Shards(out)
  for i in range(3):
    expected = images.crop_and_resize(_image(int(shards.read(i).key[3:6])), 8, resize='nearest')
    np.testing.assert_array_equal(images.decode(shards.read(i).image), expected)
  assert _run(source, out) == 1
  assert 'resize nearest' in capsys.readouterr().err


def test_a_folder_from_before_there_was_a_choice_of_resizing_goes_on(tmp_path, capsys):
  source, out = _folder(tmp_path / 'in', 3), tmp_path / 'out'
  assert _run(source, out) == 0
  settings = json.loads((out / unfinished.SETTINGS).read_text())
  del settings['settings']['resize']
  (out / unfinished.SETTINGS).write_text(json.dumps(settings))
  capsys.readouterr()
  assert _run(source, out) == 0
  assert '1 of 1 shards are finished already' in capsys.readouterr().err
  assert _run(source, out, '--resize=nearest') == 1


def test_another_data_set_is_not_overwritten(tmp_path, capsys):
  example = {'image': _image(0), 'key': 'x'}
  records.write_dataset(tmp_path / 'out', [example], resolution=8)
  assert _run(_folder(tmp_path / 'in', 2), tmp_path / 'out') == 1
  assert 'holds another data set' in capsys.readouterr().err


def test_two_runs_at_once_are_refused(tmp_path):
  pytest.importorskip('fcntl')
  source, out = _folder(tmp_path / 'in', 2), tmp_path / 'out'
  with unfinished.locked(out):
    with pytest.raises(UserError, match='Another run is writing'):
      prepare.prepare(str(source), str(out), prepare.Options(8), num_workers=1)
  assert _run(source, out) == 0


def test_out_that_cannot_be_made(tmp_path, capsys):
  (tmp_path / 'file').write_text('')
  assert _run(_folder(tmp_path / 'in', 2), tmp_path / 'file' / 'out') == 1
  error = capsys.readouterr().err
  assert 'cannot be written' in error and 'Choose an --out' in error


@pytest.mark.parametrize(
  'number, remedy', [(28, 'Free some space'), (30, 'Choose an --out that can be written')]
)
def test_full_and_read_only_disks(tmp_path, capsys, monkeypatch, number, remedy):
  def fail(descriptor):
    raise OSError(number, os.strerror(number))

  source = _folder(tmp_path / 'in', 2)
  monkeypatch.setattr(os, 'fsync', fail)
  assert _run(source, tmp_path / 'out') == 1
  assert remedy in capsys.readouterr().err
  monkeypatch.undo()
  assert _run(source, tmp_path / 'out') == 0


@pytest.mark.parametrize(
  'args, message',
  [
    (['--source=/nowhere'], 'does not exist'),
    (['--crop=sideways'], 'crop'),
    (['--resolution=0'], 'not between 1 and'),
    (['--shard-size=0'], 'at least 1'),
    (['--labels=/nowhere.json'], 'cannot be read'),
  ],
)
def test_bad_options_are_one_line(tmp_path, capsys, args, message):
  assert _run(_folder(tmp_path / 'in', 2), tmp_path / 'out', *args) == 1
  error = capsys.readouterr().err.strip()
  assert message in error and '\n' not in error


@pytest.mark.parametrize(
  'content',
  ['', '{}', '{"labels": 5}', '{"labels": [["a", [1, 2]]]}', '{"labels": [["a", ["x"]]]}'],
)
def test_bad_label_files(tmp_path, content):
  (tmp_path / 'labels.json').write_text(content)
  with pytest.raises(UserError, match='labels.json'):
    sources.load_labels(tmp_path / 'labels.json')


def test_null_labels_are_none():
  for text in (b'{"labels": null}', b'{"labels": []}'):
    assert sources.parse_labels(text, 'x') is None


def test_empty_folder_and_foreign_files(tmp_path):
  with pytest.raises(UserError, match='holds no image'):
    sources.open_source(str(tmp_path))
  (tmp_path / 'x.txt').write_text('x')
  with pytest.raises(UserError, match='neither a folder'):
    sources.open_source(str(tmp_path / 'x.txt'))
  (tmp_path / 'x.tfrecord').write_text('this is not a record file')
  with pytest.raises(UserError, match='not a whole TFRecord file'):
    sources.open_source(str(tmp_path / '*.tfrecord'))
  (tmp_path / 'x.zip').write_text('x')
  with pytest.raises(UserError, match='Is it whole'):
    sources.ZipSource(tmp_path / 'x.zip')


def test_damaged_zip_entries_are_image_errors(tmp_path):
  path = tmp_path / 'x.zip'
  with zipfile.ZipFile(path, 'w') as file:
    file.writestr('a.png', images.encode_png(_image(0)))
    file.writestr('b.png', images.encode_png(_image(1)))
  data = bytearray(path.read_bytes())
  data[60] ^= 255
  path.write_bytes(data)
  source = sources.ZipSource(path)
  with pytest.raises(images.ImageError, match='damaged in the zip'):
    source.read(0)
  np.testing.assert_array_equal(images.decode(source.read(1).image), _image(1))


def test_zip_bombs_are_cut_off(tmp_path, monkeypatch):
  monkeypatch.setattr(images, 'MAX_BYTES', 1000)
  path = tmp_path / 'x.zip'
  with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
    file.writestr('a.png', bytes(100_000))
  data = sources.ZipSource(path).read(0).image
  assert len(data) == 1001
  with pytest.raises(images.ImageError, match='more than'):
    images.decode(data)


def test_records_of_other_makers(tmp_path):
  from jax3dgan.data import tfrecord

  png = images.encode_png(_image(0))
  jpeg = io.BytesIO()
  Image.fromarray(_image(1)).save(jpeg, 'JPEG')
  features = [{'image': png, 'label': np.array([3])}, {'image_raw': jpeg.getvalue()}, {'text': 'x'}]
  path = tmp_path / 'x.tfrecord-00000-of-00001'
  path.write_bytes(b''.join(tfrecord.frame(tfrecord.encode_example(x)) for x in features))
  source = sources.open_source(str(path))
  assert len(source) == 3 and not source.labelled
  assert source.read(0).image == png and source.read(0).label is None
  assert images.decode(source.read(1).image).shape == (12, 10, 3)
  with pytest.raises(images.ImageError, match='without an image'):
    source.read(2)


def test_labels_of_tfrecords(tmp_path):
  path = tmp_path / 'x.tfrecord'
  examples = [{'image': _image(i), 'label': _label(i), 'key': f'{i}'} for i in range(2)]
  path.write_bytes(
    b''.join(records.tfrecord.frame(records.encode_example(example)) for example in examples)
  )
  source = sources.open_source(str(tmp_path))
  assert source.labelled
  np.testing.assert_array_equal(source.read(1).label, _label(1))
  table = {'0': _label(7).tolist()}
  (tmp_path / 'labels.json').write_text(json.dumps({'labels': table}))
  source = sources.open_source(str(path), tmp_path / 'labels.json')
  np.testing.assert_array_equal(source.read(0).label, _label(7))
  with pytest.raises(images.ImageError, match='has no label'):
    source.read(1)


def test_damaged_records_are_left_out(tmp_path):
  examples = [{'image': _image(i), 'key': f'{i}'} for i in range(11)]
  path = tmp_path / 'x.tfrecord'
  frames = [records.tfrecord.frame(records.encode_example(example)) for example in examples]
  frames[3] = frames[3][:40] + b'????' + frames[3][44:]
  path.write_bytes(b''.join(frames))
  assert _run(path, tmp_path / 'out') == 0
  report = json.loads((tmp_path / 'out' / 'report.json').read_text())
  assert [item['file'] for item in report['files']] == ['x.tfrecord:000003']
  assert report['causes'] == {'damaged record': 1}


def test_a_worker_that_dies(tmp_path, monkeypatch):
  opener = (str(_folder(tmp_path, 40)), None, None)
  tasks = [(i, 'x') for i in range(40)]

  class DeadPool:
    def __init__(self, *args, **kwargs):
      pass

    def submit(self, *args):
      raise workers.concurrent.futures.process.BrokenProcessPool('killed')

    def shutdown(self, **kwargs):
      pass

  monkeypatch.setattr(workers.concurrent.futures, 'ProcessPoolExecutor', DeadPool)
  with pytest.raises(UserError, match='fewer --workers'):
    next(workers.run(opener, prepare.Options(8), tasks, 2))


def test_interrupted_by_the_keyboard(tmp_path, monkeypatch, capsys):
  def interrupt(*args):
    raise KeyboardInterrupt

  monkeypatch.setattr(workers, '_process', interrupt)
  assert _run(_folder(tmp_path / 'in', 2), tmp_path / 'out') == 130
  assert 'the same command goes on' in capsys.readouterr().err


def test_a_source_that_changes_is_noticed(tmp_path):
  source = sources.FolderSource(_folder(tmp_path, 2))
  with pytest.raises(UserError, match='has changed'):
    workers._process(source, prepare.Options(8), 0, 'another.png')
