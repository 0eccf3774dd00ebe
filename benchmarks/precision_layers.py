"""What half the bits bring on a CPU, by kind of product: field layers and convolutions; a table.

  python -m benchmarks.precision_layers
  taskset -c 1 python -m benchmarks.precision_layers --processor_time     # a busy machine

Time in float32 over time in bfloat16: as the CPU multiplies it ('native'), and as the same rounded
numbers in float32 ('widened'), which is what a CPU without such products does. Field: three
products and sines of two examples' 4,096 points. Convolutions without a stride: XLA's own, forward
and the two of the gradients in their fast layout; strided ones: as patches, gradient of a loss with
R1. The least of several runs that take turns.
"""

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.nn import backend, conv, cpu_features
from jax3dgan.nn.cpu import columns, convolution
from jax3dgan.nn.cpu.sine import sine

WIDTHS = 64, 96, 128, 256
FLAT = (4, 64, 32), (4, 32, 64)  # images, pixels on a side, channels
STRIDED = (16, 32, 16, 32), (16, 16, 32, 64), (16, 16, 64, 128), (16, 8, 128, 128)
_LEAST = 0.05  # seconds of a measurement


def normal(*shape):
  """An array whose products with others of its kind are about one."""
  x = np.random.default_rng(sum(shape)).normal(size=shape) / np.sqrt(shape[-1])
  return jnp.asarray(x, jnp.float32)


def field(policy: str, weights, x):
  """Layers of a field, summed over their features."""
  for w in weights:
    x = sine(columns.product(6 * w, x, policy))
  return x.sum(1)


def field_gradient(policy: str, weights, x):
  """Of the squares, with respect to all that goes in."""
  return jax.grad(lambda *args: jnp.square(field(policy, *args)).sum(), (0, 1))(weights, x)


def strided(policy: str, x, kernel):
  """The gradient of a strided convolution's loss with R1."""

  def loss(x, kernel):
    x = jax.nn.leaky_relu(x, 0.2)
    options = dict(stride=2, padding=1, matmul_dtype=policy, implementation='patches')
    return jax.nn.leaky_relu(conv.conv2d(x, kernel, **options), 0.2).sum()

  def total(x, kernel):
    return loss(x, kernel) + jnp.square(jax.grad(loss)(x, kernel)).sum()

  return jax.grad(total, (0, 1))(x, kernel)


def convolved(policy: str, x, kernel):
  """XLA's convolution of inputs of the policy's type."""
  x, kernel = x.astype(policy), kernel.astype(policy)
  full = None if policy == 'bfloat16' else jax.lax.Precision.HIGHEST
  options = dict(precision=full, preferred_element_type=jnp.float32)
  return convolution.reference_conv(x, kernel, 1, 1, **options)


def kernel_gradient(policy: str, x, g):
  """That of `convolved`: channels take the place of examples."""
  return convolved(policy, jnp.transpose(x, (3, 1, 2, 0)), jnp.transpose(g, (1, 2, 0, 3)))


def cases():
  """(name, function of a policy and arrays, arrays)."""
  for width in WIDTHS:
    args = [normal(2, width, width) for _ in range(3)], normal(2, width, 4096)
    yield f'field, width {width}', field, args
    yield f'field, width {width}: gradient', field_gradient, args
  for b, size, c in FLAT:
    x = normal(b, size, size, c)
    yield f'convolution, {b} × {size}² × {c}', convolved, (x, normal(3, 3, c, c))
    yield f'convolution, {b} × {size}² × {c}: of the kernel', kernel_gradient, (x, x)
  for b, size, c, f in STRIDED:
    args = normal(b, size, size, c), normal(3, 3, c, f)
    yield f'stride 2, {b} × {size}² × {c} to {f}: with R1', strided, args


def compiled(function: Callable, policy: str, form: str, args) -> Callable:
  """A compiled case."""
  with backend.choose(rounded_product=form):
    return jax.jit(lambda *args: function(policy, *args)).lower(*args).compile()


def seconds(functions, args, repeats: int, now: Callable) -> list[float]:
  """The least time of each function."""
  least = [float('inf')] * len(functions)
  for _ in range(repeats):
    for i, function in enumerate(functions):
      began, count = now(), 0
      while now() - began < _LEAST:
        jax.block_until_ready(function(*args))
        count += 1
      least[i] = min(least[i], (now() - began) / count)
  return least


def main():
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--repeats', type=int, default=5)
  flags.add_argument('--processor_time', action='store_true', help='of all threads')
  args = flags.parse_args()
  now = time.process_time if args.processor_time else time.perf_counter
  print(f'jax {jax.__version__}; products of bfloat16: {cpu_features.multiplies_bfloat16()}')
  print('| what | float32, ms | native | widened |')
  print('|---|---|---|---|')
  forms = ('float32', 'native'), ('bfloat16', 'native'), ('bfloat16', 'float32')
  for name, function, arrays in cases():
    functions = [compiled(function, policy, form, arrays) for policy, form in forms]
    single, native, widened = seconds(functions, arrays, args.repeats, now)
    ratios = f'{single / native:.2f} | {single / widened:.2f}'
    print(f'| {name} | {1e3 * single:.2f} | {ratios} |', flush=True)


if __name__ == '__main__':
  main()
