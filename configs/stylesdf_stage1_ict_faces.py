"""The first stage of a small StyleSDF on rendered faces, 32²: signed distances, on two CPU cores.

Data: faces of the user's own copy of the ICT face model, rendered at first use (docs/faces.md):
--config.data.source=ict:FOLDER, or ICT_FACE_MODEL=FOLDER in the environment. Cameras 2.7 from the
head's middle, focal length 4.2647, yaw 0.3 and pitch 0.15 radians around the front; the photos'
labels are not read.

Cost: as of configs/stylesdf_stage1_toys.py.
Result: after 1,300 steps heads that turn, with ears, round from the front; after 6,575, an hour of
processor time (`faces_stylesdf` of the package), eyes, noses and mouths, and people who differ;
FID-768 at 64² .25, depth error of inverted pictures .023. 13 % of the samples are inside the
surface, and the eikonal term is .02. Cheeks have holes in meshes at level 0, which .01 closes.
"""

import pathlib
import runpy

from jax3dgan import toys_experiment

_FOLDER = pathlib.Path(__file__).parent
_TOYS = runpy.run_path(str(_FOLDER / 'stylesdf_stage1_toys.py'))
_FACES = runpy.run_path(str(_FOLDER / 'eg3d_ict_faces.py'))


def get_config():
  """The experiment: as of the toys, with the faces' cameras."""
  config = _TOYS['get_config']()
  _FACES['look_at_faces'](config)
  # Seen from the front alone, heads become fog without a surface, or hollow masks, unless they
  # begin as what they are to be: a smooth ball of a head's size, solid from the start. With scales
  # of styles and points of .7 and 2, the ball is full of ripples, see `sphere_init.slope_error`;
  # with a β of .1, a quarter of the ball's radius, it is gone after 60 steps.
  config.model.update(input_scale=1.3, style_scale=0.35, beta=0.02, beta_floor=0.013)
  config.stylesdf.update(sphere_steps=3000, sphere_lr=1e-3, sphere_radius=0.27)
  config.loss.update(
    eikonal=1.0,
    # With the toys' 3 the discriminator asks for no features.
    r1=1.0,
    # Of directions within a few tenths of each other.
    pose=15.0,
  )
  return config


def get_test_config():
  """Two steps in seconds, on toys: the face model need not be there."""
  return toys_experiment.tiny_with_toys(get_config(), _TOYS['get_test_config'](), ('stylesdf',))
