"""The command that edits, and what its documentation says."""

import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from jax3dgan import cli, editing
from jax3dgan.apps import edit, turntable
from jax3dgan.editing import sheets
from jax3dgan.runs import provenance

DOCS = pathlib.Path(__file__).parents[2] / 'docs'


@pytest.fixture(scope='module')
def found(tiny_model):
  return editing.pca(tiny_model, num=64, count=2)


def test_the_sheet_compares_with_the_unedited_picture(tiny_model, found):
  w = np.asarray(tiny_model.map(tiny_model.latents([0])))
  image, rows = sheets.sheet(tiny_model, w, found, (-2, 0, 2), resolution=8)
  assert [row['direction'] for row in rows] == ['pca0', 'pca1']
  for row in rows:
    assert row['colour'][1] == 0 and row['iou'][1] == 1 and row['shift'][1] == 0
    assert (row['colour'][[0, 2]] > 0).all()
  assert image.shape[1] >= 3 * 128 and image.dtype == np.uint8
  # The same with the unedited one not among the columns.
  _, other = sheets.sheet(tiny_model, w, found, (-2, 2), resolution=8)
  np.testing.assert_allclose(other[1]['colour'], rows[1]['colour'][[0, 2]], atol=1e-4)
  means = sheets.summary(rows)
  assert means['pca1']['colour'] == pytest.approx(rows[1]['colour'][[0, 2]].mean())


def test_no_strength_is_no_edit_and_layers_are_edited_alone(tiny_model, found):
  w = np.asarray(tiny_model.map(tiny_model.latents([0])))
  _, rows = sheets.sheet(tiny_model, w, found.select(['pca0']), (0, 0), resolution=8)
  assert (rows[0]['colour'] == 0).all()
  # The colour layer, the last one, cannot move the density.
  last = w.shape[1] - 1
  _, rows = sheets.sheet(tiny_model, w, found, (-3, 0, 3), (last, last), resolution=8)
  for row in rows:
    assert row['colour'].max() > 0
    np.testing.assert_allclose(row['iou'], 1, atol=1e-6)
    np.testing.assert_allclose(row['depth'], 0, atol=1e-6)


def test_a_loop_comes_back(tiny_model, found):
  w = np.asarray(tiny_model.map(tiny_model.latents([0, 1])))
  pictures = list(sheets.frames(tiny_model, w, found, 4, 2.0, resolution=8))
  assert len(pictures) == 4 and pictures[0].shape[1] == 2 * 128 + 2
  np.testing.assert_array_equal(pictures[0], pictures[2])
  assert not np.array_equal(pictures[1], pictures[3])


def test_the_command(pretrained, tiny_model, tmp_path, capsys):
  first, again = tmp_path / 'x.png', tmp_path / 'y.png'
  flags = ['--pretrained=tiny', '--resolution=8', '--strengths=-1,0,1']
  own = ['--num=32', '--count=3', '--names=pca2', '--layers=0-1', '--seeds=2']
  edit.main([*flags, f'--out={first}', *own])
  assert '1 directions of tiny, PCA of 32 styles, seed 0' in capsys.readouterr().out
  edit.main([f'--repeat={first}', f'--out={again}'])
  assert first.read_bytes() == again.read_bytes()
  record = provenance.read(first)
  assert record['drift'][0]['direction'] == 'pca2' and record['drift'][0]['of'] == 'seed 2'
  assert record['drift'][0]['colour'][1] == 0 and 'colour' in record['means']['pca2']
  # Learned, kept, and used for styles of a file.
  table, kept = tmp_path / 'x.csv', tmp_path / 'kept.npz'
  table.write_text('seed,odd\n' + ''.join(f'{i},{i % 2}\n' for i in range(24)))
  edit.main([*flags, f'--out={first}', f'--labels={table}', f'--save={kept}'])
  assert re.search(r'odd: accuracy \d\.\d+, chance \d\.\d+', capsys.readouterr().out)
  np.savez(tmp_path / 'w.npz', w=np.asarray(tiny_model.map(tiny_model.latents([2])))[0])
  video = tmp_path / 'x.gif'
  edit.main([*flags, f'--out={video}', f'--directions={kept}', f'--w={tmp_path / "w.npz"}',
             '--frames=4', '--azimuth=30'])  # fmt: skip
  with Image.open(video) as file:
    assert file.n_frames >= 3
  assert provenance.read(video)['flags']['azimuth'] == 30


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--directions=nowhere.npz'], 'nowhere.npz is not a file. Give pca, sefa, or'),
    (['--layers=0-9'], 'Layers 0-9 are not there'),
    (['--names=pca9', '--count=2'], "No direction is called 'pca9'. There are: pca0, pca1"),
    (['--w=setup.py'], 'holds no styles'),
    (['--labels=x.csv', '--measure=red'], 'Leave out one of them'),
    (['--measure=mood'], "No measure is called 'mood'"),
  ],
)
def test_what_the_user_can_fix(pretrained, tmp_path, flags, message):
  with pytest.raises(SystemExit) as stop:
    common = ['--pretrained=tiny', f'--out={tmp_path / "x.png"}', '--resolution=8']
    if not any(flag.startswith(('--directions', '--labels')) for flag in flags):
      common.append('--num=32')
    edit.main([*common, *flags])
  assert message in stop.value.code and '\n' not in stop.value.code


