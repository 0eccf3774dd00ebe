"""Camera paths: loops without a seam, the size of what a dolly zoom shows, rays that follow it."""

import dataclasses
import math

import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.errors import UserError
from jax3dgan.pictures import paths


def frames_of(path):
  return np.stack([getattr(path, f.name) for f in dataclasses.fields(path)], axis=1)


@pytest.mark.parametrize('name', paths.TRAJECTORIES)
def test_a_loop_has_no_seam(tiny_model, name):
  path = paths.make(tiny_model, 48, name, pitch=(0, 40) if name != 'dolly' else None)
  assert len(path) == 48
  values = frames_of(path)
  values[:, :1] = np.unwrap(values[:, :1], axis=0)
  # As large a step from the last frame to the first as elsewhere, but for whole turns.
  closing = values[0] - values[-1]
  closing[0] = (closing[0] + math.pi) % (2 * math.pi) - math.pi
  steps = np.abs(np.diff(values, axis=0)).max(axis=0)
  assert (np.abs(closing) <= steps + 1e-9).all()
  assert steps[0] < 0.42 and (steps > 0).any()


def test_orbit_and_sweep(tiny_model):
  orbit = paths.make(tiny_model, 8, 'orbit')
  np.testing.assert_allclose(np.diff(orbit.azimuth), math.pi / 4)
  np.testing.assert_allclose(orbit.elevation, tiny_model.mean_elevation)
  sweep = paths.make(tiny_model, 8, 'sweep', yaw=(-20, 40), pitch=(10,))
  assert np.degrees([sweep.azimuth.min(), sweep.azimuth.max()]) == pytest.approx([-20, 40])
  np.testing.assert_allclose(np.degrees(sweep.elevation), 10)
  assert paths.make(tiny_model, 8).azimuth.max() > math.pi  # trained all round
  narrow = tiny_model.with_params(tiny_model.params, 1)
  narrow.yaw_half_range = 0.3
  assert paths.make(narrow, 8).azimuth.max() == pytest.approx(0.3)


def test_a_figure_eight_crosses_itself_once(tiny_model):
  path = paths.make(tiny_model, 64, 'figure-eight', yaw=(-30, 30), pitch=(-10, 20))
  yaw, pitch = np.degrees(path.azimuth), np.degrees(path.elevation)
  middle = np.isclose(yaw, 0, atol=1e-6) & np.isclose(pitch, 5, atol=1e-6)
  assert np.flatnonzero(middle).tolist() == [0, 32]  # in two directions, upwards both times
  assert [yaw.min(), yaw.max(), pitch.min(), pitch.max()] == pytest.approx([-30, 30, -10, 20])
  assert len(path.unique()[0]) == 63
  # Both lobes are gone round: right of the middle once up and once down.
  right = pitch[yaw > 1] - 5
  assert right.max() > 14 and right.min() < -14


def test_each_view_of_a_sweep_is_there_once(tiny_model):
  path = paths.make(tiny_model, 40, 'sweep')
  unique, index = path.unique()
  assert len(unique) == 21
  np.testing.assert_allclose(frames_of(unique[index]), frames_of(path), atol=1e-8)


def test_cameras_of_a_path_are_those_of_training(tiny_model):
  path = paths.make(tiny_model, 6, 'figure-eight')
  camera, expected = path.camera(tiny_model), tiny_model.orbit(path.azimuth, path.elevation)
  np.testing.assert_allclose(camera.cam2world, expected.cam2world, atol=1e-6)
  np.testing.assert_allclose(camera.intrinsics, expected.intrinsics, rtol=1e-6)


def test_a_dolly_zoom_keeps_the_size_at_the_centre(tiny_model):
  path = paths.make(tiny_model, 24, 'dolly', dolly=(0.7, 2.5), yaw=(30,), pitch=(20,))
  radius = tiny_model.config.render.radius
  assert [path.distance.min(), path.distance.max()] == pytest.approx([0.7 * radius, 2.5 * radius])
  camera = path.camera(tiny_model)
  # A unit segment across the view, at the origin, by the frames' own axes.
  right = camera.cam2world[:, :3, 0]
  ends = np.stack([-right / 2, right / 2], axis=1)
  uv, depth = cameras.project(camera, ends)
  length = np.linalg.norm(np.diff(np.asarray(uv), axis=1)[:, 0], axis=-1)
  focal = float(tiny_model.orbit(0.0).intrinsics[0, 0, 0])
  np.testing.assert_allclose(length, focal / radius, rtol=1e-5)  # f·1/d at the trained distance
  np.testing.assert_allclose(depth, np.repeat(path.distance[:, None], 2, 1), rtol=1e-5)
  # Nearer than the centre things grow as the camera comes, which is what one sees.
  uv, _ = cameras.project(camera, ends + 0.2 * radius * camera.origin[:, None] / depth[..., None])
  nearer = np.linalg.norm(np.diff(np.asarray(uv), axis=1)[:, 0], axis=-1)
  assert nearer[0] == nearer.max() > 1.05 * nearer[12]


def test_rays_follow_a_camera_that_goes_back(tiny_model):
  options, radius = tiny_model.options(), tiny_model.config.render.radius
  path = paths.make(tiny_model, 24, 'dolly', dolly=(0.95, 2.0))
  seen = []
  spacing = (options.far - options.near) / options.num_coarse
  for frames, ends in path.depth_ranges(tiny_model):
    closer = path.distance[frames] - radius
    # What training sampled around the object is on the ray of each frame, as densely.
    assert (ends['near'] <= options.near + closer + 1e-9).all()
    assert (ends['far'] >= options.far + closer - 1e-9).all()
    assert (ends['far'] - ends['near']) / ends['num_coarse'] <= spacing + 1e-9
    seen += frames.tolist()
  assert sorted(seen) == list(range(24))
  assert paths.make(tiny_model, 4, 'orbit').depth_ranges(tiny_model)[0][1] == {}


@pytest.mark.parametrize(
  'flags, message',
  [
    ({'trajectory': 'spiral'}, 'There are: orbit, sweep, figure-eight, dolly'),
    ({'pitch': (91,)}, 'cannot be 91° above the horizon'),
    ({'yaw': (1, 2, 3)}, '--yaw takes one angle'),
    ({'pitch': (math.nan,)}, '--pitch takes one angle'),
    ({'trajectory': 'dolly', 'dolly': (2, 1)}, 'nearest and the farthest'),
  ],
)
def test_impossible_paths(tiny_model, flags, message):
  with pytest.raises(UserError, match=message):
    paths.make(tiny_model, 4, **flags)


def test_a_camera_inside_of_the_object(tiny_model):
  path = paths.make(tiny_model, 4, 'dolly', dolly=(0.05, 2))
  with pytest.raises(UserError, match='inside of what tiny learned. Start --dolly at 0.14'):
    path.depth_ranges(tiny_model)
