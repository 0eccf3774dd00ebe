"""The second stage of StyleSDF on cats, dogs and wild animals (AFHQ) at 512², with the paper's
values.

As configs/stylesdf_ffhq256.py, of which it is a variant; the renderer is that of
configs/stylesdf_stage1_afhq.py, and R1 counts for five times as much.
Score: FID 12.8, depth consistency .63 at 256² (paper; without truncation).
Data: python -m jax3dgan.data.prepare --source=AFHQ --out=data/afhq512 --resolution=512, AFHQ the
folder of the training images.
"""

import pathlib
import runpy

from jax3dgan.nn.stylegan2 import channels_of

_BASE = runpy.run_path(str(pathlib.Path(__file__).with_name('stylesdf_ffhq256.py')))


def get_config():
  """The experiment."""
  config = _BASE['get_config']()
  config.data.update(source='data/afhq512', origin='AFHQ, its training images.')
  config.init_from = 'runs/stylesdf_stage1_afhq'
  config.resolution = 512
  config.model.decoder_channels = (512, 256, 128, 64)
  config.discriminator.channels = channels_of(512)
  config.pose_prior.yaw_std = 0.15
  config.loss.r1 = 50.0
  return config


def get_test_config():
  """Two steps in seconds."""
  config = _BASE['get_test_config']()
  config.pose_prior.yaw_std = 0.15
  config.loss.r1 = 50.0
  return config
