"""The discriminator of StyleSDF's first stage (Or-El et al., CVPR 2022, arXiv 2112.11427,
supplement): π-GAN's pooling residual blocks with CoordConv, for images of one size, with a head for
the view.
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.discriminators.base import DiscriminatorOutput, OfOneSize
from jax3dgan.discriminators.progressive import ResidualBlock
from jax3dgan.nn.conv import Conv


class CoordConvDiscriminator(OfOneSize):
  """Images of one size, 2^len(channels), to logits.

  Parameters: `from_rgb`, `block_{size}` (conv_0, conv_1, shortcut) down to 4², and `final`.

  Attributes:
    channels: features at each size, the largest first, down to 2².
    pose_dim: length of the predicted pose: 2 for angles, 3 for a direction, 0 for no such head.
    matmul_dtype: precision policy of the blocks' products, see `nn.precision`; entry and heads stay
      in float32.
  """

  channels: tuple[int, ...] = (128, 256, 400, 400, 400, 400)
  pose_dim: int = 2
  matmul_dtype: str = 'float32'

  @property
  def resolution(self) -> int:
    """Pixels on a side of the images, the only size there is."""
    return 2 ** len(self.channels)

  def channels_for(self, resolution: int) -> tuple[int, ...] | None:
    """See `Discriminator.channels_for`: more or fewer of the largest sizes, which come first."""
    num = resolution.bit_length() - 1
    if num < 2 or resolution != 1 << num:
      return None
    more = num - len(self.channels)
    return self.channels[:1] * more + self.channels[max(0, -more) :]

  def __call__(self, image, fade=1.0, label=None) -> DiscriminatorOutput:
    """Images [b, r, r, 3] in [−1, 1] → logits [b] and the head 'pose' [b, pose_dim].

    Args:
      fade: ignored: there is only one size.
      label: not taken.

    Raises:
      UserError: images of another size, or a label.
    """
    del fade
    self.check_inputs('coordconv', image, label)
    return self._discriminate(image)

  @nn.compact
  def _discriminate(self, x):
    x = nn.leaky_relu(Conv(self.channels[0], 1, name='from_rgb')(x), 0.2)
    for i, features in enumerate(self.channels[1:]):
      name = f'block_{self.resolution >> i}'
      x = ResidualBlock(features, 'progressive', True, self.matmul_dtype, name=name)(x)
    x = Conv(1 + self.pose_dim, 2, name='final')(x)[:, 0, 0]  # [b, 1 + pose_dim]
    return DiscriminatorOutput(x[:, 0], {'pose': x[:, 1:]} if self.pose_dim else {})

  def init_params(self, key):
    """Kernels of the blocks' 3x3 convolutions: Kaiming normal for a slope of .2; their biases 0."""
    params = jax.jit(lambda key: self.init(key, method='initialise'))(key)['params']
    gain = math.sqrt(2 / (1 + 0.2**2))
    for i, block in enumerate(name for name in params if name.startswith('block_')):
      for j in range(2):
        layer = params[block][f'conv_{j}']
        shape = layer['kernel'].shape
        own = jax.random.fold_in(jax.random.fold_in(key, i), j)
        std = gain / math.sqrt(math.prod(shape[:-1]))
        layer['kernel'] = std * jax.random.normal(own, shape)
        layer['bias'] = jnp.zeros_like(layer['bias'])
    return params

  def tiny(self, resolution: int) -> dict:
    """See `Discriminator.tiny`."""
    return dict(channels=(4, *(8,) * (resolution.bit_length() - 2)))

  def initialise(self):
    """Uses every parameter once, for `init`."""
    return self(jnp.zeros((1, self.resolution, self.resolution, 3))).logits
