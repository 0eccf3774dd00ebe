"""NeRF on a scene of your own, with the paper's network and number of rays, on an accelerator.

Data: python -m jax3dgan.data.prepare --source=SCENE --out=data/scene --resolution=400 --hold-out=8,
SCENE a folder, tar or zip of a NeRF data set or of COLMAP (docs/posed_data.md). It prints near and
far of the scene: give them as --config.render.near and --config.render.far. For a scene with a
background, photos from all sides of a room, or thin clouds where nothing is,
--config.loss.density_noise=1 (NeRF, App. A).
Score: PSNR 32.5 dB on lego at 800² (paper, Table 4), after 200,000 steps and more.
Cost: a step of 4,096 rays with 64 + 192 points each is 3.7 TFLOP. For a CPU take
configs/nerf_lego.py with your data.

Other than in the paper density is a softplus, which has a gradient everywhere, and a ray can leave
the scene behind its last sample.
"""

import math

from jax3dgan import config as config_lib


def get_config():
  """The experiment."""
  config = config_lib.base_config('nerf')
  config.data.update(source='data/scene', loader='arrays', on_device=True)
  config.data.origin = 'Photos with known cameras, see docs/posed_data.md.'
  config.num_steps = 200_000
  config.resolution = 400
  config.batch_size = 64
  config.nerf.rays = 64
  config_lib.set_model(config, 'nerf', matmul_dtype='tensorfloat32')
  config.render.update(
    fov_degrees=40.0,
    radius=4.0,
    near=2.0,
    far=6.0,
    num_coarse=64,
    num_fine=128,
    density='softplus',
    last_interval='far',
    white_back=True,
  )
  config.pose_prior.update(
    name='uniform', yaw_std=math.pi, pitch_mean=math.pi / 3, pitch_std=math.pi / 6
  )
  config.optimizer.update(lr_generator=5e-4, decay=0.1, decay_steps=200_000)
  config.log.update(every=100, images_every=5000)
  config.checkpoint.update(every=5000)
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.source = 'toys'  # which have cameras too
  return config
