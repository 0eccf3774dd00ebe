"""Expressions by words, in sheets, videos, meshes' styles and the viewer."""

import json
import types

import coded_faces
import numpy as np
import pytest
from PIL import Image

from jax3dgan import generators, trained, viz
from jax3dgan.apps import common, express
from jax3dgan.data.builders.ict_faces import looks
from jax3dgan.errors import UserError
from jax3dgan.evaluation import expression_reader
from jax3dgan.inversion import coded
from jax3dgan.inversion.descent import SearchOptions
from jax3dgan.meshes import fusion
from jax3dgan.trained import expressions
from jax3dgan.viewer.identity import Identity, Styles

_WORDS = 'neutral,expression2'
NAMES = looks.EXPRESSION_NAMES


@pytest.fixture(scope='module')
def model(tmp_path_factory):
  return coded_faces.model(coded_faces.write(tmp_path_factory.mktemp('model')))


@pytest.fixture
def loaded(model, monkeypatch):
  monkeypatch.setattr(common, 'load', lambda args: model)
  return model


def weight(name):
  return NAMES.index(name)


def test_words_are_presets_and_weights():
  told = expressions.parse('smile, jawOpen:0.7,mouthSmile_L+browDown:0.5,neutral', NAMES)
  assert list(told) == ['smile', 'jawOpen:0.7', 'mouthSmile_L+browDown:0.5', 'neutral']
  np.testing.assert_array_equal(told['smile'], looks.weights_of(NAMES, looks.PRESETS['smile']))
  assert told['jawOpen:0.7'][weight('jawOpen')] == np.float32(0.7)
  assert np.count_nonzero(told['jawOpen:0.7']) == 1 and not told['neutral'].any()
  both = told['mouthSmile_L+browDown:0.5']
  assert both[[weight('browDown_L'), weight('browDown_R')]].tolist() == [0.5, 0.5]
  assert both[weight('mouthSmile_L')] == 1 and both[weight('mouthSmile_R')] == 0
  sides = expressions.one('blink', ('blinkLeft', 'blinkRight', 'jaw'))
  assert sides.tolist() == [1, 1, 0]
  numbered = expressions.parse('expression3:-2', [f'expression{i}' for i in range(5)])
  assert next(iter(numbered.values())).tolist() == [0, 0, 0, -2, 0]


@pytest.mark.parametrize(
  'text, message',
  [
    ('smirk', "called 'smirk'.*neutral, smile"),
    ('smile:much', 'no number'),
    ('jaw', "called 'jaw'"),
    ('mouth', "called 'mouth'"),
    (' ,', 'no expression'),
  ],
)
def test_words_that_are_none(text, message):
  with pytest.raises(UserError, match=message):
    expressions.parse(text, NAMES)


def test_a_curve_is_linear_between_its_points(tmp_path):
  path = tmp_path / 'curve.json'
  path.write_text(
    json.dumps({'seconds': 2, 'jawOpen': [[0, 0], [1, 0.8]], 'mouthPucker': [[0, 1]]})
  )
  weights = expressions.curve(path, NAMES, 4)
  jaw = weights[:, weight('jawOpen')]
  np.testing.assert_allclose(jaw, [0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8], atol=1e-6)
  assert (weights[:, weight('mouthPucker')] == 1).all()
  for content, message in (
    ('{', 'as JSON'),
    ('{"seconds": 3}', 'no curves'),
    ('{"jawOpen": [[1, 0], [0, 1]]}', 'do not ascend'),
    ('{"jawOpen": [1, 2]}', 'no list of'),
    ('{"seconds": -1, "jawOpen": [[0, 1]]}', 'lasts -1'),
  ):
    path.write_text(content)
    with pytest.raises(UserError, match=message):
      expressions.curve(path, NAMES, 24)


def test_a_person_keeps_all_but_the_expression(model):
  faces = expressions.Faces(model)
  people = faces.of_seeds([3, 4])
  told = np.float32([0, 0, 1, 0, 0])
  w = faces.styles(people, told, 1.0)
  np.testing.assert_array_equal(w[:, 0, :103], model.latents([3, 4]))
  np.testing.assert_array_equal(w[:, 0, 103:], [told, told])
  # Without latents, as of an inverted photo.
  again = faces.of_styles(w)
  np.testing.assert_array_equal(faces.styles(again), w)
  np.testing.assert_array_equal(faces.styles(again, 0 * told)[:, 0, :103], w[:, 0, :103])
  assert faces.names == tuple(f'expression{i}' for i in range(5))


