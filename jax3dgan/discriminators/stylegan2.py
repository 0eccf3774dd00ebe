"""StyleGAN2's residual discriminator (Karras et al. 2020, arXiv 1912.04958, Sec. 4.1, Fig. 7), and
conditioning by projection (Miyato & Koyama 2018, arXiv 1802.05637) on a mapped label
(Karras et al. 2020, arXiv 2006.06676, Sec. 3.1).
"""

import math

import flax.linen as nn
import jax.numpy as jnp

from jax3dgan.discriminators.base import DiscriminatorOutput, OneSize
from jax3dgan.errors import UserError
from jax3dgan.nn.equalized import EqualizedConv, EqualizedDense, normalize_2nd_moment
from jax3dgan.nn.minibatch_stddev import minibatch_stddev
from jax3dgan.nn.separable_conv import EqualizedSeparableConv
from jax3dgan.nn.stylegan2 import channels_of


class ResidualBlock(nn.Module):
  """Two 3x3 convolutions `conv0`, `conv1` beside a 1x1 `skip` without a bias; halves the size.

  Attributes:
    hidden, features: channels of `conv0` and of the result.
    from_image: whether the input is an image, which `fromrgb` turns to `hidden` channels first.
    clamp: bound of the activations, None for none.
    matmul_dtype: policy of `nn.precision`.
    separable: whether the 3x3 convolutions are separable, see `nn.separable_conv`.
  """

  hidden: int
  features: int
  from_image: bool = False
  clamp: float | None = None
  matmul_dtype: str = 'float32'
  separable: bool = False

  @nn.compact
  def __call__(self, x):
    """[b, h, w, c] → [b, h/2, w/2, features]."""

    def conv(name, features, kernel_size, **options):
      separable = self.separable and kernel_size > 1
      kind = EqualizedSeparableConv if separable else EqualizedConv
      return kind(features, kernel_size, matmul_dtype=self.matmul_dtype, name=name, **options)

    lrelu = dict(activation='lrelu', clamp=self.clamp)
    if self.from_image:
      x = conv('fromrgb', self.hidden, 1, **lrelu)(x)
    shortcut = conv('skip', self.features, 1, down=2, use_bias=False)(x, gain=math.sqrt(0.5))
    x = conv('conv0', self.hidden, 3, **lrelu)(x)
    x = conv('conv1', self.features, 3, down=2, **lrelu)(x, gain=math.sqrt(0.5))
    return shortcut + x


class LabelMapping(nn.Module):
  """A label alone to w: `embed`, normalised, then dense layers `fc_0` ... with leaky ReLU.

  Attributes:
    w_dim, num_layers, lr_multiplier: as in `nn.stylegan2.MappingNetwork`.
  """

  w_dim: int
  num_layers: int = 8
  lr_multiplier: float = 0.01

  @nn.compact
  def __call__(self, label):
    """[b, label_dim] → [b, w_dim]."""
    x = normalize_2nd_moment(EqualizedDense(self.w_dim, name='embed')(label))
    for i in range(self.num_layers):
      x = EqualizedDense(
        self.w_dim, activation='lrelu', lr_multiplier=self.lr_multiplier, name=f'fc_{i}'
      )(x)
    return x


class Epilogue(nn.Module):
  """Features of 4² to a verdict: the standard deviation of the minibatch, `conv`, `fc`, `out`, and
  `pose` where there is that head.

  Attributes:
    features: channels.
    cmap_dim: length of the mapped label that `out` is projected on; 0 for none.
    pose_dim: length of the guess of the pose, 0 for none.
    group_size: see `nn.minibatch_stddev`; 0 leaves it out.
    clamp, matmul_dtype, separable: see `ResidualBlock`.
  """

  features: int
  cmap_dim: int = 0
  pose_dim: int = 0
  group_size: int = 4
  clamp: float | None = None
  matmul_dtype: str = 'float32'
  separable: bool = False

  @nn.compact
  def __call__(self, x, cmap=None):
    """x [b, 4, 4, c], cmap [b, cmap_dim] → logits [b], pose [b, pose_dim] or None."""
    if self.group_size:
      x = minibatch_stddev(x, self.group_size)
    kind = EqualizedSeparableConv if self.separable else EqualizedConv
    x = kind(
      self.features, 3, 'lrelu', clamp=self.clamp, matmul_dtype=self.matmul_dtype, name='conv'
    )(x)
    x = EqualizedDense(self.features, 'lrelu', name='fc')(x.reshape(x.shape[0], -1))
    out = EqualizedDense(self.cmap_dim or 1, name='out')(x)
    pose = EqualizedDense(self.pose_dim, name='pose')(x) if self.pose_dim else None
    if not self.cmap_dim:
      return out[:, 0], pose
    return (out * cmap).sum(-1) * (1 / math.sqrt(self.cmap_dim)), pose


