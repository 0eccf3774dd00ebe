"""The app `invert`: what it writes, where it goes on, and what it says of what it cannot use."""

import io
import json
import pathlib
import re
import shlex
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from jax3dgan import inversion, trained, viz
from jax3dgan.apps import invert, samples
from jax3dgan.inversion import search as search_lib

RNG = np.random.default_rng(0)
QUICK = '--pretrained=tiny --steps=2 --samples=4 --starts=2 --batch=2 --yaw=20'


@pytest.fixture
def photos(tmp_path):
  """A folder of three photos and a file that is none."""
  (tmp_path / 'photos').mkdir()
  for name in 'abc':
    pixels = RNG.integers(0, 256, (20, 32, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'photos' / f'{name}.png')
  (tmp_path / 'photos' / 'broken.jpg').write_bytes(b'no photo')
  return tmp_path / 'photos'


@pytest.fixture
def searched(monkeypatch):
  """The numbers of photos of each search that ran."""
  counts, search = [], search_lib.search

  def counting(model, image, *args, **fields):
    counts.append(len(image))
    return search(model, image, *args, **fields)

  monkeypatch.setattr(search_lib, 'search', counting)
  return counts


def run(command: str):
  invert.main(shlex.split(command))


def refused(command: str) -> str:
  with pytest.raises(SystemExit) as stop:
    run(command)
  return str(stop.value.code)


def test_a_photo(pretrained, photos, tmp_path, tiny_model, capsys):
  run(f'{QUICK} --input={photos}/a.png --out={tmp_path}/out')
  text = capsys.readouterr()
  assert '1 photos; mean PSNR' in text.out and 'by tiny' in text.out
  assert '32 x 20 cropped to 20 x 20, shrunk from 20 to 16 pixels' in text.err
  assert 'no weights of LPIPS' in text.err and 'Camera: given.' in text.err
  names = {path.name for path in (tmp_path / 'out').iterdir()}
  assert names == {'a.npz', 'a.png', 'a.npz.json', 'summary.csv', 'summary.json'}
  w, camera = inversion.load(tmp_path / 'out/a.npz')
  assert w.shape == (1, *tiny_model.average_w.shape)
  expected = tiny_model.orbit(np.radians(20)).cam2world
  np.testing.assert_allclose(camera.cam2world, expected, atol=1e-6)
  out = tiny_model.render(w, camera, align_corners=False)
  record = json.loads((tmp_path / 'out/a.npz.json').read_text())
  photo = np.asarray(Image.open(photos / 'a.png'))
  assert record['row']['yaw'] == pytest.approx(20, abs=1e-3) and out.image.shape[1:3] == (16, 16)
  assert len(record['photos'][0]['sha256']) == 64 and photo.shape == (20, 32, 3)
  with np.load(tmp_path / 'out/a.npz') as file:
    assert file['losses/mse'].shape == (2, 1)
  # The picture knows how it was made: the same numbers come out again.
  invert.main([f'--repeat={tmp_path}/out/a.png', f'--out={tmp_path}/again'])
  again, _ = inversion.load(tmp_path / 'again/a.npz')
  np.testing.assert_array_equal(again, w)


def test_a_folder_goes_on_where_it_was(pretrained, photos, tmp_path, searched, monkeypatch, capsys):
  command = f'{QUICK} --input={photos} --out={tmp_path}/out'
  write, written = viz.save_png, []

  def killed(path, *args):
    if len(written) == 1:
      raise KeyboardInterrupt
    written.append(path)
    write(path, *args)

  monkeypatch.setattr(viz, 'save_png', killed)
  assert refused(command) == '130'
  monkeypatch.setattr(viz, 'save_png', write)
  assert searched == [2] and not (tmp_path / 'out/b.npz.json').exists()
  first = (tmp_path / 'out/a.npz').read_bytes()
  run(command)
  text = capsys.readouterr()
  assert searched == [2, 2] and '1 of 4 photos are done already' in text.err
  assert 'broken.jpg: not an image' in text.err and '3 photos, 1 left out' in text.out
  assert (tmp_path / 'out/a.npz').read_bytes() == first
  run(command)
  assert searched == [2, 2]  # nothing is left to do
  rows = (tmp_path / 'out/summary.csv').read_text().splitlines()
  assert rows[0].startswith('name,psnr,ssim') and [r[:2] for r in rows[1:]] == ['a,', 'b,', 'c,']
  summary = json.loads((tmp_path / 'out/summary.json').read_text())
  assert summary['left_out'] == {f'{photos}/broken.jpg': 'not an image'}
  # A photo that is another one now is done again; other settings are refused.
  Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(photos / 'c.png')
  run(command)
  assert searched == [2, 2, 2]
  assert 'made with other settings' in refused(f'{command} --seed=5')
  run(f'{command} --seed=5 --overwrite')
  assert searched == [2] * 5


def test_several_photos_of_one_object(pretrained, photos, tmp_path, searched):
  command = f'--pretrained=tiny --steps=2 --samples=4 --one-identity --input={photos}'
  run(f'{command} --yaw=0,40,80 --out={tmp_path}/out')
  w, camera = inversion.load(tmp_path / 'out/photos.npz')
  assert len(w) == 1 and camera.cam2world.shape == (3, 4, 4) and searched == [3]
  run(f'{command} --yaw=0,40,80 --out={tmp_path}/out')
  assert searched == [3]
  assert '3 photos need one --yaw' in refused(f'{command} --yaw=0,40 --out={tmp_path}/other')


def test_labels_of_the_folder(pretrained, photos, tmp_path, tiny_model, capsys):
  label = np.asarray(tiny_model.orbit(0.7).label())[0].tolist()
  table = {'labels': [['a.png', label], ['b.png', label]]}
  (photos / 'dataset.json').write_text(json.dumps(table))
  quick = QUICK.replace(' --yaw=20', '')
  run(f'{quick} --input={photos} --out={tmp_path}/out')
  assert 'c.png: has no label' in capsys.readouterr().err
  _, camera = inversion.load(tmp_path / 'out/b.npz')
  np.testing.assert_allclose(camera.cam2world[0], np.reshape(label[:16], (4, 4)), atol=1e-6)
  assert camera.intrinsics[0, 0, 0] == pytest.approx(label[16] * 32 / 20)


def test_a_2d_model(pretrained, photos, tmp_path, capsys):
  quick = QUICK.replace('tiny', 'flat').replace(' --yaw=20', '').replace(' --samples=4', '')
  run(f'{quick} --input={photos}/a.png --out={tmp_path}/out --space=w')
  assert 'Camera: none, it is a 2D model' in capsys.readouterr().err
  w, _ = inversion.load(tmp_path / 'out/a.npz')
  assert (np.abs(w - w[:, :1]) < 1e-5).all()
  message = refused(f'{quick} --yaw=3 --input={photos}/a.png --out={tmp_path}/out')
  assert 'is a 2D model: its images have no camera' in message


def test_tuned_weights_open_as_a_workdir(pretrained, photos, tmp_path, tiny_model):
  run(f'{QUICK} --input={photos}/a.png --out={tmp_path}/out --tune=2')
  tuned = trained.load(workdir=tmp_path / 'out/a.tuned')
  assert tuned.step == tiny_model.step
  before, after = tiny_model.params['field'], tuned.params['field']
  change = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, after)
  assert max(jax.tree.leaves(change)) > 1e-3
  samples.main([f'--workdir={tmp_path}/out/a.tuned', f'--out={tmp_path}/x.png', '--seeds=0'])
  size = sum(p.stat().st_size for p in (tmp_path / 'out/a.tuned').rglob('*') if p.is_file())
  assert size < 500_000


