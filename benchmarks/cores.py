"""A training step with one device for all cores of a CPU, and with a device for each, in one run.

  python -m benchmarks.cores                                     # the toy configs, 1 and all cores
  python -m benchmarks.cores --configs=configs/toys.py --devices=1,2,4

The compiled steps of each number of devices take turns at 16 steps, so that each lazy term counts
as often as in training. The images are random and lie on the devices; the global batch is the same.
"""

import argparse
import os
import time

import jax
import numpy as np

from benchmarks.train_step import load
from jax3dgan import (
  cameras,
  compilation,
  cpu_devices,
  discriminators,
  generators,
  parallel,
  recipes,
  schedule,
)
from jax3dgan import state as state_lib

CYCLE = 16
CONFIGS = ('toys', 'toys_2d', 'eg3d_toys', 'eg3d_toys_posefree')


def build(config, number):
  """A function that takes a step of `config` on the first `number` devices."""
  mesh = parallel.make_mesh(jax.devices()[:number])
  stage = schedule.stages(config, number)[0]
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  state = state_lib.create(config, generator, discriminator)
  b, rng = stage.batch_size, np.random.default_rng(0)
  shape = (b, stage.resolution, stage.resolution, 3)
  batch = {'image': rng.integers(0, 256, shape, np.uint8)}
  if config.data.use_labels:
    yaw = rng.uniform(-3, 3, b)
    orbit = cameras.orbit(yaw, np.full(b, 1.2), config.render.radius, config.render.fov_degrees)
    batch['label'] = np.asarray(orbit.label())
  batch, held = parallel.shard(batch, mesh), [parallel.replicate(state, mesh)]
  step = recipes.make_train_step(config, generator, discriminator, stage)
  step = jax.jit(parallel.data_parallel(step, mesh), donate_argnums=0)
  step = step.lower(held[0], batch).compile(recipes.compiler_options(config))

  def run():
    held[0], metrics = step(held[0], batch)
    jax.block_until_ready((held[0], metrics))

  return run


def main(argv=None):
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--configs', default=','.join(f'configs/{name}.py' for name in CONFIGS))
  flags.add_argument('--devices', help='numbers of them; 1 and what training takes by itself')
  flags.add_argument('--cycles', type=int, default=4)
  args = flags.parse_args(argv)
  compilation.use_cache()
  configs = {path: load(path) for path in args.configs.split(',')}
  cores = os.cpu_count() or 1
  numbers = {
    path: [int(n) for n in args.devices.split(',')]
    if args.devices
    else sorted({1, cpu_devices.sharing(config, cores)})
    for path, config in configs.items()
  }
  jax.config.update('jax_num_cpu_devices', max(max(n) for n in numbers.values()))
  print('| config | batch | devices | step, s | of the time with one |\n|---|---|---|---|---|')
  for path, config in configs.items():
    steps = {number: build(config, number) for number in numbers[path]}
    seconds = {number: [] for number in steps}
    for cycle in range(args.cycles + 1):  # the first warms up
      for number, step in steps.items():
        began = time.perf_counter()
        for _ in range(CYCLE):
          step()
        if cycle:
          seconds[number].append((time.perf_counter() - began) / CYCLE)
    medians = {number: float(np.median(s)) for number, s in seconds.items()}
    first = medians[numbers[path][0]]
    for number, median in medians.items():
      print(
        f'| {path} | {config.batch_size} | {number} | {median:.3f} | {median / first:.2f} |',
        flush=True,
      )


if __name__ == '__main__':
  main()
