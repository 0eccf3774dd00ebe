"""One part of an image's rays out of several equal ones, each for a device of its own.

Parts are cut along the rays, not the rows: they are equal to a ray, whatever the resolution. Pure
functions; `devices.ray_parallel` distributes them over devices.
"""

import jax
import jax.numpy as jnp

from jax3dgan.rendering import hierarchical
from jax3dgan.rendering.compositing import Composite
from jax3dgan.rendering.hierarchical import Field, RenderOptions
from jax3dgan.rendering.rays import Rays


def part_size(num_rays: int, count: int, limit: int) -> int:
  """Rays of each of `count` parts, of which at most `limit` are rendered at a time.

  Rounded up to a whole number of equal chunks of nearly `limit`: a part of a size with no such
  divisor would fall into tiny ones, see `hierarchical.divisor`.
  """
  size = -(-num_rays // count)
  chunks = -(-size // limit)
  return chunks * -(-size // chunks)


def part_of(
  field: Field, rays: Rays, options: RenderOptions, index, count: int, fine_field=None, tree=None
):
  """The rays that `render_part` renders, or these rows of a `tree` of arrays [b, r, ...]."""
  b, num_rays = rays.directions.shape[:2]
  limit = hierarchical.tile(field, b, -(-num_rays // count), options, fine_field)[1]
  size = part_size(num_rays, count, limit)
  which = index * size + jnp.arange(size)
  tree = rays if tree is None else tree
  return jax.tree.map(lambda x: jnp.take(x, which, axis=1, mode='clip'), tree)


def render_part(
  field: Field, rays: Rays, options: RenderOptions, index, count: int, fine_field=None, grid=None
) -> Composite:
  """Renders one part of the rays, as `hierarchical.render_images` without keys does all of them.

  Args:
    field, options, fine_field, grid: see `hierarchical.render_images`.
    rays: all of them, [b, r, 3].
    index: which part, an integer that may be traced.
    count: parts in all.

  Returns:
    Composite without weights, leaves [b, p, ...] with p = `part_size`: the rays from index·p on.
    Parts end to end are the whole, and behind it the last ray again, up to count·p.
  """
  limits = hierarchical.ray_limits(rays, options, grid)
  rays, limits = part_of(field, rays, options, index, count, fine_field, (rays, limits))
  return hierarchical.render_images(field, rays, options, limits=limits, fine_field=fine_field)
