"""Scenes of transforms.json files: NeRF-synthetic's (Blender), instant-ngp's, nerfstudio's.

All have cam2world matrices with OpenGL axes in a world with z up, of one scene or of one split.
"""

import posixpath

import numpy as np

from jax3dgan import lenses, texts
from jax3dgan.data import images
from jax3dgan.data.posed.frames import Capture, Frame, in_order
from jax3dgan.data.posed.lens import LARGEST, Lens
from jax3dgan.errors import UserError

FILE = 'transforms.json'
SPLIT_FILES = {split: f'transforms_{split}.json' for split in ('train', 'val', 'test')}
# instant-ngp maps a point p of the file to scale·p + offset, and the scene is a cube around
# (.5, .5, .5) whose side is aabb_scale; these are its defaults.
_NGP_SCALE, _NGP_OFFSET = 0.33, 0.5


def is_here(files, folder):
  """Whether a folder of the scene has such files."""
  names = (FILE, *SPLIT_FILES.values())
  return any(posixpath.join(folder, name) in files for name in names)


def read(files, folder) -> Capture:
  """Reads a scene.

  Args:
    files: `files.Files`.
    folder: where its transforms are, '' at the top.

  Raises:
    UserError: where a file is damaged, misses something, or is of another kind of camera.
  """
  own = {
    split: posixpath.join(folder, name)
    for split, name in SPLIT_FILES.items()
    if posixpath.join(folder, name) in files
  }
  notes = []
  path = posixpath.join(folder, FILE)
  if own:
    documents = {split: _parse(files, path) for split, path in own.items()}
    splits = {split: _frames(files, own[split], documents[split]) for split in own}
    first = next(iter(documents.values()))
    if path in files:
      notes.append(f'{FILE} is not read: the splits have files of their own.')
  else:
    first = _parse(files, path)
    splits = _listed_splits(path, first, _frames(files, path, first))
  if any('mask_path' in frame for frame in first['frames']):
    notes.append('Masks (mask_path) are not read.')
  is_named = any(name in first for name in ('ply_file_path', 'applied_transform', 'camera_model'))
  kind = 'Blender' if own else 'nerfstudio' if is_named else 'instant-ngp'
  region, has_centre = _region(first, next(iter(own.values()), path))
  return Capture(
    format=f'{kind} transforms',
    splits=splits,
    up='z',
    points=np.zeros((0, 3)),
    region=region,
    has_region_centre=has_centre,
    applied_transform=_applied_transform(first),
    notes=tuple(notes),
  )


def _parse(files, path):
  document = texts.parse_json(files.read_description(path), path)
  frames = document.get('frames') if isinstance(document, dict) else None
  if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
    raise UserError(f'{path} has no list of frames. Name a scene with a transforms.json of NeRF.')
  for flag in ('from_mitsuba', 'from_na'):
    if document.get(flag):
      raise UserError(f'{path} has {flag}, whose axes are not read. Write it with OpenGL axes.')
  return document


def _frames(files, path, document):
  """The frames of a file, sorted."""
  parent = posixpath.dirname(path)
  shared = {name: value for name, value in document.items() if name != 'frames'}
  frames = [_frame(files, path, parent, shared, i, f) for i, f in enumerate(document['frames'])]
  return in_order(frames, path)


def _frame(files, path, parent, shared, i, entries):
  from jax3dgan.cameras import formats  # Imports JAX: only where a scene is read.

  name = entries.get('file_path')
  where = f'{path}: frame {i}'
  if not isinstance(name, str) or not name.strip():
    raise UserError(f'{where} has no file_path. Add it, or leave the frame out.')
  name = posixpath.normpath(name.strip().replace('\\', '/'))
  where = f'{where} ({name})'
  matrix = entries.get('transform_matrix')
  if matrix is None:
    raise UserError(f'{where} has no transform_matrix. Add it, or leave the frame out.')
  try:
    matrix = np.array(matrix, np.float64)
  except (ValueError, TypeError, OverflowError) as error:
    raise UserError(f'{where}: its transform_matrix is not 4 x 4 numbers. Mend it.') from error
  if matrix.shape not in ((3, 4), (4, 4)):
    raise UserError(f'{where}: its transform_matrix is {list(matrix.shape)}, not 4 x 4. Mend it.')
  pose = formats.pose_from_opengl(matrix, f'{where}: its transform_matrix')
  file = _find(files, posixpath.normpath(posixpath.join(parent, name)))
  return Frame(name, file, pose, _lens({**shared, **entries}, where))


