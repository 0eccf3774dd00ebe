"""Depth and masks against a truth; frames; inversion of photos whose scene is known."""

import functools
import math
import types

import jax
import numpy as np
import pytest
import scenes

from jax3dgan import cameras, trained
from jax3dgan.errors import UserError
from jax3dgan.evaluation import truth
from jax3dgan.inversion import frames
from jax3dgan.rendering import depth_maps

RNG = np.random.default_rng(0)
TRUE = RNG.uniform(0.8, 1.2, (3, 8, 8))
MASK = np.zeros((3, 8, 8), bool)
MASK[:, 2:6, 2:6] = True


def errors(depth, solid=MASK, true=TRUE, mask=MASK):
  values = truth.depth_errors(depth, solid, true, mask)
  return {name.removeprefix('depth/'): value for name, value in values.items()}


def test_the_truth_itself_has_no_error():
  found = errors(np.where(MASK, TRUE, 77.0), true=np.where(MASK, TRUE, np.inf))
  expected = dict(absolute=0, scaled=0, aligned=0, z_mse=0, measured=1)
  assert found == pytest.approx({**expected, 'mask/iou': 1}, abs=1e-12)


def test_what_each_alignment_forgives():
  scaled, shifted = errors(1.25 * TRUE), errors(1.25 * TRUE - 0.3)
  assert scaled['absolute'] == pytest.approx(0.25 * TRUE[MASK].mean())
  assert scaled['scaled'] == pytest.approx(0, abs=1e-9)
  assert shifted['scaled'] > 0.01
  for found in (scaled, shifted):
    assert found['aligned'] == pytest.approx(0, abs=1e-9)
    assert found['z_mse'] == pytest.approx(0, abs=1e-9)


def test_constant_and_inverted_depths():
  deviation = np.mean([TRUE[i][MASK[i]].std() for i in range(3)])
  constant, inverted = errors(np.ones_like(TRUE)), errors(2 - TRUE)
  assert constant['z_mse'] == pytest.approx(1) and inverted['z_mse'] == pytest.approx(4)
  # No scale below zero: inside out is no better than flat.
  assert constant['aligned'] == pytest.approx(deviation) == inverted['aligned']


def test_alignment_is_least_squares():
  depth, true = RNG.normal(size=50), RNG.normal(size=50)
  depth += true
  for shift, columns in ((False, [depth]), (True, [depth, np.ones(50)])):
    matrix = np.stack(columns, -1)
    expected = matrix @ np.linalg.lstsq(matrix, true, rcond=None)[0]
    np.testing.assert_allclose(truth.align(depth, true, shift), expected)


def test_masks():
  shifted = np.roll(MASK, 1, axis=2)
  found = errors(np.where(shifted, TRUE, 5), solid=shifted)
  assert found['mask/iou'] == pytest.approx(12 / 20) and found['absolute'] == 0
  apart = errors(TRUE, solid=~MASK)
  assert apart['mask/iou'] == apart['measured'] == 0 and np.isnan(apart['aligned'])
  one = MASK & (np.arange(3) == 1)[:, None, None]
  assert errors(TRUE, solid=one)['measured'] == pytest.approx(1 / 3)
  with pytest.raises(UserError, match='do not fit'):
    errors(TRUE[:2])
  with pytest.raises(UserError, match='not finite'):
    errors(TRUE, true=np.where(MASK, np.inf, TRUE))


def test_psnr():
  image = np.zeros((2, 4, 4, 3))
  np.testing.assert_allclose(truth.psnr(image, image + np.array([0.2, 0.02])[:, None, None, None]),
                             [20, 40])  # fmt: skip


