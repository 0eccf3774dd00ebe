"""The head of the ICT Face Model Light as points on a square map: a template of Gaussians.

The neutral head is laid out by the model's UV coordinates; each texel of the map whose centre is in
a triangle has a point there, by barycentric coordinates.
"""

import math
from typing import NamedTuple

import numpy as np

from jax3dgan.data.builders.ict_faces import generate, model, raster
from jax3dgan.errors import UserError
from jax3dgan.generators.templates import MeshTemplate

# What is seen from outside, and the sockets, which close the skin behind the eyes. The layout has
# the face on the unit square and the other parts on the one to the right of it.
PARTS = ('face', 'head_neck', 'eye_socket_l', 'eye_socket_r')
_SQUARES = 2


class Mesh(NamedTuple):
  """A mesh of triangles that is laid out on a plane.

  Attributes:
    vertices: [v, 3], world units.
    triangles: int [t, 3], numbers of vertices.
    uv: [u, 2] in [0, 1], v up.
    uv_triangles: int [t, 3], numbers of `uv`; a vertex has several places where the layout is cut.
  """

  vertices: np.ndarray
  triangles: np.ndarray
  uv: np.ndarray
  uv_triangles: np.ndarray


class Head(MeshTemplate):
  """The template 'ict' of GGHead."""

  def read(self, source, n):
    """See `MeshTemplate.read`; sources are those of `generate.parse`, others are as 'ict:'."""
    source = source if source.startswith(generate.SCHEME) else generate.SCHEME
    mesh = head(generate.parse(source).folder)
    points, places = texels(mesh, n)
    return points, places, spacing(mesh, len(points))


def head(folder) -> Mesh:
  """The neutral head, in the world of the rendered faces: the face on the left half of the square,
  the rest on the right.

  Args:
    folder: where `model.FILE` is.

  Raises:
    UserError: the model is not there, is another one, or has no UV coordinates.
  """
  file, arrays = model.read(folder)
  check(file, arrays)
  names = arrays['part_names'].tolist()
  ranges = [arrays['part_ranges'][names.index(name)][2:] for name in PARTS]
  quads = np.concatenate([np.arange(first, last + 1) for first, last in ranges])

  def triangles(name):
    return arrays[name][quads][:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)  # of a triangle one is empty

  return Mesh(
    model.to_world(arrays['neutral']),
    triangles('faces'),
    arrays['uv'] / np.float32([_SQUARES, 1]),
    triangles('faces_uv'),
  )


def texels(mesh: Mesh, n: int) -> tuple[np.ndarray, np.ndarray]:
  """The texels of a map of n² whose centre is in a triangle, row by row.

  Returns:
    Points [k, 3] float32 on the triangles, and their places [k, 2] (x, y) on the map in (−1, 1),
    whose first row is at v = 1.
  """
  places = n * (np.float64(mesh.uv) * (1, -1) + (0, 1))
  a, b, c = (places[mesh.uv_triangles[:, i]] for i in range(3))
  (ux, uy), (vx, vy) = (b - a).T, (c - a).T
  # The rasteriser leaves out triangles that face away: a mirrored part of the layout is turned.
  mirrored = ux * vy - uy * vx > 0
  turned = np.where(mirrored[:, None], mesh.uv_triangles[:, ::-1], mesh.uv_triangles)
  texel, face, weights = raster.rasterize(places, np.ones(len(places)), turned, n)
  weights = np.where(mirrored[face, None], weights[:, ::-1], weights)
  corners = np.float64(mesh.vertices)[mesh.triangles[face]]  # [k, 3, 3]
  points = np.einsum('kc,kcx->kx', weights, corners)
  row, column = np.divmod(texel, n)
  return np.float32(points), np.float32((2 * np.stack([column, row], axis=-1) + 1) / n - 1)


def spacing(mesh: Mesh, count: int) -> float:
  """About how far apart so many points are: the side of a square of their share of the area."""
  a, b, c = (np.float64(mesh.vertices)[mesh.triangles[:, i]] for i in range(3))
  area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum()
  return math.sqrt(area / count)


def check(file, arrays) -> None:
  """UserError where a file of the model has no UV coordinates that fit its faces."""
  missing = [name for name in ('uv', 'faces_uv') if name not in arrays]
  if missing:
    raise UserError(
      f'{file} has no array {missing[0]}. Convert the model again, see docs/faces.md.'
    )
  uv, corners = arrays['uv'], arrays['faces_uv']
  if uv.ndim != 2 or uv.shape[1] != 2 or corners.shape != arrays['faces'].shape:
    raise UserError(
      f'{file} has uv of shape {uv.shape} and faces_uv of shape {corners.shape}, not [n, 2] and '
      f'{arrays["faces"].shape}. Convert the model again, see docs/faces.md.'
    )
  if corners.min() < 0 or corners.max() >= len(uv) or not np.isfinite(uv).all():
    raise UserError(f'{file} has UV coordinates that are not there or not finite. Copy it again.')
