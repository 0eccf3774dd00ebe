"""Posed scenes as shards: labels, index, splits, what is left out, and flags."""

import json
import math
import pathlib
import pickle
import re
import shutil
import subprocess
import sys

import numpy as np
import posed_scenes as scenes
import pytest

from jax3dgan import cameras
from jax3dgan.data import images, pipeline, posed, prepare, records
from jax3dgan.errors import UserError

_LEGO = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'lego' / 'lego_100.tar'
RIG = scenes.poses(11, target=(1.0, 0.0, 0.5), distance=8.0)
LENS = {'fl_x': 30.0, 'fl_y': 31.0, 'cx': 13.0, 'cy': 7.5, 'w': 24, 'h': 16}


@pytest.fixture
def scene(tmp_path):
  """A scene of eleven photos of 16 x 24."""
  scenes.write_photos(tmp_path / 'scene' / 'images', 11, 16, 24)
  return scenes.write_transforms(tmp_path / 'scene', RIG, **LENS)


def run(source, out, *flags, resolution=8):
  """Runs the command in this process."""
  return prepare.main(
    [f'--source={source}', f'--out={out}', f'--resolution={resolution}', '--workers=1', *flags]
  )


def test_shards_are_what_load_gives(tmp_path, scene, capsys):
  assert run(scene, tmp_path / 'out') == 0
  output = capsys.readouterr().out
  assert 'centre (1, ' in output and 'scale 0.5; cameras at 4 from the origin' in output
  shards, views = records.Shards(tmp_path / 'out'), posed.load(scene, resolution=8)
  assert len(shards) == 11 and shards.labelled
  for i, name in enumerate(views.names):
    record = shards.read(i)
    assert record.key == name
    np.testing.assert_array_equal(images.decode(record.image), views.images[i])
    np.testing.assert_array_equal(record.label, views.labels[i])
  about = shards.index['scene']
  assert about['format'] == 'instant-ngp transforms' and about['split'] == 'train'
  assert about['options']['background'] == 'white'
  # Back to the file's world: the cameras' positions.
  inverse = np.array(about['framing']['world_to_file'])
  positions = views.labels[:, [3, 7, 11]] @ inverse[:3, :3].T + inverse[:3, 3]
  np.testing.assert_allclose(positions, RIG[:, :3, 3], atol=1e-5)
  assert 0 < about['framing']['near'] < 4 < about['framing']['far']


def test_crops_and_mirrors_move_the_label(tmp_path, scene):
  assert run(scene, tmp_path / 'out', '--crop=8,2,8', '--mirror', '--framing=none') == 0
  shards = records.Shards(tmp_path / 'out')
  straight, mirrored = shards.read(0), shards.read(1)
  np.testing.assert_allclose(
    straight.label[16:].reshape(3, 3),
    [[30 / 8, 0, (13 - 8) / 8], [0, 31 / 8, (7.5 - 2) / 8], [0, 0, 1]],
    rtol=1e-6,
  )
  np.testing.assert_array_equal(images.decode(straight.image), scenes.photo(0, 16, 24)[2:10, 8:16])
  assert mirrored.label[18] == pytest.approx(1 - straight.label[18])


def test_a_run_goes_on_and_refuses_another_framing(tmp_path, scene, capsys):
  flags = ('--hold-out=4', '--split=train', '--centre=1,0,0.5')
  assert run(scene, tmp_path / 'out', *flags) == 0
  assert len(records.Shards(tmp_path / 'out')) == 8
  assert run(scene, tmp_path / 'out', *flags) == 0
  assert '1 of 1 shards are finished already' in capsys.readouterr().err
  for other in ('--background=black', '--scale=2', '--up=y'):
    assert run(scene, tmp_path / 'out', *flags, other) == 1
    assert 'was begun with other settings' in capsys.readouterr().err


