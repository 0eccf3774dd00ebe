"""Convolutions whose inputs are rounded to bfloat16 or float16 by a policy of `nn.precision`.

'native' (`backend.FORMS`): inputs in the policy's type, sums and result in float32. cuDNN does not
have every such convolution: some releases find no algorithm for bfloat16. So a small one and its
gradients are compiled on a GPU before the first of a program; where that fails the form is
'float32': the same rounded numbers are multiplied as float32 at the device's default precision.
TF32 has 11 bits, enough for them as they are, so that only the speed is another. On a CPU those
without a stride take the form of `nn.cpu.convolution`: in a branch or a loop the transposes that
autodiff makes are up to a hundred times as slow.
"""

import concurrent.futures
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax3dgan.nn import backend, precision
from jax3dgan.nn.cpu.convolution import Padding, canonical_conv, reference_conv
from jax3dgan.nn.primitives import bilinear


def conv(x, kernel, stride: int, padding: Padding, policy: str, dilation: int = 1):
  """`reference_conv` of images and a kernel that are rounded by a policy; in the dtype of `x`."""
  square = kernel.ndim == 4 and kernel.shape[0] == kernel.shape[1]
  plain = square and (stride, dilation) == (1, 1) and isinstance(padding, int)
  if backend.cpu_forms() and plain and precision.POLICIES[policy].backward == policy:
    return canonical_conv(x, kernel.astype(x.dtype), padding, policy)
  options = dict(stride=stride, padding=padding, dilation=dilation)
  options |= dict(policy=policy, dtype=x.dtype.name)
  return _rounded_conv(x, kernel.astype(x.dtype), **options)


def _is_native(policy: str) -> bool:
  if backend.form('rounded_conv') != 'native':
    return False
  # Lowering for a GPU on another machine there is nothing to ask.
  if backend.platform() != 'gpu' or jax.default_backend() != 'gpu':
    return True
  return compiles(policy)


def _rounded(x, kernel, *, policy, dtype, **options):
  inputs = precision.POLICIES[policy].inputs
  x, kernel = (precision.round_input(a, inputs) for a in (x, kernel))
  if _is_native(policy):
    y = reference_conv(x, kernel, **options, preferred_element_type=jnp.float32)
  else:
    x, kernel = (precision.rounded_float32(a) for a in (x, kernel))
    y = _conv_in(x, kernel, options)
  return y.astype(dtype)


def _transpose_in(policy, function, like, g):
  """The transpose of a convolution at g, itself computed in the policy's type: the transposed
  convolutions are JAX's own, whose results are rounded too."""
  inputs = precision.POLICIES[policy].inputs
  g = g.astype(inputs) if _is_native(policy) else precision.rounded_float32(g.astype(inputs))
  (cotangent,) = jax.linear_transpose(function, jax.ShapeDtypeStruct(like.shape, g.dtype))(g)
  return cotangent.astype(like.dtype)


def _factor(a, policy):
  """The other factor of a transposed convolution."""
  a = a.astype(precision.POLICIES[policy].inputs)
  return a if _is_native(policy) else precision.rounded_float32(a)


def _of_images(g, x, kernel, *, policy, dtype, **options):
  del dtype
  kernel = _factor(kernel, policy)
  return _transpose_in(policy, lambda x: _conv_in(x, kernel, options), x, g)


def _of_kernel(g, x, kernel, *, policy, dtype, **options):
  del dtype
  x = _factor(x, policy)
  return _transpose_in(policy, lambda kernel: _conv_in(x, kernel, options), kernel, g)


def _conv_in(x, kernel, options):
  return reference_conv(x, kernel, **options, precision=jax.lax.Precision.DEFAULT)


def _tangent_of_images(dx, x, kernel, *, policy, **options):
  del x
  kernel = precision.round_input(kernel, precision.POLICIES[policy].inputs)
  return _rounded_conv(dx, kernel, policy=precision.POLICIES[policy].backward, **options)


def _tangent_of_kernel(dkernel, x, kernel, *, policy, **options):
  del kernel
  # Kept for the backward pass in half the bytes.
  x = precision.round_input(x, precision.POLICIES[policy].inputs)
  return _rounded_conv(x, dkernel, policy=precision.POLICIES[policy].backward, **options)


_rounded_conv = bilinear(
  'rounded_conv',
  _rounded,
  _of_images,
  _of_kernel,
  tangents=(_tangent_of_images, _tangent_of_kernel),
)


def _compile(function: Callable, *args):
  """Compiles a function for the default device."""
  jax.jit(function).lower(*args).compile()


@functools.cache
def compiles(policy: str, compile_fn: Callable = _compile, say: Callable = print) -> bool:
  """Whether the default device has the native form of a policy's convolutions and their gradients.

  Found out once in a process, and said where it has not.

  Args:
    policy: 'bfloat16' or 'float16'.
    compile_fn: (function, *shapes) compiles it.
    say: takes the line.
  """

  def convolutions(x, kernel):
    # Value and gradients: three kinds of convolution.
    y, transpose = jax.vjp(lambda *args: conv(*args, 1, 1, policy), x, kernel)
    return y, transpose(y)

  shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((4, 16, 16, 32), (3, 3, 32, 32))]

  def attempt():
    # For a GPU it would ask here again.
    with backend.lowering_for('tpu'), backend.choose(rounded_conv='native'):
      compile_fn(convolutions, *shapes)

  try:
    # In a thread of its own, which is in no trace and on no mesh.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
      pool.submit(attempt).result()
  except Exception as error:  # cuDNN and XLA raise several kinds
    if jax.process_index() == 0:
      why = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
      say(
        f'This device has no {policy} convolution with float32 sums ({why}): rounded numbers are '
        'multiplied as TF32 instead. The results are as good, and convolutions are slower.'
      )
    return False
  return True
