"""GIRAFFE's poses, composition, neural renderer, discriminator and a step: official arrays."""

import functools
import math

import golden_giraffe as golden
import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.apps.latents import slerp
from jax3dgan.convert import giraffe_names
from jax3dgan.discriminators import dcgan
from jax3dgan.discriminators.dcgan import DCGANDiscriminator
from jax3dgan.generators.giraffe_scene import Fractions, PoseRanges
from jax3dgan.losses import adversarial, real_images, regularizers
from jax3dgan.nn.neural_renderer import NeuralRenderer, blurred, enlarge, interpolating
from jax3dgan.rendering import composition
from jax3dgan.rendering import rays as rays_lib

SCENE, VARIANTS, JUDGES = (f'giraffe/{name}' for name in ('scene', 'variants', 'discriminator'))
DTYPES = (np.float64, np.float32)


def ranges(num, **changes):
  """Ranges of a golden case, in the release's axes."""
  values = dict(size_min=(0.2, 0.16, 0.16), size_max=(0.25, 0.2, 0.2), free_ratio=False)
  values |= dict(position_min=(-0.22, -0.12, 0.0), position_max=(0.22, 0.12, 0.0))
  values |= dict(turns=(0.0, -360.0), background_turns=(0.0, 0.0), counts=(), placements=1)
  values |= changes
  for name in ('size_min', 'size_max', 'position_min', 'position_max'):
    values[name] = tuple(np.array(values[name])[golden.AXES].tolist())
  return PoseRanges(num_objects=num, **values)


def cube(x):
  return dict(size_min=(x,) * 3, size_max=(x,) * 3)


CASES = {
  'cars': ranges(1),
  'faces': ranges(
    1, **cube(0.21), position_min=(0, 0, 0), position_max=(0, 0, 0),
    turns=(-0.40278 * 360, -0.59722 * 360),
  ),
  'two_free': ranges(
    2, size_min=(0.2, 0.3, 0.4), size_max=(0.5,) * 3, free_ratio=True, turns=(0.0, -90.0),
    position_min=(-0.75, -0.75, 0.1665), position_max=(0.75, 0.75, 0.1665),
  ),
  'collide3': ranges(
    3, **cube(0.2), position_min=(-0.75, -0.75, 0), position_max=(0.75, 0.75, 0), placements=2
  ),
}  # fmt: skip


def matrices(turn):
  """The release's rotations [..., 3, 3] of our turns [...]."""
  cos, sin, zero = np.cos(turn), np.sin(-turn), np.zeros_like(turn)
  rows = [[cos, -sin, zero], [sin, cos, zero], [zero, zero, zero + 1]]
  return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def compare_poses(prefix, poses, dtype):
  compare = functools.partial(goldens.compare, SCENE, relative=1e-11 if dtype == 'f8' else 1e-6)
  compare(f'{prefix}/s', golden.theirs(poses.size))
  compare(f'{prefix}/t', golden.theirs(poses.position))
  compare(f'{prefix}/R', matrices(np.asarray(poses.turn)))


@pytest.mark.parametrize('dtype', ['f8', 'f4'])
@pytest.mark.parametrize('case', CASES)
def test_poses(case, dtype):
  # The release turns faces by other angles than the table of its configs says.
  arrays = {
    name.rpartition('/')[2]: x.astype(dtype)
    for name, x in goldens.load(SCENE).items()
    if name.startswith(f'box/{case}/')
  }
  with jax.enable_x64(dtype == 'f8'):
    places = arrays['draw_translation_tries'].swapaxes(0, 1)[..., golden.AXES]
    size = arrays['draw_scale']
    size = size[..., golden.AXES] if size.shape[-1] == 3 else size
    fractions = Fractions(
      jnp.asarray(size), jnp.asarray(places), jnp.asarray(arrays['draw_rotation']),
      jnp.zeros(len(size), dtype),
    )  # fmt: skip
    compare_poses(f'box/{case}', CASES[case].poses(fractions), dtype)


