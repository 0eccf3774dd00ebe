"""π-GAN on CARLA cars, 32² to 128², with the values of the paper and its release.

Score: FID 29.2 at 128² (paper, Table 1).
Cost: the curriculum below took 10 h at 32², 10 h at 64² and 36 h at 128² on two RTX 6000.
Data: python -m jax3dgan.data.prepare --source=CARLA --out=data/carla128 --resolution=128, CARLA a
folder or zip of GRAF's renderings.

White background, views from the whole upper hemisphere, the 'tall' field (points unscaled).
"""

import math

from jax3dgan import config as config_lib

# Polar angle 0.36° to 86.8° from the top.
_PITCH = math.pi / 4 * 85 / 90


def get_config():
  """The experiment."""
  config = config_lib.base_config()
  config.data.update(source='data/carla128', loader='tfdata', flip=False)
  config.data.origin = 'Renderings of CARLA cars that come with GRAF (Schwarz et al., 2020).'
  config.resolution = 32
  config.batch_size = 30
  config.micro_batches = 1
  config.optimizer.update(lr_generator=4e-5, lr_discriminator=4e-4, grad_clip=1.0)
  config.stages = (
    dict(
      from_step=10_000,
      resolution=64,
      batch_size=14,
      micro_batches=2,
      lr_generator=2e-5,
      lr_discriminator=2e-4,
    ),
    dict(
      from_step=55_000,
      resolution=128,
      batch_size=10,
      micro_batches=5,
      lr_generator=1e-5,
      lr_discriminator=1e-4,
    ),
  )
  config.model.input_scale = 1.0
  config.render.update(
    fov_degrees=30.0,
    near=0.7,
    far=1.3,
    num_coarse=48,
    num_fine=48,
    white_back=True,
    last_interval='far',
    ray_chunk=4096,
  )
  config.display.update(num_coarse=96, num_fine=96)
  config.pose_prior.update(
    name='spherical_uniform', yaw_std=math.pi, pitch_mean=_PITCH, pitch_std=_PITCH
  )
  config.discriminator.update(
    block='progressive',
    channels=(16, 32, 64, 128, 256, 400, 400, 400, 400),
    latent_dim=256,
    pose_dim=2,
  )
  config.loss.update(r1=10.0, pose=0.0, top_k_interval=0)
  return config


def get_test_config():
  """Two steps in seconds, one at each of two resolutions."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
