"""EG3D's recipe (Chan et al., CVPR 2022, arXiv 2112.07945, Sec. 5 and supplement).

In this order: the generator against the discriminator; every few steps its density regularisation;
the discriminator; every few steps R1 on the image and on what was rendered. Cameras come from the
photos' labels, or, where there are none, from the pose prior: then nothing but the prior is known
of poses, and it may be learned too (`cameras.camera_generator`).

The losses are in `eg3d_losses`, what the fakes are made from in `eg3d_inputs`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jax3dgan import augment
from jax3dgan.augment import AdaState
from jax3dgan.cameras import camera_generator
from jax3dgan.errors import UserError
from jax3dgan.generators.eg3d import MARCHING
from jax3dgan.recipes import base, checks, eg3d_inputs, eg3d_losses, loss_terms, views
from jax3dgan.recipes.base import Inputs, Networks, Phase, Recipe
from jax3dgan.recipes.loss_terms import Loss
from jax3dgan.training.streams import named, named_keys

AUGMENTATIONS = ('none', 'fixed', 'ada')


@dataclasses.dataclass(frozen=True)
class Own:
  """`config.eg3d`.

  Attributes:
    pose_swap, pose_swap_images: How often the mapping network is conditioned on another camera in
      the end, and after how many images (always at first); without effect on one that is
      conditioned on none.
    density, density_every, density_kind: Weight of the density's regularisation, each how many
      steps, and which: 'l1' or 'monotonic', whose second term has the weight `monotonic`.
    density_points, density_std: Number of points, and the standard deviation of their neighbours'
      offsets, world units.
    blur, blur_images: σ, in pixels, of the blur of the discriminator's images at first, and after
      how many images it is gone.
    w_average_decay: Of the running mean of the styles, a step.
    label_noise: Standard deviation of normal noise on the labels that the discriminator is
      conditioned on, real and fake, in those of the labels of the batch.
    views: Of each object in the generator's step, at most as many as a batch has cameras, see
      `recipes.views`; the paper has one.
  """

  pose_swap: float = 0.5
  pose_swap_images: int = 1_000_000
  density: float = 0.25
  density_every: int = 4
  density_kind: str = 'l1'
  monotonic: float = 10.0
  density_points: int = 1000
  density_std: float = 0.004
  blur: float = 10.0
  blur_images: int = 200_000
  w_average_decay: float = 0.998
  label_noise: float = 0.0
  views: int = 1


@dataclasses.dataclass(frozen=True)
class Augment:
  """`config.augment`: of the discriminator's images.

  Attributes:
    name: 'none' as they are; 'fixed' augmented with the probability p; 'ada' with one that begins
      at p and moves every `every` steps towards where the mean sign of real logits is `target`, by
      1 in `kimg` thousand images.
  """

  name: str = 'none'
  p: float = 0.0
  target: float = 0.6
  every: int = 4
  kimg: float = 500.0


# Fields that say more of a term, by its weight.
class EG3D(Recipe):
  """See the module."""

  groups = {
    'loss': Loss,
    'eg3d': Own,
    'augment': Augment,
    'camera_generator': camera_generator.Config,
  }
  defaults = {
    'render': MARCHING,
    'optimizer': dict(
      lr_generator=2.5e-3, lr_discriminator=2e-3, beta1=0.0, beta2=0.99, grad_clip=0.0
    ),
  }
  model = 'eg3d'
  discriminator = 'dual'
  uses_labels = True
  has_convolutions = True
  of_weights = {
    ('loss.r1', 'loss.r2'): ('loss.r1_every',),
    'loss.pose': ('loss.pose_encoding',),
    'eg3d.density': (
      *('eg3d.density_every', 'eg3d.density_kind', 'eg3d.density_points', 'eg3d.density_std'),
      'eg3d.monotonic',
    ),
    'eg3d.blur': ('eg3d.blur_images',),
    'eg3d.pose_swap': ('eg3d.pose_swap_images',),
  }

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    own = config.eg3d
    checks.one_of('augment.name', config.augment.name, AUGMENTATIONS)
    checks.one_of('eg3d.density_kind', own.density_kind, eg3d_losses.DENSITY_KINDS)
    checks.has_discriminator(config, discriminator)
    checks.has_latents(config, generator)
    checks.no_signed_distance(config, generator)
    checks.label_sizes(config, generator, discriminator)
    self._check_augment(config)
    if own.density and own.density_kind != 'monotonic':
      reason = "config.eg3d.density_kind is not 'monotonic'"
      checks.unused(config, 'eg3d.monotonic', Own.monotonic, reason)
    checks.rendering(config, generator)
    camera_generator.is_learned(config)
    if config.augment.name == 'ada' and loss_terms.is_relativistic(config.loss):
      raise UserError(
        "config.augment.name 'ada' follows the signs of logits, and those of "
        "config.loss.adversarial 'relativistic' have no zero. Set --config.augment.name=fixed with "
        '--config.augment.p, or none.'
      )
    if discriminator.takes_pairs and not generator.makes_pairs:
      raise UserError(
        f"The discriminator '{config.discriminator.name}' takes pairs of an image and its "
        f"rendering before an up-sampler, which '{config.model.name}' does not have. Take the "
        "discriminator 'stylegan2'."
      )
    if own.density and not generator.has_field:
      raise UserError(
        f"config.eg3d.density regularises a field, and '{config.model.name}' has none. Set "
        '--config.eg3d.density=0.'
      )
    checks.told_cameras(config, generator, discriminator)
    checks.heads(config, generator, discriminator, ('pose',))
    views.check(config, 'eg3d.views')
    if own.views > 1 and not generator.uses_camera:
      raise UserError(
        f"config.eg3d.views is {own.views}, but images of '{config.model.name}' do not depend on "
        'the camera. Set --config.eg3d.views=1.'
      )
    if own.label_noise and not (discriminator.label_dim and config.data.use_labels):
      raise UserError(
        f'config.eg3d.label_noise is {own.label_noise}, but no discriminator is conditioned on '
        'labels here. Set --config.eg3d.label_noise=0.'
      )

  def _check_augment(self, config) -> None:
    """Fields of an augmentation that is not on, or does not adapt, are at their defaults."""
    name, unused = config.augment.name, []
    if name != 'ada':
      unused = ['target', 'every', 'kimg']
    if name == 'none':
      unused.insert(0, 'p')
    for field in unused:
      value, default = config.augment[field], getattr(Augment, field)
      if value != default:
        raise UserError(
          f'config.augment.{field} is {value!r} and would be ignored: config.augment.name is '
          f"'{name}'. Set --config.augment.name={'fixed' if field == 'p' else 'ada'}, or "
          f'--config.augment.{field}={default}.'
        )

  def init_networks(self, config, generator, discriminator, keys) -> Networks:
    """See `Recipe.init_networks`; the camera generator's parameters are among the generator's."""
    networks = super().init_networks(config, generator, discriminator, keys)
    if camera_generator.is_learned(config):
      own = camera_generator.init_params(config, named(keys[0], camera_generator.PARAMS))
      networks.params['generator'] = {
        **networks.params['generator'], camera_generator.PARAMS: own
      }  # fmt: skip
    if config.augment.name != 'none':
      networks.buffers['augment'] = AdaState.create(config.augment.p)
    return networks

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """See `Recipe.draw`."""
    own = config.eg3d
    inputs = Inputs()
    if loss_terms.makes_fakes(config.loss, phase):
      swap = eg3d_inputs.swap_probability(now.images, own.pose_swap, own.pose_swap_images)
      inputs = eg3d_inputs.draw_cameras(keys, config, photos.all_labels, swap)
      inputs = inputs._replace(
        z=base.draw_latents(keys, generator.z_dim), keys=named_keys(keys, 'rendering')
      )
    extras = dict(inputs.extras)
    if phase == 'density':
      box = generator.box or config.render.far - config.render.near
      extras |= eg3d_inputs.draw_points(keys, own, box)
    else:
      label, image_label = inputs.label, photos.label
      if own.label_noise and photos.label is not None:
        noise = {
          name: eg3d_inputs.label_noise(named_keys(keys, name), own.label_noise, photos.all_labels)
          for name in ('fake label noise', 'real label noise')
        }
        extras['label_noise'] = noise['fake label noise']
        image_label = image_label + noise['real label noise']
      if loss_terms.sees_photos(config.loss, phase):
        inputs = inputs._replace(images=photos.image, image_label=image_label)
      inputs = inputs._replace(label=label)
      if 'augment' in buffers:
        extras['augment fakes'] = named_keys(keys, 'augment fakes')
        extras['augment photos'] = named_keys(keys, 'augment photos')
    return inputs._replace(extras=extras)

  def phases(self, config, generator, discriminator, stage):
    """The generator, its density, the discriminator, R1."""
    losses = eg3d_losses.make_losses(config, generator, discriminator, stage)

    def with_views(networks, inputs, now, num_micro_batches):
      del networks, now, num_micro_batches
      return eg3d_inputs.with_views(inputs, config.eg3d.views, stage.batch_size)

    prepare = with_views if config.eg3d.views > 1 else None
    gradient = losses.generator_gradient
    phases = [Phase('generator', 'generator', losses.generator, gradient=gradient, prepare=prepare)]
    if config.eg3d.density:
      every = max(config.eg3d.density_every, 1)
      phases.append(Phase('density', 'generator', losses.density, every, lazy=True))
    phases.append(Phase('discriminator', 'discriminator', losses.discriminator))
    if loss_terms.is_lazy(config.loss):
      phases.append(Phase('r1', 'discriminator', losses.r1, config.loss.r1_every, lazy=True))
    return tuple(phases)

  def update_buffers(self, buffers, metrics, config, stage, now):
    """Adaptive augmentation's probability follows the signs of the photos' logits."""
    own = config.augment
    if own.name != 'ada':
      return buffers
    signs = metrics['discriminator/real_signs']
    state = augment.observe(buffers['augment'], signs, stage.batch_size)
    state = augment.adjust(state, now.step, own.every, own.target, own.kimg)
    return {**buffers, 'augment': state}

  def scale_updates(self, network, updates, config, now):
    """The camera generator learns at a share of the generator's rate, after some images."""
    if network != 'generator' or not camera_generator.is_learned(config):
      return updates
    own, name = config.camera_generator, camera_generator.PARAMS
    share = jnp.where(now.images < own.from_images, 0.0, own.learning_rate)
    return {**updates, name: jax.tree.map(lambda x: share * x, updates[name])}

  def pose_prior(self, config, params):
    """See `Recipe.pose_prior`."""
    return camera_generator.pose_prior(config, params)
