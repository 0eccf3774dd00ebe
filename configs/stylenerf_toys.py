"""A small StyleNeRF on the toy cars, 64² from 32² rendered, on two CPU cores.

All the way round, without the cars' cameras: only their distribution is known, and the
discriminator predicts the direction of the camera, so that cars turn with it. The white ground is
no background network's: what passes the car is white.

Cost: 6,000 steps of 16 images, .5 s of processor time each at 32² and .7 s at 64²: an hour.
Result: after 2,000 steps at 32², a quarter of an hour of processor time, cars with cabins, windows
and wheels, paint of several colours, round from every side. After 6,100 (`toys_stylenerf` of the
package), lights, hubs, and FID-768 of .53; shapes are simple and nearly the same.
"""

from jax3dgan import config as config_lib
from jax3dgan import toys_experiment


def get_config():
  """The experiment."""
  config = toys_experiment.base_config('stylenerf')
  config.num_steps = 6000
  config.resolution = 32
  config.stages = (dict(from_step=3000, resolution=64),)
  config_lib.set_model(
    config,
    'stylenerf',
    latent_dim=64,
    w_dim=64,
    mapping_layers=2,
    hidden_dim=64,
    num_layers=4,
    num_frequencies=4,
    feature_dim=32,
    background=False,
    density_gain=10.0,
    low_resolution=32,
    channels=(32,),
    # The ground is even: with zeros every image has a frame that photos have not.
    upsampling_border='repeat',
  )
  config.render.update(
    near=0.55,
    far=1.45,
    num_coarse=6,
    num_fine=6,
    white_back=True,
    limits_along='ray',
  )
  config.display.update(num_coarse=12, num_fine=12, ray_chunk=0)
  config_lib.set_discriminator(
    config, 'stylenerf', channels=(128, 128, 64, 32, 16), pose_dim=3, mapping_layers=2
  )
  config.loss.update(
    # With .3 the discriminator wins soon after the size has grown (.3 against 4), and shapes stay
    # lumps.
    r1=3.0,
    pose=1.0,
    pose_encoding='direction',
    density_noise=1.0,
    density_noise_steps=2000,
    fade_steps=400,
  )
  config.stylenerf.update(nerf_path_pixels=8, path_length=0.0)
  config.ema.ramp_up = 0.05
  return config


def tiny(config):
  """Two steps in seconds of a config of this one's kind."""
  config = config_lib.tiny(config)
  config.stylenerf.nerf_path_pixels = 4
  return config


def get_test_config():
  """Two steps in seconds."""
  return tiny(get_config())
