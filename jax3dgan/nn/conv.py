"""2D convolutions that are fast under second-order gradients, and CoordConv.

R1 differentiates a discriminator twice. XLA's CPU back end is slow on the convolutions that this
gives where there is a stride; shifted slices and one matrix product are not. On accelerators the
native convolution is best. `conv2d` hides the choice, which `choose_implementation` makes in one
place (`benchmarks/conv.py` measures it). What the CPU's compiler makes of a convolution inside of
`lax.cond`, `scan` and `map` is another matter still: `_canonical_conv`.
Images are [b, h, w, c], kernels [kh, kw, c_in, c_out].
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax3dgan.nn import backend, precision

_DIMENSIONS = ('NHWC', 'HWIO', 'NHWC')


def choose_implementation(stride: int, kernel_size: int, output_size: int) -> str:
  """'patches' or 'lax': the faster one on the platform of this trace.

  On a CPU patches win where there is a stride (a layer between two others, twice differentiated,
  16 to 128 channels: 1.8 to 2.3 times) and lose without one (1.2 to 4 times); where there is
  nothing to copy, the product is at least as fast.
  """
  if backend.platform() != 'cpu':
    return 'lax'
  return 'patches' if stride > 1 or kernel_size == 1 or output_size == 1 else 'lax'


def _output_size(size, kernel_size, stride, padding):
  return (size + 2 * padding - kernel_size) // stride + 1


def _native(x, kernel, stride, padding, **options):
  padding = ((padding, padding), (padding, padding))
  return jax.lax.conv_general_dilated(
    x, kernel, (stride, stride), padding, dimension_numbers=_DIMENSIONS, **options
  )


def _lax_conv(x, kernel, stride, padding, policy):
  rule = precision.get(policy)
  if rule.inputs is not None:
    return _rounded_conv(stride, padding, policy, x, kernel)
  if backend.platform() == 'cpu' and stride == 1:
    return _canonical_conv(padding, x, kernel)
  return _native(x, kernel, stride, padding, precision=rule.precision)


# XLA's CPU back end brings the two convolutions that autodiff makes of one to the layout that its
# fast kernels want (channels last) in a program's entry only. In a branch or a loop they run as
# plain loops, 60 to 150 times as slow (a kernel's gradient for 16 images of 64², 32 channels:
# 1,500 ms instead of 10). Here the transposes are written out, so that every convolution has that
# layout, and gradients of any order are of the same two kinds. Reverse mode only.


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _canonical_conv(padding, x, kernel):
  return _native(x, kernel, 1, padding)


def _canonical_forward(padding, x, kernel):
  return _canonical_conv(padding, x, kernel), (x, kernel)


def _canonical_backward(padding, saved, g):
  x, kernel = saved
  return _transposed(padding, g, kernel), _kernel_gradient(padding, x, g)


def _transposed(padding, g, kernel):
  """Gradient of the input of a square kernel's convolution."""
  turned = jnp.swapaxes(kernel[::-1, ::-1], 2, 3)
  return _canonical_conv(kernel.shape[0] - 1 - padding, g, turned)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _kernel_gradient(padding, x, g):
  """[b, h, w, c] and [b, h', w', f] → [k, k, c, f]: channels take the place of examples."""
  product = _native(jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(g, (1, 2, 0, 3)), 1, padding)
  return jnp.transpose(product, (1, 2, 0, 3))


def _kernel_gradient_forward(padding, x, g):
  return _kernel_gradient(padding, x, g), (x, g)


def _kernel_gradient_backward(padding, saved, kernel):
  x, g = saved
  return _transposed(padding, g, kernel), _canonical_conv(padding, x, kernel)


_canonical_conv.defvjp(_canonical_forward, _canonical_backward)
_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _rounded_conv(stride, padding, policy, x, kernel):
  return _rounded_forward(stride, padding, policy, x, kernel)[0]


def _rounded_forward(stride, padding, policy, x, kernel):
  dtype = precision.POLICIES[policy].inputs
  rounded, small = (precision.round_input(a, dtype) for a in (x, kernel))
  y = _native(rounded, small, stride, padding, preferred_element_type=jnp.float32)
  return y.astype(x.dtype), (rounded, kernel)


def _rounded_backward(stride, padding, policy, saved, g):
  # The transposed convolutions are JAX's own, in the backward policy's type: their results are
  # rounded too.
  dtype = precision.POLICIES[precision.POLICIES[policy].backward].inputs
  x, kernel = (a.astype(dtype) for a in saved)
  _, transpose = jax.vjp(lambda x, k: _native(x, k, stride, padding), x, kernel)
  gx, gk = transpose(g.astype(dtype))
  return gx.astype(g.dtype), gk.astype(saved[1].dtype)


_rounded_conv.defvjp(_rounded_forward, _rounded_backward)


def _patches_conv(x, kernel, stride, padding, policy):
  b, h, w, c = x.shape
  kh, kw, _, features = kernel.shape
  rows, columns = (_output_size(n, k, stride, padding) for n, k in ((h, kh), (w, kw)))
  # Split into stride x stride phases, so that every slice is contiguous: strided slices, and above
  # all their derivatives, are slow on a CPU.
  high = (padding + -(h + 2 * padding) % stride, padding + -(w + 2 * padding) % stride)
  x = jnp.pad(x, ((0, 0), (padding, high[0]), (padding, high[1]), (0, 0)))
  x = x.reshape(b, x.shape[1] // stride, stride, x.shape[2] // stride, stride, c)
  slices = []
  for i in range(kh):
    for j in range(kw):
      (top, row_phase), (left, column_phase) = divmod(i, stride), divmod(j, stride)
      slices.append(x[:, top : top + rows, row_phase, left : left + columns, column_phase])
  patches = jnp.concatenate(slices, axis=-1)  # [b, rows, columns, kh * kw * c], as in the kernel
  return precision.rows_product(patches, kernel.reshape(-1, features), policy)


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
    output_size = _output_size(x.shape[1], k, stride, padding)
    implementation = choose_implementation(stride, k, output_size)
  conv = {'lax': _lax_conv, 'patches': _patches_conv}[implementation]
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
