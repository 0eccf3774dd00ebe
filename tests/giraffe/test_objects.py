"""Objects of a scene: edited, turned, measured; true scenes, in which nothing else changes."""

import importlib
import math
import types

import jax
import numpy as np
import pytest

from jax3dgan import generators, trained
from jax3dgan.data.builders.toys import scenes
from jax3dgan.editing import objects, sefa
from jax3dgan.errors import UserError
from jax3dgan.evaluation import disentanglement


@pytest.fixture(scope='module')
def model():
  """An untrained GIRAFFE of three objects, 16²."""
  config = importlib.import_module('configs.giraffe_scenes').get_test_config()
  config.data.split = 'train'  # the truth of scenes takes a while to render
  generator = generators.create(config)
  params = generators.init_params(generator, jax.random.key(0))
  return trained.Trained(config, generator, {'params': params}, 1, 'tiny scenes')


@pytest.fixture(scope='module')
def w(model):
  return np.asarray(model.map(model.latents([0, 1]), psi=1))


def test_pictures_look_around_where_all_cameras_have_one_azimuth(model):
  assert model.pose_prior.yaw_std == 0 and model.yaw_half_range == pytest.approx(math.radians(20))


def test_a_row_is_a_code_of_its_own(model, w):
  assert not model.rows_are_alike()
  with pytest.raises(UserError, match='Use pca'):
    sefa(model, num=8)


def rows_that_differ(a, b):
  return {int(row) for row in np.argwhere((a != b).any(axis=(0, 2))).ravel()}


def poses_of(model, w):
  return model.generator.object_layout.split(np.asarray(w))[2]


def test_objects_are_moved_turned_exchanged_and_taken_away(model, w):
  before = poses_of(model, w)

  def edited(text):
    after = objects.apply(model, w, objects.parse(text), psi=1.0)
    return after, poses_of(model, after)

  after, poses = edited('1: x=0.1, z=-0.2, turn=90')
  assert rows_that_differ(w, after) == {0}
  np.testing.assert_allclose(poses.position[:, 0] - before.position[:, 0], [[0.1, 0, -0.2]] * 2,
                             atol=1e-6)  # fmt: skip
  np.testing.assert_allclose(poses.turn[:, 0] - before.turn[:, 0], math.pi / 2, atol=1e-6)
  _, poses = edited('2:away; 3:there')
  assert (poses.presence[:, 1:] == [0, 1]).all()
  _, poses = edited('3:alone')
  assert (poses.presence == [0, 0, 1]).all()
  after, _ = edited('background:seed=7')
  assert rows_that_differ(w, after) == {3}
  other = np.asarray(model.map(model.latents([7]), psi=1))
  layout = model.generator.object_layout
  assert (
    after[:, 3, : 2 * layout.background_dim] == other[0, 3, : 2 * layout.background_dim]
  ).all()
  after, poses = edited('2:seed=7')
  assert rows_that_differ(w, after) == {1} and (poses.position == before.position).all()
  _, poses = edited('1:size=0.5; background:away')
  np.testing.assert_allclose(poses.size[:, 0], 0.5 * before.size[:, 0], rtol=1e-6)
  assert (poses.background_presence == 0).all()


def test_what_is_away_is_not_seen(model, w):
  camera = model.orbit(0.0)
  shares = disentanglement._maps(model, w, camera)
  np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)  # render.last_back
  gone = objects.apply(model, w, objects.parse('1:away'))
  assert (disentanglement._maps(model, gone, camera)[..., 0] == 0).all()
  move, add = objects.parse('1:x=0.1; 1:there')
  assert objects.without_effect(model, gone, move) == [0, 1]
  assert not objects.without_effect(model, gone, add)
  assert not objects.without_effect(model, objects.apply(model, gone, [add]), move)


@pytest.mark.parametrize(
  'text, words',
  [
    ('', 'says no edit'),
    ('car:away', "'car' is no object"),
    ('0:away', "'0' is no object"),
    ('1', 'says nothing of what to do'),
    ('1:fly', "'fly' is no edit of an object"),
    ('1:x=far', "'x=far' is no edit"),
    ('1:seed=1.5', 'A seed of 1.5 is no whole number'),
    ('background:x=1', 'The background has no x'),
    ('4:away', 'scenes of tiny scenes have 3 at most'),
    ('1:size=9', 'would be larger than those of tiny scenes'),
    ('1:size=-1', 'A size of -1 is no factor above 0'),
    ('1:x=0.1,x=0.2', "'x=0.2' is a second word on the same"),
    ('1:away,there', "'there' is a second word on the same"),
    ('1:away=', "'away=' is no edit"),
  ],
)
def test_what_is_no_edit_is_said_in_one_line(model, w, text, words):
  with pytest.raises(UserError, match=words) as error:
    objects.apply(model, w, objects.parse(text))
  assert '\n' not in str(error.value)