def test_a_model_without_codes_says_so(model):
  other = trained.Trained(model.config, generators.Generator(), {'params': {}}, 0, 'toys')
  with pytest.raises(UserError, match='toys has no expressions'):
    expressions.Faces(other)


def test_a_sheet_shows_what_is_told(loaded, tmp_path, capsys):
  out = tmp_path / 'sheet.png'
  words = 'neutral,expression2,expression2:0,expression0+expression1'
  flags = ['--workdir=x', '--seeds=0-1', '--yaws=0,20', f'--expressions={words}']
  express.main([f'--out={out}', *flags])
  assert '2 people of truth with 4 expressions' in capsys.readouterr().out
  # Two rows of four pictures of 128² for each person, below their titles.
  with Image.open(out) as sheet:
    width, height = sheet.size
  assert width >= 4 * 128 and height > 2 * 2 * 128
  faces = expressions.Faces(loaded)
  people = faces.of_seeds([1])
  open_mouth = loaded.render(faces.styles(people, np.eye(5)[2], None), loaded.orbit(0.0)).image
  neutral = loaded.render(faces.styles(people, np.zeros(5), None), loaded.orbit(0.0)).image
  assert np.abs(open_mouth - neutral).max() > 0.3


def test_videos_follow_words_or_a_curve(loaded, tmp_path):
  out, curve = tmp_path / 'x.gif', tmp_path / 'curve.json'
  express.main(
    ['--workdir=x', f'--out={out}', '--seeds=0', '--expressions=expression2', '--frames=3']
  )
  with Image.open(out) as video:
    assert video.n_frames == 3
  curve.write_text('{"seconds": 0.25, "expression2": [[0, 0], [0.2, 1]]}')
  express.main(
    ['--workdir=x', f'--out={out}', '--seeds=0-1', '--yaws=0', '--fps=8', f'--curve={curve}']
  )
  with Image.open(out) as video:
    assert video.n_frames == 2


def test_the_expression_of_styles_is_given_to_others(loaded, tmp_path, capsys):
  faces = expressions.Faces(loaded)
  told = np.float32([0, 0, 0.6, 0, 0])
  np.savez(tmp_path / 'me.npz', w=faces.styles(faces.of_seeds([5]), told, 1.0))
  given = express._like(loaded, faces, common.argparse.Namespace(like=str(tmp_path / 'me.npz')))
  assert list(given) == ['me']
  np.testing.assert_array_equal(given['me'], told)
  np.save(tmp_path / 'two.npy', faces.styles(faces.of_seeds([5, 6]), told, 1.0))
  np.save(tmp_path / 'other.npy', np.zeros((1, 1, 3)))
  for name, message in (
    ('two.npy', '--like=.*two.npy holds 2 styles'),
    ('other.npy', '--like=.*other.npy: its styles are'),
    ('none.npz', '--like=.*none.npz holds no styles'),
  ):
    args = common.argparse.Namespace(like=str(tmp_path / name))
    with pytest.raises(UserError, match=message):
      express._like(loaded, faces, args)
  # A file of the name of a column is a column more.
  path = tmp_path / 'expression2.npz'
  (tmp_path / 'me.npz').rename(path)
  words = f'--expressions={_WORDS}'
  flags = [f'--out={tmp_path / "x.png"}', f'--like={path}', '--seeds=0', '--yaws=0', words]
  express.main(['--workdir=x', *flags])
  assert 'with 3 expressions' in capsys.readouterr().out


