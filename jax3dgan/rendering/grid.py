"""What a generator's `query` says of points in space, on grids too: the base of a mesh."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError


def grid_points(index, resolution: int, cube_length: float, dtype=jnp.float32):
  """Points [m, 3] (x, y, z) of a regular grid in a cube around the origin, faces included.

  Args:
    index: [m] which of them, 0 to n³ − 1: z varies fastest, so that all of them, reshaped to
      [n, n, n], have axes x, y, z.
    resolution: n, points on a side, at least 2.
    cube_length: side of the cube, world units.
    dtype: of the points.

  Raises:
    UserError: fewer than 2 points on a side.
  """
  n = resolution
  if n < 2:
    raise UserError(f'A grid of {n} points on a side spans nothing. Set at least 2.')
  steps = jnp.stack([index // n**2, (index // n) % n, index % n], axis=-1).astype(dtype)
  return steps * jnp.asarray(cube_length / (n - 1), dtype) - jnp.asarray(cube_length / 2, dtype)


@functools.partial(jax.jit, static_argnums=(0, 4, 5, 6, 7))
def query_planes(
  generator,
  variables,
  scene,
  first,
  count: int,
  resolution: int = 256,
  cube_length: float = 0.3,
  chunk: int = 2**15,
):
  """The density on some planes of a grid, in the memory of one chunk of points.

  A large grid need never be in memory as a whole.

  Args:
    generator: a generator with a field, see `generators`.
    variables: its variables.
    scene: one style or scene (see `Trained.prepare`), leaves [1, ...].
    first: index of the first plane along x; may be traced.
    count: p, planes. Those beyond the cube repeat its last point.
    resolution: n, points on a side of the grid. 256 in a cube of 0.3 are π-GAN's.
    cube_length: side of the cube around the origin, world units.
    chunk: points that are evaluated at a time.

  Returns:
    [p, n, n] along x, y, z: what `query` returns, for π-GAN the raw density (its surfaces are at
    about 30).
  """
  dtype = jnp.result_type(float, *jax.tree.leaves(scene))
  num, last = count * resolution**2, resolution**3 - 1
  chunk = min(chunk, num)

  def densities(start):
    # The last chunk is padded.
    index = jnp.minimum(first * resolution**2 + start + jnp.arange(chunk), last)
    points = grid_points(index, resolution, cube_length, dtype)
    # Colours are not used: XLA leaves out what only they need.
    return generator.apply(variables, scene, points[None], method='query')[0][0]

  values = jax.lax.map(densities, jnp.arange(0, num, chunk))
  return values.reshape(-1)[:num].reshape(count, resolution, resolution)


def query_points(generator, variables, scene, points, chunk: int = 2**14) -> np.ndarray:
  """The density, or signed distance, at points [m, 3] of one scene: [m], NumPy.

  Args:
    generator, variables, scene: See `query_planes`.
    chunk: points that are evaluated at a time.
  """
  return _by_chunks(_values, generator, variables, scene, points, chunk)


def query_gradients(generator, variables, scene, points, chunk: int = 2**14) -> np.ndarray:
  """Gradients [m, 3] of the density, or signed distance, in points [m, 3] of one scene, NumPy."""
  return _by_chunks(_gradients, generator, variables, scene, points, chunk)


def _by_chunks(function, generator, variables, scene, points, chunk: int) -> np.ndarray:
  points = np.asarray(points, np.float32)
  # Few sizes, since each is compiled.
  size = min(chunk, 1 << max(len(points) - 1, 0).bit_length())
  parts = []
  for start in range(0, len(points), size):
    rows = np.minimum(np.arange(start, start + size), len(points) - 1)  # the last one pads
    part = function(generator, variables, scene, points[rows])
    parts.append(np.asarray(part)[: len(points) - start])
  return np.concatenate(parts)


@functools.partial(jax.jit, static_argnums=0)
def _values(generator, variables, scene, points):
  return generator.apply(variables, scene, points[None], method='query')[0][0]


@functools.partial(jax.jit, static_argnums=0)
def _gradients(generator, variables, scene, points):
  return jax.grad(lambda at: jnp.sum(_values(generator, variables, scene, at)))(points)
