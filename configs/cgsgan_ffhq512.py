"""CGS-GAN on faces (FFHQ) at 512²: 240,128 Gaussians of 512 points, with the values of the paper.

Score: FID 4.94 on masked FFHQ, 4.53 on the paper's own cleaned crop of it; the same from any
camera, as nothing is conditioned on one (paper, Table 1).
Cost: the paper's 15,000 kimg, 25 s per 1,000 images on 4 H100 with 15 GB each, so 4 to 5 days.
61.6 million parameters.
Data: python -m jax3dgan.data.prepare --source=FFHQ --out=data/ffhq512 --resolution=512 --mirror
--masks, FFHQ a folder or zip of pictures with a dataset.json of cameras, each transparent behind
the head (the paper's masks are MODNet's). Of photos on a white ground, without masks:
--config.cgsgan.random_background=False.

Other sizes have other levels, --config.model.ratios and channels: at 256² 1,4,4,4,2 and
512,256,128,64,32; at 1024² 1,4,4,4,2,2,2 and
512,256,128,64,32,16,16; at 2048² 1,4,4,4,2,2,2,2 and 512,256,128,64,32,16,16,8; with
--config.resolution, --config.model.target_resolution and --config.discriminator.channels of as many
sizes.

Different from the paper: products are in float32 unless --config.model.matmul_dtype and
--config.discriminator.matmul_dtype say otherwise (the paper's discriminator has float16 at its four
largest sizes).
"""

import math

from jax3dgan import config as config_lib
from jax3dgan.nn.stylegan2 import channels_of

KIMG = 1000 / 32  # steps


def get_config():
  """The experiment."""
  config = config_lib.base_config('cgsgan')
  config.data.update(source='data/ffhq512', loader='tfdata', flip=False, use_labels=True)
  config.data.origin = (
    "FFHQ, cropped and with cameras in dataset.json as EG3D's repository prepares it, transparent "
    'behind the heads, with --masks; add --mirror unless mirrored images are in it.'
  )
  config.num_steps = int(15_000 * KIMG)
  config.resolution = 512
  config.batch_size = 32
  config.render.update(
    fov_degrees=2 * math.degrees(math.atan(0.5 / 4.2647)),
    radius=2.7,
    pivot=(0.0, 0.0, 0.2),
    near=2.25,
    far=3.3,
  )
  config.display.truncation_psi = 0.8
  # For displays; training has the photos' cameras.
  config.pose_prior.update(name='gaussian', yaw_std=0.3, pitch_std=0.155)
  config_lib.set_discriminator(
    config, 'stylegan2', channels=channels_of(512), label_dim=25, cmap_dim=512, clamp=256.0
  )
  rate = 0.5 ** (32 / 10_000)  # a half-life of 10,000 images
  config.ema.update(rates=(rate,), display_rate=rate, ramp_up=0.05)
  config.eval.update(cameras='dataset')
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
