"""3D Gaussian splatting of a scene of your own, with the paper's values, on an accelerator.

Data: python -m jax3dgan.data.prepare --source=SCENE --out=data/scene --resolution=800 --hold-out=8,
SCENE a folder, tar or zip of a NeRF data set or of COLMAP (docs/posed_data.md).
Points that the scene begins with, in the library's world, instead of random ones:
--config.gaussians.points=FILE.npy --config.model.num_points=0.
Score: PSNR 35.8 dB on lego at 800² after 30,000 steps, 33.3 dB on average over the data set's eight
scenes (paper, Table 2).
Cost: not measured. For a CPU take configs/gaussians_lego.py with your data.

Other than in the paper footprints on the image do not count when Gaussians are removed, sizes in
the world alone do; and each pixel meets all Gaussians, also behind a transmittance of 1e-4.
"""

import math

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config('gaussians')
  config.data.update(source='data/scene', loader='arrays', on_device=True)
  config.data.origin = 'Photos with known cameras, see docs/posed_data.md.'
  config.num_steps = 30_000
  config.resolution = 800
  config.batch_size = 1
  config_lib.set_model(config, 'gaussians')
  config.render.update(fov_degrees=40.0, radius=4.0, near=2.0, far=6.0)
  config.pose_prior.update(
    name='uniform', yaw_std=math.pi, pitch_mean=math.pi / 3, pitch_std=math.pi / 6
  )
  config.log.update(every=100, images_every=5000)
  config.checkpoint.update(every=5000)
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.source = 'toys'  # which have cameras too
  return config
