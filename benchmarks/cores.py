"""A training step with one device for all cores of a CPU, and with a device for each, in one run.

  python -m benchmarks.cores                                     # the toy configs, 1 and all cores
  python -m benchmarks.cores --configs=configs/toys.py --devices=1,2,4

The compiled steps of each number of devices take turns at 16 steps, so that each lazy term counts
as often as in training. The images are random and are on the devices; the global batch is the same.
"""

import argparse

import jax
import numpy as np

from benchmarks import turns
from benchmarks.train_step import load
from jax3dgan import cameras, discriminators, generators
from jax3dgan.devices import compilation, cpu_devices, parallel
from jax3dgan.training import device_count, schedule
from jax3dgan.training import state as state_lib

CONFIGS = ('toys', 'toys_2d', 'eg3d_toys', 'eg3d_toys_posefree')


def build(config, number):
  """A function that takes a step of `config` on the first `number` devices."""
  mesh = parallel.make_mesh(jax.devices()[:number])
  stage = schedule.stages(config, number)[0]
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  state = state_lib.create(config, generator, discriminator)
  b, rng = stage.padded_batch_size, np.random.default_rng(0)
  shape = (b, stage.resolution, stage.resolution, 3)
  batch = {'image': rng.integers(0, 256, shape, np.uint8)}
  if config.data.use_labels:
    yaw = rng.uniform(-3, 3, b)
    orbit = cameras.orbit(yaw, np.full(b, 1.2), config.render.radius, config.render.fov_degrees)
    batch['label'] = np.asarray(orbit.label())
  return turns.training_step(config, generator, discriminator, stage, state, batch, mesh)


def main(argv=None):
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--configs', default=','.join(f'configs/{name}.py' for name in CONFIGS))
  flags.add_argument('--devices', help='numbers of them; 1 and what training takes by itself')
  flags.add_argument('--cycles', type=int, default=4)
  args = flags.parse_args(argv)
  compilation.use_cache()
  configs = {path: load(path) for path in args.configs.split(',')}
  numbers = {
    path: [int(n) for n in args.devices.split(',')]
    if args.devices
    else sorted({1, device_count.largest(config, cpu_devices.cores())})
    for path, config in configs.items()
  }
  jax.config.update('jax_num_cpu_devices', max(max(n) for n in numbers.values()))
  print('| config | batch | devices | step, s | of the time with one |\n|---|---|---|---|---|')
  for path, config in configs.items():
    steps = {number: build(config, number) for number in numbers[path]}
    medians = turns.medians(list(steps.values()), args.cycles)
    for number, median in zip(steps, medians, strict=True):
      print(
        f'| {path} | {config.batch_size} | {number} | {median:.3f} | {median / medians[0]:.2f} |',
        flush=True,
      )


if __name__ == '__main__':
  main()
