"""Generators that keep a grid of where their fields may be opaque (`rendering.occupancy`)."""

import jax.numpy as jnp

from jax3dgan.errors import UserError, not_written
from jax3dgan.generators.base import BUFFERS
from jax3dgan.rendering import occupancy
from jax3dgan.rendering.occupancy import Occupancy
from jax3dgan.rendering.options import RenderOptions

NAME = 'occupancy_grid'  # the buffer


class Occupied:
  """A grid of cells, in the buffer `occupancy_grid` [n, n, n], which `recipes.occupancy` keeps.

  Subclasses are Linen modules with a `radiance_field` that call `make_grid` in `setup`; those that
  can have a grid have a field of this name.

  Attributes:
    occupancy: cells on a side; 0 for no grid.
  """

  occupancy = 0

  @property
  def grid_box(self) -> float:
    """Side of the cube around the origin that the grid covers, world units."""
    raise not_written(self, 'grid_box')

  def make_grid(self) -> None:
    """The buffer: at first every cell may be opaque."""
    if self.occupancy < 0 or self.occupancy == 1:
      raise UserError(
        f'config.model.occupancy is {self.occupancy}, and a grid has at least 2 cells on a side. '
        'Set --config.model.occupancy=32, or 0 for no grid.'
      )
    if self.occupancy:
      self.cells = self.variable(BUFFERS, NAME, jnp.ones, (self.occupancy,) * 3)

  def grid(self) -> Occupancy | None:
    """The grid as it is; None without one."""
    return Occupancy(self.cells.value, self.grid_box) if self.occupancy else None

  def cell_opacities(self, scene, points, options: RenderOptions):
    """How opaque a cell's length of the field is at points [b, n, 3] of styles or a scene,
    [b, n]."""
    directions = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0], points.dtype), points.shape)
    field = self.radiance_field(self.prepare(scene))
    raw = field(points[:, :, None], directions)[0][:, :, 0]
    return occupancy.opacities(raw, options, self.grid_box / self.occupancy)
