"""Reads a morphable model from the user's file, an npz of plain arrays under the names of this
project or FLAME's, which docs/morphable.md lists, or the folder of the ICT Face Model Light.
"""

import os
import zipfile

import numpy as np

from jax3dgan.data.builders.ict_faces import model as ict_model
from jax3dgan.data.builders.ict_faces import morphable as ict
from jax3dgan.errors import UserError
from jax3dgan.morphable.model import Jaw, MorphableModel

_PAGE = 'See docs/morphable.md for the arrays.'
_NEEDED = ('mean', 'shape_basis', 'expression_basis', 'faces', 'uv')
_FLAME_SHAPES = 300  # of identity, the first of `shapedirs`
_FLAME_NUMBERS = 400
_FLAME_JAW = 2  # of FLAME's joints: root, neck, jaw, left and right eye
_FLAME_NAMES = {
  'v_template': 'mean',
  'f': 'faces',
  'vt': 'uv',
  'ft': 'faces_uv',
  'full_lmk_faces_idx': 'landmark_face',
  'full_lmk_bary_coords': 'landmark_bary',
}


def load(path, num_shape: int = 0, num_expression: int = 0) -> MorphableModel:
  """Reads a model, of NumPy arrays.

  Args:
    path: an npz file, or the folder of the ICT Face Model Light.
    num_shape, num_expression: take only so many codes, the first; 0 for all.

  Raises:
    UserError: it is not there, or no such model.
  """
  path = os.path.expanduser(os.fspath(path))
  if os.path.isdir(path) or os.path.basename(path) == ict_model.FILE:
    model = ict.load(path if os.path.isdir(path) else os.path.dirname(path) or '.')
  else:
    model = from_arrays(_read(path), path)
  return _first_codes(model, num_shape, num_expression, path)


def _read(path) -> dict:
  try:
    with np.load(path, allow_pickle=False) as file:
      return dict(file)
  except FileNotFoundError as error:
    raise UserError(f'The face model {path} is not there. Name an npz file. {_PAGE}') from error
  except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
    raise UserError(
      f'{path} is no npz file of plain arrays (pickles are not opened). Save its arrays with '
      f'numpy.savez. {_PAGE}'
    ) from error


def from_arrays(arrays: dict, name: str) -> MorphableModel:
  """The model of a file's arrays.

  Args:
    name: of the file, for messages.

  Raises:
    UserError: an array is missing, or does not fit.
  """
  arrays = _of_flame(arrays, name) if 'v_template' in arrays else dict(arrays)
  missing = [key for key in _NEEDED if key not in arrays]
  if missing:
    raise UserError(f'{name} has no array {missing[0]}: it is no face model. {_PAGE}')
  arrays = _checked(arrays, name)
  mean, shape, expression = (arrays[key] for key in _NEEDED[:3])
  faces = arrays['faces']
  corners, weights = _landmarks(arrays, faces)
  region = np.ones(len(mean), bool)
  if 'face_region_vertices' in arrays:
    given = arrays['face_region_vertices']
    region = given if given.dtype == bool else np.isin(np.arange(len(mean)), given)
  drawn = region[faces].all(1)
  if not drawn.any():
    raise UserError(f'{name} has no triangle with three vertices of face_region_vertices.')
  return MorphableModel(
    mean=mean,
    shape_basis=shape,
    expression_basis=expression,
    faces=faces,
    region=faces[drawn],
    region_uv=arrays['uv'][arrays.get('faces_uv', faces)[drawn]],
    landmark_corners=corners,
    landmark_weights=weights,
    jaw=_jaw(arrays, mean, shape, expression),
  )


def _of_flame(arrays, name) -> dict:
  """FLAME's arrays under this project's names."""
  found = {_FLAME_NAMES.get(key, key): np.asarray(value) for key, value in arrays.items()}
  basis = found.pop('shapedirs', np.zeros(0))
  if basis.ndim != 3 or basis.shape[2] != _FLAME_NUMBERS:
    raise UserError(
      f'{name} has v_template and shapedirs of shape {basis.shape}, not [v, 3, {_FLAME_NUMBERS}]: '
      f'{_FLAME_SHAPES} of identity, then those of expression. {_PAGE}'
    )
  basis = np.moveaxis(basis, 2, 0)
  found['shape_basis'], found['expression_basis'] = np.split(basis, [_FLAME_SHAPES])
  for key in ('landmark_face', 'landmark_bary'):  # FLAME's begin with an axis of one
    if key in found:
      found[key] = found[key].reshape(-1, *found[key].shape[2:])
  weights, regressor = found.pop('weights', None), found.pop('J_regressor', None)
  directions = found.pop('posedirs', None)
  if weights is not None and regressor is not None:
    if weights.ndim != 2 or regressor.shape != weights.T.shape or weights.shape[1] <= _FLAME_JAW:
      raise UserError(
        f'{name} has weights of shape {weights.shape} and J_regressor of shape {regressor.shape}, '
        f'not [v, 5] and [5, v]. {_PAGE}'
      )
    found['jaw_weight'] = weights[:, _FLAME_JAW]
    found['jaw_joint_regressor'] = regressor[_FLAME_JAW]
    if directions is not None:
      if directions.shape != (len(weights), 3, 36):
        raise UserError(f'{name} has posedirs of shape {directions.shape}, not [v, 3, 36]. {_PAGE}')
      first = 9 * (_FLAME_JAW - 1)  # the root has none
      found['jaw_correctives'] = np.moveaxis(directions[:, :, first : first + 9], 2, 0)
  return found


