"""Paths of the camera are smooth and pass their keys."""

import math

import numpy as np
import pytest

from jax3dgan.errors import UserError
from jax3dgan.viewer import path, poses
from jax3dgan.viewer.path import Key


def test_a_path_passes_its_keys_on_the_sphere():
  keys = [Key(0, 0.0, 0.1, 2.0), Key(1, 0.5, 0.3, 3.0), Key(2, 0.2, -0.1, 2.5)]
  cameras = path.spline(keys, 10, 1.3)
  assert cameras.cam2world.shape == (21, 4, 4)
  np.testing.assert_allclose(np.linalg.norm(cameras.origin, axis=-1), 1.3, rtol=1e-5)
  for key in keys:
    i = round(key.time * 10)
    camera = type(cameras)(cameras.cam2world[i : i + 1], cameras.intrinsics[i : i + 1])
    again = Key.of(key.time, camera)
    np.testing.assert_allclose(
      (again.azimuth, again.elevation, again.focal),
      (key.azimuth, key.elevation, key.focal),
      atol=1e-4,
    )


def test_two_keys_are_joined_evenly():
  cameras = path.spline([Key(0, -0.4, 0.0, 2.0), Key(1, 0.4, 0.0, 2.0)], 8, 1.0)
  azimuths = [poses.angles(origin)[0] for origin in cameras.origin]
  np.testing.assert_allclose(azimuths, np.linspace(-0.4, 0.4, 9), atol=1e-5)


def test_the_short_way_round_the_back():
  cameras = path.spline([Key(0, math.radians(170), 0, 2), Key(1, math.radians(-170), 0, 2)], 4, 1)
  assert (cameras.origin[:, 2] < -0.9).all()  # always at the back


def test_it_is_smooth():
  keys = path.spaced([Key(0, a, e, 2.0) for a, e in ((0, 0), (1, 0.3), (0.5, -0.2), (2, 0))], 3.0)
  assert [key.time for key in keys] == [0, 1, 2, 3]
  angles = np.array([poses.angles(o) for o in path.spline(keys, 100, 1.0).origin])
  speed = np.diff(angles, axis=0) * 100
  assert abs(np.diff(speed, axis=0)).max() < 0.15  # no kink at a key: rad/s from frame to frame


def test_a_recording_is_thinned():
  keys = [Key(t, t, 0, 2.0) for t in np.arange(0, 2.0, 0.02)]
  kept = path.thinned(keys)
  assert kept[0] == keys[0] and kept[-1] == keys[-1] and 7 <= len(kept) <= 9
  assert (np.diff([key.time for key in kept]) > 0.1).all()
  assert path.thinned(keys[:1]) == keys[:1] and path.thinned([]) == []
  assert path.thinned(keys[:2]) == keys[:2]


def test_a_path_needs_two_views():
  for keys in ([], [Key(0, 0, 0, 2)], [Key(1, 0, 0, 2), Key(1, 1, 0, 2)]):
    with pytest.raises(UserError, match='two views at least'):
      path.spline(keys, 10, 1.0)
