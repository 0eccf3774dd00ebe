"""The second stage of StyleSDF (Or-El et al., CVPR 2022, arXiv 2112.11427, Sec. 3.3): the decoder.

The renderer comes from a run of the first stage (`config.init_from`) and is frozen; a StyleGAN2
decoder learns pictures of its features. In this order: the generator against the discriminator;
every few steps the length of its paths; the discriminator; every few steps R1.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.fields import signed_distance
from jax3dgan.generators.stylesdf import RENDERER
from jax3dgan.losses import adversarial, path_length
from jax3dgan.recipes import base, checks, loss_terms, mixing
from jax3dgan.recipes.base import Inputs, Phase, Recipe, Terms
from jax3dgan.recipes.stylesdf_stage1 import RENDERING, check_renderer
from jax3dgan.training.ranges import Range
from jax3dgan.training.streams import named_keys

# With other values the frozen renderer shows another scene, whatever its weights. How finely rays
# are sampled may change, and so may the distribution of the views.
_OF_RENDERER = (
  'model.input_scale',
  'model.beta_floor',
  *(
    f'render.{name}'
    for name in (
      'near',
      'far',
      'limits_along',
      'limits_radius',
      'box',
      'radius',
      'fov_degrees',
      'pivot',
      'align_corners',
      'lock_view_direction',
      'marcher',
      'last_interval',
      'white_back',
      'last_back',
    )
  ),
)

MEAN = 'path_length'  # the buffer of the running mean of the lengths


@dataclasses.dataclass(frozen=True)
class Loss(loss_terms.Adversarial):
  """`config.loss`.

  Attributes:
    r1, r1_every: Weight of R1; with the discriminator's own loss if it counts every step, or each
      so many steps as a step of its own.
  """

  r1: float = 10.0
  r1_every: int = 16


@dataclasses.dataclass(frozen=True)
class Own:
  """`config.stylesdf`.

  Attributes:
    mixing: How often an image has the decoder's styles of two latents.
    path_length, path_length_every: Weight of the path length regularisation, and each how many
      steps it has a step of its own.
    random_renderer: Trains a decoder of a renderer that is fresh instead of one of `init_from`: to
      try a config out.
  """

  mixing: float = 0.9
  path_length: float = 2.0
  path_length_every: int = 4
  random_renderer: bool = False


RANGES = {
  'stylesdf.mixing': Range(0, 1),
  'stylesdf.path_length': Range(0, note='0 for none'),
  'stylesdf.path_length_every': Range(1),
}


class StyleSDF(Recipe):
  """See the module."""

  groups = {'loss': Loss, 'stylesdf': Own}
  defaults = {
    'batch_size': 32,
    **RENDERING,
    'optimizer': dict(
      lr_generator=2e-3, lr_discriminator=2e-3, beta1=0.0, beta2=0.99, grad_clip=0.0
    ),
    'ema': dict(rates=(0.5 ** (32 / 10_000),), display_rate=0.5 ** (32 / 10_000)),
  }
  model = 'stylesdf'
  discriminator = 'stylegan2'
  has_convolutions = True
  of_weights = {
    ('loss.r1', 'loss.r2'): ('loss.r1_every',),
    'stylesdf.path_length': ('stylesdf.path_length_every',),
  }

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.has_discriminator(config, discriminator)
    check_renderer(config, generator)
    checks.in_ranges(config, RANGES)
    checks.single_images(config, discriminator, 'stylegan2')
    if not generator.decoder_channels:
      raise UserError(
        f"The recipe '{config.recipe}' trains a decoder, and config.model.decoder_channels is (). "
        "Give its channels, as --config.model.decoder_channels='(512, 256, 128)' for 256² of 64², "
        "or take the recipe 'stylesdf_stage1'."
      )
    checks.no_label_inputs(config, generator, discriminator)
    reason = 'the decoder takes one size, config.model.low_resolution'
    checks.unused(config, 'render.low_resolution', 0, reason)
    own = config.stylesdf
    if own.random_renderer == bool(config.init_from):
      what, remedy = 'neither is', '--config.init_from to the workdir of a run of stylesdf_stage1'
      if own.random_renderer:
        what, remedy = 'both are', '--config.stylesdf.random_renderer=False'
      raise UserError(
        f"The recipe '{config.recipe}' trains a decoder for a renderer that another run has "
        'trained (config.init_from) or, to try a config out, for a fresh one '
        f'(config.stylesdf.random_renderer), and {what} set. Set {remedy}.'
      )

  def init_networks(self, config, generator, discriminator, keys):
    """See `Recipe.init_networks`."""
    networks = super().init_networks(config, generator, discriminator, keys)
    return networks._replace(buffers={**networks.buffers, MEAN: {'mean': jnp.zeros(())}})

  def frozen(self, network, config):
    """The renderer stays as it is."""
    del config
    return RENDERER if network == 'generator' else ()

  def frozen_fields(self, config):
    """See `Recipe.frozen_fields`."""
    del config
    return _OF_RENDERER

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """Two latents and where they change over, cameras of the pose prior, the photos."""
    del now, buffers
    if not loss_terms.makes_fakes(config.loss, phase):
      return Inputs(images=photos.image)
    yaw, pitch = base.draw_angles(named_keys(keys, 'camera'), self.pose_prior(config, None))
    own, b = config.stylesdf, photos.image.shape[0]
    extras = {}
    if own.mixing:
      extras = mixing.draw(keys, generator.z_dim, generator.num_ws - 1, own.mixing)
    if phase == 'path_length':
      extras['directions'] = path_length.noise(
        named_keys(keys, 'directions'), (config.resolution, config.resolution, 3)
      )
      extras['number'] = jax.lax.axis_index(parallel.AXIS) * b + jnp.arange(b)
    return Inputs(
      z=base.draw_latents(keys, generator.z_dim),
      camera=base.camera_of(config, yaw, pitch),
      keys=named_keys(keys, 'rendering'),
      images=photos.image if loss_terms.sees_photos(config.loss, phase) else None,
      extras=extras,
    )

  def phases(self, config, generator, discriminator, stage):
    """The generator, the length of its paths, the discriminator, R1."""
    loss, own, options = config.loss, config.stylesdf, stage.options

    def styles(variables, inputs):
      """Styles whose decoder's ones are mixed: the renderer's are the first latent's."""
      w = generator.apply(variables, inputs.z, method='map')
      if not own.mixing:
        return w
      other = generator.apply(variables, inputs.extras['mixed z'], method='map')
      mixed = mixing.mix(w[:, 1:], other[:, 1:], inputs.extras['crossover'])
      return jnp.concatenate([w[:, :1], mixed], axis=1)

    def rendering_of(variables, inputs):
      w = styles(variables, inputs)
      return generator.apply(variables, w, inputs.camera, inputs.keys, options, method='synthesize')

    def logits_of(variables, images):
      return discriminator.apply(variables, images).logits

    def generator_loss(params, networks, inputs, now):
      del now
      out = rendering_of(networks.variables('generator', params), inputs)
      judge = networks.variables('discriminator')
      logits = logits_of(judge, out.image)
      margins = loss_terms.margins(loss, logits, lambda: logits_of(judge, inputs.images))
      adversarial_loss = adversarial.generator_loss(margins)
      return adversarial_loss, Terms(
        {
          'generator/adversarial': adversarial_loss,
          # Of the frozen renderer: whether there is a surface to begin with.
          'generator/beta': signed_distance.width(params['field']['beta'], generator.beta_floor),
          'generator/depth_spread': loss_terms.depth_spread(out.depth, options),
        }
      )

    def of_paths(params, networks, inputs, now):
      """Of every second image, as the papers' smaller batch: the whole batch's even numbers."""
      del now
      number, weights = inputs.extras['number'], 1.0
      if number.shape[0] % 2 == 0:
        inputs = jax.tree.map(lambda x: x[::2], inputs)
      else:  # too few on a device to leave some out
        total = stage.batch_size
        weights = total / ((total + 1) // 2) * (number % 2 == 0)
      variables = networks.variables('generator', params)
      keys, size = inputs.keys, generator.low_resolution
      noise_keys, render_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
      w = styles(variables, inputs)
      out = generator.apply(
        variables, w, inputs.camera, render_keys, options, True, method='render'
      )
      features = out.colour[..., 3:].reshape(out.colour.shape[0], size, size, -1)
      noise = generator.apply(variables, noise_keys, method='draw_noise')

      def decode(w):
        return generator.apply(variables, features, w, noise, method='decode')

      lengths = path_length.lengths(decode, w[:, 1:], inputs.extras['directions'])
      # The mean of before the step, so that it does not matter how the batch is divided.
      mean = networks.buffers[MEAN]['mean']
      penalty = path_length.penalty(lengths, mean, weights)
      metrics = {
        'generator/path_length': jnp.mean(weights * lengths),
        'generator/path_penalty': penalty,
      }
      moved = path_length.updated_mean(mean, weights * lengths)
      return own.path_length * penalty, Terms(metrics, {MEAN: {'mean': moved}})

    def fakes_of(networks, inputs):
      return jax.lax.stop_gradient(rendering_of(networks.variables('generator'), inputs)).image

    def discriminator_loss(params, networks, inputs, now):
      del now
      variables = networks.variables('discriminator', params)
      fakes = fakes_of(networks, inputs)
      fake, real = logits_of(variables, fakes), logits_of(variables, inputs.images)
      relativistic = loss_terms.is_relativistic(loss)
      total, metrics = loss_terms.of_discriminator(real, fake, relativistic)
      if loss_terms.is_joint(loss):
        penalty, own_metrics = gradients(variables, inputs, fakes)
        total, metrics = total + penalty, metrics | own_metrics
      return total, Terms(metrics)

    def gradients(variables, inputs, fakes):
      logit_fn = lambda images: logits_of(variables, images)  # noqa: E731
      return loss_terms.of_gradients(loss, (logit_fn, inputs.images), (logit_fn, fakes))

    def r1(params, networks, inputs, now):
      del now
      variables = networks.variables('discriminator', params)
      fakes = fakes_of(networks, inputs) if loss.r2 else None
      total, metrics = gradients(variables, inputs, fakes)
      return total, Terms(metrics)

    phases = [Phase('generator', 'generator', generator_loss)]
    if own.path_length:
      phases.append(Phase('path_length', 'generator', of_paths, own.path_length_every, lazy=True))
    phases.append(Phase('discriminator', 'discriminator', discriminator_loss))
    if loss_terms.is_lazy(loss):
      phases.append(Phase('r1', 'discriminator', r1, loss.r1_every, lazy=True))
    return tuple(phases)
