"""Evaluation from end to end on an untrained model: files, figures, reasons, determinism."""

import dataclasses
import functools
import json
import pathlib
import types
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jax3dgan import main
from jax3dgan.data import images
from jax3dgan.errors import UserError
from jax3dgan.evaluation import against_photos, evaluate, report
from jax3dgan.runs import checkpoints, workdirs

_PROJECTION = np.random.default_rng(0).normal(size=(16 * 16 * 3, 6)).astype(np.float32) / 255


class Extractor:
  """Instead of Inception: six random projections of 16² images."""

  dims, label, fingerprint = 6, 'FID-6', 'projection'

  def __call__(self, batches):
    for batch in batches:
      yield batch.reshape(len(batch), -1).astype(np.float32) @ _PROJECTION


@pytest.fixture
def projected(monkeypatch):
  load = lambda path, dims: types.SimpleNamespace(dims=6)  # noqa: E731
  monkeypatch.setattr(against_photos.inception_weights, 'load', load)
  monkeypatch.setattr(against_photos.features, 'FeatureExtractor', lambda *args: Extractor())


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return str(tmp_path_factory.mktemp('cache'))


@pytest.fixture
def model(tiny_model, cache):
  config = tiny_model.config.copy_and_resolve_references()
  with config.unlocked():
    config.data.update(source='toys', loader='arrays', num_images=24, cache_dir=cache)
    config.eval.update(metrics='fid,kid,nfs,view_leak', num_images=20, num_latents=3)
    config.eval.update(kid_subset_size=10, kid_subsets=4)
  model = dataclasses.replace(tiny_model, config=config)
  model.__dict__['compiled'] = tiny_model.compiled  # of the same generator: for all tests
  return model


@pytest.fixture
def workdir(model, tmp_path):
  path = tmp_path / 'run'
  saver = checkpoints.Checkpoints(path, 1, 2, config=model.config)
  rate = str(model.config.ema.display_rate)
  saver.save(12, {'networks': {}, 'ema': {'generator': {rate: model.params}}})
  saver.close()
  return path


def test_from_the_command_line(projected, model, workdir, capsys):
  assert main.main(['main', '--mode=eval', f'--workdir={workdir}']) == 0
  output = capsys.readouterr().err
  assert 'run, step 12' in output and 'random cameras of the pose prior, 16² pixels' in output
  folder = workdir / 'eval' / '00000012'
  about = json.loads((folder / 'metrics.json').read_text(encoding='utf-8'))
  assert set(about['metrics']) >= {'FID-6', 'KID-6', 'KID-6/standard_error', 'nfs', 'nfs_solid'}
  assert about['metrics']['FID-6'] > 0 and 1 <= about['metrics']['nfs'] <= 64
  assert '20 generated images, 24 photos' in about['protocols']['fid'] and not about['skipped']
  assert about['config_hash'] == report.config_hash(
    workdirs.config_from(workdirs.plain(model.config))
  )
  assert (workdir / 'eval' / 'metrics.png').exists()
  with Image.open(folder / 'nfs.png') as sheet:
    assert sheet.text['protocol'] == about['protocols']['nfs']
  # The same seed gives the same figures, and another one others.
  assert main.main(['main', '--mode=eval', f'--workdir={workdir}']) == 0
  again = json.loads((folder / 'metrics.json').read_text(encoding='utf-8'))
  assert again['metrics'] == about['metrics']
  flags = ['--config.eval.seed=1', '--config.eval.metrics=fid']
  assert main.main(['main', '--mode=eval', f'--workdir={workdir}', *flags]) == 0
  other = json.loads((folder / 'metrics.json').read_text(encoding='utf-8'))
  assert set(other['metrics']) == {'FID-6'}
  assert other['metrics']['FID-6'] != about['metrics']['FID-6']


def test_every_metric_is_measured_or_says_why(projected, model, monkeypatch):
  few = functools.partial(evaluate.probes.toys, num_train=64, num_held_out=32)
  monkeypatch.setattr(evaluate.probes, 'toys', few)
  invert = evaluate.truth.measure_by_inversion
  short = functools.partial(invert, num_steps=4, frame_steps=3)
  monkeypatch.setattr(evaluate.truth, 'measure_by_inversion', short)
  with model.config.unlocked():
    model.config.eval.update(metrics='all', cameras='random,dataset,fixed', num_inverted=2)
  lines = []
  results, seconds = evaluate.Evaluator(model.config, lines.append).run(model)
  names = set(evaluate.METRICS) - {*evaluate.OF_OBJECTS, evaluate.EXPRESSION} | {
    f'{name}/{cameras}_cameras'
    for name in evaluate.DISTRIBUTION
    for cameras in ('dataset', 'fixed')
  }
  assert set(results) == names
  skipped = {name for name, result in results.items() if result.skipped}
  # A probe of two steps reads no attribute of a car, and no photo is held out of many objects.
  assert skipped == {f'{name}/fixed_cameras' for name in evaluate.DISTRIBUTION} | {
    'identity',
    'held_out',
  }
  assert 'is not conditioned on the camera' in results['fid/fixed_cameras'].skipped
  assert "the data set's cameras" in results['fid/dataset_cameras'].protocol
  assert list(results['fid/dataset_cameras'].values) == ['FID-6/dataset_cameras']
  for name in set(results) - skipped:
    assert results[name].values and results[name].protocol, name
    assert all(
      isinstance(value, float | int | np.floating) for value in results[name].values.values()
    )
  for name in ('reprojection', 'chamfer', 'nfs', 'view_leak', 'truth', 'pose'):
    assert results[name].sheet.dtype == np.uint8 and results[name].sheet.ndim == 3
  timed = {'images', *evaluate.METRICS} - {*evaluate.DISTRIBUTION, *evaluate.OF_OBJECTS}
  timed.discard(evaluate.EXPRESSION)  # of a model that is told none
  assert set(seconds) == timed
  assert any('images, random cameras 20/20' in line for line in lines)


