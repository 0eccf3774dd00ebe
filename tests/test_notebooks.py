"""colab/: the notebooks are clean, run from top to bottom as they are, and show what they say."""

import base64
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import nbformat
import numpy as np
import pytest
from PIL import Image, ImageSequence

from jax3dgan.apps import notebooks
from jax3dgan.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
COLAB = ROOT / 'colab'
NOTEBOOKS = sorted(path.stem for path in COLAB.glob('*.ipynb'))
sys.path.insert(0, str(COLAB))

import set_owner  # noqa: E402  a program of that folder

# What a notebook shows at least: pictures, videos or sliders, by their kinds.
SHOWN = {
  'editing_and_mesh': {'png': 4, 'webp': 1},
  'inversion': {'png': 5, 'webp': 1},
  'train_toys': {'png': 3, 'mp4': 1},
  'turntable': {'png': 3, 'mp4': 1, 'webp': 2},
}
# Numbers of the cells that are made smaller here: as they are, the notebooks take minutes.
SMALLER = {
  'editing_and_mesh': {
    'num=5, resolution=128': 'num=3, resolution=64',
    'mesh = meshing.extract(model, chosen, resolution=64)': (
      'mesh = meshing.extract(model, chosen, resolution=32)'
    ),
    'np.linspace(-3, 3, 25)': 'np.linspace(-3, 3, 5)',
    'camera, resolution=64': 'camera, resolution=32',
    'start=12': 'start=2',
    'range(512)': 'range(64)',
    'columns=[0, 9, 10, 14]': 'columns=[0, 9]',
    'STRENGTHS = (-2, -1, 0, 1, 2)': 'STRENGTHS = (-2, 0, 2)',
  },
  'inversion': {
    'SearchOptions(num_steps=200)': (
      'SearchOptions(num_steps=14, start_steps=6, num_starts=4, samples=8)'
    ),
    'np.arange(0, 360, 10)': 'np.arange(0, 360, 90)',
    'np.radians(steps)), resolution=64': 'np.radians(steps)), resolution=32',
  },
  'train_toys': {
    'config.resolution = 16 ': 'config.update(config_lib.tiny(config)) ',
    'config.num_steps = 500': 'config.num_steps = 2',
    'every=50, images_every=250': 'every=1, images_every=2',
    'every=250, keep=4': 'every=2, keep=4',
    'config.num_steps = 1000': 'config.num_steps = 4',
    'from jax3dgan import main': 'from jax3dgan import config as config_lib, main',
    'range(4), frames=40, resolution=64': 'range(2), frames=12, resolution=32',
    'azimuth=np.radians(40)), resolution=64': 'azimuth=np.radians(40)), resolution=32',
  },
  'turntable': {
    'SIZE = 64': 'SIZE = 32',
    'np.arange(0, 360, 10)': 'np.arange(0, 360, 60)',
    'seeds=[0, 1, 3, 8], frames=40': 'seeds=[0, 3], frames=12',
    'num=48': 'num=6',
    "make(model, 48, 'orbit')": "make(model, 6, 'orbit')",
  },
}
_INLINE = re.compile(r'data:(?:image|video)/(\w+);base64,([A-Za-z0-9+/=]+)')


def read(name):
  return nbformat.read(COLAB / f'{name}.ipynb', as_version=4)


def test_every_notebook_is_here():
  assert set(NOTEBOOKS) == set(SHOWN)


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_a_notebook_is_clean(name):
  text = (COLAB / f'{name}.ipynb').read_text(encoding='utf-8')
  raw = json.loads(text)
  assert (raw['nbformat'], raw['nbformat_minor']) == (4, 5)
  notebook = read(name)
  nbformat.validate(notebook)
  ids = [cell.id for cell in notebook.cells]
  assert len(set(ids)) == len(ids)
  for cell in notebook.cells:
    assert cell.get('outputs', []) == [] and cell.get('execution_count') is None
  assert not re.search(r'/home/|/root/|/tmp/|/Users/|/work/|[A-Z]:\\\\', text)
  assert len(text) < 40_000  # what a change of it is read in


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_the_badge_opens_this_notebook_and_the_first_cell_fetches_the_same_repository(name):
  cells = read(name).cells
  first = next(cell for cell in cells if cell.cell_type == 'code')
  (owner,) = set_owner.owners(json.dumps(cells))
  place = f'{owner}/jax3dgan'
  link = f'https://colab.research.google.com/github/{place}/blob/main/colab/{name}.ipynb'
  assert f']({link})' in cells[0].source
  assert f"REPOSITORY = 'https://github.com/{place}'" in first.source
  assert 'colab/install.py' in first.source and (COLAB / 'install.py').is_file()
  assert first.source == next(c for c in read(NOTEBOOKS[0]).cells if c.cell_type == 'code').source


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_what_a_notebook_names_is_there(name):
  text = '\n'.join(cell.source for cell in read(name).cells)
  for path in re.findall(r'`((?:docs|colab)/[\w.]+|\w+\.ipynb)`', text):
    assert (COLAB / path).exists() or (ROOT / path).exists(), path
  from jax3dgan import cli

  for verb in re.findall(r'`jax3dgan (\w+)', text):
    assert verb in cli.VERBS


