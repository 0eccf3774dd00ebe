"""Pose directions of generators whose answer is known, and what turning reports."""

import math
import types

import numpy as np
import pytest
import standin

from jax3dgan import viz
from jax3dgan.errors import UserError
from jax3dgan.evaluation import pose_direction, turning

SLOPE = 0.5  # radians of azimuth per unit of z


def pure():
  """Azimuth and identity are different latents: one direction turns and changes nothing else."""
  return standin.Generator(lambda z: SLOPE * z[:, 0], lambda z: z[:, 2:6])


def tangled():
  """The latent that turns is the first of four numbers of the identity: no direction is pure."""
  return standin.Generator(lambda z: SLOPE * z[:, 0], lambda z: z[:, :4])


def turntable():
  """The azimuth is the angle of two latents, all the way round; identity is the others."""
  return standin.Generator(lambda z: np.arctan2(z[:, 0], z[:, 1]), lambda z: z[:, 2:6])


def measure(model, **options):
  options = dict(num_latents=48, num_steps=97, num_fit=384) | options
  return pose_direction.measure(model, standin.probes(), **options)


def test_a_pure_direction_is_found_and_costs_no_identity():
  values = measure(pure()).values
  assert values['turn/share_60'] == values['turn/share_90'] == 1
  assert values['turn/identity_60'] < 0.02
  assert values['turn/error_60'] < 2
  assert values['turn/reach_degrees'] > 250
  # R² of the best line for sine and cosine of a normal angle of standard deviation SLOPE.
  square = SLOPE**2
  explained = square * math.exp(-square)
  variance = 1 - math.exp(-square)  # of sine and cosine together
  assert values['turn/readable'] == pytest.approx(explained / variance, abs=0.03)


def test_an_entangled_generator_pays_what_its_own_model_says():
  values = measure(tangled()).values
  # A turn by θ moves one of four unit normals by θ / SLOPE; two objects differ by 2 · 4.
  for degrees in (30, 60, 90):
    expected = (math.radians(degrees) / SLOPE) ** 2 / 8
    assert values[f'turn/identity_{degrees}'] == pytest.approx(expected, rel=0.25)
  # Half of two objects' distance is spent after so many degrees, on both sides.
  limit = 2 * math.degrees(SLOPE * math.sqrt(turning.KEPT * 8))
  assert values['turn/reach_degrees'] == pytest.approx(limit, rel=0.15)


def test_a_full_circle_needs_more_than_one_direction():
  model, probes = turntable(), standin.probes()
  found = pose_direction.find(model, probes, num_fit=512, num_scored=24, num_steps=33)
  best_score, best = found.ranking[0]
  assert 'rotation' in best.name
  assert best_score > 0.95
  # A straight line in the plane of the two latents sees less than half a circle.
  z = model.latents(range(5000, 5048))
  azimuth = model.azimuth(z)
  directions = {(d.space.name, d.name): d for _, d in found.ranking}
  line, circle, rotation = (
    pose_direction.traverse(model, probes, directions['w', name], z, model.map(z), azimuth, 97)
    for name in ('ridge, sine', 'ridge, circle x1', 'ridge, rotation')
  )
  assert 150 < np.median(line.reach()) < 181
  assert np.median(circle.reach()) > 250
  assert np.median(rotation.reach()) > 340
  values = measure(model).values
  assert values['turn/identity_90'] < 0.05 and values['turn/share_90'] > 0.9


def test_the_conditional_direction_frees_what_ridge_mixes():
  """Identity that leaks into the azimuth's best predictor, but not necessarily into its turning."""

  def azimuth(z):
    return 0.35 * (z[:, 0] + z[:, 2])  # z2 is identity: z0 alone can turn without it

  model, probes = standin.Generator(azimuth, lambda z: z[:, 2:6]), standin.probes()
  found = pose_direction.find(model, probes, num_fit=768, num_scored=24, num_steps=33)
  scores = {(d.space.name, d.name): s for s, d in found.ranking}
  assert scores['w', 'conditional, sine'] > scores['w', 'ridge, sine'] + 0.03
  assert scores['w', 'conditional, sine'] > 0.95


def test_layers_are_tried_apart():
  """Only the first two layers turn; the others hold the identity, in the same coordinates."""
  model = standin.Generator(None, None, num_layers=6)

  def render(w, camera):
    w = np.asarray(w, np.float64)
    image = standin.draw(SLOPE * w[:, :2, 0].mean(1), w[:, 2:, :4].mean(1))
    return types.SimpleNamespace(image=image)

  model.render = render
  found = pose_direction.find(model, standin.probes(), num_fit=512, num_scored=24, num_steps=33)
  assert found.ranking[0][1].space.name == 'w, layers 0–1'
  assert found.ranking[0][0] > 0.95
  whole = max(s for s, d in found.ranking if d.space.name == 'w')
  assert whole < found.ranking[0][0] - 0.03