def test_without_weights_the_rest_is_measured(model, monkeypatch, tmp_path):
  monkeypatch.setenv('JAX3DGAN_CACHE', str(tmp_path))
  monkeypatch.delenv('JAX3DGAN_INCEPTION', raising=False)
  with model.config.unlocked():
    model.config.eval.metrics = 'fid'
  with pytest.raises(UserError, match='--config.eval.inception'):
    evaluate.Evaluator(model.config, print)
  with model.config.unlocked():
    model.config.eval.metrics = 'all'
  evaluator = evaluate.Evaluator(model.config, lambda line: None)
  evaluator._metrics = ('fid', 'nfs')
  results, _ = evaluator.run(model)
  assert 'pt_inception' in results['fid'].skipped and results['nfs'].values


@pytest.mark.parametrize(
  'fields, words',
  [
    (dict(metrics='fid,psnr'), "has 'psnr'. Choose some of fid, kid"),
    (dict(metrics=','), 'is empty'),
    (dict(metrics='fid', cameras='all'), "config.eval.cameras has 'all'"),
    (dict(metrics='fid', num_images=6), 'more than 6'),
    (dict(metrics='kid', kid_subset_size=30), '30'),
  ],
)
def test_what_cannot_be_measured_is_said_at_once(projected, model, fields, words):
  with model.config.unlocked():
    model.config.eval.update(fields)
  with pytest.raises(UserError, match=words):
    evaluate.Evaluator(model.config, print)


def test_data_without_cameras_or_truth(projected, model, tmp_path):
  rng = np.random.default_rng(0)
  with zipfile.ZipFile(tmp_path / 'mine.zip', 'w') as file:
    for i in range(24):
      file.writestr(f'{i:02}.png', images.encode_png(rng.integers(0, 255, (16, 16, 3), np.uint8)))
  with model.config.unlocked():
    model.config.data.source = str(tmp_path / 'mine.zip')
    model.config.eval.update(metrics='all', cameras='dataset')
  evaluator = evaluate.Evaluator(model.config, lambda line: None)
  evaluator._metrics = ('fid', 'truth', 'pose')
  evaluator._images = ['fid']
  results, _ = evaluator.run(model)
  assert 'has no cameras for the protocol dataset' in results['fid'].skipped
  assert 'The true depth of' in results['truth'].skipped
  assert 'no network can learn to read poses' in results['pose'].skipped


def test_a_diverged_model_is_no_end_of_a_training(projected, model):
  broken = model.with_params(jax.tree.map(lambda x: x * jnp.nan, model.params), 13)
  with model.config.unlocked():
    model.config.eval.metrics = 'fid'
  evaluator = evaluate.Evaluator(model.config, lambda line: None)
  with pytest.raises(UserError, match='its training diverged'):
    evaluator.run(broken)
  results, _ = evaluator.run(broken, strict=False)
  assert 'its training diverged' in results['fid'].skipped
  assert evaluator.run(model)[0]['fid'].values['FID-6'] > 0


def test_a_picture_generator_has_no_depth_to_measure(model):
  class Flat:
    z_dim = 8
    has_field = has_depth = False

  with model.config.unlocked():
    model.config.eval.metrics = 'nfs'
  model.generator = Flat()
  with pytest.raises(UserError, match='without a field'):
    evaluate.Evaluator(model.config, print).run(model)


def test_another_model_than_the_config_says(workdir, tmp_path, capsys):
  flags = [f'--workdir={workdir}', '--config.model.hidden_dim=32']
  assert main.main(['main', '--mode=eval', *flags]) == 1
  output = capsys.readouterr().err
  assert 'model.hidden_dim is 16 there and 32 here' in output and output.count('\n') == 1


def test_figures_of_a_packaged_model_are_not_written_into_a_run(workdir, capsys):
  before = sorted(pathlib.Path(workdir).rglob('*'))
  assert main.main(['main', '--mode=eval', f'--workdir={workdir}', '--pretrained=toys_2d']) == 1
  output = capsys.readouterr().err
  assert 'is the folder of a run, and the figures of --pretrained=toys_2d' in output
  assert output.count('\n') == 1 and sorted(pathlib.Path(workdir).rglob('*')) == before


def test_a_packaged_model_has_one_step(tmp_path, capsys):
  flags = [f'--workdir={tmp_path}', '--pretrained=toys_2d', '--config.eval.step=7']
  assert main.main(['main', '--mode=eval', *flags]) == 1
  output = capsys.readouterr().err
  assert 'Leave out --step (of main: --config.eval.step)' in output and output.count('\n') == 1


@pytest.mark.parametrize(
  'flags, words',
  [
    (['--mode=eval'], 'Say what to evaluate'),
    (['--mode=eval', '--workdir=nowhere'], 'no run began there'),
    (['--mode=eval', '--pretrained=tois'], "No pretrained model is called 'tois'"),
    (['--mode=eval', '--pretrained=toys', '--config.eval.num_image=3'], 'config.eval.num_images'),
    (['--mode=evaluate', '--workdir=x'], 'mode'),
    (['--pretrained=toys', '--config=configs/toys.py'], '--pretrained goes with --mode=eval'),
  ],
)
def test_wrong_flags(flags, words, capsys, monkeypatch):
  monkeypatch.chdir(pathlib.Path(__file__).resolve().parent.parent.parent)
  assert main.main(['main', *flags]) == 1
  output = capsys.readouterr().err
  assert words in output and output.startswith('Error: ') and output.count('\n') == 1