class StyleGAN2Discriminator(OneSize):
  """Images of one size, and labels where it is conditioned on them, to logits.

  Parameters: `b{size}` (`ResidualBlock`) from the images' size down to 8², `b4` (`Epilogue`),
  `mapping` (`LabelMapping`).

  Attributes:
    channels: features at 4², 8², ...; the last entry's size is the images'.
    image_channels: of an image.
    label_dim: length of the label, 0 for none.
    cmap_dim: length of the mapped label; 0 for as many as there are features at 4².
    mapping_layers: of the label's mapping network.
    pose_dim: length of the predicted pose: 2 for pitch and yaw, 3 for a direction, 0 for no such
      head.
    group_size: images whose spread is a feature, see `nn.minibatch_stddev`; 0 for none.
    clamp: bound of the activations, None for none; official code bounds them by 256, so that
      float16 holds them.
    matmul_dtype: precision policy of the convolutions, see `nn.precision`.
    separable: whether 3x3 convolutions are separable, see `nn.separable_conv`.
  """

  channels: tuple[int, ...] = channels_of(256)
  image_channels: int = 3
  label_dim: int = 0
  cmap_dim: int = 0
  mapping_layers: int = 8
  pose_dim: int = 0
  group_size: int = 4
  clamp: float | None = None
  matmul_dtype: str = 'float32'
  separable: bool = False

  def __call__(self, image, fade=1.0, label=None) -> DiscriminatorOutput:
    """Images [b, r, r, image_channels] in [−1, 1] → logits [b] and heads.

    Args:
      fade: ignored: there is only one size.
      label: [b, label_dim].

    Raises:
      UserError: images of another size, no label, or a batch without whole groups.
    """
    del fade
    self._check(image, self.image_channels)
    return self._discriminate(image, label)

  @nn.compact
  def _discriminate(self, x, label):
    if len(self.channels) < 2:
      raise UserError(
        'The discriminator needs two sizes at least. Give config.discriminator.channels another '
        'entry.'
      )
    shared = dict(clamp=self.clamp, matmul_dtype=self.matmul_dtype, separable=self.separable)
    cmap_dim = (self.cmap_dim or self.channels[0]) if self.label_dim else 0
    cmap = None
    if self.label_dim:
      if label is None or label.shape != (x.shape[0], self.label_dim):
        raise UserError(
          'The discriminator is conditioned on labels. Pass label '
          f'[{x.shape[0]}, {self.label_dim}], or train it with config.discriminator.label_dim=0.'
        )
      cmap = LabelMapping(cmap_dim, self.mapping_layers, name='mapping')(label)
    for i in reversed(range(1, len(self.channels))):
      x = ResidualBlock(
        self.channels[i],
        self.channels[i - 1],
        from_image=i == len(self.channels) - 1,
        name=f'b{4 << i}',
        **shared,
      )(x)
    epilogue = Epilogue(
      self.channels[0], cmap_dim, self.pose_dim, self.group_size, name='b4', **shared
    )
    logits, pose = epilogue(x, cmap)
    return DiscriminatorOutput(logits, {} if pose is None else {'pose': pose})

  def _check(self, image, image_channels):
    r = self.resolution
    if image.ndim != 4 or image.shape[1:] != (r, r, image_channels):
      shape = 'x'.join(str(n) for n in image.shape[1:])
      raise UserError(
        f'The discriminator takes images of {r}x{r}x{image_channels}, not {shape}. Set '
        'the resolution to its own, or give config.discriminator.channels more or fewer entries.'
      )

  def tiny(self, resolution: int) -> dict:
    """See `Discriminator.tiny`."""
    fields = dict(channels=(8,) * (resolution.bit_length() - 2), mapping_layers=1)  # at 4², 8², ...
    return fields | (dict(cmap_dim=8) if self.cmap_dim else {})

  def initialise(self):
    """Uses every parameter once, for `init`."""
    r = self.resolution
    label = jnp.zeros((1, self.label_dim)) if self.label_dim else None
    return self(jnp.zeros((1, r, r, self.image_channels)), label=label).logits
