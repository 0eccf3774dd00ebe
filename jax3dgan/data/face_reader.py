"""The face model that a training draws, and codes of people like those of its data."""

import numpy as np

from jax3dgan.data import face_models, rendered_faces
from jax3dgan.generators.expgan_faces import JAW, FaceReader
from jax3dgan.morphable import MorphableModel

_SEED = 0


class Reader(FaceReader):
  """See `FaceReader`."""

  def read(self, path: str, source: str, num: int, sizes: tuple[int, int]):
    """See `FaceReader.read`."""
    if not path:
      from jax3dgan.data.builders.ict_faces import generate

      flag = '--config.expgan.face_model=FILE (docs/morphable.md)'
      path = generate.parse(rendered_faces.with_model(source, '', flag)).folder
    model = face_models.load(path)
    if not model.expression_names:
      model = model.first_codes(*sizes)
    return model, path, _people(model, num)


def _people(model: MorphableModel, num: int) -> np.ndarray:
  """Codes [num, k + e (+ 3)]: as the rendered faces have them, of a model whose expressions have
  names; otherwise normal, with a jaw that opens by 0.1 radians or so."""
  rng = np.random.default_rng(_SEED)
  k, e = len(model.shape_basis), len(model.expression_basis)
  if not model.expression_names:
    codes = rng.standard_normal((num, k + e))
    if model.jaw is not None:
      jaw = np.zeros((num, JAW))
      jaw[:, 0] = 0.1 * np.abs(rng.standard_normal(num))
      codes = np.concatenate([codes, jaw], axis=1)
    return codes.astype(np.float32)
  from jax3dgan.data.builders.ict_faces import looks

  drawn = [looks.draw(rng, model.expression_names, k) for _ in range(num)]
  return np.stack([np.concatenate([look.identity, look.expression]) for look in drawn])
