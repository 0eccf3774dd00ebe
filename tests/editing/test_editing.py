"""Directions: closed forms, planted answers, and what an edit must leave alone."""

import math
import types

import jax
import numpy as np
import pytest

from jax3dgan import editing, trained
from jax3dgan.cameras import Camera
from jax3dgan.editing import pose_drift
from jax3dgan.editing.directions import Styles, layer_mask, parse_layers
from jax3dgan.editing.pca import components
from jax3dgan.errors import UserError
from jax3dgan.generators import Generator, Rendering


@pytest.fixture(scope='module')
def flat():
  return trained.load(pretrained='toys_2d')


@pytest.fixture(scope='module')
def two():
  """Two directions of styles [3, 2]."""
  vectors = np.zeros((2, 3, 2), np.float32)
  vectors[0, 0, 0] = 1
  vectors[1] = 1 / math.sqrt(6)
  return editing.Directions(('a', 'b'), vectors, np.float32([2, 0.5]), 'by hand', {'a': {'x': 1.5}})


# Directions


def test_strengths_are_standard_deviations_and_add_up(two):
  w = np.random.default_rng(0).standard_normal((4, 3, 2), np.float32)
  moved = two.apply(w, {'a': 1.5, 'b': -2.0})
  expected = np.full((3, 2), -1 / math.sqrt(6))
  expected[0, 0] += 3
  np.testing.assert_allclose(moved - w, np.broadcast_to(expected, w.shape), atol=1e-6)
  np.testing.assert_array_equal(two.apply(w, {'a': 0.0, 'b': 0.0}), w)
  np.testing.assert_array_equal(two.apply(w, {}), w)
  # There and back.
  np.testing.assert_allclose(two.apply(moved, {'a': -1.5, 'b': 2.0}), w, atol=1e-6)


def test_layers_outside_of_the_range_stay(two):
  w = np.zeros((1, 3, 2), np.float32)
  moved = two.apply(w, {'b': 1.0}, layers=(1, 1))[0]
  assert (moved[1] != 0).all() and (moved[[0, 2]] == 0).all()
  parts = [two.apply(w, {'b': 1.0}, layers=(i, i)) for i in range(3)]
  np.testing.assert_array_equal(sum(parts), two.apply(w, {'b': 1.0}))
  assert layer_mask((3, 2), (0, 1)).ravel().tolist() == [1, 1, 0]
  assert parse_layers('0-3') == (0, 3) and parse_layers('2') == (2, 2)


def test_saved_and_read_back(two, tmp_path):
  path = two.save(tmp_path / 'folder' / 'x.npz')
  other = editing.Directions.load(path)
  assert other.names == two.names and other.source == two.source and other.report == two.report
  np.testing.assert_array_equal(other.vectors, two.vectors)
  np.testing.assert_array_equal(other.scales, two.scales)
  assert other.save(tmp_path / 'y.npz').read_bytes() == path.read_bytes()
  picked = other.select(['b'])
  assert picked.names == ('b',) and picked.scales == [0.5] and not picked.report
  np.save(tmp_path / 'z.npy', np.array([{}], dtype=object), allow_pickle=True)
  (tmp_path / 'z.npy').rename(tmp_path / 'z.npz')
  for name in ('z.npz', 'nowhere.npz'):
    with pytest.raises(UserError):
      editing.Directions.load(tmp_path / name)


def test_orthogonal_to_others(two):
  one = two.orthogonal(['a'])
  flat = one.vectors.reshape(2, -1)
  np.testing.assert_allclose(flat @ flat.T, np.eye(2), atol=1e-6)
  np.testing.assert_array_equal(one.vectors[0], two.vectors[0])
  twice = editing.Directions(('a', 'b'), two.vectors[[0, 0]], np.ones(2))
  with pytest.raises(UserError, match='b is in the span of a'):
    twice.orthogonal(['a'])


