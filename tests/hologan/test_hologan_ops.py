"""HoloGAN's operations: official arrays, all forms, derivatives."""

import functools
import math

import golden_hologan as golden
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import hologan_celeba64
from jax3dgan import cameras
from jax3dgan.cameras import crop, orbit
from jax3dgan.discriminators.hologan import Block
from jax3dgan.generators.hologan import AdaIN
from jax3dgan.nn import backend, conv, instance_norm, spectral_norm, transposed_conv
from jax3dgan.rendering import rigid_transform

FILE = 'hologan_ops'
compare = functools.partial(goldens.compare, FILE)
FORMS = [
  (name, stride, form)
  for name, stride in [('t3d_k3s2', 2), ('t3d_k3s1', 1), ('t2d_k4s2', 2), ('t2d_k4s1', 1)]
  + [('t2d_k1s1', 1)]
  for form in transposed_conv.FORMS
  if form != 'slices' or name == 't3d_k3s1'
]


def of(name: str, *keys):
  arrays = goldens.load(FILE)
  return [arrays[f'{name}/{key}'] for key in keys]


@pytest.mark.parametrize('name, stride, form', FORMS)
def test_transposed_convolutions(name, stride, form):
  x, w, b, seed = of(name, 'x', 'w', 'b', 'seed')

  @jax.jit
  def run(x, w, seed):
    layer = lambda x, w: transposed_conv.conv_transpose(x, w, stride, implementation=form)  # noqa: E731
    y, transpose = jax.vjp(layer, x, w)
    return y + b, *transpose(seed)

  y, gx, gw = run(x, np.swapaxes(w, -1, -2), seed)
  compare(f'{name}/y', y, relative=1e-6)
  compare(f'{name}/gx', gx, relative=1e-6)
  compare(f'{name}/gw', np.swapaxes(gw, -1, -2), relative=2e-6)


def test_the_form_of_a_platform():
  choose = transposed_conv.choose_implementation
  with backend.lowering_for('cpu'):
    assert [choose(3, 2), choose(3, 1), choose(2, 2)] == ['patches', 'slices', 'patches']
  with backend.lowering_for('tpu'):
    assert choose(3, 1) == choose(2, 2) == 'lax'


@pytest.mark.parametrize('form', transposed_conv.FORMS)
def test_rounded_transposed_convolutions(form):
  """All forms round the same numbers, and accumulate them as float32."""
  x, w = of('t3d_k3s1', 'x', 'w')
  w = np.swapaxes(w, -1, -2)
  run = functools.partial(transposed_conv.conv_transpose, stride=1)
  rounded = (
    np.asarray(a.astype(jnp.bfloat16).astype(np.float32)) for a in map(jnp.asarray, (x, w))
  )
  expected = run(*rounded, implementation='lax')
  found = run(x, w, matmul_dtype='bfloat16', implementation=form)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_convolutions():
  x, w, b = of('c2d_k5s2_even', 'x', 'w', 'b')
  block = Block(3, 4, normalised=False)
  found = block.apply({'params': {'kernel': w, 'bias': b}}, x, method='convolve')
  compare('c2d_k5s2_even/y', found, relative=1e-6)
  x, w, b = of('c2d_k5s2_odd', 'x', 'w', 'b')
  compare('c2d_k5s2_odd/y', conv.conv2d(x, w, b, stride=2, padding=2), relative=1e-6)


def test_the_papers_poses():
  """Whole degrees in the release, all angles between them here."""
  prior = cameras.pose_prior(**hologan_celeba64.get_config().pose_prior)
  means = (prior.yaw_mean, prior.pitch_mean)
  halves = (prior.yaw_std, prior.pitch_std)
  for name, mean, half, middle in zip(('az', 'el'), means, halves, (270, 0), strict=True):
    offset = math.degrees(math.pi / 2 - mean)
    ours = middle + offset + math.degrees(half) * np.array([-1, 1, 0], np.float32)
    compare(f'sampler/{name}_deg_min_max_mean', ours, atol=1.01)


def test_normalisations():
  x, scale, bias = of('adain', 'x', 'scale', 'bias')
  styles = np.concatenate([scale, bias], axis=1)  # through the layer: not negative
  params = {'kernel': np.eye(6, dtype=np.float32), 'bias': np.zeros(6, np.float32)}
  positive = np.maximum(styles, 0)
  found = AdaIN().apply({'params': params}, x, styles)
  wide = (slice(None), None, None, None)
  direct = instance_norm.instance_norm(x, positive[:, :3][wide], positive[:, 3:][wide], 1e-8)
  np.testing.assert_allclose(found, direct, atol=1e-6)
  compare('adain/y', instance_norm.instance_norm(x, scale[wide], bias[wide], 1e-8), relative=2e-6)
  x, scale, offset = of('inorm', 'x', 'scale', 'offset')
  params = {'scale': scale, 'offset': offset, 'bias': offset, 'kernel': np.zeros((5, 5, 3, 3))}
  # A block's own, whose statistics its style discriminator judges.
  block, buffers = Block(3, 3), {'norm': {'u': np.ones(3, np.float32)}}
  y, mean, variance = block.apply({'params': params, 'buffers': buffers}, x, method='normalise')
  for name, array in (('y', y), ('mean', mean), ('var', variance)):
    compare(f'inorm/{name}', array, relative=2e-6)


