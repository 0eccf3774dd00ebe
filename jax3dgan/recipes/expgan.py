"""Exp-GAN's recipe (Lee et al., ACCV 2022, Sec. 3.4 and 4).

In this order: the generator against both discriminators; these, which learn from photos to guess
pose, expression and identity; every few steps R1. A fake has the camera of one photo, the
expression of a second one and the identity of a third: no combination of them is one of the
photos', so the generator must learn them apart.

Guesses are of standardised numbers, unless `config.expgan.standardised` is False: the mean of the
photos' taken away, divided by their standard deviation. The losses are in `expgan_losses`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from jax3dgan import cameras
from jax3dgan.discriminators.expgan import HEADS, ExpGANDiscriminator
from jax3dgan.errors import UserError
from jax3dgan.generators import expgan as generator_lib
from jax3dgan.generators import expgan_faces
from jax3dgan.losses import regularizers
from jax3dgan.morphable import photo_cameras
from jax3dgan.recipes import base, checks, expgan_losses, unused
from jax3dgan.recipes.base import Inputs, Phase, Recipe
from jax3dgan.training.ranges import Range
from jax3dgan.training.streams import named_keys


@dataclasses.dataclass(frozen=True)
class Loss:
  """`config.loss`.

  Attributes:
    r1, r1_low, r1_every: Weights of R1 of pictures and of auxiliary images; with the
      discriminators' own loss if it counts every step, or each so many steps as a step of its own.
    pose, expression, identity: Weights of the guesses of both networks, each half.
    pose_encoding: What is guessed of a camera, see `regularizers.pose_target`; or 'release', see
      `photo_cameras.guessed_pose`, of orthographic ones.
    pose_bound: Of the squared error of each number of a pose, which beyond it has no gradient (the
      release's is 1); 0 for none.
    auxiliary: Weight of the difference of auxiliary image and picture.
    face_alpha: Weight of the opacity of the face model's surface.
    top_k_interval, top_k_floor: See `adversarial.top_k_fraction`, of the auxiliary images; 0 for
      all of them.
    density_noise, density_noise_steps: Standard deviation of the normal noise on the raw density,
      and after how many steps it is gone.
    fade_steps: Steps over which the largest block of each discriminator is faded in; 0 for none.
  """

  r1: float = 10.0
  r1_low: float = 0.2
  r1_every: int = 16
  pose: float = 15.0
  expression: float = 15.0
  identity: float = 15.0
  pose_encoding: str = 'angles'
  pose_bound: float = 0.0
  auxiliary: float = 1.0
  face_alpha: float = 10.0
  top_k_interval: int = 2000
  top_k_floor: float = 0.6
  density_noise: float = 1.0
  density_noise_steps: int = 5000
  fade_steps: int = 1000


@dataclasses.dataclass(frozen=True)
class Own:
  """`config.expgan`.

  Attributes:
    face_model: A file or folder, see `data.face_models`; '' for the face model that the data are
      rendered from.
    face_scale, face_offset: Where it is in the world: its vertices times the scale, plus (x, y, z).
    expressions: Which numbers of an expression are guessed; () for all.
    standardised: Whether the guesses are of standardised numbers; the release's are not.
    least_std: Of the numbers that are guessed, by which they are divided at least: those that
      hardly vary would be noise.
    low_rate, upsampler_rate: Learning rates of the discriminator of auxiliary images, and of the
      up-sampler, as shares of `optimizer.lr_discriminator` and `lr_generator`.
    w_average_decay: Of the running mean of the styles, a step.
  """

  face_model: str = ''
  face_scale: float = 1.0
  face_offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
  expressions: tuple[int, ...] = ()
  standardised: bool = True
  least_std: float = 0.05
  low_rate: float = 0.1
  upsampler_rate: float = 0.8
  w_average_decay: float = 0.998


_POSE_SIZES = {**checks.POSE_SIZES, 'release': 6}
_WEIGHT = Range(0, note='0 for none')
RANGES = {
  'loss.r1_low': _WEIGHT,
  'loss.pose_bound': _WEIGHT,
  'loss.expression': _WEIGHT,
  'loss.identity': _WEIGHT,
  'loss.auxiliary': _WEIGHT,
  'loss.face_alpha': _WEIGHT,
  'expgan.face_scale': Range(0, above=True),
  'expgan.least_std': Range(0, above=True),
  'expgan.low_rate': Range(0),
  'expgan.upsampler_rate': Range(0),
  'expgan.w_average_decay': Range(0, 1, below=True),
}
_EMA = 0.5 ** (32 / 10_000)


class ExpGAN(Recipe):
  """See the module."""

  groups = {'loss': Loss, 'expgan': Own}
  defaults = {
    'batch_size': 12,
    'data': dict(use_labels=True),
    'render': generator_lib.MARCHING,
    'optimizer': dict(
      lr_generator=2.5e-3, lr_discriminator=2e-3, beta1=0.0, beta2=0.99, grad_clip=10.0
    ),
    'ema': dict(rates=(_EMA,), display_rate=_EMA),
  }
  model = 'expgan'
  discriminator = 'expgan'
  uses_labels = needs_labels = True
  has_convolutions = True
  of_weights = {
    ('loss.r1', 'loss.r1_low'): ('loss.r1_every',),
    'loss.pose': ('loss.pose_encoding', 'loss.pose_bound'),
    'loss.expression': ('expgan.expressions',),
    'loss.density_noise': ('loss.density_noise_steps',),
    'loss.top_k_interval': ('loss.top_k_floor',),
  }

  def check(self, config, generator, discriminator):
    """See `Recipe.check`."""
    checks.labels(config, uses=True, needs=True)
    checks.has_discriminator(config, discriminator)
    for kind, network, cls in (
      ('model', generator, generator_lib.ExpGAN),
      ('discriminator', discriminator, ExpGANDiscriminator),
    ):
      if not isinstance(network, cls):
        raise UserError(
          f"The recipe 'expgan' trains a face model's surface and guesses of its codes, which the "
          f"{kind} '{config[kind].name}' does not have. Take 'expgan', or another recipe."
        )
    checks.in_ranges(config, RANGES)
    unused.density_noise(config, self, generator)
    if len(config.expgan.face_offset) != 3:
      raise UserError(
        f'config.expgan.face_offset is {tuple(config.expgan.face_offset)}. Give three numbers '
        '(x, y, z).'
      )
    if generator.num_triangles < 1:
      face_of(config, generator)  # a UserError that says the numbers
    self._check_sizes(config, generator, discriminator)

  def _check_sizes(self, config, generator, discriminator) -> None:
    """The networks' sizes and heads fit."""
    if not generator.up_channels:
      raise UserError(
        "The recipe 'expgan' compares two sizes of an image, and config.model.up_channels is (). "
        "Give the up-sampler's channels, as --config.model.up_channels='(64, 32)'."
      )
    if not generator.surface:
      raise UserError(
        'config.model.surface is False, and the surface is what this recipe trains. Set '
        '--config.model.surface=True.'
      )
    if discriminator.low_resolution != generator.low_resolution:
      raise UserError(
        f'config.discriminator.low_resolution is {discriminator.low_resolution}, and auxiliary '
        f'images have {generator.low_resolution}². Set '
        f'--config.discriminator.low_resolution={generator.low_resolution}.'
      )
    checks.one_of('loss.pose_encoding', config.loss.pose_encoding, _POSE_SIZES)
    if config.loss.pose and config.loss.pose_encoding == 'release' and not generator.orthographic:
      raise UserError(
        "config.loss.pose_encoding is 'release', which has the scale of an orthographic camera, "
        'and config.model.orthographic is 0. Set --config.loss.pose_encoding=angles.'
      )
    if not config.expgan.standardised:
      least = Own.least_std
      checks.unused(config, 'expgan.least_std', least, 'config.expgan.standardised is False')
    expressions = config.expgan.expressions
    if any(not 0 <= i < generator.num_expression for i in expressions):
      raise UserError(
        f'config.expgan.expressions is {tuple(expressions)}, and a code of expression has the '
        f'numbers 0 to {generator.num_expression - 1}. Choose among these.'
      )
    sizes = {
      'pose': _POSE_SIZES[config.loss.pose_encoding],
      'expression': len(expressions) or generator.num_expression,
      'identity': min(discriminator.identity_dim or 1, generator.num_identity),
    }
    for name in HEADS:
      size = sizes[name] if config.loss[name] else 0
      if getattr(discriminator, f'{name}_dim') != size:
        raise UserError(
          f'config.loss.{name} is {config.loss[name]}, and config.discriminator.{name}_dim is '
          f'{getattr(discriminator, f"{name}_dim")}. Set --config.discriminator.{name}_dim={size}.'
        )

  def needs_codes(self, config):
    """See `Recipe.needs_codes`."""
    return {name: config.model[f'num_{name}'] for name in ('identity', 'expression')}

  def warm_up(self, config, generator, networks, given, report, say=print):
    """See `Recipe.warm_up`; the face model is read."""
    del given, report, say
    buffers = {**networks.buffers['generator'], **face_of(config, generator)}
    return networks._replace(buffers={**networks.buffers, 'generator': buffers})

  def draw(self, keys, phase, config, generator, photos, now, buffers) -> Inputs:
    """Latents, and the camera, expression and identity of three photos of the data set; the photos
    of the batch; what is to be guessed of either."""
    del now, buffers
    if phase == 'r1':
      return Inputs(images=photos.image)
    table = photos.table

    def drawn(stream, name):
      rows = jax.vmap(lambda key: jax.random.randint(key, (), 0, len(table[name])))
      return table[name][rows(named_keys(keys, stream))]

    label = drawn('camera', 'label')
    codes = {name: drawn(f'photo of {name}', name) for name in ('identity', 'expression')}
    extras = dict(codes)
    standardised = config.expgan.standardised
    of_all = _to_guess(config, table['label'], table) if standardised else {}
    whose = {'fake': (label, codes)}
    if phase == 'discriminator':
      whose['photo'] = (photos.label, photos.codes)
    for owner, (labels, own) in whose.items():
      for name, values in _to_guess(config, labels, own).items():
        target = values
        if standardised:
          target = _standardised(values, of_all[name], config.expgan.least_std)
        if name == 'identity':
          target = target[:, : config.discriminator.identity_dim]
        extras[f'{owner} {name}'] = target
    return Inputs(
      z=base.draw_latents(keys, generator.latent_dim),
      camera=cameras.from_label(label),
      keys=named_keys(keys, 'rendering'),
      images=photos.image if phase == 'discriminator' else None,
      extras=extras,
    )

  def phases(self, config, generator, discriminator, stage):
    """The generator, the discriminators, R1."""
    losses, loss = expgan_losses.make_losses(config, generator, discriminator, stage), config.loss
    before = losses.chosen_before if loss.top_k_interval and stage.micro_batches > 1 else None
    phases = [
      Phase('generator', 'generator', losses.generator, prepare=before),
      Phase('discriminator', 'discriminator', losses.discriminator),
    ]
    if expgan_losses.has_r1(loss) and loss.r1_every > 1:
      phases.append(Phase('r1', 'discriminator', losses.r1, loss.r1_every, lazy=True))
    return tuple(phases)

  def scale_updates(self, network, updates, config, now):
    """The smaller discriminator and the up-sampler have rates of their own."""
    del now
    own = config.expgan
    part, rate = {
      'generator': ('upsampler', own.upsampler_rate),
      'discriminator': ('low', own.low_rate),
    }[network]
    return {**updates, part: jax.tree.map(lambda x: rate * x, updates[part])}


def face_of(config, generator) -> dict:
  """The generator's buffers of the face model that a config names, see `expgan_faces`."""
  own = config.expgan
  where = own.face_scale, tuple(own.face_offset)
  return expgan_faces.buffers_of(generator, own.face_model, config.data.source, *where)


def _to_guess(config, label, codes) -> dict:
  """{head: [n, k]} of labels [n, 25] and codes [n, ...], before they are standardised."""
  encoding, which = config.loss.pose_encoding, tuple(config.expgan.expressions)
  expression = codes['expression']
  if which:
    expression = expression[:, jnp.asarray(which, jnp.int32)]
  camera = cameras.from_label(label)
  if encoding == 'release':
    pose = photo_cameras.guessed_pose(photo_cameras.of_camera(camera, config.model.orthographic))
  else:
    pose = regularizers.camera_pose_target(camera, encoding)
  return {'pose': pose, 'expression': expression, 'identity': codes['identity']}


def _standardised(values, of_all, least: float):
  """Values [b, k] by mean and standard deviation of those of all photos, [n, k]."""
  return (values - of_all.mean(0)) / jnp.maximum(of_all.std(0), least)
