"""From values on a grid to a surface: marching cubes in slabs, welded; connected parts.

This module does not depend on models: its input is a grid of n³ values, positive inside, plane by
plane along x, and vertices are in grid units, 0 to n − 1 along x, y and z.
"""

from collections.abc import Iterable

import numpy as np

from jax3dgan.errors import UserError

# Fractions of a voxel. No crossing is nearer to a grid point than the first, since slivers between
# such crossings would be faces without area; the same vertex in two slabs differs by less than the
# second.
_CLEARANCE = 1e-3
_WELD = 1e-4


def require(*names: str):
  """Returns the modules of these names; UserError with the remedy where one is not installed."""
  import importlib

  try:
    modules = [importlib.import_module(name) for name in names]
  except ModuleNotFoundError as error:
    raise UserError(
      f'Meshes need the package {error.name}. Install it: pip install jax3dgan[apps].'
    ) from None
  return modules[0] if len(modules) == 1 else modules


def marching_cubes(
  slabs: Iterable[np.ndarray], close: bool = True
) -> tuple[np.ndarray, np.ndarray]:
  """The surface where values cross 0 (Lorensen and Cline 1987; Lewiner et al. 2003).

  It needs memory for one slab and the surface itself.

  Args:
    slabs: Values [p, n, n], positive inside, of all n planes along x in their order; p may vary.
    close: Whether a surface that reaches the cube's faces is closed there, or left open.

  Returns:
    Vertices [v, 3] float32 in grid units, and faces [f, 3] whose normals point outwards (towards
    lower values). Both are empty where nothing crosses.
  """
  vertices, faces = [], []
  num_vertices, at = 0, 0  # of all slabs so far; the plane that the next slab begins with
  seam = None  # (indices, vertices) of those on the last plane so far
  previous = None  # the last plane, which the next slab begins with
  for values, is_last in _with_last(slabs):
    values = np.array(values, np.float32)
    if close:
      _close(values, previous is None, is_last)
    slab = values if previous is None else np.concatenate([previous[None], values])
    _clear(slab, 0 if previous is None else 1)
    previous = slab[-1].copy()
    found = _surface(slab)
    if found is None:
      seam = None
    else:
      new, new_faces = found
      new[:, 0] += at
      # Vertices on the common plane occur twice: those of the last slab are kept.
      index = np.arange(num_vertices, num_vertices + len(new))
      if seam is not None:
        index = _joined(index, new, *seam, at)
        kept = index >= num_vertices
        index[kept] = num_vertices + np.arange(kept.sum())
        faces.append(index[new_faces])
        new, index = new[kept], index[kept]
      else:
        faces.append(index[new_faces])
      vertices.append(new)
      num_vertices += len(new)
      on_plane = np.abs(new[:, 0] - (at + len(slab) - 1)) < _WELD
      seam = index[on_plane], new[on_plane]
    at += len(slab) - 1
  if not vertices:
    return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64)
  return np.concatenate(vertices), np.concatenate(faces)


def _with_last(items):
  """Yields (item, whether it is the last)."""
  items = iter(items)
  item = next(items, None)
  while item is not None:
    following = next(items, None)
    yield item, following is None
    item = following


def _close(values, is_first: bool, is_last: bool) -> None:
  """Makes the cube's faces in a slab just outside, so that the surface closes on them."""
  outside = -np.finfo(np.float32).tiny  # `_clear` increases the distance
  faces = [values[:, 0], values[:, -1], values[:, :, 0], values[:, :, -1]]
  faces += [values[0]] if is_first else []
  faces += [values[-1]] if is_last else []
  for face in faces:
    np.minimum(face, outside, out=face)


def _clear(slab, first: int) -> None:
  """Moves values of the planes from `first` on away from 0, with their sign, if a crossing would
  be too near to the grid point."""
  near = np.abs(slab) < _CLEARANCE * max(float(slab.max()), -float(slab.min()))
  inside = slab > 0
  crossed = np.zeros(slab.shape, bool)
  for axis in range(3):
    here, there = (np.moveaxis(x, axis, 0) for x in (inside, crossed))
    differs = here[1:] != here[:-1]
    there[1:] |= differs
    there[:-1] |= differs
  near &= crossed
  near[:first] = False
  at = np.argwhere(near)
  if not len(at):
    return
  around = np.zeros(len(at), np.float32)  # the largest value beside each
  for axis in range(3):
    for step in (-1, 1):
      beside = at.copy()
      beside[:, axis] = np.clip(at[:, axis] + step, 0, slab.shape[axis] - 1)
      np.maximum(around, np.abs(slab[tuple(beside.T)]), out=around)
  values = slab[tuple(at.T)]
  least = np.maximum(_CLEARANCE * around, np.finfo(np.float32).tiny)
  slab[tuple(at.T)] = np.where(values < 0, -1, 1) * np.maximum(np.abs(values), least)


def _surface(slab):
  """(vertices, faces) of one slab, or None."""
  if len(slab) < 2 or not (slab.min() < 0 < slab.max()):
    return None
  measure = require('skimage.measure')
  vertices, faces, *_ = measure.marching_cubes(
    slab, 0.0, gradient_direction='ascent', allow_degenerate=True
  )
  return (vertices.astype(np.float32), faces.astype(np.int64)) if len(faces) else None


def _joined(index, vertices, old_index, old_vertices, plane):
  """`index` [v] of new vertices, with the old indices of those on the common plane."""
  from scipy.spatial import cKDTree

  on_plane = np.flatnonzero(np.abs(vertices[:, 0] - plane) < _WELD)
  if not len(on_plane) or not len(old_index):
    return index
  distance, nearest = cKDTree(old_vertices).query(vertices[on_plane], distance_upper_bound=_WELD)
  is_known = np.isfinite(distance)
  index[on_plane[is_known]] = old_index[nearest[is_known]]
  return index


def compact(vertices, faces) -> tuple[np.ndarray, np.ndarray]:
  """Removes vertices without a face."""
  used = np.zeros(len(vertices), bool)
  used[faces] = True
  return vertices[used], (np.cumsum(used) - 1)[faces]


def areas(vertices, faces) -> np.ndarray:
  """Area of each face, [f]."""
  a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
  return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def keep_components(vertices, faces, keep: str | float = 'largest'):
  """Keeps connected parts of a surface.

  Args:
    vertices: [v, 3].
    faces: [f, 3].
    keep: 'largest', 'all', or the least share of the whole area that a part must have, 0 to 1.

  Returns:
    Vertices, faces, the number of parts that there were, and of those that are left.
  """
  from scipy import sparse

  if keep not in ('largest', 'all') and not (isinstance(keep, float | int) and 0 <= keep <= 1):
    raise UserError(f'keep={keep!r} is not a part of a surface. Set largest, all, or 0.01.')
  n = len(vertices)
  if not len(faces):
    return vertices, faces, 0, 0
  ends = np.concatenate([faces[:, :2], faces[:, 1:]])
  graph = sparse.coo_matrix((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(n, n))
  _, labels = sparse.csgraph.connected_components(graph, directed=False)
  _, labels = np.unique(labels[faces[:, 0]], return_inverse=True)  # [f]
  area = np.bincount(labels, areas(vertices, faces))
  if keep == 'largest':
    kept = np.arange(len(area)) == np.argmax(area)
  else:
    kept = area >= (0 if keep == 'all' else keep) * area.sum()
  return *compact(vertices, faces[kept[labels]]), len(area), int(kept.sum())
