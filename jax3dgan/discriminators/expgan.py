"""Exp-GAN's discriminators (Lee et al., ACCV 2022): one of the picture and one of the auxiliary
image, StyleGAN2's both, which also guess the pose and the codes of the face model.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.discriminators.base import DiscriminatorOutput, OneSize, takes_no_label
from jax3dgan.discriminators.stylegan2 import Epilogue, ResidualBlock
from jax3dgan.errors import UserError
from jax3dgan.nn.equalized import EqualizedConv
from jax3dgan.nn.stylegan2 import channels_of

HEADS = ('pose', 'expression', 'identity')
LOW = 'low_'  # before the names of what the smaller one says


class Network(nn.Module):
  """One of the two: `from_rgb_{size}` of the images and of half their size, `b{size}`
  (`ResidualBlock`) down to 8², `b4` (`Epilogue`).

  Attributes:
    channels: features at 4², 8², ...; the last entry's size is the images'.
    guesses: numbers beside the logit.
    group_size, clamp, matmul_dtype: see `stylegan2.Epilogue`.
  """

  channels: tuple[int, ...]
  guesses: int = 0
  group_size: int = 4
  clamp: float | None = None
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, image, fade=1.0):
    """image [b, r, r, 3] → logits [b], guesses [b, guesses] or None.

    Args:
      fade: share of the largest block, beside an image of half the size.
    """
    shared = dict(clamp=self.clamp, matmul_dtype=self.matmul_dtype)
    last = len(self.channels) - 1

    def from_rgb(i, image):
      name = f'from_rgb_{4 << i}'
      return EqualizedConv(self.channels[i], 1, 'lrelu', name=name, **shared)(image)

    x = from_rgb(last, image)
    for i in range(last, 0, -1):
      x = ResidualBlock(self.channels[i], self.channels[i - 1], name=f'b{4 << i}', **shared)(x)
      if i == last and not (isinstance(fade, int | float) and fade >= 1):
        x = fade * x + (1 - fade) * from_rgb(i - 1, image[:, ::2, ::2])
    epilogue = Epilogue(
      self.channels[0], pose_dim=self.guesses, group_size=self.group_size, name='b4', **shared
    )
    return epilogue(x)


class ExpGANDiscriminator(OneSize):
  """Pairs of a picture and its auxiliary image to logits and guesses of each of them.

  Parameters: `full`, `low` (`Network`).

  Attributes:
    channels: features at 4², 8², ...; the last entry's size is the pictures'.
    low_resolution: pixels on a side of the auxiliary images, 8 or more.
    image_channels: of an image.
    pose_dim: length of the guessed pose: 2 for pitch and yaw, 3 for a direction, 0 for none.
    expression_dim, identity_dim: lengths of the guessed codes, 0 for none.
    group_size: images whose spread is a feature, see `nn.minibatch_stddev`; 0 for none.
    clamp: bound of the activations, None for none.
    matmul_dtype: precision policy of the convolutions, see `nn.precision`.
  """

  channels: tuple[int, ...] = channels_of(256)
  low_resolution: int = 64
  image_channels: int = 3
  pose_dim: int = 2
  expression_dim: int = 53
  identity_dim: int = 100
  group_size: int = 4
  clamp: float | None = None
  matmul_dtype: str = 'float32'

  # Not fields.
  takes_pairs = True
  own_recipe = 'expgan'

  def setup(self):
    sizes = [4 << i for i in range(len(self.channels))]
    if self.low_resolution not in sizes[1:]:
      raise UserError(
        f'config.discriminator.low_resolution is {self.low_resolution}, and config.discriminator.'
        f'channels are for {", ".join(map(str, sizes))}. Set one of these from 8 on.'
      )
    shared = dict(
      guesses=self.pose_dim + self.expression_dim + self.identity_dim,
      group_size=self.group_size,
      clamp=self.clamp,
      matmul_dtype=self.matmul_dtype,
    )
    self.full = Network(tuple(self.channels), **shared)
    self.low = Network(tuple(self.channels[: sizes.index(self.low_resolution) + 1]), **shared)

  def __call__(self, image, fade=1.0, label=None) -> DiscriminatorOutput:
    """Pairs (pictures [b, r, r, 3], auxiliary images [b, v, v, 3]) in [−1, 1] → logits and heads.

    Args:
      fade: share of the largest block of each, beside an image of half the size; may be traced.

    Returns:
      Logits [b] of the pictures; heads 'pose', 'expression', 'identity' where they have a length,
      and the same of the auxiliary images with 'low_' before their names, as 'low_logits' [b].
    """
    takes_no_label('expgan', label)
    heads, logits = {}, []
    for network, x, size, prefix in (
      (self.full, image[0], self.resolution, ''),
      (self.low, image[1], self.low_resolution, LOW),
    ):
      if x.shape[1:] != (size, size, self.image_channels):
        shape = 'x'.join(map(str, x.shape[1:]))
        raise UserError(
          f'The discriminator takes images of {size}x{size}x{self.image_channels} here, not '
          f'{shape}. Set config.discriminator.channels and low_resolution to the sizes of pictures '
          'and rays.'
        )
      logit, guesses = network(x, fade)
      logits.append(logit)
      first = 0
      for name in HEADS:
        if length := getattr(self, f'{name}_dim'):
          heads[prefix + name] = guesses[:, first : first + length]
          first += length
    return DiscriminatorOutput(logits[0], heads | {LOW + 'logits': logits[1]})

  def initialise(self):
    """Uses every parameter once, for `init`."""
    sizes = self.resolution, self.low_resolution
    pair = tuple(jnp.zeros((1, r, r, self.image_channels)) for r in sizes)
    return jax.tree.map(jnp.sum, self(pair, 0.5))

  def tiny(self, resolution: int) -> dict:
    """See `Discriminator.tiny`."""
    return dict(channels=(8,) * (resolution.bit_length() - 2), low_resolution=resolution // 2)