def test_what_cannot_be_done(pretrained, photos, tmp_path, capsys):
  out = f'--out={tmp_path}/out'
  assert 'broken.jpg: not an image' in refused(f'{QUICK} --input={photos}/broken.jpg {out}')
  assert 'does not exist. Give a photo' in refused(f'{QUICK} --input={photos}/none.png {out}')
  one = f'{QUICK} --input={photos}/a.png {out}'
  assert "No space is called 'x'" in refused(f'{one} --space=x')
  assert "cameras have no 'tilt'" in refused(f'{one} --find=tilt')
  assert 'LPIPS needs its weights' in refused(f'{one} --perceptual=lpips')
  assert '--fit-frame needs labels' in refused(f'{one} --fit-frame')
  for flags, message in (
    ('--steps=0', '--steps must be at least 1'),
    ('--psi=0.5', 'without truncation'),
    ('--crop=2', '--crop: crop'),
    ('--labels=x.json', 'leave out one'),
    ('--yaw=1,2', 'several angles need --one-identity'),
  ):
    assert refused(f'{one} {flags}') == '2'
    assert message in capsys.readouterr().err
  assert refused(f'--pretrained=tiny {out}') == '2'
  assert '--input is required' in capsys.readouterr().err


def test_results_below_the_photos_are_not_inverted(pretrained, photos, searched, capsys):
  command = f'{QUICK} --input={photos} --out={photos}/inverted'
  run(command)
  run(command)
  run(f'{command}2')
  assert searched == [2] * 4 and '3 photos, 1 left out' in capsys.readouterr().out
  before = {path: path.read_bytes() for path in photos.glob('*.png')}
  assert 'is the folder of the photos' in refused(f'{QUICK} --input={photos} --out={photos}')
  assert 'replace this photo' in refused(f'{QUICK} --input={photos}/a.png --out={photos}')
  assert before == {path: path.read_bytes() for path in photos.glob('*.png')}


