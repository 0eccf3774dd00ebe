"""From a rendered feature image to the final image: EG3D's super-resolution (Sec. 4.3).

Two StyleGAN2 synthesis blocks without noise, modulated by the last style. The skip
connection starts from the first three features, which are the low-resolution image.
"""

import flax.linen as nn
import jax.numpy as jnp

from jax3dgan.nn import resample
from jax3dgan.nn.stylegan2 import SynthesisBlock


class SuperResolution(nn.Module):
  """Blocks `block0`, `block1`, ... on a feature image.

  Attributes:
    channels: features of each block. EG3D: (256, 128) to 512², (128, 64) to 256² and 128².
    ups: factor of size of each. EG3D: (2, 2) to 512², (1, 2) to 256² and 128².
    input_resolution: pixels on a side that the first block starts from; other feature images are
      resized to it.
    clamp, matmul_dtype: see `SynthesisLayer`.
    antialias: whether feature images that shrink are filtered.
    border: of `resample.BORDERS`, what filters and kernels see beyond the image.
    separable: whether 3x3 convolutions are separable, see `nn.separable_conv`.
  """

  channels: tuple[int, ...] = (256, 128)
  ups: tuple[int, ...] = (2, 2)
  input_resolution: int = 128
  clamp: float | None = 256.0
  matmul_dtype: str = 'float32'
  antialias: bool = True
  border: str = 'zeros'
  separable: bool = False

  @nn.compact
  def __call__(self, features, w):
    """features [b, h, h, c] in ±1, w [b, w_dim] → (image [b, r, r, 3], each block's image)."""
    x, image = features, features[..., :3]
    if x.shape[1] != self.input_resolution:
      x = resample.resize_bilinear(x, self.input_resolution, self.antialias)
      image = x[..., :3]
    styles = jnp.broadcast_to(w[:, None], (w.shape[0], 3, w.shape[-1]))
    images = []
    for i, (channels, up) in enumerate(zip(self.channels, self.ups, strict=True)):
      block = SynthesisBlock(
        channels,
        up=up,
        clamp=self.clamp,
        matmul_dtype=self.matmul_dtype,
        border=self.border,
        separable=self.separable,
        name=f'block{i}',
      )
      x, image = block(x, image, styles, (None, None))
      images.append(image)
    return image, images
