"""The first stage of StyleSDF (Or-El et al., CVPR 2022, arXiv 2112.11427, Sec. 3.2): the renderer.

The fields begin as spheres. The discriminator, with R1 in each step and a head that guesses the
view, then the generator: adversarial loss, view, and what keeps the field a signed distance with no
hidden surfaces, eikonal and minimal-surface terms at the samples that are rendered.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.fields import signed_distance
from jax3dgan.fields.sdf_siren import Penalties
from jax3dgan.generators.stylesdf import MARCHING, StyleSDF, as_rendering
from jax3dgan.losses import adversarial, regularizers
from jax3dgan.recipes import base, checks, loss_terms, sphere_init
from jax3dgan.recipes.base import Inputs, Phase, Recipe, Terms
from jax3dgan.training.ranges import Range
from jax3dgan.training.streams import named, named_keys


@dataclasses.dataclass(frozen=True)
class Loss(loss_terms.Adversarial):
  """`config.loss`.

  Attributes:
    r1, r1_every: Weight of R1; every step with the discriminator's own loss, or each so many steps
      as a step of its own.
    pose, pose_encoding: Weight of the view's smooth L1, and what is regressed: 'view' (azimuth and
      elevation; StyleSDF), 'angles' (pitch, yaw) or 'direction' (the unit vector towards the
      camera, for priors that go all the way round, where azimuths jump).
    eikonal, minimal_surface: Weights of the terms of the distance, see `fields.signed_distance`.
  """

  r1: float = 10.0
  r1_every: int = 1
  pose: float = 15.0
  pose_encoding: str = 'view'
  eikonal: float = 0.1
  minimal_surface: float = 0.05


@dataclasses.dataclass(frozen=True)
class Own:
  """`config.stylesdf`.

  Attributes:
    penalise_every: The distance is regularised at the samples of one of so many neighbouring rays.
    sharpness: Of the minimal surface, 1/world unit: how near to a surface it counts.
    sphere_steps, sphere_rays, sphere_lr, sphere_radius: How fields begin as spheres, see
      `sphere_init`: steps, 0 for none; rays of each of `batch_size` images; rate; and radius, world
      units, 0 for (far − near)/4.
  """

  penalise_every: int = 1
  sharpness: float = 100.0
  sphere_steps: int = 10_000
  sphere_rays: int = 256
  sphere_lr: float = 1e-4
  sphere_radius: float = 0.0


RENDERING = {
  'render': dict(num_coarse=24, num_fine=0, **MARCHING),
  'display': dict(num_coarse=48, num_fine=0, truncation_psi=0.5),
  'pose_prior': dict(name='gaussian', yaw_std=0.3, pitch_std=0.15),
}
RANGES = {
  'loss.eikonal': Range(0),
  'loss.minimal_surface': Range(0),
  'stylesdf.penalise_every': Range(1),
  'stylesdf.sharpness': Range(0),
  'stylesdf.sphere_steps': Range(0, note='0 for none'),
  'stylesdf.sphere_rays': Range(1),
  'stylesdf.sphere_lr': Range(0, above=True),
  'stylesdf.sphere_radius': Range(0, note='0 for a quarter of the depth'),
}


def check_renderer(config, generator) -> None:
  """The generator is StyleSDF's, whose density is its own, and no photo's label is read."""
  checks.labels(config, uses=False, needs=False)
  if not isinstance(generator, StyleSDF):
    raise UserError(
      f"The recipe '{config.recipe}' trains signed distances, which '{config.model.name}' does not "
      "have. Take the model 'stylesdf', see config.set_model."
    )
  checks.has_latents(config, generator)
  if config.render.density != 'field':
    raise UserError(
      f"config.render.density is '{config.render.density}', and the density of '"
      f"{config.model.name}' is its own function of the distance. Set "
      '--config.render.density=field.'
    )


def _check_sphere(config) -> None:
  """Rays see the sphere that fields begin as from outside, from near to far."""
  radius, render = config.stylesdf.sphere_radius, config.render
  if config.stylesdf.sphere_steps and radius >= (render.far - render.near) / 2:
    raise UserError(
      f'config.stylesdf.sphere_radius is {radius}, and rays are sampled from near {render.near} to '
      f'far {render.far}, all within the sphere. Set --config.stylesdf.sphere_radius below '
      f'{(render.far - render.near) / 2:.3g}, or 0 for a quarter of the depth.'
    )


class StyleSDFStage1(Recipe):
  """See the module."""

  groups = {'loss': Loss, 'stylesdf': Own}
  defaults = {
    'batch_size': 24,
    **RENDERING,
    'optimizer': dict(
      lr_generator=2e-5, lr_discriminator=2e-4, beta1=0.0, beta2=0.9, grad_clip=0.0
    ),
    'ema': dict(rates=(0.5 ** (32 / 10_000),), display_rate=0.5 ** (32 / 10_000)),
  }
  model = 'stylesdf'
  discriminator = 'coordconv'
  of_weights = {
    ('loss.r1', 'loss.r2'): ('loss.r1_every',),
    'loss.pose': ('loss.pose_encoding',),
    'loss.minimal_surface': ('stylesdf.sharpness',),
    'stylesdf.sphere_steps': tuple(f'stylesdf.sphere_{name}' for name in ('rays', 'lr', 'radius')),
    ('loss.eikonal', 'loss.minimal_surface'): ('stylesdf.penalise_every',),
  }

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.has_discriminator(config, discriminator)
    check_renderer(config, generator)
    checks.in_ranges(config, RANGES)
    _check_sphere(config)
    if generator.decoder_channels:
      raise UserError(
        f'config.model.decoder_channels is {generator.decoder_channels}, and the recipe '
        f"'{config.recipe}' trains the renderer alone. Set --config.model.decoder_channels='()', "
        "or take the recipe 'stylesdf' for the second stage."
      )
    checks.single_images(config, discriminator, 'coordconv')
    checks.no_label_inputs(config, generator, discriminator)
    checks.rendering(config, generator)
    checks.heads(config, generator, discriminator, ('pose',))

  def warm_up(self, config, generator, networks, given, report, say=print):
    """See `Recipe.warm_up`; the fields become spheres, unless they are another run's."""
    fitted = sphere_init.fitted_names(networks.params['generator'])
    if not config.stylesdf.sphere_steps or given.issuperset(f'generator/field/{x}' for x in fitted):
      return networks
    key = named(jax.random.key(config.seed), 'sphere_init')
    params = sphere_init.fit(config, generator, networks.variables('generator'), key, report)
    variables = networks.variables('generator', params)
    say(sphere_init.describe(sphere_init.slope_error(config, generator, variables, key)))
    return networks._replace(params={**networks.params, 'generator': params})

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """Latents, cameras of the pose prior, and the photos that the phase's loss is of."""
    del now, buffers
    if not loss_terms.makes_fakes(config.loss, phase):
      return Inputs(images=photos.image)
    yaw, pitch = base.draw_angles(named_keys(keys, 'camera'), self.pose_prior(config, None))
    return Inputs(
      z=base.draw_latents(keys, generator.z_dim),
      camera=base.camera_of(config, yaw, pitch),
      keys=named_keys(keys, 'rendering'),
      images=photos.image if loss_terms.sees_photos(config.loss, phase) else None,
      extras={'yaw': yaw, 'pitch': pitch},
    )

  def phases(self, config, generator, discriminator, stage):
    """The discriminator, its R1 where that is lazy, the generator."""
    loss, own, options = config.loss, config.stylesdf, stage.options
    penalties = None
    if loss.eikonal or loss.minimal_surface:
      penalties = Penalties(own.penalise_every, own.sharpness)

    def rendered(variables, inputs, penalties=None):
      w = generator.apply(variables, inputs.z, method='map')
      return generator.apply(
        variables, w, inputs.camera, inputs.keys, options, False, penalties, method='render'
      )

    def view_error(out, inputs):
      if not loss.pose:
        return jnp.zeros(())
      angles = inputs.extras['yaw'], inputs.extras['pitch']
      target = regularizers.pose_target(*angles, loss.pose_encoding)
      return regularizers.smooth_l1(out.heads['pose'], target)

    def logits_of(params, images, networks):
      variables = networks.variables('discriminator', params)
      return discriminator.apply(variables, images).logits

    def fakes_of(networks, inputs):
      out = jax.lax.stop_gradient(rendered(networks.variables('generator'), inputs))
      return as_rendering(out, options.resolution).image

    def discriminator_loss(params, networks, inputs, now):
      del now
      fakes = fakes_of(networks, inputs)
      fake = discriminator.apply(networks.variables('discriminator', params), fakes)
      logit_fn = lambda params, images: logits_of(params, images, networks)  # noqa: E731
      has_r1 = bool(loss.r1) and loss.r1_every == 1
      paired = loss_terms.paired(loss, lambda: fake.logits)
      real = loss_terms.of_photos(discriminator, logit_fn, params, inputs.images, has_r1, paired)
      adversarial_loss = loss_terms.of_both(loss, real.loss, fake.logits)
      error = view_error(fake, inputs)
      metrics = loss_terms.discriminator_metrics(adversarial_loss, real.logits, fake.logits)
      metrics['discriminator/pose_error'] = error
      if has_r1:
        metrics['discriminator/r1'] = real.r1
      total = adversarial_loss + 0.5 * loss.r1 * real.r1 + loss.pose * error
      if loss.r2 and loss_terms.is_joint(loss):
        r2 = regularizers.r1_penalty(lambda x: logit_fn(params, x), fakes)
        metrics['discriminator/r2'] = r2
        total += 0.5 * loss.r2 * r2
      return total, Terms(metrics)

    def r1(params, networks, inputs, now):
      del now
      logit_fn = lambda images: logits_of(params, images, networks)  # noqa: E731
      fakes = fakes_of(networks, inputs) if loss.r2 else None
      total, metrics = loss_terms.of_gradients(loss, (logit_fn, inputs.images), (logit_fn, fakes))
      return total, Terms(metrics)

    def generator_loss(params, networks, inputs, now):
      del now
      out = rendered(networks.variables('generator', params), inputs, penalties)
      rendering = as_rendering(out, options.resolution)
      judged = discriminator.apply(networks.variables('discriminator'), rendering.image)

      def photo_logits():
        return logits_of(networks.params['discriminator'], inputs.images, networks)

      margins = loss_terms.margins(loss, judged.logits, photo_logits)
      adversarial_loss = adversarial.generator_loss(margins)
      error = view_error(judged, inputs)
      total = adversarial_loss + loss.pose * error
      of_distance = {name: values.mean() for name, values in out.means.items()}
      for name in ('eikonal', 'minimal_surface') if of_distance else ():
        total += loss[name] * of_distance[name]
      return total, Terms(
        {
          'generator/adversarial': adversarial_loss,
          'generator/pose_error': error,
          'generator/beta': signed_distance.width(params['field']['beta'], generator.beta_floor),
          'generator/depth_spread': loss_terms.depth_spread(rendering.depth, options),
          **{f'generator/{name}': value for name, value in of_distance.items()},
        }
      )

    phases = [Phase('discriminator', 'discriminator', discriminator_loss)]
    if loss_terms.is_lazy(loss):
      phases.append(Phase('r1', 'discriminator', r1, loss.r1_every, lazy=True))
    return (*phases, Phase('generator', 'generator', generator_loss))
