"""A small HoloGAN on the toy cars, 64², on two CPU cores.

All the way round, without the cars' cameras: only their distribution is known. There is no field
and no pose head: that cars turn with the camera comes from the turned voxels alone.

Cost: steps of 16 images, three renderings each, .5 s of processor time.
"""

import math

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config('hologan')
  config.platform = 'any'  # small enough for a CPU beside a GPU that JAX cannot use
  config.data.update(source='toys', loader='arrays', on_device=True)
  config.num_steps = 7000
  config.resolution = 64
  config.batch_size = 16
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
  config.render.update(fov_degrees=48.0)
  config.display.truncation_psi = 0.7
  config.pose_prior.update(
    name='uniform',
    yaw_std=math.pi,
    pitch_mean=math.pi / 2 - math.radians(25.0),
    pitch_std=math.radians(15.0),
  )
  config.discriminator.update(channels=(32, 64, 128, 256), latent_dim=64, styles=True)
  config.hologan.style = 1.0
  config.optimizer.update(lr_generator=4e-4, lr_discriminator=1e-4)
  config.ema.update(rates=(0.995,), display_rate=0.995, ramp_up=0.05)
  config.eval.update(num_images=4000, num_latents=64)
  config.log.update(every=20, images_every=250)
  config.checkpoint.update(every=250)
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
