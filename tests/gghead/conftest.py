"""Of few Gaussians every pixel meets every one, which compiles faster; tiles are compared with that
in tests/rendering."""

import pytest

from jax3dgan.nn import backend


@pytest.fixture(autouse=True, scope='session')
def every_pixel_meets_every_gaussian():
  with backend.choose(splatting='dense'):
    yield
