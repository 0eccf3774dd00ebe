"""Times rendering on several CPU devices: one picture cut along its rays, and a batch of pictures.

  python -m benchmarks.rays --config=configs/celeba.py --resolution=256 --devices=1,2,4,8
  python -m benchmarks.rays --config=configs/toys.py --resolution=64 --batches=1,3,16

The devices are virtual ones that share the machine's cores, and the numbers of devices take turns:
the measurement shows the overhead of splitting, not the gain of more cores. It also prints the
FLOPs and the memory of one device's program, which would be those of a real device. FLOPs are XLA's
for a small picture without chunks, of which it counts every one.
"""

import argparse
import dataclasses
import time

import jax
import numpy as np

from benchmarks import train_step
from jax3dgan import generators, trained

_COUNTED = 24  # pixels on a side, small enough for a program without a loop


def program(model, w, camera, options):
  """The compiled program of a batch."""
  return model.compiled.synthesize.lower(model.variables_on_mesh(), w, camera, options).compile()


def measure(models, batch, resolution, repeats):
  """Prints a line for each model.

  Args:
    models: {number of devices: `trained.Trained`}.
    batch: Images at a time.
    resolution: Pixels on a side.
    repeats: Number of timings of each; they take turns.
  """
  any_model = next(iter(models.values()))
  w = np.asarray(any_model.map(any_model.latents(range(batch)), psi=1))
  camera = jax.tree.map(np.asarray, any_model.orbit(np.linspace(-0.3, 0.3, batch)))
  seconds = {count: [] for count in models}
  for i in range(repeats + 1):  # the first one compiles
    for count, model in models.items():
      began = time.perf_counter()
      model.render(w, camera, resolution, batch=batch)
      if i:
        seconds[count].append(time.perf_counter() - began)
  for count, model in models.items():
    whole = program(model, w, camera, model.options(resolution))
    small = model.options(_COUNTED, ray_chunk=0, num_coarse=3, num_fine=3)
    flops = program(model, w[:1], jax.tree.map(lambda x: x[:1], camera), small)
    flops = flops.cost_analysis()['flops'] / 1e6
    memory = whole.memory_analysis().temp_size_in_bytes / 2**20
    times = seconds[count]
    print(
      f'batch {batch:3d}, {resolution}², {count} devices: {np.median(times):7.3f} s '
      f'({min(times):.3f}–{max(times):.3f}), temporaries of a device {memory:6.1f} MiB, '
      f'one {_COUNTED}² picture {flops:8.2f} MFLOP a device',
      flush=True,
    )


def main(argv=None):
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--config', default='configs/celeba.py')
  flags.add_argument('--resolution', type=int, default=256)
  flags.add_argument('--batches', default='1,16')
  flags.add_argument('--devices', default='1,2,4,8')
  flags.add_argument('--repeats', type=int, default=3)
  args = flags.parse_args(argv)
  counts = [int(count) for count in args.devices.split(',')]
  jax.config.update('jax_num_cpu_devices', max(counts))
  config = train_step.load(args.config)
  generator = generators.create(config)
  model = trained.Trained(config, generator, generators.init(generator, jax.random.key(0)), 1)
  devices = jax.local_devices()
  models = {count: dataclasses.replace(model, devices=devices[:count]) for count in counts}
  print(f'{args.config}: {devices[0].device_kind}, jax {jax.__version__}, untrained')
  for batch in args.batches.split(','):
    measure(models, int(batch), args.resolution, args.repeats)


if __name__ == '__main__':
  main()
