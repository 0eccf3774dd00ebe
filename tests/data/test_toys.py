"""The toys: tracer against closed forms, images against cameras, the cache against accidents."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax3dgan import cameras
from jax3dgan.data import images, records
from jax3dgan.data.builders.toys import car as cars
from jax3dgan.data.builders.toys import generate, scene
from jax3dgan.rendering import rays

_NUM = 6
# One shape each, so that each is compiled once.
_distance = jax.jit(cars.distance)  # Of [4096] points.
_sample_car = jax.jit(cars.sample_car)
_sample_camera = jax.jit(scene.sample_camera)


@pytest.fixture(scope='module')
def pairs(tmp_path_factory):
  """Image, label and truth of the images of the split test."""
  shards = records.Shards(generate.ensure('test', tmp_path_factory.mktemp('cache'), _NUM))
  read = [shards.read(i) for i in range(_NUM)]
  shards.close()
  return [(images.decode(r.image), r.label, generate.truth(r.features)) for r in read]


def _car(seed, **changes):
  return _sample_car(jax.random.key(seed))._replace(**changes)


@jax.jit
def _camera(azimuth, elevation):
  return cameras.orbit(azimuth, elevation, scene.RADIUS, scene.FOV_DEGREES)


def _points(label, depth):
  """World points [64, 64, 3] at a depth along the rays of a label's camera."""
  bundle = rays.camera_rays(cameras.from_label(label), scene.RESOLUTION)
  shape = (scene.RESOLUTION, scene.RESOLUTION, 3)
  origins, directions = (np.asarray(a).reshape(shape) for a in (bundle.origins, bundle.directions))
  return origins + np.where(np.isfinite(depth), depth, 1.0)[..., None] * directions


# The tracer and the shapes


def test_trace_of_a_sphere_is_the_closed_form():
  centre, radius = np.array([0.05, -0.08, 0.1]), 0.3
  bundle = rays.camera_rays(_camera(0.7, 0.4), 32)
  o, d = np.asarray(bundle.origins, np.float64), np.asarray(bundle.directions, np.float64)

  def sphere(x, y, z):
    return jnp.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) - radius

  trace = jax.jit(
    lambda o, d: scene.trace(sphere, (0.45,) * 3, tuple(o), tuple(d), num_steps=40, tolerance=1e-3)
  )
  depth, mask = trace(bundle.origins.T, bundle.directions.T)
  along = -((o - centre) * d).sum(-1)
  inside = radius**2 - ((o + along[:, None] * d - centre) ** 2).sum(-1)
  # Rays that touch the sphere within the tracer's tolerance may count as either.
  clear = np.abs(inside) > 2 * radius * 0.003
  np.testing.assert_array_equal(np.asarray(mask)[clear], (inside > 0)[clear])
  met = clear & (inside > 0)
  assert met.sum() > 200
  np.testing.assert_allclose(
    np.asarray(depth)[met], (along - np.sqrt(np.abs(inside)))[met], atol=2e-3
  )


def test_trace_finds_the_first_surface_of_cars():
  """Against a dense march: nothing is stepped over, nothing is met too early."""
  ticks = jnp.linspace(scene.NEAR, scene.FAR, 700)

  @jax.jit
  def march(car, camera):
    bundle = rays.camera_rays(camera, scene.RESOLUTION)
    p = bundle.origins[:, None] + ticks[:, None] * bundle.directions[:, None]
    inside = cars.distance(car, p[..., 0], p[..., 1], p[..., 2]) < 0
    return jnp.where(inside.any(-1), ticks[jnp.argmax(inside, -1)], jnp.inf)

  for seed in range(3):
    camera = _sample_camera(jax.random.key(100 + seed))
    expected = np.asarray(march(_car(seed), camera)).reshape(64, 64)
    depth, mask = map(np.asarray, scene.render_truth(_car(seed), camera))
    # They may differ at silhouettes, where a ray only touches the car.
    assert np.mean(np.isfinite(expected) != mask) < 0.003
    both = mask & np.isfinite(expected)
    assert np.mean(np.abs(depth[both] - expected[both]) < 0.003) > 0.995


def test_cars_are_within_their_bounds():
  grid = np.stack(np.meshgrid(*[np.linspace(-0.52, 0.52, 16)] * 3), -1).reshape(-1, 3)
  for seed in range(4):
    car = _car(seed)
    distance = np.asarray(_distance(car, *jnp.asarray(grid, jnp.float32).T))
    half = np.array([float(h) for h in cars.extent(car)])
    assert np.all(distance[np.linalg.norm(grid, axis=-1) > cars.BOUND] > 0)
    assert np.all(distance[np.any(np.abs(grid) > half, -1)] > 0)


# Images and their cameras


def test_no_view_is_cropped_and_depth_is_between_near_and_far(pairs):
  for _, _, truth in pairs:
    for view in (truth, truth['second']):
      depth, mask = view['depth'], view['mask']
      np.testing.assert_array_equal(np.isfinite(depth), mask)
      assert scene.NEAR < depth[mask].min() and depth[mask].max() < scene.FAR
      assert 0.12 < mask.mean() < 0.6
  for image, _, _ in pairs:
    frame = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    assert np.all(frame == 255)


def test_longest_car_fits_into_the_closest_views():
  largest = {name: jnp.float32(high) for name, (_, high) in cars._RANGES.items()}
  car = _car(0, **largest)
  for azimuth in np.linspace(0, 2 * np.pi, 8, endpoint=False):
    for degrees in scene.ELEVATION_DEGREES:
      camera = _camera(azimuth, math.radians(degrees))
      mask = np.asarray(scene.render_truth(car, camera)[1])
      assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def test_mask_is_the_silhouette_in_the_image(pairs):
  for image, _, truth in pairs:
    white = np.all(image == 255, -1)
    # At the centre of a pixel there may be car where its four samples have none, and vice versa.
    assert np.mean(white == truth['mask']) < 0.04


