"""Leaving out the rays that meet nothing leaves the picture."""

import dataclasses
import types

import jax
import numpy as np
import pytest

from jax3dgan import cameras, generators, trained
from jax3dgan.pictures import tiles
from jax3dgan.rendering import rays


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
  """Sixteen tiles of 8² at a time: the tests' views have few."""
  monkeypatch.setattr(tiles, '_PIXELS', 2**10)


@pytest.fixture(scope='module')
def toys():
  return trained.load(pretrained='toys')


@pytest.mark.parametrize('align_corners', [False, True])
def test_rays_of_a_tile_are_rays_of_the_picture(tiny_model, align_corners):
  camera = jax.tree.map(np.asarray, tiny_model.orbit([0.3, 2.0]))
  asked = []

  def render_batches(w, camera, size, batch, **overrides):
    asked.append(camera)
    n = len(camera.cam2world)
    yield generators.Rendering(image=np.zeros((n, 1)))

  fake = types.SimpleNamespace(
    render_batches=render_batches,
    options=lambda *a, **k: dataclasses.replace(
      tiny_model.options(32), align_corners=align_corners
    ),
  )
  index = np.array([[0, 0, 0], [1, 3, 1]])  # view, row, column of tiles of 8²
  list(tiles._render_tiles(fake, None, camera, index, 32, 8, {}))
  part = jax.tree.map(lambda x: x[:2], asked[0])
  found = np.asarray(rays.camera_rays(part, 8, align_corners).directions).reshape(2, 8, 8, 3)
  whole = np.asarray(rays.camera_rays(camera, 32, align_corners).directions)
  whole = whole.reshape(2, 32, 32, 3)
  np.testing.assert_allclose(found[0], whole[0, :8, :8], atol=3e-7)
  np.testing.assert_allclose(found[1], whole[1, 24:, 8:16], atol=3e-7)
  assert isinstance(part, cameras.Camera)


def test_the_picture_stays(toys):
  w = np.asarray(toys.map(toys.latents([3])))
  camera = toys.orbit([0.0, 1.2, 2.9])
  assert tiles.tile_size(toys, 32) == 8
  messages = []
  (out,) = tiles.views(toys, w, camera, 32, messages.append)
  whole = toys.render(w, camera, 32)
  # Half a grey level of 8 bits, and what a tile's rays differ by in their last place.
  np.testing.assert_allclose(out.image, whole.image, atol=1.2 / 127.5)
  np.testing.assert_allclose(out.opacity, whole.opacity, atol=1 / 128)
  solid = whole.opacity > 0.9
  np.testing.assert_allclose(out.depth[solid], whole.depth[solid], atol=1e-3)
  assert solid.mean() > 0.2
  left_out = (out.opacity == 0).mean()
  assert left_out > 0.1  # of tiles; in the others even thin fog has an opacity
  assert (out.image[out.opacity == 0] == 1).all()  # and it is white
  assert sum(messages) == pytest.approx(3)


def test_an_object_is_followed_into_tiles_where_nothing_was_expected(toys, monkeypatch):
  w = np.asarray(toys.map(toys.latents([3])))
  camera = toys.orbit([0.0, 1.2, 2.9])
  (expected,) = tiles.views(toys, w, camera, 32)

  def one_tile(model, w, camera, resolution, size, overrides):
    todo = np.zeros((3, 4, 4), bool)
    todo[:, 2, 2] = True
    return todo

  monkeypatch.setattr(tiles, '_filled', one_tile)
  (found,) = tiles.views(toys, w, camera, 32)
  np.testing.assert_allclose(found.image, expected.image, atol=1.2 / 127.5)


def test_where_pictures_are_whole(tiny_model, toys):
  assert tiles.tile_size(tiny_model, 16) == 16  # too small to cut
  assert tiles.tile_size(tiny_model, 31) == 31  # no divisor
  assert tiles.tile_size(tiny_model, 256) == 32
  behind = tiny_model.with_params(tiny_model.params, 12)
  behind.config = tiny_model.config.copy_and_resolve_references()
  with behind.config.unlocked():
    behind.config.display.last_back = behind.config.render.last_back = True
  assert tiles.tile_size(behind, 64) == 64  # every ray has a colour
