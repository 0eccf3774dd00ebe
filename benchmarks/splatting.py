"""Milliseconds that drawing Gaussians takes, forward and with the gradient of all of them.

  python -m benchmarks.splatting
  taskset -c 1 python -m benchmarks.splatting --processor_time  # a busy machine
  taskset -c 1 python -m benchmarks.splatting --cases=64 --processor_time --dense

Points near a sphere of radius .3 seen from a distance of 1, as large as they are apart, of random
rotations and opacities. Minima of --repeats runs.
`python -m benchmarks.torch_splatting` is the plain form in PyTorch.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras
from jax3dgan.nn import backend
from jax3dgan.rendering import splatting
from jax3dgan.rendering.splatting import Gaussians

# Gaussians, images, pixels on a side.
CASES = {
  '64': (4096, 1, 64),
  '64_batch': (4096, 8, 64),
  '256': (4096, 1, 256),
  '256_many': (65536, 1, 256),
}


def scene(n: int, images: int, seed: int = 0):
  """Gaussians [images, n] and a camera for each."""
  rng = np.random.default_rng(seed)
  directions = rng.normal(size=(images, n, 3))
  directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
  spacing = np.sqrt(4 * np.pi * 0.3**2 / n)
  arrays = (
    0.3 * directions * (1 + 0.15 * rng.normal(size=(images, n, 1))),
    0.7 * spacing * np.exp(0.3 * rng.normal(size=(images, n, 3))),
    rng.normal(size=(images, n, 4)),
    1 / (1 + np.exp(-1.5 * rng.normal(size=(images, n)))),
    rng.uniform(size=(images, n, 3)),
  )
  angles = np.linspace(0, 1, images).astype(np.float32)
  camera = cameras.orbit(angles, 0.3 * angles, 1.0, 48.0)
  return Gaussians(*(a.astype(np.float32) for a in arrays)), camera


def milliseconds(function, argument, now, repeats: int) -> float:
  """The least of some runs of a function, compiled before."""
  compiled = jax.jit(function).lower(argument).compile()
  jax.block_until_ready(compiled(argument))
  times = []
  for _ in range(repeats):
    start = now()
    jax.block_until_ready(compiled(argument))
    times.append(now() - start)
  return 1e3 * min(times)


def main(argv=None):
  """Prints a table."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--cases', default=','.join(CASES))
  flags.add_argument('--repeats', type=int, default=10)
  flags.add_argument(
    '--processor_time',
    action='store_true',
    help="the processor's, on a busy machine; take one core",
  )
  flags.add_argument('--dense', action='store_true', help='the plain form as well')
  args = flags.parse_args(argv)
  now = time.process_time if args.processor_time else time.perf_counter
  print(f'jax {jax.__version__}, {time.strftime("%Y-%m-%d")}, minima of {args.repeats}')
  print('| case | form | forward, ms | with the gradient, ms |\n|---|---|---|---|')
  for name in args.cases.split(','):
    n, images, side = CASES[name]
    gaussians, camera = scene(n, images)

    def draw(gaussians, camera=camera, side=side):
      return splatting.splat(gaussians, camera, (side, side)).composite[:3]

    def loss(gaussians, draw=draw):
      return sum(jnp.sum(x**2) for x in draw(gaussians))

    for form in ('tiles', 'dense')[: 1 + args.dense]:
      with backend.choose(splatting=form):
        repeats = args.repeats if form == 'tiles' else 3
        forward = milliseconds(draw, gaussians, now, repeats)
        gradient = milliseconds(jax.grad(loss), gaussians, now, repeats)
      case = f'{side}², {n:,} Gaussians, {images} image{"s" * (images > 1)}'
      print(f'| {case} | {form} | {forward:.1f} | {gradient:.1f} |', flush=True)


if __name__ == '__main__':
  main()
