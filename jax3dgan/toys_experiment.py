"""What the experiments on the toy cars have in common, whatever the model: the photos, the cameras
that took them, and runs of minutes on a CPU."""

import math

from jax3dgan import config as config_lib


def base_config(recipe: str = 'pigan'):
  """`config.base_config(recipe)` for the toys: 64², batches of 16, cameras all the way round.

  What a model renders between is near=0.55 and far=1.45.
  """
  config = config_lib.base_config(recipe)
  config.platform = 'any'  # small enough for a CPU beside a GPU that JAX cannot use
  config.data.update(source='toys', loader='arrays', on_device=True)
  config.resolution = 64
  config.batch_size = 16
  config.render.fov_degrees = 48.0
  config.display.truncation_psi = 0.7
  config.pose_prior.update(
    name='uniform',
    yaw_std=math.pi,
    pitch_mean=math.pi / 2 - math.radians(25.0),
    pitch_std=math.radians(15.0),
  )
  config.ema.update(rates=(0.995,), display_rate=0.995)
  # As many images as photos.
  config.eval.update(num_images=4000, num_latents=64)
  config.log.update(every=20, images_every=250)
  config.checkpoint.update(every=250)
  return config


def tiny_with_toys(config, toys, more=()):
  """Two steps in seconds of an experiment on other photos, with the photos and cameras of the toys.

  Args:
    config: The experiment's.
    toys: A tiny config of the toys.
    more: Groups of it that are taken too.
  """
  config = config_lib.tiny(config)
  for group in ('data', 'render', 'pose_prior', *more):
    config[group].update(toys[group])
  return config
