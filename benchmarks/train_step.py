"""Times one training step of a config: images per second, compilation, FLOPs, memory.

  python -m benchmarks.train_step --config=configs/toys.py
  python -m benchmarks.train_step --config=configs/celeba.py --batch=4 --micro-batches=1

The images are random: the step costs the same for any.
"""

import argparse
import importlib.util
import resource
import time

import jax
import numpy as np

from jax3dgan import discriminators, generators, parallel, schedule, steps
from jax3dgan import state as state_lib


def load(path):
  """The config of a file."""
  spec = importlib.util.spec_from_file_location('benchmarked_config', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


def measure(config, repeats):
  """Compiles and runs the first stage's step; returns the figures by name."""
  mesh = parallel.make_mesh()
  stage = schedule.stages(config, mesh.size)[0]
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  state = parallel.replicate(state_lib.create(config, generator, discriminator), mesh)
  step = steps.make_train_step(config, generator, discriminator, stage)
  size = (stage.batch_size, stage.resolution, stage.resolution, 3)
  images = np.random.default_rng(0).integers(0, 256, size, np.uint8)
  images = parallel.shard({'image': images}, mesh)['image']
  began = time.perf_counter()
  compiled = jax.jit(parallel.data_parallel(step, mesh), donate_argnums=0)
  compiled = compiled.lower(state, images).compile()
  compilation = time.perf_counter() - began
  state, _ = jax.block_until_ready(compiled(state, images))
  seconds = []
  for _ in range(repeats):
    began = time.perf_counter()
    state, _ = jax.block_until_ready(compiled(state, images))
    seconds.append(time.perf_counter() - began)
  median = float(np.median(seconds))
  return {
    'compilation, s': compilation,
    'step, s (median)': median,
    'step, s (least)': min(seconds),
    'images/s (median)': stage.batch_size / median,
    'temporaries, MiB': compiled.memory_analysis().temp_size_in_bytes / 2**20,
    'process peak, MiB': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
  }


def main():
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--config', required=True)
  flags.add_argument('--batch', type=int)
  flags.add_argument('--micro-batches', type=int)
  flags.add_argument('--ray-chunk', type=int)
  flags.add_argument('--repeats', type=int, default=5)
  args = flags.parse_args()
  config = load(args.config)
  if args.batch:
    config.batch_size = args.batch
  if args.micro_batches:
    config.micro_batches = args.micro_batches
  if args.ray_chunk is not None:
    config.render.ray_chunk = args.ray_chunk
  device = jax.devices()[0].device_kind
  size = f'batch {config.batch_size}, {config.resolution}²'
  print(f'{args.config}: {size}, {device}, jax {jax.__version__}')
  for name, value in measure(config, args.repeats).items():
    print(f'{name:20s} {value:10.3f}')


if __name__ == '__main__':
  main()
