"""Exp-GAN's generator beside golden arrays, stage by stage: each is given the release's results of
the one before."""

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import x64
from golden_expgan import CHANNELS, RAYS, SAMPLES, channels_first, channels_last, typed, weights

from jax3dgan.generators import expgan_networks, expgan_rendering
from jax3dgan.nn.stylegan2 import MappingNetwork, SynthesisNetwork
from jax3dgan.rendering import compositing, hierarchical, sampling
from jax3dgan.rendering.rays import Surface

FILE = 'expgan/G_small_train'


def compare(key, actual, dtype, relative=5e-5):
  goldens.compare(FILE, key, actual, relative=relative, dtype=dtype)


def run_head(params, x):
  head = expgan_networks.TextureHead(features=8)
  texture = head.apply({'params': params}, x['plane'], x['c2w'])
  colour, alpha = expgan_networks.sample_texture(texture, x['uv'], x['mask'], RAYS)
  return texture, colour, alpha


@pytest.mark.parametrize('dtype', x64.DTYPES)
def test_texture_head(dtype):
  arrays = goldens.load(FILE)
  uv = channels_last(arrays['in/uv'])
  mask = (uv != 0).all(-1)[:, ::4, ::4]
  x = dict(plane=channels_last(arrays['texture/img3']), c2w=arrays['in/c2w'], uv=uv)
  x = typed(x, dtype) | {'mask': mask}
  texture, colour, alpha = x64.jit(run_head)(typed(weights()['texture_head'], dtype), x)
  compare('texture_head/plane', channels_first(texture), dtype)
  compare('texture_head/feat', channels_first(colour), dtype)
  compare('texture_head/alpha', alpha[:, None], dtype)
  compare('texture_head/mask', mask[:, None], dtype, 0)


def run_rendering(params, x):
  """Of the first of two images, but for the rays and the coarse depths."""
  rays = expgan_rendering.orthographic_rays(x['c2w'], RAYS)
  own = expgan_rendering.orthographic_rays(jnp.eye(3, 4, dtype=x['c2w'].dtype)[None], RAYS)
  z_coarse = sampling.stratified_depths(0.0, 3.0, SAMPLES, x['jitter'])
  first = jax.tree.map(lambda a: None if a is None else a[:1], rays)
  field = expgan_rendering.Field(
    expgan_rendering.planes_of(x['planes']),
    *([params[f'fc_{i}_{kind}'][None] for i in range(2)] for kind in ('kernel', 'bias')),
  )
  world = hierarchical.points_at(first, x['z_coarse'])
  coarse = [world, field.scaled(world)]
  raw, colour = field.decode(world)
  deltas = compositing.intervals(x['z_coarse'], compositing.INFINITE_INTERVAL)
  density = compositing.activate_density(raw, 'relu', x['noise_coarse'])
  shares = compositing.ray_weights(density, deltas)
  alone = compositing.composite(density, colour, x['z_coarse'])
  fine = sampling.importance_depths(x['z_coarse'], shares, x['u'])
  # The release's fine samples from here on.
  world = hierarchical.points_at(first, x['z_fine'])
  coarse.append(field.scaled(world))
  own_raw, own_colour = field.decode(world)
  depths = jnp.concatenate([x['z_fine'], x['z_coarse']], axis=-1)
  order = jnp.argsort(depths, axis=-1)
  raws = jnp.take_along_axis(jnp.concatenate([own_raw, raw], axis=-1), order, axis=-1)
  colours = jnp.concatenate([own_colour, colour], axis=-2)
  colours = jnp.take_along_axis(colours, order[..., None], axis=-2)
  shown = expgan_rendering.shown
  surface = Surface(shown(x['feat']), x['alpha'], x['depth'])
  depths = jnp.take_along_axis(depths, order, axis=-1)
  density = compositing.activate_density(raws, 'relu', x['noise'])
  out = compositing.composite(density, shown(colours), depths, last_back=True, surface=surface)
  joined = jnp.concatenate([depths, x['depth']], axis=-1)
  order = jnp.argsort(joined, axis=-1)
  weights = jnp.concatenate([out.weights, out.means['surface'][..., None]], axis=-1)
  out = out._replace(weights=jnp.take_along_axis(weights, order, axis=-1))
  joined = jnp.take_along_axis(joined, order, axis=-1)
  decoded = [jnp.concatenate([c, r[..., None]], -1) for r, c in ((raw, colour),
    (own_raw, own_colour))]  # fmt: skip
  return (own.origins, z_coarse, rays), coarse, decoded, (shares, alone), fine, out, joined


