"""A surface in what one camera sees: a grid in its frustum instead of a cube.

Points outside of the frusta of training were never rendered, and a field may be anything there. The
grid of a frustum has n pixels on a side and n planes across the camera's axis from near to far; its
vertices are taken to world space exactly, so that nothing is resampled.

`aligned` is how StyleSDF's release does it (Or-El et al., CVPR 2022): it resamples the grid to a
box, which bends it slightly, since it interpolates the width of the frustum linearly in depth.
"""

from collections.abc import Iterator

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.meshes import surfaces
from jax3dgan.rendering import grid

_SLAB_POINTS = 2**19  # points of the grid that are in memory at a time, about


class Frustum:
  """The part of space between two planes that a camera sees.

  Args:
    camera: One camera, [1].
    near, far: Distances of the planes from it, world units.
  """

  def __init__(self, camera, near: float, far: float):
    if not 0 < near < far:
      raise UserError(
        f'The part of a frustum from near {near:g} to far {far:g} is no volume. Leave out '
        '--frustum, or set config.render.near and far.'
      )
    self._cam2world = np.asarray(camera.cam2world[0], np.float64)
    self._intrinsics = np.asarray(camera.intrinsics[0], np.float64)
    self.near, self.far = near, far

  def world(self, units) -> np.ndarray:
    """World positions [..., 3] of places [..., 3]: x right, y down, z forward, each 0 to 1."""
    u, v, depth = np.moveaxis(np.asarray(units, np.float64), -1, 0)
    z = self.near + (self.far - self.near) * depth
    k = self._intrinsics
    y = (v - k[1, 2]) / k[1, 1]
    x = (u - k[0, 2] - k[0, 1] * y) / k[0, 0]
    local = np.stack([x * z, y * z, z], axis=-1)
    return local @ self._cam2world[:3, :3].T + self._cam2world[:3, 3]

  def slabs(self, model, scene, resolution: int, progress: bool = False) -> Iterator[np.ndarray]:
    """Yields the raw field on the grid, some planes along x at a time, [p, n, n] float32.

    Args:
      model: A `trained.Trained` with a field.
      scene: Leaves [1, ...].
      resolution: n, at least 2.
      progress: Whether to show a bar.
    """
    import tqdm

    n = resolution
    if n < 2:
      raise UserError(f'A grid of {n} points on a side spans nothing. Set at least 2.')
    ticks, count = np.linspace(0, 1, n), max(_SLAB_POINTS // n**2, 1)
    with tqdm.tqdm(
      desc='field', total=n**3, unit='point', unit_scale=True, disable=not progress
    ) as bar:
      for first in range(0, n, count):
        units = np.meshgrid(ticks[first : first + count], ticks, ticks, indexing='ij')
        points = self.world(np.stack(units, axis=-1)).astype(np.float32)
        values = grid.query_points(model.generator, model.variables, scene, points.reshape(-1, 3))
        yield values.reshape(points.shape[:3])
        bar.update(values.size)


def aligned(values, near: float, far: float, outside: float = 1.0) -> np.ndarray:
  """A frustum's values on the grid of the box around it, as StyleSDF's release has them.

  Args:
    values: [w, h, d] along x, y and the depth from near to far.
    near, far: Distances of its ends.
    outside: The value of points that are not in the frustum.

  Returns:
    [w, h, d]: at a place (x, y, z), each −1 to 1, trilinear the frustum's at (x·c, y·c, z), where c
    goes linearly from far/near in front to 1.
  """
  ndimage = surfaces.require('scipy.ndimage')
  values = np.asarray(values)
  x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in values.shape), indexing='ij')
  scale = np.linspace(far / near, 1, values.shape[2])
  at = np.stack([x * scale, y * scale, z])  # [3, w, h, d]
  index = (np.clip(at, -1, 1) + 1) / 2 * (np.reshape(values.shape, (3, 1, 1, 1)) - 1)
  found = ndimage.map_coordinates(values, index, order=1, mode='nearest')
  return np.where(np.abs(at).max(0) > 1, outside, found).astype(values.dtype)
