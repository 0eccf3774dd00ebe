"""StyleNeRF on faces (FFHQ) at 512², rendered at 32², with the values of the paper.

Score: FID 7.8 (paper).
Cost: 25,000 kimg; the paper uses 8 V100. 5.41 million parameters, 27.8 of the discriminator. On
fewer devices --config.micro_batches=16, at most: a micro-batch holds the 4 images that the
discriminator compares.
Data: python -m jax3dgan.data.prepare --source=FFHQ --out=data/ffhq512 --resolution=512, FFHQ a
folder or zip of pictures. Of their cameras nothing is needed but the distribution.

Both networks grow from 32² to 512²: from 500 to 5,000 kimg four sizes are faded in, one after
another.
"""

import math

from jax3dgan import config as config_lib
from jax3dgan.nn.stylegan2 import channels_of

KIMG = 1000 / 64  # steps


def get_config():
  """The experiment."""
  config = config_lib.base_config('stylenerf')
  config.data.update(source='data/ffhq512', loader='tfdata', flip=True)
  config.data.origin = 'FFHQ, aligned and cropped as its authors have it.'
  config.batch_size = 64
  config.num_steps = int(25_000 * KIMG)
  config.resolution = 32
  config.stages = tuple(
    dict(from_step=int(kimg * KIMG), resolution=size)
    for kimg, size in ((500, 64), (1625, 128), (2750, 256), (3875, 512))
  )
  config_lib.set_model(config, 'stylenerf', channels=(512, 256, 128, 64))
  config.render.update(
    fov_degrees=12.0, radius=1.0, near=0.88, far=1.12, num_coarse=14, num_fine=14
  )
  config.display.update(
    num_coarse=14, num_fine=14, last_back=False, ray_chunk=0, truncation_psi=0.7
  )
  config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_mean=math.pi / 2, pitch_std=0.155)
  config_lib.set_discriminator(config, 'stylenerf', channels=channels_of(512))
  config.loss.update(r1=0.5, fade_steps=int(1125 * KIMG))
  rate = 0.5 ** (64 / 20_000)  # a half-life of 20,000 images
  config.ema.update(rates=(rate,), display_rate=rate, ramp_up=0.05)
  return config


def get_test_config():
  """Two steps in seconds, the second of a size that is faded in."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  config.loss.fade_steps = 2
  config.stylenerf.nerf_path_pixels = 4
  return config