def test_views_held_out_become_a_split_that_configs_name(tmp_path, scene):
  assert run(scene, tmp_path / 'out', '--hold-out=4') == 0
  config = {'source': str(tmp_path / 'out'), 'loader': 'arrays'}
  train = pipeline.open_dataset(config, 8)
  test = pipeline.open_dataset({**config, 'split': 'test'}, 8)
  assert len(train) == 8 and len(test) == 3 and train.labelled
  assert [test.record(i).key for i in range(3)] == [f'images/img_{i}.png' for i in (0, 4, 8)]
  first, second = train.source.index['scene'], test.source.index['scene']
  assert first['framing'] == second['framing'] and second['split'] == 'test'
  with pytest.raises(UserError, match='has no split val, only test, train'):
    pipeline.open_dataset({**config, 'split': 'val'}, 8)
  alone = {**config, 'source': str(tmp_path / 'out' / 'train')}
  assert len(pipeline.open_dataset(alone, 8)) == 8
  with pytest.raises(UserError, match='has no split test, only train'):
    pipeline.open_dataset({**alone, 'split': 'test'}, 8)


def test_a_config_that_names_a_scene_gets_the_command(tmp_path, scene):
  path = shutil.make_archive(tmp_path / 'scene', 'zip', scene)
  for source in (str(scene), path):
    with pytest.raises(UserError, match=f'--source={source} --out=DIR --resolution=8 .*--hold-out'):
      pipeline.open_dataset({'source': source}, 8)


def test_photos_left_out_are_named(tmp_path, scene, capsys):
  (scene / 'images/img_3.png').unlink()
  assert run(scene, tmp_path / 'out') == 0
  assert '10 images of 8 pixels, 1 left out, with cameras.' in capsys.readouterr().out
  report = json.loads((tmp_path / 'out/report.json').read_text())
  assert report['files'] == [{'file': 'images/img_3.png', 'cause': 'missing'}]
  (scene / 'images/img_4.png').write_bytes(b'')
  assert run(scene, tmp_path / 'other') == 1
  assert '2 of 11 images cannot be used' in capsys.readouterr().err


@pytest.mark.parametrize('archive', ['tar', 'zip'])
def test_a_source_goes_to_another_process(tmp_path, scene, archive):
  path = shutil.make_archive(tmp_path / 'scene', archive, scene)
  source = posed.PosedSource(path, options=posed.Options(background='black'))
  image, label = source.decode(4)
  other = pickle.loads(pickle.dumps(source))
  assert len(other) == 11 and other.describe(4) == 'images/img_4.png'
  np.testing.assert_array_equal(other.decode(4)[0], image)
  np.testing.assert_array_equal(other.read(4).label, label)


def test_importing_brings_neither_jax_nor_tensorflow():
  code = (
    'import sys; from jax3dgan.data import posed; print({"jax", "tensorflow"} & set(sys.modules))'
  )
  result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert result.stdout.strip() == 'set()'


def test_a_scene_can_be_taken_for_photos_alone(tmp_path, scene):
  assert run(scene, tmp_path / 'out', '--labels=none') == 0
  shards = records.Shards(tmp_path / 'out')
  assert not shards.labelled and 'scene' not in shards.index


@pytest.mark.parametrize(
  'flags, message',
  [
    (('--split=test',), 'no split test, only train: .*--hold-out=8'),
    (('--hold-out=1',), 'hold_out is 1. Set it to 2 or more'),
    (('--centre=1,2',), '--centre=1,2 is not X,Y,Z'),
    (('--centre=1,2,inf',), '--centre=1,2,inf is not X,Y,Z'),
    (('--scale=0',), 'The scale is 0. Set it above 0'),
    (('--labels=none', '--up=y'), 'of scenes with cameras alone'),
  ],
)
def test_flags_that_are_refused(tmp_path, scene, capsys, flags, message):
  assert run(scene, tmp_path / 'out', *flags) == 1
  (line,) = capsys.readouterr().err.strip().splitlines()
  assert line.startswith('error: ')
  assert re.search(message, line)


def test_flags_of_scenes_are_refused_for_other_sources(tmp_path, capsys):
  scenes.write_photos(tmp_path / 'photos', 1)
  for source in (tmp_path / 'photos', 'ict:' + str(tmp_path)):
    assert run(source, tmp_path / 'out', '--background=black', resolution=64) == 1
    assert '--background' in capsys.readouterr().err


