"""Which convolution is fastest in a discriminator: `lax`, `patches`, or the choice by stride?

  python -m benchmarks.conv             # one layer between two others, by stride and channels
  python -m benchmarks.conv --whole     # the whole discriminator at 32²

Times the gradient of (adversarial loss + R1) with respect to the parameters, which differentiates
every convolution twice. The candidates take turns and the minimum of several runs counts, because a
busy machine slows all of them: compare the ratios, not the seconds.
"""

import argparse
import time
from unittest import mock

import jax

from jax3dgan import discriminators
from jax3dgan.losses import regularizers
from jax3dgan.nn import conv

BATCH = 16
CHOICES = dict(lax=lambda *_: 'lax', patches=lambda *_: 'patches')
CHOICES['chosen'] = conv.choose_implementation


def seconds(functions, args, repeats):
  """The least time of each compiled function in `functions`, a dict by name; runs alternate."""
  least = dict.fromkeys(functions, float('inf'))
  for repeat in range(repeats + 1):
    for name, function in functions.items():
      start = time.perf_counter()
      jax.block_until_ready(function(*args))
      if repeat:  # the first run compiles
        least[name] = min(least[name], time.perf_counter() - start)
  return least


def layer_step(choice, stride, channels, size, batch):
  """(gradient function, arguments) of three convolutions, the middle one by the candidate."""

  def logits(kernels, x):
    middle = CHOICES[choice](stride, 3, size)
    for kernel, s, implementation in zip(
      kernels, (1, stride, 1), ('lax', middle, 'lax'), strict=True
    ):
      x = conv.conv2d(x, kernel, stride=s, padding=1, implementation=implementation)
      x = jax.nn.leaky_relu(x, 0.2)
    return x.mean((1, 2, 3))

  def loss(kernels, x):
    return logits(kernels, x).mean() + regularizers.r1_penalty(lambda i: logits(kernels, i), x)

  keys = jax.random.split(jax.random.key(0), 4)
  kernels = [
    jax.random.normal(k, (3, 3, channels, channels)) / (9 * channels) ** 0.5 for k in keys[:3]
  ]
  return jax.jit(jax.grad(loss)), (
    kernels,
    jax.random.normal(keys[3], (batch, size, size, channels)),
  )


def whole_step(choice, block, matmul_dtype, size, batch):
  """(gradient function, arguments) of a discriminator of 16 to 128 channels."""
  fields = dict(channels=(16, 32, 64, 128, 128), block=block, matmul_dtype=matmul_dtype)
  module = discriminators.create(dict(name='progressive', **fields))

  def loss(params, x):
    def logits(x):
      return module.apply({'params': params}, x).logits

    return jax.nn.softplus(-logits(x)).mean() + regularizers.r1_penalty(logits, x)

  def gradient(params, x):
    with mock.patch.object(conv, 'choose_implementation', CHOICES[choice]):
      return jax.grad(loss)(params, x)

  params = discriminators.init_params(module, jax.random.key(0))
  return jax.jit(gradient), (params, jax.random.normal(jax.random.key(1), (batch, size, size, 3)))


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--whole', action='store_true')
  parser.add_argument('--repeats', type=int, default=3)
  args = parser.parse_args()
  if args.whole:
    cases = [(whole_step, (block, 'float32', 32, BATCH)) for block in ('ccs', 'progressive')]
    cases.append((whole_step, ('ccs', 'bfloat16', 32, BATCH)))
  else:
    shapes = ((16, 32), (32, 16), (64, 8), (128, 4))  # channels, size
    cases = [(layer_step, (s, c, size, BATCH)) for s in (1, 2) for c, size in shapes]
  print(f'{jax.default_backend()}: milliseconds (lax / this)')
  for step, options in cases:
    steps = {name: step(name, *options) for name in CHOICES}
    times = seconds({n: f for n, (f, _) in steps.items()}, steps['lax'][1], args.repeats)
    report = (f'{n} {t * 1e3:.1f} ({times["lax"] / t:.2f})' for n, t in times.items())
    print(f'{step.__name__}{options}: {", ".join(report)}', flush=True)


if __name__ == '__main__':
  main()
