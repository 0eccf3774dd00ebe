"""DCGAN's discriminator (Radford et al. 2016, arXiv 1511.06434) as GIRAFFE has it (Niemeyer &
Geiger, CVPR 2021, arXiv 2011.12100, supplement): 4x4 convolutions with stride 2, no normalisation,
no biases.
"""

import flax.linen as nn
import jax.numpy as jnp

from jax3dgan.discriminators.base import DiscriminatorOutput, OfOneSize
from jax3dgan.nn.conv import conv2d, torch_uniform


class DCGANDiscriminator(OfOneSize):
  """Images of one size, 2^(len(channels) + 2), to logits.

  Parameters: `conv_{i}_kernel` and `out_kernel`, [4, 4, c, f].

  Attributes:
    channels: features of each layer; each halves the size of the image, down to 4².
    matmul_dtype: precision policy of the products, see `nn.precision`; the last layer's stay in
      float32.
  """

  channels: tuple[int, ...] = (64, 128, 256, 512)
  matmul_dtype: str = 'float32'

  @property
  def resolution(self) -> int:
    """Pixels on a side of the images, the only size there is."""
    return 4 << len(self.channels)

  def channels_for(self, resolution: int) -> tuple[int, ...] | None:
    """See `Discriminator.channels_for`: as many at 4², and half as many at each larger size."""
    num = resolution.bit_length() - 3
    if num < 1 or resolution != 4 << num:
      return None
    return tuple(max(self.channels[-1] >> i, 1) for i in range(num - 1, -1, -1))

  @nn.compact
  def __call__(self, image, fade=1.0, label=None) -> DiscriminatorOutput:
    """Images [b, r, r, 3] in [−1, 1] → logits [b].

    Args:
      fade: ignored: there is only one size.
      label: not taken.

    Raises:
      UserError: images of another size, or a label.
    """
    del fade
    self.check_inputs('dcgan', image, label)
    x = 0.5 * (image + 1)

    def kernel(name, features):
      shape = (4, 4, x.shape[-1], features)
      return self.param(f'{name}_kernel', torch_uniform(16 * x.shape[-1]), shape)

    for i, features in enumerate(self.channels):
      own = kernel(f'conv_{i}', features)
      x = conv2d(x, own, stride=2, padding=1, matmul_dtype=self.matmul_dtype)
      x = nn.leaky_relu(x, 0.2)
    return DiscriminatorOutput(conv2d(x, kernel('out', 1))[:, 0, 0, 0])

  def tiny(self, resolution: int) -> dict:
    """See `Discriminator.tiny`."""
    return dict(channels=(8,) * (resolution.bit_length() - 3))

  def initialise(self):
    """Uses every parameter once, for `init`."""
    return self(jnp.zeros((1, self.resolution, self.resolution, 3))).logits
