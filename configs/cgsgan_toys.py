"""CGS-GAN on the toy cars with known cameras, 64², on two CPU cores: 2,688 Gaussians.

128 points in three levels. Nothing of the camera reaches the generator; each car is seen from two
sides in the generator's step. 1.1 million parameters, 2.7 GFLOP an image in training beside the
drawing. Not trained yet: how long it takes and what it reaches is open.
"""

from jax3dgan import config as config_lib
from jax3dgan import toys_experiment


def get_config():
  """The experiment."""
  config = toys_experiment.base_config('cgsgan')
  config.data.use_labels = True
  config.num_steps = 10_000
  config.batch_size = 8
  config_lib.set_model(
    config,
    'cgsgan',
    z_dim=64,
    w_dim=64,
    num_points=128,
    width=96,
    num_heads=4,
    num_blocks=4,
    ratios=(1, 4, 4),
    channels=(64, 32, 32),
    target_resolution=64,
    # A pixel is .014, and the paper's start would be dust.
    log_scale=-2.5,
    start_opacity=0.3,
  )
  config.render.update(near=0.55, far=1.45)
  config_lib.set_discriminator(
    config, 'stylegan2', channels=(128, 128, 64, 32, 16), label_dim=25, mapping_layers=2
  )
  config.loss.update(r1=0.3)
  config.cgsgan.update(views=2, num_neighbours=16, blur=2.0, blur_images=10_000)
  config.ema.ramp_up = 0.05
  config.log.images_every = 500
  config.checkpoint.every = 500
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
