"""The parts of a search: spaces, poses, distances, measures of quality."""

import math

import jax
import numpy as np
import pytest

from jax3dgan import cameras, generators, trained
from jax3dgan import config as config_lib
from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.feature_networks import lpips
from jax3dgan.inversion import losses, poses, quality, spaces

RNG = np.random.default_rng(0)


@pytest.fixture(scope='module')
def flat_model():
  """An untrained StyleGAN2 of the smallest size, 16²."""
  config = config_lib.base_config()
  config_lib.set_model(config, 'stylegan2')
  config = config_lib.tiny(config)
  generator = generators.create(config)
  params = generators.init_params(generator, jax.random.key(0))
  return trained.Trained(config, generator, {'params': params}, 3, 'flat')


def test_styles_of_a_generator_whose_layers_share_one(flat_model):
  plus, shared = spaces.create(flat_model, 'w+'), spaces.create(flat_model, 'w')
  layers, size = flat_model.average_w.shape
  assert plus.shared and shared.name == 'w'
  assert plus.start(3).shape == (3, layers, size) and shared.start(3).shape == (3, size)
  for space in (plus, shared):
    apply = (flat_model.generator, flat_model.variables)
    start = space.style(*apply, space.start(2))
    np.testing.assert_allclose(start, np.stack([flat_model.average_w] * 2), atol=1e-6)
    moved = space.style(*apply, space.start(1) + RNG.normal(size=space.start(1).shape))
    same = (np.abs(moved - moved[:, :1]) < 1e-5).all()
    assert same == (space.name == 'w')


def test_styles_of_a_generator_whose_layers_differ(tiny_model):
  space = spaces.create(tiny_model, 'w+')
  assert not space.shared
  w = space.style(tiny_model.generator, tiny_model.variables, space.start(2))
  np.testing.assert_allclose(w, np.stack([tiny_model.average_w] * 2), atol=1e-6)
  latent = spaces.create(tiny_model, 'w')
  assert latent.name == 'z' and 'no single one' in spaces.described(tiny_model, latent, 'w')
  z = latent.start(2)
  w = latent.style(tiny_model.generator, tiny_model.variables, z)
  np.testing.assert_allclose(w, tiny_model.map(np.asarray(z), psi=1), atol=1e-6)
  # It begins where the style is nearest to the average, of many.
  far = np.asarray(tiny_model.map(tiny_model.latents(range(50)), psi=1)) - tiny_model.average_w
  near = np.asarray(w[0]) - tiny_model.average_w
  assert (near**2).sum() <= (far**2).sum((1, 2, 3)).min()
  with pytest.raises(UserError, match='Choose one of z, w, w+'):
    spaces.create(tiny_model, 'x')


def test_axes_are_principal_and_as_long_as_their_deviation():
  turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
  rows = RNG.normal(size=(20_000, 3)) * [3, 1, 0.5] @ turn
  axes = spaces._axes(rows)
  np.testing.assert_allclose(axes.T @ axes, rows.T @ rows / len(rows), atol=1e-4)
  np.testing.assert_allclose(np.linalg.norm(axes, axis=1), [3, 1, 0.5], rtol=0.02)
  # Styles never seen along an axis still may move along it, a little.
  flat = spaces._axes(rows * [1, 1, 0])
  lengths = np.linalg.norm(flat, axis=1)
  assert lengths[2] == pytest.approx(1e-2 * lengths[0], rel=1e-4)


def moved(camera, bound=10.0, **pose):
  row = np.zeros((1, 4), np.float32)
  for name, value in pose.items():
    row[0, poses.NUMBERS.index(name)] = value
  return jax.tree.map(np.asarray, poses.move(camera, row, bound))