def test_what_the_user_can_fix(two, tiny_model, tmp_path):
  w = np.zeros((1, 3, 2), np.float32)
  for call, message in (
    (lambda: two.apply(np.zeros((1, 4, 2)), {}), 'of another model'),
    (lambda: two.apply(w, {'c': 1}), "No direction is called 'c'. There are: a, b"),
    (lambda: two.apply(w, {'a': math.nan}), 'is not finite'),
    (lambda: two.apply(w, {'a': 1}, (1, 3)), 'has layers 0-2'),
    (lambda: layer_mask((7,), (0, 0)), 'one style for all layers'),
    (lambda: parse_layers('1-'), 'not a range of layers'),
    (lambda: two.save(tmp_path / 'x.png'), 'does not end in .npz'),
    (lambda: editing.Directions(('a', 'a'), two.vectors, two.scales), 'have one name'),
    (lambda: editing.Directions(('a',), two.vectors, two.scales), 'do not fit'),
    (lambda: editing.Directions(two.names, two.vectors * np.nan, two.scales), 'not finite'),
    (lambda: editing.pca(tiny_model, num=1), 'have no spread'),
    (lambda: editing.pca(tiny_model, num=8, count=0), 'at least 1'),
    (lambda: editing.probe(tiny_model, range(8), {}), '16 seeds or more'),
    (lambda: editing.probe(tiny_model, range(16), {'x': np.zeros(16)}), 'the same for'),
    (lambda: editing.probe(tiny_model, range(16), {'x': np.zeros(3)}), 'not 16 finite numbers'),
    (lambda: editing.measure(tiny_model, None, ['mood']), "No measure is called 'mood'"),
  ):
    with pytest.raises(UserError, match=message):
      call()


# PCA


@pytest.mark.parametrize('n, d', [(400, 12), (9, 40)])
def test_components_are_those_of_the_svd(n, d):
  rng = np.random.default_rng(0)
  rows = rng.standard_normal((n, d)) * np.geomspace(5, 0.1, d)
  rows -= rows.mean(0)
  axes, variances = components(rows, 6)
  _, size, expected = np.linalg.svd(rows, full_matrices=False)
  np.testing.assert_allclose(variances, size[:6] ** 2 / n, rtol=1e-9)
  np.testing.assert_allclose(np.abs((axes * expected[:6]).sum(1)), 1, atol=1e-9)
  assert (axes[np.arange(6), np.abs(axes).argmax(1)] > 0).all()
  assert len(components(rows, 100)[0]) == min(n - 1, d)


def test_pca_of_a_model(tiny_model):
  found = editing.pca(tiny_model, num=64, count=4)
  again = editing.pca(tiny_model, num=64, count=4)
  np.testing.assert_array_equal(found.vectors, again.vectors)
  flat = found.vectors.reshape(4, -1)
  np.testing.assert_allclose(flat @ flat.T, np.eye(4), atol=1e-5)
  z = np.random.default_rng(0).standard_normal((64, tiny_model.generator.z_dim), np.float32)
  w = np.asarray(tiny_model.map(z, 1)).reshape(64, -1)
  np.testing.assert_allclose((w @ flat.T).std(0), found.scales, rtol=1e-4)
  shares = [found.report[name]['variance'] for name in found.names]
  assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1


def test_one_style_for_all_layers_is_looked_at_once(flat):
  """StyleGAN2's w says the same in every layer: the fast way gives what the whole matrix gives."""
  z = np.random.default_rng(0).standard_normal((96, flat.generator.z_dim), np.float32)
  w = np.asarray(flat.map(z, 1), np.float64)
  styles = Styles(w)
  assert styles.rows.shape == (96, w.shape[2])
  found = editing.pca(flat, num=96, count=3)
  whole = (w - w.mean(0)).reshape(96, -1)
  _, size, axes = np.linalg.svd(whole, full_matrices=False)
  np.testing.assert_allclose(found.scales, size[:3] / math.sqrt(96), rtol=1e-4)
  agreement = np.abs((found.vectors.reshape(3, -1) * axes[:3]).sum(1))
  np.testing.assert_allclose(agreement, 1, atol=1e-4)


# SeFa


