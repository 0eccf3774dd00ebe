"""HoloGAN's recipe (Nguyen-Phuoc et al., ICCV 2019, arXiv 1904.01326, Sec. 3.3 and 3.4).

The discriminator, then the generator twice against it, all of the same latents and cameras. The
discriminator tells the latent of a fake, which both networks are trained for (identity loss), and
has style discriminators of the statistics of its layers. Objects are of random scales where cameras
have several distances (`config.pose_prior.radius_std`).
"""

import dataclasses
import math

import jax
import jax.numpy as jnp

from jax3dgan.discriminators.hologan import HoloGANDiscriminator
from jax3dgan.errors import UserError
from jax3dgan.generators.hologan import HoloGAN as HoloGANGenerator
from jax3dgan.generators.hologan import uniform_latents
from jax3dgan.losses import adversarial, regularizers
from jax3dgan.recipes import base, checks, loss_terms
from jax3dgan.recipes.base import Inputs, Phase, Recipe, Terms
from jax3dgan.training.ranges import Range
from jax3dgan.training.streams import named_keys

_STREAM = 'images'  # of the random numbers that all phases share


@dataclasses.dataclass(frozen=True)
class Loss:
  """`config.loss`.

  Attributes:
    latent: Weight of the identity loss, the squared error of the latent, uniform in [−1, 1], that
      the discriminator tells of a fake: in both networks' losses. (The release ships 0.)
  """

  latent: float = 1.0


@dataclasses.dataclass(frozen=True)
class Own:
  """`config.hologan`.

  Attributes:
    style: Weight of the style discriminators, of each layer; 0 without them.
    generator_style: Whether the generator is trained against them too, as in the paper; in the
      release it is not.
    generator_steps: Of the generator, for one of the discriminator.
  """

  style: float = 0.0
  generator_style: bool = True
  generator_steps: int = 2


RANGES = {
  'loss.latent': Range(0, note='0 for none'),
  'hologan.style': Range(0, note='0 for none'),
  'hologan.generator_steps': Range(1),
}


class HoloGAN(Recipe):
  """See the module."""

  groups = {'loss': Loss, 'hologan': Own}
  defaults = {
    'optimizer': dict(
      lr_generator=1e-4, lr_discriminator=1e-4, beta1=0.5, beta2=0.999, grad_clip=0.0
    ),
  }
  model = 'hologan'
  discriminator = 'hologan'
  draws_radius = True
  has_convolutions = True
  of_weights = {'hologan.style': ('hologan.generator_style',)}

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.labels(config, uses=False, needs=False)
    checks.has_discriminator(config, discriminator, moves_buffers=True)
    checks.has_latents(config, generator)
    checks.no_signed_distance(config, generator)
    checks.no_label_inputs(config, generator, discriminator)
    checks.single_images(config, discriminator, 'hologan')
    checks.rendering(config, generator)
    checks.in_ranges(config, RANGES)
    checks.heads(config, generator, discriminator, ('latent',))
    _check_styles(config, discriminator)
    _check_cameras(config, generator)

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """Latents and cameras, the same for all phases; photos for the discriminator."""
    del now, buffers
    yaw, pitch = base.draw_angles(named_keys(keys, 'camera'), self.pose_prior(config, None))
    return Inputs(
      z=base.draw_latents(keys, generator.z_dim),
      camera=base.camera_of(config, yaw, pitch, base.draw_radius(keys, config)),
      keys=named_keys(keys, 'rendering'),
      images=photos.image if phase == 'discriminator' else None,
    )

  def phases(self, config, generator, discriminator, stage):
    """The discriminator, then the generator's steps."""
    loss, own = config.loss, config.hologan

    def fakes_of(variables, inputs):
      """Images, and the styles that they are of."""
      w = generator.apply(variables, inputs.z, method='map')
      out = generator.apply(
        variables, w, inputs.camera, inputs.keys, stage.options, method='synthesize'
      )
      return out.image, w

    def identity(out, inputs):
      """λ-weighted error of the latents that are told, and the bare one."""
      if not loss.latent:
        return 0.0, jnp.zeros(())
      error = regularizers.latent_loss(out.heads['latent'], uniform_latents(inputs.z))
      return loss.latent * error, error

    def style_logits(out):
      """Of each layer, [b, 2]."""
      return [logits for name, logits in out.heads.items() if name.startswith('style_')]

    def discriminator_loss(params, networks, inputs, now):
      del now
      variables = networks.variables('discriminator', params)
      fakes, w = jax.lax.stop_gradient(fakes_of(networks.variables('generator'), inputs))
      # Both read the vectors of the power iterations of before the step.
      fake, real = (discriminator.apply(variables, x) for x in (fakes, inputs.images))
      total, metrics = loss_terms.of_discriminator(real.logits, fake.logits)
      penalty, metrics['discriminator/latent_error'] = identity(fake, inputs)
      if own.style:
        pairs = zip(style_logits(real), style_logits(fake), strict=True)
        style = sum(adversarial.discriminator_loss(*pair) for pair in pairs)
        metrics['discriminator/style'] = style
        total += own.style * style
      buffers = base.running_w_average(networks, w)
      if discriminator.moves_buffers:
        moved = base.advanced(discriminator, networks)
        buffers['discriminator'] = moved.buffers['discriminator']
      return total + penalty, Terms(metrics, buffers)

    def generator_loss(params, networks, inputs, now):
      del now
      fakes, _ = fakes_of(networks.variables('generator', params), inputs)
      out = discriminator.apply(networks.variables('discriminator'), fakes)
      total = adversarial.generator_loss(out.logits)
      penalty, error = identity(out, inputs)
      metrics = {'generator/adversarial': total, 'generator/latent_error': error}
      if own.style and own.generator_style:
        style = sum(adversarial.generator_loss(logits) for logits in style_logits(out))
        metrics['generator/style'] = style
        total += own.style * style
      return total + penalty, Terms(metrics)

    names = ['generator', *(f'generator_{i}' for i in range(2, own.generator_steps + 1))]
    return (
      Phase('discriminator', 'discriminator', discriminator_loss, stream=_STREAM),
      *(Phase(name, 'generator', generator_loss, stream=_STREAM) for name in names),
    )


def _check_styles(config, discriminator) -> None:
  """Style discriminators are there and trained, or neither."""
  own = config.hologan
  has_styles = isinstance(discriminator, HoloGANDiscriminator) and discriminator.styles
  if own.style and not has_styles:
    raise UserError(
      f'config.hologan.style is {own.style}, and the discriminator has no style discriminators. '
      "Set --config.discriminator.styles=True of 'hologan', or --config.hologan.style=0."
    )
  if has_styles and not own.style:
    raise UserError(
      'config.discriminator.styles is on and would not be trained: config.hologan.style is 0. Set '
      '--config.hologan.style=1, or --config.discriminator.styles=False.'
    )


def _check_cameras(config, generator) -> None:
  """The cameras see the whole of HoloGAN's voxels."""
  render = config.render
  if not isinstance(generator, HoloGANGenerator):
    return
  half = math.radians(render.fov_degrees) / 2, math.radians(generator.fov_degrees) / 2
  scale = math.tan(half[1]) / (render.radius * math.tan(half[0]))
  if abs(scale - 1) > 0.01:
    fov = 2 * math.degrees(math.atan(render.radius * math.tan(half[0])))
    raise UserError(
      f'The cameras of config.render would show the voxels at {scale:.2f} of their size. Set '
      f'--config.model.fov_degrees={fov:.4g}.'
    )
