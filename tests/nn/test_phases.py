"""Fixed-point phases: their error, the gradients that they give, and what is kept."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan import cameras, generators
from jax3dgan import config as config_lib
from jax3dgan.errors import UserError
from jax3dgan.nn import phases
from jax3dgan.rendering.hierarchical import RenderOptions

HIDDEN, LAYERS, RESOLUTION, SAMPLES = 16, 2, 4, 5


def test_codes_are_angles_modulo_a_turn():
  angles = np.random.default_rng(0).uniform(-300, 300, 10_000).astype(np.float32)
  angles = np.concatenate([angles, np.float32([0, np.pi, -np.pi, 3 * np.pi, 1e-6])])
  codes = jax.jit(phases.encode)(angles)
  assert codes.dtype == np.int16
  decoded = np.float64(phases.decode(codes))
  assert np.all((-np.pi - 1e-6 <= decoded) & (decoded < np.pi))
  error = np.angle(np.exp(1j * (decoded - np.float64(angles))))
  # Half a level, and two float32 roundings of 48 turns (1/2π, and the product with it).
  assert np.abs(error).max() <= np.pi / 2**16 + 2 * 48 * 2**-24 * 2 * np.pi
  assert (
    np.sqrt(np.mean(error**2)) < 2 * np.pi / 2**16 / np.sqrt(12) * 1.2
  )  # as of uniform rounding


def test_the_derivative_is_one():
  value, tangent = jax.jvp(phases.rounded, (jnp.array([7.0, -200.0]),), (jnp.array([2.0, 3.0]),))
  np.testing.assert_allclose(np.cos(value), np.cos([7.0, -200.0]), atol=1e-4)
  np.testing.assert_array_equal(tangent, [2.0, 3.0])


@functools.cache
def model():
  config = config_lib.tiny(config_lib.base_config())
  config.model.update(hidden_dim=HIDDEN, num_layers=LAYERS)
  generator = generators.create(config)
  return generator, jax.device_get(generators.init_params(generator, jax.random.key(0)))


def loss(params, z, target, saved, ray_chunk):
  """A pixel loss of a deterministic image without a second pass, which would move with the
  weights."""
  options = RenderOptions(RESOLUTION, num_coarse=SAMPLES, num_fine=0, ray_chunk=ray_chunk)
  options = RenderOptions(**{**vars(options), 'saved_activations': saved})
  camera = cameras.orbit(jnp.zeros(2), jnp.zeros(2), 1.0, 12.0)
  image = model()[0].apply({'params': params}, z, camera, options=options).image
  return jnp.mean(jnp.square(image - target)), image


def arguments():
  rng = np.random.default_rng(0)
  z = rng.normal(size=(2, model()[0].z_dim))
  target = rng.uniform(-1, 1, (2, RESOLUTION, RESOLUTION, 3))
  return z.astype(np.float32), target.astype(np.float32)


@pytest.mark.parametrize('ray_chunk', [0, 4])
def test_gradients_are_those_of_the_plain_field(ray_chunk):
  """In float64, so that the rounding of the phases is the only difference."""
  grad = x64.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=(3, 4))
  inputs = jax.tree.map(np.float64, (model()[1], *arguments()))
  (_, image), plain = grad(*inputs, 'all', 0)
  (_, rounded_image), rounded = grad(*inputs, 'phases', ray_chunk)
  np.testing.assert_allclose(rounded_image, image, atol=1e-3)
  assert np.abs(rounded_image - image).max() > 1e-8
  flat = [np.concatenate([np.ravel(x) for x in jax.tree.leaves(t)]) for t in (rounded, plain)]
  assert np.linalg.norm(flat[0] - flat[1]) < 2e-3 * np.linalg.norm(flat[1])


@pytest.mark.parametrize('ray_chunk', [0, 4])
def test_of_the_activations_only_codes_are_kept(ray_chunk, capsys):
  points = 2 * RESOLUTION**2 * SAMPLES

  def kept(saved, ray_chunk):
    """Types of the residuals as large as all points' activations."""
    z, target = arguments()
    function = functools.partial(loss, z=z, target=target, saved=saved, ray_chunk=ray_chunk)
    jax.ad_checkpoint.print_saved_residuals(lambda params: function(params)[0], model()[1])
    found = re.findall(r'^(\w+)\[([\d,]+)\]', capsys.readouterr().out, re.M)
    sizes = [(kind, np.prod([int(n) for n in shape.split(',')])) for kind, shape in found]
    return [kind for kind, size in sizes if size == points * HIDDEN]

  assert kept('phases', ray_chunk) == (LAYERS + 1) * ['i16']
  assert kept('all', 0).count('f32') >= 2 * LAYERS
  assert kept('all', 4) == []


def test_unknown_saved_activations():
  with pytest.raises(UserError, match="'some'.*all, phases"):
    RenderOptions(saved_activations='some')
