"""GRAF's recipe (Schwarz et al., NeurIPS 2020, arXiv 2007.02442, Sec. 3.2 and 3.3).

The discriminator with R1, then the generator against the new discriminator, both on patches: a few
pixels of an image, spread over a part of it whose least scale falls as training goes on. So memory
and work of a step depend on the patches, not on the images, which may be rendered at any size.

Patches have the size that the discriminator takes; any generator will do whose pixels are single
rays.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.generators import graf as generator_lib
from jax3dgan.losses import adversarial, regularizers
from jax3dgan.recipes import base, checks, loss_terms, unused
from jax3dgan.recipes.base import Inputs, Phase, Recipe, Terms
from jax3dgan.rendering import patches as patches_lib
from jax3dgan.training import schedule
from jax3dgan.training.ranges import Range
from jax3dgan.training.streams import named_keys


@dataclasses.dataclass(frozen=True)
class Loss(loss_terms.Adversarial):
  """`config.loss`.

  Attributes:
    r1: Weight of R1, the squared norm of the gradient of a photo's patch, times ½. The release has
      10 times the mean over the patch's pixels of their squared gradients, without the ½: for
      patches of 32² that is 20/32², the default.
    density_noise, density_noise_steps: Standard deviation of the density noise at first, and after
      how many steps it is gone.
  """

  r1: float = 20 / 32**2
  density_noise: float = 1.0
  density_noise_steps: int = 5000


@dataclasses.dataclass(frozen=True)
class Own:
  """`config.graf`.

  Attributes:
    min_scale, max_scale: Of patches, whose scales are uniform between them.
    scale_decay, scale_images: The least scale is at first .9, and falls to `min_scale` by the
      factor exp(−scale_decay) each so many images, see `patches.least_scale`; 0 for `min_scale` at
      once. The release has .0075 each 1,000 steps of 8 images.
    mirror: Whether the discriminator sees patches, real or not, mirrored half of the time (birds).
  """

  min_scale: float = 0.25
  max_scale: float = 1.0
  scale_decay: float = 0.0075
  scale_images: int = 8000
  mirror: bool = False


RANGES = {
  'graf.min_scale': Range(0, 1, above=True),
  'graf.max_scale': Range(0, 1, above=True),
  'graf.scale_decay': Range(0, note='0 for min_scale at once'),
  'graf.scale_images': Range(1),
}


class GRAF(Recipe):
  """See the module."""

  groups = {'loss': Loss, 'graf': Own}
  defaults = {
    'render': generator_lib.MARCHING,
    'display': dict(num_coarse=64, num_fine=0, truncation_psi=1.0),
    'optimizer': dict(
      name='rmsprop',
      lr_generator=5e-4,
      lr_discriminator=1e-4,
      beta2=0.99,
      grad_clip=0.0,
      decay=0.5,
      milestones=(50_000, 100_000, 200_000),
    ),
    # A constant rate from the first step on: the bound of `ramp_up` is never reached.
    'ema': dict(rates=(0.999,), display_rate=0.999, ramp_up=1e6),
    'batch_size': 8,
  }
  model = 'graf'
  discriminator = 'patch'
  draws_radius = True
  has_convolutions = False
  of_weights = {
    'graf.scale_decay': ('graf.scale_images',),
    'loss.density_noise': ('loss.density_noise_steps',),
  }

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.labels(config, uses=False, needs=False)
    checks.has_discriminator(config, discriminator, moves_buffers=True)
    checks.has_latents(config, generator)
    checks.no_signed_distance(config, generator)
    checks.no_label_inputs(config, generator, discriminator)
    if not (generator.pixels_alone and generator.has_field):
      raise UserError(
        f"The recipe 'graf' renders patches, pixels alone, and those of '{config.model.name}' "
        "depend on each other or on no ray. Take the model 'graf' or 'pigan', or another recipe."
      )
    if discriminator.takes_pairs or discriminator.fades:
      what = 'pairs of two sizes' if discriminator.takes_pairs else 'images that grow'
      raise UserError(
        f"The recipe 'graf' has patches of one size, and the discriminator "
        f"'{config.discriminator.name}' takes {what}. Take 'patch' or 'stylegan2'."
      )
    checks.rendering(config, generator)
    checks.in_ranges(config, RANGES)
    own, size = config.graf, discriminator.resolutions[-1]
    if own.min_scale > own.max_scale:
      raise UserError(
        f'config.graf.min_scale is {own.min_scale}, above max_scale {own.max_scale}. Set '
        f'--config.graf.min_scale={own.max_scale}.'
      )
    if own.scale_decay and own.min_scale > patches_lib.FIRST_SCALE:
      raise UserError(
        f'config.graf.min_scale is {own.min_scale}, above {patches_lib.FIRST_SCALE}, from which '
        f'the least scale falls. Set --config.graf.min_scale={patches_lib.FIRST_SCALE}, or less.'
      )
    unused.density_noise(config, self, generator)
    for stage in schedule.stages(config, None):
      if stage.resolution < size:
        raise UserError(
          f'Images of {stage.resolution}² have no patches of {size}², which the discriminator '
          f'takes. Set --config.resolution={size}, or config.discriminator.channels with fewer '
          'entries.'
        )

  def judged_resolution(self, config, stage, discriminator) -> int:
    """The patches', which are of the discriminator's size."""
    return discriminator.resolutions[-1]

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """Latents, cameras, and patches of fakes and photos, of their own each."""
    del now, buffers
    sees_photos = loss_terms.sees_photos(config.loss, phase)
    yaw, pitch = base.draw_angles(named_keys(keys, 'camera'), self.pose_prior(config, None))
    kinds = ('fake', 'real') if sees_photos else ('fake',)
    extras = {kind: patches_lib.draw(named_keys(keys, f'{kind} patch')) for kind in kinds}
    if config.graf.mirror:
      for kind in kinds:
        mirrors = named_keys(keys, f'{kind} mirror')
        extras[f'{kind} mirror'] = jax.vmap(jax.random.bernoulli)(mirrors)
    return Inputs(
      z=base.draw_latents(keys, generator.z_dim),
      camera=base.camera_of(config, yaw, pitch, base.draw_radius(keys, config)),
      keys=named_keys(keys, 'rendering'),
      images=photos.image if sees_photos else None,
      extras=extras,
    )

  def phases(self, config, generator, discriminator, stage):
    """The discriminator, then the generator."""
    loss, own = config.loss, config.graf
    size = self.judged_resolution(config, stage, discriminator)
    options = dataclasses.replace(stage.options, resolution=size)

    def least_at(now):
      return patches_lib.least_scale(
        now.images, own.min_scale, own.max_scale, own.scale_decay, own.scale_images
      )

    def patches_of(kind, inputs, now):
      uniform, offset = inputs.extras[kind]
      least = least_at(now)
      scale = least + (own.max_scale - least) * uniform
      return patches_lib.place(scale, offset, size, stage.resolution)

    def mirrored(kind, images, inputs):
      flips = inputs.extras.get(f'{kind} mirror')
      return images if flips is None else mirror(images, flips)

    def fakes_of(variables, inputs, now):
      noise_std = schedule.density_noise(now.step, loss.density_noise, loss.density_noise_steps)
      w = generator.apply(variables, inputs.z, method='map')
      camera = patches_lib.cameras_of(inputs.camera, patches_of('fake', inputs, now))
      out = generator.apply(
        variables, w, camera, inputs.keys, options, noise_std, method='synthesize'
      )
      return mirrored('fake', out.image, inputs)

    def moved(networks):
      buffers = networks.buffers.get('discriminator')
      return {} if buffers is None else {'discriminator': buffers}

    def photos_of(inputs, now):
      photos = patches_lib.photos_of(inputs.images, patches_of('real', inputs, now), size)
      return mirrored('real', photos, inputs)

    def discriminator_loss(params, networks, inputs, now):
      photos = photos_of(inputs, now)
      fakes = jax.lax.stop_gradient(fakes_of(networks.variables('generator'), inputs, now))
      # The vectors of the spectral normalisation move before photos, and again before fakes.
      for_photos = base.advanced(discriminator, networks)
      for_fakes = base.advanced(discriminator, for_photos)

      def logits_of(params, images):
        variables = for_photos.variables('discriminator', params)
        return discriminator.apply(variables, images).logits

      variables = for_fakes.variables('discriminator', params)
      fake = functools.cache(lambda: discriminator.apply(variables, fakes).logits)
      paired = loss_terms.paired(loss, fake)
      real = loss_terms.of_photos(discriminator, logits_of, params, photos, bool(loss.r1), paired)
      fake_logits = fake()
      adversarial_loss = loss_terms.of_both(loss, real.loss, fake_logits)
      metrics = {
        **loss_terms.discriminator_metrics(adversarial_loss, real.logits, fake_logits),
        'discriminator/r1': real.r1,
        'discriminator/least_scale': least_at(now),
      }
      total = adversarial_loss + 0.5 * loss.r1 * real.r1
      if loss.r2:
        r2 = regularizers.r1_penalty(lambda x: discriminator.apply(variables, x).logits, fakes)
        metrics['discriminator/r2'] = r2
        total += 0.5 * loss.r2 * r2
      return total, Terms(metrics, moved(for_fakes))

    def generator_loss(params, networks, inputs, now):
      fakes = fakes_of(networks.variables('generator', params), inputs, now)
      judge = base.advanced(discriminator, networks)

      def logits_of(images):
        return discriminator.apply(judge.variables('discriminator'), images).logits

      margins = loss_terms.margins(
        loss, logits_of(fakes), lambda: logits_of(photos_of(inputs, now))
      )
      adversarial_loss = adversarial.generator_loss(margins)
      return adversarial_loss, Terms({'generator/adversarial': adversarial_loss}, moved(judge))

    return (
      Phase('discriminator', 'discriminator', discriminator_loss),
      Phase('generator', 'generator', generator_loss),
    )


def mirror(images, flips):
  """Images [b, h, w, c], of which those with `flips` [b] are mirrored left to right."""
  return jnp.where(flips[:, None, None, None], images[:, :, ::-1], images)
