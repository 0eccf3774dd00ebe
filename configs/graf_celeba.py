"""GRAF on CelebA at 128², with the values of the paper and its release.

Score: FID 41.1 at 128² (π-GAN's Table 1), of 1,000 images as in configs/graf_carla.py, which also
has the cost and the differences from the release. At 256² and 512² of CelebA-HQ patches may be of a
smaller part: --config.resolution=256 --config.graf.min_scale=.125 --config.graf.scale_decay=.0057.
Data: python -m jax3dgan.data.prepare --source=img_align_celeba.zip --out=data/celeba128
--resolution=128 --crop=35,55,108, the middle of CelebA's aligned photos.

Cameras have distances from 9.5 to 10.5, and near and far go with them.
"""

from jax3dgan import config as config_lib
from jax3dgan.generators import graf


def get_config():
  """The experiment."""
  config = config_lib.base_config('graf')
  config.data.update(source='data/celeba128', loader='tfdata', flip=True)
  config.data.origin = 'CelebA, its aligned photos, the middle 108 pixels of each.'
  config.num_steps = 400_000
  config.resolution = 128
  config.render.update(radius=10.0, near=7.5, far=12.5, fov_degrees=10.0, limits_radius=10.5)
  config.pose_prior.update(graf.release_prior((0.0, 0.25), (0.32899, 0.45642), radius_std=0.5))
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
