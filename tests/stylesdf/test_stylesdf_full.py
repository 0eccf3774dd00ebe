"""StyleSDF's second stage against official arrays: decoder, mixing, truncation, discriminator."""

import dataclasses
import functools

import golden_stylesdf as golden
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import generators
from jax3dgan.losses import adversarial, path_length, regularizers
from jax3dgan.recipes import mixing
from jax3dgan.rendering import hierarchical, rays, sampling

FILE = golden.FULL
RENDERER, END_TO_END, EXACT = 3e-4, 1e-3, 1e-5
OPTIONS = dataclasses.replace(golden.OPTIONS, resolution=4 * golden.SIZE)
NUM_BLOCKS = 3


@functools.cache
def arrays():
  return goldens.load(FILE)


def nchw(x):
  return np.moveaxis(np.asarray(x), -1, 1)


def noise():
  return [golden.nhwc(arrays()[f'noise_{i}']) for i in range(2 * NUM_BLOCKS - 1)]


def pictures(variables, w, has_parts=False):
  """(Composite, features, image) of styles, from the file's cameras, draws and noise."""
  generator = golden.full()[0]
  camera, draws = golden.camera(FILE), golden.draws(FILE)
  out = generator.apply(variables, w, camera, draws, OPTIONS, True, method='render')
  size = golden.SIZE
  features = out.colour[..., 3:].reshape(2, size, size, -1)
  decoded = generator.apply(
    variables,
    features,
    w[:, 1:],
    noise(),
    method='decode',
    **(dict(capture_intermediates=True, mutable='intermediates') if has_parts else {}),
  )
  return out, features, decoded


@pytest.fixture(scope='module')
def results():
  """Everything that is made of the latents, in one program."""
  (generator, variables), a = golden.full(), arrays()
  discriminator, own = golden.full_discriminator()

  @jax.jit
  def run(variables, own):
    apply = functools.partial(generator.apply, variables)
    w, other = (apply(a[name], method='map') for name in ('z', 'z2'))
    lines = rays.camera_rays(golden.camera(FILE), golden.SIZE)
    limits = hierarchical.ray_limits(lines, OPTIONS)
    depths = sampling.stratified_depths(
      limits.near, limits.far, golden.SAMPLES, golden.draws(FILE).jitter, OPTIONS.strata
    )
    points = hierarchical.points_at(lines, depths).reshape(2, -1, 3)
    distance = apply(w, points, method='distance')
    out, features, (image, parts) = pictures(variables, w, has_parts=True)
    mixed = mixing.mix(w[:, 1:], other[:, 1:], jnp.full(2, 3))
    mixed = jnp.concatenate([w[:, :1], mixed], axis=1)
    average = apply(a['trunc_z'], method='map').mean(0)
    pulled = apply(a['z'], truncation_psi=0.5, average_w=average, method='map')
    truncated = pictures(variables, pulled)

    def decode(w):
      return apply(features, w, noise(), method='decode')

    judge = functools.partial(discriminator.apply, own)
    more = {}
    if 'real' in a:  # not in the part of the file that lies in tests/data
      directions, real = (golden.nhwc(a[name]) for name in ('pl_noise_raw', 'real'))
      more = dict(
        image_mix3=pictures(variables, mixed)[2],
        image_trunc05=truncated[2],
        pl_lengths=path_length.lengths(decode, w[:, 1:], directions),
        d_real=judge(real).logits,
        d_r1_penalty=regularizers.r1_penalty(lambda x: judge(x).logits, real),
      )
    return dict(
      **more,
      w=w,
      average=average,
      thumb=2 * out.colour[..., :3] - 1,
      features=features,
      image=image,
      parts=parts['intermediates']['decoder'],
      thumb_trunc05=2 * truncated[0].colour[..., :3] - 1,
      d_logits=judge(image).logits,
      distance=distance,
    )

  return jax.device_get(run(variables, own))


def small(x):
  """[b, h·w, c] → [b, c, h, w] of what is rendered."""
  return nchw(np.reshape(x, (2, golden.SIZE, golden.SIZE, -1)))


def test_styles(results):
  w = results['w']
  goldens.compare(FILE, 'w', w[:, 0, :16], relative=EXACT)
  goldens.compare(FILE, 'decoder_latents', w[:, 1:], relative=EXACT)
  assert not w[:, 0, 16:].any() and w.shape[1] == golden.full()[0].num_ws
  average = results['average']
  goldens.compare(FILE, 'trunc_mean_renderer', average[:1, :16], relative=EXACT)
  goldens.compare(FILE, 'trunc_mean_decoder', average[1:2], relative=EXACT)
  # The house's mean is of the same styles, of other latents.
  generator, variables = golden.full()
  mean = generators.average_w(generator, variables, jax.random.key(0), 64)
  assert mean.shape == average.shape and np.abs(mean - average).max() < 1


def test_images(results):
  r = results
  goldens.compare(FILE, 'thumb', small(r['thumb']), relative=RENDERER)
  goldens.compare(FILE, 'features', nchw(r['features']), relative=RENDERER)
  distance = r['distance'].reshape(arrays()['sdf'].shape)
  goldens.compare(FILE, 'sdf', distance, relative=RENDERER)
  goldens.compare(FILE, 'image', nchw(r['image']), relative=END_TO_END)
  goldens.compare(FILE, 'd_logits', r['d_logits'][:, None], relative=END_TO_END)


