"""A small GIRAFFE on scenes of two or three toy cars on a ground, 64² from 16² rendered, on two CPU
cores.

Nobody says which pixels are which car: each object's field has a box, and the boxes are placed,
turned and counted at random as the cars are. The scenes have the truth of one car's move, with
which `jax3dgan.main --mode=eval` measures what a move changes elsewhere.

Cost: 6,000 steps of 16 images, .7 s of processor time each.
Result: after 5,069 steps, an hour (`toys_giraffe_scenes` of the package; R1 was .25 in the first
2,220), two or three cars with paint and dark windows on a chequered ground, which can be moved,
turned and taken away one by one. FID-768 .99; a move changes the rest by .4 % of the car's own
change. Paints change as cars turn.
"""

import math
import pathlib
import runpy

from jax3dgan import config as config_lib

_BASE = runpy.run_path(str(pathlib.Path(__file__).with_name('giraffe_toys.py')))


def get_config():
  """The experiment."""
  config = _BASE['get_config']()
  config.data.split = 'scenes'
  config.model.update(
    num_objects=3,
    counts=(0.0, 0.5, 0.5),
    placements=8,
    size_min=(0.09, 0.09, 0.14),
    size_max=(0.125, 0.12, 0.2),
    position_min=(-0.4, 0.1, -0.4),
    position_max=(0.4, 0.1, 0.4),
    background_dim=32,
    background_hidden=64,
  )
  config.render.update(radius=1.6, fov_degrees=40.0, near=0.9, far=2.6, num_coarse=24)
  config.display.num_coarse = 32
  config.pose_prior.update(pitch_mean=math.pi / 2 - math.radians(32.5), pitch_std=math.radians(7.5))
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
