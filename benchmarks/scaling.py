"""Is a step data parallel? FLOPs and collectives of one device in the compiled program.

  python -m benchmarks.scaling                                  # toys and CelebA on 1, 2, 4, 8
  python -m benchmarks.scaling --cases=toys --devices=1,8

Nothing is run: the steps, in the forms of an accelerator, are compiled for as many CPU devices, and
the programs are read (`jax3dgan/tools/hlo.py`). The global batch is the same on all numbers of
devices. 'share' is FLOPs of a device times devices, divided by those of one device alone: 1 where
nothing is computed twice. The bytes that a device sends are computed for rings: 2 (n − 1)/n of the
bytes of an all-reduce, (n − 1)/n of an all-gather's.
"""

import argparse
import importlib

import jax
import numpy as np

from jax3dgan import discriminators, generators
from jax3dgan.devices import parallel
from jax3dgan.nn import backend
from jax3dgan.tools import hlo
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

# Name → config, fields.
CASES = {
  'toys': ('toys', {}),
  'celeba': ('celeba', {'micro_batches': 1}),
  'celeba, 2 micro-batches a device': ('celeba', {'batch_size': 64, 'micro_batches': 2}),
}


def load(case):
  """The config of a case."""
  name, fields = CASES[case]
  config = importlib.import_module(f'configs.{name}').get_config()
  with config.unlocked():
    config.update_from_flattened_dict(fields)
  return config


def compiled_step(config, num_devices, forms='gpu'):
  """The first stage's step, compiled for the first `num_devices` devices; and its state's shapes.

  Args:
    config: of the run.
    num_devices: among which the config's batch is split.
    forms: the platform whose forms the step takes.
  """
  mesh = parallel.make_mesh(jax.devices()[:num_devices])
  stage = schedule.stages(config, num_devices)[0]
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  state = jax.eval_shape(lambda: state_lib.create(config, generator, discriminator))
  size = (stage.padded_batch_size, stage.resolution, stage.resolution, 3)
  batch = {'image': jax.ShapeDtypeStruct(size, np.uint8)}
  step = step_lib.make_train_step(config, generator, discriminator, stage)
  step = jax.jit(parallel.data_parallel(step, mesh), donate_argnums=0)
  with backend.lowering_for(forms):
    lowered = step.trace(state, batch).lower()
    return lowered.compile(), state


def gradient_bytes(state):
  """Bytes of the gradients of both networks."""
  leaves = jax.tree.leaves(state.networks)
  return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def main(argv=None):
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--cases', default=';'.join(CASES), help='separated by semicolons')
  flags.add_argument('--devices', default='1,2,4,8')
  args = flags.parse_args(argv)
  numbers = [int(n) for n in args.devices.split(',')]
  jax.config.update('jax_num_cpu_devices', max(numbers))
  head = ['case', 'devices', 'images a device', 'GFLOP a device', 'share']
  head += [
    'all-reduce, bytes',
    'gradients, bytes',
    'all-gather, bytes',
    'other',
    'MB sent a device',
  ]
  print('| ' + ' | '.join(head) + ' |\n' + '|---' * len(head) + '|')
  for case in args.cases.split(';'):
    config, alone = load(case), None
    for n in numbers:
      own = config.copy_and_resolve_references()
      own.micro_batches *= n  # in all
      compiled, state = compiled_step(own, n)
      program = hlo.read(compiled.as_text())
      alone = alone or program.flops * n
      reduced, gathered = program.bytes('all-reduce'), program.bytes('all-gather')
      every = sum(c.bytes * c.count for c in program.collectives)
      row = [case, n, f'{own.batch_size / n:.3g}', f'{program.flops / 1e9:.1f}']
      row += [f'{n * program.flops / alone:.4f}', f'{reduced:,}']
      row += [f'{gradient_bytes(state):,}', gathered]
      row += [every - reduced - gathered, f'{sum(c.sent for c in program.collectives) / 1e6:.1f}']
      print('| ' + ' | '.join(map(str, row)) + ' |', flush=True)


if __name__ == '__main__':
  main()
