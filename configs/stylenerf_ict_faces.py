"""A small StyleNeRF on rendered faces, 64² from 32² rendered, on two CPU cores.

Data: faces of the user's own copy of the ICT face model, rendered at first use (docs/faces.md):
--config.data.source=ict:FOLDER, or ICT_FACE_MODEL=FOLDER in the environment. Cameras as of
configs/eg3d_ict_faces.py; the photos' labels are not read: the discriminator predicts the pose of
fakes. Cost: as of configs/stylenerf_toys.py.
"""

import pathlib
import runpy

from jax3dgan import toys_experiment

_FOLDER = pathlib.Path(__file__).parent
_TOYS = runpy.run_path(str(_FOLDER / 'stylenerf_toys.py'))
_FACES = runpy.run_path(str(_FOLDER / 'eg3d_ict_faces.py'))


def get_config():
  """The experiment: as of the toys, with the faces' cameras."""
  config = _TOYS['get_config']()
  _FACES['look_at_faces'](config)
  # Of directions within a few tenths of each other.
  config.loss.pose = 15.0
  return config


def get_test_config():
  """Two steps in seconds, on toys: the face model need not be there."""
  return toys_experiment.tiny_with_toys(get_config(), _TOYS['get_test_config'](), ('stylenerf',))
