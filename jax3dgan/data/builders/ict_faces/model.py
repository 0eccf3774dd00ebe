"""Reads the ICT Face Model Light from the user's folder: a linear model of faces.

vertices = neutral + identityᵀ a + expressionᵀ b, with a ~ N(0, 1) and b in [0, 1] (Li et al.,
"Learning Formation of Physically-Based Face Attributes", CVPR 2020). The model is not shipped.
"""

import dataclasses
import functools
import os
import zipfile

import numpy as np
import scipy.sparse
import scipy.spatial

from jax3dgan.data import records
from jax3dgan.errors import UserError

FILE = 'ict_face_model_light.npz'
# The layers that a renderer with transparency would need are left out: lacrimal, eyeblend, eyeocc
# and lashes.
PARTS = (
  'face',
  'head_neck',
  'mouth_socket',
  'eye_socket_l',
  'eye_socket_r',
  'gums_tongue',
  'teeth',
  'eyeball_l',
  'eyeball_r',
)
# The model's point (cm) that is the world's origin, and the cm of a unit of the world. With a
# camera at 2.7 and a focal length of 4.2647 the picture shows what FFHQ's crop does: 2 x 12.8 cm
# around a point a tenth of the way from the eyes to the mouth.
ORIGIN_CM = (0.0, 2.9, 3.5)
UNIT_CM = 39.0
_FAR_CM = 5.0  # Distances to the lids that matter are much smaller.


@dataclasses.dataclass(frozen=True)
class FaceModel:
  """The parts of the model that are drawn; world units unless it says cm.

  Attributes:
    neutral: float32 [v, 3].
    identity, expression: float32 [100, 3v] and [57, 3v], displacements for a weight of 1.
    expression_names: of the 57.
    triangles: int32 [t, 3], counter-clockwise seen from outside.
    part: int8 [t], numbers of `PARTS`.
    landmarks: int [68] vertices, in the usual order of 68 points.
    canonical: float32 [v, 3], places on the neutral face in the model's cm: where colours are.
    lid: float32 [v], cm to the rim of the lids in the neutral face, 5 where far.
    cavity: float32 [v], how concave the neutral face is there, about -1 to 1.
    on_head: bool [v], of the face, the head and the neck.
    eyes: int arrays of the vertices of the left and the right eyeball.
    irises: float32 [2, 3], canonical cm of the middles of the left and the right iris.
    to_normals: sparse [v, t], sums of faces' normals around each vertex.
    checksum: sha256 of the file.
  """

  neutral: np.ndarray
  identity: np.ndarray
  expression: np.ndarray
  expression_names: tuple[str, ...]
  triangles: np.ndarray
  part: np.ndarray
  landmarks: np.ndarray
  canonical: np.ndarray
  lid: np.ndarray
  cavity: np.ndarray
  on_head: np.ndarray
  eyes: tuple[np.ndarray, np.ndarray]
  irises: np.ndarray
  to_normals: scipy.sparse.csr_matrix
  checksum: str

  def vertices(self, identity, expression) -> np.ndarray:
    """float32 [v, 3] of weights [100] and [57]."""
    # Not by BLAS, whose sums depend on the number of its threads.
    flat = np.einsum('k,kv->v', np.asarray(identity, np.float32), self.identity)
    flat += np.einsum('k,kv->v', np.asarray(expression, np.float32), self.expression)
    return self.neutral + flat.reshape(-1, 3)

  def normals(self, vertices) -> np.ndarray:
    """Unit normals [v, 3], means over the triangles around each vertex weighted by their area."""
    return _unit(self.to_normals @ _face_normals(vertices, self.triangles))


def checksum(path) -> str:
  """The sha256 of the model's file in a folder; a UserError names it where it is not there."""
  try:
    return records.sha256(_file(path))
  except OSError as error:
    raise UserError(f'{_file(path)} cannot be read: {error.strerror or error}.') from error


def _file(path):
  folder = os.path.expanduser(path)
  if not os.path.isdir(folder):
    raise UserError(
      f'The face model {path} is no folder. Give the one that holds {FILE}, see docs/faces.md.'
    )
  file = os.path.join(folder, FILE)
  if not os.path.isfile(file):
    raise UserError(f'The face model {path} has no {FILE}. See docs/faces.md for how to make it.')
  return file


@functools.lru_cache(2)
def load(path) -> FaceModel:
  """Reads the model from the folder that holds `ict_face_model_light.npz`.

  Raises:
    UserError: as `read`.
  """
  return _build(read(path)[1], checksum(path))


def read(path) -> tuple[str, dict]:
  """The file of a folder, and its arrays, checked.

  Raises:
    UserError: where the folder or the file is not there, or the file is another one.
  """
  file = _file(path)
  try:
    with np.load(file, allow_pickle=False) as arrays:
      arrays = dict(arrays)
  except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
    raise UserError(f'{file} is no whole npz file. Copy it again.') from error
  _check(file, arrays)
  return file, arrays


def to_world(canonical) -> np.ndarray:
  """World coordinates [..., 3] of the model's own, cm."""
  return (np.asarray(canonical, np.float32) - np.float32(ORIGIN_CM)) / np.float32(UNIT_CM)


