"""2D convolutions that are fast under second-order gradients, and CoordConv.

R1 differentiates a discriminator twice. XLA's CPU back end is slow on the convolutions that this
gives (above all strided ones), where shifted slices and one matrix product are not; on accelerators
the native convolution is best. `conv2d` hides the choice, which `choose_implementation` makes in one
place (`benchmarks/conv.py` measures it). Images are [b, h, w, c], kernels [kh, kw, c_in, c_out].
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.nn import backend

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def choose_implementation(stride: int, in_channels: int, kernel_size: int) -> str:
  """'patches' or 'lax': the faster one on the platform of this trace."""
  del stride, in_channels, kernel_size
  return 'patches' if backend.platform() == 'cpu' else 'lax'


def _lax_conv(x, kernel, stride, padding, accumulate):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    ((padding, padding), (padding, padding)),
    dimension_numbers=_DIMENSIONS,
    preferred_element_type=accumulate,
  )


def _patches_conv(x, kernel, stride, padding, accumulate):
  b, h, w, c = x.shape
  kh, kw, _, features = kernel.shape
  rows, columns = ((n + 2 * padding - k) // stride + 1 for n, k in ((h, kh), (w, kw)))
  if padding:
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
  if (rows, columns) == (1, 1):
    patches = x[:, :kh, :kw].reshape(b, 1, 1, kh * kw * c)
  else:
    slices = [
      jax.lax.slice(
        x,
        (0, i, j, 0),
        (b, i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1, c),
        (1, stride, stride, 1),
      )
      for i in range(kh)
      for j in range(kw)
    ]
    patches = jnp.concatenate(
      slices, axis=-1
    )  # [b, rows, columns, kh * kw * c], in the kernel's order
  return jnp.einsum(
    'bhwp,pf->bhwf', patches, kernel.reshape(-1, features), preferred_element_type=accumulate
  )


def conv2d(
  x, kernel, bias=None, *, stride=1, padding=0, matmul_dtype='float32', implementation=None
):
  """Correlates images [b, h, w, c], zero-padded by `padding` on every side, with [kh, kw, c, f].

  `matmul_dtype='bfloat16'` rounds the inputs of the products and still accumulates and returns
  float32. `implementation` ('lax' or 'patches') overrides the choice by platform. Returns
  [b, (h + 2·padding - kh)//stride + 1, ..., f] in the dtype of `x`.
  """
  out_dtype = x.dtype
  if implementation is None:
    implementation = choose_implementation(stride, kernel.shape[2], kernel.shape[0])
  if matmul_dtype == 'bfloat16':
    x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
  conv = {'lax': _lax_conv, 'patches': _patches_conv}[implementation]
  y = conv(x, kernel, stride, padding, out_dtype)
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

  `coords` makes it a CoordConv. `kernel_init` defaults to PyTorch's, as the bias always does.
  """

  features: int
  kernel_size: int
  stride: int = 1
  padding: int = 0
  coords: bool = False
  kernel_init: Callable | None = None
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, x):
    in_channels = x.shape[-1] + 2 * self.coords
    default_init = torch_uniform(self.kernel_size**2 * in_channels)
    shape = (self.kernel_size, self.kernel_size, in_channels, self.features)
    kernel = self.param('kernel', self.kernel_init or default_init, shape)
    bias = self.param('bias', default_init, (self.features,))
    conv = coord_conv2d if self.coords else conv2d
    return conv(
      x, kernel, bias, stride=self.stride, padding=self.padding, matmul_dtype=self.matmul_dtype
    )
