"""A small EG3D on rendered faces with known cameras, 64² from 32² rendered, on two CPU cores.

Data: faces of the user's own copy of the ICT face model, rendered at first use (docs/faces.md):
--config.data.source=ict:FOLDER, or ICT_FACE_MODEL=FOLDER in the environment. Cameras as of EG3D's
FFHQ: 2.7 from the head's middle, focal length 4.2647, yaw 0.3 and pitch 0.15 radians around the
front.

Cost: 5,000 steps of 16 images. Four steps, one of them with density regularisation, took 2.1 s of
processor time each on a busy machine (1.0 s without it), so 3 h of it, half as long on two idle
cores; R1, every 16th step, comes on top. Compilation takes minutes. The faces' own cost is in
docs/faces.md.
"""

import math
import pathlib
import runpy

from jax3dgan import config as config_lib

_TOYS = runpy.run_path(str(pathlib.Path(__file__).with_name('eg3d_toys.py')))


def look_at_faces(config):
  """Makes a config of the toys one of faces: the data and their cameras."""
  config.data.source = 'ict:'
  config.render.update(
    radius=2.7,
    fov_degrees=2 * math.degrees(math.atan(0.5 / 4.2647)),
    # All heads lie between.
    near=2.35,
    far=3.15,
  )
  config.pose_prior.update(
    name='truncated_gaussian', yaw_std=0.3, pitch_mean=math.pi / 2, pitch_std=0.15
  )


def get_config():
  """The experiment."""
  config = _TOYS['get_config']()
  config.model.box = 0.8
  look_at_faces(config)
  return config


def get_test_config():
  """Two steps in seconds, on toys: the face model need not be there."""
  config = config_lib.tiny(get_config())
  config.data.update(source='toys')
  config.render.update(radius=1.0, fov_degrees=48.0, near=0.55, far=1.45)
  return config
