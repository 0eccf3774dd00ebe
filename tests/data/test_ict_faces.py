"""Rendered faces: pictures and depth against cameras, rays and mirrors; the model's file.

Each geometry is tested on a model of ellipsoids and, where it is beside the repository, on the ICT
face model itself.
"""

import dataclasses
import math
import pathlib

import ict_synthetic
import jax
import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.data import images, labels
from jax3dgan.data.builders.ict_faces import generate, looks, model, paint, raster, scene
from jax3dgan.errors import UserError
from jax3dgan.evaluation import truth
from jax3dgan.rendering import rays

_REAL = pathlib.Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'ict_face_3dmm'
_FRONT = (math.pi / 2, math.pi / 2)
_SIDE = (math.pi / 2 - 0.4, math.pi / 2 - 0.2)  # From the face's left, and from above.


@pytest.fixture(scope='module', params=['synthetic', 'ict'])
def folder(request, tmp_path_factory):
  """Folder of a face model."""
  if request.param == 'synthetic':
    return ict_synthetic.write(tmp_path_factory.mktemp('model'))
  if not (_REAL / model.FILE).exists():
    pytest.skip('the ICT face model is not in ../shared/data/ict_face_3dmm')
  return str(_REAL)


@pytest.fixture
def faces(folder):
  return model.load(folder)


def _look(faces, i=3, **changes):
  """The person of an image with a calm face, and changes to it."""
  look = looks.draw(looks.generator('train', i), faces.expression_names, len(faces.identity))
  calm = np.zeros(len(faces.expression_names), np.float32)
  return dataclasses.replace(look, **{'expression': calm, **changes})


def _landmarks(head, label):
  """Image positions [68, 2] of the landmarks and their distance [68] from the camera."""
  camera = cameras.from_label(label)
  points = head.vertices[head.faces.landmarks]
  image, _ = jax.device_get(cameras.project(camera, points))
  return image, np.linalg.norm(points - np.asarray(camera.origin), axis=-1)


def test_labels_are_those_of_the_cameras():
  for yaw, pitch in (_FRONT, _SIDE, (2.1, 1.8)):
    expected = cameras.from_yaw_pitch(yaw, pitch, looks.RADIUS, looks.FOV_DEGREES).label()
    np.testing.assert_allclose(looks.label_of(yaw, pitch), expected, atol=2e-6)
  drawn = np.stack([looks.camera_label(np.random.default_rng(i)) for i in range(2000)])
  np.testing.assert_allclose(np.linalg.norm(drawn[:, [3, 7, 11]], axis=1), 2.7, rtol=1e-6)
  found = labels.statistics(labels.sums(drawn))
  # A normal cut off at two deviations has 0.88 of its deviation.
  assert found['yaw_mean'] == pytest.approx(math.pi / 2, abs=0.03)
  assert found['yaw_std'] == pytest.approx(0.88 * 0.3, rel=0.06)
  assert found['pitch_std'] == pytest.approx(0.88 * 0.15, rel=0.06)


def test_depth_is_the_distance_to_the_surface_along_each_ray(faces):
  """Against all triangles, each met by each of some rays (Möller and Trumbore 1997)."""
  head, label = scene.Head(faces, _look(faces)), looks.label_of(*_SIDE)
  _, depth, mask = head.render(label, 64)
  bundle = jax.device_get(rays.camera_rays(cameras.from_label(label), 64))
  chosen = np.random.default_rng(0).choice(64 * 64, 80, replace=False)
  origin, direction = (
    np.asarray(x, np.float64)[chosen] for x in (bundle.origins, bundle.directions)
  )
  a, b, c = (head.vertices[faces.triangles[:, i]].astype(np.float64) for i in range(3))
  normal = np.cross(b - a, c - a)
  nearest = np.full(len(chosen), np.inf)
  for k in range(len(chosen)):
    slope = normal @ direction[k]
    offset = a - origin[k]
    with np.errstate(divide='ignore', invalid='ignore'):
      t = (normal * offset).sum(1) / slope
      across = np.cross(offset, direction[k])
      v, w = (across * (c - a)).sum(1) / slope, -(across * (b - a)).sum(1) / slope
      met = (slope < 0) & (v >= 0) & (w >= 0) & (v + w <= 1)
    nearest[k] = np.min(t, where=met, initial=np.inf)
  assert 20 < np.isfinite(nearest).sum() < 70
  found = depth.ravel()[chosen]
  # At most one ray may slip between two triangles.
  same = np.isfinite(nearest) == np.isfinite(found)
  assert (~same).sum() <= 1
  both = same & np.isfinite(nearest)
  np.testing.assert_allclose(found[both], nearest[both], atol=1e-5)
  np.testing.assert_array_equal(mask, np.isfinite(depth))


