"""What an evaluation writes."""

import json
import subprocess

import numpy as np
import pytest
from PIL import Image

import jax3dgan
from jax3dgan.errors import UserError
from jax3dgan.evaluation import report
from jax3dgan.evaluation.results import Result


@pytest.fixture
def results():
  sheet = np.full((8, 12, 3), 90, np.uint8)
  return {
    'fid': Result({'FID-768': 12.5, 'broken': float('nan')}, '64 images, random cameras'),
    'nfs': Result({'nfs': 20.25}, '8 latents', sheet),
    'pose': report.skipped('mine has no labels. Name another.'),
  }


def test_the_record_says_how_the_figures_came_about(tiny_model, results):
  about = report.record(tiny_model, tiny_model.config, results, {'fid': 1.26})
  assert about['metrics'] == {'FID-768': 12.5, 'broken': None, 'nfs': 20.25}
  assert about['protocols'] == {'fid': '64 images, random cameras', 'nfs': '8 latents'}
  assert about['skipped'] == {'pose': 'mine has no labels. Name another.'}
  assert (about['model'], about['step'], about['seed']) == ('tiny', 12, 0)
  assert about['version'] == jax3dgan.__version__ and about['seconds'] == {'fid': 1.3}
  assert about['eval']['num_images'] == tiny_model.config.eval.num_images
  json.dumps(about, allow_nan=False)


def test_the_hash_of_a_config_is_of_its_values(tiny_model):
  config = tiny_model.config.copy_and_resolve_references()
  first = report.config_hash(config)
  assert first == report.config_hash(config) and len(first) == 16
  config.eval.seed += 1
  assert report.config_hash(config) != first


def test_the_commit_is_that_of_the_source():
  folder = report._PACKAGE
  command = ['git', '-C', str(folder), 'log', '-1', '--format=%H', '--', '.']
  inside = subprocess.run(command, capture_output=True, text=True)
  if inside.returncode or not inside.stdout.strip():
    assert report.commit() == ''
  else:
    head = subprocess.run(
      ['git', '-C', str(folder), 'rev-parse', 'HEAD'], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert report.commit().rstrip('+') == head


def test_a_package_outside_version_control_has_no_commit(tmp_path, monkeypatch):
  monkeypatch.setattr(report, '_PACKAGE', tmp_path)
  assert report.commit() == ''


def test_files_of_two_evaluations(tiny_model, results, tmp_path):
  class Writer:
    scalars, images, flushed = {}, {}, 0

    def write_scalars(self, step, values):
      self.scalars[step] = values

    def write_images(self, step, values):
      self.images[step] = values

    def flush(self):
      self.flushed += 1

  writer = Writer()
  for step in (12, 3):
    model = tiny_model.with_params(tiny_model.params, step)
    about = report.record(model, model.config, results, {})
    folder = report.write(tmp_path, about, results, writer)
    assert folder == tmp_path / 'eval' / f'{step:08d}'
    assert json.loads((folder / 'metrics.json').read_text(encoding='utf-8')) == about
  with Image.open(folder / 'nfs.png') as sheet:
    assert sheet.size == (12, 8) and sheet.text['protocol'] == '8 latents'
  assert not (folder / 'fid.png').exists()  # it had no sheet
  assert writer.scalars[3] == {'eval/FID-768': 12.5, 'eval/nfs': 20.25}
  assert writer.images[12]['eval/nfs'].shape == (1, 8, 12, 3) and writer.flushed == 2
  (tmp_path / 'eval' / '00000012' / 'metrics.json').write_text('{')
  assert [about['step'] for about in report.history(tmp_path)] == [3]
  with Image.open(tmp_path / 'eval' / 'metrics.png') as plot:
    assert np.asarray(plot.convert('L')).std() > 1


def test_the_table_names_each_protocol(tiny_model, results):
  about = report.record(tiny_model, tiny_model.config, results, {})
  text = report.table(about, results)
  assert 'tiny, step 12' in text and 'fid (64 images, random cameras)' in text
  assert '  FID-768  12.5' in text and 'pose: not measured. mine has no labels.' in text


def test_what_is_not_a_number_is_not_measured(tiny_model, results):
  about = report.record(tiny_model, tiny_model.config, results, {})
  assert '  broken   not measurable' in report.table(about, results)
  assert report.checked('fid', results['fid']) is results['fid']
  with pytest.raises(UserError, match='No figure of nfs is a number.*leave nfs out'):
    report.checked('nfs', Result({'nfs': float('nan'), 'nfs_solid': float('inf')}))


def test_no_figures_no_plot(tmp_path):
  report.plot(tmp_path / 'x.png', [{'step': 1, 'metrics': {'a': None}}])
  assert not (tmp_path / 'x.png').exists()
