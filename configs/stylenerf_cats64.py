"""A small StyleNeRF on photos of cat faces with unknown poses, 64² from 32² rendered, on two CPU
cores.

Data: python -m jax3dgan.data.prepare --source=CATS --out=data/cats64 --resolution=64, CATS a
folder or zip of aligned cat faces; or --config.data.source=CATS.zip directly.

Cameras come from the pose prior; the discriminator predicts the pose of fakes, so that heads turn
with the camera. Faces fill the photos, and there is no background: with softplus and an opaque last
interval light stops in the foreground. With relu and last_back it went to the last sample, a plane.
The rest is as for the toy cars.

Result: not trained to its end, and no faces yet. After 400 steps at 32² there are the photos'
colours in smooth blobs that turn with the camera, opaque everywhere, with a depth. A density_gain
of 30 begins with holes that are still there after 300 steps; learning rates of .01 and .005 have a
grid and holes after 400.
"""

import math
import pathlib
import runpy

_TOYS = runpy.run_path(str(pathlib.Path(__file__).with_name('stylenerf_toys.py')))


def get_config():
  """The experiment."""
  config = _TOYS['get_config']()
  config.data.update(source='data/cats64', flip=True)
  config.data.origin = 'Faces of the CATS data set (Zhang et al., 2008), aligned by its landmarks.'
  config.stages = (dict(from_step=2500, resolution=64),)
  config.model.update(num_frequencies=5, density_gain=8.0)
  config.render.update(
    fov_degrees=12.0,
    near=0.88,
    far=1.12,
    density='softplus',
    last_interval='infinite',
    white_back=False,
    limits_along='axis',
  )
  config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_mean=math.pi / 2, pitch_std=0.155)
  config.discriminator.pose_dim = 2
  config.loss.update(r1=0.3, pose=5.0, pose_encoding='angles')
  config.eval.num_images = 7000
  return config


def get_test_config():
  """Two steps in seconds, on toys."""
  config = _TOYS['tiny'](get_config())
  config.data.source = 'toys'
  config.loss.fade_steps = 2
  return config