def test_sefa_of_pi_gan_moves_the_features(tiny_model):
  """Its vectors are what the last mapping layer makes of a move of its inputs."""
  found = editing.sefa(tiny_model, count=3, num=32)
  kernel = np.asarray(tiny_model.params['mapping']['out']['kernel'], np.float64)
  left, size, _ = np.linalg.svd(kernel)
  np.testing.assert_allclose(
    [found.report[name]['share'] for name in found.names],
    size[:3] ** 2 / (size**2).sum(),
    rtol=1e-5,
  )
  z = tiny_model.latents([0])
  before = np.asarray(tiny_model.map(z, 1))
  for i in range(3):
    params = jax.tree.map(lambda x: x, tiny_model.params)
    out = dict(params['mapping']['out'])
    out['bias'] = out['bias'] + np.float32(left[:, i] @ kernel / size[i])
    params = {**params, 'mapping': {**params['mapping'], 'out': out}}
    moved = np.asarray(tiny_model.with_params(params, 12).map(z, 1)) - before
    sign = np.sign((moved[0] * found.vectors[i]).sum())
    np.testing.assert_allclose(moved[0], sign * found.vectors[i], atol=1e-5)


def test_sefa_of_stylegan2_finds_what_the_layers_amplify(flat):
  found = editing.sefa(flat, count=5, num=64)
  assert (found.vectors == found.vectors[:, :1]).all()
  kernels = [
    np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(flat.params['synthesis'])
    if 'affine' in str(path) and 'kernel' in str(path)
  ]
  assert len(kernels) == 3 * 4 - 1
  stack = np.concatenate(kernels, axis=1).astype(np.float64)  # [d, all channels]
  left, size, _ = np.linalg.svd(stack, full_matrices=False)
  units = found.vectors[:, 0] * math.sqrt(found.vectors.shape[1])
  np.testing.assert_allclose(np.abs((units.T * left[:, :5]).sum(0)), 1, atol=1e-4)
  np.testing.assert_allclose(np.linalg.norm(units @ stack, axis=1), size[:5], rtol=1e-4)


def test_sefa_of_some_layers_uses_only_their_weights(flat, tiny_model):
  own = flat.params['synthesis']
  stack = [own['b4']['conv1'], own['b4']['torgb'], own['b8']['conv0']]  # those that take 0 and 1
  stack = [np.asarray(layer['conv']['affine']['kernel']) for layer in stack]
  left = np.linalg.svd(np.concatenate(stack, axis=1))[0]
  found = editing.sefa(flat, count=1, layers=(0, 1), num=32)
  unit = found.vectors[0, 0] * math.sqrt(found.vectors.shape[1])
  assert abs(unit @ left[:, 0]) == pytest.approx(1, abs=1e-4)
  # And π-GAN's: most of what moves is in those layers.
  first = editing.sefa(tiny_model, count=1, layers=(0, 0), num=32)
  whole = editing.sefa(tiny_model, count=1, num=32)

  def share(x):
    return (x.vectors[0, 0] ** 2).sum()

  assert share(first) > share(whole)


# Labels


def planted(model, seeds):
  """A linear attribute of the styles, its direction, and one that is all noise."""
  w = np.asarray(model.map(model.latents(seeds), 1)).reshape(len(seeds), -1).astype(np.float64)
  axes = np.linalg.svd(w - w.mean(0), full_matrices=False)[2]
  direction = axes[0] + axes[1]
  values = w @ direction
  return values, direction / np.linalg.norm(direction), np.random.default_rng(1).random(len(seeds))


def test_a_probe_finds_a_planted_direction(tiny_model):
  seeds = range(240)
  values, direction, noise = planted(tiny_model, seeds)
  side = np.where(values > np.median(values), 7.0, 3.0)
  found = editing.probe(tiny_model, seeds, {'linear': -3 * values, 'side': side, 'noise': noise})
  flat = found.vectors.reshape(3, -1)
  assert flat[0] @ direction < -0.99  # towards larger values
  assert flat[1] @ direction > 0.85
  assert found.report['linear']['r2'] > 0.99
  assert found.report['side']['accuracy'] > 0.85 > 0.7 > found.report['side']['chance']
  assert found.report['noise']['r2'] < 0.3
  w = np.asarray(tiny_model.map(tiny_model.latents(seeds), 1)).reshape(240, -1)
  np.testing.assert_allclose((w @ flat.T).std(0), found.scales, rtol=1e-3)
  other = editing.probe(tiny_model, seeds, {'linear': values, 'noise': noise}, conditional=True)
  rest = other.vectors.reshape(2, -1)
  assert abs(rest[0] @ flat[2]) < 1e-4 and abs(rest[1] @ flat[0]) < 1e-4


