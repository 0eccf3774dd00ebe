"""2D convolutions that are fast under second-order gradients, and CoordConv.

R1 differentiates a discriminator twice. On accelerators the native convolution is fastest, also for
that; on a CPU the forms of `nn.cpu.convolution` are. `conv2d` hides the choice, which
`choose_implementation` makes in one place (`benchmarks/conv.py` measures it).
Images are [b, h, w, c], kernels [kh, kw, c_in, c_out].
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.nn import backend, precision, rounded_conv
from jax3dgan.nn.cpu import convolution


def choose_implementation(stride: int, kernel_size: int, output_size: int) -> str:
  """'patches' or 'lax': the faster one on the platform of this trace.

  On a CPU patches win where there is a stride (a layer between two others, twice differentiated,
  16 to 128 channels: 1.8 to 2.3 times) and lose without one (1.2 to 4 times); where there is
  nothing to copy, the product is at least as fast.
  """
  if not backend.cpu_forms():
    return 'lax'
  return 'patches' if stride > 1 or kernel_size == 1 or output_size == 1 else 'lax'


def _lax_conv(x, kernel, stride, padding, policy):
  rule = precision.get(policy)
  if rule.inputs is not None:
    return rounded_conv.conv(x, kernel, stride, padding, policy)
  if backend.cpu_forms() and stride == 1 and kernel.shape[0] == kernel.shape[1]:
    return convolution.canonical_conv(x, kernel, padding)
  return convolution.reference_conv(x, kernel, stride, padding, precision=rule.precision)


def conv2d(
  x, kernel, bias=None, *, stride=1, padding=0, matmul_dtype='float32', implementation=None
):
  """Correlates images [b, h, w, c], zero-padded by `padding` on every side, with [kh, kw, c, f].

  `matmul_dtype` is a policy of `nn.precision`: 'bfloat16' and 'float16' round the inputs of the
  products and still accumulate and return float32. `implementation` ('lax' or 'patches') overrides
  the choice by platform. Returns [b, (h + 2·padding - kh)//stride + 1, ..., f] in the dtype of `x`.
  """
  precision.get(matmul_dtype)  # a mistyped name is an error for any implementation
  if implementation is None:
    k = kernel.shape[0]
    output_size = convolution.output_size(x.shape[1], k, stride, padding)
    implementation = choose_implementation(stride, k, output_size)
  conv = {'lax': _lax_conv, 'patches': convolution.patches_conv}[implementation]
  y = conv(x, kernel, stride, padding, matmul_dtype)
  return y if bias is None else y + bias


def coordinates(height: int, width: int, dtype=jnp.float32):
  """The two maps of CoordConv, [1, height, width, 2]: row then column, each linspace(-1, 1)."""
  rows, columns = jnp.linspace(-1, 1, height, dtype=dtype), jnp.linspace(-1, 1, width, dtype=dtype)
  return jnp.stack(jnp.meshgrid(rows, columns, indexing='ij'), axis=-1)[None]


def coord_conv2d(
  x, kernel, bias=None, *, stride=1, padding=0, matmul_dtype='float32', implementation=None
):
  """`conv2d` of [x, coordinates] (Liu et al. 2018, arXiv 1807.03247), kernel [kh, kw, c + 2, f].

  The coordinates' share does not depend on the image, so it is computed once for the whole batch
  and added, like a bias that varies over the image.
  """
  c = x.shape[-1]
  options = dict(stride=stride, padding=padding, implementation=implementation)
  maps = coordinates(x.shape[1], x.shape[2], x.dtype)
  position_bias = conv2d(maps, kernel[:, :, c:], bias, **options)  # [1, h', w', f]
  return conv2d(x, kernel[:, :, :c], matmul_dtype=matmul_dtype, **options) + position_bias


def torch_uniform(fan_in: int) -> Callable:
  """Initializer U(±1/√fan_in), PyTorch's default for the weights and biases of convolutions."""
  bound = fan_in**-0.5

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


class Conv(nn.Module):
  """A convolution layer with parameters `kernel` [k, k, c (+ 2), f] and `bias` [f].

  `coords` makes it a CoordConv. Initialised as in PyTorch.
  """

  features: int
  kernel_size: int
  stride: int = 1
  padding: int = 0
  coords: bool = False
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x):
    in_channels = x.shape[-1] + 2 * self.coords
    init = torch_uniform(self.kernel_size**2 * in_channels)
    shape = (self.kernel_size, self.kernel_size, in_channels, self.features)
    kernel = self.param('kernel', init, shape)
    bias = self.param('bias', init, (self.features,))
    conv = coord_conv2d if self.coords else conv2d
    return conv(
      x, kernel, bias, stride=self.stride, padding=self.padding, matmul_dtype=self.matmul_dtype
    )
