"""3D Gaussian splatting of NeRF-synthetic's lego at 100², on two CPU cores in minutes.

Data: as of configs/nerf_lego.py: python -m jax3dgan.data.prepare --source=LEGO --out=data/lego
--resolution=100, with --hold-out=8 where there are only the training's views.
Cost: 6,000 steps of one view in 2.2 minutes of processor time, of which half a minute goes before
them.
Result: PSNR 32.1 dB, SSIM .979 on 13 of the 100 training views, held out
(--mode=eval --workdir=runs/gaussians_lego); 28.7 dB after 1,000 steps. The slots are full after 900
steps (the metric `gaussians/without_slot`); more would hold more detail, and cost more.
"""

import math

from jax3dgan import config as config_lib

BOX = 2.6  # the cube of the first points, world units
STEPS = 6000


def get_config():
  """The experiment."""
  config = config_lib.base_config('gaussians')
  config.platform = 'any'  # small enough for a CPU beside a GPU that JAX cannot use
  config.data.update(source='data/lego', loader='arrays', on_device=True)
  config.data.origin = (
    'Views of NeRF-synthetic (Mildenhall et al., 2020); add --hold-out=8 where there are only '
    'those of training.'
  )
  config.num_steps = STEPS
  config.resolution = 100
  config.batch_size = 1
  config_lib.set_model(config, 'gaussians', capacity=8192, num_points=2500, box=BOX, sh_degree=1)
  # Near and far are of depth maps' colours and of the mesh's cube: those of the scene.
  config.render.update(fov_degrees=39.5978, radius=4.0311, near=2.5, far=5.5)
  config.pose_prior.update(
    name='uniform', yaw_std=math.pi, pitch_mean=math.pi / 3, pitch_std=math.pi / 6
  )
  # The paper's schedule, of 30,000 steps, in fewer: all rates are higher at first, and fall.
  config.optimizer.update(lr_generator=3.0, decay=0.1, decay_steps=STEPS)
  config.ema.update(rates=(0.99,), display_rate=0.99)
  config.gaussians.update(
    position_rate_end=1.6e-5,
    position_steps=STEPS,
    opacity_rate=0.025,
    degree_every=STEPS // 4,
    densify_from=STEPS // 20,
    densify_until=STEPS // 2,
    reset_every=STEPS // 4,
  )
  config.log.update(every=100, images_every=1000)
  config.checkpoint.update(every=1000)
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.source = 'toys'  # which have cameras too
  return config
