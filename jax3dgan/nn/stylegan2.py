"""StyleGAN2's building blocks: the mapping network and the synthesis network (Karras et al.,
*Analyzing and Improving the Image Quality of StyleGAN*, CVPR 2020, arXiv 1912.04958).

Parts of the 2D generator and of every 3D one that makes planes, textures or voxels with them:
EG3D's planes come from a `SynthesisNetwork` with 96 image channels.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.nn import resample
from jax3dgan.nn.equalized import EqualizedDense, normalize_2nd_moment
from jax3dgan.nn.modulated_conv import SynthesisLayer, ToRGB


def channels_of(resolution: int, base: int = 32768, largest: int = 512) -> tuple[int, ...]:
  """The papers' widths at 4², 8², ... resolution²: base/size, at most `largest`."""
  sizes = [4 << i for i in range((resolution // 4).bit_length())]
  return tuple(min(base // size, largest) for size in sizes)


class MappingNetwork(nn.Module):
  """z, and a label where there is one, to w: `fc_0` ... dense layers with leaky ReLU (Sec. 2.1).

  Attributes:
    w_dim, num_layers: width and number of the layers.
    label_dim: length of the label, 0 for none; it enters by a layer `embed`.
    lr_multiplier: see `nn.equalized`.
  """

  w_dim: int = 512
  num_layers: int = 8
  label_dim: int = 0
  lr_multiplier: float = 0.01

  @nn.compact
  def __call__(self, z, label=None):
    """z [b, z_dim], label [b, label_dim] → w [b, w_dim]."""
    x = normalize_2nd_moment(z)
    if self.label_dim:
      if label is None or label.shape[-1] != self.label_dim:
        raise UserError(
          f'The generator is conditioned on labels. Pass label [b, {self.label_dim}].'
        )
      embedded = EqualizedDense(self.w_dim, name='embed')(label)
      x = jnp.concatenate([x, normalize_2nd_moment(embedded)], axis=-1)
    if self.num_layers < 1:
      raise UserError('The mapping network needs a layer. Set --config.model.mapping_layers=1.')
    for i in range(self.num_layers):
      x = EqualizedDense(
        self.w_dim, activation='lrelu', lr_multiplier=self.lr_multiplier, name=f'fc_{i}'
      )(x)
    return x


class SynthesisBlock(nn.Module):
  """One size of the image: `conv0` up to it (not in the first), `conv1`, `torgb` (Fig. 7, skip).

  Attributes:
    features: channels.
    image_channels: of the image.
    first: whether it starts from the learned constant `const` [4, 4, features].
    up: factor of size between it and the block before, 2 or 1.
    use_noise, clamp, matmul_dtype, border, separable: see `SynthesisLayer`.
  """

  features: int
  image_channels: int = 3
  first: bool = False
  up: int = 2
  use_noise: bool = True
  clamp: float | None = None
  matmul_dtype: str = 'float32'
  border: str = 'zeros'
  separable: bool = False

  @nn.compact
  def __call__(self, x, image, w, noise):
    """x [b, h/up, w/up, c] and the image so far → x [b, h, w, features], image [b, h, w, channels].

    Args:
      x, image: None in the first block.
      w: [b, 2 or 3, w_dim], one for each layer, to-RGB last.
      noise: one [b or 1, h, w, 1] or None for each layer but to-RGB.
    """

    def layer(name, up=1):
      return SynthesisLayer(
        self.features,
        up=up,
        use_noise=self.use_noise,
        clamp=self.clamp,
        matmul_dtype=self.matmul_dtype,
        border=self.border,
        separable=self.separable,
        name=name,
      )

    if self.first:
      const = self.param('const', nn.initializers.normal(1), (4, 4, self.features))
      x = jnp.broadcast_to(const, (w.shape[0], *const.shape))
    else:
      x = layer('conv0', up=self.up)(x, w[:, 0], noise[0])
    x = layer('conv1')(x, w[:, -2], noise[-1])
    torgb = ToRGB(self.image_channels, self.clamp, self.matmul_dtype, name='torgb')
    rgb = torgb(x, w[:, -1])
    if image is None:
      return x, rgb
    if self.up > 1:
      image = resample.upsample(image, factor=self.up, border=self.border)
    return x, image + rgb


class SynthesisNetwork(nn.Module):
  """Styles to an image: blocks `b4`, `b8`, ... whose to-RGB results add up (Sec. 4.1).

  Attributes:
    channels: features at 4², 8², ...; as many sizes as there are entries.
    image_channels: of the image.
    use_noise, clamp, matmul_dtype, separable: see `SynthesisLayer`.
  """

  channels: tuple[int, ...] = channels_of(256)
  image_channels: int = 3
  use_noise: bool = True
  clamp: float | None = None
  matmul_dtype: str = 'float32'
  separable: bool = False

  @property
  def resolution(self) -> int:
    """Pixels on a side."""
    return 4 << (len(self.channels) - 1)

  @property
  def num_ws(self) -> int:
    """How many styles: one for each convolution, and one for the last to-RGB (the others share the
    style of the next block's first convolution)."""
    return 2 * len(self.channels)

  @property
  def noise_sizes(self) -> tuple[int, ...]:
    """Pixels on a side of each layer's noise."""
    return (4, *(4 << i for i in range(1, len(self.channels)) for _ in range(2)))

  def draw_noise(self, keys) -> list[jax.Array]:
    """Noise of every layer, [b, h, w, 1] each, from per-example keys [b]."""
    sizes = [size**2 for size in self.noise_sizes]
    flat = jax.vmap(lambda key: jax.random.normal(key, (sum(sizes),)))(keys)
    parts = jnp.split(flat, [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)], axis=1)
    return [p.reshape(-1, n, n, 1) for p, n in zip(parts, self.noise_sizes, strict=True)]

  @nn.compact
  def __call__(self, w, noise: Sequence | None = None):
    """w [b, num_ws, w_dim] → image [b, r, r, image_channels].

    Args:
      noise: one [b or 1, h, w, 1] for each of `noise_sizes`; None for none.
    """
    noise = [None] * len(self.noise_sizes) if noise is None else noise
    x = image = None
    first_w, first_noise = 0, 0
    for i, features in enumerate(self.channels):
      num_convs = 1 if i == 0 else 2
      block = SynthesisBlock(
        features,
        self.image_channels,
        first=i == 0,
        use_noise=self.use_noise,
        clamp=self.clamp,
        matmul_dtype=self.matmul_dtype,
        separable=self.separable,
        name=f'b{4 << i}',
      )
      styles = w[:, first_w : first_w + num_convs + 1]
      x, image = block(x, image, styles, noise[first_noise : first_noise + num_convs])
      first_w += num_convs
      first_noise += num_convs
    return image
