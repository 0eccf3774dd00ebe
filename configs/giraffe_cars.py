"""GIRAFFE on photos of cars (CompCars) at 256², rendered at 16², with the values of the paper.

Score: FID 26 (paper).
Cost: the paper names no end; 500,000 steps of 32 images here. 748,497 parameters, 2.80 million of
the discriminator. On fewer devices --config.micro_batches.
Data: python -m jax3dgan.data.prepare --source=CARS --out=data/compcars256 --resolution=256, CARS a
folder or zip of pictures. Of their cameras nothing is needed.

One car and a background. The camera stands in front, between the horizon and 10° above it; it is
the car that turns, all the way round, and moves a little. Different from the release: photos are
made square, not cropped at random.
"""

import math

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config('giraffe')
  config.data.update(source='data/compcars256', loader='tfdata', flip=True)
  config.data.origin = 'CompCars, its photos of whole cars, made square.'
  config.num_steps = 500_000
  at_size(config, 256)
  config.render.fov_degrees = 10.0
  config.pose_prior.update(pitch_mean=math.pi * 11 / 24, pitch_std=math.pi / 24)
  return config


def at_size(config, size: int):
  """Sets the networks and the rate of the paper's configs at 64² or 256²."""
  config.resolution = size
  config_lib.set_model(config, 'giraffe')
  if size == 256:
    config.model.update(feature_dim=256, channels=(128, 64, 32, 32))
    config.discriminator.channels = (16, 32, 64, 128, 256, 512)
    config.optimizer.lr_generator = 2.5e-4


def get_test_config():
  """Two steps in seconds."""
  return tiny(get_config())


def tiny(config):
  """The smallest form of any of these configs."""
  config = config_lib.tiny(config)
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