def test_scenes_without_a_background_say_so(model):
  generator = model.generator.clone(background=False)
  layout = generator.object_layout
  bare = types.SimpleNamespace(generator=generator, name='cars alone')
  styles = np.zeros((1, layout.num_objects + 1, layout.width), np.float32)
  with pytest.raises(UserError, match='cars alone have no background'):
    objects.apply(bare, styles, objects.parse('background:away'))


def test_models_without_objects_say_so(tiny_model):
  with pytest.raises(UserError, match='tiny has no objects to move'):
    disentanglement.measure(tiny_model, 2)


def test_an_object_turns_alone(model, w):
  turned = objects.turning(model, w[:1], 2, 4)
  poses = poses_of(model, turned)
  assert (poses.presence == [0, 1, 0]).all()
  steps = np.diff(poses.turn[:, 1])
  np.testing.assert_allclose(steps, math.pi / 2, atol=1e-5)
  assert np.ptp(poses.turn[:, [0, 2]], axis=0).max() == 0


def test_directions_are_poses(model, w):
  found = objects.directions(model)
  assert len(found) == 5 * 3 + 2
  moved = poses_of(model, found.apply(w, {'object2 x': 1.0, 'background there': -3.0}))
  before = poses_of(model, w)
  shift = 0.8 / math.sqrt(12)
  np.testing.assert_allclose(moved.position - before.position,
                             [[[0, 0, 0], [shift, 0, 0], [0, 0, 0]]] * 2, atol=1e-5)  # fmt: skip
  np.testing.assert_allclose(moved.background_presence, 0, atol=1e-6)
  larger = poses_of(model, found.apply(w, {'object1 size': 1.0}))
  spread = np.float32(model.generator.size_max) - np.float32(model.generator.size_min)
  np.testing.assert_allclose(
    (larger.size - before.size)[:, 0], [spread / math.sqrt(12)] * 2, atol=1e-5
  )
  swapped = found.apply(w, {'background look': 3.0}) - w
  assert np.abs(swapped[:, -1]).mean() > 0.1 and not swapped[:, :-1].any()


def test_changes_of_known_pictures():
  before = np.full((1, 8, 8, 3), 100, np.uint8)
  after, covered, others = before.copy(), np.zeros((1, 8, 8), bool), np.zeros((1, 8, 8), bool)
  covered[:, :4, :4], others[:, 4:] = True, True
  after[:, :4, :4], after[:, 4:] = 140, 96
  found = disentanglement.changes(before, after, covered, others)
  assert found == pytest.approx(
    {'ground': 0, 'others': 4, 'moved': 40, 'coupling': 32 * 4 / 48 / 40}
  )
  assert disentanglement.grown(covered).sum() == 25


def test_a_model_is_measured(model):
  result = disentanglement.measure(model, 3)
  assert result.values['objects/moved'] > 0 and np.isfinite(result.values['objects/coupling'])
  assert 'one object moved' in result.protocol and result.sheet.ndim == 3


def test_in_true_scenes_nothing_else_changes():
  keys = jax.random.split(jax.random.key(1), 3)
  things, ground = scenes.sample(keys[0])
  camera, moved = scenes.sample_camera(keys[1]), scenes.moved(things, keys[2])
  size = 32
  pictures = [np.asarray(scenes.render(x, ground, camera, size)) for x in (things, moved)]
  truth = [scenes.render_truth(x, ground, camera, size) for x in (things, moved)]
  numbers = [np.asarray(number) for _, number in truth]
  assert {0, 1, 2} <= set(np.unique(numbers[0]))
  covered = disentanglement.grown(np.stack([(numbers[0] == 1) | (numbers[1] == 1)]), 2)
  change = disentanglement.changes(*(x[None] for x in pictures), covered, np.zeros_like(covered))
  assert change['moved'] > 5 and change['ground'] == change['coupling'] == 0
  # Poses are those of the boxes: what a ray meets of a car is in its box.
  poses = np.asarray(scenes.poses(things))
  assert poses[:2, 7].all() and np.allclose(poses[:, 4], poses[:, 1], atol=1e-5)  # on the ground
  depth = np.asarray(truth[0][0])
  from jax3dgan.rendering import rays as rays_lib

  rays = rays_lib.camera_rays(camera, size)
  points = np.asarray(rays.origins + depth.reshape(-1, 1) * rays.directions).reshape(size, size, 3)
  for i in (0, 1):
    own = points[numbers[0] == i + 1] - poses[i, 3:6]
    cos, sin = math.cos(poses[i, 6]), math.sin(poses[i, 6])
    x, z = cos * own[:, 0] - sin * own[:, 2], sin * own[:, 0] + cos * own[:, 2]
    inside = np.abs(np.stack([x, own[:, 1], z], -1)) / poses[i, :3]
    assert inside.max() < 1.02