def test_yaw_and_pitch_go_along_the_orbit():
  camera = cameras.orbit(np.float32([0.4]), np.float32([0.2]), 1.3, 30)
  np.testing.assert_allclose(moved(camera).cam2world, camera.cam2world, atol=1e-6)
  expected = cameras.orbit(np.float32([0.4 + 2.1]), np.float32([0.2]), 1.3, 30)
  np.testing.assert_allclose(moved(camera, yaw=2.1).cam2world, expected.cam2world, atol=1e-5)
  expected = cameras.orbit(np.float32([0.4 - 1.0]), np.float32([0.2 + 0.3]), 1.3, 30)
  raw = 10 * math.atanh(0.03)
  found = moved(camera, yaw=-1.0, pitch=raw)
  np.testing.assert_allclose(found.cam2world, expected.cam2world, atol=1e-5)
  azimuth, elevation = poses.angles(found)
  np.testing.assert_allclose([azimuth[0], elevation[0]], np.degrees([-0.6, 0.5]), atol=1e-3)
  turned = poses.turned(camera, [0.0, 1.0])
  expected = cameras.orbit(np.float32([0.4, 1.4]), 0.2, 1.3, 30)
  np.testing.assert_allclose(turned.cam2world, expected.cam2world, atol=1e-5)


def test_pitch_and_distance_have_bounds():
  camera = cameras.orbit(np.zeros(1, np.float32), np.zeros(1, np.float32))
  _, elevation = poses.angles(moved(camera, bound=0.3, pitch=50.0))
  assert elevation[0] == pytest.approx(math.degrees(0.3), abs=1e-3)
  near, far = moved(camera, distance=-50.0), moved(camera, distance=50.0)
  assert np.linalg.norm(near.origin) == pytest.approx(math.exp(-0.3), rel=1e-4)
  assert np.linalg.norm(far.origin) == pytest.approx(math.exp(0.3), rel=1e-4)


def test_roll_turns_the_image_clockwise_about_its_middle():
  camera = cameras.orbit(np.zeros(1, np.float32), np.float32([0.3]), 1.0, 30)
  rolled = moved(camera, roll=0.2)
  np.testing.assert_allclose(rolled.origin, camera.origin, atol=1e-6)
  points = np.float32([[[0, 0, 0], [0, 0.2, 0], [0.1, 0, 0]]])
  before, depth = cameras.project(camera, points)
  after, depth_after = cameras.project(rolled, points)
  np.testing.assert_allclose(depth, depth_after, atol=1e-6)
  # u right, v down: clockwise takes what is above to the right.
  turn = np.float32([[math.cos(0.2), math.sin(0.2)], [-math.sin(0.2), math.cos(0.2)]])
  np.testing.assert_allclose(after - 0.5, (np.asarray(before) - 0.5) @ turn, atol=1e-5)


def test_the_motion_between_two_photos_is_that_of_their_labels():
  turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
  motion = np.eye(4)
  motion[:3, :3], motion[:3, 3] = turn * np.sign(np.linalg.det(turn)), [0.1, -0.2, 0.3]
  first, second = (cameras.orbit(np.float32([a]), np.float32([e])) for a, e in ((0, 0), (2, 0.4)))
  found = Camera(np.float32(motion @ np.asarray(first.cam2world)), first.intrinsics)
  result = poses.follow(found, first, second)
  np.testing.assert_allclose(result.cam2world, motion @ np.asarray(second.cam2world), atol=1e-5)


def test_starts_suit_the_pose_prior(tiny_model):
  np.testing.assert_allclose(poses.starts(tiny_model, 4), [0, math.pi / 2, math.pi, 1.5 * math.pi])
  narrow = tiny_model.with_params(tiny_model.params, 1)
  narrow.yaw_half_range = 0.6
  np.testing.assert_allclose(poses.starts(narrow, 3), [-0.4, 0, 0.4])
  np.testing.assert_allclose(poses.starts(narrow, 1), [0])
  assert 0.1 <= poses.bounds(tiny_model).pitch <= 0.6


def test_what_a_pose_prior_says_of_yaw(tiny_model):
  views = tiny_model.orbit(np.float32([0.0, 0.3, -0.6]))
  np.testing.assert_array_equal(poses.bounds(tiny_model).unlikelihood(views), 0)  # all round
  normal = tiny_model.with_params(tiny_model.params, 1)
  normal.pose_prior = cameras.pose_prior('gaussian', yaw_mean=math.pi / 2, yaw_std=0.3)
  expected = poses.bounds(normal).unlikelihood(views)
  np.testing.assert_allclose(expected, [0, 1, 4], atol=1e-5)


