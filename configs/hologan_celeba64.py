"""HoloGAN on CelebA at 64², with the values of the paper and of its release.

Score: KID·100 2.9 (paper).
Cost: 50 epochs of 202,599 photos: 316,500 steps of 32 images, three renderings each.
Data: python -m jax3dgan.data.prepare --source=CELEBA --out=data/celeba64 --resolution=64
--crop=celeba, CELEBA the folder img_align_celeba.

Cameras are within 50° to the sides and 20° up and down, about the front here (the release's angles
are about the back; the constant that is turned is learned). There are no style discriminators.
"""

import math

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config('hologan')
  config.data.update(source='data/celeba64')
  config.data.origin = 'CelebA, the folder img_align_celeba, with --crop=celeba.'
  config.num_steps = 316_500
  config.resolution = 64
  config.batch_size = 32
  config.pose_prior.update(name='uniform', yaw_std=math.radians(50.0), pitch_std=math.radians(20.0))
  config.eval.num_images = 10_000
  config.log.images_every = 5000
  return config


def get_test_config():
  """Two steps in seconds, on toys."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
