"""A small Exp-GAN on rendered faces with known cameras and codes, 64² from 32² rays, on two CPU
cores: faces whose expression and identity are those of a face model.

Data: faces of the user's own copy of the ICT face model, rendered at first use (docs/faces.md):
--config.data.source=ict:FOLDER, or ICT_FACE_MODEL=FOLDER in the environment. The same model is the
surface that the generator draws: 6,500 vertices of the skin between hairline and chin. The eyes,
the mouth's inside, ears, hair and neck are the tri-plane's.

Cost: 8,000 steps of 8 images, 0.7 s of processor time each, so an hour and a half; compilation two
minutes.
Result: after 750 steps heads that turn, with dark eyes; after 2,750 mouths that open, teeth, skin
of its own; after 7,459, 1 h 26 min, ears, eyes that look, and expressions as told from every side
(docs/expression.md): gain .65 where true pictures have .83.
"""

import pathlib
import runpy

from jax3dgan import config as config_lib
from jax3dgan import toys_experiment

_FACES = runpy.run_path(str(pathlib.Path(__file__).with_name('eg3d_ict_faces.py')))
# Of the 57 weights of expression, by their names in alphabetical order, those that the faces have
# and that move the skin: neither those that never occur (as `cheekRaiser`) nor the eight of gaze.
EXPRESSIONS = (
  *range(2, 10), 12, 13, 14, 15, *range(24, 28), 30, 35, 36, 37, *range(39, 44), 47, *range(49, 57)
)  # fmt: skip
JAW_OPEN = 30  # it also moves what is beside the face model's region


def get_config():
  """The experiment."""
  config = toys_experiment.base_config('expgan')
  _FACES['look_at_faces'](config)
  config.data.use_labels = True
  config.num_steps = 8000
  config.batch_size = 8
  config_lib.set_model(
    config,
    'expgan',
    latent_dim=64,
    w_dim=64,
    num_expression=57,
    jaw=False,
    identity_inputs=20,
    expression_inputs=(JAW_OPEN,),
    num_vertices=6500,
    num_triangles=12651,
    channels=(128, 128, 128, 64),
    plane_features=16,
    texture_channels=32,
    texture_hidden=32,
    decoder_hidden=32,
    up_channels=(64, 32),
    low_resolution=32,
    box_half=(0.4, 0.4, 0.4),
    box_centre=(0.0, 0.0, 0.0),
    clamp=0.0,
  )
  config.render.update(
    num_coarse=8, num_fine=8, white_back=True, last_back=False, last_interval='far'
  )
  config.display.update(num_coarse=16, num_fine=16, ray_chunk=0)
  config_lib.set_discriminator(
    config,
    'expgan',
    channels=(128, 128, 64, 32, 16),
    low_resolution=32,
    expression_dim=len(EXPRESSIONS),
    identity_dim=10,
  )
  # R1 by the pixels of the paper's. Guesses are of standardised numbers: one that knows nothing
  # errs by 1, where the paper's 15 times the error of a FLAME code are about 1.2.
  config.loss.update(r1=0.6, r1_low=0.05, pose=1.5, expression=3.0, identity=1.5)
  config.loss.update(density_noise_steps=800, fade_steps=800)
  config.expgan.expressions = EXPRESSIONS
  return config


def get_test_config():
  """Two steps in seconds; the face model must be there."""
  return config_lib.tiny(get_config())
