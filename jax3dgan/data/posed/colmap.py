"""Scenes of COLMAP: {cameras,images,points3D}.{bin,txt} in sparse/0, photos in images/.

The files' layout is that of COLMAP's documentation, 'Output format'.
"""

import posixpath
import struct

import numpy as np

from jax3dgan import lenses as lenses_lib
from jax3dgan import texts
from jax3dgan.data.posed.frames import Capture, Frame, in_order
from jax3dgan.data.posed.lens import LARGEST, Lens
from jax3dgan.errors import UserError

_IMAGE_FOLDERS = ('images', 'input', '')
# By the number of binary files: the name, and the names of the parameters.
_FOCAL, _FOCALS, _TANGENTIAL = 'f cx cy', 'fx fy cx cy', 'k1 k2 p1 p2'
_MODELS = (
  ('SIMPLE_PINHOLE', _FOCAL),
  ('PINHOLE', _FOCALS),
  ('SIMPLE_RADIAL', f'{_FOCAL} k1'),
  ('RADIAL', f'{_FOCAL} k1 k2'),
  ('OPENCV', f'{_FOCALS} {_TANGENTIAL}'),
  ('OPENCV_FISHEYE', None),
  ('FULL_OPENCV', f'{_FOCALS} {_TANGENTIAL} k3 k4 k5 k6'),
  ('FOV', None),
  ('SIMPLE_RADIAL_FISHEYE', None),
  ('RADIAL_FISHEYE', None),
  ('THIN_PRISM_FISHEYE', None),
  ('RAD_TAN_THIN_PRISM_FISHEYE', None),
)
_PARAMETERS = dict(_MODELS)


def find(files, folder):
  """The folders below a scene's with a reconstruction."""
  sparse = posixpath.join(folder, 'sparse')
  candidates = [posixpath.join(sparse, name) for name in files.folders(sparse)]
  candidates += [sparse, posixpath.join(folder, 'colmap/sparse/0'), folder]
  return [each for each in candidates if _extension(files, each)]


def read(files, folder) -> Capture:
  """Reads a scene; of several reconstructions the one with most photos.

  Args:
    files: `files.Files`.
    folder: of the scene, '' at the top.

  Raises:
    UserError: where a file is damaged, or a camera has no perspective projection.
  """
  found = [(model, _read_images(files, model)) for model in find(files, folder)]
  model, poses = max(found, key=lambda pair: len(pair[1]))  # the first of equals
  notes = []
  if len(found) > 1:
    notes.append(f'{len(found)} reconstructions: {model} is read, which has most photos.')
  lenses = _read_cameras(files, model)
  frames = [_frame(files, folder, model, lenses, *pose) for pose in poses]
  points = _read_points(files, model)
  if not len(points):
    notes.append('No points3D: the framing follows from the cameras alone.')
  return Capture(
    format='COLMAP',
    splits={'train': in_order(frames, model or files.path)},
    up='auto',
    points=points,
    notes=tuple(notes),
  )


def _extension(files, model):
  for extension in ('bin', 'txt'):
    names = (posixpath.join(model, f'{name}.{extension}') for name in ('cameras', 'images'))
    if all(name in files for name in names):
      return extension
  return None


def _frame(files, folder, model, lenses, name, quaternion, translation, camera):
  from jax3dgan.cameras import formats  # Imports JAX: only where a scene is read.

  where = f'{name} of {model}/images'
  if camera not in lenses:
    raise UserError(f'{where} has the camera {camera}, which cameras does not. Fetch it again.')
  numbers = np.array([*quaternion, *translation])
  if not np.all(np.abs(numbers) <= LARGEST) or not np.linalg.norm(numbers[:4]) > 1 / LARGEST:
    raise UserError(f'{where} has a pose that is no rotation and position. Leave it out.')
  pose = formats.pose_from_colmap(formats.colmap_pose(quaternion, translation), where)
  paths = (posixpath.join(folder, each, name) for each in _IMAGE_FOLDERS)
  path = next((path for path in paths if path in files), '')
  return Frame(name, path, pose, lenses[camera])


def _lens(where, model, width, height, parameters):
  lenses_lib.refuse_other_projections(model, where)
  names = (_PARAMETERS.get(model) or '').split()
  if not names or len(parameters) != len(names):
    raise UserError(f'{where} ({model}) has {len(parameters)} parameters. Fetch the scene again.')
  values = dict(zip(names, parameters, strict=True))
  focal = values.get('f')
  lens = Lens(
    fx=values.get('fx', focal),
    fy=values.get('fy', focal),
    cx=values['cx'],
    cy=values['cy'],
    width=float(width),
    height=float(height),
    distortion=tuple(values.get(k, 0.0) for k in 'k1 k2 p1 p2 k3 k4 k5 k6'.split()),
  )
  lens.check(where)
  return lens


