"""The contract of a discriminator: what a training step may ask of any of them."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import flax.struct
import jax

from jax3dgan.errors import UserError, not_written


@flax.struct.dataclass
class DiscriminatorOutput:
  """What a discriminator says of a batch of images.

  Attributes:
    logits: [b], high for real.
    heads: Predictions beside them, by name: 'pose' [b, pose_dim], (pitch, yaw) in radians or the
      camera's direction; 'latent' [b, latent_dim], the z that made an image.
  """

  logits: jax.Array
  heads: Mapping[str, jax.Array] = flax.struct.field(default_factory=dict)


class Discriminator(nn.Module):
  """Images to logits.

  Subclasses are Linen modules; any attribute below may be a field, a property or a class attribute
  of theirs. Arrays that are not trained (power iteration's vectors) are variables of the collection
  'buffers'; where they move with training, `moves_buffers` says so, and a recipe makes each step of
  theirs by `recipes.base.advanced`, or by a call with mutable buffers, and returns them in its
  `Terms`.

  Attributes:
    resolutions: Sizes of the images that it takes, pixels on a side, ascending.
    label_dim: Length of the label that it is conditioned on; 0 for none.
    pose_dim, latent_dim: Lengths of the heads; 0 for no such head.
    takes_pairs: Whether it takes pairs (image, low-resolution rendering) instead of images.
    fades: Whether a new resolution is faded in.
    moves_buffers: Whether it has buffers that move with training (spectral normalisation).
    group_size: Images whose features it compares; a batch is made of whole groups. 0 for none.
    choices: {field: words}, of its fields that are one of some words.
    own_recipe: See `Generator.own_recipe`.
  """

  resolutions = ()
  label_dim = 0
  pose_dim = 0
  latent_dim = 0
  takes_pairs = False
  fades = False
  moves_buffers = False
  group_size = 0
  choices = {}
  own_recipe = ''

  @property
  def independent_logits(self) -> bool:
    """Whether a logit depends on its own image alone, which one-pass R1 needs."""
    return self.group_size in (0, 1)

  def __call__(self, image, fade=1.0, label=None) -> DiscriminatorOutput:
    """Images [b, h, w, c] in [−1, 1], or a pair of them with `takes_pairs` → logits and heads.

    Args:
      fade: In [0, 1], may be traced: the share of the newest resolution; ignored without `fades`.
      label: [b, label_dim].
    """
    raise not_written(self, '__call__')

  def advance(self) -> None:
    """One step of the buffers that move with training, without images; they must be mutable."""

  def unused_fields(self) -> dict[str, str]:
    """{field: reason} of fields that have no effect with the values of the others; training refuses
    them where they are not at their defaults."""
    return {}

  def initialise(self):
    """Uses every parameter and buffer once, for `init`."""
    raise not_written(self, 'initialise')

  def init_params(self, key):
    """Fresh parameters of a distribution of its own; None for those of `initialise`."""
    del key

  def tiny(self, resolution: int) -> dict[str, Any]:
    """Fields of a small discriminator of the same structure, for tests: images of `resolution`."""
    raise not_written(self, 'tiny')

  def channels_for(self, resolution: int) -> tuple[int, ...] | None:
    """`channels` of the same network for images of another size; None where it has no such form."""
    del resolution

  def check_resolution(self, resolution: int, setting: str = '--config.resolution=') -> None:
    """UserError where it does not take images of a size.

    Args:
      resolution: pixels on a side.
      setting: what sets it, for the message, before a number; '' where it cannot be another one.
    """
    if resolution in self.resolutions:
      return
    sizes = [r for r in self.resolutions if r >= 4] or [*self.resolutions]
    power = 1 << (resolution - 1).bit_length()  # at least as large
    if not sizes:
      raise UserError(
        f'config.discriminator.channels has too few entries for images of {resolution}, or of any '
        'size that the discriminator takes. Set it to one entry for each size, from 4² up to that '
        'of the images.'
      )
    remedies = [f'{setting}{min(sizes, key=lambda r: abs(r - resolution))}'] if setting else []
    if power not in sizes and (setting or power == resolution):
      channels = self.channels_for(power)
      if channels is not None:
        more = '' if power == resolution else f'{setting}{power} '
        remedies.append(f"{more}--config.discriminator.channels='{channels}'")
    raise UserError(
      f'The discriminator takes images of {", ".join(map(str, sizes))} pixels, not {resolution}. '
      f'Set {", or ".join(remedies) or "config.discriminator.channels"}.'
    )


def takes_no_label(name: str, label) -> None:
  """UserError for a label that the discriminator of that name would ignore."""
  if label is not None:
    raise UserError(
      f"The '{name}' discriminator is not conditioned on labels. Leave the label out, or take "
      "'stylegan2'."
    )


class OfOneSize(Discriminator):
  """A discriminator of images of one size, `resolution`, without labels."""

  @property
  def resolution(self) -> int:
    """Pixels on a side of the images, the only size there is."""
    raise not_written(self, 'resolution')

  @property
  def resolutions(self) -> tuple[int, ...]:
    """The image sizes that it takes: the one."""
    return (self.resolution,)

  def check_inputs(self, name: str, image, label) -> None:
    """UserError for images of another size, or a label; `name` is the discriminator's."""
    takes_no_label(name, label)
    r = self.resolution
    if image.ndim != 4 or image.shape[1:] != (r, r, 3):
      shape = 'x'.join(map(str, image.shape[1:]))
      raise UserError(
        f'The discriminator takes images of {r}x{r}x3, not {shape}. Set the resolution to its own, '
        'or give config.discriminator.channels more or fewer entries.'
      )


class OneSize(Discriminator):
  """A discriminator of images of one size, 4 << (n − 1) for n `channels`, those at 4², 8², ..."""

  @property
  def resolution(self) -> int:
    """Pixels on a side of the images, the only size there is."""
    return 4 << (len(self.channels) - 1)

  @property
  def resolutions(self) -> tuple[int, ...]:
    """The image sizes that it takes: the one."""
    return (self.resolution,)

  def channels_for(self, resolution: int) -> tuple[int, ...] | None:
    """See `Discriminator.channels_for`: more or fewer of the largest sizes, which come last."""
    num = resolution.bit_length() - 2
    if num < 2 or resolution != 2 << num:
      return None
    return (self.channels + self.channels[-1:] * (num - len(self.channels)))[:num]