def _checked(arrays, name) -> dict:
  """The arrays that are used, float32 and int32, with shapes and ranges that fit."""
  count, triangles, uv = (len(np.atleast_1d(arrays[k])) for k in ('mean', 'faces', 'uv'))
  marks = len(np.atleast_1d(arrays.get('landmark_face', ())))
  shapes = {
    'mean': (count, 3),
    'shape_basis': (None, count, 3),
    'expression_basis': (None, count, 3),
    'uv': (uv if 'faces_uv' in arrays else count, 2),
    'landmark_bary': (marks, 3),
    'jaw_weight': (count,),
    'jaw_joint_regressor': (count,),
    'jaw_correctives': (9, count, 3),
  }
  ranges = {
    'faces': ((triangles, 3), count),
    'faces_uv': ((triangles, 3), uv),
    'landmark_face': ((marks,), triangles),
    'landmarks': ((None,), count),
    'face_region_vertices': ((None,), count),
  }
  checked = {}
  for key, array in arrays.items():
    shape = shapes.get(key) or ranges.get(key, (None,))[0]
    if shape is None:
      continue
    if array.ndim != len(shape) or any(
      wanted not in (None, there) for wanted, there in zip(shape, array.shape, strict=True)
    ):
      wanted = '[' + ', '.join('n' if n is None else str(n) for n in shape) + ']'
      raise UserError(f'{name} has {key} of shape {list(array.shape)}, not {wanted}. {_PAGE}')
    if key in shapes:
      if array.dtype.kind not in 'fiu' or not np.isfinite(array).all():
        raise UserError(f'{name} has values in {key} that are no finite numbers. Copy it again.')
      checked[key] = np.ascontiguousarray(array, np.float32)
    elif array.dtype == bool and key == 'face_region_vertices' and len(array) == count:
      checked[key] = array
    elif (
      array.dtype.kind not in 'iu'
      or array.size
      and not 0 <= array.min() <= array.max() < (ranges[key][1])
    ):
      raise UserError(f'{name} has {key} that are no whole numbers from 0 to {ranges[key][1] - 1}.')
    else:
      checked[key] = array.astype(np.int32)
  for one, other in (('landmark_face', 'landmark_bary'), ('jaw_weight', 'jaw_joint_regressor')):
    if (one in checked) != (other in checked):
      raise UserError(f'{name} has one of {one} and {other} without the other. {_PAGE}')
  return checked


def _landmarks(arrays, faces):
  """Vertices [l, 3] and weights [l, 3]."""
  if 'landmark_face' in arrays:
    return faces[arrays['landmark_face']], arrays['landmark_bary']
  vertices = arrays.get('landmarks', np.zeros(0, np.int32))
  weights = np.zeros((len(vertices), 3), np.float32)
  weights[:, 0] = 1
  return np.repeat(vertices[:, None], 3, axis=1), weights


def _jaw(arrays, mean, shape, expression) -> Jaw | None:
  if 'jaw_weight' not in arrays:
    return None
  regressor = arrays['jaw_joint_regressor']
  joint, of_shape, of_expression = (
    np.einsum('v,...vc->...c', regressor, x) for x in (mean, shape, expression)
  )
  return Jaw(arrays['jaw_weight'], joint, of_shape, of_expression, arrays.get('jaw_correctives'))


def _first_codes(model: MorphableModel, num_shape, num_expression, name) -> MorphableModel:
  bases = (('shape', num_shape), ('expression', num_expression))
  for kind, wanted in bases:
    there = len(getattr(model, f'{kind}_basis'))
    if not 0 <= wanted <= there:
      raise UserError(f'{name} has {there} codes of {kind}, not {wanted}. Ask for at most these.')
  return model.first_codes(
    num_shape or len(model.shape_basis), num_expression or len(model.expression_basis)
  )
