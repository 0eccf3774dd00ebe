"""Every form of our own against the plain one: values, first and second derivatives, both modes.

SDF models take the field's gradient in the points as a normal, and train through its length.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan.fields import triplane
from jax3dgan.fields.siren import FilmSiren
from jax3dgan.nn import backend, conv, precision, resample
from jax3dgan.nn.separable_conv import depthwise_conv2d
from jax3dgan.rendering import hierarchical
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.rays import Rays

B, R, S = 2, 3, 4
SIREN = FilmSiren(8, 2, 1.0, embedding_channels=2, embedding_resolution=3, embedding_scale=0.5)


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


@functools.cache
def siren():
  """(parameters, params → field)."""
  styles = 0.3 * normal(B, 3, 2, 8)
  points, directions = np.zeros((1, 1, 1, 3), 'f'), np.zeros((1, 1, 3), 'f')
  init = jax.jit(SIREN.init)(jax.random.key(0), points, directions, styles[:1].astype('f'))
  params = jax.tree.map(np.float64, jax.device_get(init['params']))
  # Frequencies of about 30 would leave nothing to compare to.
  params |= {'film_0_kernel': params['film_0_kernel'] / 10}
  return params, lambda params: SIREN.apply({'params': params}, styles, method='fold')


@functools.cache
def tri_plane():
  params = {
    'planes': normal(B, 3, 5, 4, 6),
    'kernels': (normal(1, 6, 8, seed=1), normal(1, 8, 4, seed=2)),
    'biases': (normal(1, 8, seed=3), normal(1, 4, seed=4)),
  }

  def field(params):
    planes = triplane.pad_planes(params['planes'])
    return triplane.TriplaneField(planes, params['kernels'], params['biases'], axes='fixed')

  return params, field


def derivatives(field_of):
  """Of a field: normals (the gradient in the points), the slope along a vector, the change of the
  normals along it; and of a loss of field and normals' lengths (eikonal) value and gradients."""

  def run(params, points, directions, vector):
    def normals(params, points):
      return jax.grad(lambda points: field_of(params)(points, directions)[0].sum())(points)

    def loss(params, points):
      raw, colour = field_of(params)(points, directions)
      length = jnp.linalg.norm(normals(params, points), axis=-1)
      return jnp.sum(jnp.sin(raw)) + jnp.sum(colour[..., 0] ** 2) + jnp.mean((length - 1) ** 2)

    value, gradients = jax.value_and_grad(loss, (0, 1))(params, points)
    slope = jax.jvp(lambda p: field_of(params)(p, directions)[0], (points,), (vector,))[1]
    across, bend = jax.jvp(lambda p: normals(params, p), (points,), (vector,))
    return dict(value=value, gradients=gradients, slope=slope, normals=across, bend=bend)

  return run


def both(function, *args):
  """Results of our own forms, of the plain ones, and the compiled program of the former."""
  run = x64.jit(lambda *args: function(*args))
  own = run(*args)
  with backend.reference():
    plain = x64.jit(lambda *args: function(*args))(*args)
  return own, plain, run


def assert_same(own, plain, tolerance):
  for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(plain), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * (np.abs(b).max() + 1e-300))


@pytest.mark.parametrize('field', [siren, tri_plane])
def test_derivatives_of_a_field(field):
  params, field_of = field()
  points, vector = 0.3 * normal(B, R, S, 3), normal(B, R, S, 3, seed=1)
  rest = normal(B, R, 3, seed=2), vector
  own, plain, run = both(derivatives(field_of), params, points, *rest)
  assert_same(own, plain, 1e-9)
  assert min(np.abs(x).max() for x in jax.tree.leaves(own)) > 1e-6
  # Forward and reverse mode say the same, and so do finite differences.
  slope = np.sum(own['normals'] * vector, -1)
  np.testing.assert_allclose(own['slope'], slope, atol=1e-10 * np.abs(slope).max())
  step = 1e-6
  up, down = (
    run(jax.tree.map(lambda x, t=t: (1 + t) * x, params), points + t * vector, *rest)
    for t in (step, -step)
  )
  of_params, of_points = own['gradients']
  pairs = zip(jax.tree.leaves(of_params), jax.tree.leaves(params), strict=True)
  expected = sum(np.vdot(g, p) for g, p in pairs) + np.vdot(of_points, vector)
  np.testing.assert_allclose((up['value'] - down['value']) / (2 * step), expected, rtol=1e-6)
  up, down = (run(params, points + t * vector, *rest)['normals'] for t in (step, -step))
  bend = (up - down) / (2 * step)
  np.testing.assert_allclose(own['bend'], bend, atol=1e-6 * np.abs(bend).max())