def test_the_same_seed_gives_the_same_figures():
  assert measure(pure(), num_fit=256).values == measure(pure(), num_fit=256).values


def test_boundary_is_the_normal_of_two_normals():
  rng = np.random.default_rng(0)
  side = rng.random(4000) < 0.5
  normal = np.array([1.0, -2.0, 0.5])
  x = rng.standard_normal((4000, 3)) + np.where(side, 1, -1)[:, None] * normal / 2
  found = pose_direction.boundary(x - x.mean(0), side)
  cosine = found @ normal / np.linalg.norm(found) / np.linalg.norm(normal)
  assert cosine > 0.995


def test_ridge_finds_the_weights_of_a_linear_model():
  rng = np.random.default_rng(0)
  x, weights = rng.standard_normal((2000, 5)), rng.standard_normal((5, 2))
  y = x @ weights + 0.1 * rng.standard_normal((2000, 2))
  np.testing.assert_allclose(pose_direction.ridge(x, y), weights, atol=0.02)


# Turning


def path(degrees, change):
  """A Traversal with turns [l, s] and with embeddings that are `change` [l, s] away."""
  degrees = np.asarray(degrees, float)
  far = np.zeros((*degrees.shape, 2))
  # Starts of two kinds, so that the mean squared distance of two is known: 2 · var = 1.
  far[::2, :, 0] += 1 / math.sqrt(2 * np.var(np.arange(len(degrees)) % 2, ddof=1))
  far[..., 1] = np.sqrt(change)
  grid = np.arange(degrees.shape[1]) - degrees.shape[1] // 2
  return turning.Traversal(grid, np.radians(degrees + 170), far)  # across the wrap


def test_turn_and_change_count_from_the_start():
  t = path([[-40, -20, 0, 20, 40]] * 4, [[0.4, 0.1, 0, 0.1, 0.4]] * 4)
  np.testing.assert_allclose(t.turn[0], [-40, -20, 0, 20, 40], atol=1e-9)
  np.testing.assert_allclose(t.change[1], [0.4, 0.1, 0, 0.1, 0.4], atol=1e-12)
  assert t.identity_change(20) == pytest.approx(0.1)
  assert t.share(40) == 1 and t.share(60) == 0 and math.isnan(t.identity_change(60))
  np.testing.assert_allclose(t.reach(), 80)
  assert t.calibrated_error(40) == pytest.approx(0, abs=1e-9)
  # Of 15, 30, 60, 90°, none but the first two is come near to: by the steps of 20° and of 40°.
  assert t.score() == pytest.approx((0.9 + 0.9) / 4)


def test_reach_ends_where_identity_does_and_where_an_object_jumps():
  t = path([[-50, -25, 0, 25, 50], [-150, -25, 0, 25, 50]], [[0.6, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
  np.testing.assert_allclose(t.reach(), [75, 75])


def test_an_angle_that_is_jumped_over_is_not_reached():
  t = path([[0, 0, 0, 5, 170], [0, 0, 0, 30, 62]], np.zeros((2, 5)))
  np.testing.assert_array_equal(t.at(60), [-1, 4])


def test_a_flip_is_no_turn():
  t = path([[-65, -20, 0, 90, 60], [90, 60, 0, 50, 90]], np.zeros((2, 5)))
  np.testing.assert_array_equal(t.followed, [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
  np.testing.assert_array_equal(t.at(60), [0, 1])
  np.testing.assert_array_equal(t.at(90), [-1, 0])


def test_calibrated_error_is_the_spread_of_one_setting():
  t = path([[0, 0, 0, 20], [0, 0, 0, 40]], np.zeros((2, 4)))
  assert t.calibrated_error(30) == pytest.approx(10)
  assert math.isnan(t.calibrated_error(60))


def test_a_camera_turns_its_object(tiny_model):
  """By the camera: the model is rendered from start + grid, in that order."""
  start, grid = np.array([0.3, -2.0]), np.array([-90.0, 0.0, 90.0])
  w = tiny_model.map(tiny_model.latents([0, 1]), 1.0)
  probes = standin.probes()
  probes.pose = lambda images: np.ones((len(images), 3))
  probes.embedding = lambda images: np.asarray(images, float).reshape(len(images), -1)
  got = turning.by_camera(tiny_model, probes, w, start, grid)
  alone = tiny_model.render(w[1:], tiny_model.orbit(start[1] + math.pi / 2)).image
  difference = got.images[1, 2].astype(int) - viz.to_uint8(alone)[0]
  assert np.abs(difference).max() <= 1  # batches of another size round otherwise


def test_without_an_embedding_nothing_is_measured():
  probes = standin.probes()
  probes.embedding = None
  result = pose_direction.measure(pure(), probes)
  assert not result.values and 'embedding' in result.skipped
  with pytest.raises(UserError, match='embedding'):
    pose_direction.find(pure(), probes)
