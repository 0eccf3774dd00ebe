"""Templates: where Gaussians begin, one for each texel of a square map of a surface.

A texel at column i and row j of n² is at a = (2i + 1)/n − 1, b = (2j + 1)/n − 1; Gaussians are
numbered row by row. Surfaces are computed; meshes (`MESHES`) are the user's, and cover a part of
the map.
"""

import math

import jax.numpy as jnp
import numpy as np

from jax3dgan import registry
from jax3dgan.errors import UserError

SPACINGS = 0.8  # of neighbours' distances, that a fresh scale is where none is given


def _grid(n: int):
  """(a, b) of the texels [n²]."""
  centres = (2 * np.arange(n) + 1) / n - 1
  b, a = np.meshgrid(centres, centres, indexing='ij')
  return a.ravel(), b.ravel()


def places(n: int) -> np.ndarray:
  """Where the texels are on the map, [n², 2] (x, y) in (−1, 1), float32."""
  return np.stack(_grid(n), axis=-1).astype(np.float32)


def texels_of(places, n: int):
  """Row and column of the texels of an n² map that have `places` [k, 2], int [k] each."""
  columns, rows = jnp.moveaxis(jnp.clip(((places + 1) * n / 2).astype(int), 0, n - 1), -1, 0)
  return rows, columns


def octahedral_sphere(n: int) -> np.ndarray:
  """Points [n², 3] of the unit sphere by octahedral mapping (Engelhardt & Dachsbacher 2008).

  The map's middle is at the top (+y), its corners all at the bottom; neighbours on the map are
  neighbours on the sphere, except across its edge, where the lower half is cut open.
  """
  a, b = _grid(n)
  y = 1 - np.abs(a) - np.abs(b)
  below = y < 0
  x = np.where(below, (1 - np.abs(b)) * np.sign(a), a)
  z = np.where(below, (1 - np.abs(a)) * np.sign(b), b)
  points = np.stack([x, y, z], axis=-1)
  return points / np.linalg.norm(points, axis=-1, keepdims=True)


def front_hemisphere(n: int) -> np.ndarray:
  """Points [n², 3] of the half z > 0 of the unit sphere: the upper half of the octahedral map,
  turned to the front, without any cut. The map's edge is the hemisphere's."""
  a, b = _grid(n)
  x, y = (a + b) / 2, (a - b) / 2
  points = np.stack([x, y, 1 - np.abs(x) - np.abs(y)], axis=-1)
  return points / np.linalg.norm(points, axis=-1, keepdims=True)


# Points of unit size, and the area that they cover.
SURFACES = {
  'sphere': (octahedral_sphere, 4 * math.pi),
  'half_ellipsoid': (front_hemisphere, 2 * math.pi),
}


def points(name: str, n: int, radius, centre) -> np.ndarray:
  """Points [n², 3] of a template of `SURFACES`, float32.

  Args:
    radius, centre: (x, y, z), world units.
  """
  return np.float32(SURFACES[name][0](n) * np.float64(radius) + np.float64(centre))


def spacing(name: str, n: int, radius) -> float:
  """About how far apart neighbours are, world units: the side of a square of the mean area."""
  area = SURFACES[name][1] * float(np.prod(radius)) ** (2 / 3)
  return math.sqrt(area / n**2)


MESHES = {'ict': 'jax3dgan.data.builders.ict_faces.uv_layout:Head'}


class MeshTemplate:
  """A template that is read from the user's files: of `MESHES`, or 'package.module:Class'."""

  def read(self, source: str, n: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Points [k, 3] for those texels of n² that are on the mesh, world units, their places [k, 2]
    on the map, see `places`, and about how far apart neighbours are.

    Args:
      source: `config.data.source`, which may name the files.

    Raises:
      UserError: The files are not there, or are others.
    """
    raise NotImplementedError


def buffers_of(generator, source: str) -> dict[str, np.ndarray]:
  """`template_points` and `template_places` of a GGHead whose template is a mesh.

  Args:
    source: See `MeshTemplate.read`.

  Raises:
    UserError: As there; or the points are not as many as the generator's `num_given`, or it has no
      `start_scale`: the message has both.
  """
  mesh = registry.resolve('template', generator.template, MESHES, MeshTemplate)()
  points, places, distance = mesh.read(source, generator.points_on_side)
  if len(points) != generator.num_given or not generator.start_scale:
    raise UserError(
      f'{len(points):,} of {generator.points_on_side}² texels are on the template '
      f"'{generator.template}'. Set --config.model.num_given={len(points)} and "
      f'--config.model.start_scale={SPACINGS * distance:.3g}.'
    )
  return {'template_points': points, 'template_places': places}
