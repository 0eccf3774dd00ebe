"""GIRAFFE's recipe (Niemeyer & Geiger, CVPR 2021, arXiv 2011.12100, Sec. 3.4 and supplement).

The generator against the discriminator, then the discriminator with R1, on new fakes. Cameras come
from the pose prior, and the poses of the objects from the generator's ranges, each kind of number
from a stream of its own.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.generators import giraffe as generator_lib
from jax3dgan.losses import adversarial, regularizers
from jax3dgan.recipes import base, checks, loss_terms
from jax3dgan.recipes.base import Inputs, Phase, Recipe, Terms
from jax3dgan.training import schedule
from jax3dgan.training.streams import named_keys

# Images of the paper are in [0, 1], ours in [−1, 1]: squared gradients are four times as large
# there.
_OF_UNIT_IMAGES = 4.0


@dataclasses.dataclass(frozen=True)
class Loss(loss_terms.Adversarial):
  """`config.loss`.

  Attributes:
    r1: Weight of R1 as the paper counts it: without ½, of images in [0, 1]. 10 of it are 80 of the
      other recipes; and so with `r2`.
    density_noise: Standard deviation of the normal noise on the raw densities in training, which
      does not fall.
  """

  r1: float = 10.0
  density_noise: float = 1.0


@dataclasses.dataclass(frozen=True)
class Compat:
  """`config.compat`: a fault of the release, to repeat what it does.

  Attributes:
    look_at_batch_norm: A camera's axes are divided by the largest norms in the batch, not by their
      own: where elevations differ, cameras with the shorter ones see more than they should.
  """

  look_at_batch_norm: bool = False


class GIRAFFE(Recipe):
  """See the module."""

  groups = {'loss': Loss, 'compat': Compat}
  defaults = {
    'batch_size': 32,
    'render': dict(radius=2.732, near=0.5, far=6.0, num_coarse=64, **generator_lib.MARCHING),
    'display': dict(num_coarse=64, num_fine=0, truncation_psi=0.65),
    'pose_prior': dict(name='spherical_uniform', yaw_std=0.0),
    'optimizer': dict(
      name='rmsprop',
      lr_generator=5e-4,
      lr_discriminator=1e-4,
      beta1=0.0,
      beta2=0.99,
      grad_clip=0.0,
    ),
    'ema': dict(rates=(0.999,), display_rate=0.999),
    'eval': dict(num_images=20_000),
  }
  model = 'giraffe'
  discriminator = 'dcgan'
  has_convolutions = True

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.labels(config, uses=False, needs=False)
    checks.has_discriminator(config, discriminator)
    if not isinstance(generator, generator_lib.GIRAFFE):
      raise UserError(
        f"The recipe 'giraffe' draws poses of objects, which '{config.model.name}' does not have. "
        "Take the model 'giraffe', see config.set_model."
      )
    checks.single_images(config, discriminator, 'dcgan')
    checks.no_label_inputs(config, generator, discriminator)
    checks.rendering(config, generator)
    _ = generator.ranges  # checks them
    if config.compat.look_at_batch_norm:
      reason = 'the cameras of config.compat.look_at_batch_norm look at the origin'
      checks.unused(config, 'render.pivot', (0.0, 0.0, 0.0), reason)
    sizes = {stage.batch_size for stage in schedule.stages(config, None)}
    if config.compat.look_at_batch_norm and len(sizes) > 1:
      raise UserError(
        'config.compat.look_at_batch_norm needs batches of one size, and config.stages change it. '
        'Set --config.compat.look_at_batch_norm=False.'
      )

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """Latents, cameras of the pose prior, poses of the objects, photos that the loss is of."""
    del now, buffers
    yaw, pitch = base.draw_angles(named_keys(keys, 'camera'), self.pose_prior(config, None))
    camera = base.camera_of(config, yaw, pitch)
    if config.compat.look_at_batch_norm:
      camera = shortened(camera, config.batch_size)

    def uniform(name, shape):
      own = named_keys(keys, f'object {name}')
      return jax.vmap(lambda key: jax.random.uniform(key, shape))(own)

    return Inputs(
      z=base.draw_latents(keys, generator.z_dim),
      camera=camera,
      keys=named_keys(keys, 'rendering'),
      images=photos.image if loss_terms.sees_photos(config.loss, phase) else None,
      extras={'object poses': generator.ranges.draw(uniform)},
    )

  def phases(self, config, generator, discriminator, stage):
    """The generator, then the discriminator."""
    loss = config.loss

    def fakes_of(variables, inputs):
      w = generator.apply(
        variables, inputs.z, fractions=inputs.extras['object poses'], method='map'
      )
      return generator.apply(
        variables, w, inputs.camera, inputs.keys, stage.options, loss.density_noise,
        method='synthesize',
      ).image  # fmt: skip

    def generator_loss(params, networks, inputs, now):
      del now
      fakes = fakes_of(networks.variables('generator', params), inputs)

      def logits_of(images):
        return discriminator.apply(networks.variables('discriminator'), images).logits

      margins = loss_terms.margins(loss, logits_of(fakes), lambda: logits_of(inputs.images))
      return adversarial.generator_loss(margins), Terms({})

    def discriminator_loss(params, networks, inputs, now):
      del now
      fakes = jax.lax.stop_gradient(fakes_of(networks.variables('generator'), inputs))

      def logits_of(params, images):
        return discriminator.apply(networks.variables('discriminator', params), images).logits

      fake = functools.cache(lambda: logits_of(params, fakes))
      paired = loss_terms.paired(loss, fake)
      real = loss_terms.of_photos(
        discriminator, logits_of, params, inputs.images, bool(loss.r1), paired
      )
      fake_logits = fake()
      adversarial_loss = loss_terms.of_both(loss, real.loss, fake_logits)
      r1 = _OF_UNIT_IMAGES * real.r1
      metrics = loss_terms.discriminator_metrics(adversarial_loss, real.logits, fake_logits)
      metrics['discriminator/r1'] = r1
      total = adversarial_loss + loss.r1 * r1
      if loss.r2:
        r2 = _OF_UNIT_IMAGES * regularizers.r1_penalty(lambda x: logits_of(params, x), fakes)
        metrics['discriminator/r2'] = r2
        total += loss.r2 * r2
      return total, Terms(metrics)

    return (
      Phase('generator', 'generator', generator_loss),
      Phase('discriminator', 'discriminator', discriminator_loss),
    )


def shortened(camera: Camera, batch_size: int) -> Camera:
  """Cameras [b] that look at the origin, with axes as the release has them.

  The axis towards the camera is its place, divided by the largest distance of the batch; the others
  are cross products, of the vertical with it and of these two, each divided by the largest norm.
  Inside of a data-parallel function: the batch is that of all devices.

  Args:
    batch_size: images that count, of all devices.
  """

  def divided(vectors):
    norms = jnp.linalg.norm(vectors, axis=-1)
    of_all = jax.lax.all_gather(norms, parallel.AXIS, tiled=True)[:batch_size]
    return vectors / jnp.max(of_all)

  backward = divided(camera.origin)
  vertical = jnp.broadcast_to(jnp.array([0.0, 1.0, 0.0], backward.dtype), backward.shape)
  right = divided(jnp.cross(vertical, backward))
  up = divided(jnp.cross(backward, right))
  axes = jnp.stack([right, -up, -backward], axis=-1)
  return camera.replace(cam2world=camera.cam2world.at[..., :3, :3].set(axes))
