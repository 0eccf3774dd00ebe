"""Expressions measured with exact truth: the true renderer reaches the reader's own figures, one
that does not listen gets 0."""

import coded_faces
import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.data import face_models
from jax3dgan.data.builders.ict_faces import expressions as builder
from jax3dgan.errors import UserError
from jax3dgan.evaluation import evaluate, expression, expression_direction, expression_reader, pose
from jax3dgan.evaluation.expression_network import Landmarks, Reading, fit
from jax3dgan.trained.expressions import Faces

R = coded_faces.RESOLUTION


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return coded_faces.write(tmp_path_factory.mktemp('model'))


def pictures_of(model, landmarks, seeds, told):
  """`builder.Pictures` of a model's people with expressions told [m, n, e]."""
  faces = Faces(model)
  people = faces.of_seeds(seeds)
  camera, _ = pose.prior_cameras(model, len(seeds), seeds[0])
  images = [model.render(faces.styles(people, e, 1.0), camera).image for e in told]
  images = np.round(127.5 * (np.clip(np.stack(images, 1), -1, 1) + 1)).astype(np.uint8)
  label = np.asarray(cameras.Camera(camera.cam2world, camera.intrinsics).label())
  return builder.Pictures(images, people.identity, np.stack(told, 1), label)


@pytest.fixture(scope='module')
def reader(folder):
  """Trained on what the true renderer draws, and measured on other people."""
  model, landmarks = coded_faces.model(folder), Landmarks(face_models.load(folder))
  presets = np.stack([np.zeros(5, np.float32), *landmarks.presets.values()])
  train = pictures_of(model, landmarks, range(64), np.repeat(presets[:, None], 64, 1))
  params, spread = fit(train, landmarks, 120, 0, lambda line: None)
  made = expression_reader.Reader(params, spread, R, landmarks)
  others = pictures_of(model, landmarks, range(100, 116), np.repeat(presets[:, None], 16, 1))
  made.report = expression_reader.floors(made, others)
  return made


@pytest.fixture(scope='module')
def measured(folder, reader):
  whole = face_models.load(folder)

  def measure(**fields):
    model = coded_faces.model(folder, **fields)
    return expression.measure(model, reader, whole, num_latents=16, seed=100)

  return measure


def test_it_reads_movements(reader):
  assert {'smile', 'open', 'laugh', 'frown'} <= set(reader.presets)
  assert 'pucker' not in reader.presets  # none of its weights is there
  assert reader.report['correlation'] > 0.6 and reader.readable
  picture = np.zeros((2, R, R, 3), np.uint8)
  assert not reader(picture, picture).movement.any()
  with pytest.raises(UserError, match='do not shrink to 16²'):
    reader(np.zeros((1, 24, 24, 3), np.uint8))


def test_the_true_renderer_reaches_the_floors(reader, measured):
  values = measured().values
  for key in ('gain', 'correlation', 'placement', 'identity', 'recognised', 'still_pixels'):
    assert values[f'expression/{key}'] == pytest.approx(values[f'expression/floor_{key}'], abs=0.02)
  for name in reader.readable:
    assert values[f'expression/gain/{name}'] == pytest.approx(
      reader.report[f'gain/{name}'], abs=0.02
    )
  assert values['expression/outside'] < 0.5
  assert values['expression/depth/absolute'] < 1e-4
  assert values['expression/depth/solid_share'] == pytest.approx(1)


def test_what_does_not_listen_gets_0(measured):
  found = measured(obeys=0.0, flat=0.01)
  values = found.values
  for key in ('gain', 'correlation', 'wrong', 'still_pixels', 'identity', 'outside'):
    assert values[f'expression/{key}'] == pytest.approx(0, abs=1e-12), key
  assert 0.008 < values['expression/depth/absolute'] < 0.02
  assert 'a camera of the pose prior each' in found.protocol and found.sheet.dtype == np.uint8


def test_half_of_an_expression_has_about_half_of_the_gain(measured):
  whole, half = measured().values, measured(obeys=0.5).values
  assert 0.3 < half['expression/gain'] / whole['expression/gain'] < 0.75


def test_training_is_one_command_and_kept(folder, tmp_path, capsys):
  flags = [f'--source=ict:{folder}', '--resolution=16', '--steps=1', '--people=2', '--held-out=2']
  flags.append(f'--cache-dir={tmp_path}')
  assert expression_reader.main(flags) == 0
  first = capsys.readouterr().out
  assert 'rendering' in first and 'smile' in first and 'R² of identity weights' in first
  assert 'hardly reads true pictures: a correlation of 0.' in first  # after one step
  assert expression_reader.main(flags) == 0
  again = capsys.readouterr().out
  assert 'rendering' not in again and again.splitlines()[-6:] == first.splitlines()[-6:]
  assert expression_reader.main([*flags, '--held-out=1']) == 1
  assert '--held-out 2' in capsys.readouterr().err


def test_it_is_asked_for_by_name_and_says_what_it_needs(folder):
  config = coded_faces.model(folder).config
  config.eval.metrics = 'expression'
  evaluate.check(config)
  config.data.source = 'toys'
  measure = evaluate.Evaluator(config, lambda line: None)
  with pytest.raises(UserError, match='true expressions of toys are not known'):
    measure.run(coded_faces.model(folder))


def test_the_direction_of_a_linear_generator_is_found(monkeypatch, reader):
  """Styles of which some numbers are the strengths themselves, others nothing."""
  presets = np.stack([*reader.presets.values()])
  p = len(presets)
  # Presets of laugh, smile and open share weights, and strengths are least squares.
  seen = presets @ np.linalg.pinv(presets)

  class Fake:
    name = 'fake'

    def latents(self, seeds):
      return np.stack([np.random.default_rng(s).standard_normal(p + 3, np.float32) for s in seeds])

    def map(self, z, psi=None):
      return np.asarray(z)

  def read(pictures):
    return Reading(None, None, None, 0.25 * pictures[:, :p] @ presets)

  monkeypatch.setattr(pose, 'prior_cameras', lambda *args: (None, None))
  reads = type('Reads', (), {'presets': reader.presets, '__call__': lambda self, x: read(x)})()
  found = expression_direction.fit(Fake(), reads, range(400), lambda w, camera: w)
  for i in range(p):
    # Where it says that the preset is full, the strength that is read has grown by 1.
    assert 0.25 * found.offsets[i, :p] @ seen[:, i] == pytest.approx(1, rel=0.02)
    direction = np.append(seen[:, i], np.zeros(3))
    cosine = found.offsets[i] @ direction / np.linalg.norm(found.offsets[i])
    assert cosine / np.linalg.norm(direction) > 0.98
    size = np.linalg.norm(found.offsets[i])  # styles have unit deviations
    assert found.deviations[i] == pytest.approx(size, rel=0.15)
  assert found.r2.min() > 0.95