def test_the_pyramid_of_known_differences():
  a = RNG.normal(size=(2, 16, 16, 3)).astype(np.float32)
  np.testing.assert_allclose(losses.pyramid(a, a), 0)
  np.testing.assert_allclose(losses.pyramid(a, a + np.float32(0.3)), 0.09, rtol=1e-4)
  # Of a checkerboard nothing is left above the first of three levels.
  board = np.indices((16, 16)).sum(0) % 2 * 2.0 - 1
  board = np.float32(0.1 * board)[None, :, :, None] * np.ones((2, 1, 1, 3), np.float32)
  np.testing.assert_allclose(losses.pyramid(a, a + board), (0.01 + 0.04 + 0.04) / 3, rtol=1e-3)
  four = np.float32([[1, 3], [5, 7]]).reshape(1, 2, 2, 1)
  assert losses.halved(four).item() == 4


CHANNELS = (2, 3, 2, 3, 2)


def vgg_arrays():
  """The names and shapes of torchvision's and LPIPS's files, few channels, random numbers."""
  arrays, channels = {}, 3
  for i, (block, features) in enumerate(zip(lpips.BLOCKS, CHANNELS, strict=True)):
    for place in block:
      shape = (features, channels, 3, 3)
      arrays[f'features.{place}.weight'] = RNG.normal(size=shape).astype(np.float32)
      arrays[f'features.{place}.bias'] = RNG.normal(size=features).astype(np.float32)
      channels = features
    arrays[f'lin{i}.model.1.weight'] = RNG.uniform(size=(1, features, 1, 1)).astype(np.float32)
  return arrays


def reference_lpips(arrays, a, b):
  """LPIPS in plain loops, float64."""

  def maps(x):
    x = (x - lpips.SHIFT) / lpips.SCALE
    for i, block in enumerate(lpips.BLOCKS):
      if i:
        h, w = x.shape[0] // 2, x.shape[1] // 2
        x = np.max([x[r : 2 * h : 2, c : 2 * w : 2] for r in (0, 1) for c in (0, 1)], axis=0)
      for place in block:
        kernel = arrays[f'features.{place}.weight'].astype(np.float64)
        padded, total = np.pad(x, ((1, 1), (1, 1), (0, 0))), 0
        for r in range(3):
          for c in range(3):
            window = padded[r : r + x.shape[0], c : c + x.shape[1]]
            total = total + window @ kernel[:, :, r, c].T
        x = np.maximum(total + arrays[f'features.{place}.bias'], 0)
      yield x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-10)

  total = 0
  for i, (x, y) in enumerate(zip(maps(a), maps(b), strict=True)):
    total += ((x - y) ** 2 @ arrays[f'lin{i}.model.1.weight'].reshape(-1)).mean()
  return total


def test_lpips_is_what_its_paper_says(tmp_path):
  arrays = vgg_arrays()
  layers = {key: value for key, value in arrays.items() if key.startswith('features')}
  np.savez(tmp_path / 'vgg.npz', **layers)
  np.savez(tmp_path / 'heads.npz', **{k: v for k, v in arrays.items() if k not in layers})
  # One file with the names of the release's module gives the same as two.
  sliced = {k.replace('features', 'net.slice1'): v for k, v in arrays.items()}
  np.savez(tmp_path / 'both.npz', **sliced)
  a, b = RNG.uniform(-1, 1, (2, 2, 16, 16, 3))
  expected = [reference_lpips(arrays, *pair) for pair in zip(a, b, strict=True)]
  for files in (f'{tmp_path}/vgg.npz,{tmp_path}/heads.npz', f'{tmp_path}/both.npz'):
    chosen = losses.choose('auto', files)
    assert chosen.kind == 'lpips'
    target = chosen.features(b.astype(np.float32))
    np.testing.assert_allclose(chosen.distance(a.astype(np.float32), target), expected, rtol=2e-3)
  with pytest.raises(UserError, match='lin0 .*--lpips='):
    losses.choose('lpips', f'{tmp_path}/vgg.npz')
  with pytest.raises(UserError, match='features.0 of VGG-16 is missing'):
    losses.choose('lpips', f'{tmp_path}/heads.npz')
  with pytest.raises(UserError, match='does not exist'):
    losses.choose('lpips', f'{tmp_path}/none.npz')
  (tmp_path / 'broken.npz').write_bytes(b'PK')
  with pytest.raises(UserError, match='damaged or no npz'):
    losses.choose('lpips', f'{tmp_path}/broken.npz')


