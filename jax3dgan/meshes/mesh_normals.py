"""Normals of a mesh: of its faces, and from the gradient of the field that it is a surface of."""

import numpy as np

from jax3dgan.rendering import grid

_CHUNK = 2**16  # vertices whose normals are computed between two steps of the bar


def of_faces(vertices, faces) -> np.ndarray:
  """Unit normals [v, 3] of a mesh's vertices, its faces weighted by their areas."""
  a, b, c = (np.asarray(vertices, np.float64)[faces[:, i]] for i in range(3))
  face = np.cross(b - a, c - a)
  flat = np.asarray(faces).ravel()
  total = [np.bincount(flat, np.repeat(face[:, i], 3), len(vertices)) for i in range(3)]
  return _unit(np.stack(total, axis=-1))


def _unit(v):
  return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-30)


def of_field(model, scene, points, fallback, sign: float = 1.0, progress: bool = False):
  """Unit normals [m, 3] from the field's gradient, towards the outside.

  Args:
    model: A `trained.Trained` with a field.
    scene: Leaves [1, ...].
    points: [m, 3] on the surface.
    fallback: [m, 3] unit normals of the mesh, used where the gradient is not reliable: if it is 0,
      on the cube's faces, or in folds that the grid cannot show (more than 60° from the mesh).
    sign: 1 where the field is larger inside, −1 where smaller.
    progress: Whether to show a bar.
  """
  import tqdm

  out = np.empty((len(points), 3))
  with tqdm.tqdm(
    desc='normals', total=len(points), unit='vertex', unit_scale=True, disable=not progress
  ) as bar:
    for start in range(0, len(points), _CHUNK):
      rows = slice(start, start + _CHUNK)
      part = grid.query_gradients(model.generator, model.variables, scene, points[rows], _CHUNK)
      out[rows] = -sign * np.asarray(part, np.float64)
      bar.update(len(part))
  out = _unit(np.where(np.isfinite(out), out, 0))
  agrees = (out * fallback).sum(-1, keepdims=True) > 0.5
  return np.where(agrees, out, fallback)
