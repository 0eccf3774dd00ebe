"""Several views of each object in the generator's step (CGS-GAN, Barthel et al., NeurIPS 2025,
arXiv 2505.17590, Sec. 3): what does not depend on the camera is computed once, drawn from several
cameras and judged view by view, and the views' losses are averaged.

Further views are by the other cameras of the batch: each of them is a batch in which every object
and every camera is once, as among photos.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.nn import batch_axis

VIEWS = 'views'  # of `Inputs.extras`: what is drawn of further views, leaves [b, v − 1, ...]


def rolled(tree, num_views: int, batch_size: int):
  """What further views have of other objects, [b, num_views − 1, ...] of leaves [b, ...]: view v of
  object i that of object i + v, whatever device it is on.

  Args:
    tree: Of a device's whole share of the batch.
    batch_size: Of all devices; what is beyond it gives none.
  """
  axis = batch_axis.current()

  def of_others(x):
    every, first = x, 0
    if axis:
      every = jax.lax.all_gather(x, axis.name, tiled=True)
      first = jax.lax.axis_index(axis.name) * x.shape[0]
    objects = first + jnp.arange(x.shape[0], dtype=jnp.int32)
    return every[(objects[:, None] + np.arange(1, num_views)) % batch_size]

  return jax.tree.map(of_others, tree)


def mean(values: list):
  """The mean of the views' terms; of one view its term."""
  return sum(values[1:], values[0]) / len(values) if len(values) > 1 else values[0]


def check(config, field: str) -> None:
  """UserError for more views than a batch has cameras.

  Args:
    field: Of their number, as 'cgsgan.views'.
  """
  group, name = field.split('.')
  sizes = [dict(stage).get('batch_size', config.batch_size) for stage in config.stages]
  least = min([config.batch_size, *sizes])
  if (views := config[group][name]) > least:
    raise UserError(
      f'config.{field} is {views}, more than the {least} cameras of a batch. Set '
      f'--config.{field}={least}, or a larger batch_size.'
    )