def test_what_is_not_a_number_is_no_result(pretrained, photos, tmp_path, monkeypatch, capsys):
  search = search_lib.search

  def failing(*args):
    found = search(*args)
    return found._replace(w=np.array(found.w) * np.float32([np.nan, 1]).reshape(2, 1, 1, 1))

  monkeypatch.setattr(search_lib, 'search', failing)
  command = f'{QUICK} --input={photos} --out={tmp_path}/out'
  message = refused(command)
  assert message.startswith(f'Error: 2 photos have no result, such as {photos}/a.png: the search')
  text = capsys.readouterr()
  assert '1 photos, 1 left out; mean PSNR' in text.out and 'nan' not in text.out
  summary = json.loads((tmp_path / 'out/summary.json').read_text(), parse_constant=pytest.fail)
  assert [row['name'] for row in summary['photos']] == ['b'] and summary['mean_psnr'] > 0
  assert set(summary['no_result']) == {f'{photos}/a.png', f'{photos}/c.png'}
  assert not list((tmp_path / 'out').glob('a*'))
  monkeypatch.setattr(search_lib, 'search', search)
  run(command)  # tries those again
  assert '3 photos, 1 left out' in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != 'linux', reason='other file systems take no such names')
def test_names_that_are_not_utf8(pretrained, tmp_path, photos, monkeypatch):
  folder = tmp_path / 'gr\udcfc\udcdfe'
  folder.mkdir()
  (photos / 'a.png').rename(folder / 'b\udcfc.png')
  command = [*shlex.split(QUICK), f'--input={folder}', f'--out={folder}/out']
  monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(io.BytesIO(), encoding='utf-8'))
  invert.main(command)
  summary = json.loads((folder / 'out/summary.json').read_text())
  assert [row['name'] for row in summary['photos']] == ['b\udcfc']
  assert inversion.load(folder / 'out/b\udcfc.npz')[0].shape[0] == 1
  invert.main([f'--repeat={folder}/out/b\udcfc.png', f'--out={tmp_path}/again'])


def test_labels_none_is_no_labels(pretrained, photos, tmp_path, capsys):
  (photos / 'dataset.json').write_text('{"labels": [["a.png", 3]]}')
  command = f'--input={photos} --out={tmp_path}/out'
  assert '--labels=none' in refused(QUICK.replace(' --yaw=20', ' ') + command)
  run(f'{QUICK} --labels=none {command}')


@pytest.mark.thorough
def test_the_commands_of_the_docs(pretrained, tmp_path, monkeypatch):
  """On an untrained model of the toys' name."""
  text = (pathlib.Path(__file__).parents[2] / 'docs/inversion.md').read_text(encoding='utf-8')
  lines = [x for block in re.findall(r'```sh\n(.*?)```', text, re.S) for x in block.splitlines()]
  # Those of a workdir need a GIRAFFE, whose search has tests of its own.
  commands = [line for line in lines if line.startswith('jax3dgan invert --pretrained=')]
  assert len(commands) >= 4
  monkeypatch.chdir(tmp_path)
  model = trained.load(pretrained='toys')
  camera = model.orbit([0.5, 1.5])
  image = model.render(model.map(model.latents([0, 0])), camera, 16, num_fine=0).image
  for folder_name in ('.', 'photos', 'one_car'):
    pathlib.Path(folder_name).mkdir(exist_ok=True)
    for i in range(1 if folder_name == '.' else 2):
      viz.save_png(f'{folder_name}/car{i or ""}.png', image[i])
  np.savetxt('camera.txt', camera.label()[0])
  small = ' --steps=1 --samples=2 --starts=1 --resolution=16 --batch=1 --overwrite'
  for command in commands:
    args = command.removeprefix('jax3dgan invert ')
    run(re.sub('--tune=\\d+', '--tune=1', args) + small)
  made = {path.name for path in pathlib.Path('inverted').iterdir()}
  assert {'car.npz', 'car.png', 'car1.npz', 'one_car.npz', 'summary.csv'} <= made
