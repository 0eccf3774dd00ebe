"""A small HoloGAN on the toy cars, 64², on two CPU cores.

All the way round, without the cars' cameras: only their distribution is known. There is no field
and no pose head: that cars turn with the camera comes from the turned voxels alone.

Cost: 7,000 steps of 16 images, three renderings each, 1 s of processor time, so 2 h of it.
Result: after 3,893 steps, 60 minutes (`toys_hologan` of the package), cars of several paints with
windows and wheels turn with the camera all the way round; front and back look alike, and colours
are speckled.
"""

from jax3dgan import config as config_lib
from jax3dgan import toys_experiment


def get_config():
  """The experiment."""
  config = toys_experiment.base_config('hologan')
  config.num_steps = 7000
  config_lib.set_model(
    config,
    'hologan',
    z_dim=64,
    constant_dim=128,
    voxel_channels=(64, 32),
    fold_dim=256,
    channels=(64, 32),
    sphere=True,
    fov_degrees=48.0,
  )
  config.discriminator.update(channels=(32, 64, 128, 256), latent_dim=64, styles=True)
  config.hologan.style = 1.0
  config.optimizer.update(lr_generator=4e-4, lr_discriminator=1e-4)
  config.ema.ramp_up = 0.05
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
