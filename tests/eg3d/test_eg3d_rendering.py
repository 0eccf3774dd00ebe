"""EG3D's way of sampling and marching, as options of the one renderer: the official arrays."""

import dataclasses

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_eg3d import OPTIONS, error

from jax3dgan import cameras
from jax3dgan.errors import UserError
from jax3dgan.fields import triplane
from jax3dgan.rendering import compositing, hierarchical, sampling
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.hierarchical import Draws, RenderOptions
from jax3dgan.rendering.rays import Rays


def test_coarse_depths():
  arrays = goldens.load('render_sampling')

  def depths(near, far, name, **options):
    return sampling.stratified_depths(near, far, 6, arrays[name][..., 0], 'forward', **options)

  theirs = arrays['strat_scalar_depths'][..., 0]
  near = theirs.min() // 0.01 * 0.01
  u = arrays['strat_scalar_u'][..., 0]
  # The limits, which are not among the arrays, from the first stratum.
  step = (theirs[..., 1] - theirs[..., 0])[0, 0] / (1 + u[..., 1] - u[..., 0])[0, 0]
  near = theirs[0, 0, 0] - step * u[0, 0, 0]
  ours = depths(float(near), float(near + 5 * step), 'strat_scalar_u')
  assert error(ours, theirs) < 2e-6
  start, end = arrays['strat_tensor_start'], arrays['strat_tensor_end']
  assert error(depths(start, end, 'strat_tensor_u'), arrays['strat_tensor_depths'][..., 0]) < 1e-6


def test_limits_of_a_box():
  arrays = goldens.load('render_sampling')
  for side in ('0.6', '1.0'):
    near, far, hit = sampling.box_limits(arrays['box_rays_o'], arrays['box_rays_d'], float(side))
    assert hit.all()
    assert error(near, arrays[f'box{side}_tmin']) < 1e-5
    assert error(far, arrays[f'box{side}_tmax']) < 1e-5


def test_fine_depths():
  arrays = goldens.load('render_sampling')
  z, w = arrays['imp_z'][..., 0], arrays['imp_w'][..., 0]
  u = arrays['imp_u'].reshape(2, 5, 6)
  assert error(sampling.smoothed_importance_depths(z, w, u), arrays['imp_out'][..., 0]) < 1e-5


@pytest.mark.parametrize('white', [0, 1])
def test_the_marcher(white):
  arrays = goldens.load('render_marcher')
  raw, depths = arrays['densities'][..., 0], arrays['depths'][..., 0]
  out = compositing.march_midpoints(raw, arrays['colors'], depths, white_back=bool(white))
  assert error(2 * out.colour - 1, arrays[f'white{white}_rgb']) < 2e-6
  assert error(out.weights, arrays[f'white{white}_weights'][..., 0]) < 2e-6
  depth = compositing.clamped_depth(out.depth, out.opacity, depths.min(), depths.max())
  assert error(depth, arrays[f'white{white}_depth'][..., 0]) < 2e-6


def test_gradients_of_the_marcher():
  arrays = goldens.load('render_marcher')

  def total(colours, raw):
    out = compositing.march_midpoints(raw, colours, arrays['depths'][..., 0], white_back=True)
    return jnp.sum((2 * out.colour - 1) * arrays['grad_seed_rgb'])

  colours, raw = jax.jit(jax.grad(total, (0, 1)))(arrays['colors'], arrays['densities'][..., 0])
  assert error(colours, arrays['grad_colors']) < 1e-5
  assert error(raw, arrays['grad_densities'][..., 0]) < 1e-4


def field_of(arrays, box=1.0, planes=None, weights=None):
  names = [f'decoder.net.{i}.{kind}' for i in (0, 2) for kind in ('weight', 'bias')]
  w0, b0, w1, b1 = (arrays[name] for name in names) if weights is None else weights
  params = {'fc_0_kernel': w0.T, 'fc_0_bias': b0, 'fc_1_kernel': w1.T, 'fc_1_bias': b1}
  kernels, biases = triplane.TriplaneDecoder(32, 64).apply({'params': params}, 32)
  planes = jnp.moveaxis(jnp.asarray(arrays['planes'] if planes is None else planes), 2, -1)
  return triplane.TriplaneField(triplane.pad_planes(planes), kernels, biases, box, 'official')


