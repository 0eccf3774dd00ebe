"""A file has a record of how it was made, and is made again from it."""

import argparse
import json

import jax
import numpy as np
import pytest
from PIL import Image

from jax3dgan import trained
from jax3dgan.apps import samples, turntable
from jax3dgan.errors import UserError
from jax3dgan.runs import provenance


@pytest.fixture
def pretrained(tiny_model, tmp_path, monkeypatch):
  """Makes `--pretrained=tiny` known."""
  trained.save_pretrained(tiny_model, tmp_path / 'pretrained')
  load = trained.load
  monkeypatch.setattr(
    trained, 'load', lambda *a, **k: load(*a, **k, directory=tmp_path / 'pretrained')
  )


def test_a_sheet_is_made_again_from_itself(pretrained, tmp_path):
  first, again = tmp_path / 'first.png', tmp_path / 'again.png'
  flags = ['--pretrained=tiny', '--seeds=3,5', '--psi=0.5', '--resolution=8', '--yaws=-20,20']
  samples.main([*flags, f'--out={first}'])
  samples.main([f'--repeat={first}', f'--out={again}'])
  assert first.read_bytes() == again.read_bytes()
  record = provenance.read(first)
  assert record['app'] == 'samples' and record['flags']['seeds'] == [3, 5]
  assert record['model'].keys() == {'name', 'step', 'weights'}
  # What is said beside --repeat counts more.
  samples.main([f'--repeat={first}', f'--out={again}', '--seeds=3,4'])
  assert first.read_bytes() != again.read_bytes()
  assert provenance.read(again)['flags']['seeds'] == [3, 4]
  assert provenance.read(again)['flags']['psi'] == 0.5


def test_the_defaults_of_the_model_are_in_the_record(pretrained, tmp_path):
  out = tmp_path / 'x.png'
  samples.main(['--pretrained=tiny', '--seeds=0', f'--out={out}'])
  flags = provenance.read(out)['flags']
  assert flags['psi'] == 0.7 and flags['resolution'] == 16 and flags['pretrained'] == 'tiny'


def test_a_video_is_made_again_from_what_lies_beside_it(pretrained, tmp_path):
  first, again = tmp_path / 'first.gif', tmp_path / 'again.gif'
  flags = ['--pretrained=tiny', '--seeds=1', '--frames=4', '--resolution=8']
  turntable.main([*flags, f'--out={first}'])
  turntable.main([f'--repeat={first}', f'--out={again}'])
  assert first.read_bytes() == again.read_bytes()
  assert provenance.read(first) == provenance.read(tmp_path / 'first.gif.json')


def test_other_weights_are_noticed(pretrained, tiny_model, tmp_path, capsys):
  out = tmp_path / 'x.png'
  samples.main(['--pretrained=tiny', '--seeds=0', '--resolution=8', f'--out={out}'])
  assert 'Warning' not in capsys.readouterr().err
  other = tiny_model.with_params(jax.tree.map(lambda x: x + 0.01, tiny_model.params), 12)
  trained.save_pretrained(other, tmp_path / 'pretrained')
  samples.main([f'--repeat={out}', f'--out={tmp_path / "y.png"}'])
  assert 'the weights of tiny are not those that made' in capsys.readouterr().err


def test_a_fingerprint_tells_trees_apart():
  tree = {'a': np.zeros(3, np.float32), 'b': np.zeros(2, np.float32)}
  same = {'a': np.zeros(3, np.float32), 'b': np.zeros(2, np.float32)}
  assert provenance.fingerprint(tree) == provenance.fingerprint(same)
  moved = {'a': np.zeros(2, np.float32), 'b': np.zeros(3, np.float32)}
  changed = same | {'b': np.float32([0, 1e-7])}
  prints = {provenance.fingerprint(x) for x in (tree, moved, changed)}
  assert len(prints) == 3


def test_a_file_that_tells_nothing(tmp_path, capsys):
  plain, broken = tmp_path / 'plain.png', tmp_path / 'broken.png'
  Image.new('RGB', (4, 4)).save(plain)
  broken.write_bytes(b'no picture')
  for path in (plain, broken):
    with pytest.raises(UserError, match='has no record of how it was made'):
      provenance.read(path)
  with pytest.raises(UserError, match='there is no such file'):
    provenance.read(tmp_path / 'nowhere.png')
  with pytest.raises(SystemExit) as stop:
    samples.main([f'--repeat={plain}', '--out=x.png'])
  assert stop.value.code == 2 and 'how it was made' in capsys.readouterr().err


def test_a_record_of_another_app(tmp_path, capsys):
  file = tmp_path / 'x.mp4.json'
  file.write_text(json.dumps({'app': 'turntable', 'flags': {}, 'model': {'weights': ''}}))
  with pytest.raises(SystemExit):
    samples.main([f'--repeat={file}', '--out=x.png'])
  assert f'made by turntable: jax3dgan turntable --repeat={file}' in capsys.readouterr().err


def test_arrays_in_a_record_become_lists(tiny_model):
  args = argparse.Namespace(workdir=None, pretrained='tiny', psi=None, out='x')
  entry = provenance.record('samples', args, tiny_model, camera=tiny_model.orbit([0.0]).cam2world)
  assert np.shape(json.loads(json.dumps(entry))['camera']) == (1, 4, 4)
  assert 'out' not in entry['flags']


def test_a_record_that_an_editor_saved_with_a_byte_order_mark(tmp_path):
  entry = {'app': 'turntable', 'flags': {'w': 'gr\udcfcn.npz'}}
  file = provenance.save_beside(tmp_path / 'x.gif', entry)
  (tmp_path / 'x.gif').write_bytes(b'')
  file.write_text(file.read_text(encoding='utf-8'), encoding='utf-8-sig')
  assert provenance.read(tmp_path / 'x.gif') == provenance.read(file) == entry