def test_points_at_the_true_depth_are_on_the_car(pairs):
  for i, (_, label, truth) in enumerate(pairs):
    car, _ = generate._draw(generate._key('test'), i)
    points = _points(label, truth['depth']).reshape(-1, 3)
    distance = np.asarray(_distance(car, *points.T))
    assert np.abs(distance[truth['mask'].ravel()]).max() < 6e-4


def test_second_view_shows_the_same_car(pairs):
  """Points of the first view, projected into the second, are at its depth or behind it."""
  differences = []
  for image, label, truth in pairs:
    second = truth['second']
    points = _points(label, truth['depth'])[truth['mask']]
    cam2world = second['label'][:16].reshape(4, 4)
    local = (points - cam2world[:3, 3]) @ cam2world[:3, :3]
    uv = local[:, :2] / local[:, 2:] * second['label'][16] + 0.5
    column, row = (uv * 64).astype(int).T
    assert min(column.min(), row.min()) >= 0 and max(column.max(), row.max()) <= 63
    distance = np.linalg.norm(local, axis=-1)
    # A point beside the centre of its pixel may be on what a neighbour shows.
    padded = np.pad(second['depth'], 1, constant_values=np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).min((-1, -2))
    assert np.mean(distance < around[row, column] - 0.01) < 0.01
    gap = distance - second['depth'][row, column]
    seen = np.abs(gap) < 0.01
    colours = image[truth['mask']][seen].astype(int), second['image'][row, column][seen].astype(int)
    differences.append(np.abs(colours[0] - colours[1]).mean(-1))
  differences = np.concatenate(differences)
  assert len(differences) > 500
  assert np.median(differences) < 6  # Of 255: diffuse, with a light that stays in the world.


def test_label_renders_the_same_image_again(pairs):
  for i, (image, label, _) in enumerate(pairs[:2]):
    car, views = generate._draw(generate._key('test'), i)
    np.testing.assert_array_equal(label, views[0][1])
    again = np.asarray(scene.render(car, cameras.from_label(label))).astype(int)
    assert np.abs(again - image).max() <= 1


def test_cameras_follow_the_stated_prior():
  labels = jax.jit(jax.vmap(lambda key: scene.sample_camera(key).label()))(
    jax.random.split(jax.random.key(5), 4000)
  )
  x, y, z = np.asarray(labels)[:, [3, 7, 11]].T
  np.testing.assert_allclose(np.sqrt(x * x + y * y + z * z), scene.RADIUS, rtol=1e-5)
  yaw, pitch = np.arctan2(z, x), np.arccos(y / scene.RADIUS)
  prior = scene.POSE_PRIOR
  for angle, mean, half in (
    (np.angle(np.exp(1j * (yaw - prior['yaw_mean']))), 0.0, prior['yaw_std']),
    (pitch, prior['pitch_mean'], prior['pitch_std']),
  ):
    low, high = mean - half, mean + half
    assert low - 1e-5 <= angle.min() and angle.max() <= high + 1e-5
    # Uniform: the largest gap to its distribution function is below Kolmogorov's 1.95 / sqrt(n).
    gap = np.abs(np.sort((angle - low) / (high - low)) - (np.arange(4000) + 0.5) / 4000)
    assert gap.max() < 1.95 / math.sqrt(4000)


# What the class of objects offers


def test_front_has_yellow_lights_and_back_has_red_ones():
  blue = tuple(jnp.float32(v) for v in (0.1, 0.3, 0.9))
  car = _car(3, colour=blue, roof_colour=blue)

  def count(azimuth):
    image = scene.render(car, _camera(azimuth, 0.3))
    red, green, other = np.asarray(image).astype(int).transpose(2, 0, 1)
    yellow = (red > 130) & (green > 110) & (other < 0.75 * green)
    return yellow.sum(), ((red > 110) & (green < 0.4 * red)).sum()

  front_yellow, front_red = count(0.0)
  back_yellow, back_red = count(math.pi)
  assert front_yellow > 25 and front_red == 0
  assert back_red > 25 and back_yellow == 0


def test_front_is_on_the_side_of_positive_z_and_slopes():
  """The bonnet is lower than the boot, and the cabin stands towards the back."""
  for seed in range(3):
    car = _car(seed)
    z = 0.9 * np.asarray(car.half_length)
    heights = np.linspace(-0.3, 0.3, 4096, dtype=np.float32)
    zeros = np.zeros_like(heights)
    front, back = (
      heights[np.asarray(_distance(car, zeros, heights, zeros + s * z)) < 0] for s in (1, -1)
    )
    assert float(front.max()) < float(back.max()) - 0.01


def test_shapes_and_colours_vary():
  drawn = jax.jit(jax.vmap(cars.sample_car))(jax.random.split(jax.random.key(9), 500))
  for name, (low, high) in cars._RANGES.items():
    values = np.asarray(getattr(drawn, name))
    assert low <= values.min() < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < values.max() <= high
  colours = np.stack(drawn.colour, -1)
  assert colours.min() >= 0 and colours.max() <= 1
  largest = np.bincount(colours.argmax(-1), minlength=3) / 500
  assert largest.min() > 0.25  # As many reddish as greenish and bluish cars.
  assert len(np.unique(colours.round(4), axis=0)) == 500
