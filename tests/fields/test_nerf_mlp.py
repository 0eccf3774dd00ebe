"""NeRF's MLP against a plain NumPy network with random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import numpy_nerf
import pytest

from jax3dgan.convert import nerf_npz
from jax3dgan.fields.nerf_mlp import Encoding, NerfMlp


def inputs(rays=3, samples=4):
  draw = np.random.default_rng(1)
  points = draw.uniform(-1.5, 1.5, (1, rays, samples, 3)).astype(np.float32)
  directions = draw.normal(size=(1, rays, 3)).astype(np.float32)
  return points, directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def params_of(arrays, include, skip):
  """A network's parameters in our layout, in the world that it was trained in."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(nerf_npz, 'Z_UP_TO_Y_UP', np.eye(3))
    params, fields = nerf_npz.networks_in('x', {f'fine/{k}': v for k, v in arrays.items()})
  assert fields['skip_layer'] == skip and fields['include_input'] == include
  return params['network']


@pytest.mark.parametrize(('include', 'skip'), [(True, 0), (True, 2), (False, 1)])
def test_density_and_colour_are_numpys(include, skip):
  arrays = numpy_nerf.weights(include=include, skip=skip)
  network = NerfMlp(
    8, 3, skip, 4, Encoding(3, 2, include), first_activation=False, feature_activation=True
  )
  points, directions = inputs()
  variables = {'params': params_of(arrays, include, skip)}
  evaluate = lambda v: network.apply(v)(points, directions)  # noqa: E731
  density, colour = jax.jit(evaluate)(variables)
  flat = np.broadcast_to(directions[:, :, None], points.shape).reshape(-1, 3)
  expected = numpy_nerf.field(arrays, points.reshape(-1, 3), flat, skip=skip, include=include)
  np.testing.assert_allclose(density.ravel(), expected[0], atol=3e-6, rtol=1e-5)
  np.testing.assert_allclose(colour.reshape(-1, 3), expected[1], atol=3e-6)


def test_activations_of_the_paper():
  # NeRF: a ReLU after every layer of the trunk, none after the features of the view branch.
  network = NerfMlp(4, 2, 0, 4, Encoding(0, 0))
  points, directions = inputs(2, 2)
  variables = jax.jit(network.init)(jax.random.key(0))
  p = jax.tree.map(lambda x: np.asarray(x, float), dict(variables['params']))
  relu = lambda x: np.maximum(x, 0)  # noqa: E731
  layer = lambda name, x: x @ p[f'{name}_kernel'] + p[f'{name}_bias']  # noqa: E731
  x = relu(layer('layer_1', relu(layer('layer_0', points.reshape(-1, 3)))))
  view = np.broadcast_to(directions[:, :, None], points.shape).reshape(-1, 3)
  x = relu(layer('colour', np.concatenate([layer('feature', x), view], -1)))
  expected = 1 / (1 + np.exp(-layer('rgb', x)))
  _, colour = jax.jit(lambda v: network.apply(v)(points, directions))(variables)
  np.testing.assert_allclose(colour.reshape(-1, 3), expected, atol=1e-6)


def test_the_gradient_in_points():
  # What normals of a mesh and SDF models are made of; by differences in double precision.
  arrays = numpy_nerf.weights()
  network = NerfMlp(8, 3, 0, 4, Encoding(3, 2), first_activation=False, feature_activation=True)
  variables = {'params': params_of(arrays, True, 0)}
  points, directions = inputs(1, 5)
  density = lambda points: jnp.sum(network.apply(variables)(points, directions)[0])  # noqa: E731
  gradient = jax.jit(jax.grad(density))(points).reshape(-1, 3)
  flat, view, step = points.reshape(-1, 3).astype(float), np.zeros((5, 3)), 1e-6
  for axis, offset in enumerate(step * np.eye(3)):
    high, low = (numpy_nerf.field(arrays, flat + s * offset, view)[0] for s in (1, -1))
    np.testing.assert_allclose(gradient[:, axis], (high - low) / (2 * step), atol=1e-4)
