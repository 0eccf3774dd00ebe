"""StyleNeRF's recipe (Gu et al., ICLR 2022, arXiv 2110.08985, Sec. 3.3 and App. B).

In this order: the generator against the discriminator, with the NeRF-path regularisation of some of
its pixels; every few steps its path length; the discriminator; every few steps R1. Cameras come
from the pose prior, images of two styles are mixed, and both networks grow: stages of training have
larger and larger images (`config.stages`), each size is faded in over `loss.fade_steps`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.generators import stylenerf as generator_lib
from jax3dgan.losses import path_length
from jax3dgan.recipes import base, checks, loss_terms, mixing, stylenerf_losses
from jax3dgan.recipes.base import Inputs, Networks, Phase, Recipe
from jax3dgan.training import schedule
from jax3dgan.training.ranges import Range
from jax3dgan.training.streams import named_keys


@dataclasses.dataclass(frozen=True)
class Loss(loss_terms.Adversarial):
  """`config.loss`.

  Attributes:
    r1, r1_every: Weight of R1; with the discriminator's own loss if it counts every step, or each
      so many steps as a step of its own.
    pose, pose_encoding: Weight of the regression of the fakes' poses, and what is regressed:
      'angles' (pitch, yaw) or 'direction' (the unit vector towards the camera).
    density_noise, density_noise_steps: Standard deviation of the normal noise on the raw density in
      training, and after how many steps it is gone; 0 for never.
    fade_steps: Steps over which a new size of images is faded in.
  """

  r1: float = 0.5
  r1_every: int = 16
  pose: float = 0.0
  pose_encoding: str = 'angles'
  density_noise: float = 1.0
  density_noise_steps: int = 0
  fade_steps: int = 0


@dataclasses.dataclass(frozen=True)
class Own:
  """`config.stylenerf`.

  Attributes:
    mixing: How often an image is of two styles.
    nerf_path, nerf_path_pixels: Weight of the NeRF-path regularisation, and of how many pixels, on
      a side of a grid with random offsets (Sec. 3.3).
    path_length, path_length_every: Weight of the path length's regularisation, and each how many
      steps it has a step of its own.
    w_average_decay: Of the running mean of the styles, a step.
  """

  mixing: float = 0.9
  nerf_path: float = 1.0
  nerf_path_pixels: int = 16
  path_length: float = 2.0
  path_length_every: int = 4
  w_average_decay: float = 0.998


RANGES = {
  'stylenerf.mixing': Range(0, 1),
  'stylenerf.nerf_path': Range(0, note='0 for none'),
  'stylenerf.nerf_path_pixels': Range(1),
  'stylenerf.path_length': Range(0, note='0 for none'),
  'stylenerf.path_length_every': Range(1),
  'stylenerf.w_average_decay': Range(0, 1, below=True),
}


class StyleNeRF(Recipe):
  """See the module."""

  groups = {'loss': Loss, 'stylenerf': Own}
  defaults = {
    'render': generator_lib.MARCHING,
    'optimizer': dict(
      lr_generator=2.5e-3, lr_discriminator=2.5e-3, beta1=0.0, beta2=0.99, grad_clip=0.0
    ),
  }
  model = 'stylenerf'
  discriminator = 'stylenerf'
  has_convolutions = True
  of_weights = {
    ('loss.r1', 'loss.r2'): ('loss.r1_every',),
    'loss.pose': ('loss.pose_encoding',),
    'loss.density_noise': ('loss.density_noise_steps',),
    'stylenerf.nerf_path': ('stylenerf.nerf_path_pixels',),
    'stylenerf.path_length': ('stylenerf.path_length_every',),
  }

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.labels(config, uses=False, needs=False)
    checks.has_discriminator(config, discriminator)
    if not isinstance(generator, generator_lib.StyleNeRF):
      raise UserError(
        f"The recipe 'stylenerf' needs the pixels of a path without up-sampling, which "
        f"'{config.model.name}' does not have. Take the model 'stylenerf', or another recipe."
      )
    checks.no_label_inputs(config, generator, discriminator)
    if discriminator.takes_pairs:
      raise UserError(
        f"The recipe 'stylenerf' has single images, and the discriminator "
        f"'{config.discriminator.name}' takes pairs of two sizes. Take 'stylenerf'."
      )
    checks.rendering(config, generator)
    for stage in schedule.stages(config, None):
      generator.num_blocks(stage.options)
      _check_background(generator, stage.options)
    checks.in_ranges(config, RANGES)
    _check_fades(config)
    checks.heads(config, generator, discriminator, ('pose',))
    if len(set(_sizes(config))) == 1:
      checks.unused(config, 'loss.fade_steps', 0, 'all images have one size')
    self._check_pixels(config, generator)

  def _check_pixels(self, config, generator) -> None:
    """The pixels of the NeRF path make a grid on images of every size."""
    num = config.stylenerf.nerf_path_pixels
    if not config.stylenerf.nerf_path:
      return
    if not generator.channels:
      raise UserError(
        'config.stylenerf.nerf_path compares an image with what an up-sampler makes of single '
        'samples, and there is none: config.model.channels is (). Set '
        '--config.stylenerf.nerf_path=0.'
      )
    sizes = _sizes(config)
    misfits = [size for size in sizes if size > num and size % num]
    if num <= max(sizes) and not misfits:
      return
    most, problem = num, f'does not divide images of {misfits[0]}²' if misfits else ''
    if num > max(sizes):
      most = min(Own.nerf_path_pixels, max(sizes))
      problem = f'is more than the pixels on a side of the largest images, {max(sizes)}'
    best = next(n for n in range(most, 0, -1) if all(n >= size or not size % n for size in sizes))
    raise UserError(
      f'config.stylenerf.nerf_path_pixels is {num}, which {problem}. Set '
      f'--config.stylenerf.nerf_path_pixels={best}.'
    )

  def init_networks(self, config, generator, discriminator, keys) -> Networks:
    """See `Recipe.init_networks`; there is a running mean of the path lengths."""
    networks = super().init_networks(config, generator, discriminator, keys)
    if config.stylenerf.path_length:
      networks.buffers[stylenerf_losses.PATH_MEAN] = jnp.zeros(())
    return networks

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """See `Recipe.draw`."""
    del now, buffers
    own = config.stylenerf
    if not loss_terms.makes_fakes(config.loss, phase):
      return Inputs(images=photos.image)
    yaw, pitch = base.draw_angles(named_keys(keys, 'camera'), self.pose_prior(config, None))
    extras = {'yaw': yaw, 'pitch': pitch}
    if own.mixing:
      extras |= mixing.draw(keys, generator.z_dim, generator.num_ws, own.mixing)
    if phase == 'generator' and own.nerf_path:
      places = named_keys(keys, 'path places')
      extras['places'] = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(places)
      extras['path keys'] = named_keys(keys, 'path rendering')
    if phase == 'path_length':
      size = photos.image.shape[1:3]
      extras['noise'] = path_length.noise(named_keys(keys, 'path length'), (*size, 3))
    return Inputs(
      z=base.draw_latents(keys, generator.z_dim),
      camera=base.camera_of(config, yaw, pitch),
      keys=named_keys(keys, 'rendering'),
      images=photos.image if loss_terms.sees_photos(config.loss, phase) else None,
      extras=extras,
    )

  def phases(self, config, generator, discriminator, stage):
    """The generator, its path length, the discriminator, R1."""
    loss, own = config.loss, config.stylenerf
    losses = stylenerf_losses.make_losses(config, generator, discriminator, stage)
    phases = [Phase('generator', 'generator', losses.generator)]
    if own.path_length:
      phases.append(
        Phase('path_length', 'generator', losses.path_length, own.path_length_every, lazy=True)
      )
    phases.append(Phase('discriminator', 'discriminator', losses.discriminator))
    if loss_terms.is_lazy(loss):
      phases.append(Phase('r1', 'discriminator', losses.r1, loss.r1_every, lazy=True))
    return tuple(phases)


def _check_fades(config) -> None:
  """UserError for a size that the next one replaces before it is faded in: pictures would jump."""
  stages = schedule.stages(config, None)
  starts = [stage.fade_from for stage in stages if stage.fade_from is not None]
  for start, end in zip(starts, starts[1:], strict=False):
    if start < end < start + config.loss.fade_steps:
      raise UserError(
        f'config.loss.fade_steps is {config.loss.fade_steps:,}, and the images that are new at '
        f'step {start:,} grow again at step {end:,}. Set --config.loss.fade_steps={end - start}, '
        'or config.stages with later steps.'
      )


def _check_background(generator, options) -> None:
  """UserError for a background that training would never see."""
  hides = {
    'last_back': options.last_back and 'True',
    'last_interval': options.last_interval == 'infinite' and "'infinite'",
  }
  for field, value in hides.items():
    if generator.background and value:
      raise UserError(
        f'config.model.background would be ignored: with config.render.{field}={value} no light '
        f'passes the foreground. Set --config.model.background=False, or another render.{field}.'
      )


def _sizes(config) -> list[int]:
  """Pixels on a side of the images of each stage."""
  sizes = [config.resolution]
  for stage in config.stages:
    sizes.append(dict(stage).get('resolution', sizes[-1]))
  return sizes