@pytest.mark.parametrize('dtype', x64.DTYPES)
def test_rays_field_and_surface(dtype):
  arrays, rays = goldens.load(FILE), RAYS**2

  def of_first(name):
    return arrays[name][:1].reshape(1, rays, -1)

  std = arrays['noise_std']
  x = dict(
    c2w=arrays['in/c2w'],
    planes=channels_last(arrays['triplane/img3'])[:1],
    jitter=arrays['draw1_uniform'].reshape(2, rays, -1),
    z_coarse=of_first('ray/z_coarse'),
    noise_coarse=std * of_first('draw2_normal'),
    u=arrays['draw3_uniform'][None, :rays],
    z_fine=arrays['ray/z_fine'][None, :rays],
    noise=std * of_first('draw4_normal'),
    feat=channels_last(arrays['texture_head/feat'])[:1].reshape(1, rays, -1),
    alpha=of_first('texture_head/alpha'),
    depth=arrays['in/depth'][:1, 0, ::4, ::4].reshape(1, rays, 1),
  )
  run = x64.jit(run_rendering)
  (grid, z_coarse, found), coarse, decoded, (shares, alone), fine, out, depths = run(
    typed(weights()['decoder'], dtype), typed(x, dtype)
  )
  compare('ray/origins', np.broadcast_to(grid, (2, rays, 3)).reshape(2, RAYS, RAYS, 3), dtype)
  compare('ray/z_coarse', z_coarse.reshape(2, RAYS, RAYS, SAMPLES, 1), dtype)
  compare('render/z@0', z_coarse[:1].reshape(1, RAYS, RAYS, SAMPLES, 1), dtype)
  compare('ray/origin_world', found.origins, dtype)
  compare('ray/dir_world', found.directions[:, 0], dtype)
  compare('ray/points_world@0', coarse[0].reshape(1, -1, 3), dtype)
  compare('points@0', coarse[1], dtype)
  compare('points#1@0', coarse[2], dtype)
  compare('mlp@0', decoded[0], dtype)
  compare('mlp#1@0', decoded[1], dtype)
  compare('render/weights@0', shares.reshape(1, RAYS, RAYS, SAMPLES, 1), dtype)
  goldens.compare(
    FILE, 'ray/z_fine', np.concatenate([fine[0], arrays['ray/z_fine'][rays:]]), relative=5e-5,
    dtype=dtype, where=np.arange(2 * rays)[:, None] < rays,
  )  # fmt: skip
  picture = out.weights.reshape(1, RAYS, RAYS, -1, 1)
  compare('render/weights#1@0', picture, dtype)
  compare('render/z#1@0', depths.reshape(picture.shape), dtype)
  first = np.arange(2)[:, None, None, None] == 0
  for key, made in (('', alone), ('#1', out)):
    for name, actual in (('out', made.colour), ('depth', made.depth)):
      expected = arrays[f'render/{name}{key}']
      whole = np.concatenate([actual.reshape(1, *expected.shape[1:]), expected[1:]])
      goldens.compare(FILE, f'render/{name}{key}', whole, relative=5e-5, dtype=dtype, where=first)


def run_networks(params, x):
  w = MappingNetwork(16, 8).apply({'params': params['mapping']}, x['code'])
  styles = jnp.broadcast_to(x['w'][:, None], (2, 8, 16))
  images = [
    SynthesisNetwork((*CHANNELS, image), image, use_noise=False, clamp=256.0).apply(
      {'params': params[name]}, styles
    )
    for name, image in (('planes', 24), ('texture', 10))
  ]
  upsampler = expgan_networks.Upsampler((12, 10, 8))
  return w, images, upsampler.apply({'params': params['upsampler']}, x['features'], x['w'])


@pytest.mark.thorough
@pytest.mark.parametrize('dtype', [np.float64, np.float32])
def test_mapping_backbones_and_upsampler(dtype):
  arrays = goldens.load(FILE)
  code = np.concatenate([arrays['draw0_normal'], arrays['in/shape_jaw']], axis=1)
  x = dict(code=code, w=arrays['w'], features=arrays['render/out#1'])
  w, images, picture = x64.jit(run_networks)(typed(weights(), dtype), typed(x, dtype))
  compare('w', w, dtype)
  for name, image in zip(('triplane', 'texture'), images, strict=True):
    compare(f'{name}/img3', channels_first(image), dtype)
  compare('out/pred', channels_first(picture), dtype)
