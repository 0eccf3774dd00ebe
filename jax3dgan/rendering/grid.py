"""Regular grids of points in space, and a generator's field on them: the base of a mesh."""

import functools

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError


def grid_points(resolution: int, cube_length: float, sheared: bool = False, dtype=jnp.float32):
  """The points of a regular grid in a cube around the origin, faces included.

  Args:
    resolution: n, points on a side, at least 2.
    cube_length: Side of the cube, world units.
    sheared: The points of π-GAN's release, whose x and y miss a rounding down: along a row of z
      they move on towards the next row. For comparison with it alone.
    dtype: Of the points.

  Returns:
    [n³, 3] (x, y, z); z runs fastest, so that a reshape to [n, n, n] has axes x, y, z.
  """
  _check(resolution)
  return _points_at(jnp.arange(resolution**3), resolution, cube_length, sheared, dtype)


def _check(resolution):
  if resolution < 2:
    raise UserError(f'A grid of {resolution} points on a side spans nothing. Set at least 2.')


def _points_at(index, n, cube_length, sheared=False, dtype=jnp.float32):
  """Rows `index` [m] of `grid_points`, [m, 3]."""
  if sheared:
    x, y = (index.astype(dtype) / n / n) % n, (index.astype(dtype) / n) % n
  else:
    x, y = index // n**2, (index // n) % n
  steps = jnp.stack([x.astype(dtype), y.astype(dtype), (index % n).astype(dtype)], axis=-1)
  return steps * jnp.asarray(cube_length / (n - 1), dtype) - jnp.asarray(cube_length / 2, dtype)


@functools.partial(jax.jit, static_argnums=(0, 3, 4, 5))
def query_grid(
  generator, variables, w, resolution: int = 256, cube_length: float = 0.3, chunk: int = 2**15
):
  """The density of one style on a grid, in the memory of one chunk of points.

  Args:
    generator: A generator with a field, see `generators`; variables: Its parameters.
    w: One style, without a batch axis.
    resolution: n, points on a side. 256 in a cube of 0.3 are π-GAN's.
    cube_length: Side of the cube around the origin, world units.
    chunk: Points asked at a time.

  Returns:
    [n, n, n] along x, y, z: what `query` gives, for π-GAN the raw density (its surfaces lie at
    about 30).
  """
  scene = jax.tree.map(lambda x: x[None], w)
  return query_planes(generator, variables, scene, 0, resolution, resolution, cube_length, chunk)


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
  """Some planes of `query_grid`'s grid, so that a large one need never be held at once.

  Args:
    generator, variables, resolution, cube_length, chunk: As of `query_grid`.
    scene: One style or scene (see `Trained.prepare`), leaves [1, ...].
    first: Index of the first plane along x; may be traced.
    count: p, planes. Those beyond the cube repeat its last point.

  Returns:
    [p, n, n] along x, y, z.
  """
  _check(resolution)
  dtype = jnp.result_type(float, *jax.tree.leaves(scene))
  num, last = count * resolution**2, resolution**3 - 1
  chunk = min(chunk, num)

  def densities(start):
    # The last chunk is padded.
    index = jnp.minimum(first * resolution**2 + start + jnp.arange(chunk), last)
    points = _points_at(index, resolution, cube_length, dtype=dtype)
    # Nobody asks for the colours: XLA leaves out what only they need.
    return generator.apply(variables, scene, points[None], method='query')[0][0]

  values = jax.lax.map(densities, jnp.arange(0, num, chunk))
  return values.reshape(-1)[:num].reshape(count, resolution, resolution)
