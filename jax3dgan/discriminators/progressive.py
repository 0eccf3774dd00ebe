"""The discriminators of pi-GAN (Chan et al. 2021, arXiv 2012.00926, section 3.4 and supplement).

A residual network that takes images of any power-of-two size up to its largest: each size has its
own from-RGB entry, and a size that has just been added is faded in. Three kinds of residual block:

| block | halves the size by | coordinates | channels for 512² (or 256²) ... 2² |
|---|---|---|---|
| progressive | average pooling | CoordConv | 16, 32, 64, 128, 256, 400, 400, 400, 400 |
| ccs | stride 2 | CoordConv | 32, 64, 128, 256, 400, 400, 400, 400 |
| strided | stride 2 | none | 32, 64, 128, 256, 400, 400, 400, 400 |
"""

import functools
import math

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.discriminators.base import Discriminator, DiscriminatorOutput, takes_no_label
from jax3dgan.errors import UserError
from jax3dgan.nn.conv import Conv

BLOCKS = ('progressive', 'ccs', 'strided')


def _leaky_relu(x):
  return nn.leaky_relu(x, 0.2)


def _average_pool(x):
  """Means over 2x2 squares, [b, h, w, c] → [b, h/2, w/2, c]."""
  b, h, w, c = x.shape
  return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


class ResidualBlock(nn.Module):
  """Two 3x3 convolutions beside a 1x1 shortcut, [b, h, w, c] → [b, h/2, w/2, features]."""

  features: int
  block: str
  coords: bool
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x):
    pool = self.block == 'progressive'
    conv = functools.partial(
      Conv,
      self.features,
      kernel_size=3,
      padding=1,
      coords=self.coords,
      matmul_dtype=self.matmul_dtype,
    )
    stride = 1 if pool else 2
    y = _leaky_relu(conv(name='conv_0')(x))
    y = _leaky_relu(conv(stride=stride, name='conv_1')(y))
    if pool:
      y, x = _average_pool(y), _average_pool(x)
    if not pool or x.shape[-1] != self.features:
      x = Conv(self.features, 1, stride=stride, matmul_dtype=self.matmul_dtype, name='shortcut')(x)
    return (y + x) * math.sqrt(0.5)