def test_ellipsoid_has_the_depth_of_the_closed_form(tmp_path):
  faces = model.load(ict_synthetic.write(tmp_path))
  look = _look(faces, identity=np.zeros(100, np.float32), volume=0.0)
  label = looks.label_of(*_SIDE)
  _, depth, mask = scene.Head(faces, look).render(label, 64)
  bundle = jax.device_get(rays.camera_rays(cameras.from_label(label), 64))
  centre = (ict_synthetic.CENTRE - model.ORIGIN_CM) / model.UNIT_CM
  o = (bundle.origins - centre) * model.UNIT_CM / ict_synthetic.RADII
  d = bundle.directions * model.UNIT_CM / ict_synthetic.RADII
  half, square, rest = (o * d).sum(-1), (d * d).sum(-1), (o * o).sum(-1) - 1
  inside = half**2 - square * rest
  expected = (-half - np.sqrt(np.maximum(inside, 0))) / square
  inside, expected = inside.reshape(64, 64), expected.reshape(64, 64)
  assert (mask == (inside > 0)).mean() > 0.985
  error = np.abs(depth - expected)[mask & (inside > 0.0) & (expected > 0)]
  # A mesh of chords lies within its ellipsoid; its eyes stand out of it.
  assert np.median(error) < 1e-3 and np.percentile(error, 85) < 4e-3


@pytest.mark.parametrize('view', [_FRONT, _SIDE], ids=['front', 'side'])
def test_landmarks_are_where_the_picture_shows_them(faces, view):
  """Lips painted green are seen at the lips' landmarks, at the landmarks' distance."""
  look = _look(faces, lips=np.array([0.0, 1.0, 0.0]), beard=0.0, skin=np.array([0.6, 0.3, 0.3]))
  head, label = scene.Head(faces, look), looks.label_of(*view)
  image, depth, _ = head.render(label, 128)
  places, distance = _landmarks(head, label)
  r, g, b = np.moveaxis(image.astype(int), -1, 0)
  green = (g > r + 40) & (g > b + 40)
  assert green.sum() > 60
  row, column = np.nonzero(green)
  lips = places[48:60] * 128
  middle = (lips.min(0) + lips.max(0)) / 2
  assert (
    np.abs((column + 0.5).mean() - middle[0]) < 3 and np.abs((row + 0.5).mean() - middle[1]) < 3
  )
  assert column.min() > lips[:, 0].min() - 3 and column.max() < lips[:, 0].max() + 3
  assert row.min() > lips[:, 1].min() - 3 and row.max() < lips[:, 1].max() + 3
  # The tip of the nose and the chin face the camera in both views.
  for k in (30, 8, 51, 57):
    x, y = (places[k] * 128).astype(int)
    around = depth[y - 2 : y + 3, x - 2 : x + 3]
    assert np.abs(around - distance[k]).min() < 0.01


def test_camera_that_goes_round_sees_the_head_turn(faces):
  head = scene.Head(faces, _look(faces))
  nose = []
  for yaw in (-0.4, 0.0, 0.4):  # Of the camera: to the face's right, front, left (world +x).
    places, _ = _landmarks(head, looks.label_of(math.pi / 2 - yaw, math.pi / 2))
    nose.append(places[30, 0])
  assert nose[0] - 0.05 > nose[1] > nose[2] + 0.05
  left, right = (head.render(looks.label_of(math.pi / 2 - y, math.pi / 2), 64) for y in (0.4, -0.4))
  assert np.abs(left[0].astype(int) - right[0]).mean() > 3
  # From above, the tip of the nose is lower in the picture.
  above, _ = _landmarks(head, looks.label_of(math.pi / 2, math.pi / 2 - 0.3))
  level, _ = _landmarks(head, looks.label_of(*_FRONT))
  assert above[30, 1] > level[30, 1] + 0.02