def test_a_rendering_and_its_derivatives():
  """Tiles, sorting, softplus, features on planes."""
  params, field_of = tri_plane()
  options = RenderOptions(4, 0.5, 1.5, 4, 4, marcher='midpoints', ray_chunk=2)
  directions = normal(B, 4, 3, seed=5)
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  rays = Rays(-directions + 0.1 * normal(B, 4, 3), directions)

  def run(params, rays):
    def image(params):
      return hierarchical.render_images(field_of(params), rays, options).colour

    colours, tangents = jax.jvp(image, (params,), (params,))
    return colours, tangents, jax.grad(lambda params: jnp.sum(jnp.sin(image(params))))(params)

  own, plain, _ = both(run, params, rays)
  assert_same(own, plain, 1e-9)
  colours, tangents, gradient = own
  pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(params), strict=True)
  expected = sum(np.vdot(g, p) for g, p in pairs)
  np.testing.assert_allclose(np.sum(np.cos(colours) * tangents), expected, rtol=1e-9)


def network(params, images):
  """Logits of depthwise, strided, plain, 1x1, up- and down-sampling convolutions."""
  x = jnp.tanh(conv.conv2d(depthwise_conv2d(images, params[5], 1), params[0], padding=1))
  x = jnp.tanh(conv.conv2d(x, params[1], stride=2, padding=1))
  x = jnp.tanh(resample.conv2d_resample(x, params[2], up=2))
  x = jnp.tanh(resample.conv2d_resample(x, params[3], down=2))
  return conv.conv2d(x, params[4]).sum((1, 2, 3))


def test_a_network_of_convolutions_and_its_derivatives():
  shapes = [(3, 3, 2, 4), (3, 3, 4, 3), (3, 3, 3, 4), (3, 3, 4, 4), (1, 1, 4, 2)]
  shapes.append((3, 3, 2))  # depthwise
  params = [0.4 * normal(*shape, seed=i) for i, shape in enumerate(shapes)]

  def run(params, images, vector):
    def penalty(params, images):
      slope = jax.grad(lambda images: network(params, images).sum())(images)
      return jnp.sum(slope**2)

    gradients = jax.grad(penalty, (0, 1))(params, images)
    slope = jax.jvp(lambda images: network(params, images), (images,), (vector,))[1]
    each = jax.vmap(lambda image: jax.grad(penalty)(params, image[None]))(images)
    return gradients, slope, each

  own, plain, _ = both(run, params, normal(B, 8, 8, 2), normal(B, 8, 8, 2, seed=9))
  assert_same(own, plain, 1e-9)
  for summed, each in zip(own[0][0], own[2], strict=True):
    np.testing.assert_allclose(each.sum(0), summed, rtol=1e-9, atol=1e-12)


def test_reference_leaves_no_form_of_our_own():
  params, field_of = siren()
  kernels = [0.4 * normal(3, 3, 2, 2)] * 4 + [normal(1, 1, 2, 2), normal(3, 3, 2)]

  def program(*args):
    single = jax.tree.map(np.float32, args)
    fields = jax.grad(lambda p, *a: sum(x.sum() for x in field_of(p)(*a)))
    planes = jax.grad(lambda p, *a: sum(x.sum() for x in tri_plane()[1](p)(*a)))
    images = jax.grad(lambda p, x: network(p, x).sum())
    return ''.join(
      str(jax.make_jaxpr(f)(*a))
      for f, a in (
        (fields, (single[0], *single[2:])),
        (planes, (single[1], *single[2:])),
        (images, (jax.tree.map(np.float32, kernels), np.ones((1, 8, 8, 2), 'f'))),
      )
    )

  args = params, tri_plane()[0], normal(B, R, S, 3), normal(B, R, 3)
  own = ('columns_product', 'canonical_conv', 'sum_on_planes', 'filter_axis', 'shift_left')
  own += ('depthwise',)
  assert all(name in program(*args) for name in own)
  with backend.reference():
    plain = program(*args)
  assert not any(name in plain for name in own)


@pytest.mark.parametrize('policy', ['bfloat16', 'float16'])
def test_forward_mode_and_vmap_under_rounding(policy):
  """Within the rounding of the exact derivatives, of products and of convolutions."""
  x, w = (normal(2, 5, 6).astype('f'), normal(2, 6, 4, seed=1).astype('f'))
  images, kernel = normal(2, 6, 6, 3).astype('f'), normal(3, 3, 3, 4, seed=1).astype('f')

  @jax.jit
  def run(x, w, images, kernel):
    def values(policy):
      def product(x, w):
        return precision.einsum('bnk,bkh->bnh', x, w, policy)

      def filtered(x, w):
        return conv.conv2d(x, w, padding=1, matmul_dtype=policy, implementation='lax')

      tangents = [
        jax.jvp(f, args, tuple(map(jnp.sin, args)))[1]
        for f, args in ((product, (x, w)), (filtered, (images, kernel)))
      ]
      each = jax.vmap(lambda x: jax.grad(lambda w: product(x, w).sum())(w), 1)(x[:, :, None])
      of_each = jax.vmap(jax.grad(lambda x, w: product(x, w).sum(), 1), (1, None))(x[:, :, None], w)
      return tangents, each, of_each

    return values(policy), values('float32')

  for a, b in zip(*map(jax.tree.leaves, run(x, w, images, kernel)), strict=True):
    assert a.dtype == np.float32
    np.testing.assert_allclose(a, b, atol=0.03 * np.abs(b).max())
    assert np.abs(a - b).max() > 0
