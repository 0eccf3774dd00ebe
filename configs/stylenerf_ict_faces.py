"""A small StyleNeRF on rendered faces, 64² from 32² rendered, on two CPU cores.

Data: faces of the user's own copy of the ICT face model, rendered at first use (docs/faces.md):
--config.data.source=ict:FOLDER, or ICT_FACE_MODEL=FOLDER in the environment. Cameras as of
configs/eg3d_ict_faces.py; the photos' labels are not read: the discriminator predicts the pose of
fakes. Cost: as of configs/stylenerf_toys.py.

Result: after 4,700 steps, three quarters of an hour of processor time, eyes, noses, mouths and ears
on heads whose depth is a face's; after 5,621, an hour (`faces_stylenerf` of the package), FID-768
of .44, and a depth error of inverted pictures of .027.
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
  # With the toys' 3 the discriminator asks for no features within 3,500 steps.
  config.loss.r1 = 1.0
  return config


def get_test_config():
  """Two steps in seconds, on toys: the face model need not be there."""
  return toys_experiment.tiny_with_toys(get_config(), _TOYS['get_test_config'](), ('stylenerf',))
