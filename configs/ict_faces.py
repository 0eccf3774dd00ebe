"""A small π-GAN on rendered faces, 32² then 64², on two CPU cores.

Data: faces of the user's own copy of the ICT face model, rendered at first use (docs/faces.md):
--config.data.source=ict:FOLDER, or ICT_FACE_MODEL=FOLDER in the environment. Cameras as of
configs/eg3d_ict_faces.py; the photos' labels are not read. Cost: as of configs/toys.py, four times
as much a step at 64²: an hour of processor time for 6,800 steps.
Result: heads with hair, ears, noses, mouths and shaded eyes, one face nearly; FID-768 at 64² .43,
depth error of inverted pictures .029.
"""

import pathlib
import runpy

from jax3dgan import toys_experiment

_FOLDER = pathlib.Path(__file__).parent
_TOYS = runpy.run_path(str(_FOLDER / 'toys.py'))
_FACES = runpy.run_path(str(_FOLDER / 'eg3d_ict_faces.py'))


def get_config():
  """The experiment: as of the toys, with the faces' cameras."""
  config = _TOYS['get_config']()
  config.num_steps = 7500
  config.stages = (dict(from_step=5000, resolution=64, lr_generator=4e-4, lr_discriminator=2e-4),)
  config.loss.fade_steps = 400
  config.discriminator.channels = (16, 16, 32, 64, 128, 128)
  # The box of all heads, .4 to each side, as of the toys' .45.
  config.model.input_scale = 2.0
  _FACES['look_at_faces'](config)
  # Of directions within a few tenths of each other.
  config.loss.pose = 15.0
  return config


def get_test_config():
  """Two steps in seconds, on toys: the face model need not be there."""
  return toys_experiment.tiny_with_toys(get_config(), _TOYS['get_test_config']())
