"""HoloGAN's discriminator (Nguyen-Phuoc et al., ICCV 2019, arXiv 1904.01326, Sec. 3.3 and App.):
strided convolutions with spectral and instance normalisation, a head that tells the latent of a
fake, and style discriminators of each layer's statistics.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.discriminators.base import DiscriminatorOutput, OfOneSize
from jax3dgan.nn import precision
from jax3dgan.nn.conv import conv2d
from jax3dgan.nn.instance_norm import moments
from jax3dgan.nn.spectral_norm import SpectralNorm

_WEIGHTS = nn.initializers.truncated_normal(0.02)
_DENSE = nn.initializers.normal(0.02)
_SLOPE = 0.2
_KERNEL_SIZE = 5


def _scales(key, shape, dtype=jnp.float32):
  return 1 + 0.02 * jax.random.normal(key, shape, dtype)


class Dense(nn.Module):
  """x·kernel + bias, of parameters `kernel` [c, features] and `bias` [features]."""

  features: int

  @nn.compact
  def __call__(self, x):
    """[b, c] → [b, features]."""
    kernel = self.param('kernel', _DENSE, (x.shape[-1], self.features))
    bias = self.param('bias', nn.initializers.zeros, (self.features,))
    return precision.einsum('bc,cf->bf', x, kernel) + bias


class Block(nn.Module):
  """A convolution that halves the size, normalised, and a leaky ReLU.

  Parameters: `kernel` [5, 5, in_features, features], `bias`; of a normalised one, `scale` and
  `offset` of the instance normalisation, and the buffer of `norm` (`SpectralNorm`).

  Attributes:
    in_features, features: channels of input and output.
    normalised: whether it has spectral and instance normalisation.
    judged: whether it has a style discriminator, parameters `style` (`Dense`).
    matmul_dtype: policy of `nn.precision`.
  """

  in_features: int
  features: int
  normalised: bool = True
  judged: bool = False
  matmul_dtype: str = 'float32'

  def setup(self):
    shape = (_KERNEL_SIZE, _KERNEL_SIZE, self.in_features, self.features)
    self.kernel = self.param('kernel', _WEIGHTS, shape)
    self.bias = self.param('bias', nn.initializers.zeros, shape[-1:])
    if self.normalised:
      self.norm = SpectralNorm(through_iteration=True)
      self.scale = self.param('scale', _scales, shape[-1:])
      self.offset = self.param('offset', nn.initializers.zeros, shape[-1:])
    if self.judged:
      self.style = Dense(1)

  def __call__(self, x):
    """[b, h, w, in_features] → ([b, h/2, w/2, features], style logits [b, 2] or None): of the means
    and of the variances."""
    x, logits = self.convolve(x), None
    if self.normalised:
      x, *statistics = self.normalise(x)
      if self.judged:
        # Judged apart, by the same weights.
        rows = jnp.concatenate(statistics, axis=1).reshape(-1, self.features)
        logits = self.style(rows).reshape(-1, 2)
    return jax.nn.leaky_relu(x, _SLOPE), logits

  def convolve(self, x):
    """The convolution alone."""
    kernel = self.norm(self.kernel) if self.normalised else self.kernel
    x = jnp.pad(x, ((0, 0), (1, 2), (1, 2), (0, 0)))  # TensorFlow's 'SAME' of an even size
    return conv2d(x, kernel, self.bias, stride=2, matmul_dtype=self.matmul_dtype)

  def normalise(self, x):
    """The instance normalisation alone: (x, mean and variance [b, 1, 1, features] before it)."""
    mean, variance = moments(x)
    normal = (x - mean) * jax.lax.rsqrt(variance + 1e-5)
    return normal * self.scale + self.offset, mean, variance

  def advance(self):
    """See `Discriminator.advance`."""
    if self.normalised:
      self.norm(self.kernel)


class HoloGANDiscriminator(OfOneSize):
  """Images of one size to logits; by default the release's for 64².

  Heads: 'latent' [b, latent_dim] in [−1, 1], with `styles` moreover 'style_1', 'style_2', ...
  [b, 2], logits of the means and of the variances of each normalised layer's channels.

  Parameters: `block_{i}` (`Block`), `logit`, `latent_hidden` and `latent` (`Dense`).

  Attributes:
    channels: features of the layers, each of half the size of the one before, down to 4².
    latent_dim: length of the latent that is told; 0 for no such head.
    latent_hidden_dim: width of the hidden layer before it.
    styles: whether there are style discriminators (the release's, of images of 128²).
    matmul_dtype: precision policy of the convolutions, see `nn.precision`.
  """

  channels: tuple[int, ...] = (64, 128, 256, 512)
  latent_dim: int = 128
  latent_hidden_dim: int = 128
  styles: bool = False
  matmul_dtype: str = 'float32'

  def setup(self):
    self.block = [
      Block(before, c, i > 0, i > 0 and self.styles, self.matmul_dtype)
      for i, (before, c) in enumerate(zip((3, *self.channels), self.channels, strict=False))
    ]
    self.logit = Dense(1)
    if self.latent_dim:
      self.latent_hidden = Dense(self.latent_hidden_dim)
      self.latent = Dense(self.latent_dim)

  @property
  def moves_buffers(self) -> bool:
    """See `Discriminator.moves_buffers`: all layers but the first have some."""
    return len(self.channels) > 1

  @property
  def resolution(self) -> int:
    """Pixels on a side of the images, the only size there is."""
    return 4 << len(self.channels)

  def channels_for(self, resolution: int) -> tuple[int, ...] | None:
    """See `Discriminator.channels_for`: more or fewer of the smallest sizes, which come last."""
    num = resolution.bit_length() - 3
    if num < 1 or resolution != 4 << num:
      return None
    return (self.channels + self.channels[-1:] * (num - len(self.channels)))[:num]

  def unused_fields(self) -> dict[str, str]:
    """See `Discriminator.unused_fields`."""
    if self.latent_dim:
      return {}
    return {'latent_hidden_dim': 'without latent_dim no latent is told'}

  def __call__(self, image, fade=1.0, label=None) -> DiscriminatorOutput:
    """Images [b, r, r, 3] in [−1, 1] → logits [b] and heads.

    Args:
      fade: ignored: there is one size.

    Raises:
      UserError: images of another size, or a label.
    """
    del fade
    self.check_inputs('hologan', image, label)
    x, heads = image, {}
    for i, block in enumerate(self.block):
      x, logits = block(x)
      if logits is not None:
        heads[f'style_{i}'] = logits
    flat = x.reshape(x.shape[0], -1)
    if self.latent_dim:
      hidden = jax.nn.leaky_relu(self.latent_hidden(flat), _SLOPE)
      heads['latent'] = jnp.tanh(self.latent(hidden))
    return DiscriminatorOutput(self.logit(flat)[:, 0], heads)

  def advance(self):
    """See `Discriminator.advance`: one step of each power iteration."""
    for block in self.block:
      block.advance()

  def initialise(self):
    """Uses every parameter and buffer once, for `init`."""
    size = self.resolutions[0]
    return self(jnp.zeros((1, size, size, 3))).logits

  def tiny(self, resolution: int) -> dict:
    """See `Discriminator.tiny`."""
    fields = dict(channels=(8,) * (resolution.bit_length() - 3))  # from the largest down to 4²
    return fields | (dict(latent_dim=8, latent_hidden_dim=8) if self.latent_dim else {})
