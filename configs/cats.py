"""π-GAN on cat faces at 64², with the values of the paper and its release.

Score: FID 16.6 (paper, Table 1, at 128²).
Cost: as configs/celeba.py, with twice the samples per ray and half the batch.
Data: python -m jax3dgan.data.prepare --source=CATS --out=data/cats64 --resolution=64, CATS a
folder or zip of aligned cat faces.

The differences from the release are those of configs/celeba.py.
"""

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config()
  config.data.update(source='data/cats64', loader='tfdata', flip=False)
  config.data.origin = 'Faces of the CATS data set (Zhang et al., 2008), aligned by its landmarks.'
  config.batch_size = 28
  config.micro_batches = 4
  config.render.update(
    fov_degrees=12.0, near=0.8, far=1.2, num_coarse=24, num_fine=24, ray_chunk=1024
  )
  config.display.update(num_coarse=48, num_fine=48, last_back=True)
  config.pose_prior.update(name='uniform', yaw_std=0.5, pitch_std=0.4)
  config.discriminator.update(block='strided', latent_dim=0, pose_dim=0)
  config.loss.update(r1=0.2, pose=0.0, top_k_interval=2000, top_k_floor=0.6)
  config.optimizer.update(lr_generator=6e-5, lr_discriminator=2e-4, grad_clip=10.0)
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
