"""StyleNeRF's discriminator (Gu et al., ICLR 2022, arXiv 2110.08985, Sec. 3.3 and App. B):
StyleGAN2's skip architecture (Karras et al. 2020, arXiv 1912.04958, Fig. 7), in which every size of
the image enters by a from-RGB layer of its own, grown progressively (Karras et al. 2018,
arXiv 1710.10196).
"""

import flax.linen as nn
import jax.numpy as jnp

from jax3dgan.discriminators.base import Discriminator, DiscriminatorOutput, takes_no_label
from jax3dgan.discriminators.stylegan2 import Epilogue, LabelMapping
from jax3dgan.errors import UserError
from jax3dgan.nn import resample
from jax3dgan.nn.equalized import EqualizedConv, EqualizedDense
from jax3dgan.nn.stylegan2 import channels_of

COMPAT = ('none', 'twice', 'release')


def half(image):
  """[b, h, w, c] → [b, h/2, w/2, c], filtered with [1, 3, 3, 1]."""
  return resample.upfirdn(image, resample.fir_filter(), down=2, padding=(1, 1))


def _average_pool(image):
  """[b, h, w, c] → [b, h/2, w/2, c], means over 2x2 pixels: bilinear at half the size."""
  b, h, w, c = image.shape
  return image.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


class Block(nn.Module):
  """Two 3x3 convolutions `conv0`, `conv1`; halves the size.

  Attributes:
    hidden, features: channels of `conv0` and of the result.
    clamp: bound of the activations, None for none.
    matmul_dtype: policy of `nn.precision`.
  """

  hidden: int
  features: int
  clamp: float | None = None
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x):
    """[b, h, w, c] → [b, h/2, w/2, features]."""
    shared = dict(clamp=self.clamp, matmul_dtype=self.matmul_dtype)
    x = EqualizedConv(self.hidden, 3, 'lrelu', name='conv0', **shared)(x)
    return EqualizedConv(self.features, 3, 'lrelu', down=2, name='conv1', **shared)(x)


