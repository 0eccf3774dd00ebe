"""Empty space is sampled less: a grid that says where the fields of a generator may be opaque.

The grid is the running mean, over latents, of the opacity of each of its cells (the occupancy grids
of Instant-NGP, Müller et al., SIGGRAPH 2022, arXiv 2201.05989, App. E.2, are those of one scene).
The samples of a ray are as dense where it says that something may be as they are `1/FLOOR` times as
far apart elsewhere: nothing is left out, so that the quadrature stays consistent, what grows in
empty space is seen and learns, and a ray that meets nothing is sampled evenly.

All of the sampling and of the quadrature is done in a stretched distance u, in which samples are
dense alike: du = e(t)·dt with the emphasis e of 1 or `FLOOR`. A sample's interval is then Δu/e at
its own place, so that one on a surface does not stand for the empty space behind it.
"""

from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.nn.cpu.softplus import softplus
from jax3dgan.nn.take import take
from jax3dgan.rendering import compositing
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.rays import Rays
from jax3dgan.rendering.sampling import Limits

# Density of samples in cells that are empty for nearly all latents, over that of the others. At
# .1 they still get a quarter of the samples of the packaged models' rays.
FLOOR = 0.1
# A cell counts as empty below this mean opacity.
EMPTY = 0.01
# Each ray looks the grid up in the middles of so many equal parts; 24 to 64 give the same pictures.
PARTS = 32


@flax.struct.dataclass
class Occupancy:
  """Mean opacities of the cells of a cube around the origin.

  Attributes:
    cells: [n, n, n] along x, y, z, in [0, 1].
    box: side of the cube, world units; what is outside counts as empty.
  """

  cells: jax.Array
  box: float = flax.struct.field(pytree_node=False)


class EmphasisedLimits(NamedTuple):
  """`sampling.Limits` within which samples are not dense alike.

  Attributes:
    near, far, hit: see there.
    emphasis: [..., PARTS] how dense samples are in equal parts between near and far, 1 or `FLOOR`.
  """

  near: jax.Array
  far: jax.Array
  hit: jax.Array
  emphasis: jax.Array


class Stretched(NamedTuple):
  """Where samples are.

  Attributes:
    depths: [..., s] distances along the rays.
    interval: [..., s] of each sample, dt/du at its place.
  """

  depths: jax.Array
  interval: jax.Array


def emphasised(
  rays: Rays, limits: Limits, occupancy: Occupancy, options: RenderOptions
) -> EmphasisedLimits:
  """The limits of rays [..., 3] with the emphasis of their parts.

  Args:
    limits: leaves [..., 1].

  Raises:
    UserError: samples that are even in 1/depth.
  """
  if options.spacing != 'linear':
    raise UserError(
      f"An occupancy grid says how dense samples are, and spacing '{options.spacing}' says it too. "
      "Set spacing='linear', or config.model.occupancy=0."
    )
  n = occupancy.cells.shape[0]
  middles = (jnp.arange(PARTS, dtype=limits.near.dtype) + 0.5) / PARTS
  depths = limits.near + (limits.far - limits.near) * middles
  points = rays.origins[..., None, :] + depths[..., None] * rays.directions[..., None, :]
  index = jnp.floor((points / occupancy.box + 0.5) * n).astype(jnp.int32)
  inside = jnp.all((index >= 0) & (index < n), axis=-1)
  index = jnp.clip(index, 0, n - 1)
  flat = (index[..., 0] * n + index[..., 1]) * n + index[..., 2]
  full = inside & jnp.take(occupancy.cells.reshape(-1) > EMPTY, flat)
  emphasis = jnp.where(full, 1.0, FLOOR).astype(limits.near.dtype)
  return EmphasisedLimits(*limits, jax.lax.stop_gradient(emphasis))


def stretched_limits(limits: EmphasisedLimits) -> Limits:
  """The limits in u: from 0 to the emphasised length."""
  part = (limits.far - limits.near) / PARTS
  far = part * jnp.sum(limits.emphasis, axis=-1, keepdims=True)
  return Limits(jnp.zeros_like(far), far, limits.hit)


def place(limits: EmphasisedLimits, stretched) -> Stretched:
  """Samples at stretched distances [..., s], in any order.

  Those that jitter puts before the near limit or behind the far one go as far beyond it.
  """
  part = (limits.far - limits.near) / PARTS  # [..., 1]
  ends = part * jnp.cumsum(limits.emphasis, axis=-1)  # [..., PARTS]
  # The last end, which rounding may put before the far limit, is no part's beginning.
  index = jnp.sum(ends[..., None, :-1] <= stretched[..., :, None], axis=-1)
  emphasis = take(limits.emphasis, index)
  begin = take(ends, index) - part * emphasis
  depths = limits.near + part * index + (stretched - begin) / emphasis
  last = ends[..., -1:]
  before, behind = stretched < 0, stretched > last
  depths = jnp.where(before, limits.near + stretched, depths)
  depths = jnp.where(behind, limits.far + (stretched - last), depths)
  return Stretched(depths, jnp.where(before | behind, 1.0, 1 / emphasis))


def intervals(stretched, placed: Stretched, options: RenderOptions, last_interval):
  """Lengths [..., s] of the intervals of samples at ascending stretched distances [..., s], or
  [..., s − 1] between them with the marcher 'midpoints'.

  Args:
    last_interval: of the last sample, stretched.
  """
  if options.marcher == 'midpoints':
    mean = 0.5 * (placed.interval[..., 1:] + placed.interval[..., :-1])
    return mean * (stretched[..., 1:] - stretched[..., :-1])
  return placed.interval * compositing.intervals(stretched, last_interval)


def cell_points(key, cells: int, box: float):
  """A random point in each cell of the grid, [n³, 3]: z varies fastest."""
  index = jnp.arange(cells**3)
  corner = jnp.stack([index // cells**2, (index // cells) % cells, index % cells], axis=-1)
  return (corner + jax.random.uniform(key, corner.shape)) * (box / cells) - box / 2


def opacities(raw, options: RenderOptions, length: float):
  """How opaque `length` of a field with this output [...] is, in [0, 1]."""
  if options.marcher == 'midpoints' and options.density == 'softplus':
    density = softplus(raw - 1)
  else:
    density = compositing.activate_density(raw, options.density)
  return -jnp.expm1(-density * length)