def test_measures_of_pictures(tiny_model):
  image = np.full((2, 4, 4, 3), 1.0, np.float32)
  image[:, :2] = [1.0, -1.0, -1.0]  # red above, white below
  opacity = np.zeros((2, 4, 4), np.float32)
  opacity[0, :2] = opacity[1] = 1
  out = Rendering(image, opacity, opacity)
  assert editing.MEASURES['red'](out) == pytest.approx([1, 0.5])
  assert editing.MEASURES['blue'](out) == pytest.approx([-0.5, -0.25])
  assert editing.MEASURES['brightness'](out) == pytest.approx([1 / 3, 2 / 3])
  assert editing.MEASURES['size'](out) == pytest.approx([0.5, 1])
  assert editing.MEASURES['red'](Rendering(image)) == pytest.approx([0.5, 0.5])
  flat = types.SimpleNamespace(name='flat', has_depth=False)
  with pytest.raises(UserError, match='flat has no field that is solid'):  # nothing is rendered
    editing.measure(flat, None, ['red', 'size'])

  def corner(out):
    return out.image[:, 0, 0, 0]

  w = tiny_model.map(tiny_model.latents([0, 1]))
  got = editing.measure(tiny_model, w, [corner, 'size'], resolution=8)
  assert got.keys() == {'corner', 'size'} and got['corner'].shape == (2,)


def test_labels_of_a_table(tmp_path):
  path = tmp_path / 'x.csv'
  path.write_text('seed,red,long\n3, 1,0.5\n\n0,0,-2\n', encoding='utf-8-sig')
  seeds, labels = editing.read_labels(path)
  assert seeds == [3, 0] and labels.keys() == {'red', 'long'}
  assert labels['long'].tolist() == [0.5, -2]
  path.write_bytes('seed,größe\n3,1'.encode('utf-16'))  # 'Unicode text' of Excel
  assert editing.read_labels(path)[1].keys() == {'größe'}
  for text, message in (
    ('', 'must name its columns'),
    ('seed\n1', 'must name its columns'),
    ('seed,a,a\n1,2,3', 'each once'),
    ('seed,a\n1,x', "row 2, '1,x', is not 2 numbers"),
    ('seed,a\n1', 'is not 2 numbers'),
    ('seed,a\n1,nan', 'labels finite'),
    ('seed,a\n1.5,0', 'whole numbers'),
    ('seed,a\n1,0\n1,1', 'a seed twice'),
  ):
    path.write_text(text)
    with pytest.raises(UserError, match=message):
      editing.read_labels(path)
  with pytest.raises(UserError, match='cannot be read'):
    editing.read_labels(tmp_path / 'nowhere.csv')


# Drift


def test_the_axis_of_an_ellipsoid():
  points, spacing = pose_drift.ball_points(0.5)
  assert len(points) * spacing**3 == pytest.approx(4 / 3 * math.pi * 0.125, rel=0.01)
  masses, angles = [], np.radians([-80, -30, 0, 10, 45, 89])
  for angle in angles:
    s, c = math.sin(angle), math.cos(angle)
    along, across = points[:, 0] * s + points[:, 2] * c, points[:, 0] * c - points[:, 2] * s
    masses.append(np.exp(-((along / 0.16) ** 2 + (across / 0.08) ** 2 + (points[:, 1] / 0.1) ** 2)))
  azimuth, elongation = pose_drift.horizontal_axis(np.stack(masses), points)
  np.testing.assert_allclose(np.degrees(azimuth - angles), 0, atol=0.1)
  np.testing.assert_allclose(elongation, 2, rtol=0.02)
  # Whatever the mass and the place.
  again = pose_drift.horizontal_axis(3 * masses[1][None], points + np.float32([0.1, 0.2, 0.3]))
  np.testing.assert_allclose(again[0], azimuth[1], atol=1e-6)


class Turned:
  """A field that is a long Gaussian blob, turned by w [n, 1] radians."""

  has_depth = has_field = True
  generator = Generator()

  def options(self):
    from jax3dgan.rendering.hierarchical import RenderOptions

    return RenderOptions(near=0.5, far=1.5, density='relu')

  def query(self, w, points):
    s, c = np.sin(w)[:, None, 0], np.cos(w)[:, None, 0]
    x, y, z = np.moveaxis(points, -1, 0)
    along, across = x * s + z * c, x * c - z * s
    return 40 * np.exp(-((along / 0.2) ** 2 + (across / 0.1) ** 2 + (y / 0.1) ** 2)), None