class StyleNeRFDiscriminator(Discriminator):
  """Images of a few sizes to logits; a new size is faded in.

  Where a size is new, the block that is new with it counts by the share of the fade, and so does
  the image beside its means over 2x2 pixels: at a share of 0 it is the discriminator of half the
  size, on the image of half the size.

  Parameters: `from_rgb_{size}` and `b{size}` (`Block`) from the largest size down to 8²,
  `from_rgb_4`, `b4` (`stylegan2.Epilogue`); with `pose_dim`, `pose` (`EqualizedDense`) and
  `mapping` (`stylegan2.LabelMapping`).

  Attributes:
    channels: features at 4², 8², ...; the last entry's size is that of the largest images.
    lowest: pixels on a side of the smallest images, 8 or more.
    image_channels: of an image.
    pose_dim: length of a pose that is predicted of the features at 4²: 2 for pitch and yaw, 3 for
      a direction, 0 for none. The logit is then a projection (Miyato & Koyama 2018, arXiv
      1802.05637) on the prediction, mapped.
    mapping_layers: of the prediction's mapping network.
    group_size: images whose spread is a feature, see `nn.minibatch_stddev`; 0 for none.
    clamp: bound of the activations, None for none; official code bounds them by 256, so that
      float16 holds them.
    compat: 'none'; or what the release does with images below the largest size. 'twice': their
      from-RGB is added to itself before the first block, which the fade takes into account;
      'release': moreover nothing is faded in. The largest images are treated alike by all.
    matmul_dtype: precision policy of the convolutions, see `nn.precision`.
  """

  channels: tuple[int, ...] = channels_of(256)
  lowest: int = 32
  image_channels: int = 3
  pose_dim: int = 0
  mapping_layers: int = 8
  group_size: int = 4
  clamp: float | None = 256.0
  compat: str = 'none'
  matmul_dtype: str = 'float32'

  # Not a field: every size has its own entry, and a new one is faded in.
  fades = True
  choices = {'compat': COMPAT}

  @property
  def largest(self) -> int:
    """Pixels on a side of the largest images."""
    return 4 << (len(self.channels) - 1)

  @property
  def resolutions(self) -> tuple[int, ...]:
    """See `Discriminator.resolutions`."""
    sizes = (4 << i for i in range(len(self.channels)))
    return tuple(size for size in sizes if size >= max(self.lowest, 8))

  def channels_for(self, resolution: int) -> tuple[int, ...] | None:
    """See `Discriminator.channels_for`: more or fewer of the largest sizes, which come last."""
    num = resolution.bit_length() - 2
    if num < 2 or resolution != 2 << num or resolution < self.lowest:
      return None
    return (self.channels + self.channels[-1:] * (num - len(self.channels)))[:num]

  def unused_fields(self) -> dict[str, str]:
    """See `Discriminator.unused_fields`."""
    unused = {}
    if not self.pose_dim:
      unused['mapping_layers'] = 'without pose_dim no prediction is mapped'
    if len(self.resolutions) < 2:
      unused['compat'] = 'images have the largest size alone'
    return unused

  def __call__(self, image, fade=1.0, label=None) -> DiscriminatorOutput:
    """Images [b, r, r, image_channels] in [−1, 1], r of `resolutions` → logits [b] and heads.

    Args:
      fade: share of the size of these images, in [0, 1], may be traced; the smallest ones have
        nothing to fade in from and ignore it.

    Raises:
      UserError: images of another size, a label, or a batch without whole groups.
    """
    takes_no_label('stylenerf', label)
    if self.compat not in COMPAT:
      raise UserError(
        f"config.discriminator.compat is '{self.compat}'. Choose one of {', '.join(COMPAT)}."
      )
    self._check(image)
    return self._discriminate(image, fade)

  @nn.compact
  def _discriminate(self, image, fade):
    policy = dict(matmul_dtype=self.matmul_dtype)
    shared = dict(clamp=self.clamp, **policy)
    first = (image.shape[1] // 4).bit_length() - 1  # the index of these images' size
    from_rgb = [
      # What comes before the epilogue is not bounded, in official code either.
      EqualizedConv(
        c, 1, 'lrelu', clamp=self.clamp if i else None, name=f'from_rgb_{4 << i}', **policy
      )
      for i, c in enumerate(self.channels[: first + 1])
    ]
    twice = self.compat != 'none' and image.shape[1] < self.largest
    is_new = image.shape[1] > self.resolutions[0] and not _is_one(fade)
    x = from_rgb[first](image)
    x = x + x if twice else x
    for i in range(first, 0, -1):
      x = Block(self.channels[i], self.channels[i - 1], name=f'b{4 << i}', **shared)(x)
      small = half(image)
      if i == first and is_new and self.compat != 'release':
        pooled = _average_pool(image)
        x = fade * x
        if self.compat == 'twice':
          x = x + (1 - fade) * from_rgb[i - 1](pooled)
        small = fade * small + (1 - fade) * pooled
      image = small
      if i > 1:
        x = x + from_rgb[i - 1](image)
    pose = cmap = None
    if self.pose_dim:
      flat = x.reshape(x.shape[0], -1)
      pose = EqualizedDense(self.pose_dim, use_bias=False, name='pose')(flat)
      cmap = LabelMapping(self.channels[0], self.mapping_layers, name='mapping')(pose)
    cmap_dim = self.channels[0] if self.pose_dim else 0
    x = x + from_rgb[0](image)
    epilogue = Epilogue(self.channels[0], cmap_dim, 0, self.group_size, name='b4', **shared)
    logits, _ = epilogue(x, cmap)
    return DiscriminatorOutput(logits, {} if pose is None else {'pose': pose})

  def _check(self, image):
    height, width, num_channels = image.shape[1:]
    if height != width or height not in self.resolutions or num_channels != self.image_channels:
      sizes = ', '.join(str(r) for r in self.resolutions)
      raise UserError(
        f'The discriminator cannot take images of {height}x{width}x{num_channels}. Use square ones '
        f'of {self.image_channels} channels and one of its sizes ({sizes}), or give '
        'config.discriminator.channels more or fewer entries.'
      )

  def tiny(self, resolution: int) -> dict:
    """See `Discriminator.tiny`."""
    fields = dict(channels=(8,) * (resolution.bit_length() - 2), lowest=8)  # at 4², 8², ...
    return fields | (dict(mapping_layers=1) if self.pose_dim else {})

  def initialise(self):
    """Uses every parameter once, for `init`."""
    r = self.largest
    return self(jnp.zeros((1, r, r, self.image_channels))).logits


def _is_one(fade) -> bool:
  return isinstance(fade, int | float) and fade >= 1
