"""The face model of an Exp-GAN as arrays among its buffers, so that weights say all of a generator;
and faces of the model to draw, where nobody gives codes.

| buffer | |
|---|---|
| mean, shape_basis, expression_basis | [v, 3], [k, v, 3], [e, v, 3] of the region's vertices |
| region, region_uv | int32 [t, 3], [t, 3, 2] |
| jaw_{weight, joint, joint_shape, joint_expression, correctives} | of a jaw, see `morphable.Jaw` |
| faces | [n, k + e (+ 3)] codes of identity and expression, and of the jaw |
"""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jax3dgan import registry
from jax3dgan.errors import UserError
from jax3dgan.morphable import Jaw, MorphableModel

JAW = 3  # numbers of a jaw's rotation, the last of an expression's code
READER = 'jax3dgan.data.face_reader:Reader'


def shapes(generator) -> dict[str, tuple[tuple[int, ...], type]]:
  """{buffer: (shape, dtype)} of a generator's fields."""
  v, t = generator.num_vertices, generator.num_triangles
  k, e = generator.num_identity, generator.num_expression - JAW * generator.jaw
  found = {
    'mean': (v, 3),
    'shape_basis': (k, v, 3),
    'expression_basis': (e, v, 3),
    'region_uv': (t, 3, 2),
    'faces': (generator.num_faces, k + generator.num_expression),
  }
  if generator.jaw:
    found |= {
      'jaw_weight': (v,),
      'jaw_joint': (3,),
      'jaw_joint_shape': (k, 3),
      'jaw_joint_expression': (e, 3),
      'jaw_correctives': (9, v, 3),
    }
  return {name: (shape, jnp.float32) for name, shape in found.items()} | {
    'region': ((t, 3), jnp.int32)
  }


def model_of(buffers) -> MorphableModel:
  """The region's model, without landmarks, of arrays by the names of `shapes`."""
  jaw = None
  if 'jaw_weight' in buffers:
    jaw = Jaw(**{f.name: buffers[f'jaw_{f.name}'] for f in dataclasses.fields(Jaw)})
  return MorphableModel(
    mean=buffers['mean'],
    shape_basis=buffers['shape_basis'],
    expression_basis=buffers['expression_basis'],
    faces=buffers['region'],
    region=buffers['region'],
    region_uv=buffers['region_uv'],
    landmark_corners=np.zeros((0, 3), np.int32),
    landmark_weights=np.zeros((0, 3), np.float32),
    jaw=jaw,
  )


def vertices(model: MorphableModel, identity, expression):
  """[b, v, 3] of codes [b, k] and [b, e], or [b, e + 3] of a model with a jaw."""
  if model.jaw is None:
    return model.vertices(identity, expression)
  return model.vertices(identity, expression[:, :-JAW], expression[:, -JAW:])


class FaceReader:
  """Reads a face model from the user's files: `READER`, which lies in a higher layer."""

  def read(
    self, path: str, source: str, num: int, sizes: tuple[int, int]
  ) -> tuple[MorphableModel, str, np.ndarray]:
    """A face model, where it is from, and codes [num, k + e (+ 3)] of people as the data have them.

    Args:
      path: See `data.face_models.load`; '' for the one that the data are rendered from.
      source: `config.data.source`.
      sizes: (k, e): of a model with more, whose expressions have no names, the first of each kind
        are taken, as of FLAME's 300 and 100.

    Raises:
      UserError: There is none, or it is no face model.
    """
    raise NotImplementedError


def buffers_of(
  generator, path: str, source: str, scale: float = 1.0, offset=(0.0, 0.0, 0.0)
) -> dict[str, np.ndarray]:
  """The buffers of a generator, see the module.

  Args:
    path, source: See `FaceReader.read`.
    scale, offset: Of its vertices in the world, see `MorphableModel.moved`.

  Raises:
    UserError: As there; or the model has other numbers than the generator's fields, all of which
      the message has.
  """
  found, wanted, path = read(generator, path, source, scale, offset)
  if any(getattr(generator, name) != value for name, value in wanted.items()):
    flags = ' '.join(f'--config.model.{name}={value}' for name, value in wanted.items())
    raise UserError(f'The face model {path} has other numbers than config.model. Set {flags}.')
  return found


def read(
  generator, path: str, source: str, scale: float = 1.0, offset=(0.0, 0.0, 0.0)
) -> tuple[dict[str, np.ndarray], dict, str]:
  """(buffers, the fields that a generator of this face model has, where it is from); see
  `buffers_of`. Of the generator only the codes count."""
  reader = registry.resolve('reader of face models', READER, {}, FaceReader)()
  sizes = generator.num_identity, generator.num_expression - JAW * generator.jaw
  model, path, faces = reader.read(path, source, generator.num_faces, sizes)
  model = model.of_region()
  if scale != 1 or any(offset):
    model = model.moved(scale, offset)
  has_jaw = model.jaw is not None
  wanted = {
    'num_vertices': len(model.mean),
    'num_triangles': len(model.region),
    'num_identity': len(model.shape_basis),
    'num_expression': len(model.expression_basis) + JAW * has_jaw,
    'jaw': has_jaw,
  }
  return arrays_of(model) | {'faces': faces}, wanted, path


def arrays_of(model: MorphableModel) -> dict[str, np.ndarray]:
  """The buffers of a region's model but for `faces`: the inverse of `model_of`."""
  found = {
    name: np.asarray(getattr(model, name))
    for name in ('mean', 'shape_basis', 'expression_basis', 'region', 'region_uv')
  }
  if model.jaw is not None:
    jaw = {f.name: getattr(model.jaw, f.name) for f in dataclasses.fields(Jaw)}
    if jaw['correctives'] is None:
      jaw['correctives'] = np.zeros((9, *model.mean.shape), np.float32)
    found |= {f'jaw_{name}': np.asarray(x) for name, x in jaw.items()}
  return found