def test_styles_of_another_model(pretrained, tmp_path):
  for w in (np.zeros((1, 2, 2)), np.full((1, 4, 2, 8), np.nan)):
    np.savez(tmp_path / 'w.npz', w=w)
    with pytest.raises(SystemExit) as stop:
      edit.main(['--pretrained=tiny', f'--out={tmp_path / "x.png"}', f'--w={tmp_path / "w.npz"}'])
    assert 'Give styles of this model' in stop.value.code


def test_wrong_flags(capsys):
  for flag, message in (
    ('--strengths=a', 'not a list of strengths'),
    ('--out=x.avi', 'must end in'),
    ('--azimuth=nan', 'is not a number'),
    ('--frames=9', '--frames has no effect on a PNG'),
    ('--conditional', '--conditional has no effect without --labels or --measure'),
    ('--directions=mine.npz --num=64', '--num has no effect with --directions=mine.npz'),
    ('--measure=red --count=2', '--count has no effect with --labels or --measure'),
    ('--w=w.npz --psi=0.5', '--psi has no effect with --w'),
    ('--w=w.npz --seeds=1', '--seeds has no effect with --w'),
  ):
    with pytest.raises(SystemExit):
      edit.main(['--pretrained=tiny', '--out=x.png', *flag.split()])
    assert message in capsys.readouterr().err
  with pytest.raises(SystemExit):
    edit.main(['--pretrained=tiny', '--out=x.mp4', '--frames=0'])
  assert 'at least 1' in capsys.readouterr().err
  for flag in ('--save=kept.npz', '--strengths=1,2', '--layers=0'):
    with pytest.raises(SystemExit):
      edit.main(['--pretrained=tiny', '--out=x.png', '--objects=1:x=0.1', flag])
    assert f'{flag.partition("=")[0]} has no effect with --objects' in capsys.readouterr().err
  for flag in ('--yaw=30', '--trajectory=dolly', '--show=depth'):
    with pytest.raises(SystemExit):
      turntable.main(['--pretrained=tiny', '--out=x.mp4', '--object=1', flag])
    assert f'{flag.partition("=")[0]} has no effect with --object' in capsys.readouterr().err


@pytest.mark.thorough
def test_the_documentation(packaged, tmp_path, monkeypatch):
  """Its commands and code in their order, smaller; its pictures were made by its commands."""
  monkeypatch.chdir(tmp_path)
  text = (DOCS / 'editing.md').read_text(encoding='utf-8')
  blocks = re.findall(r'^```(sh|python)\n(.*?)```', text, re.M | re.S)
  assert len(blocks) == 10
  pictures = 0
  for kind, block in blocks:
    if kind == 'python':
      block = block.replace('range(200)', 'range(20)')
      exec(compile(block, 'editing.md', 'exec'), {})
      continue
    for line in block.strip().splitlines():
      name, *flags = line.split()
      assert name == 'jax3dgan'
      smaller = ['--frames=3'] if '.mp4' in line else ['--strengths=-2,0,2']
      smaller += [] if 'toys_2d' in line else ['--resolution=8']
      smaller += [] if '--w=' in line else ['--seeds=0']
      smaller += [] if '--labels=' in line or '.npz' in line else ['--num=20']
      assert not cli.main([*flags, *smaller])
      out = pathlib.Path(re.search('--out=(\\S+)', line)[1])
      assert out.is_file()
      if out.parts[0] != 'docs':
        continue
      pictures += 1
      made, shown = provenance.read(out), provenance.read(DOCS.parent / out)
      assert made['model'] == shown['model']
      for key, value in shown['flags'].items():
        if f'--{key}=' in line or key not in ('seeds', 'num', 'resolution', 'strengths'):
          given = re.search(rf'--{key}=(\S+)', line)
          expected = made['flags'][key]
          if key in ('seeds', 'resolution') and given:
            expected = [int(given[1])] if key == 'seeds' else int(given[1])
          assert value == expected, (out, key)
  assert pictures == 4 == text.count('](images/edit_')
