"""CGS-GAN's recipe (Barthel et al., NeurIPS 2025, arXiv 2505.17590, Sec. 3 and App. A): a generator
that is told nothing of cameras, kept stable by several views.

In this order: the generator against the discriminator, which keeps the first level's anchors near
each other and in the middle; the discriminator; every few steps R1. In the generator's step all
objects are drawn several times (multi-view regularisation): with each view the cameras of the batch
move on by one object, and the discriminator, which is told the camera, judges a batch in which each
object and each camera are once, as among photos. The views' losses are averaged.

Each photo and each fake that the discriminator sees is on a flat ground of a random colour, which
needs the photos' masks. Cameras are the photos' labels, or, where there are none, of the pose
prior.

The losses are in `cgsgan_losses` and `splat_losses`.
"""

import dataclasses

from jax3dgan.generators import cgsgan as generator_lib
from jax3dgan.recipes import cgsgan_losses, checks, eg3d_inputs, splatted, views
from jax3dgan.recipes.loss_terms import Loss
from jax3dgan.recipes.splatted import WEIGHT, SplattedRecipe
from jax3dgan.training.ranges import Range


@dataclasses.dataclass(frozen=True)
class Own:
  """`config.cgsgan`.

  Attributes:
    views: Of each object in the generator's step, at most as many as a batch has cameras.
    random_background: Whether the grounds of photos and fakes are random flat colours; white else.
    neighbours, num_neighbours: Weight of the mean squared distance of the first level's anchors to
      their nearest ones, and to how many.
    centre: Weight of the squared distance of their mean from the origin.
    points_rate: Factor on the learning rate of the learned points.
    discriminator_clip: As `optimizer.grad_clip`, of the discriminator; 0 for none.
    blur, blur_images: σ, in pixels, of the blur of the discriminator's images at first, and after
      how many images it is gone.
    w_average_decay: Of the running mean of the styles, a step.
  """

  views: int = 4
  random_background: bool = True
  neighbours: float = 20.0
  num_neighbours: int = 64
  centre: float = 1.0
  points_rate: float = 0.01
  discriminator_clip: float = 5.0
  blur: float = 10.0
  blur_images: int = 200_000
  w_average_decay: float = 0.998


class CGSGAN(SplattedRecipe):
  """See the module."""

  groups = {'loss': Loss, 'cgsgan': Own}
  defaults = splatted.defaults(grad_clip=20.0)
  model = 'cgsgan'
  generator_type = generator_lib.CGSGAN
  regularises = 'the anchors of Gaussians'
  ranges = splatted.ranges(
    'cgsgan',
    {
      'neighbours': WEIGHT,
      'num_neighbours': Range(1),
      'centre': WEIGHT,
      'points_rate': Range(0),
      'discriminator_clip': WEIGHT,
    },
  )
  of_weights = {
    ('loss.r1', 'loss.r2'): ('loss.r1_every',),
    'loss.pose': ('loss.pose_encoding',),
    'cgsgan.neighbours': ('cgsgan.num_neighbours',),
    'cgsgan.blur': ('cgsgan.blur_images',),
  }

  def check_own(self, config, generator):
    """See `SplattedRecipe.check_own`."""
    if len(generator.ratios) == 1:
      for name in ('neighbours', 'num_neighbours', 'centre'):
        reason = 'of one level there are no anchors'
        checks.unused(config, f'cgsgan.{name}', getattr(Own, name), reason)
    views.check(config, 'cgsgan.views')

  def draw_cameras(self, keys, phase, config, photos, now):
    """See `SplattedRecipe.draw_cameras`; nothing is conditioned on them."""
    del phase, now
    cameras = eg3d_inputs.draw_cameras(keys, config, photos.all_labels)
    return cameras._replace(condition=None, extras={})

  def phases(self, config, generator, discriminator, stage):
    """The generator, the discriminator, R1."""
    losses = cgsgan_losses.make_losses(config, generator, discriminator, stage)
    num_views = config.cgsgan.views

    def turned(networks, inputs, now, num_micro_batches):
      del networks, now, num_micro_batches
      others = views.rolled(inputs.label, num_views, stage.batch_size)
      return inputs._replace(extras={**inputs.extras, views.VIEWS: others})

    return splatted.phases(losses, config, turned if num_views > 1 else None)

  def scale_updates(self, network, updates, config, now):
    """The learned points are slow."""
    del now
    if network != 'generator':
      return updates
    return {**updates, 'points': config.cgsgan.points_rate * updates['points']}

  def grad_clip(self, network, config):
    """See `Recipe.grad_clip`."""
    if network == 'discriminator':
      return config.cgsgan.discriminator_clip
    return super().grad_clip(network, config)
