"""3D Gaussians (GGHead, told nothing of the camera) on rendered faces with known cameras, 64², on
two CPU cores.

Data: faces of the user's own copy of the ICT face model, rendered at first use (docs/faces.md):
--config.data.source=ict:FOLDER, or ICT_FACE_MODEL=FOLDER in the environment. 4,096 Gaussians on
half an ellipsoid of a head's size; cost as of configs/gaussians_toys.py.

At 128², with 16,384 Gaussians, from its weights: --config.init_from=DIR --config.resolution=128
--config.model.points=128 --config.discriminator.channels=128,128,64,32,16,16.
"""

import pathlib
import runpy

from jax3dgan import toys_experiment

_FOLDER = pathlib.Path(__file__).parent
_TOYS = runpy.run_path(str(_FOLDER / 'gaussians_toys.py'))
_FACES = runpy.run_path(str(_FOLDER / 'eg3d_ict_faces.py'))


def get_config():
  """The experiment: as of the toys, with the faces' cameras."""
  config = _TOYS['get_config']()
  config.model.update(
    template='half_ellipsoid',
    template_radius=(0.27, 0.4, 0.29),  # of the model's neutral head, with its neck
    template_centre=(0.0, -0.08, -0.05),
  )
  _FACES['look_at_faces'](config)
  return config


def get_test_config():
  """Two steps in seconds, on toys: the face model need not be there."""
  return toys_experiment.tiny_with_toys(get_config(), _TOYS['get_test_config']())
