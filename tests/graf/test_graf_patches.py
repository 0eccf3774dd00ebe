"""GRAF's patches and schedules."""

import functools

import golden_graf as golden
import goldens
import jax
import numpy as np
import x64

from jax3dgan import cameras
from jax3dgan.rendering import patches
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.training import schedule

FILE = 'graf/sampling'
compare = functools.partial(goldens.compare, FILE)


def scales(images, least, decay):
  return np.asarray(patches.least_scale(images, least, 1.0, decay, 8000))


def test_the_least_scale_falls_with_the_images_seen():
  images = 8 * goldens.load(FILE)['anneal/iteration']
  for name, least, rate in (
    ('carla', 0.25, 0.0025),
    ('celebAHQ', 0.125, 0.0019),
    ('noanneal', 0.25, 0),
  ):
    low = np.broadcast_to(scales(images, least, 3 * rate), images.shape)
    compare(f'anneal/{name}_scale_lo_hi', np.stack([low, np.ones(len(low))], 1), atol=1e-6)


def test_photos_are_cropped_as_fakes():
  arrays = goldens.load(FILE)
  u = arrays['patch/draw_u'].astype(np.float64)
  least = float(scales(8 * arrays['patch/iteration'], 0.25, 0.0075))
  scale = least + (1 - least) * u[:, 0]
  compare('patch/scale', scale[:, None], atol=1e-7)
  photos = arrays['patch/images'].transpose(0, 2, 3, 1).astype(np.float64)
  camera = golden.camera(np.broadcast_to(np.eye(3, 4), (3, 3, 4)), 20)

  @x64.jit
  def run(scale, offset, photos, camera):
    places = patches.place(scale, offset, 6, 20)
    rays = rays_lib.camera_rays(patches.cameras_of(camera, places), 6)
    return patches.photos_of(photos, places, 6), rays.directions

  offset = golden.offsets(u, arrays['patch/draw_sign_bit'])
  # The scale as the release has it, in double precision: ours follows from a float32.
  cropped, directions = run(arrays['patch/scale'][:, 0], offset, photos, camera)
  compare('patch/pixels_flat', golden.rows(cropped.reshape(3, 36, 3)), relative=1e-10)
  # The grid, by the rays of the patch's camera: their place on the image.
  focal = np.asarray(camera.intrinsics)[0, 0, 0]
  d = directions[..., golden.BACK] @ np.eye(3)
  pixels = np.stack([d[..., 0], -d[..., 1]], -1) / -d[..., 2:] * focal * 20 + 10
  compare('patch/grid', (2 * pixels / 19 - 1).reshape(3, 6, 6, 2), relative=1e-10)


def test_cameras_on_the_sphere():
  arrays = goldens.load(FILE)
  yaw, pitch = golden.angles(arrays['sphere/u'], arrays['sphere/v'])
  pose = golden.pose_of(cameras.from_yaw_pitch(yaw.astype(np.float32), pitch.astype(np.float32)))
  compare('sphere/loc', pose[..., 3], atol=1e-6)
  # Near the pole float32 knows the pitch to 1e-7 of 1e-2.
  compare('sphere/look_at', pose[..., :3], atol=1e-5)
  compare('sphere/azimuth_deg', np.degrees(np.pi / 2 - yaw), atol=1e-6)
  compare('sphere/polar_deg', np.degrees(pitch), atol=1e-6)


def test_turntables():
  arrays = goldens.load(FILE)
  polar = arrays['render_poses/rotation_polar_deg']
  azimuth = np.maximum(np.arange(8) / 8 * 2 * np.pi, np.radians(0.1))  # as the release has it
  ours = cameras.orbit(azimuth, np.pi / 2 - np.radians(polar), 10.0)
  compare('render_poses/rotation_N8', golden.pose_of(ours), relative=1e-6)
  compare('render_poses/rotation_polar_deg', np.asarray(42.5), atol=1e-9)  # the mean of 0 and 85
  elevation = np.pi / 2 - np.radians(np.maximum(np.linspace(0, 85, 7)[:-1], 0.1))
  ours = cameras.orbit(np.pi, elevation, 10.0)
  compare('render_poses/elevation_N6_azimuth180', golden.pose_of(ours), relative=1e-4)


def test_the_density_noise_falls_to_nothing():
  """In the release it stays at 2e-4, and comes back to 1 where a run goes on."""
  arrays = goldens.load(FILE)
  steps = arrays['noise/iteration']
  ours = np.stack([schedule.density_noise(step, 1.0, 5000) for step in steps])
  key = 'noise/std_after_call'
  compare(key, ours, atol=1e-7, where=steps < 5000, dtype=np.float64)
  assert not ours[steps >= 5000].any()
  assert arrays['noise/std_resumed_at_60000'] == 1


def test_what_is_drawn_covers_the_image():
  uniform, offset = patches.draw(jax.random.split(jax.random.key(0), 512))
  scale = 0.25 + 0.75 * uniform
  places = patches.place(scale, offset, 16, 64)
  first = np.asarray(places.left + 0.5 * places.side / 16) * 64 - 0.5  # pixels of the outermost
  last = np.asarray(places.left + places.side * 15.5 / 16) * 64 - 0.5
  assert first.min() > -1e-4 and last.max() < 63 + 1e-4
  assert first.min() < 2 and last.max() > 61
  assert abs(np.corrcoef(offset[:, 0], offset[:, 1])[0, 1]) < 0.15
