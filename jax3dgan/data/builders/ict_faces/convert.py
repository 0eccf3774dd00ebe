"""Makes the one file that the builder reads of the ICT Face Model Light's OBJ files.

  python -m jax3dgan.data.builders.ict_faces.convert --source=ICT-FaceKit/FaceXModel --out=FOLDER

The model is a neutral mesh, 100 meshes of identities and one of each expression, all of one
topology: a shape is its mesh less the neutral one. Parts and landmarks are by number, as the
model's description lists them.
"""

import argparse
import contextlib
import os
import sys

import numpy as np
import tqdm

from jax3dgan import atomic, programs
from jax3dgan.data.builders.ict_faces import model
from jax3dgan.errors import UserError

NEUTRAL = 'generic_neutral_mesh.obj'
# First vertex and first face of each part; what comes after the eyeballs is not drawn.
_PARTS = (
  ('face', 0, 0),
  ('head_neck', 9409, 9230),
  ('mouth_socket', 11248, 11144),
  ('eye_socket_l', 13294, 13226),
  ('eye_socket_r', 13678, 13630),
  ('gums_tongue', 14062, 14034),
  ('teeth', 17039, 17006),
  ('eyeball_l', 21451, 21496),
  ('eyeball_r', 23021, 23094),
  ('not_drawn', 24591, 24692),
)
_NUM_VERTICES, _NUM_FACES = 26719, 26384
_LANDMARKS = (
  '1225 1888 1052 367 1719 1722 2199 1447 966 3661 4390 3927 3924 2608 3272 4088 3443 268 493 '
  '1914 2044 1401 3615 4240 4114 2734 2509 978 4527 4942 4857 1140 2075 1147 4269 3360 1507 1542 '
  '1537 1528 1518 1511 3742 3751 3756 3721 3725 3732 5708 5695 2081 0 4275 6200 6213 6346 6461 '
  '5518 5957 5841 5702 5711 5533 6216 6207 6470 5517 5966'
)


def layout() -> dict:
  """Part names, part ranges (first and last vertex, first and last face) and landmarks."""
  names = [name for name, _, _ in _PARTS]
  starts = np.array([(v, f) for _, v, f in _PARTS] + [(_NUM_VERTICES, _NUM_FACES)])
  ranges = np.stack([starts[:-1, 0], starts[1:, 0] - 1, starts[:-1, 1], starts[1:, 1] - 1], axis=1)
  return dict(
    part_names=np.array(names),
    part_ranges=ranges.astype(np.int32),
    landmarks68=np.array(_LANDMARKS.split(), np.int32),
  )


def convert(source, parts=None) -> dict:
  """The arrays of `model.FILE` from a folder of OBJ files.

  Args:
    source: the folder, FaceXModel of the release.
    parts: see `layout`, which is the default.

  Raises:
    UserError: where a file is missing or of another topology.
  """
  parts = parts or layout()
  files = sorted(name for name in _listed(source) if name.endswith('.obj'))
  if NEUTRAL not in files:
    raise UserError(f'{source} has no {NEUTRAL}. Give the folder FaceXModel of the face model.')
  neutral, faces = read_obj(os.path.join(source, NEUTRAL))
  uv = read_uv(os.path.join(source, NEUTRAL))
  wanted = parts['part_ranges'][-1, [1, 3]] + 1
  if (len(neutral), len(faces)) != tuple(wanted):
    raise UserError(
      f'{source}/{NEUTRAL} has {len(neutral)} vertices and {len(faces)} faces, not {wanted[0]} and '
      f'{wanted[1]}: another version of the model, which is not read.'
    )
  # An older release has as many vertices in another order.
  marks = neutral[parts['landmarks68']]
  if marks[:, 2].argmax() != 30 or np.abs(marks[[27, 28, 29, 30, 8], 0]).max() > 0.1:
    raise UserError(
      f'{source}/{NEUTRAL} has its landmarks elsewhere: another version of the model. Get the '
      'newest one.'
    )
  identities = [name for name in files if name.startswith('identity')]
  expressions = [name for name in files if name not in (NEUTRAL, *identities)]
  if not identities or not expressions:
    raise UserError(f'{source} has no identities or no expressions. Copy the whole folder.')

  def shapes(names):
    result = np.empty((len(names), *neutral.shape), np.float16)
    for k, name in enumerate(tqdm.tqdm(names, desc='convert', unit='mesh', mininterval=0.5)):
      vertices, _ = read_obj(os.path.join(source, name), with_faces=False)
      if vertices.shape != neutral.shape:
        raise UserError(f'{source}/{name} has {len(vertices)} vertices, not {len(neutral)}.')
      result[k] = vertices - neutral
    return result

  return dict(
    neutral=neutral.astype(np.float32),
    identity=shapes(identities),
    expression=shapes(expressions),
    expression_names=np.array([name.removesuffix('.obj') for name in expressions]),
    faces=faces,
    **uv,
    **parts,
  )


