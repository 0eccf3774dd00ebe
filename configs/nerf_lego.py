"""A NeRF of NeRF-synthetic's lego at 100², on two CPU cores in minutes.

Data: python -m jax3dgan.data.prepare --source=LEGO --out=data/lego --resolution=100, LEGO the
folder or tar of the scene; with --hold-out=8 where there are only the training's views.
Cost: 4,000 steps of 1,024 rays in 4.2 minutes on two cores that others use too, and 16 s of
compilation before them.
Result: PSNR 26.1 dB, SSIM .918 on 13 of the 100 training views, held out
(--mode=eval --workdir=runs/nerf_lego); 24 dB after 600 steps.

The field is tri-planes and a small decoder: at equal time far ahead of a SIREN, and that of NeRF's
MLP, whose sizes here are those that suit a CPU (benchmarks/nerf_fields.py). NeRF's own sizes are in
configs/nerf.py.
"""

import math

from jax3dgan import config as config_lib

BOX = 2.8  # the object's cube, world units

# The fields that were compared, see the docstring.
TRIPLANE = dict(
  field='triplane',
  two_networks=False,
  hidden_dim=32,
  plane_resolution=96,
  plane_features=16,
  density_gain=10.0,
  box=BOX,
)
SIREN = dict(
  field='siren',
  two_networks=False,
  hidden_dim=64,
  num_layers=3,
  input_scale=0.5,
  density_gain=20.0,
  box=BOX,
)
MLP = dict(
  field='mlp',
  two_networks=False,
  hidden_dim=64,
  num_layers=4,
  skip_layer=0,
  colour_dim=32,
  point_frequencies=6,
  direction_frequencies=2,
  density_gain=10.0,
  box=BOX,
)


def get_config():
  """The experiment."""
  config = config_lib.base_config('nerf')
  config.platform = 'any'  # small enough for a CPU beside a GPU that JAX cannot use
  config.data.update(source='data/lego', loader='arrays', on_device=True)
  config.data.origin = (
    'Views of NeRF-synthetic (Mildenhall et al., 2020); add --hold-out=8 where there are only '
    'those of training.'
  )
  config.num_steps = 4000
  config.resolution = 100
  config.batch_size = 16
  config.nerf.rays = 64
  config_lib.set_model(config, 'nerf', **TRIPLANE)
  config.render.update(
    fov_degrees=39.5978,
    radius=4.0311,
    near=2.0,
    far=6.0,
    box=BOX,
    num_coarse=32,
    num_fine=32,
    density='softplus',
    last_interval='far',
  )
  config.display.update(num_coarse=64, num_fine=64)
  config.pose_prior.update(
    name='uniform', yaw_std=math.pi, pitch_mean=math.pi / 3, pitch_std=math.pi / 6
  )
  config.optimizer.update(lr_generator=4e-2, decay=0.1, decay_steps=4000)
  config.ema.update(rates=(0.995,), display_rate=0.995)
  config.log.update(every=100, images_every=1000)
  config.checkpoint.update(every=500)
  return config


def get_test_config():
  """Two steps in seconds."""
  config = config_lib.tiny(get_config())
  config.data.source = 'toys'  # which have cameras too
  return config
