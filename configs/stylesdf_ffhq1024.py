"""The second stage of StyleSDF on faces (FFHQ) at 1024², with the paper's values.

As configs/stylesdf_ffhq256.py, of which it is a variant; the same renderer serves both.
Data: python -m jax3dgan.data.prepare --source=FFHQ --out=data/ffhq1024 --resolution=1024, FFHQ a
folder or zip of pictures.
"""

import pathlib
import runpy

from jax3dgan.nn.stylegan2 import channels_of

_BASE = runpy.run_path(str(pathlib.Path(__file__).with_name('stylesdf_ffhq256.py')))


def get_config():
  """The experiment."""
  config = _BASE['get_config']()
  config.data.source = 'data/ffhq1024'
  config.resolution = 1024
  config.model.decoder_channels = (512, 256, 128, 64, 32)
  config.discriminator.channels = channels_of(1024)
  return config


def get_test_config():
  """Two steps in seconds."""
  return _BASE['get_test_config']()
