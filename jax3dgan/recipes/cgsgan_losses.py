"""CGS-GAN's losses, for one device's share of the batch; `recipes.cgsgan` makes phases of them."""

from jax3dgan.losses import gaussians as gaussian_losses
from jax3dgan.recipes import splat_losses
from jax3dgan.recipes.splat_losses import Losses
from jax3dgan.training.schedule import Stage


def make_losses(config, generator, discriminator, stage: Stage) -> Losses:
  """The losses of a stage, before their mean over devices."""
  own = config.cgsgan

  def regularisation(variables, raw, gaussians, splats, now):
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
