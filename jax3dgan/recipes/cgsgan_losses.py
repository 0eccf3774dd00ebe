"""CGS-GAN's losses, for one device's share of the batch; `recipes.cgsgan` makes phases of them."""

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.losses import gaussians as gaussian_losses
from jax3dgan.nn import batch_axis
from jax3dgan.recipes import splat_losses
from jax3dgan.recipes.base import Inputs
from jax3dgan.recipes.splat_losses import Losses
from jax3dgan.training.schedule import Stage


def make_losses(config, generator, discriminator, stage: Stage) -> Losses:
  """The losses of a stage, before their mean over devices."""
  own = config.cgsgan

  def regularisation(raw, gaussians, splats, now):
    """Of the first level's anchors."""
    del gaussians, splats, now
    terms = {}
    if raw.anchors:
      points = raw.anchors[0].position
      if own.neighbours:
        near = gaussian_losses.neighbour_distance(points, own.num_neighbours)
        terms['neighbours'] = own.neighbours * near.mean()
      if own.centre:
        terms['centre'] = own.centre * gaussian_losses.off_centre(points).mean()
    return terms

  return splat_losses.make_losses(config, own, generator, discriminator, stage, regularisation)


def with_views(inputs: Inputs, num_views: int, batch_size: int) -> Inputs:
  """Inputs whose objects are seen by further cameras of the batch: view v of object i by the camera
  of object i + v, whatever device it is on.

  Args:
    inputs: of a device's whole share of the batch.
    batch_size: of all devices.
  """
  label = inputs.label
  every, first = label, 0
  if axis := batch_axis.current():
    every = jax.lax.all_gather(label, axis.name, tiled=True)
    first = jax.lax.axis_index(axis.name) * label.shape[0]
  objects = first + jnp.arange(label.shape[0], dtype=jnp.int32)
  places = (objects[:, None] + np.arange(1, num_views)) % batch_size
  return inputs._replace(extras={**inputs.extras, splat_losses.VIEWS: every[places]})