def executed(name, folder):
  """The notebook, run as a user would: by a kernel of its own, in an empty folder; smaller."""
  import nbclient

  notebook = read(name)
  code = [cell for cell in notebook.cells if cell.cell_type == 'code']
  for large, small in SMALLER[name].items():
    assert any(large in cell.source for cell in code), large
    for cell in code:
      cell.source = cell.source.replace(large, small)
  resources = {'metadata': {'path': str(folder)}}
  options = {'timeout': 1200, 'kernel_name': 'python3', 'resources': resources}
  nbclient.NotebookClient(notebook, **options).execute()
  return notebook


def shown(notebook):
  """(kind, bytes) of the pictures, videos and slider strips in the outputs."""
  for cell in notebook.cells:
    for output in cell.get('outputs', []):
      data = output.get('data', {})
      if 'image/png' in data:
        yield 'png', base64.b64decode(data['image/png'])
      for kind, text in _INLINE.findall(data.get('text/html', '')):
        if len(text) > 1000:  # three.js has tiny ones, to see what the browser can decode
          yield kind, base64.b64decode(text)


def frames(kind, data, folder):
  """The frames of a picture or video, uint8 [n, h, w, 3]."""
  if kind == 'mp4':
    import imageio_ffmpeg

    (folder / 'shown.mp4').write_bytes(data)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), '-loglevel', 'error', '-i', 'shown.mp4', '%03d.png']
    subprocess.run(command, cwd=folder, check=True)
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob('[0-9]*.png'))])
  with Image.open(io.BytesIO(data)) as file:
    return np.stack([np.asarray(x.convert('RGB')) for x in ImageSequence.Iterator(file)])


# One always runs; the others, whose apps have tests of their own, with --thorough.
RUN = [
  name if name == 'turntable' else pytest.param(name, marks=pytest.mark.thorough)
  for name in NOTEBOOKS
]


