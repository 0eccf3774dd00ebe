"""StyleSDF's field: its formulas, its density, derivatives of every form up to the second order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64
from jax.test_util import check_grads

from jax3dgan.fields import signed_distance
from jax3dgan.fields.sdf_siren import Penalties, SDFSiren
from jax3dgan.nn import backend

B, R, S, STYLE, HIDDEN, LAYERS = 2, 4, 3, 5, 8, 3


@functools.cache
def inputs():
  """(points, unit directions, styles) in float64."""
  rng = np.random.default_rng(0)
  points = rng.uniform(-0.1, 0.1, (B, R, S, 3))
  directions = rng.normal(size=(B, R, 3))
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  return points, directions, rng.normal(size=(B, STYLE))


@functools.cache
def parameters():
  module = SDFSiren(HIDDEN, LAYERS)
  params = jax.device_get(jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, STYLE))))
  return jax.tree.map(np.float64, params['params'])


def field_of(params, styles, **changes):
  return SDFSiren(HIDDEN, LAYERS).apply({'params': params}, styles).replace(**changes)


def unfolded(params, points, directions, styles):
  """(distance, colour, features) layer by layer and point by point (StyleSDF, Sec. 3.1)."""
  p = params

  def linear(name, x):
    return x @ p[f'{name}_kernel'] + p[f'{name}_bias']

  def film(name, x):
    w = styles[:, None, None]
    gamma, beta = 15 * linear(f'{name}_gamma', w) + 30, 0.25 * linear(f'{name}_beta', w)
    return np.sin(gamma * linear(name, x) + beta)

  x = points * (2 / 0.24)
  for i in range(LAYERS):
    x = film(f'film_{i}', x)
  distance = linear('distance', x)[..., 0]
  every = np.broadcast_to(directions[:, :, None], points.shape)
  features = film('view', np.concatenate([x, every], axis=-1))
  return distance, 1 / (1 + np.exp(-linear('rgb', features))), features


def test_the_field_is_that_of_the_formulas():
  points, directions, styles = inputs()

  @x64.jit
  def run(params, points, directions, styles):
    field = field_of(params, styles, has_features=True)
    flat = points.reshape(B, -1, 3)
    own = jnp.repeat(directions, S, axis=1)
    return field(points, directions), field.distance(flat), field.surface_colour(flat, own)

  (density, colour), distance, surface = run(parameters(), points, directions, styles)
  expected = unfolded(parameters(), points, directions, styles)
  np.testing.assert_allclose(distance.reshape(B, R, S), expected[0], rtol=0, atol=1e-12)
  sigma = 10 / (1 + np.exp(10 * expected[0]))
  np.testing.assert_allclose(density, sigma, rtol=1e-6)  # beta is 0.1 of float32
  np.testing.assert_allclose(colour[..., :3], expected[1], rtol=0, atol=1e-12)
  np.testing.assert_allclose(colour[..., 3:], expected[2], rtol=0, atol=1e-12)
  np.testing.assert_allclose(surface[0].reshape(B, R, S), expected[0], rtol=0, atol=1e-12)
  np.testing.assert_allclose(surface[1].reshape(B, R, S, 3), expected[1], rtol=0, atol=1e-12)


def test_the_density_of_a_plane_is_one_half_at_the_surface():
  """σβ is a sigmoid; outside it falls to nothing; β is positive wherever its parameter is."""
  density = signed_distance.density(jnp.array([-1.0, 0.0, 1.0]), 0.1)
  np.testing.assert_allclose(density, [10 / (1 + np.exp(-10)), 5.0, 10 / (1 + np.exp(10))])
  widths = [signed_distance.width(beta, floor) for beta, floor in ((0.1, 0), (-0.1, 0.5), (0, 0))]
  np.testing.assert_allclose(widths, [0.1, 0.6, 1e-4], rtol=1e-6)


def test_terms_of_a_sphere():
  """A distance has the gradient 1; half of it, (½)² everywhere; surfaces cost near to them."""
  points = np.random.default_rng(0).normal(size=(10, 3))
  gradient = jax.vmap(jax.grad(lambda x: signed_distance.sphere(x, 0.5)))(jnp.array(points))
  np.testing.assert_allclose(signed_distance.eikonal(gradient), 0, atol=1e-10)
  np.testing.assert_allclose(signed_distance.eikonal(0.5 * gradient), 0.25, rtol=1e-5)
  # Where a field is flat the term has a derivative.
  assert np.isfinite(jax.jit(jax.grad(signed_distance.eikonal))(jnp.zeros(3))).all()
  terms = signed_distance.minimal_surface(jnp.array([0.0, 0.01, -0.01]))
  np.testing.assert_allclose(terms, [1, np.exp(-1), np.exp(-1)], rtol=1e-6)


@pytest.mark.parametrize('form', ['cpu', 'reference', 'gpu', 'phases'])
def test_gradients_of_the_distance(form):
  """The gradient is the difference quotient's, and its own derivatives, in points and parameters,
  are right: of the CPU's forms, the plain ones, an accelerator's."""
  points, _, styles = inputs()
  points = points.reshape(B, -1, 3)[:, :4]
  saved = 'phases' if form == 'phases' else 'all'

  @jax.jit
  def eikonal(params, points):
    field = field_of(params, styles, saved_activations=saved)
    return signed_distance.eikonal(field.distance_and_gradient(points)[1]).sum()

  def run():
    with jax.enable_x64(True):
      field = jax.jit(lambda p, s: field_of(p, s))(parameters(), styles)
      distance, gradient = jax.jit(lambda f, x: f.distance_and_gradient(x))(field, points)
      step = 1e-6 * np.eye(3)
      for axis in range(3):
        ahead, behind = (np.asarray(field.distance(points + s * step[axis])) for s in (1, -1))
        np.testing.assert_allclose((ahead - behind) / 2e-6, gradient[..., axis], rtol=1e-5)
      if form == 'phases':  # rounded: the value has steps, the derivative is that of the phase
        exact = jax.grad(lambda p: eikonal(p, points))(parameters())
        return distance, exact
      check_grads(
        eikonal, (parameters(), points), order=1, modes=['fwd', 'rev'], rtol=1e-3, eps=1e-7
      )
      return distance, jax.grad(lambda p: eikonal(p, points))(parameters())

  if form == 'reference':
    with backend.reference():
      found = run()
  elif form == 'gpu':
    with backend.lowering_for('gpu'):
      found = run()
  else:
    found = run()
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


def test_terms_of_the_samples_of_every_second_ray():
  """Each ray has the terms of the first one of its group; all else is as it is without them."""
  points, directions, styles = inputs()

  @x64.jit
  def run(params, points, directions, styles):
    field = field_of(params, styles)
    every = [field.replace(penalties=Penalties(n))(points, directions) for n in (1, 2, 3)]
    return field(points, directions), every

  plain, (all_rays, second, third) = run(parameters(), points, directions, styles)
  for (density, colour, terms), group in ((all_rays, 1), (second, 2), (third, 1)):  # 3 ∤ 4 rays
    np.testing.assert_allclose(density, plain[0], rtol=1e-12)
    np.testing.assert_allclose(colour, plain[1], rtol=1e-12)
    for name in ('eikonal', 'minimal_surface'):
      expected = np.repeat(all_rays[2][name][:, ::group], group, axis=1)
      np.testing.assert_allclose(terms[name], expected, rtol=1e-10)
