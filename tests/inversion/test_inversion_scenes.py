"""Scenes of objects (GIRAFFE): what of their styles a search moves, and where it starts."""

import importlib

import jax
import numpy as np
import pytest

from jax3dgan import generators, trained
from jax3dgan.inversion import frames, poses, scenes, search, spaces
from jax3dgan.inversion.search import SearchOptions
from jax3dgan.viewer import jobs


def untrained(name: str):
  """A model with random weights of a test config, 16²."""
  config = importlib.import_module(f'configs.{name}').get_test_config()
  generator = generators.create(config)
  variables = {'params': generators.init_params(generator, jax.random.key(0))}
  return trained.Trained(config, generator, variables, 1, name)


@pytest.fixture(scope='module')
def model():
  """Two or three cars on a ground."""
  return untrained('giraffe_scenes')


@pytest.fixture(scope='module')
def space(model):
  return spaces.create(model, 'z')


def poses_of(model, w):
  return model.generator.object_layout.split(np.asarray(w))[2]


def test_codes_and_poses_that_differ_are_searched(model, space):
  layout = model.generator.object_layout
  # Half sizes, x and z, turn and presence of each car: all have the same height.
  each = 2 * layout.latent_dim + 3 + 2 + 1 + 1
  assert space.start(1).shape == (1, 3 * each + 2 * layout.background_dim)
  assert int(np.sum(~space.moved)) == 3
  text = spaces.described(model, space, 'z')
  assert text.startswith('w+, the same as z here, ')
  assert text.endswith(
    'codes, sizes, places and turns of 3 objects and the background; which of them are there '
    'stays as at the start'
  )
  gradient = jax.jit(jax.grad(lambda c: space.unlikelihood(c).sum()))(space.start(1) + 1.0)
  np.testing.assert_array_equal(gradient[0] != 0, space.moved)
  assert (poses_of(model, space.spread[None]).presence == 0).all()


def test_a_search_starts_from_several_scenes(model, space):
  coordinates = scenes.starts(model, space, 8)
  w = np.asarray(space.style(model.generator, model.variables, coordinates))
  found, ranges = poses_of(model, w), model.generator
  assert set(found.presence.sum(1)) == {2.0, 3.0}
  for i in (0, 2):
    low, high = ranges.position_min[i], ranges.position_max[i]
    assert (found.position[..., i] >= low - 1e-5).all()
    assert (found.position[..., i] <= high + 1e-5).all()
  np.testing.assert_allclose(found.position[..., 1], ranges.position_min[1], atol=1e-5)
  # Of each object the turns are spread evenly.
  eighths = np.sort(np.floor(found.turn / (np.pi / 4)), axis=0)
  np.testing.assert_array_equal(eighths, np.broadcast_to(np.arange(8)[:, None], eighths.shape))
  codes, *_ = model.generator.object_layout.split(w)
  np.testing.assert_allclose(codes, 0, atol=1e-5)


def test_objects_turn_in_front_of_cameras(model, tiny_model):
  assert poses.objects_turn(model) and not poses.objects_turn(tiny_model)
  assert poses.unknown(model) == ('pitch',)
  assert poses.unknown(model, one_identity=True) == poses.unknown(tiny_model) == ('yaw', 'pitch')
  np.testing.assert_allclose(poses.starts(model, 4, all_round=True), np.arange(4) * np.pi / 2)


def test_a_scene_is_searched(model, space):
  """The azimuth stays in front; objects are there or not, and differ from each other."""
  w = model.map(model.latents([0]), psi=1)
  image = np.clip(model.render(w, model.orbit(0.0), num_coarse=4).image, -1, 1)
  short = SearchOptions(num_steps=4, samples=4, num_starts=2, start_steps=2)
  steps = []
  found = search.search(model, image, space=space, options=short, callback=steps.append)
  assert sum(steps) == short.num_steps + short.start_steps
  azimuth, elevation = poses.angles(found.camera)
  middle = poses.angles(model.orbit(0.0))[1]
  assert abs(azimuth[0]) < 1e-3 < abs(elevation[0] - middle[0])
  start = poses_of(model, space.style(
    model.generator, model.variables, scenes.starts(model, space, 2)
  ))  # fmt: skip
  after = poses_of(model, found.w)
  best = np.argmin(np.abs(start.turn - after.turn).max(1))
  np.testing.assert_array_equal(after.presence[0], start.presence[best])
  assert np.isin(after.presence, (0, 1)).all()
  assert np.abs(after.turn[0] - start.turn[best]).max() > 1e-3
  apart = np.linalg.norm(after.position[0, :, None] - after.position[0], axis=-1)
  assert (apart + np.eye(3)).min() > 0.05


def test_the_viewer_searches_scenes_from_several_poses(model, monkeypatch):
  w, shares = np.asarray(model.map(model.latents([3]), psi=1)), []

  def found(model, image, camera, options, callback):
    for count in (options.start_steps, options.num_steps):
      callback(count)
    return search.Found(w, camera, None, {})

  monkeypatch.setattr(search, 'search', found)
  image = np.zeros((1, 16, 16, 3), np.float32)
  assert jobs.invert(model, image, model.front, 120, shares.append, None) is w
  assert shares == [0.25, 1.0]


def test_frames_are_searched_at_a_size_that_there_is(tiny_model):
  config = importlib.import_module('configs.giraffe_toys').get_config()
  model = trained.Trained(config, generators.create(config), None, 1, 'x')
  assert frames.search_resolution(model) == 64  # its neural renderer makes no other
  assert frames.search_resolution(tiny_model) == 16
  config = importlib.import_module('configs.eg3d_toys').get_config()
  model = trained.Trained(config, generators.create(config), None, 1, 'x')
  assert frames.search_resolution(model) == 16  # without its super-resolution