def _find(files, path):
  """The file of a frame, whose extension may be left out; '' where there is none."""
  candidates = (path, *(path + extension for extension in images.EXTENSIONS))
  return next((name for name in map(files.find, candidates) if name), '')


def _lens(entries, where):
  coefficients = lenses.coefficients(entries, where)
  lens = Lens(
    fx=lenses.number(entries, 'fl_x', where),
    fy=lenses.number(entries, 'fl_y', where),
    angle_x=lenses.number(entries, 'camera_angle_x', where),
    angle_y=lenses.number(entries, 'camera_angle_y', where),
    cx=lenses.number(entries, 'cx', where),
    cy=lenses.number(entries, 'cy', where),
    width=lenses.number(entries, 'w', where),
    height=lenses.number(entries, 'h', where),
    distortion=coefficients,
  )
  lens.check(where)
  return lens


def _listed_splits(path, document, frames):
  """nerfstudio's lists of the files of each split; else all frames are of 'train'."""
  lists = {split: document.get(f'{split}_filenames') for split in SPLIT_FILES}
  lists = {split: names for split, names in lists.items() if names}
  if not lists:
    return {'train': frames}
  by_name = {frame.name: frame for frame in frames}
  splits = {}
  for split, names in lists.items():
    try:
      names = [posixpath.normpath(name.replace('\\', '/')) for name in names]
      splits[split] = in_order([by_name[name] for name in names], f'{split}_filenames of {path}')
    except (KeyError, AttributeError, TypeError) as error:
      raise UserError(
        f'{path}: {split}_filenames has {error}, which is no frame. Mend it.'
      ) from error
  return splits


def _region(document, path):
  """((centre, half side), whether the centre is given) of instant-ngp's cube, or (None, False)."""
  side = lenses.number(document, 'aabb_scale', path)
  scale = lenses.number(document, 'scale', path)
  offset = document.get('offset')
  if side is None and scale is None and offset is None:
    return None, False
  try:
    value = np.array(_NGP_OFFSET if offset is None else offset, np.float64)
    value = np.broadcast_to(value, (3,))
  except (ValueError, TypeError, OverflowError) as error:
    raise UserError(f'{path}: offset is not one number or three. Mend or remove it.') from error
  side, factor = (1.0 if side is None else side), (_NGP_SCALE if scale is None else scale)
  is_bounded = np.all(np.abs([side, factor, *value]) <= LARGEST)  # nor NaN
  if not is_bounded or side < 1 / LARGEST or factor < 1 / LARGEST:
    raise UserError(f'{path}: aabb_scale, scale or offset is of no cube. Mend or remove them.')
  return ((0.5 - value) / factor, 0.5 * side / factor), scale is not None or offset is not None


def _applied_transform(document):
  matrix = document.get('applied_transform')
  if matrix is None:
    return None
  try:
    matrix = np.array(matrix, np.float64)
    is_good = matrix.shape in ((3, 4), (4, 4)) and np.all(np.isfinite(matrix))
  except (ValueError, TypeError, OverflowError):
    is_good = False
  if not is_good:
    raise UserError('applied_transform is not 3 x 4 or 4 x 4 numbers. Mend or remove it.')
  return np.concatenate([matrix[:3], [[0.0, 0.0, 0.0, 1.0]]])
