"""A signed distance in the viewer: traced while it moves, its shape in grey, normals of its own."""

import contextlib

import numpy as np
import pytest
import sdf_ball
from test_session import after, at_rest

from benchmarks.viewer import Client
from jax3dgan import viz
from jax3dgan.pictures import traced
from jax3dgan.viewer import poses, quality
from jax3dgan.viewer.quality import Ladder, Level


@pytest.fixture(scope='module')
def balls():
  return sdf_ball.model()


@pytest.fixture(scope='module')
def tracer(balls):
  return traced.Tracer(balls)


def test_a_traced_picture_is_the_volume_rendering_of_a_thin_surface(balls, tracer):
  assert traced.lipschitz_of(balls) == pytest.approx(1.05, abs=1e-3)  # a distance in closed form
  w, camera = balls.map(balls.latents([3]), 1.0), balls.orbit(0.5)
  out, whole = tracer.render(w, camera, 32), balls.render(w, camera, 32)
  assert out.image.shape == (1, 32, 32, 3) and set(np.unique(out.opacity)) == {0.0, 1.0}
  edge = (whole.opacity > 0.01) & (whole.opacity < 0.99)
  assert edge.mean() < 0.1
  same = (out.opacity > 0.5) == (whole.opacity > 0.5)
  assert same[~edge].mean() > 0.99  # all but rays that graze it
  # A ray has a sample each hundredth; one that grazes passes many of them within the surface.
  assert np.quantile(np.abs(out.image - whole.image)[~edge & same], 0.98) < 0.03
  solid = ~edge & same & (out.opacity > 0)
  assert np.quantile(np.abs(out.depth - whole.depth)[solid], 0.9) < 0.015


def test_normals_and_the_shape_in_grey(balls, tracer):
  w, camera = balls.map(balls.latents([3]), 1.0), balls.orbit(0.5)
  out = tracer.render(w, camera, 32, 'normals')
  depth = viz.normals_from_depth(out.depth, sdf_ball.FOV)
  inner = out.opacity.astype(bool)
  inner[:, 1:-1, 1:-1] &= inner[:, 2:, 1:-1] & inner[:, :-2, 1:-1]
  inner[:, 1:-1, 1:-1] &= inner[:, 1:-1, 2:] & inner[:, 1:-1, :-2]
  facing = inner & (out.normals[..., 2] < -0.7)
  assert facing.mean() > 0.1 and (out.normals * depth).sum(-1)[facing].min() > 0.97
  grey = tracer.render(w, camera, 32, traced.SHADED).image
  assert (grey[..., 0] == grey[..., 1]).all() and (grey[out.opacity == 0] == 1).all()
  brightest = np.unravel_index(np.where(inner, grey[..., 0], -2).argmax(), inner.shape)
  assert out.normals[brightest][2] < -0.95


def test_levels_of_a_signed_distance(balls, tiny_model):
  assert quality.traced_levels(tiny_model) == []
  levels = quality.traced_levels(balls)
  assert [level.resolution for level in levels] == [16, 32, 64, 128]
  ladder = Ladder(balls, target=0.05)
  for level in ladder.levels:
    ladder.measured(level, level.resolution**2 * 2e-5)  # 32² in 20 ms
  for level in levels:
    ladder.measured(level, level.resolution**2 * 5e-6)  # 64² in 20 ms
  assert ladder.moving() == ladder.levels[1]
  assert ladder.moving(traced='normals') == Level(64, traced='normals')
  assert ladder.moving(clients=3, traced='colour') == Level(32, traced='colour')
  ladder.measured(Level(64, traced='depth'), 0.02)  # any kind stands for all
  assert ladder.still(traced=traced.SHADED) == Level(128, traced=traced.SHADED)
  assert not ladder.still().traced
  drawn = []
  Ladder(balls, target=10.0).warm_up(drawn.append)
  assert {level.traced for level in drawn} == {'', 'colour'}


def test_a_client_sees_it(balls, opened):
  viewer = opened(balls, seed=3)
  position, _, _ = poses.to_viser(viewer.start_camera)
  with contextlib.closing(Client(viewer.port, position=position, fov=viewer.fov)) as client:
    colour = at_rest(client)
    assert client.value('Sphere tracing') is True
    expected = balls.render(balls.map(balls.latents([3])), viewer.start_camera, 64).image
    assert np.abs(colour.astype(int) - viz.to_uint8(expected)[0]).max() <= 3
    grey = after(client, lambda: client.set('Show', 'shaded'))
    assert (np.ptp(grey, axis=-1) == 0).all() and grey.std() > 20
    normals = after(client, lambda: client.set('Show', 'normals'))
    middle = normals[28:36, 28:36].reshape(-1, 3).mean(0)
    assert middle[2] > 200  # blue: towards the viewer