@pytest.mark.parametrize('dtype', ['f8', 'f4'])
def test_poses_at_fractions_beyond_the_ranges(dtype):
  arrays = goldens.load(SCENE)
  with jax.enable_x64(dtype == 'f8'):
    fractions = Fractions(
      jnp.asarray(arrays['box_val/val_s'][None, :, :1], dtype),
      jnp.asarray(arrays['box_val/val_t'][None, None][..., golden.AXES], dtype),
      jnp.asarray(arrays['box_val/val_r'][None], dtype),
      jnp.zeros(1, dtype),
    )
    compare_poses('box_val', ranges(2, turns=(-36.0, -216.0)).poses(fractions), dtype)


def test_turns_pixels_and_lenses():
  arrays = goldens.load(SCENE)
  compare = functools.partial(goldens.compare, SCENE, relative=1e-6)
  compare('rot_z/matrix', matrices(np.float32(-2 * np.pi * arrays['rot_z/value'])))
  uv = np.asarray(rays_lib.pixel_grid(5, align_corners=True)).reshape(5, 5, 2).swapaxes(0, 1)
  pixels = 2 * uv.reshape(1, 25, 2) - 1
  compare('pixels/res5_before_flip', pixels)
  compare('pixels/res5_after_flip', pixels * np.float32([1, -1]))
  for fov in ('10', '20', '30', '49.13'):
    focal = 2 * np.asarray(cameras.intrinsics_from_fov(float(fov)))[0, 0]
    forward = np.diag(np.float32([focal, focal, 1, 1]))[None]
    compare(f'mat/fwd_fov{fov}', forward)
    compare(f'mat/inv_fov{fov}', np.linalg.inv(forward))
  # The release's arc is ours of unit vectors, whose shares of both it gives to the latents.
  ends = [arrays[f'slerp/z{i}'].astype(np.float64) for i in (1, 2)]
  found = np.zeros((4, 3, 7))
  for row in range(3):
    pair = np.stack([end[row] for end in ends])
    units = pair / np.linalg.norm(pair, axis=-1, keepdims=True)
    shares = slerp(*units, arrays['slerp/t']) @ np.linalg.pinv(units)
    found[:, row] = shares @ pair
  compare('slerp/z', found)


@pytest.mark.parametrize('dtype', ['f8', 'f4'])
def test_cameras_in_the_middle_of_ranges(dtype):
  arrays = goldens.load(SCENE)

  def official(u, v, radius):
    camera = cameras.orbit(2 * np.pi * u, np.pi / 2 - np.arccos(1 - 2 * v), radius)
    return np.asarray(camera.cam2world)[None][:, [2, 0, 1, 3]] * np.array([1, -1, -1, 1], dtype)

  with jax.enable_x64(dtype == 'f8'):
    for key, of, fraction in (
      ('pose/mid/c2w_cars', 'cars', arrays['pose/mid/val_u_v_r']),
      ('pose/middle_pose_wide', 'wide', 0.5),
    ):
      low, high = arrays[f'pose/{of}/range_u_v_r'].T
      where = (low + fraction * (high - low)).astype(dtype)
      goldens.compare(SCENE, key, official(*where), relative=1e-6)


def test_how_many_objects():
  arrays = goldens.load(VARIANTS)
  probabilities = tuple(arrays['existence/probs_2_to_5'].tolist())
  own = ranges(5, counts=(0.0, *probabilities))
  count = arrays['existence/draw_u']
  order = np.random.default_rng(0).uniform(size=(8, 5)).astype(np.float32)
  zeros = np.zeros((8, 1, 5, 3), np.float32)
  poses = own.poses(
    Fractions(zeros[:, 0, :, :1], zeros, zeros[:, 0, :, 0], zeros[:, 0, 0, 0], count, order)
  )
  number = np.asarray(poses.presence).sum(-1).astype(np.int64)
  goldens.compare(VARIANTS, 'existence/n_objects', number, atol=0)
  # A random subset: those with the smallest numbers.
  assert all(set(np.flatnonzero(p)) == set(np.argsort(o)[: int(p.sum())])
             for p, o in zip(np.asarray(poses.presence), order, strict=True))  # fmt: skip
  np.testing.assert_allclose(own.counts[1:], arrays['existence/probs_2_to_5'])