class _Reader:
  """Numbers of a little-endian file, one after another."""

  def __init__(self, data, name):
    self._data, self._position, self._name = data, 0, name

  def take(self, layout):
    try:
      values = struct.unpack_from('<' + layout, self._data, self._position)
    except struct.error as error:
      raise UserError(f'{self._name} is cut short. Fetch it again.') from error
    self._position += struct.calcsize('<' + layout)
    return values

  def take_text(self):
    end = self._data.find(b'\0', self._position)
    if end < 0:
      raise UserError(f'{self._name} is cut short. Fetch it again.')
    text = texts.decode(self._data[self._position : end], self._name)
    self._position = end + 1
    return text

  def take_points(self):
    """Yields the positions (x, y, z) of points3D.bin, of which there may be millions."""
    layout, data = struct.Struct('<Q3d3BdQ'), self._data
    (count,) = self.take('Q')
    position = self._position
    try:
      for _ in range(count):
        values = layout.unpack_from(data, position)
        position += layout.size + 8 * values[-1]  # where it is in which photos
        yield values[1:4]
    except (struct.error, OverflowError) as error:  # a length may be any number
      raise UserError(f'{self._name} is cut short. Fetch it again.') from error
    self._position = position
    self.skip(0)

  def skip(self, count):
    self._position += count
    if self._position > len(self._data):
      raise UserError(f'{self._name} is cut short. Fetch it again.')


def _open(files, model, name, words=-1):
  """(reader of the binary file, None), or (None, rows of the text file, split this often)."""
  extension = _extension(files, model)
  path = posixpath.join(model, f'{name}.{extension}')
  if path not in files:
    return None, []
  data = files.read_description(path)
  if extension == 'bin':
    return _Reader(data, path), None
  lines = texts.decode(data, path).splitlines()
  return None, [line.split(maxsplit=words) for line in lines if not line.startswith('#')]


def _number(text, kind, path):
  try:
    return kind(text)
  except ValueError as error:
    raise UserError(f'{path} has {text[:40]!r} for a number. Fetch it again.') from error


def _is_number(text):
  try:
    float(text)
  except ValueError:
    return False
  return True


def _read_cameras(files, model):
  """Dict of number -> Lens."""
  reader, rows = _open(files, model, 'cameras')
  where = f'{model}/cameras'.lstrip('/')
  lenses = {}
  if reader:
    for _ in range(*reader.take('Q')):
      number, kind, width, height = reader.take('iiQQ')
      name = _MODELS[kind][0] if 0 <= kind < len(_MODELS) else f'number {kind}'
      lenses_lib.refuse_other_projections(name, f'camera {number} of {where}')
      parameters = reader.take(f'{len(_PARAMETERS[name].split())}d')
      lenses[number] = _lens(f'camera {number} of {where}', name, width, height, parameters)
    return lenses
  for row in filter(None, rows):
    if len(row) < 4:
      raise UserError(f'{where} has a line of {len(row)} words. Fetch it again.')
    number = _number(row[0], int, where)
    values = [_number(word, float, where) for word in row[2:]]
    lenses[number] = _lens(f'camera {number} of {where}', row[1], *values[:2], values[2:])
  return lenses


def _read_images(files, model):
  """List of (name, quaternion [4], translation [3], number of the camera)."""
  reader, rows = _open(files, model, 'images', 9)
  where = f'{model}/images'.lstrip('/')
  found = []
  if reader:
    for _ in range(*reader.take('Q')):
      values = reader.take('i7di')
      name = reader.take_text()
      reader.skip(24 * reader.take('Q')[0])  # its points: x, y, number
      found.append((name, values[1:5], values[5:8], values[8]))
    return found
  while rows and not rows[0]:
    rows = rows[1:]
  # Between the lines of photos are those of their points, which may be empty, but are there.
  if any(len(row) == 10 and not _is_number(row[9].split()[0]) for row in rows[1::2]):
    raise UserError(f'{where} has no line of points after each photo. Add it, if need be empty.')
  for row in rows[::2]:
    if not row:
      continue  # blank lines at the end
    if len(row) < 10:
      raise UserError(f'{where} has a line of {len(row)} words, not 10. Fetch it again.')
    values = [_number(word, float, where) for word in row[1:8]]
    found.append((row[9].rstrip(), values[:4], values[4:], _number(row[8], int, where)))
  return found


def _read_points(files, model):
  """Positions [n, 3]; those that are not finite, or far from everything, are left out."""
  reader, rows = _open(files, model, 'points3D', 4)
  if reader:
    points = list(reader.take_points())
  else:
    where = f'{model}/points3D'
    points = [[_number(word, float, where) for word in row[1:4]] for row in rows or () if row]
    if any(len(point) < 3 for point in points):
      raise UserError(f'{where} has a line without a position. Fetch it again.')
  points = np.array(points, np.float64).reshape(-1, 3)
  return points[np.all(np.abs(points) <= LARGEST, axis=-1)]