def test_mixed_and_truncated_images(results):
  r = results
  for key in ('image_mix3', 'image_trunc05'):
    expected = arrays()[key]
    assert np.abs(expected - arrays()['image']).max() > 0.01
    goldens.compare(FILE, key, nchw(r[key]), relative=END_TO_END)
  goldens.compare(FILE, 'thumb_trunc05', small(r['thumb_trunc05']), relative=RENDERER)


def test_every_layer_of_the_decoder(results):
  parts = results['parts']
  first = parts['b16']
  found = {
    'conv1': first['conv1']['__call__'][0],
    'to_rgb1': first['torgb']['__call__'][0],
  }
  for i, size in enumerate((32, 64)):
    block = parts[f'b{size}']
    found[f'convs.{2 * i}'] = block['conv0']['__call__'][0]
    found[f'convs.{2 * i + 1}'] = block['conv1']['__call__'][0]
    found[f'to_rgbs.{i}'] = block['__call__'][0][1]  # with the image so far
  for name, ours in found.items():
    goldens.compare(FILE, f'stage.dec.{name}', nchw(ours), relative=END_TO_END)


def test_path_lengths(results):
  assert (arrays()['pl_lengths'] > 0).all()
  goldens.compare(FILE, 'pl_lengths', results['pl_lengths'], relative=END_TO_END)
  mean = path_length.updated_mean(np.float32(0.3), results['pl_lengths'])
  goldens.compare(FILE, 'pl_mean', np.asarray(mean), relative=END_TO_END)
  penalty = path_length.penalty(results['pl_lengths'], mean)
  goldens.compare(FILE, 'pl_penalty', np.asarray(penalty), relative=END_TO_END)


def test_the_discriminator(results):
  expected = arrays()['d_r1_penalty']
  goldens.compare(FILE, 'd_real', results['d_real'][:, None], relative=END_TO_END)
  assert expected > 0
  goldens.compare(FILE, 'd_r1_penalty', results['d_r1_penalty'], relative=END_TO_END)


def test_gradients_through_the_whole_generator():
  (generator, variables), a = golden.full(), arrays()
  discriminator, own = golden.full_discriminator()
  keys = [key for key in a if key.startswith('ggrad.')]
  if not keys:
    pytest.skip('no gradients are in the golden files that are here')

  @jax.jit
  @jax.value_and_grad
  def loss(params):
    now = {**variables, 'params': params}
    w = generator.apply(now, a['z'], method='map')
    image = pictures(now, w)[2]
    return adversarial.generator_loss(discriminator.apply(own, image).logits)

  value, gradients = jax.device_get(loss(variables['params']))
  goldens.compare(FILE, 'g_gan_loss', value, relative=END_TO_END)

  def convert(official):
    return {**golden.renderer(official), **golden.decoder(official)}

  # Biases of the official convolutions that nothing reads, and constants, are not asked for.
  names = {k[2:]: v.shape for k, v in a.items() if k.startswith('g.')}
  official = golden.in_official_layout(convert, names, gradients)
  for key in keys:
    gradient = np.float32(official[key.removeprefix('ggrad.')])
    goldens.compare(FILE, key, gradient, relative=END_TO_END)


def test_the_way_of_the_releases_meshes():
  """No offset, the last sample as the background, view directions of the camera's frame."""
  (generator, variables), a = golden.full(), arrays()
  expected = a['test_image']
  assert np.isfinite(expected).all()
  options = dataclasses.replace(golden.OPTIONS, last_back=True)
  camera = golden.camera(FILE)
  # The official frame of a camera: x right, y up, z backwards.
  turned = np.asarray(camera.cam2world[:, :3, :3]) @ np.diag(np.float32([1, -1, -1]))

  @jax.jit
  def run(variables, camera, turned):
    w = generator.apply(variables, a['z'], method='map')
    lines = rays.camera_rays(camera, golden.SIZE)
    own = generator.apply(variables, w, method='radiance_field').replace(has_features=True)
    local = jnp.einsum('bji,brj->bri', turned, lines.directions, precision='highest')

    def field(points, directions):
      """The place beside the colour and the features."""
      del directions
      density, colour = own(points, local)
      return density, jnp.concatenate([points, colour], axis=-1)

    out = hierarchical.render_rays(field, lines, options)
    size = golden.SIZE
    features = out.colour[..., 6:].reshape(2, size, size, -1)
    image = generator.apply(variables, features, w[:, 1:], noise(), method='decode')
    limits = hierarchical.ray_limits(lines, options)
    depths = jnp.linspace(limits.near[..., 0], limits.far[..., 0], 7, axis=-1)[..., :-1]
    points = hierarchical.points_at(lines, depths)
    distance = own.distance(points.reshape(2, -1, 3)).reshape(2, size, size, -1)
    return image, out, distance

  image, out, distance = jax.device_get(run(variables, camera, turned))
  goldens.compare(FILE, 'test_image', nchw(image), relative=END_TO_END)
  goldens.compare(FILE, 'test_thumb', small(2 * out.colour[..., 3:6] - 1), relative=RENDERER)
  goldens.compare(FILE, 'test_xyz', small(out.colour[..., :3]), relative=RENDERER)
  goldens.compare(FILE, 'test_mask', small(out.weights[..., -1:]), relative=RENDERER)
  goldens.compare(FILE, 'test_sdf', distance[..., None], relative=RENDERER)
