"""A single scene in the viewer: no latents, no directions to look for."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks.viewer import Client
from jax3dgan import cameras, generators, trained, viz
from jax3dgan import config as config_lib
from jax3dgan.viewer import poses, server

pytest.importorskip('viser', reason='viser is not installed')


@pytest.fixture
def scene():
  config = config_lib.tiny(config_lib.base_config('nerf'))
  config.render.update(density='softplus', last_interval='far', radius=4.0, fov_degrees=40.0)
  generator = generators.create(config)
  return trained.Trained(
    config, generator, generators.init(generator, jax.random.key(0)), 1, 'scene'
  )


def test_the_picture_is_the_scenes(opened, scene):
  assert not server.Viewer(scene, port=0).wants_directions
  viewer = opened(scene)
  position, _, _ = poses.to_viser(viewer.start_camera)
  client = Client(viewer.port, position=position, fov=viewer.fov)
  try:
    client.wait(lambda: client.pictures and client.pictures[-1][1][:4] == b'\x89PNG')
    picture = np.asarray(Image.open(io.BytesIO(client.pictures[-1][1])).convert('RGB'))
  finally:
    client.close()
  camera = cameras.Camera(*map(np.asarray, jax.tree.leaves(viewer.start_camera)))
  expected = viz.to_uint8(scene.render(scene.map(scene.latents([0])), camera, 64).image)[0]
  assert np.abs(picture.astype(int) - expected).max() <= 1