def test_composition():
  arrays = goldens.load(VARIANTS)
  sigma, feat = (np.moveaxis(arrays[f'compose/{name}'], 0, 1) for name in ('sigma', 'feat'))
  total, shares = composition.compose(sigma)
  goldens.compare(VARIANTS, 'compose/sigma_sum', total, relative=1e-6)
  mean = jnp.sum(shares[..., None] * feat, axis=1)
  goldens.compare(VARIANTS, 'compose/feat_weighted', mean, relative=1e-6)


def renderer_of(state, dtype, **options):
  fields = giraffe_names.renderer_fields(state)
  names = giraffe_names.renderer_names(fields)
  params = giraffe_names.from_official(state, names, dtype)
  width, skips = fields.get('renderer_width', 0), fields.get('renderer_skips', True)
  return NeuralRenderer(fields['channels'], width, skips, **options), {'params': params}


_OPTIONS = {
  'norm': dict(norm=True),
  'feat_bilinear_rgb_nn': dict(features='bilinear', colours='nearest'),
}


@pytest.mark.parametrize('dtype', DTYPES)
def test_neural_renderers(dtype):
  arrays = goldens.load(VARIANTS)
  cases = {name.split('/')[1] for name in arrays if name.startswith('nr/')} - {'x'}
  assert len(cases) == 7
  with jax.enable_x64(dtype == np.float64):
    x = np.moveaxis(arrays['nr/x'], 1, -1).astype(dtype)
    for case in sorted(cases):
      state = golden.weights(VARIANTS, f'nr/{case}/p/')
      module, variables = renderer_of(state, dtype, **_OPTIONS.get(case, {}))
      out = module.apply(variables, x)
      out = out if case == 'no_final' else jax.nn.sigmoid(out)
      goldens.compare(VARIANTS, f'nr/{case}/out', golden.nchw(out), relative=2e-6)


def test_filters():
  x = goldens.load(VARIANTS)['blur/x'].astype(np.float64)
  rows, columns = x.shape[2:]

  def blurring(size):
    return blurred(np.eye(size))

  def filtered(matrix):
    return np.einsum('ih,bchw,jw->bcij', matrix(rows), x, matrix(columns))

  goldens.compare(VARIANTS, 'blur/out', filtered(blurring), relative=1e-7)
  goldens.compare(VARIANTS, 'blur/up2_bilinear', filtered(interpolating), relative=1e-7)
  twice = enlarge(np.moveaxis(x, 1, -1).astype(np.float32), 'bilinear')
  both = np.einsum('ih,bchw,jw->bcij', blurring(2 * rows), filtered(interpolating),
                   blurring(2 * columns))  # fmt: skip
  np.testing.assert_allclose(golden.nchw(twice), both, atol=1e-5)


def test_a_wall_is_an_image_far_from_its_border():
  module, variables = renderer_of(golden.weights(VARIANTS, 'nr/default_n16_img64/p/'), np.float32)
  x = np.random.default_rng(0).standard_normal((3, 16)).astype(np.float32)
  image = module.apply(variables, np.broadcast_to(x[:, None, None], (3, 8, 8, 16)))
  wall = module.apply(variables, x, wall=True)
  np.testing.assert_allclose(image[:, 16, 16], wall, atol=1e-5)


@pytest.mark.parametrize('variant', ['no_viewdirs', 'sigmoid_feat'])
@pytest.mark.parametrize('dtype', DTYPES)
def test_variants_of_fields(variant, dtype):
  arrays, own = goldens.load('giraffe/generator'), goldens.load(VARIANTS)
  changes = {'no_viewdirs': dict(use_directions=False, compat_linear_view=True)}
  changes = changes.get(variant, dict(feature_sigmoid=True))
  with jax.enable_x64(dtype == np.float64), golden.rounded_turns():
    generator, variables = golden.model(dtype, VARIANTS, f'{variant}/p/', **changes)
    camera, scene = golden.camera(arrays['in/world_mat'], dtype), golden.scene(arrays, dtype)

    @jax.jit
    def run(variables, scene, camera):
      bound = generator.bind(variables)
      features = bound.render(scene, camera, None, golden.OPTIONS).features
      return features, bound.synthesize(scene, camera, None, golden.OPTIONS).image

    features, image = run(variables, scene, camera)
    relative = 1e-7 if dtype == np.float64 else 1e-4
    goldens.compare(VARIANTS, f'{variant}/feat_map', golden.maps(features), relative=relative)
    image = golden.nchw(0.5 * (image + 1))
    goldens.compare(VARIANTS, f'{variant}/image', image, relative=relative)
    assert own


