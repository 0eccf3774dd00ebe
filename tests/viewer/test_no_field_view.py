"""HoloGAN in the viewer: a camera, and no field to show depth or a mesh of."""

import importlib

import jax
import pytest

from benchmarks.viewer import Client
from jax3dgan import generators, trained
from jax3dgan.viewer import poses

pytest.importorskip('viser', reason='viser is not installed')


def test_what_there_is_not_is_said_and_the_camera_moves(opened):
  config = importlib.import_module('configs.hologan_toys').get_test_config()
  generator = generators.create(config)
  model = trained.Trained(
    config, generator, generators.init(generator, jax.random.key(0)), 3, 'tiny'
  )
  viewer = opened(model)
  client = Client(viewer.port, position=poses.to_viser(viewer.start_camera)[0], fov=viewer.fov)
  try:
    client.wait(lambda: client.pictures and client.pictures[-1][1][:4] == b'\x89PNG')
    (session,) = viewer.sessions.values()
    assert not session.panel.show.visible and session.panel.reset.visible
    texts = [getattr(x, 'content', '') for x in vars(session.panel).values()]
    assert any('no depth, no normals, no mesh' in text for text in texts)
    before = client.pictures[-1][1]
    client.pictures.clear()
    client.look_from(poses.position(1.0, 0.3, viewer.radius))
    client.wait(lambda: client.pictures and client.pictures[-1][1][:4] == b'\x89PNG')
    assert client.pictures[-1][1] != before
  finally:
    client.close()
