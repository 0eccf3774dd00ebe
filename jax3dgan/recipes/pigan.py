"""π-GAN's recipe (Chan et al., CVPR 2021, arXiv 2012.00926, Sec. 3.4).

The discriminator with R1 and the regression of pose and latent, then the generator against the new
discriminator, on the images that convince it most (top-k).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.losses import adversarial, regularizers
from jax3dgan.losses.regularizers import pose_target
from jax3dgan.recipes import base, checks, loss_terms, top_k, unused
from jax3dgan.recipes.base import Inputs, Phase, Recipe, Terms
from jax3dgan.training import schedule, streams


@dataclasses.dataclass(frozen=True)
class Loss(loss_terms.Adversarial):
  """`config.loss`.

  Attributes:
    r1, r1_every: Weight of R1, and each how many steps it and R2 count, so many times.
    pose, pose_encoding: Weight of the pose's regression, and what is regressed: 'angles' (pitch,
      yaw; π-GAN) or 'direction' (the unit vector towards the camera, for priors that go all the way
      round, where the yaw jumps).
    latent: Weight of the latent's regression.
    top_k_interval, top_k_floor: See `adversarial.top_k_fraction`; 0 for all images.
    density_noise, density_noise_steps: Standard deviation of the density noise at first, and after
      how many steps it is gone.
    fade_steps: Steps over which a new resolution is faded in.
  """

  r1: float = 0.2
  r1_every: int = 1
  pose: float = 15.0
  pose_encoding: str = 'angles'
  latent: float = 0.0
  top_k_interval: int = 2000
  top_k_floor: float = 0.6
  density_noise: float = 1.0
  density_noise_steps: int = 5000
  fade_steps: int = 10_000


@dataclasses.dataclass(frozen=True)
class Compat:
  """`config.compat`: faults of the release, to repeat what it does.

  Its other ones: render.density='relu' with render.last_interval='infinite' (black pixels at
  first), and photos resized without a filter (data.prepare --resize=nearest).

  Attributes:
    top_k_per_split: Top-k chooses within each device's each micro-batch, not in the whole batch.
    sum_micro_batches: The generator's gradient is the sum over micro-batches, not their mean.
  """

  top_k_per_split: bool = False
  sum_micro_batches: bool = False


# Fields that say more of a term, by its weight.
class PiGAN(Recipe):
  """See the module."""

  groups = {'loss': Loss, 'compat': Compat}
  of_weights = {
    ('loss.r1', 'loss.r2'): ('loss.r1_every',),
    'loss.pose': ('loss.pose_encoding',),
    'loss.top_k_interval': ('loss.top_k_floor', 'compat.top_k_per_split'),
    'loss.density_noise': ('loss.density_noise_steps',),
  }

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.labels(config, uses=False, needs=False)
    checks.has_discriminator(config, discriminator)
    checks.has_latents(config, generator)
    checks.no_signed_distance(config, generator)
    checks.no_label_inputs(config, generator, discriminator)
    if discriminator.takes_pairs:
      raise UserError(
        f"The recipe 'pigan' has single images, and the discriminator "
        f"'{config.discriminator.name}' takes pairs of two sizes. Take 'stylegan2' or "
        "'progressive', or the recipe 'eg3d'."
      )
    checks.rendering(config, generator)
    loss = config.loss
    if loss.pose and not generator.uses_camera:
      raise UserError(
        f"config.loss.pose is {loss.pose}, but images of '{config.model.name}' do not depend on "
        'the camera. Set --config.loss.pose=0.'
      )
    checks.heads(config, generator, discriminator)
    unused.density_noise(config, self, generator)
    if not discriminator.fades or len({s.resolution for s in schedule.stages(config, None)}) == 1:
      reason = 'no size of images is faded in'
      checks.unused(config, 'loss.fade_steps', Loss.fade_steps, reason)

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """Latents, cameras of the pose prior, and the photos that the phase's loss is of."""
    del now, buffers
    yaw, pitch = base.draw_angles(streams.named_keys(keys, 'camera'), self.pose_prior(config, None))
    return Inputs(
      z=base.draw_latents(keys, generator.z_dim),
      camera=base.camera_of(config, yaw, pitch),
      keys=streams.named_keys(keys, 'rendering'),
      images=photos.image if loss_terms.sees_photos(config.loss, phase) else None,
      extras={'yaw': yaw, 'pitch': pitch},
    )

  def phases(self, config, generator, discriminator, stage):
    """The discriminator, then the generator."""
    loss, compat, parts = config.loss, config.compat, stage.micro_batches

    def fakes_of(variables, inputs, now):
      """Images, and the styles that they are of."""
      noise_std = schedule.density_noise(now.step, loss.density_noise, loss.density_noise_steps)
      w = generator.apply(variables, inputs.z, method='map')
      out = generator.apply(
        variables, w, inputs.camera, inputs.keys, stage.options, noise_std, method='synthesize'
      )
      return out.image, w

    def discriminate(variables, images, now):
      fade = schedule.fade(stage, now.step, loss.fade_steps)
      return discriminator.apply(variables, images, fade)

    def regression(out, inputs):
      """λ-weighted regression of pose and latent, and the bare pose error."""
      pose_error = jnp.zeros(())
      if loss.pose:
        target = pose_target(inputs.extras['yaw'], inputs.extras['pitch'], loss.pose_encoding)
        pose_error = regularizers.pose_loss(out.heads['pose'], target)
      total = loss.pose * pose_error
      if loss.latent:
        total += loss.latent * regularizers.latent_loss(out.heads['latent'], inputs.z)
      return total, pose_error

    def real_terms(params, networks, images, now, fake_logits_fn):
      """Loss and R1 of real images, and their logits; R1 where it is due."""
      fake_logits = loss_terms.paired(loss, fake_logits_fn)

      def logits_of(params, images):
        return discriminate(networks.variables('discriminator', params), images, now).logits

      def terms(has_r1):
        return loss_terms.of_photos(discriminator, logits_of, params, images, has_r1, fake_logits)

      def without_r1():
        return terms(has_r1=False)

      def with_r1():
        real = terms(has_r1=True)
        return real._replace(r1=loss.r1_every * real.r1)

      if not loss.r1:
        return without_r1()
      if loss.r1_every <= 1:
        return with_r1()
      return jax.lax.cond(regularizers.is_due(now.step, loss.r1_every), with_r1, without_r1)

    def r2_of(variables, fakes, now):
      """R2 of fakes where it is due."""

      def due():
        logits_of = lambda fakes: discriminate(variables, fakes, now).logits  # noqa: E731
        return loss.r1_every * regularizers.r1_penalty(logits_of, fakes)

      if loss.r1_every <= 1:
        return due()
      is_due = regularizers.is_due(now.step, loss.r1_every)
      return jax.lax.cond(is_due, due, lambda: jnp.zeros(()))

    def discriminator_loss(params, networks, inputs, now):
      variables = networks.variables('discriminator', params)
      fakes, w = jax.lax.stop_gradient(fakes_of(networks.variables('generator'), inputs, now))
      fake = functools.cache(lambda: discriminate(variables, fakes, now))
      real = real_terms(params, networks, inputs.images, now, lambda: fake().logits)
      out = fake()
      adversarial_loss = loss_terms.of_both(loss, real.loss, out.logits)
      penalty, pose_error = regression(out, inputs)
      total = adversarial_loss + 0.5 * loss.r1 * real.r1 + penalty
      metrics = {
        **loss_terms.discriminator_metrics(adversarial_loss, real.logits, out.logits),
        'discriminator/r1': real.r1,
        'discriminator/pose_error': pose_error,
      }
      if loss.r2:
        metrics['discriminator/r2'] = r2 = r2_of(variables, fakes, now)
        total += 0.5 * loss.r2 * r2
      return total, Terms(metrics, base.running_w_average(networks, w))

    def weights_of(logits, now):
      """Weights [b] of these examples, see `top_k.weights`."""
      fraction = adversarial.top_k_fraction(now.step, loss.top_k_interval, loss.top_k_floor)
      if compat.top_k_per_split:
        return adversarial.top_k_weights(logits, fraction) * logits.shape[0]
      return top_k.weights(logits, fraction, stage)

    # Whether a micro-batch's own logits are all that top-k needs.
    top_k_at_once = parts == 1 or compat.top_k_per_split

    def logits_of(networks, inputs, now):
      fakes, _ = fakes_of(networks.variables('generator'), inputs, now)
      return discriminate(networks.variables('discriminator'), fakes, now).logits

    chosen_before = top_k.chosen_before(logits_of, weights_of)

    def generator_loss(params, networks, inputs, now):
      fakes, _ = fakes_of(networks.variables('generator', params), inputs, now)
      variables = networks.variables('discriminator')
      out = discriminate(variables, fakes, now)
      weights = inputs.extras.get(top_k.WEIGHTS)
      if loss.top_k_interval and top_k_at_once:
        weights = weights_of(out.logits, now)
      photos = lambda: discriminate(variables, inputs.images, now).logits  # noqa: E731
      losses = adversarial.generator_losses(loss_terms.margins(loss, out.logits, photos))
      adversarial_loss = losses.mean() if weights is None else (losses * weights).mean()
      penalty, pose_error = regression(out, inputs)
      metrics = {'generator/adversarial': adversarial_loss, 'generator/pose_error': pose_error}
      return adversarial_loss + penalty, Terms(metrics)

    return (
      Phase('discriminator', 'discriminator', discriminator_loss),
      Phase(
        'generator',
        'generator',
        generator_loss,
        scale=float(stage.configured_micro_batches) if compat.sum_micro_batches else 1.0,
        prepare=chosen_before if loss.top_k_interval and not top_k_at_once else None,
      ),
    )