@pytest.mark.parametrize('mirrored', [False, True])
@pytest.mark.parametrize('yaw', [0.0, 0.7, -2.5])
def test_a_frame_sees_the_same_in_the_other_world(yaw, mirrored):
  """The scene moved into the frame, seen by the frame's camera, is the picture itself."""
  c, s, x = math.cos(yaw), math.sin(yaw), -0.2 if mirrored else 0.2
  move = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
  spheres = [((0.2, 0.1, 0.1), 0.15), ((-0.1, -0.1, 0.0), 0.2)]
  moved = [
    scenes.Sphere(radius, tuple(move @ np.array([x / 0.2 * p[0], p[1], p[2]])))
    for p, radius in spheres
  ]
  scene = [scenes.Sphere(radius, p) for p, radius in spheres]
  camera = scenes.orbit([0.3, -1.2])
  intrinsics = np.array(camera.intrinsics)
  intrinsics[1] = [[1.2, 0.1, 0.45], [0, 1.4, 0.55], [0, 0, 1]]
  camera = cameras.Camera(np.asarray(camera.cam2world), intrinsics)
  frame = frames.Frame(yaw, mirrored)
  expected = scenes.render(scene, camera, 24)[1]
  found = frame.image(scenes.render(moved, frame.camera(camera), 24)[1])
  both = np.isfinite(expected) & np.isfinite(found)
  assert both.sum() > 100 and (np.isfinite(expected) ^ np.isfinite(found)).sum() <= 2
  np.testing.assert_allclose(found[both], expected[both], atol=1e-4)


@pytest.mark.parametrize('frame', [frames.Frame(2.1, True), frames.Frame(-1.0, False)])
def test_the_frame_is_found(monkeypatch, frame):
  """An inversion whose loss says how far the camera is from the frame's."""
  camera = jax.tree.map(np.asarray, scenes.orbit([0.3, -0.8]))
  image = RNG.normal(size=(2, 4, 4, 3))
  right = frame.camera(camera)

  def invert(model, pictures, views, resolution, num_steps, key):
    n = len(pictures) // 2
    far = np.abs(views.cam2world - np.tile(right.cam2world, (n, 1, 1))).sum((1, 2))
    far += np.abs(pictures - np.tile(frame.image(image), (n, 1, 1, 1))).mean((1, 2, 3))
    return types.SimpleNamespace(losses=np.stack([far + 9, far, far, far]))

  monkeypatch.setattr(frames, 'invert', invert)
  found, losses = frames.find_frame(None, image, camera)
  assert losses.shape == (4, 8) and found.mirrored == frame.mirrored
  turn = (found.yaw - frame.yaw + math.pi) % (2 * math.pi) - math.pi
  assert abs(turn) <= math.pi / 64 + 1e-6  # half of the finer step


@functools.cache
def known_photos():
  """Photos of the toys' generator by itself, in a world turned by 2 rad, with their truth."""
  model, frame = trained.load(pretrained='toys'), frames.Frame(2.0)
  w = np.asarray(model.map(model.latents([0, 1])))
  views = []
  for azimuth in (0.4, 1.6):
    camera = model.orbit([azimuth, azimuth + 1])
    out = model.render(w, frame.camera(camera), 16)
    distance, solid = depth_maps.surface(out, model.options(16))
    image = np.uint8(np.round((np.clip(out.image, -1, 1) + 1) * 127.5))
    labels = np.asarray(camera.label())
    views.append([
      dict(image=image[i], label=labels[i], depth=distance[i], mask=solid[i]) for i in range(2)
    ])  # fmt: skip
  return model, frame, [{**a, 'second': b} for a, b in zip(*views, strict=True)]


def test_photos_of_a_known_scene_give_it_back():
  model, frame, examples = known_photos()
  result = truth.measure_by_inversion(model, examples, 30, frame=frame, resolution=16)
  values = result.values
  assert values['frame/yaw_degrees'] == pytest.approx(math.degrees(2.0))
  assert values['inversion/psnr'] > values['second/psnr'] > values['second/psnr_average'] + 2
  assert values['mask/iou'] > 0.85 and values['second/mask/iou'] > 0.75
  assert values['second/depth/z_mse'] < 0.2 and values['second/depth/absolute'] < 0.04
  assert result.sheet.dtype == np.uint8 and '2 photos' in result.protocol
  with pytest.raises(UserError, match='whole pixels'):
    truth.measure_by_inversion(model, examples, 1, frame=frame, resolution=12)


def test_the_toys_come_with_their_truth():
  (example,) = truth.toys_examples(1)
  for view in (example, example['second']):
    assert view['image'].shape == (64, 64, 3) and view['label'].shape == (25,)
    assert np.isfinite(view['depth'][view['mask']]).all() and 0.05 < view['mask'].mean() < 0.6
    white = (view['image'] > 250).all(-1)
    assert (white | view['mask']).mean() > 0.95  # the mask is of this picture