def test_mirrored_label_shows_the_mirrored_picture(faces):
  lamps = np.array([[0.6, 0.6, 0.6]])
  even = dict(identity=np.zeros(100, np.float32), lamps=lamps, directions=np.array([[0, 0.6, 0.8]]))
  head, label = scene.Head(faces, _look(faces, **even)), looks.label_of(*_SIDE)
  image, depth, mask = head.render(label, 64)
  other, other_depth, other_mask = head.render(labels.mirror(label), 64)
  assert (mask[:, ::-1] == other_mask).mean() > 0.99
  # Few pixels differ: quads are cut in two along the same diagonal left and right, and the eyes'
  # reflections are not mirrored.
  assert np.abs(image[:, ::-1].astype(int) - other).mean() < 1.5
  assert np.abs(image.astype(int) - other).mean() > 5
  both = mask[:, ::-1] & other_mask
  assert np.percentile(np.abs(depth[:, ::-1][both] - other_depth[both]), 95) < 4e-3


def test_second_view_shows_the_same_surface(folder):
  """Points that the first camera sees lie, seen from the second, on its surface or behind it."""
  (example,) = generate.examples_with_truth('ict:' + folder, 1)
  first, second = (cameras.from_label(e['label']) for e in (example, example['second']))
  bundle = jax.device_get(rays.camera_rays(first, 64))
  mask, depth = example['mask'].ravel(), example['depth'].ravel()
  points = bundle.origins[mask] + depth[mask, None] * bundle.directions[mask]
  places, _ = jax.device_get(cameras.project(second, points))
  column, row = np.clip((places * 64).astype(int), 0, 63).T
  distance = np.linalg.norm(points - np.asarray(second.origin), axis=-1)
  seen = example['second']['mask'][row, column]
  assert seen.mean() > 0.9  # The others are at the outline.
  behind = distance[seen] - example['second']['depth'][row, column][seen]
  assert np.median(np.abs(behind)) < 0.01
  assert (behind > -0.03).mean() > 0.98


def test_picture_and_mask_agree(faces):
  for i in range(3):
    head = scene.Head(faces, _look(faces, i))
    image, _, mask = head.render(looks.camera_label(looks.generator('test', i)), 64)
    assert 0.25 < mask.mean() < 0.75
    white = (image == 255).all(-1)
    assert (white == ~mask).mean() > 0.94  # All but the outline.
    assert 40 < image[mask].mean() < 235 and image[mask].std() > 10


def test_truth_is_what_evaluation_measures_against(folder):
  made = generate.examples_with_truth('ict:' + folder, 2)
  depth, mask = (np.stack([e[name] for e in made]) for name in ('depth', 'mask'))
  found = truth.depth_errors(np.where(mask, depth, 9.0), mask, depth, mask)
  assert found['mask/iou'] == 1 and found['depth/absolute'] == found['depth/z_mse'] == 0
  assert {'image', 'label', 'depth', 'mask', 'second', 'identity', 'expression'} <= set(made[0])
  assert made[0]['second'].keys() == {'image', 'label', 'depth', 'mask'}
  assert made[0]['image'].shape == made[0]['second']['image'].shape == (64, 64, 3)
  assert not np.array_equal(made[0]['label'], made[0]['second']['label'])


def test_expression_moves_the_face(faces):
  calm = _look(faces)
  opened = looks.weights_of(faces.expression_names, dict(jawOpen=1.0))
  assert opened.sum() == 1
  moved = scene.Head(faces, dataclasses.replace(calm, expression=opened)).vertices
  still = scene.Head(faces, calm).vertices
  drop = (moved - still)[faces.landmarks][:, 1] * model.UNIT_CM
  assert drop[8] < -1.0  # The chin, cm.
  assert np.abs(drop[17:27]).max() < 0.2  # The brows.
  both = looks.weights_of(faces.expression_names, dict(eyeBlink=(0.25, 2.0)))
  assert sorted(both[both > 0]) == [0.25, 1.0]