def test_layers_of_a_discriminator(monkeypatch):
  arrays, outputs = goldens.load(JUDGES), []
  state = golden.weights(JUDGES, 'dc32/p/')
  conv = dcgan.conv2d

  def recorded(*args, **options):
    outputs.append(conv(*args, **options))
    return outputs[-1]

  monkeypatch.setattr(dcgan, 'conv2d', recorded)
  fields = giraffe_names.discriminator_fields(state)
  params = giraffe_names.from_official(state, giraffe_names.discriminator_names(fields))
  small = np.moveaxis(arrays['dc32/x_8x8_repeat_to_size'], 1, -1)
  images = 2 * np.repeat(np.repeat(small, 4, axis=1), 4, axis=2) - 1
  DCGANDiscriminator(channels=fields['channels']).apply({'params': params}, images)
  for i in range(3):
    goldens.compare(JUDGES, f'dc32/conv{i}', golden.nchw(outputs[i]), relative=1e-5)


@pytest.mark.parametrize('size', [32, 64, 256])
def test_discriminators(size):
  arrays, prefix = goldens.load(JUDGES), f'dc{size}/'
  state = golden.weights(JUDGES, f'{prefix}p/')
  fields = giraffe_names.discriminator_fields(state)
  names = list(giraffe_names.discriminator_names(fields))
  module = DCGANDiscriminator(channels=fields['channels'])
  params = giraffe_names.from_official(state, names)
  small = np.moveaxis(arrays[f'{prefix}x_8x8_repeat_to_size'], 1, -1)
  unit = np.repeat(np.repeat(small, size // 8, axis=1), size // 8, axis=2)
  images = 2 * unit - 1

  def logits_of(params, images):
    return module.apply({'params': params}, images).logits

  @jax.jit
  def run(params, images):
    logits = logits_of(params, images)
    squares = regularizers.squared_norms(jax.grad(lambda x: logits_of(params, x).sum())(images))
    of_r1 = jax.grad(lambda p: 40 * real_images.real_terms(logits_of, p, images).r1)(params)
    return logits, 4 * squares, of_r1

  logits, squares, of_r1 = run(params, images)
  compare = functools.partial(goldens.compare, JUDGES)
  compare(f'{prefix}logit', logits[:, None], relative=1e-5)
  compare(f'{prefix}grad2_per_image', squares, relative=1e-5)
  for name, x in giraffe_names.to_official(of_r1, names).items():
    compare(f'{prefix}r1_grad/{name}', x, relative=2e-5)
  bce = np.stack([adversarial.real_loss(logits), adversarial.fake_loss(logits)])
  compare(f'{prefix}bce_real_fake', bce, relative=1e-5)


def test_windows_hold_all_that_is_in_a_box():
  rng = np.random.default_rng(1)
  origins = rng.uniform(-2, 2, (200, 3)).astype(np.float32)
  directions = rng.standard_normal((200, 3)).astype(np.float32)
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  half = np.float32([0.3, 0.2, 0.25])
  near, far, num = 0.5, 4.0, 40
  jitter = rng.uniform(-0.5, 0.5, (200, num)) * (far - near) / (num - 1)
  distances = np.clip(np.linspace(near, far, num) + jitter, near, far).astype(np.float32)
  size = composition.window_size(2 * math.sqrt((half**2).sum()), near, far, num)
  assert size < num // 2
  start = composition.window_start(origins / half, directions / half, distances, 1.0, size)
  points = origins[:, None] + distances[..., None] * directions[:, None]
  inside = np.all(np.abs(points) <= half, axis=-1)
  window = composition.to_window(jnp.asarray(inside), start, size)
  assert inside.any() and np.asarray(window).sum() == inside.sum()
  back = composition.from_window(window, start, num)
  np.testing.assert_array_equal(np.asarray(back), inside)
