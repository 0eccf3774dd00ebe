"""HoloGAN on photos of cars at 128², with the values of the paper and of its release.

Score: KID·100 2.2 (paper).
Cost: 50 epochs, of 136,000 photos 212,500 steps of 32 images, three renderings each. 19.6 million
parameters of the discriminator, 8.0 of the generator.
Data: python -m jax3dgan.data.prepare --source=CARS --out=data/compcars128 --resolution=128, CARS a
folder or zip of pictures. Of their cameras nothing is needed but the distribution.

Cars are seen from all sides and from at most 35° above. The style discriminators, of both networks,
and the identity loss are those of the paper. Its scales and shifts of cars are random; what their
ranges are is not known, and the release has none. --config.pose_prior.radius_std=0.2 draws scales,
shifts are left out.
"""

import math

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config('hologan')
  config.data.update(source='data/compcars128')
  config.data.origin = 'CompCars, its photos of whole cars, made square.'
  config.num_steps = 212_500
  config.resolution = 128
  config.batch_size = 32
  config_lib.set_model(
    config,
    'hologan',
    voxel_channels=(256, 128),
    projection_channels=(64, 64),
    fold_dim=512,
    channels=(256, 64, 32),
    activation='lrelu',
  )
  config.discriminator.update(channels=(64, 128, 256, 512, 1024), styles=True)
  config.hologan.style = 1.0
  config.pose_prior.update(
    name='uniform',
    yaw_std=math.pi,
    pitch_mean=math.pi / 2 - math.radians(17.5),
    pitch_std=math.radians(17.5),
  )
  config.eval.num_images = 10_000
  config.log.images_every = 5000
  return config


def get_test_config():
  """Two steps in seconds, on toys."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