def _check(file, arrays):
  names = (
    'neutral identity expression expression_names faces part_names part_ranges landmarks68'
  ).split()
  missing = [name for name in names if name not in arrays]
  if missing:
    raise UserError(f'{file} has no array {missing[0]}: another version? See docs/faces.md.')
  count = len(arrays['neutral'])
  wanted = {
    'neutral': (count, 3),
    'identity': (len(arrays['identity']), count, 3),
    'expression': (len(arrays['expression_names']), count, 3),
    'faces': (len(arrays['faces']), 4),
    'landmarks68': (68,),
  }
  for name, shape in wanted.items():
    if arrays[name].shape != shape:
      raise UserError(f'{file} has {name} of shape {arrays[name].shape}, not {shape}.')
  for name in ('neutral', 'identity', 'expression'):
    if not np.isfinite(arrays[name]).all():
      raise UserError(f'{file} has numbers in {name} that are not finite. Copy it again.')
  for name in ('faces', 'landmarks68'):
    if arrays[name].min() < 0 or arrays[name].max() >= count:
      raise UserError(f'{file} has {name} beyond its {count} vertices.')
  missing = sorted(set(PARTS) - set(arrays['part_names'].tolist()))
  if missing:
    raise UserError(f'{file} has no part {missing[0]}: another version? See docs/faces.md.')


def _build(arrays, digest):
  names = arrays['part_names'].tolist()
  quads, part = [], []
  for i, name in enumerate(PARTS):
    first, last = arrays['part_ranges'][names.index(name)][2:]
    quads.append(arrays['faces'][first : last + 1])
    part.append(np.full(2 * len(quads[-1]), i, np.int8))
  quads = np.concatenate(quads)
  triangles = quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
  # What nothing drawn refers to is forgotten; landmarks are on the face, which is drawn.
  used = np.unique(np.append(triangles, arrays['landmarks68']))
  triangles = np.searchsorted(used, triangles).astype(np.int32)
  part = np.concatenate(part)
  canonical = arrays['neutral'][used].astype(np.float32)
  distinct = (
    (triangles[:, 0] != triangles[:, 1])
    & (triangles[:, 1] != triangles[:, 2])
    & (triangles[:, 2] != triangles[:, 0])
  )  # Some quads of the model are triangles.
  triangles, part = triangles[distinct], part[distinct]

  def shapes(name):
    values = arrays[name][:, used].astype(np.float32) / UNIT_CM
    return values.reshape(len(values), -1)

  eyes = tuple(np.unique(triangles[part == PARTS.index(f'eyeball_{side}')]) for side in 'lr')
  to_normals = scipy.sparse.csr_matrix(
    (
      np.ones(triangles.size, np.float32),
      (triangles.ravel(), np.repeat(np.arange(len(triangles)), 3)),
    ),
    shape=(len(used), len(triangles)),
  )
  return FaceModel(
    neutral=to_world(canonical),
    identity=shapes('identity'),
    expression=shapes('expression'),
    expression_names=tuple(arrays['expression_names'].tolist()),
    triangles=triangles,
    part=part,
    landmarks=np.searchsorted(used, arrays['landmarks68']),
    canonical=canonical,
    lid=_lid_distance(canonical, triangles, part),
    cavity=_cavity(canonical, triangles, to_normals),
    on_head=np.isin(np.arange(len(used)), triangles[part <= PARTS.index('head_neck')]),
    eyes=eyes,
    irises=np.stack([_iris(canonical[eye]) for eye in eyes]),
    to_normals=to_normals,
    checksum=digest,
  )


def _face_normals(vertices, triangles):
  a, b, c = (vertices[triangles[:, i]] for i in range(3))
  (ux, uy, uz), (vx, vy, vz) = (b - a).T, (c - a).T
  return np.stack([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx], axis=1)


def _unit(v):
  return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def _lid_distance(canonical, triangles, part):
  """cm to the nearest vertex that the face shares with an eye's socket."""
  face = np.unique(triangles[part == PARTS.index('face')])
  sockets = [PARTS.index('eye_socket_l'), PARTS.index('eye_socket_r')]
  rim = np.intersect1d(face, triangles[np.isin(part, sockets)])
  if not len(rim):
    return np.full(len(canonical), _FAR_CM, np.float32)
  distance, _ = scipy.spatial.cKDTree(canonical[rim]).query(canonical)
  return np.minimum(distance, _FAR_CM).astype(np.float32)


def _iris(eye):
  """The middle of the foremost millimetre of an eyeball's vertices [n, 3], the cornea's."""
  return eye[eye[:, 2] > eye[:, 2].max() - 0.1].mean(0)


def _cavity(canonical, triangles, to_normals):
  """The neighbours' mean lies above the tangent plane where the surface is concave."""
  normals = _unit(to_normals @ _face_normals(canonical, triangles))
  ends = np.concatenate([triangles[:, [i, (i + 1) % 3]] for i in range(3)])
  ends = np.concatenate([ends, ends[:, ::-1]])
  count = len(canonical)
  weights = scipy.sparse.csr_matrix((np.ones(len(ends), np.float32), ends.T), shape=(count, count))
  total = np.maximum(np.asarray(weights.sum(1)).ravel(), 1.0)[:, None]
  offset = (weights @ canonical) / total - canonical
  length = np.linalg.norm(canonical[ends[:, 0]] - canonical[ends[:, 1]], axis=1)
  spacing = np.bincount(ends[:, 0], length, count)[:, None] / total
  height = (offset * normals).sum(1, keepdims=True) / np.maximum(spacing, 1e-6)
  for _ in range(4):  # Of the form, not of the mesh's grain.
    height = 0.5 * height + 0.5 * (weights @ height) / total
  return np.clip(4.0 * height[:, 0], -1.0, 1.0).astype(np.float32)
