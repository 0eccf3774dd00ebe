"""GRAF on CARLA cars at 128², with the values of the paper and its release.

Score: FID 41 at 128² (the paper's, of 1,000 images: --config.eval.num_images=1000
--config.eval.num_real=20000 measures so).
Cost: 2.5 TFLOP a step of 8 patches of 32², whatever the size of the images.
Data: python -m jax3dgan.data.prepare --source=CARLA --out=data/carla128 --resolution=128, CARLA a
folder or zip of GRAF's renderings.

Differences from the release: cameras are drawn anew in each run and go on where a run goes on; the
density noise falls to 0, also after a resume; pixels are sampled in their middle, half a pixel from
the release's; R1 is per image, with the weight that is the release's of its mean over pixels
(`recipes.graf.Loss`).
"""

from jax3dgan import config as config_lib
from jax3dgan.generators import graf


def get_config():
  """The experiment."""
  config = config_lib.base_config('graf')
  config.data.update(source='data/carla128', loader='tfdata', flip=False)
  config.data.origin = 'Renderings of CARLA cars that come with GRAF (Schwarz et al., 2020).'
  config.num_steps = 400_000
  config.resolution = 128
  config.render.update(radius=10.0, near=7.5, far=12.5, fov_degrees=30.0, white_back=True)
  config.pose_prior.update(graf.release_prior((0.0, 1.0), (0.0, 0.45642)))
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys', loader='arrays', on_device=True)
  return config