def test_lpips_has_gradients_where_nothing_is_active(tmp_path):
  arrays = {k: v * 0 for k, v in vgg_arrays().items()}
  np.savez(tmp_path / 'both.npz', **arrays)
  chosen = losses.choose('lpips', f'{tmp_path}/both.npz')
  a = RNG.uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
  gradient = jax.jit(jax.grad(lambda x: chosen.distance(x, chosen.features(a)).sum()))
  assert np.isfinite(gradient(a)).all()


def test_which_perceptual_loss(monkeypatch):
  monkeypatch.delenv('JAX3DGAN_INCEPTION', raising=False)
  monkeypatch.delenv('JAX3DGAN_LPIPS', raising=False)
  assert losses.choose().kind == 'pyramid' and 'no weights' in losses.choose().name
  assert losses.choose('none').kind == 'none'
  with pytest.raises(UserError, match='--lpips=FILE'):
    losses.choose('lpips')
  with pytest.raises(UserError, match='Choose one of auto, lpips'):
    losses.choose('vgg')
  monkeypatch.setenv('JAX3DGAN_INCEPTION', '/nowhere.npz')
  with pytest.raises(UserError, match='nowhere.npz does not exist'):
    losses.choose()


def test_the_inception_tells_images_apart():
  from jax3dgan.feature_networks import inception_layers

  table = inception_layers.layers(768)
  params = {
    name: {
      'kernel': RNG.normal(size=table[name].shape, scale=0.1).astype(np.float32),
      'bias': np.zeros(table[name].features, np.float32),
    }
    for name in losses._INCEPTION_LAYERS
  }
  chosen = losses.Perceptual(params, 'inception', '')
  a = RNG.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
  target = chosen.features(a)
  np.testing.assert_allclose(chosen.distance(a, target), 0, atol=1e-6)
  little, much = chosen.distance(0.9 * a, target), chosen.distance(-a, target)
  assert (little > 0).all() and (much > little).all()


def ssim_of_windows(a, b):
  """SSIM [n] of images [n, h, w, c] in [0, 1], each window's weighted sums as they are defined."""
  distance = np.arange(-5, 6)
  weights = np.exp(-(distance**2) / (2 * 1.5**2))
  weights = np.outer(weights, weights) / weights.sum() ** 2
  a, b = (np.lib.stride_tricks.sliding_window_view(x, (11, 11), (1, 2)) for x in (a, b))

  def mean(x):
    return (weights * x).sum((-2, -1))

  mean_a, mean_b = mean(a), mean(b)
  a, b = a - mean_a[..., None, None], b - mean_b[..., None, None]
  luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
  structure = (2 * mean(a * b) + 0.03**2) / (mean(a**2) + mean(b**2) + 0.03**2)
  return (luminance * structure).mean((1, 2, 3))


def test_psnr_and_ssim():
  a = RNG.uniform(-1, 1, (2, 24, 24, 3))
  np.testing.assert_allclose(quality.psnr(a, a + 0.2), 20)
  np.testing.assert_allclose(quality.ssim(a, a), 1)
  b = a + RNG.normal(size=a.shape, scale=0.3)
  np.testing.assert_allclose(
    quality.ssim(a, b), ssim_of_windows((a + 1) / 2, (b + 1) / 2), atol=1e-9
  )
  assert np.isfinite(quality.ssim(a[:, :8, :8], b[:, :8, :8])).all()


def test_ssim_is_that_of_scikit_image():
  measure = pytest.importorskip('skimage.metrics').structural_similarity
  a, b = RNG.uniform(size=(2, 2, 24, 24, 3))
  b = 0.7 * a + 0.3 * b
  expected = [
    measure(
      *pair,
      channel_axis=-1,
      data_range=1,
      gaussian_weights=True,
      sigma=1.5,
      use_sample_covariance=False,
    )
    for pair in zip(a, b, strict=True)
  ]
  np.testing.assert_allclose(quality.ssim(2 * a - 1, 2 * b - 1), expected, atol=1e-6)
