"""EG3D's dual discriminator (Chan et al. 2022, arXiv 2112.07945, Sec. 4.3): its input is the
super-resolved image beside the one that the renderer made, so that the two agree.
"""

import jax.numpy as jnp

from jax3dgan.discriminators.base import DiscriminatorOutput
from jax3dgan.discriminators.stylegan2 import StyleGAN2Discriminator
from jax3dgan.nn.resample import resize_bilinear


def stack(image, raw):
  """image [b, r, r, c] and raw [b, n, n, c], brought to the same size → [b, r, r, 2c]."""
  return jnp.concatenate([image, resize_bilinear(raw, image.shape[1]).astype(image.dtype)], -1)


class DualDiscriminator(StyleGAN2Discriminator):
  """A `StyleGAN2Discriminator` of pairs of images; `image_channels` is of either.

  For reals, the raw image is the real one made smaller (`resize_bilinear`).
  """

  # Not a field: its input is always a pair.
  takes_pairs = True

  def __call__(self, image, fade=1.0, label=None) -> DiscriminatorOutput:
    """Pairs (image [b, r, r, c], raw [b, n, n, c]) in [−1, 1] → logits and heads; any n.

    For `fade`, `label` and errors see `StyleGAN2Discriminator`.
    """
    del fade
    image, raw = image
    self._check(image, self.image_channels)
    return self._discriminate(stack(image, raw), label)

  def initialise(self):
    """Uses every parameter once, for `init`."""
    r = self.resolution
    label = jnp.zeros((1, self.label_dim)) if self.label_dim else None
    image = jnp.zeros((1, r, r, self.image_channels))
    return self((image, image[:, :4, :4]), label=label).logits