@pytest.mark.parametrize('name', RUN)
def test_a_notebook_runs_and_shows(name, tmp_path, monkeypatch):
  paths = [str(ROOT), os.environ.get('PYTHONPATH', '')]
  monkeypatch.setenv('PYTHONPATH', os.pathsep.join(filter(None, paths)))
  monkeypatch.setenv('MPLBACKEND', '')  # the kernel's own, whatever these tests draw with
  work, scratch = tmp_path / 'work', tmp_path / 'scratch'
  work.mkdir()
  scratch.mkdir()
  notebook = executed(name, work)
  counts = {}
  for kind, data in shown(notebook):
    pictures = frames(kind, data, scratch)
    assert pictures.min() < 200 < pictures.max(), kind
    assert pictures.std() > 10, kind
    if kind == 'mp4':
      assert len(pictures) > 8 and (pictures[0] != pictures[len(pictures) // 2]).any()
    counts[kind] = counts.get(kind, 0) + 1
  for kind, least in SHOWN[name].items():
    assert counts.get(kind, 0) >= least, kind
  html = ''.join(
    output.get('data', {}).get('text/html', '')
    for cell in notebook.cells
    for output in cell.get('outputs', [])
  )
  assert not re.search(r'(?:src|href)=(?:"|&quot;)?(?:https?:)?//', html)  # all of it is inside
  said = ''.join(
    output.text
    for cell in notebook.cells
    for output in cell.get('outputs', [])
    if output.output_type == 'stream'
  )
  assert 'Warning' not in said and 'Traceback' not in said
  size = sum(len(json.dumps(cell.get('outputs', []))) for cell in notebook.cells)
  assert size < 4_000_000
  if name == 'train_toys':
    assert 'Going on from step' in said
  if name == 'inversion':
    found, average = map(float, re.findall(r'PSNR ([\d.]+) dB to the second photo', said))
    assert found > average + 0.5  # with a tenth of the steps
  if name == 'turntable':
    moved, still = map(float, re.search(r'moved ([\d.]+), not moved ([\d.]+)', said).groups())
    assert moved < still / 2
  if name == 'editing_and_mesh':
    import trimesh

    assert trimesh.load(work / 'car.glb', force='mesh').area > 0.1


def strip(html):
  ((kind, text),) = _INLINE.findall(html)
  return frames(kind, base64.b64decode(text), None)[0]


def test_a_slider_has_every_frame_and_begins_where_it_is_told():
  pictures = np.random.default_rng(0).integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
  html = notebooks.slider(pictures, ['a', 'b', '<c>', "d|'", 'e'], start=2, width=80).data
  np.testing.assert_array_equal(strip(html), pictures.reshape(30, 8, 3))
  assert 'background-size:80px 300px' in html and 'background-position:0 -120px' in html
  assert '>&lt;c&gt;</div>' in html and 'a|b|&lt;c&gt;|d/&#x27;|e' in html
  own = notebooks.slider(pictures).data
  assert 'width:256px;height:192px' in own and 'background-position:0 0px' in own


def test_what_a_slider_and_a_video_cannot_show(tmp_path):
  small = np.zeros((2, 2, 3), np.uint8)
  for pictures in ([], [small, np.zeros((3, 2, 3), np.uint8)]):
    with pytest.raises(UserError, match='one size'):
      notebooks.slider(pictures)
  with pytest.raises(UserError, match='1 names do not fit 2'):
    notebooks.slider([small, small], ['a'])
  with pytest.raises(UserError, match='can show 8191 pictures'):
    notebooks.slider(np.broadcast_to(small, (8192, *small.shape)))
  (tmp_path / 'x.avi').write_bytes(b'')
  with pytest.raises(UserError, match='no video'):
    notebooks.video(tmp_path / 'x.avi')


def test_a_video_is_inside_of_its_output(tmp_path):
  (tmp_path / 'x.mp4').write_bytes(b'anything')
  html = notebooks.video(tmp_path / 'x.mp4', width=9).data
  assert f'base64,{base64.b64encode(b"anything").decode()}"' in html and 'width="9"' in html
  assert 'loop' in html and 'controls' in html


def test_tensorflow_is_not_needed():
  """Nothing that the notebooks import loads it."""
  code = '\n'.join(
    line.strip()
    for name in NOTEBOOKS
    for cell in read(name).cells
    if cell.cell_type == 'code'
    for line in cell.source.splitlines()
    if re.match(r'\s*(from [\w.]+ import|import) ', line)
  )
  code += "\nimport sys; print(sorted({m.split('.')[0] for m in sys.modules}))"
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  out = subprocess.run(
    [sys.executable, '-c', code], capture_output=True, text=True, env=environment, check=True
  ).stdout
  assert "'jax3dgan'" in out and "'tensorflow'" not in out and "'torch'" not in out


def test_the_owner_is_one_name_that_a_script_sets(tmp_path):
  for path in set_owner.files(ROOT):
    (tmp_path / path.relative_to(ROOT)).parent.mkdir(exist_ok=True)
    shutil.copy(path, tmp_path / path.relative_to(ROOT))
  before = {path: path.read_text(encoding='utf-8') for path in set_owner.files(tmp_path)}
  (owner,) = set().union(*map(set_owner.owners, before.values()))
  set_owner.set_owner(tmp_path, 'someone-else')
  for path, text in before.items():
    now = set_owner.owners(path.read_text(encoding='utf-8'))
    assert now == ({'someone-else'} if set_owner.owners(text) else set())
  set_owner.set_owner(tmp_path, owner)
  for path, text in before.items():
    assert path.read_text(encoding='utf-8') == text  # nothing else was touched


def test_set_owner_refuses_what_is_no_account(capsys):
  for argv in ([], ['a/b'], ['-x'], ['a', 'b'], ['']):
    assert set_owner.main(argv) == 2
  assert 'usage' in capsys.readouterr().out