def test_spectral_normalisation():
  w, u, seed = of('sn', 'w', 'u', 'seed')
  norm = spectral_norm.SpectralNorm(through_iteration=True)

  @jax.jit
  def run(w, u):
    kernel, moved = norm.apply({'buffers': {'u': u}}, w, mutable=['buffers'])
    return kernel, moved['buffers']['u']

  kernels, vectors, now = [], [], u[0]
  for _ in range(3):
    kernel, now = run(w, now)
    kernels.append(kernel)
    vectors.append(now[None])
  compare('sn/w_norm_run1_2_3', np.stack(kernels), relative=1e-6)
  compare('sn/u_after_run1_2_3', np.stack(vectors), relative=1e-6)

  def loss(w, constant):
    if not constant:
      return jnp.sum(norm.apply({'buffers': {'u': u[0]}}, w) * seed)
    matrix = w.reshape(-1, w.shape[-1])
    own = jax.lax.stop_gradient(spectral_norm.power_step(matrix, u[0]))
    return jnp.sum(w / spectral_norm.sigma(matrix, *own) * seed)

  gradient = jax.jit(jax.grad(loss), static_argnums=1)
  compare('sn/gw_through_power_iteration', gradient(w, False), relative=1e-5)
  compare('sn/gw_if_u_v_were_constants', gradient(w, True), relative=1e-5)


@pytest.mark.parametrize('name', ['xf8', 'xf6to8'])
def test_the_rigid_transform(name):
  voxels, angles, seed = of(name, 'voxels', 'view', 'seed')
  view, size, places = golden.view(angles), voxels.shape[1], np.indices((8, 8, 8)).reshape(3, -1)

  @jax.jit
  def run(voxels, view):
    source = rigid_transform.source_places(view, places[::-1].T, size, 8)
    turned, transpose = jax.vjp(lambda x: rigid_transform.rigid_transform(x, view, 8), voxels)
    return source, turned, transpose(seed)[0]

  source, turned, gradient = run(voxels, view)
  rotation = np.tile(np.eye(4, dtype=np.float32), (6, 1, 1))
  rotation[:, :3, :3] = view.rotation
  compare(f'{name}/rotation', rotation, relative=1e-6)
  compare(f'{name}/source_xyz', np.swapaxes(source, 1, 2), relative=1e-6)
  compare(f'{name}/out_zyx', turned, relative=2e-5)
  compare(f'{name}/g_voxels', gradient, relative=2e-5)
  if name == 'xf8':
    images = jax.jit(rigid_transform.image_axes)(voxels, view)
    compare('xf8/out_image_axes', images, relative=2e-5)


def test_the_view_of_a_camera():
  """An orbit is the release's azimuth and elevation, zoom its scale, a crop its translation."""
  azimuth, elevation = np.array([0.3, -1.2, 2.9]), np.array([0.2, -0.4, 0.9])
  view = rigid_transform.view_of(orbit(azimuth, elevation, 1.0, 48.0), 16, 48.0)
  expected = rigid_transform.rotation_of(azimuth + math.pi / 2, -elevation)
  np.testing.assert_allclose(view.rotation, expected, atol=1e-6)
  np.testing.assert_allclose(view.scale, 1, atol=1e-6)
  np.testing.assert_allclose(view.translation, 0, atol=1e-5)
  far = rigid_transform.view_of(orbit(azimuth, elevation, 2.0, 48.0), 16, 48.0)
  np.testing.assert_allclose(far.scale, 0.5, atol=1e-6)
  # The middle of the left upper quarter comes to the middle: everything is twice as large, and the
  # world's origin in the corner.
  near = crop(orbit(azimuth, elevation, 1.0, 48.0), *([x] * 3 for x in (0, 0, 0.5, 0.5)))
  quarter = rigid_transform.view_of(near, 16, 48.0)
  np.testing.assert_allclose(quarter.scale, 2, atol=1e-6)
  np.testing.assert_allclose(quarter.translation, [[0, -8, 8]] * 3, atol=1e-5)


def test_a_voxel_is_seen_where_the_camera_sees_it():
  """A lone voxel on the world's right, seen from the front and from the back; depth grows away."""
  voxels = np.zeros((1, 16, 16, 16, 1), np.float32)
  voxels[0, 12, 11, 10] = (
    1  # (x, y, z) of the voxels 10, 11, 12: the world's (4, 3, −2) from the middle
  )
  for azimuth, place in ((0.0, (4, 12, 10)), (math.pi, (4, 4, 6))):
    view = rigid_transform.view_of(orbit(np.array([azimuth]), np.zeros(1)), 16, 12.0)
    seen = np.asarray(rigid_transform.image_axes(voxels, view))[0, ..., 0]
    assert np.unravel_index(seen.argmax(), seen.shape) == place


def test_a_sphere_looks_the_same_from_every_side():
  """A cube's silhouette, its voxels summed along the depth, tells the pose; a sphere's does not."""
  view = rigid_transform.view_of(orbit(np.array([0.01, math.pi / 4]), np.zeros(2)), 16, 12.0)
  cube = np.ones((1, 16, 16, 16, 1), np.float32)
  sphere = rigid_transform.inside_sphere(cube)
  assert not sphere[0, 0, 0, 0, 0] and sphere[0, 8, 8, 8, 0] == 1
  images = [np.asarray(rigid_transform.image_axes(x, view))[..., 0].sum(3) for x in (sphere, cube)]
  of_sphere, of_cube = (np.abs(image[0] - image[1]).max() for image in images)
  assert of_sphere < 1.5 < 5 < of_cube, (of_sphere, of_cube)