class TurnedDistance(Turned):
  """The signed distance of a long ellipsoid, about, turned by w [n, 1] radians."""

  generator = types.SimpleNamespace(field_kind='sdf')

  def query(self, w, points):
    blob = super().query(w, points)[0] / 40
    return 0.1 * (np.sqrt(-np.log(np.maximum(blob, 1e-30))) - 1), None


def test_the_axis_of_a_signed_distance_is_that_of_its_inside():
  angles = np.radians([[-60.0], [0.0], [35.0]])
  azimuth, elongation = pose_drift.axes_of(TurnedDistance(), angles)
  np.testing.assert_allclose(np.degrees(azimuth), [-60, 0, 35], atol=0.7)
  np.testing.assert_allclose(elongation, 2, rtol=0.1)


def test_drift_is_what_has_changed():
  w = np.radians([[-5.0], [0.0], [20.0], [85.0]])
  image = np.zeros((4, 8, 8, 3), np.float32)
  opacity = np.zeros((4, 8, 8), np.float32)
  opacity[:, 2:6, 2:6] = 1
  opacity[2] = np.roll(opacity[2], 2, axis=1)  # two columns of four are the same
  image[3] = 0.4
  depth = opacity * np.float32([1, 1, 1, 1.25])[:, None, None]
  change = pose_drift.drift(Turned(), w, Rendering(image, depth, opacity), reference=1)
  np.testing.assert_allclose(change.azimuth, [-5, 0, 20, 85], atol=0.2)
  np.testing.assert_allclose(change.iou, [1, 1, 8 / 24, 1])
  np.testing.assert_allclose(change.shift, [0, 0, 0.25, 0], atol=1e-9)
  np.testing.assert_allclose(change.colour, [0, 0, 0, 51], atol=1e-3)
  np.testing.assert_allclose(change.depth, [0, 0, 0, 0.25], atol=1e-6)
  flat = pose_drift.drift(Flat(), w, Rendering(image), reference=0)
  assert np.isnan(flat.azimuth).all() and np.isnan(flat.iou).all() and flat.colour[3] > 50


class Flat:
  has_depth = has_field = False


def test_a_rotation_of_the_object_is_measured():
  """The toys' own field in a turned world: the measure tells by how much, within a degree."""
  model = trained.load(pretrained='toys')
  w = model.map(model.latents([0, 3]))

  class World:
    has_depth = has_field = True
    options, generator = model.options, model.generator

    def query(self, angle_and_w, points):
      angle, w = angle_and_w
      s, c = np.sin(angle)[:, None], np.cos(angle)[:, None]
      x, y, z = np.moveaxis(points, -1, 0)
      return model.query(w, np.stack([c * x - s * z, y, s * x + c * z], axis=-1))

  still, _ = pose_drift.axes_of(model, w)
  for degrees in (7.0, -25.0):
    turned, elongation = pose_drift.axes_of(World(), (np.full(2, np.radians(degrees)), w))
    moved = np.degrees((turned - still + np.pi / 2) % np.pi - np.pi / 2)
    np.testing.assert_allclose(moved, degrees, atol=1)
    assert (elongation > pose_drift.MIN_ELONGATION).all()


def test_edits_of_the_toys_change_colours_and_leave_the_pose():
  """What a 3D-aware GAN promises: two standard deviations repaint the car and do not turn it."""
  model = trained.load(pretrained='toys')
  found = editing.pca(model, count=3)
  w = np.asarray(model.map(model.latents([0])))
  strengths = (-2.0, 0.0, 2.0)
  moved = np.concatenate([found.apply(w, {n: s}) for n in found.names for s in strengths])
  camera = model.orbit(0.7)
  assert isinstance(camera, Camera)
  out = model.render(moved, camera, 16)
  for i in range(3):
    rows = slice(3 * i, 3 * i + 3)
    part = jax.tree.map(lambda x, rows=rows: x[rows], out)
    change = editing.drift(model, moved[rows], part, 1)
    assert np.abs(change.azimuth).max() < 4
    assert change.iou.min() > 0.8
    assert change.colour.max() > 15
