"""StyleNeRF on photos of cars (CompCars) at 256², rendered at 32², with the values of the paper.

Score: FID 8, as the paper is remembered; not verified against it.
Cost: 25,000 kimg; the paper uses 8 V100. 23.1 million parameters of the discriminator. On fewer
devices --config.micro_batches=16, at most: a micro-batch holds the 4 images that the discriminator
compares.
Data: python -m jax3dgan.data.prepare --source=CARS --out=data/compcars256 --resolution=256, CARS a
folder or zip of pictures. Of their cameras nothing is needed but the distribution.

Both networks grow from 32² to 256²: from 500 to 5,000 kimg three sizes are faded in, one after
another. Cars are seen from all sides; there is no NeRF-path regularisation.
"""

import math
import pathlib
import runpy

_BASE = runpy.run_path(str(pathlib.Path(__file__).with_name('stylenerf_ffhq512.py')))


def get_config():
  """The experiment."""
  config = _BASE['at_size'](256)
  config.data.update(source='data/compcars256', flip=False)
  config.data.origin = 'CompCars, its photos of whole cars, made square.'
  config.model.upsampling = 'pixelshuffle'
  config.render.update(fov_degrees=16.0, near=0.8, far=1.2)
  config.pose_prior.update(name='uniform', yaw_std=math.pi)
  config.stylenerf.nerf_path = 0.0
  return config


def get_test_config():
  """Two steps in seconds."""
  return _BASE['tiny'](get_config())
