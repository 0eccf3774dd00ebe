"""GRAF's patch discriminator (Schwarz et al., NeurIPS 2020, arXiv 2007.02442, Sec. 3.3): strided
convolutions with spectral and instance normalisation."""

import jax
import jax.numpy as jnp

from jax3dgan.discriminators.base import DiscriminatorOutput, OfOneSize
from jax3dgan.nn.instance_norm import instance_norm
from jax3dgan.nn.spectral_norm import SpectralConv


class PatchDiscriminator(OfOneSize):
  """Images of one size to logits; it is told neither the scale of a patch nor its place.

  Parameters: `conv_{i}` (`nn.spectral_norm.SpectralConv`, without biases), of which all but the
  last are 4x4, halve the size and have a leaky ReLU; the last one takes the 4² that are left to the
  logit. Buffers: the vectors of the spectral normalisation.

  Attributes:
    channels: of the convolutions but the last one; the images are of 4·2ⁿ.
    norm_first: whether instance normalisation follows the first convolution too, as it does the
      others (the release: at 32²; at 64² and 128² it does not).
    matmul_dtype: precision policy of the convolutions, see `nn.precision`.
  """

  channels: tuple[int, ...] = (128, 256, 512)
  norm_first: bool = True
  matmul_dtype: str = 'float32'

  moves_buffers = True  # not a field

  def setup(self):
    sizes = (3, *self.channels)
    pairs = zip(sizes, self.channels, strict=False)
    shared = dict(kernel_size=4, matmul_dtype=self.matmul_dtype)
    convs = [
      SpectralConv(*pair, stride=2, padding=1, name=f'conv_{i}', **shared)
      for i, pair in enumerate(pairs)
    ]
    self.convs = [*convs, SpectralConv(sizes[-1], 1, name=f'conv_{len(convs)}', **shared)]

  @property
  def resolution(self) -> int:
    """Pixels on a side of the images, the only size there is."""
    return 4 << len(self.channels)

  def channels_for(self, resolution: int) -> tuple[int, ...] | None:
    """See `Discriminator.channels_for`: more or fewer of the first convolutions."""
    num = resolution.bit_length() - 3
    if num < 1 or resolution != 4 << num:
      return None
    return (self.channels[:1] * (num - len(self.channels)) + self.channels)[-num:]

  def __call__(self, image, fade=1.0, label=None) -> DiscriminatorOutput:
    """Images [b, r, r, 3] in [−1, 1] → logits [b].

    Raises:
      UserError: images of another size, or a label.
    """
    del fade
    self.check_inputs('patch', image, label)
    x = image
    for i, conv in enumerate(self.convs[:-1]):
      x = conv(x)
      if i or self.norm_first:
        x = instance_norm(x)
      x = jax.nn.leaky_relu(x, 0.2)
    return DiscriminatorOutput(self.convs[-1](x).reshape(-1))

  def advance(self) -> None:
    """See `Discriminator.advance`."""
    for conv in self.convs:
      conv.advance()

  def tiny(self, resolution: int) -> dict:
    """See `Discriminator.tiny`."""
    return dict(channels=tuple(4 << i for i in range(resolution.bit_length() - 3)))

  def initialise(self):
    """Uses every parameter and buffer once, for `init`."""
    r = self.resolution
    return self(jnp.zeros((1, r, r, 3))).logits