def variant(name):
  """(options, box, draws, noise_std) of a variant of the golden rendering."""
  options = dataclasses.replace(OPTIONS, num_coarse=7, num_fine=5)
  changes = {
    'auto': dict(box=1.0),
    'auto_smallbox': dict(box=0.4, white_back=True, compat_box_limits=True),
    'coarse_only': dict(num_fine=0),
    'white': dict(white_back=True),
    'disparity': dict(spacing='disparity'),
  }
  options = dataclasses.replace(options, **changes.get(name, {}))
  arrays = goldens.load('render_full')
  kinds = {'rand_like': [], 'rand': [], 'randn_like': []}
  for key in sorted(arrays):
    if key.startswith(f'{name}_draw') and key[len(name) + 5].isdigit():
      kinds[key.split('_', key.count('_') - ('like' in key))[-1]].append(arrays[key])
  draws = Draws(
    jitter=kinds['rand_like'][0][..., 0],
    pdf=kinds['rand'][0].reshape(2, 36, 5) if kinds['rand'] else None,
  )
  if kinds['randn_like']:
    coarse, fine = (x.reshape(2, 36, -1) for x in kinds['randn_like'])
    draws = draws._replace(coarse_noise=coarse, fine_noise=fine)
  return options, draws, 0.5 if kinds['randn_like'] else 0.0


VARIANTS = (
  'ffhq', 'auto', 'auto_smallbox', 'coarse_only', 'white', 'disparity', 'density_noise',
)  # fmt: skip


@pytest.mark.parametrize('name', VARIANTS)
def test_the_whole_renderer(name):
  arrays = goldens.load('render_full')
  options, draws, noise_std = variant(name)
  rays = Rays(arrays['ray_origins'], arrays['ray_dirs'])
  field = field_of(arrays, options.box or 1.0)
  out = hierarchical.render_images(field, rays, options, draws, noise_std)
  assert error(2 * out.colour - 1, arrays[f'{name}_rgb']) < 2e-5
  assert error(out.opacity, arrays[f'{name}_weightsum'][..., 0]) < 2e-5
  assert error(out.depth / out.opacity, arrays[f'{name}_depth'][..., 0]) < 2e-5


def test_gradients_of_the_whole_renderer():
  arrays = goldens.load('render_full')
  options, draws, _ = variant('ffhq')
  rays = Rays(arrays['ray_origins'], arrays['ray_dirs'])
  weights = [arrays[f'decoder.net.{i}.{kind}'] for i in (0, 2) for kind in ('weight', 'bias')]

  def total(planes, weights):
    field = field_of(arrays, planes=planes, weights=weights)
    out = hierarchical.render_images(field, rays, options, draws)
    return jnp.sum((2 * out.colour - 1) * arrays['ffhq_grad_seed'])

  planes, (first, _, second, _) = jax.jit(jax.grad(total, (0, 1)))(arrays['planes'], weights)
  assert error(planes, arrays['ffhq_grad_planes']) < 1e-4
  assert error(first, arrays['ffhq_grad_decoder.net.0.weight']) < 1e-4
  assert error(second, arrays['ffhq_grad_decoder.net.2.weight']) < 1e-4


@pytest.mark.parametrize('size', [4, 7])
def test_rays(size):
  arrays = goldens.load('render_cameras')
  rays = rays_lib.camera_rays(cameras.from_label(arrays['c']), size)
  assert error(rays.origins, arrays[f'ray_origins_res{size}']) < 1e-6
  assert error(rays.directions, arrays[f'ray_dirs_res{size}']) < 1e-6


def test_chunks_do_not_matter():
  arrays = goldens.load('render_full')
  options, draws, _ = variant('auto')
  rays = Rays(arrays['ray_origins'], arrays['ray_dirs'])
  field = field_of(arrays)
  whole = hierarchical.render_images(field, rays, options, draws)
  parts = hierarchical.render_images(field, rays, dataclasses.replace(options, ray_chunk=9), draws)
  np.testing.assert_allclose(parts.colour, whole.colour, atol=1e-5)
  np.testing.assert_allclose(parts.depth, whole.depth, atol=1e-5)


def test_a_ray_that_meets_nothing_lies_at_the_far_end():
  raw = jnp.full((1, 1, 4), -300.0)
  depths = jnp.linspace(1.0, 2.0, 4)[None, None]
  out = compositing.march_midpoints(raw, jnp.ones((1, 1, 4, 3)), depths)
  assert out.opacity == 0
  assert compositing.clamped_depth(out.depth, out.opacity, 1.0, 2.0) == 2
  gradient = jax.jit(
    jax.grad(
      lambda r: compositing.clamped_depth(
        *compositing.march_midpoints(r, jnp.ones((1, 1, 4, 3)), depths)[1:3], 1.0, 2.0
      ).sum()
    )
  )(raw)
  assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
  'fields, message',
  [
    (dict(marcher='middle'), "No marcher is called 'middle'. Choose one of samples, midpoints"),
    (dict(num_coarse=3), 'num_coarse 3 is too small. Set at least 4 where'),
    (dict(marcher='samples'), "Set marcher='midpoints'"),
  ],
)
def test_options_that_do_not_go_together(fields, message):
  values = dict(marcher='midpoints', importance='smoothed', num_coarse=6, num_fine=6) | fields
  with pytest.raises(UserError, match=message):
    RenderOptions(**values)
