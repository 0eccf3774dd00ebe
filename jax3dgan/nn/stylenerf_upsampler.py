"""StyleNeRF's up-sampler: from aggregated features to an image (Gu et al., ICLR 2022, arXiv
2110.08985, Sec. 3.2).

Blocks of modulated 1x1 layers, each of twice the size of the one before, without noise; to-RGB
results add up. Only the doubling of the size looks at neighbours: without it the same layers make
colours of single samples along rays, which is what the NeRF-path regularisation compares the image
with (Sec. 3.3).

The input of every layer but to-RGB is divided by its root mean square, as it was on average so far:
the `powers` [num_blocks, 2] are running means of x² of both layers of each block. They are given
and returned, never changed in place.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.nn import backend, feature_upsampling, resample
from jax3dgan.nn.equalized import activate
from jax3dgan.nn.feature_upsampling import Adapter, interleave, map_rows, upsample_features
from jax3dgan.nn.modulated_dense import Linear, ModulatedDense, product

POWER_DECAY = 0.999  # of the running means of x², a step
_CPU_TILE = 2**18  # floats of a layer that a CPU computes at a time, 1 MiB


@flax.struct.dataclass
class Block:
  """The layers of one size: kernels [b, c, f] and biases [1, f] of each.

  Attributes:
    conv0, conv1, torgb: (kernels, bias).
    adapter: of the doubling, None where it has none.
    mode, blur, border: see `feature_upsampling`.
    clamp: bound of activations; 0 for none.
    matmul_dtype: policy of `nn.precision`.
  """

  conv0: tuple
  conv1: tuple
  torgb: tuple
  adapter: Adapter | None
  mode: str = flax.struct.field(pytree_node=False, default='nn_cat')
  blur: bool = flax.struct.field(pytree_node=False, default=True)
  clamp: float = flax.struct.field(pytree_node=False, default=256.0)
  matmul_dtype: str = flax.struct.field(pytree_node=False, default='float32')
  border: str = flax.struct.field(pytree_node=False, default='zeros')

  def colours(self, x):
    """Features [b, ..., f] → what they add to the image, [b, ..., 3]."""
    kernel, bias = self.torgb
    return activate(product(x, kernel) + bias, 'linear', clamp=self.clamp or None)


def moving_power(power, square):
  """The running mean after another mean square."""
  return POWER_DECAY * power + (1 - POWER_DECAY) * square


def run_layer(block: Block, layer, x, power, *, double=False, measure=False, compat_first=False):
  """One layer: x [b, ..., c] → ([b, ..., f], the mean of x² or None); with `double` x [b, h, w, c]
  → phases [b, 2, 2, h, w, f]."""
  kernel, bias = layer
  square = jax.lax.stop_gradient(jnp.mean(jnp.square(x))) if measure else None
  if measure and compat_first:
    power = moving_power(power, square)
  x = product(x, kernel * jax.lax.rsqrt(power), block.matmul_dtype)
  if double:
    x = upsample_features(
      x, block.mode, block.blur, block.adapter, block.matmul_dtype, block.border
    )
  return activate(x + bias, clamp=block.clamp or None), square


def run_block(block: Block, x, powers, *, double=True, measure=False, compat_first=False):
  """The features of a block.

  Args:
    x: [b, h, w, c], or without doubling [b, ..., c].
    powers: [2] of its two layers.
    double: whether the size doubles.
    measure: whether to return mean squares.
    compat_first: measured squares enter the powers before these are used, as in the release; a
      result then depends on the whole batch.

  Returns:
    ([b, 2, 2, h, w, f], see `feature_upsampling.interleave`, or without doubling [b, ..., f]; mean
    squares [2] or None).
  """
  common = dict(measure=measure, compat_first=compat_first)
  x, first = run_layer(block, block.conv0, x, powers[0], double=double, **common)
  x, second = run_layer(block, block.conv1, x, powers[1], **common)
  return x, jnp.stack([first, second]) if measure else None


def rows_at_a_time(block: Block, x) -> int:
  """How many rows of x [b, h, w, c] a doubling block is best computed of at a time; 0 for all: the
  caches of a CPU do not hold more."""
  b, h, w, _ = x.shape
  if not backend.cpu_forms() or (block.mode, block.border) != ('nn_cat', 'zeros'):
    return 0
  most = max(_CPU_TILE // (b * w * block.conv1[0].shape[-1]), 1)
  return 0 if most >= h else max(n for n in range(1, most + 1) if h % n == 0)


def run_by_rows(block: Block, x, powers, num_rows: int, has_features: bool = True):
  """`run_block`, and the colours of its features, some rows at a time.

  Args:
    x: [b, h, w, c].
    powers: [2] of its two layers.
    num_rows: of x, a divisor of h.
    has_features: whether the features are wanted.

  Returns:
    (features [b, 2h, 2w, f] or None, colours [b, 2h, 2w, 3]).
  """
  kernel, bias = block.conv0
  x = product(x, kernel * jax.lax.rsqrt(powers[0]), block.matmul_dtype)

  def of_pixels(y):
    y = activate(y + bias, clamp=block.clamp or None)
    y, _ = run_layer(block, block.conv1, y, powers[1])
    return y if has_features else None, block.colours(y)

  return map_rows(of_pixels, x, num_rows, block.adapter, block.blur, block.matmul_dtype)


def upsample(
  blocks, features, rgb, powers, fade=1.0, *, double=True, measure=False, compat_first=False
):
  """Features and colours → the image of the last block.

  Args:
    blocks: of `Upsampler`, as many as shall be run.
    features, rgb: [b, h, w, c] and [b, h, w, 3]; of single samples [b, ..., c] and [b, ..., 3]
      without doubling.
    powers: [num_blocks, 2], of more blocks as well.
    fade: share of the last block in the image, 0 to 1, may be traced; the rest is the image before,
      enlarged bilinearly. Or the shares [len(blocks)] of all of them.
    double, measure, compat_first: see `run_block`.

  Returns:
    (image, mean squares [len(blocks), 2] or None).
  """
  squares = []
  for i, block in enumerate(blocks):
    last = i == len(blocks) - 1
    before = rgb
    num_rows = rows_at_a_time(block, features) if double and not measure else 0
    if num_rows:
      features, colours = run_by_rows(block, features, powers[i], num_rows, not last)
      rgb = resample.upsample(rgb, border=block.border)
    else:
      features, square = run_block(
        block, features, powers[i], double=double, measure=measure, compat_first=compat_first
      )
      squares.append(square)
      colours = block.colours(features)
      if double:
        rgb, colours = resample.upsample(rgb, border=block.border), interleave(colours)
        features = interleave(features)
    rgb = rgb + colours
    share = fade[i] if jnp.ndim(fade) else fade if last else 1
    if not (isinstance(share, int | float) and share >= 1):
      if double:
        before = resample.resize_bilinear(before, rgb.shape[1])
      rgb = before + share * (rgb - before)
  return rgb, jnp.stack(squares) if measure and squares else None


def moved_powers(powers, squares):
  """Powers [num_blocks, 2] after mean squares [n ≤ num_blocks, 2] of the first blocks."""
  if squares is None:
    return powers
  n = len(squares)
  return jnp.concatenate([moving_power(powers[:n], squares), powers[n:]])


class Upsampler(nn.Module):
  """The parameters: blocks `b{size}` of `conv0`, `conv1`, `torgb` (`ModulatedDense`), `adapter_0`
  and `adapter_1` (`Linear`, equalised).

  Attributes:
    channels: features at twice the size of the input, four times, ...
    low_resolution: pixels on a side of the input, for the blocks' names.
    mode, blur, clamp, matmul_dtype, border: see `Block`.
  """

  channels: tuple[int, ...] = (512, 256, 128)
  low_resolution: int = 32
  mode: str = 'nn_cat'
  blur: bool = True
  clamp: float = 256.0
  matmul_dtype: str = 'float32'
  border: str = 'zeros'

  @property
  def num_ws(self) -> int:
    """Styles: of two layers of each block, and of the last to-RGB (the others share the style of
    the next block's first layer)."""
    return 2 * len(self.channels) + 1

  @nn.compact
  def __call__(self, in_features: int, w) -> tuple[Block, ...]:
    """The blocks of styles w [b, num_ws, w_dim] for inputs of so many features."""
    feature_upsampling.check(self.mode)
    resample.check_border(self.border)
    blocks = []
    for i, features in enumerate(self.channels):
      block = _BlockParams(
        features,
        self.mode,
        self.blur,
        self.clamp,
        self.matmul_dtype,
        self.border,
        name=f'b{self.low_resolution << (i + 1)}',
      )
      blocks.append(block(in_features, w[:, 2 * i : 2 * i + 3]))
      in_features = features
    return tuple(blocks)


class _BlockParams(nn.Module):
  """The parameters of a block, see `Upsampler`."""

  features: int
  mode: str
  blur: bool
  clamp: float
  matmul_dtype: str
  border: str

  @nn.compact
  def __call__(self, in_features: int, w) -> Block:
    """Styles w [b, 3, w_dim] → the block."""
    c, adapter = self.features, None
    if self.mode in feature_upsampling.WITH_ADAPTER:
      concatenates = self.mode == 'nn_cat'
      hidden = max(c // 4, 1)
      first = Linear(hidden, True, name='adapter_0')(2 * c if concatenates else c)
      second = Linear(c if concatenates else 4 * c, True, name='adapter_1')(hidden)
      adapter = Adapter(*(array[0] for array in (*first, *second)))
    return Block(
      ModulatedDense(c, name='conv0')(in_features, w[:, 0]),
      ModulatedDense(c, name='conv1')(c, w[:, 1]),
      ModulatedDense(3, demodulate=False, name='torgb')(c, w[:, 2]),
      adapter,
      self.mode,
      self.blur,
      self.clamp,
      self.matmul_dtype,
      self.border,
    )
