"""GIRAFFE on faces (CelebA) at 64², rendered at 16², with the values of the paper.

Score: FID 6 (paper).
Cost: the paper names no end; 500,000 steps of 32 images here. 411,595 parameters, 2.76 million of
the discriminator; less than 11 GB. On fewer devices --config.micro_batches.
Data: python -m jax3dgan.data.prepare --source=CELEBA --out=data/celeba64 --resolution=64
--crop=35,55,108, CELEBA a folder or zip of the aligned pictures.

One head and a background; the head turns by 35° to each side.
"""

import math
import pathlib
import runpy

from jax3dgan import config as config_lib

_BASE = runpy.run_path(str(pathlib.Path(__file__).with_name('giraffe_cars.py')))


def get_config():
  """The experiment."""
  config = config_lib.base_config('giraffe')
  config.data.update(source='data/celeba64', loader='tfdata', flip=True)
  config.data.origin = 'CelebA, aligned, cropped to the middle 108 pixels.'
  config.num_steps = 500_000
  _BASE['at_size'](config, 64)
  config.model.update(size_min=(0.21,) * 3, size_max=(0.21,) * 3)
  config.model.update(position_min=(0.0,) * 3, position_max=(0.0,) * 3, turns=(145.0, 215.0))
  config.render.fov_degrees = 10.0
  config.pose_prior.update(pitch_mean=math.pi * 11 / 24, pitch_std=math.pi / 24)
  return config


def get_test_config():
  """Two steps in seconds."""
  return _BASE['tiny'](get_config())
