"""NeRF's recipe (Mildenhall et al., ECCV 2020, arXiv 2003.08934, Sec. 5 and App. A): one scene from
photos whose cameras are known.

A batch is of images; of each some random pixels are rendered and compared. The loss is the squared
error of the fine and of the coarse rendering (eq. 6). There is no discriminator and no latent.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jax3dgan import cameras
from jax3dgan.errors import UserError
from jax3dgan.generators import FieldGenerator
from jax3dgan.recipes import checks
from jax3dgan.recipes.base import Inputs, Phase, Recipe, Terms
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.training.ranges import Range
from jax3dgan.training.streams import named_keys


@dataclasses.dataclass(frozen=True)
class Loss:
  """`config.loss`.

  Attributes:
    coarse: Weight of the coarse rendering's error; 1 is NeRF's.
    density_noise: Standard deviation of the normal noise on the raw density in training; NeRF has 1
      for real scenes.
  """

  coarse: float = 1.0
  density_noise: float = 0.0


@dataclasses.dataclass(frozen=True)
class Own:
  """`config.nerf`.

  Attributes:
    rays: Random pixels of each image of a batch: a step renders batch_size · rays of them.
  """

  rays: int = 64


RANGES = {'loss.coarse': Range(0, note='0 for none'), 'nerf.rays': Range(1)}


class NeRF(Recipe):
  """See the module."""

  groups = {'loss': Loss, 'nerf': Own}
  defaults = {
    'batch_size': 64,
    'data': dict(use_labels=True),
    'render': dict(
      near=2.0,
      far=6.0,
      num_coarse=64,
      num_fine=128,
      density='relu',
      last_interval='infinite',
      white_back=True,
      align_corners=False,
    ),
    'display': dict(num_coarse=64, num_fine=128, last_back=False, truncation_psi=1.0),
    'optimizer': dict(
      lr_generator=5e-4, beta1=0.9, beta2=0.999, grad_clip=0.0, decay=0.1, decay_steps=250_000
    ),
    'eval': dict(metrics='held_out'),
  }
  model = 'nerf'
  discriminator = 'none'
  uses_labels = True
  needs_labels = True

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.labels(config, uses=True, needs=True)
    checks.no_discriminator(config, discriminator)
    if generator.z_dim:
      raise UserError(
        f"The recipe '{config.recipe}' trains a single scene, and '{config.model.name}' has "
        f"latents of {generator.z_dim} numbers. Take the model 'nerf', see config.set_model."
      )
    if not isinstance(generator, FieldGenerator):
      raise UserError(
        f"The recipe '{config.recipe}' renders single rays of a field, which '{config.model.name}' "
        "does not. Take the model 'nerf', see config.set_model."
      )
    checks.no_label_inputs(config, generator, discriminator)
    checks.rendering(config, generator)
    checks.in_ranges(config, RANGES)
    checks.not_mirrored(config)
    if not config.render.num_fine:
      checks.unused(config, 'loss.coarse', 1.0, 'without num_fine the coarse pass is the only one')

  def check_data(self, config, dataset):
    """See `Recipe.check_data`: the scene lies where rays are sampled, on the same background."""
    if not dataset.scene:
      return
    checks.background(config, dataset)
    render, framing = config.render, dataset.scene['framing']
    if not render.box and (render.far < framing['near'] or render.near > framing['far']):
      raise UserError(
        f'Rays are sampled from {render.near:g} to {render.far:g}, and the scene of {dataset.name} '
        f'lies from {framing["near"]:g} to {framing["far"]:g}. Set --config.render.near='
        f'{framing["near"]:g} --config.render.far={framing["far"]:g}.'
      )

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """Random pixels of the photos: `extras` has their numbers [b, r] and colours [b, r, 3]."""
    del phase, now, buffers
    b, h, w, _ = photos.image.shape
    draw = lambda key: jax.random.randint(key, (config.nerf.rays,), 0, h * w)  # noqa: E731
    pixels = jax.vmap(draw)(named_keys(keys, 'pixels'))
    colours = jnp.take_along_axis(photos.image.reshape(b, h * w, 3), pixels[..., None], axis=1)
    return Inputs(
      z=jnp.zeros((b, generator.z_dim)),
      camera=cameras.from_label(photos.label),
      keys=named_keys(keys, 'rendering'),
      extras={'pixels': pixels, 'colours': 0.5 * (colours + 1)},
    )

  def phases(self, config, generator, discriminator, stage):
    """One: the photometric error."""
    del discriminator
    own, options = config.loss, stage.options

    def photometric(params, networks, inputs, now):
      del now
      variables = networks.variables('generator', params)
      uv = rays_lib.pixel_grid(options.resolution, options.align_corners)[inputs.extras['pixels']]
      rays = rays_lib.rays_through(inputs.camera, uv)
      w = generator.apply(variables, inputs.z, method='map')
      has_coarse = bool(own.coarse and options.num_fine)
      out = generator.apply(
        variables,
        w,
        rays,
        inputs.keys,
        options,
        own.density_noise,
        has_coarse,
        method='render_rays',
      )
      error = lambda colour: jnp.mean((colour[..., :3] - inputs.extras['colours']) ** 2)  # noqa: E731
      total = fine = error(out.colour)
      metrics = {'generator/mse': fine, 'generator/psnr': -10 * jnp.log10(fine)}
      if has_coarse:
        coarse = error(out.coarse.colour)
        total = total + own.coarse * coarse
        metrics['generator/coarse_mse'] = coarse
      return total, Terms(metrics)

    return (Phase('generator', 'generator', photometric),)