def test_the_page(tmp_path, monkeypatch):
  """docs/posed_data.md: its commands and its Python run, on scenes of these names."""
  page = (pathlib.Path(__file__).resolve().parents[2] / 'docs/posed_data.md').read_text('utf-8')
  lego = tmp_path / 'nerf_synthetic' / 'lego'
  for split in ('train', 'val', 'test'):
    scenes.write_photos(lego / split, 2, 400, 400)
    name = f'transforms_{split}.json'
    scenes.write_transforms(lego, RIG[:2], name, split, '', camera_angle_x=0.7)
  garden = scenes.write_colmap(
    tmp_path / 'garden', RIG[:3], [300.0, 300, 150, 128], size=(300, 256)
  )
  scenes.write_photos(garden / 'images', 3, 256, 300)
  shutil.make_archive(tmp_path / 'garden', 'zip', garden)
  monkeypatch.chdir(tmp_path)
  commands = re.search(r'```bash\n(.*?)```', page, re.DOTALL)[1].splitlines()
  for command in commands:
    assert command.startswith('python -m jax3dgan.data.prepare ')
    assert prepare.main([*command.split()[3:], '--workers=1']) == 0
  for folder in ('lego/train', 'lego/val', 'lego/test', 'garden/train', 'garden/test'):
    assert len(records.Shards(tmp_path / 'data' / folder)) > 0
  found = {}
  exec(re.search(r'```python\n(.*?)```', page, re.DOTALL)[1], found)
  assert found['views'].images.shape == (2, 100, 100, 3)


def test_lego(tmp_path):
  """NeRF-synthetic's, of 100 pixels: its world fits, and its object is in the middle."""
  if not _LEGO.exists():
    pytest.skip('NeRF-synthetic lego is not in ../shared/data/lego')
  assert run(_LEGO, tmp_path / 'out', '--hold-out=8', resolution=50) == 0
  train, test = (records.Shards(tmp_path / 'out' / split) for split in ('train', 'test'))
  assert len(train) == 87 and len(test) == 13
  found = train.index['scene']['framing']
  assert found['scale'] == 1 and found['centre'] == [0, 0, 0]
  assert 1.9 < found['near'] < 2.5 and 5.5 < found['far'] < 6.5  # NeRF: 2 and 6
  label = test.read(1).label  # r_8
  np.testing.assert_allclose(label[[16, 18]], [0.5 / math.tan(0.6911112 / 2), 0.5], rtol=1e-6)
  uv, depth = cameras.project(cameras.from_label(label), np.zeros((1, 3), np.float32))
  np.testing.assert_allclose([*uv[0], depth[0]], [0.5, 0.5, 4.031], atol=1e-3)
  # On white, and the object is what is not, in the middle.
  image = images.decode(test.read(1).image).astype(np.float64)
  assert (image[[0, -1]] == 255).all()
  weights = 255 - image.min(-1)
  rows, columns = np.mgrid[:50, :50] + 0.5
  assert abs((columns * weights).sum() / weights.sum() / 50 - 0.5) < 0.1
  assert abs((rows * weights).sum() / weights.sum() / 50 - 0.5) < 0.15


def test_lego_is_carved_out_of_its_views():
  """Points that no view shows as background: projected, they fill the object's outline in each."""
  if not _LEGO.exists():
    pytest.skip('NeRF-synthetic lego is not in ../shared/data/lego')
  views = posed.load(_LEGO, resolution=50)
  masks = views.images[::5].min(-1) < 250  # [20, 50, 50]
  side = np.linspace(-1.4, 1.4, 48)
  points = np.stack(np.meshgrid(side, side, side), -1).reshape(-1, 3).astype(np.float32)
  inside, places = np.ones(len(points), bool), []
  for mask, label in zip(masks, views.labels[::5], strict=True):
    uv, _ = cameras.project(cameras.from_label(label), points)
    column, row = np.clip(np.asarray(uv) * 50, 0, 49).astype(int).T
    inside &= mask[row, column]
    places.append((row, column))
  for mask, (row, column) in zip(masks, places, strict=True):
    filled = np.zeros((50, 50), bool)
    filled[row[inside], column[inside]] = True
    # Gaps between points, which are .06 apart, and thin parts are missing.
    assert (filled & mask).sum() > 0.9 * mask.sum()
  # y is up: the digger's tracks are half a unit below the origin, its shovel is one above.
  assert -0.7 < points[inside, 1].min() < -0.5 and 0.9 < points[inside, 1].max() < 1.1
