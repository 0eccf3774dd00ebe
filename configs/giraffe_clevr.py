"""GIRAFFE on scenes of two to five objects (CLEVR-2345) at 256², rendered at 16², with the values
of the paper.

Score: none in the paper; 31 on scenes of two (CLEVR-2).
Cost: the paper names no end; 500,000 steps of 32 images here. 195,441 parameters, 2.80 million of
the discriminator. On fewer devices --config.micro_batches.
Data: python -m jax3dgan.data.prepare --source=CLEVR --out=data/clevr2345_256 --resolution=256,
CLEVR a folder or zip of renderings without rotation or jitter of the camera.

Five objects, of which two to five are there. Different from the release: places are uniform on the
ground and those with overlapping boxes are drawn again; it takes the places of the data's scenes.
"""

import math
import pathlib
import runpy

from jax3dgan import config as config_lib

_BASE = runpy.run_path(str(pathlib.Path(__file__).with_name('giraffe_cars.py')))


def get_config():
  """The experiment."""
  config = config_lib.base_config('giraffe')
  config.data.update(source='data/clevr2345_256', loader='tfdata', flip=True)
  config.data.origin = 'CLEVR, rendered with two to five objects, made square.'
  config.num_steps = 500_000
  _BASE['at_size'](config, 256)
  config.model.update(
    num_objects=5,
    counts=(0.0, 0.1946, 0.2435, 0.2527, 0.3092),
    placements=16,
    latent_dim=64,
    hidden_dim=64,
    feature_dim=128,
    channels=(64, 32, 32, 32),
    background_dim=32,
    background_hidden=32,
    size_min=(0.17,) * 3,
    size_max=(0.17,) * 3,
    position_min=(-0.71, 0.1665, -0.71),
    position_max=(0.71, 0.1665, 0.71),
    turns=(0.0, 0.0),
  )
  config.optimizer.lr_generator = 5e-4
  config.render.fov_degrees = 49.13
  config.pose_prior.update(pitch_mean=math.pi / 3, pitch_std=0.0)
  return config


def get_test_config():
  """Two steps in seconds."""
  return _BASE['tiny'](get_config())