def read_obj(path, with_faces=True):
  """Vertices float64 [v, 3] and quads int32 [f, 4] (0-based; a triangle's last corner twice)."""
  vertices, faces = [], []
  with _reading(path) as file:
    for line in file:
      if line.startswith('v '):
        vertices.append(line.split()[1:4])
      elif with_faces and line.startswith('f '):
        corners = [int(corner.split('/')[0]) - 1 for corner in line.split()[1:]]
        if not 3 <= len(corners) <= 4:
          raise ValueError('a face has neither three nor four corners')
        faces.append(corners if len(corners) == 4 else [*corners, corners[-1]])
    return np.array(vertices, np.float64).reshape(-1, 3), np.array(faces, np.int32).reshape(-1, 4)


def read_uv(path) -> dict:
  """The layout of an OBJ file that `read_obj` has read: `uv` float32 [u, 2] and `faces_uv` int32
  [f, 4], as its faces; {} of a file that has none."""
  uv, faces = [], []
  with _reading(path) as file:
    for line in file:
      if line.startswith('vt '):
        uv.append(line.split()[1:3])
      elif line.startswith('f '):
        corners = [corner.split('/')[1:2] for corner in line.split()[1:]]
        if not all(corner and corner[0] for corner in corners):
          return {}
        numbers = [int(corner[0]) - 1 for corner in corners]
        faces.append(numbers if len(numbers) == 4 else [*numbers, numbers[-1]])
    return dict(uv=np.array(uv, np.float32).reshape(-1, 2), faces_uv=np.array(faces, np.int32))


@contextlib.contextmanager
def _reading(path):
  """The open OBJ file; what goes wrong in the block is a UserError of one line."""
  try:
    with open(path, encoding='ascii', errors='replace') as file:
      yield file
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror or error}.') from error
  except ValueError as error:
    raise UserError(f'{path} is no whole OBJ file ({error}). Copy it again.') from error


def _listed(source):
  try:
    return os.listdir(source)
  except OSError as error:
    raise UserError(f'{source} cannot be read: {error.strerror or error}.') from error


def main(argv=None):
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog='python -m jax3dgan.data.builders.ict_faces.convert',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument('--source', required=True, help='folder FaceXModel of the release')
  parser.add_argument('--out', required=True, help=f'folder for {model.FILE}')
  args = parser.parse_args(programs.arguments(argv))
  try:
    arrays = convert(args.source)
    out = args.out
    try:
      os.makedirs(out, exist_ok=True)
      with atomic.replacing(os.path.join(out, model.FILE)) as temporary:
        np.savez_compressed(temporary, **arrays)
    except OSError as error:
      raise UserError(f'{out} cannot be written: {error.strerror or error}.') from error
    model.load(out)
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  count, ways = len(arrays['identity']), len(arrays['expression'])
  print(f'{os.path.join(out, model.FILE)}: {count} identities, {ways} expressions.')
  return 0


if __name__ == '__main__':
  sys.exit(main())
