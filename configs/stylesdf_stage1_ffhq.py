"""The first stage of StyleSDF on faces (FFHQ), rendered at 64², with the paper's values.

The renderer of configs/stylesdf_ffhq256.py and configs/stylesdf_ffhq1024.py. It has converged when
β (generator/beta) is below 0.003; where it stays above, or depths are flat
(generator/depth_spread), the release's authors raise R1: --config.loss.r1.

Cost: 200,000 steps of 24 images, after 10,000 of the spheres that fields begin as.
Data: python -m jax3dgan.data.prepare --source=FFHQ --out=data/ffhq64 --resolution=64, FFHQ a folder
or zip of pictures.
"""

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config('stylesdf_stage1')
  config.data.update(source='data/ffhq64', loader='tfdata', flip=True)
  config.data.origin = 'FFHQ, cropped and aligned.'
  config.num_steps = 200_000
  config.resolution = 64
  config.batch_size = 24
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.stylesdf.update(sphere_steps=2, sphere_rays=8)
  config.data.update(source='toys', loader='arrays', on_device=True, flip=False)
  return config