def test_images_of_one_number_are_the_same_bytes(folder):
  source = generate.parse('ict:' + folder)
  faces = model.load(source.folder)
  a, b = (generate.example(faces, source, 'train', 5, 64) for _ in range(2))
  assert a['image'] == b['image'] and a['label'].tobytes() == b['label'].tobytes()
  others = [generate.example(faces, source, *args) for args in (('train', 6, 64), ('test', 5, 64))]
  assert len({a['image'], *(e['image'] for e in others)}) == 3
  varied = generate.parse(f'ict:{folder}?background=varied')
  c = generate.example(faces, varied, 'train', 5, 64)
  ground = images.decode(c['image'])[0, 0]
  assert (images.decode(a['image'])[0, 0] == 255).all() and (ground < 255).any()
  np.testing.assert_array_equal(a['extras']['identity'], c['extras']['identity'])


def test_rasteriser_takes_the_nearest_that_faces_the_camera():
  # Two squares of a picture of 4 x 4, the second one behind, and one nearest of all turned away.
  square = np.array([(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)])
  points = np.concatenate([square * [0.5, 1], square, square])
  depth = np.repeat([1.0, 2.0, 0.5], 4)
  front = np.array([(0, 2, 1), (0, 3, 2)])
  triangles = np.concatenate([front, front + 4, front[:, ::-1] + 8])
  pixel, triangle, weights = raster.rasterize(points, depth, triangles, 4)
  np.testing.assert_array_equal(pixel, np.arange(16))
  nearest = triangle.reshape(4, 4)
  assert (nearest[:, :2] < 2).all() and ((nearest[:, 2:] >= 2) & (nearest[:, 2:] < 4)).all()
  np.testing.assert_allclose(weights.sum(1), 1)
  # In perspective: half-way in the picture between depths 1 and 3 is a quarter of the way in space.
  line = np.array([(0.0, 0.0), (0.0, 8.0), (8.0, 0.0)])
  pixel, _, weights = raster.rasterize(line, np.array([1.0, 1.0, 3.0]), np.array([[0, 1, 2]]), 8)
  share = 3.5 / 8
  np.testing.assert_allclose(weights[3, 2], share / 3 / (share / 3 + 1 - share), rtol=1e-12)


def test_light_of_a_lamp_is_near_a_clamped_cosine():
  look = looks.draw(looks.generator('train', 0), ict_synthetic.NAMES, 100)
  lit = dataclasses.replace(
    look, ambient=np.zeros(3), lamps=np.ones((1, 3)), directions=np.array([[0.0, 0.0, 1.0]])
  )
  angle = np.linspace(0, math.pi, 60)
  normals = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=1)
  light = paint.irradiance(lit, normals)[:, 0]
  # The third band leaves at most 1/16 of the cosine's height.
  np.testing.assert_allclose(light, np.maximum(np.cos(angle), 0), atol=0.0951)
  assert light[0] == pytest.approx(1.0625)


def test_the_model_must_be_there_and_whole(tmp_path):
  with pytest.raises(UserError, match='no folder'):
    model.load(str(tmp_path / 'absent'))
  with pytest.raises(UserError, match='no ict_face_model_light.npz'):
    model.load(str(tmp_path))
  (tmp_path / model.FILE).write_bytes(b'half')
  with pytest.raises(UserError, match='no whole npz'):
    model.load(str(tmp_path))
  whole = ict_synthetic.build()
  broken = whole['neutral'].copy()
  broken[3] = np.nan
  for name, value, words in (
    ('landmarks68', None, 'no array landmarks68'),
    ('neutral', broken, 'not finite'),
    ('faces', whole['faces'] + 10**6, 'beyond its'),
    ('identity', whole['identity'][:, :-1], 'of shape'),
    ('part_names', np.array(['mouth'] * 9), 'no part eye_socket_l'),
  ):
    folder = tmp_path / name
    folder.mkdir()
    with pytest.raises(UserError, match=words) as error:
      model.load(ict_synthetic.write(folder, **{name: value}))
    assert str(folder) in str(error.value) and '\n' not in str(error.value)
