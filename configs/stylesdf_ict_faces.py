"""The second stage of a small StyleSDF on rendered faces, 64² of features of 32², on two CPU cores.

The renderer is that of configs/stylesdf_stage1_ict_faces.py, from the run in its usual workdir
(--config.init_from=DIR for another), and frozen; the data as there.
"""

import pathlib
import runpy

_FOLDER = pathlib.Path(__file__).parent
_TOYS = runpy.run_path(str(_FOLDER / 'stylesdf_toys.py'))
_STAGE1 = runpy.run_path(str(_FOLDER / 'stylesdf_stage1_ict_faces.py'))


def get_config():
  """The experiment."""
  config = _TOYS['of_renderer'](_STAGE1['get_config']())
  config.init_from = 'runs/stylesdf_stage1_ict_faces'
  return config


def get_test_config():
  """Two steps in seconds, on toys: the face model need not be there."""
  return _TOYS['get_test_config']()
