"""GGHead's losses, for one device's share of the batch; `recipes.gghead` makes phases of them."""

import jax.numpy as jnp

from jax3dgan.generators import gghead_attributes, templates
from jax3dgan.losses import gaussians as gaussian_losses
from jax3dgan.recipes import splat_losses
from jax3dgan.recipes.splat_losses import Losses
from jax3dgan.training.schedule import Stage


def make_losses(config, generator, discriminator, stage: Stage) -> Losses:
  """The losses of a stage, before their mean over devices."""
  own = config.gghead

  def stretch_of(variables, offsets):
    """Of offsets [b, n, 3] from the template's points, [b]."""
    n = generator.points_on_side
    if not generator.has_given_points:
      return gaussian_losses.stretch(offsets.reshape(-1, n, n, 3), generator.spacing)
    rows, columns = templates.texels_of(generator.apply(variables, method='places'), n)
    on_map = jnp.zeros((len(offsets), n, n, 3)).at[:, rows, columns].set(offsets)
    on_template = jnp.zeros((n, n), bool).at[rows, columns].set(True)
    return gaussian_losses.stretch(on_map, generator.spacing, on_template)

  def regularisation(variables, raw, gaussians, splats, now):
    terms = {
      'position': own.position * gaussian_losses.mean_norm(raw.position).mean(),
      'scale': own.scale * gaussian_losses.mean_norm(raw.scale).mean(),
    }
    late = jnp.where(now.images < own.late_images, 0.0, 1.0) if own.late_images else 1.0
    if own.beta:
      terms['beta'] = own.beta * late * gaussian_losses.beta(gaussians.opacities)
    if own.stretch:
      offsets = gghead_attributes.offsets(raw.position, generator.reach)
      terms['stretch'] = own.stretch * stretch_of(variables, offsets).mean()
    if own.variation:
      shown = splats.features, splats.composite.opacity
      variation = gaussian_losses.map_variation(*(x.reshape(-1, *x.shape[2:]) for x in shown))
      terms['variation'] = own.variation * late * variation
    return terms

  def with_places(variables, gaussians):
    places = generator.apply(variables, method='places')
    return gaussians._replace(features=jnp.broadcast_to(places, (*gaussians.opacities.shape, 2)))

  return splat_losses.make_losses(
    config,
    own,
    generator,
    discriminator,
    stage,
    regularisation,
    with_places if own.variation else None,
  )
