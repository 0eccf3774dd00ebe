"""3D Gaussians (GGHead, told nothing of the camera) on rendered faces with known cameras, 64², on
two CPU cores.

Data: faces of the user's own copy of the ICT face model, rendered at first use (docs/faces.md):
--config.data.source=ict:FOLDER, or ICT_FACE_MODEL=FOLDER in the environment. The same model's
neutral head is the template: 3,265 Gaussians, one for each texel of a 64² map that is on it. Cost
as of configs/gaussians_toys.py.

At 128², with 12,998 Gaussians, from its weights: --config.init_from=DIR --config.resolution=128
--config.model.points=128 --config.model.num_given=12998 --config.model.start_scale=0.00772
--config.discriminator.channels=128,128,64,32,16,16. Without the model, on shards of such faces:
--config.model.template=half_ellipsoid --config.model.num_given=0 --config.model.start_scale=0
--config.model.template_radius=0.27,0.4,0.29 --config.model.template_centre=0,-0.08,-0.05.
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
  config.model.update(template='ict', num_given=3265, start_scale=0.0154)
  config.model.template_radius = (0.25, 0.25, 0.25)  # of computed templates alone
  # With 1, as for cars, the discriminator has lost after 1,500 steps. With .5 there are heads with
  # hair, eyes and mouths after 3,000, with .2 earlier; at 4,000 both begin to bend faces.
  # With model.reach=0.04 and gghead.stretch=5 shapes hold at 4,000, and one eye is smeared.
  config.loss.r1 = 0.5
  _FACES['look_at_faces'](config)
  return config


def get_test_config():
  """Two steps in seconds, on toys: the face model need not be there."""
  config = toys_experiment.tiny_with_toys(get_config(), _TOYS['get_test_config']())
  config.model.update(template='half_ellipsoid', num_given=0)
  return config