@pytest.mark.parametrize(
  'flags, message',
  [
    (['--out=x.png', '--curve=c.json'], '--curve is of a video'),
    (['--out=x.mp4', '--curve=c.json', '--frames=3'], '--frames has no effect with --curve'),
    (['--out=x.png', '--frames=3'], '--frames has no effect on a PNG'),
    (['--out=x.png', '--source=ict:x'], '--source has no effect without a photo'),
    (['--out=x.png', '--like=me.npz', '--source=ict:x'], '--source has no effect without a photo'),
    (['--out=x.png', '--person=me.png', '--seeds=4'], '--seeds has no effect with --person'),
    (['--out=x.png', '--steps=4'], '--steps has no effect without --person'),
    (['--out=x.jpg'], 'must end in'),
  ],
)
def test_flags_without_effect(flags, message, capsys):
  with pytest.raises(SystemExit):
    express.main(['--workdir=x', *flags])
  assert message in capsys.readouterr().err


def test_photos_are_given_and_taken(loaded, tmp_path, monkeypatch, capsys):
  """A reader that knows the codes: the search finds the colour, and the codes stay."""
  faces, told = expressions.Faces(loaded), np.float32([0.5, 0, 1, 0, 0])
  person = faces.of_seeds([7])
  photo = loaded.render(faces.styles(person, told, 1.0), loaded.orbit(0.0)).image
  viz.save_png(tmp_path / 'me.png', viz.to_uint8(photo[0]))
  landmarks = types.SimpleNamespace(model=types.SimpleNamespace(expression_names=('',) * 5))
  read = types.SimpleNamespace(identity=person.identity[:, :10], expression=told[None])
  reader = type(
    'R', (), {'__call__': lambda self, x: read, 'landmarks': landmarks, 'resolution': 16}
  )
  monkeypatch.setattr(expression_reader, 'train', lambda *args, **more: reader())
  args = types.SimpleNamespace(like=str(tmp_path / 'me.png'), source=None)
  np.testing.assert_array_equal(express._like(loaded, faces, args)['me'], told)
  found = coded.find(
    faces,
    photo,
    person.identity[0],
    told,
    loaded.orbit(0.0),
    SearchOptions(num_steps=60, learning_rate=0.2, noise=0.0, unlikely=0.0),
  )
  styles = faces.of_styles(found.w)
  np.testing.assert_allclose(styles.expression[0], told, atol=1e-5)
  np.testing.assert_allclose(styles.identity, person.identity, atol=1e-4)
  assert found.losses['mse'][-1, 0] < 0.1 * found.losses['mse'][0, 0]
  out = tmp_path / 'x.png'
  express.main(
    [
      '--workdir=x',
      f'--out={out}',
      f'--person={args.like}',
      '--steps=20',
      '--yaws=0',
      f'--expressions={_WORDS}',
    ]
  )
  assert '1 person of truth with 2 expressions' in capsys.readouterr().out
  with pytest.raises(UserError, match='cannot be read'):
    express._photo('nothing.png', 16, '--like')


def test_styles_of_other_programs_with_an_expression(model):
  args = common.argparse.Namespace(w=None, seeds=[1], psi=1.0, expression='expression2:0.5')
  w, _ = common.styles(model, args)
  assert w[0, 0, 103:].tolist() == [0, 0, 0.5, 0, 0]
  args.expression = 'expression1,expression2'
  with pytest.raises(UserError, match='is 2 expressions'):
    common.styles(model, args)


def test_a_mesh_is_of_all_that_pictures_show(model):
  assert fusion.is_needed(model)  # depth, and no field

  class Beside(generators.Generator):
    has_field = has_surface = True

  beside = trained.Trained(model.config, Beside(), {'params': {}}, 0)
  assert fusion.is_needed(beside)


def test_the_viewer_tells_an_expression(model):
  styles = Styles(model)
  own = styles.w(Identity(seed=2))
  told = styles.w(Identity(seed=2, expression=(('expression2', 0.25), ('expression0', 1.0))))
  np.testing.assert_array_equal(told[0, 0, 103:], [1, 0, 0.25, 0, 0])
  np.testing.assert_array_equal(told[0, 0, :103], np.asarray(own)[0, 0, :103])
  styles.photos[1] = np.asarray(told)
  neutral = styles.w(Identity(photo=1, expression=()))
  assert not neutral[0, 0, 103:].any()
  np.testing.assert_array_equal(neutral[0, 0, :103], told[0, 0, :103])