class ProgressiveDiscriminator(Discriminator):
  """One network for every image size from 2² to `max_resolution`² = 2^len(channels).

  Fields:
    channels: features at each size, the largest first, down to 2².
    block: 'progressive', 'ccs' or 'strided': see the module's table.
    coord_conv: CoordConv or not; None takes what the table says of the block.
    latent_dim: length of the predicted z, 0 for no such head.
    pose_dim: length of the predicted pose: 2 for pitch and yaw, 3 for a direction, 0 for no such
      head.
    matmul_dtype: precision policy of the blocks' products, see `nn.precision`; entries and heads
      stay in float32.
  Parameters: from_rgb_{size}, block_{size} (conv_0, conv_1, shortcut) and final.
  """

  channels: tuple[int, ...] = (32, 64, 128, 256, 400, 400, 400, 400)
  block: str = 'ccs'
  coord_conv: bool | None = None
  latent_dim: int = 256
  pose_dim: int = 2
  matmul_dtype: str = 'float32'

  # Not a field: every size has its own entry, and a new one is faded in.
  fades = True
  choices = {'block': BLOCKS}

  @property
  def max_resolution(self) -> int:
    return 2 ** len(self.channels)

  @property
  def resolutions(self) -> tuple[int, ...]:
    """The image sizes that it takes, ascending."""
    return tuple(2**i for i in range(1, len(self.channels) + 1))

  def channels_for(self, resolution: int) -> tuple[int, ...] | None:
    """See `Discriminator.channels_for`: more or fewer of the largest sizes, which come first."""
    num = resolution.bit_length() - 1
    if num < 1 or resolution != 1 << num:
      return None
    more = num - len(self.channels)
    return self.channels[:1] * more + self.channels[max(0, -more) :]

  def setup(self):
    coords = self.block != 'strided' if self.coord_conv is None else self.coord_conv
    widths = dict(zip(self.resolutions, reversed(self.channels), strict=True))
    self.from_rgb = {str(r): Conv(n, 1, name=f'from_rgb_{r}') for r, n in widths.items()}
    self.blocks = {
      str(r): ResidualBlock(
        widths[r // 2], self.block, coords, self.matmul_dtype, name=f'block_{r}'
      )
      for r in self.resolutions[1:]
    }
    self.final = Conv(1 + self.latent_dim + self.pose_dim, 2)

  def __call__(self, image, fade=1.0, label=None) -> DiscriminatorOutput:
    """Images [b, r, r, 3] in [-1, 1] → logits [b] and heads.

    The entry follows from r, which is static. `fade` in [0, 1] (may be traced) is the share of the
    full size; the rest enters behind the first block, from every other pixel. Images of 4² have
    only one block and ignore it. Raises UserError for a size that the network does not have, and
    for a label: it is not conditioned on any.
    """
    takes_no_label('progressive', label)
    resolution = self._check(image)
    x = self._enter(image, resolution)
    size = resolution
    while size > 2:
      x = self.blocks[str(size)](x)
      size //= 2
      faded_in = isinstance(fade, int | float) and fade >= 1
      if size == resolution // 2 and resolution > 4 and not faded_in:
        x = fade * x + (1 - fade) * self._enter(image[:, ::2, ::2], size)
    x = self.final(x)[:, 0, 0]  # [b, 1 + latent_dim + pose_dim]
    end = 1 + self.latent_dim
    heads = {}
    if self.pose_dim:
      heads['pose'] = x[:, end:]
    if self.latent_dim:
      heads['latent'] = x[:, 1:end]
    return DiscriminatorOutput(x[:, 0], heads)

  def _enter(self, image, size):
    return _leaky_relu(self.from_rgb[str(size)](image))

  def _check(self, image) -> int:
    height, width, num_channels = image.shape[1:]
    if height != width or height not in self.resolutions or num_channels != 3:
      sizes = ', '.join(str(r) for r in self.resolutions)
      raise UserError(
        f'The discriminator cannot take images of {height}x{width}x{num_channels}. '
        f'Use square RGB images of one of its sizes ({sizes}) or give it more channels entries.'
      )
    return height

  def init_params(self, key):
    """See the module's `init_params`."""
    return init_params(self, key)

  def tiny(self, resolution: int) -> dict:
    """See `Discriminator.tiny`."""
    heads = dict(latent_dim=8) if self.latent_dim else {}
    return dict(channels=(4, *(8,) * max(resolution.bit_length() - 2, 3)), **heads)

  def initialise(self):
    """Uses the layers of every size once, on the smallest input that each can take."""
    for r in self.resolutions:
      x = self._enter(jnp.zeros((1, 2, 2, 3)), r)
      if r > 2:
        x = self.blocks[str(r)](x)
    self.final(jnp.zeros((1, 2, 2, self.channels[-1])))


def init_params(discriminator: ProgressiveDiscriminator, key):
  """Parameters for every image size at once, distributed as the release initialises them.

  Kernels of the blocks' 3x3 convolutions: Kaiming normal for a slope of .2, or U(±2/√fan_in) in
  pooling blocks. All else, biases included: U(±1/√fan_in). All are cut from one draw, since
  compiling a draw for each of the sixty arrays takes tens of seconds.
  """
  init = functools.partial(discriminator.init, method='initialise')
  shapes = flax.traverse_util.flatten_dict(jax.eval_shape(init, key)['params'])
  ends = np.cumsum([leaf.size for leaf in shapes.values()])

  def draw(key):
    pool = jax.random.uniform(key, (ends[-1],), minval=np.nextafter(np.float32(-1), 0), maxval=1)
    params = {}
    for (path, leaf), noise in zip(shapes.items(), jnp.split(pool, ends[:-1]), strict=True):
      layer, kind = path[:-1], path[-1]
      bound = math.prod(shapes[*layer, 'kernel'].shape[:-1]) ** -0.5  # 1/√fan_in
      if kind == 'kernel' and layer[-1].startswith('conv_'):
        if discriminator.block == 'progressive':
          bound *= 2
        else:
          normal = math.sqrt(2) * jax.lax.erf_inv(noise)
          noise = math.sqrt(2 / (1 + 0.2**2)) * normal
      params[path] = bound * noise.reshape(leaf.shape)
    return params

  return flax.traverse_util.unflatten_dict(jax.jit(draw)(key))
