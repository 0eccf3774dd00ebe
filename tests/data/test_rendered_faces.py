"""Rendered faces that are prepared as a folder: known by their index, with a face model by name."""

import os

import coded_faces
import jax
import numpy as np
import pytest

from jax3dgan import trained, viz
from jax3dgan.apps import common, express
from jax3dgan.data import prepare, rendered_faces
from jax3dgan.data.builders.ict_faces import generate, looks
from jax3dgan.data.face_reader import Reader
from jax3dgan.errors import UserError
from jax3dgan.evaluation import evaluate, expression_of_data, expression_reader, truth
from jax3dgan.trained import expressions

_FLAG = '--source=ict:FOLDER'


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """(face model, faces that were prepared from it)."""
  model, out = (
    coded_faces.write(tmp_path_factory.mktemp('model')),
    str(tmp_path_factory.mktemp('x')),
  )
  prepare.render_faces(f'ict:{model}?background=varied', out, 16, num_images=1, num_workers=1)
  return model, out


@pytest.fixture
def model(folders, monkeypatch):
  """Trained with the prepared faces, and of a program that trains no reader."""
  monkeypatch.delenv('ICT_FACE_MODEL', raising=False)
  made = coded_faces.model(folders[0])
  made.config.data.source = folders[1]
  return made


@pytest.fixture
def trainings(monkeypatch):
  """The arguments of each training of a reader."""
  calls = []

  def train(*args, **more):
    calls.append((args, more))
    raise UserError('trained')

  monkeypatch.setattr(expression_reader, 'train', train)
  return calls


def test_the_index_says_what_they_are(folders, model, monkeypatch):
  folder, faces = folders
  assert rendered_faces.are(faces) and rendered_faces.are('ict:') and not rendered_faces.are('toys')
  named = expressions.names_of(model.config, len(looks.EXPRESSION_NAMES))
  assert named == looks.EXPRESSION_NAMES
  source = f'ict:{folder}?background=varied'
  assert rendered_faces.with_model(faces, folder, _FLAG) == source
  with pytest.raises(UserError, match='where their face model is. Set --source=ict:FOLDER'):
    rendered_faces.with_model(faces, '', _FLAG)
  with pytest.raises(UserError, match='toys is not rendered.*ict:FOLDER'):
    rendered_faces.with_model('toys', folder, _FLAG)
  monkeypatch.setenv('ICT_FACE_MODEL', folder)
  assert rendered_faces.with_model(faces, '', _FLAG) == source
  read, path, codes = Reader().read('', faces, 2, (0, 0))
  assert path == folder and codes.shape == (2, 105) and len(read.expression_basis) == 5


def test_another_face_model_is_refused(folders, tmp_path):
  coded_faces.write(tmp_path)
  with open(os.path.join(tmp_path, 'ict_face_model_light.npz'), 'ab') as file:
    file.write(b'\0')
  with pytest.raises(UserError, match='rendered from another face model than'):
    rendered_faces.with_model(folders[1], str(tmp_path), _FLAG)


def test_they_are_measured_and_read(folders, model, trainings):
  with model.config.unlocked():
    model.config.expgan = {'face_model': folders[0]}
  model.config.eval.probe_steps, model.config.data.cache_dir = 7, 'here'
  source = f'ict:{folders[0]}?background=varied'
  with pytest.raises(UserError, match='trained'):
    expression_of_data.measure(model, model.config, print, None, num_latents=2)
  with pytest.raises(UserError, match='trained'):
    express._reader(model, expressions.Faces(model), common.argparse.Namespace(source=None))
  for args, more in trainings:
    assert args == (source, 16, 7) and more['cache_dir'] == 'here'


def test_their_true_depth_is_known(folders, model, monkeypatch):
  given = []

  def measure(model, examples, **_):
    given.extend(examples)
    raise UserError('measured')

  monkeypatch.setattr(truth, 'measure_by_inversion', measure)
  model.config.eval.update(metrics='truth', num_inverted=1)
  evaluator = evaluate.Evaluator(model.config, print)
  with pytest.raises(UserError, match='where their face model is. Set --config.data.source=ict:'):
    evaluator.run(model)
  monkeypatch.setenv('ICT_FACE_MODEL', folders[0])
  with pytest.raises(UserError, match='measured'):
    evaluator.run(model)
  source = f'ict:{folders[0]}?background=varied'
  (expected,) = generate.examples_with_truth(source, 1, 64)
  jax.tree.map(np.testing.assert_array_equal, given[0], expected)


def test_what_does_not_fit_is_said_before_a_reader_is_trained(
  folders, model, trainings, tmp_path, monkeypatch
):
  def measured(model, num=2):
    expression_of_data.measure(model, model.config, print, None, num_latents=num)

  class Other(coded_faces.TrueFaces):
    @property
    def code_sizes(self):
      return {'identity': 100, 'expression': 4}

  other = trained.Trained(model.config, Other(folders[0]), {'params': {}}, 0, 'other')
  model.config.data.source = f'ict:{folders[0]}'
  with pytest.raises(UserError, match='num_latents=2'):
    measured(model, 1)
  with pytest.raises(UserError, match='has 4 weights.*the data 5'):
    measured(other)
  with pytest.raises(UserError, match='another face model'):
    express._reader(other, expressions.Faces(other), common.argparse.Namespace(source=None))
  for flag in ('like', 'person'):
    flags = dict(like=None, person=None, w=None, source=None, steps=1)
    args = common.argparse.Namespace(**(flags | {flag: str(tmp_path / 'nothing.png')}))
    call = express._like if flag == 'like' else express._people
    with pytest.raises(UserError, match=f'--{flag}=.*nothing.png cannot be read'):
      call(model, expressions.Faces(model), args)
  viz.save_png(tmp_path / 'photo.png', np.zeros((16, 16, 3), np.uint8))
  monkeypatch.setattr(common, 'load', lambda args: model)
  flags = ['--workdir=x', f'--out={tmp_path / "x.png"}', f'--like={tmp_path / "photo.png"}']
  for flag in ('--person=nothing.png', '--w=nothing.npz'):
    with pytest.raises(SystemExit, match=f'Error: {flag}'):
      express.main([*flags, '--expressions=neutral', flag])
  assert not trainings
