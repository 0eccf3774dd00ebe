"""Times one training step of a config: images per second, compilation, FLOPs, memory.

  python -m benchmarks.train_step --config=configs/toys.py
  python -m benchmarks.train_step --config=configs/celeba.py --batch=4 --micro-batches=1
  python -m benchmarks.train_step --config=configs/celeba.py --matmul-dtype=bfloat16 \\
    --saved-activations=phases --micro-batches=1 --peak-tflops=989 --profile=profile

The images are random: the step costs the same for any. With --peak-tflops, the device's, the share
of it that the step's model FLOPs reach (MFU): for π-GAN those of `benchmarks/roofline.py`, to which
no repeated pass adds. Where phases are due every few steps only, FLOPs and the median are those of
a step without them, and --repeats=16 gives the mean of a cycle. --profile writes a trace of three
steps for TensorBoard or Perfetto.
"""

import argparse
import contextlib
import importlib.util
import resource
import time

import jax
import numpy as np

from benchmarks import roofline
from jax3dgan import cameras, discriminators, generators
from jax3dgan.data import feed
from jax3dgan.devices import parallel
from jax3dgan.tools import fit, flops
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib


def load(path):
  """The config of a file."""
  spec = importlib.util.spec_from_file_location('benchmarked_config', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()


def examples(config, stage):
  """A batch of random images, with cameras of an orbit where the config has labels."""
  rng, n = np.random.default_rng(0), stage.padded_batch_size
  size = (n, stage.resolution, stage.resolution, 3)
  camera = cameras.orbit(rng.uniform(-1, 1, n), np.full(n, 0.2), config.render.radius, 18.0)
  batch = {
    'image': rng.integers(0, 256, size, np.uint8),
    'label': np.asarray(camera.label(), np.float32),
  }
  return {name: batch[name] for name in feed.names(config)}


def model_flops(config, stage, traced, num_devices, open_ended=None):
  """FLOPs of a step's products, on all devices, without what it repeats and without phases that
  are not due in most steps: by formulas for a SIREN with its paper's loss, else counted in the
  traced step, which repeats nothing where it has neither micro-batches nor chunks.

  Args:
    open_ended: see `flops.products`.
  """
  loss = config.loss
  own_loss = loss.get('adversarial') == 'non_saturating' and not loss.get('r2')
  if config.model.name == 'pigan' and own_loss:
    return roofline.step_flops(config, stage)
  return num_devices * flops.products(traced.jaxpr, min, open_ended)


def measure(config, repeats, peak_tflops=0.0, profile=''):
  """Compiles and runs the first stage's step; returns the figures by name.

  Args:
    repeats: number of timings.
    peak_tflops: of one device, 10^12 FLOP/s; 0 leaves out the share of it that is reached.
    profile: a folder for a trace of three more steps, or ''.
  """
  mesh = parallel.make_mesh()
  stage = schedule.stages(config, mesh.size)[0]
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  create = jax.jit(lambda: state_lib.create(config, generator, discriminator))
  state = parallel.replicate(create(), mesh)
  step = step_lib.make_train_step(config, generator, discriminator, stage)
  batch = parallel.shard(examples(config, stage), mesh)
  began = time.perf_counter()
  traced = jax.jit(parallel.data_parallel(step, mesh), donate_argnums=0).trace(state, batch)
  compiled = traced.lower().compile(step_lib.compiler_options(config))
  compilation = time.perf_counter() - began
  state, _ = jax.block_until_ready(compiled(state, batch))
  seconds, processor = [], []
  for _ in range(repeats):
    began = time.perf_counter(), time.process_time()
    state, _ = jax.block_until_ready(compiled(state, batch))
    seconds.append(time.perf_counter() - began[0])
    processor.append(time.process_time() - began[1])
  with jax.profiler.trace(profile) if profile else contextlib.nullcontext():
    for _ in range(3 if profile else 0):
      state, _ = jax.block_until_ready(compiled(state, batch))
  median = float(np.median(seconds))
  open_ended = 0 if generator.not_counted else None
  tflop = model_flops(config, stage, traced, mesh.size, open_ended) / 1e12
  utilisation = {}
  if peak_tflops:
    utilisation['MFU, %'] = 100 * tflop / median / (peak_tflops * mesh.size)
  return {
    'compilation, s': compilation,
    'step, s (median)': median,
    'step, s (mean)': float(np.mean(seconds)),
    'step, s (least)': min(seconds),
    'processor, s (least)': min(processor),
    'images/s (median)': stage.batch_size / median,
    'model TFLOP': tflop,
    'TFLOP/s (median)': tflop / median,
    **utilisation,
    'program, GiB': fit.peak_bytes(compiled) / 2**30,
    'temporaries, MiB': compiled.memory_analysis().temp_size_in_bytes / 2**20,
    'process peak, MiB': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
  }


def main(argv=None):
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--config', required=True)
  flags.add_argument('--batch', type=int)
  flags.add_argument('--micro-batches', type=int)
  flags.add_argument('--ray-chunk', type=int)
  flags.add_argument('--saved-activations', help="'all' or 'phases'")
  flags.add_argument('--matmul-dtype', help='precision policy of generator and discriminator')
  flags.add_argument('--repeats', type=int, default=5)
  flags.add_argument('--peak-tflops', type=float, default=0.0, help='of one device, for the MFU')
  flags.add_argument('--profile', default='', help='folder for a trace of three steps')
  args = flags.parse_args(argv)
  config = load(args.config)
  if args.batch:
    config.batch_size = args.batch
  if args.micro_batches:
    config.micro_batches = args.micro_batches
  if args.ray_chunk is not None:
    config.render.ray_chunk = args.ray_chunk
  if args.saved_activations:
    config.render.saved_activations = args.saved_activations
  if args.matmul_dtype:
    config.model.matmul_dtype = config.discriminator.matmul_dtype = args.matmul_dtype
  device = f'{jax.device_count()} x {jax.devices()[0].device_kind}'
  size = f'batch {config.batch_size}, {config.resolution}², {config.model.matmul_dtype}'
  print(f'{args.config}: {size}, {device}, jax {jax.__version__}')
  figures = measure(config, args.repeats, args.peak_tflops, args.profile)
  for name, value in figures.items():
    print(f'{name:20s} {value:10.3f}')
  if counted_out := generators.create(config).not_counted:
    print(f'FLOPs without {counted_out}')


if __name__ == '__main__':
  main()
