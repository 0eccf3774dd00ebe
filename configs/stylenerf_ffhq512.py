"""StyleNeRF on faces (FFHQ) at 512², rendered at 32², with the values of the paper.

Score: FID 7.8, as the paper is remembered; not verified against it.
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


def at_size(size: int, batch_size: int = 64, half_life: int = 20_000):
  """The experiment at size²; configs of other sizes and data are variants of it.

  Args:
    half_life: Of the average of the generator's weights, images.
  """
  config = config_lib.base_config('stylenerf')
  config.data.update(source=f'data/ffhq{size}', loader='tfdata', flip=True)
  config.data.origin = 'FFHQ, aligned and cropped as its authors have it.'
  kimg = 1000 / batch_size  # steps
  config.batch_size = batch_size
  config.num_steps = int(25_000 * kimg)
  config.resolution = 32
  num = int(math.log2(size // 32))
  fade = 4500 / num  # kimg of each size, from 500 to 5,000
  config.stages = tuple(
    dict(from_step=int((500 + i * fade) * kimg), resolution=64 << i) for i in range(num)
  )
  config_lib.set_model(config, 'stylenerf', channels=(512, 256, 128, 64, 32)[:num])
  config.render.update(
    fov_degrees=12.0, radius=1.0, near=0.88, far=1.12, num_coarse=14, num_fine=14
  )
  config.display.update(
    num_coarse=14, num_fine=14, last_back=False, ray_chunk=0, truncation_psi=0.7
  )
  config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_mean=math.pi / 2, pitch_std=0.155)
  widest = 16384 if size == 256 else 32768
  config_lib.set_discriminator(config, 'stylenerf', channels=channels_of(size, widest))
  config.loss.update(r1=0.5, fade_steps=int(fade * kimg))
  rate = 0.5 ** (batch_size / half_life)
  config.ema.update(rates=(rate,), display_rate=rate, ramp_up=0.05)
  return config


def get_config():
  """The experiment."""
  return at_size(512)


def tiny(config):
  """Two steps in seconds, the second of a size that is faded in."""
  config = config_lib.tiny(config)
  config.data.update(source='toys', loader='arrays', on_device=True)
  config.loss.fade_steps = 2
  if config.stylenerf.nerf_path:
    config.stylenerf.nerf_path_pixels = 4
  return config


def get_test_config():
  """Two steps in seconds."""
  return tiny(get_config())
