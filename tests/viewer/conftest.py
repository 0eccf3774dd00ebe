"""A viewer of the smallest model, with few sizes to compile."""

import contextlib

import jax
import pytest

from jax3dgan.viewer import quality


@pytest.fixture(scope='session')
def lively(tiny_model):
  """The smallest model with contrasts: one can see that it turns and changes."""

  def stronger(path, x):
    name = jax.tree_util.keystr(path)
    return x * (30 if 'colour_kernel' in name or 'density_kernel' in name else 1)

  params = jax.tree_util.tree_map_with_path(stronger, tiny_model.params)
  return tiny_model.with_params(params, 12)


@pytest.fixture
def opened(lively, monkeypatch):
  """Makes open viewers, and closes them at the end."""
  pytest.importorskip('viser', reason='viser is not installed')
  from jax3dgan.viewer import server

  monkeypatch.setattr(quality, 'MOVING_SIZES', (16, 32))
  monkeypatch.setattr(quality, 'STILL_SIZES', (64,))
  with contextlib.ExitStack() as stack:

    def make(model=lively, look_for_directions=False, **options):
      viewer = server.Viewer(model, port=0, **options)
      viewer.wants_directions |= look_for_directions
      viewer.wants_directions &= look_for_directions or viewer.styles.directions is not None
      viewer.open()
      stack.callback(viewer.close)
      return viewer

    yield make
