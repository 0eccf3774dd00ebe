"""The EG3D of eg3d_toys.py on the same toy cars without their cameras, only their distribution.

No labels: cameras come from the pose prior, neither generator nor discriminator is conditioned on
them, and the discriminator predicts the direction of the camera of fakes, as in π-GAN, so that cars
turn with the camera.
"""

import pathlib
import runpy

from jax3dgan import config as config_lib

_BASE = pathlib.Path(__file__).with_name('eg3d_toys.py')


def get_config():
  """The experiment."""
  config = runpy.run_path(str(_BASE))['get_config']()
  config.data.use_labels = False
  config.model.label_dim = 0
  config.discriminator.update(label_dim=0, pose_dim=3)
  config.loss.update(pose=1.0, pose_encoding='direction')
  return config


def get_test_config():
  """Two steps in seconds."""
  return config_lib.tiny(get_config())
