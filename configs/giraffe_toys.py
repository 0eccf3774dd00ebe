"""A small GIRAFFE on the toy cars, 64² from 16² rendered, on two CPU cores.

One object and a background. Cameras stand in front and differ in their elevation alone: it is the
car that turns, all the way round, and nobody is told how.

Different from the paper: what passes all samples shows the background at the last one
(render.last_back) instead of whatever density is there (an infinite last interval). Otherwise the
noise of the density makes backgrounds in training that are not there without it.

Cost: 6,000 steps of 16 images, .58 s of processor time each on a busy machine, so an hour of it.
"""

from jax3dgan import config as config_lib
from jax3dgan import toys_experiment


def get_config():
  """The experiment."""
  config = toys_experiment.base_config('giraffe')
  config.num_steps = 6000
  config_lib.set_model(
    config,
    'giraffe',
    latent_dim=64,
    hidden_dim=64,
    num_layers=6,
    skip=3,
    point_frequencies=6,
    background_dim=16,
    background_hidden=32,
    background_layers=3,
    background_scale=3.0,
    feature_dim=64,
    channels=(64, 32),
    size_min=(0.25, 0.24, 0.37),
    size_max=(0.25, 0.24, 0.37),
    position_min=(0.0, 0.045, 0.0),
    position_max=(0.0, 0.045, 0.0),
  )
  config.render.update(radius=1.0, near=0.55, far=1.45, num_coarse=16)
  config.render.update(last_interval='far', last_back=True)
  config.display.update(num_coarse=24, ray_chunk=0, last_back=True)
  # With the paper's 10 a discriminator of this size learns nothing.
  config.loss.update(density_noise=0.3, r1=2.0)
  config.optimizer.lr_discriminator = 2e-4
  config.pose_prior.yaw_std = 0.0
  config_lib.set_discriminator(config, 'dcgan', channels=(32, 64, 128, 128))
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
