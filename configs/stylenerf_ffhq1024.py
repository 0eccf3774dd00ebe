"""StyleNeRF on faces (FFHQ) at 1024², rendered at 32², with the values of the paper.

Score: FID 8.1 (paper).
Cost: 25,000 kimg; the paper uses 8 V100. 5.48 million parameters, 27.8 of the discriminator. On
fewer devices --config.micro_batches=8, at most: a micro-batch holds the 4 images that the
discriminator compares.
Data: python -m jax3dgan.data.prepare --source=FFHQ --out=data/ffhq1024 --resolution=1024, FFHQ a
folder or zip of pictures. Of their cameras nothing is needed but the distribution.

Both networks grow from 32² to 1024²: from 500 to 5,000 kimg five sizes are faded in, one after
another.
"""

import math

from jax3dgan import config as config_lib
from jax3dgan.nn.stylegan2 import channels_of

KIMG = 1000 / 32  # steps


def get_config():
  """The experiment."""
  config = config_lib.base_config('stylenerf')
  config.data.update(source='data/ffhq1024', loader='tfdata', flip=True)
  config.data.origin = 'FFHQ, aligned and cropped as its authors have it.'
  config.batch_size = 32
  config.num_steps = int(25_000 * KIMG)
  config.resolution = 32
  config.stages = tuple(
    dict(from_step=int(kimg * KIMG), resolution=size)
    for kimg, size in ((500, 64), (1400, 128), (2300, 256), (3200, 512), (4100, 1024))
  )
  config_lib.set_model(config, 'stylenerf', channels=(512, 256, 128, 64, 32))
  config.render.update(
    fov_degrees=12.0, radius=1.0, near=0.88, far=1.12, num_coarse=14, num_fine=14
  )
  config.display.update(
    num_coarse=14, num_fine=14, last_back=False, ray_chunk=0, truncation_psi=0.7
  )
  config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_mean=math.pi / 2, pitch_std=0.155)
  config_lib.set_discriminator(config, 'stylenerf', channels=channels_of(1024))
  config.loss.update(r1=2.0, fade_steps=int(900 * KIMG))
  config.optimizer.update(lr_generator=2e-3, lr_discriminator=2e-3)
  rate = 0.5 ** (32 / 10_000)  # a half-life of 10,000 images
  config.ema.update(rates=(rate,), display_rate=rate, ramp_up=0.05)
  return config


def get_test_config():
  """Two steps in seconds, the second of a size that is faded in."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  config.loss.fade_steps = 2
  config.stylenerf.nerf_path_pixels = 4
  return config
