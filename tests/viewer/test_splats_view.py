"""The viewer of a model of Gaussians: pictures, or the Gaussians themselves."""

import importlib
import io

import jax
import numpy as np
import pytest
from PIL import Image

from benchmarks.viewer import Client
from jax3dgan import generators, splats, trained
from jax3dgan.viewer import browser_splats, poses

pytest.importorskip('viser', reason='viser is not installed')


@pytest.fixture(scope='module')
def model():
  config = importlib.import_module('configs.gaussians_toys').get_test_config()
  generator = generators.create(config)
  return trained.Trained(config, generator, generators.init(generator, jax.random.key(0)), 3, 'x')


def test_covariances_are_those_of_turned_axes(model):
  cloud = splats.of_gaussians(model.gaussians(model.map(model.latents([0]), 1.0)))
  found = browser_splats.covariances(cloud)
  values = np.sqrt(np.linalg.eigvalsh(found))
  np.testing.assert_allclose(values, np.sort(cloud.scales, axis=1), rtol=1e-3)
  assert found.shape == (64, 3, 3)


def test_the_browser_gets_gaussians_and_pictures_again(model, opened):
  viewer = opened(model)
  client = Client(viewer.port, position=poses.to_viser(viewer.start_camera)[0], fov=viewer.fov)
  try:
    client.wait(lambda: client.pictures and client.pictures[-1][1][:4] == b'\x89PNG')
    (session,) = viewer.sessions.values()
    client.pictures.clear()
    client.set('Draw in the browser')
    client.wait(lambda: session.splats is not None and client.pictures)
    ground = np.asarray(Image.open(io.BytesIO(client.pictures[-1][1])))
    assert (ground == 255).all()  # nothing is rendered: the picture is the ground
    client.pictures.clear()
    client.look_from(poses.position(1.0, 0.3, viewer.radius))
    client.set('Draw in the browser', False)
    client.wait(lambda: client.pictures and client.pictures[-1][1][:4] == b'\x89PNG')
    assert session.splats is None
    assert np.asarray(Image.open(io.BytesIO(client.pictures[-1][1]))).std() > 1
  finally:
    client.close()
