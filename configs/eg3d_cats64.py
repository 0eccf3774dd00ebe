"""A small EG3D on photos of cat faces with unknown poses, 64² from 32² rendered.

Data: python -m jax3dgan.data.prepare --source=CATS --out=data/cats64 --resolution=64, CATS a
folder or zip of aligned cat faces; or --config.data.source=CATS.zip directly.

No labels: cameras come from the pose prior, neither generator nor discriminator is conditioned on
them, and the discriminator predicts the pose of fakes as in π-GAN, so that the head turns with the
camera.
"""

import math

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config('eg3d')
  config.data.update(
    source='data/cats64', loader='arrays', on_device=True, flip=True, use_labels=False
  )
  config.data.origin = 'Faces of the CATS data set (Zhang et al., 2008), aligned by its landmarks.'
  config.num_steps = 10_000
  config.resolution = 64
  config.batch_size = 16
  config_lib.set_model(
    config,
    'eg3d',
    z_dim=64,
    w_dim=64,
    label_dim=0,
    channels=(128, 128, 128, 64, 32),
    plane_features=16,
    decoder_hidden=32,
    box=0.8,
    super_channels=(32, 16),
    super_ups=(1, 2),
    super_input=32,
    low_resolution=32,
    super_clamp=0.0,
  )
  config.render.update(
    radius=2.7,
    fov_degrees=2 * math.degrees(math.atan(0.5 / 4.2647)),
    near=2.35,
    far=3.15,
    num_coarse=8,
    num_fine=8,
  )
  config.display.update(num_coarse=16, num_fine=16, ray_chunk=0, truncation_psi=0.7)
  config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_std=0.155)
  config_lib.set_discriminator(
    config, 'dual', channels=(128, 128, 64, 32, 16), label_dim=0, pose_dim=2
  )
  config.loss.update(r1=1.0, pose=5.0)
  config.eg3d.update(blur=2.0, blur_images=10_000, density=0.25)
  config.ema.update(rates=(0.995,), display_rate=0.995, ramp_up=0.05)
  config.eval.update(num_images=7000, num_latents=64)
  config.log.update(every=20, images_every=250)
  config.checkpoint.update(every=250)
  return config


def get_test_config():
  """Two steps in seconds, on toys without their labels."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys')
  return config
