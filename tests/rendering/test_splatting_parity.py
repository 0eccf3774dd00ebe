"""Splatting beside golden arrays: a loop over pixels and Gaussians in float64, and its gradients.

All of them with `pytest --thorough` (or --parity); otherwise a few, which compile in a second each.
"""

import functools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64

from jax3dgan.cameras import Camera
from jax3dgan.nn import backend
from jax3dgan.rendering import spherical_harmonics, splatting, splatting_projection

FILES = ('gaussians/raster_square', 'gaussians/raster_wide', 'gaussians/raster_edge')
INPUTS = ('means', 'quats', 'scales', 'opacities', 'colors', 'sh', 'cam2world', 'intrinsics')
CUDA = splatting.Splatting(stop=True)


def inputs(arrays, dtype):
  """What is differentiated, by the golden names."""
  names = [name for name in (*INPUTS, 'background') if f'in.{name}' in arrays]
  return {name: arrays[f'in.{name}'].astype(dtype) for name in names}


def scene(x):
  gaussians = splatting.Gaussians(
    x['means'], x['scales'], x['quats'], x['opacities'], x.get('colors'), x.get('sh')
  )
  return gaussians, Camera(x['cam2world'], x['intrinsics'])


def size_of(arrays):
  return int(arrays['in.height']), int(arrays['in.width'])


@functools.partial(x64.jit, static_argnames=('size', 'options', 'form'))
def render(x, cotangents, size, options, form):
  """The golden image, depth and alpha, and the gradients of their products with cotangents."""

  def loss(x):
    gaussians, camera = scene(x)
    with backend.choose(splatting=form):
      out = splatting.splat(gaussians, camera, size, x['background'], options).composite
    # Golden depth is along the camera's axis.
    depth = out.depth / splatting._ray_lengths(jax.tree.map(lambda a: a[None], camera), size)[
      0
    ].reshape(size)
    results = {'image': out.colour, 'depth': depth, 'alpha': out.opacity}
    return sum(jnp.sum(results[name] * cotangents[name]) for name in results), results

  return jax.grad(loss, has_aux=True)(x)


@pytest.mark.parametrize('dtype', [np.float64, np.float32])
@pytest.mark.parametrize('file', FILES)
def test_stages(file, dtype):
  arrays = goldens.load(file)
  x = inputs(arrays, dtype)
  size = size_of(arrays)

  @x64.jit
  def run(x):
    gaussians, camera = jax.tree.map(lambda a: a[None], scene(x))
    projected = splatting_projection.project(gaussians, camera, size)
    colours = [splatting_projection.seen_colours(gaussians, camera)]
    if gaussians.harmonics is not None:
      counts = spherical_harmonics.COUNTS
      less = [gaussians._replace(harmonics=gaussians.harmonics[..., :k, :]) for k in counts]
      colours += [splatting_projection.seen_colours(each, camera) for each in less]
    tiles = splatting_projection.cuda_tiles(projected, size)
    return jax.tree.map(lambda a: a[0], (projected, colours, tiles))

  projected, colours, tiles = run(x)
  valid = projected.valid & arrays['stage.valid']
  tolerance = 1e-11 if dtype == np.float64 else 2e-6
  compare = functools.partial(goldens.compare, file, dtype=dtype, relative=tolerance)
  rows = valid[:, None]
  compare('stage.mean2d', projected.means, where=rows)
  # A needle's conic in float32: the determinant is a small part of the products in it.
  compare('stage.conic', projected.conics, where=rows, relative=tolerance * 10)
  covariances = projected.covariances[:, [0, 1, 1, 2]].reshape(-1, 2, 2)
  compare('stage.cov2d', covariances, where=rows[..., None])
  k, z = x['intrinsics'], projected.depths[:, None]
  xy = (projected.means / size[::-1] - k[:2, 2]) / k[[0, 1], [0, 1]]
  compare('stage.means_cam', np.concatenate([xy * z, z], axis=1), where=rows)
  compare('stage.colors', colours[0], where=rows)
  for degree, colour in enumerate(colours[1:]):
    compare(f'stage.colors_deg{degree}', colour, where=rows)
  if dtype == np.float64:  # sizes are rounded up to whole pixels
    compare('stage.tiles16', tiles, where=rows, relative=0)


VARIANTS = {
  'nostop': (splatting.Splatting(), 'grad_nostop'),
  'out': (CUDA, 'grad'),
  'out_st': (CUDA._replace(straight_through=True), 'grad_st'),
  'tile16': (CUDA._replace(cuda_tiles=True), None),
}


ALWAYS = {
  ('square', 'nostop', 'float64'),
  ('edge', 'nostop', 'float32'),
  ('edge', 'tile16', 'float64'),
}


@pytest.mark.parametrize('form', ['tiles', 'dense'])
@pytest.mark.parametrize('dtype', [np.float64, np.float32])
@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('file', FILES)
def test_images_and_gradients(file, variant, dtype, form, thorough):
  case = (file.rpartition('_')[2], variant, np.dtype(dtype).name)
  if (case not in ALWAYS or form == 'dense') and not thorough:
    pytest.skip('one of many that take seconds each: pytest --thorough')
  arrays = goldens.load(file)
  cotangents = {name: arrays[f'cot.{name}'].astype(dtype) for name in ('image', 'depth', 'alpha')}
  options, gradients = VARIANTS[variant]
  grads, results = render(inputs(arrays, dtype), cotangents, size_of(arrays), options, form)
  assert results['image'].dtype == dtype
  # Which side of a threshold a pixel is on may be decided by rounding.
  exact = ~arrays['out.near_threshold'] if dtype == np.float32 else np.full(size_of(arrays), True)
  for name, value in results.items():
    where = exact[..., None] if value.ndim == 3 else exact
    atol = 1e-10 if dtype == np.float64 else 3e-6
    goldens.compare(file, f'{variant.removesuffix("_st")}.{name}', value, atol=atol, where=where)
  for name in grads if gradients else ():
    relative = 1e-10 if dtype == np.float64 else 2e-5
    # The golden cameras have no skew, not even in their gradients.
    where = np.array([[1, 0, 1], [1, 1, 1], [1, 1, 1]], bool) if name == 'intrinsics' else True
    goldens.compare(file, f'{gradients}.{name}', grads[name], relative=relative, where=where)
