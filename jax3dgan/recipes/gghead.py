"""GGHead's recipe (Kirschstein et al., SIGGRAPH Asia 2024, arXiv 2406.09377, Sec. 3.4), and what
CGS-GAN (Barthel et al. 2025, arXiv 2505.17590) adds to train without telling the generator the
camera: several views of an identity in the generator's step.

In this order: the generator against the discriminator, which keeps Gaussians near their template
and small, and opacities near 0 or 1; the discriminator; every few steps R1. Cameras are the photos'
labels, or, where there are none, of the pose prior.

The losses are in `gghead_losses`.
"""

import dataclasses

import jax

from jax3dgan.errors import UserError
from jax3dgan.generators import gghead as generator_lib
from jax3dgan.generators import templates
from jax3dgan.recipes import checks, eg3d_inputs, gghead_losses, splatted, views
from jax3dgan.recipes.loss_terms import Loss
from jax3dgan.recipes.splatted import WEIGHT, SplattedRecipe
from jax3dgan.training.ranges import Range
from jax3dgan.training.streams import named_keys


@dataclasses.dataclass(frozen=True)
class Own:
  """`config.gghead`.

  Attributes:
    position, scale: Weights of the mean norms of raw positions and scales.
    beta: Weight of the beta distribution's term of opacities, see `losses.gaussians.beta`.
    variation: Weight of the total variation of the template's map in images, see
      `losses.gaussians.map_variation`; for a template whose map has no cuts.
    stretch: Weight of the stretching of the template by positions, see `losses.gaussians.stretch`,
      which keeps it from folding; not in the paper.
    late_images: After how many images `beta` and `variation` count.
    views: Views of each identity in the generator's step.
    random_background: Whether each fake and each photo that the discriminator sees has a flat
      ground of a random colour (CGS-GAN's); for data with masks. The paper has white ones.
    pose_swap, pose_swap_images: As of EG3D's recipe, for a mapping network that is conditioned on
      the camera.
    blur, blur_images: σ, in pixels, of the blur of the discriminator's images at first, and after
      how many images it is gone.
    w_average_decay: Of the running mean of the styles, a step.
  """

  position: float = 0.1
  scale: float = 0.05
  beta: float = 1.0
  variation: float = 0.0
  stretch: float = 0.0
  late_images: int = 0
  views: int = 1
  random_background: bool = False
  pose_swap: float = 0.5
  pose_swap_images: int = 1_000_000
  blur: float = 10.0
  blur_images: int = 200_000
  w_average_decay: float = 0.998


class GGHead(SplattedRecipe):
  """See the module."""

  groups = {'loss': Loss, 'gghead': Own}
  defaults = splatted.defaults(grad_clip=0.0)
  model = 'gghead'
  generator_type = generator_lib.GGHead
  regularises = 'Gaussians on a template'
  ranges = splatted.ranges(
    'gghead',
    {
      'position': WEIGHT,
      'scale': WEIGHT,
      'beta': WEIGHT,
      'variation': WEIGHT,
      'stretch': WEIGHT,
      'late_images': Range(0),
      'pose_swap': Range(0, 1),
      'pose_swap_images': Range(0),
    },
  )
  of_weights = {
    ('loss.r1', 'loss.r2'): ('loss.r1_every',),
    'loss.pose': ('loss.pose_encoding',),
    'gghead.blur': ('gghead.blur_images',),
    ('gghead.beta', 'gghead.variation'): ('gghead.late_images',),
  }

  def check_own(self, config, generator):
    """See `SplattedRecipe.check_own`; fields of what is switched off are at their defaults."""
    if generator.has_mesh and not (generator.num_given and generator.start_scale):
      templates.buffers_of(generator, config.data.source)  # a UserError that says both
    if not generator.label_dim:
      for field in ('pose_swap', 'pose_swap_images'):
        reason = 'the mapping network is not conditioned on the camera'
        checks.unused(config, f'gghead.{field}', getattr(Own, field), reason)
    if config.gghead.variation and (generator.template == 'sphere' or generator.has_mesh):
      raise UserError(
        'config.gghead.variation needs a map without cuts, and that of the template '
        f"'{generator.template}' is cut. Set --config.gghead.variation=0, or "
        '--config.model.template=half_ellipsoid.'
      )

    if config.gghead.stretch and generator.template == generator_lib.GIVEN:
      raise UserError(
        'config.gghead.stretch needs a template whose points are texels of a map, and points that '
        'come with weights may lie anywhere. Set --config.gghead.stretch=0.'
      )

  def warm_up(self, config, generator, networks, given, report, say=print):
    """See `Recipe.warm_up`; the template is read if it is a mesh."""
    del say
    if not generator.has_mesh:
      return networks
    points = templates.buffers_of(generator, config.data.source)
    own = {**networks.buffers['generator'], **points}
    return networks._replace(buffers={**networks.buffers, 'generator': own})

  def draw_cameras(self, keys, phase, config, photos, now):
    """See `SplattedRecipe.draw_cameras`."""
    own = config.gghead
    swap = eg3d_inputs.swap_probability(now.images, own.pose_swap, own.pose_swap_images)
    inputs = eg3d_inputs.draw_cameras(keys, config, photos.all_labels, swap)
    if phase != 'generator' or own.views == 1:
      return inputs
    every = jax.vmap(lambda key: jax.random.split(key, own.views - 1), out_axes=1)(
      named_keys(keys, 'views')
    )  # [v − 1, b]
    others = [eg3d_inputs.draw_cameras(each, config, photos.all_labels).label for each in every]
    labels = jax.numpy.stack(others, axis=1)  # [b, v − 1, 25]
    return inputs._replace(extras={**inputs.extras, views.VIEWS: labels})

  def phases(self, config, generator, discriminator, stage):
    """The generator, the discriminator, R1."""
    losses = gghead_losses.make_losses(config, generator, discriminator, stage)
    return splatted.phases(losses, config)
