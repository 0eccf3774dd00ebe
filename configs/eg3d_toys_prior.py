"""The EG3D of eg3d_toys_posefree.py where even the distribution of the cameras is only guessed.

The cars are seen from 10° to 40° above, the prior that it starts from says −2° to 28°: a camera
generator learns the rest (`cameras.camera_generator`). It moves the pitch alone: as the cameras go
all the way round, no yaw is the right one. TensorBoard shows where it is: `pose_prior/*_degrees`; a
pitch of 90° is the horizon, and the true mean is 65°.

Result: not trained to its end; how far short runs came is in docs/cameras.md.
"""

import math
import pathlib
import runpy

from jax3dgan import config as config_lib

_BASE = pathlib.Path(__file__).with_name('eg3d_toys_posefree.py')


def get_config():
  """The experiment."""
  config = runpy.run_path(str(_BASE))['get_config']()
  config.pose_prior.pitch_mean = math.pi / 2 - math.radians(13.0)
  config.camera_generator.angles = 'pitch'
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
