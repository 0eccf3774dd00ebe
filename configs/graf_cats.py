"""GRAF on cat faces at 64², with the values of the paper and its release.

Score: FID 26 at 64² (GIRAFFE's Table 1), 28.9 at 128² (π-GAN's), of 1,000 images as in
configs/graf_carla.py, which also has the cost and the differences from the release.
Data: python -m jax3dgan.data.prepare --source=CATS --out=data/cats64 --resolution=64, CATS a
folder or zip of aligned cat faces.
"""

from jax3dgan import config as config_lib
from jax3dgan.generators import graf


def get_config():
  """The experiment."""
  config = config_lib.base_config('graf')
  config.data.update(source='data/cats64', loader='tfdata', flip=True)
  config.data.origin = 'Faces of the CATS data set (Zhang et al., 2008), aligned by its landmarks.'
  config.num_steps = 400_000
  config.resolution = 64
  config.render.update(radius=10.0, near=7.5, far=12.5, fov_degrees=10.0)
  config.pose_prior.update(graf.release_prior((0.0, 0.19444), (0.32899, 0.45642)))
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
