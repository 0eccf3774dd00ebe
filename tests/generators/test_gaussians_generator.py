"""One scene's Gaussians: slots that are not in use, sizes at first, places on the image."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import spatial

from jax3dgan import cameras, generators, splats
from jax3dgan.errors import UserError
from jax3dgan.generators import gaussians as gaussians_lib
from jax3dgan.generators.gaussians import GaussianSplats
from jax3dgan.nn import backend
from jax3dgan.rendering.options import RenderOptions

OPTIONS = RenderOptions(8, white_back=True, align_corners=False)
GENERATOR = GaussianSplats(capacity=12, num_points=8, box=0.6, sh_degree=1)
CAMERA = jax.device_get(cameras.orbit(jnp.array([0.3, 2.0]), jnp.array([0.4, 0.1]), 1.5, 40.0))


@functools.cache
def variables():
  fresh = jax.device_get(generators.init(GENERATOR, jax.random.key(0)))
  rng = np.random.default_rng(1)
  params = {
    name: np.float32(x + 0.3 * rng.normal(size=x.shape)) for name, x in fresh['params'].items()
  }
  return fresh, {'params': params, 'buffers': fresh['buffers']}


@jax.jit
def gradients(variables, offsets):
  """(gradients of parameters, of offsets), images."""

  def loss(params, offsets):
    own = {'params': params, 'buffers': variables['buffers']}
    scene = GENERATOR.apply(own, jnp.zeros((1, 0)), method='prepare')
    with backend.choose(splatting='dense'):
      out = GENERATOR.apply(own, scene, CAMERA, OPTIONS, offsets, method='splat')
    weights = jnp.linspace(-1.0, 1.0, out.composite.colour.size)
    return jnp.sum(weights * out.composite.colour.ravel()), out.composite.colour

  return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables['params'], offsets)


ZEROS = np.zeros((2, 12, 2), np.float32)


def test_slots_that_are_not_in_use_draw_and_learn_nothing():
  _, own = variables()
  (in_params, in_places), images = jax.device_get(gradients(own, ZEROS))
  for name, x in in_params.items():
    assert not x[8:].any() and np.isfinite(x).all(), name
    assert x[:8].any(), name
  assert not in_places[:, 8:].any() and in_places[:, :8].any()
  others = {name: np.concatenate([x[:8], x[8:] + 1]) for name, x in own['params'].items()}
  _, again = gradients({**own, 'params': others}, ZEROS)
  np.testing.assert_array_equal(again, images)


def test_the_gradient_of_places_is_that_of_moved_images():
  """Beside finite differences: a Gaussian that is moved on one image alone."""
  _, own = variables()
  (_, in_places), _ = gradients(own, ZEROS)
  step = 0.02

  def total(offsets):
    _, images = gradients(own, offsets)
    weights = np.linspace(-1, 1, images.size)
    return float(np.sum(weights * np.asarray(images, np.float64).ravel()))

  i, j = np.unravel_index(np.abs(in_places).max(-1).argmax(), in_places.shape[:2])
  for axis in (0, 1):
    moved = np.zeros_like(ZEROS)
    moved[i, j, axis] = step
    expected = (total(moved) - total(-moved)) / (2 * step)
    np.testing.assert_allclose(in_places[i, j, axis], expected, rtol=0.02, atol=2e-3)


def test_a_fresh_scene():
  fresh, _ = variables()
  scene = GENERATOR.apply(fresh, jnp.zeros((2, 0)), method='gaussians')
  assert scene.harmonics.shape == (2, 12, 4, 3) and not scene.harmonics.any()
  np.testing.assert_allclose(scene.opacities[0], [0.1] * 8 + [0] * 4, rtol=1e-5)
  assert np.abs(scene.means).max() < 0.3
  # Of what is written for splat viewers those without opacity are no part.
  cloud = splats.of_gaussians(jax.device_get(scene), 1)
  assert len(cloud.means) == 8 and cloud.degree == 1
  # As large as the mean distance to three neighbours, of points that are far from any border.
  points = np.random.default_rng(0).uniform(size=(20_000, 3))
  inner = points[(np.abs(points - 0.5) < 0.35).all(axis=1)]
  distances = spatial.cKDTree(points).query(inner, k=4)[0][:, 1:].mean()
  np.testing.assert_allclose(gaussians_lib.NEIGHBOURS, distances * 20_000 ** (1 / 3), rtol=0.02)
  assert np.isclose(scene.scales[0, 0, 0], gaussians_lib.NEIGHBOURS * 0.6 / 2)


@pytest.mark.parametrize(
  'fields, words',
  [
    (dict(sh_degree=4), 'Choose one of 0, 1, 2, 3'),
    (dict(capacity=4, num_points=5), 'config.model.num_points is 5, of 4 slots'),
    (dict(box=0.0), 'Set --config.model.box'),
  ],
)
def test_fields_that_make_no_gaussians(fields, words):
  with pytest.raises(UserError, match=words):
    GaussianSplats(**fields).check_options(OPTIONS)
