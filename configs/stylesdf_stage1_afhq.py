"""The first stage of StyleSDF on cats, dogs and wild animals (AFHQ), rendered at 64², with the
paper's values: the renderer of configs/stylesdf_afhq512.py.

As configs/stylesdf_stage1_ffhq.py, of which it is a variant; azimuths are N(0, 0.15²).
Data: python -m jax3dgan.data.prepare --source=AFHQ --out=data/afhq64 --resolution=64, AFHQ the
folder of the training images.
"""

import pathlib
import runpy

_BASE = runpy.run_path(str(pathlib.Path(__file__).with_name('stylesdf_stage1_ffhq.py')))


def get_config():
  """The experiment."""
  config = _BASE['get_config']()
  config.data.update(source='data/afhq64', origin='AFHQ, its training images.')
  config.pose_prior.yaw_std = 0.15
  return config


def get_test_config():
  """Two steps in seconds."""
  config = _BASE['get_test_config']()
  config.pose_prior.yaw_std = 0.15
  return config
