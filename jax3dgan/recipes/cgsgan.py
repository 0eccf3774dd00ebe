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

from jax3dgan.errors import UserError
from jax3dgan.generators import cgsgan as generator_lib
from jax3dgan.recipes import backgrounds, base, cgsgan_losses, checks, eg3d_inputs, splat_losses
from jax3dgan.recipes.base import Inputs, Phase, Recipe
from jax3dgan.recipes.loss_terms import Loss
from jax3dgan.training.checks import Range
from jax3dgan.training.streams import named_keys


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


_WEIGHT = Range(0, note='0 for none')
RANGES = {
  'loss.r1_every': Range(1),
  'cgsgan.views': Range(1),
  'cgsgan.neighbours': _WEIGHT,
  'cgsgan.num_neighbours': Range(1),
  'cgsgan.centre': _WEIGHT,
  'cgsgan.points_rate': Range(0),
  'cgsgan.discriminator_clip': _WEIGHT,
  'cgsgan.blur': _WEIGHT,
  'cgsgan.blur_images': Range(0),
  'cgsgan.w_average_decay': Range(0, 1, below=True),
}


class CGSGAN(Recipe):
  """See the module."""

  groups = {'loss': Loss, 'cgsgan': Own}
  defaults = {
    'render': dict(align_corners=False, white_back=True),
    'optimizer': dict(
      lr_generator=2.5e-3, lr_discriminator=2e-3, beta1=0.0, beta2=0.99, grad_clip=20.0
    ),
  }
  model = 'cgsgan'
  discriminator = 'stylegan2'
  uses_labels = True
  has_convolutions = True
  of_weights = {
    'loss.r1': ('loss.r1_every',),
    'loss.pose': ('loss.pose_encoding',),
    'cgsgan.neighbours': ('cgsgan.num_neighbours',),
    'cgsgan.blur': ('cgsgan.blur_images',),
  }

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.has_discriminator(config, discriminator)
    if not isinstance(generator, generator_lib.CGSGAN):
      raise UserError(
        f"The recipe 'cgsgan' regularises the anchors of Gaussians, which '{config.model.name}' "
        "does not have. Take the model 'cgsgan', or another recipe."
      )
    checks.label_sizes(config, generator, discriminator)
    checks.single_images(config, discriminator, 'stylegan2')
    checks.rendering(config, generator)
    checks.in_ranges(config, RANGES)
    checks.told_cameras(config, generator, discriminator)
    checks.heads(config, generator, discriminator, ('pose',))
    if self.needs_masks(config):
      backgrounds.check('config.cgsgan.random_background', config)
    if len(generator.ratios) == 1:
      for name in ('neighbours', 'num_neighbours', 'centre'):
        reason = 'of one level there are no anchors'
        checks.unused(config, f'cgsgan.{name}', getattr(Own, name), reason)
    sizes = [dict(stage).get('batch_size', config.batch_size) for stage in config.stages]
    least = min([config.batch_size, *sizes])
    if config.cgsgan.views > least:
      raise UserError(
        f'config.cgsgan.views is {config.cgsgan.views}, more than the {least} cameras of a batch. '
        f'Set --config.cgsgan.views={least}, or a larger batch_size.'
      )

  def needs_masks(self, config):
    """See `Recipe.needs_masks`."""
    return config.cgsgan.random_background

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """See `Recipe.draw`."""
    del now, buffers
    own, extras = config.cgsgan, {}
    if own.random_background and phase != 'generator':
      photos = photos._replace(image=backgrounds.photos_on_colours(keys, photos))
    if phase == 'r1':
      return Inputs(images=photos.image, image_label=photos.label)
    if own.random_background:
      count = own.views if phase == 'generator' else 1
      extras[splat_losses.BACKGROUND] = backgrounds.colours(keys, 'background', count)
    inputs = eg3d_inputs.draw_cameras(keys, config, photos.all_labels)._replace(
      condition=None,
      z=base.draw_latents(keys, generator.z_dim),
      keys=named_keys(keys, 'rendering'),
      extras=extras,
    )
    if phase == 'discriminator':
      inputs = inputs._replace(images=photos.image, image_label=photos.label)
    return inputs

  def phases(self, config, generator, discriminator, stage):
    """The generator, the discriminator, R1."""
    losses = cgsgan_losses.make_losses(config, generator, discriminator, stage)

    def turned(networks, inputs, now, num_micro_batches):
      del networks, now, num_micro_batches
      return cgsgan_losses.with_views(inputs, config.cgsgan.views, stage.batch_size)

    prepare = turned if config.cgsgan.views > 1 else None
    phases = [
      Phase('generator', 'generator', losses.generator, prepare=prepare),
      Phase('discriminator', 'discriminator', losses.discriminator),
    ]
    if config.loss.r1:
      every = config.loss.r1_every
      phases.append(Phase('r1', 'discriminator', losses.r1, every, lazy=True))
    return tuple(phases)

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
