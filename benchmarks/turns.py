"""Training steps that take turns, so that what else a machine does falls on all of them."""

import argparse
import time
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np

from jax3dgan import discriminators, generators, recipes
from jax3dgan.devices import compilation, cpu_devices, parallel
from jax3dgan.training import device_count, schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib

# Each lazy term of a step counts as often as in training.
CYCLE = 16


def training_step(config, generator, discriminator, stage, state, batch, mesh):
  """A function that takes a step, compiled as training compiles it; state and batch of the host."""
  step = step_lib.make_train_step(config, generator, discriminator, stage)
  step = jax.jit(parallel.data_parallel(step, mesh), donate_argnums=0)
  held, batch = [parallel.replicate(state, mesh)], parallel.shard(batch, mesh)
  step = step.lower(held[0], batch).compile(step_lib.compiler_options(config))

  def run(number):
    del number  # the state has the step
    held[0], metrics = step(held[0], batch)
    jax.block_until_ready((held[0], metrics))

  return run


def medians(steps, cycles, now=time.perf_counter, length=CYCLE):
  """Seconds, of the clock `now`, of a step of each of `steps`, functions of its number within a
  cycle.

  They take turns at `length` steps, after one round that does not count.
  """
  seconds = [[] for _ in steps]
  for cycle in range(cycles + 1):
    for own, step in zip(seconds, steps, strict=True):
      began = now()
      for number in range(length):
        step(number)
      if cycle:
        own.append((now() - began) / length)
  return [float(np.median(own)) for own in seconds]


class Fresh(NamedTuple):
  """What a step starts from: a stage, its networks, a state, and photos of bytes [b, r, r, 3]."""

  stage: schedule.Stage
  generator: nn.Module
  discriminator: nn.Module
  state: state_lib.TrainState
  image: np.ndarray

  @property
  def networks(self) -> recipes.Networks:
    """Parameters and buffers, as arrays of NumPy."""
    return recipes.Networks(*jax.tree.map(np.asarray, (self.state.networks, self.state.buffers)))


def fresh(config, mesh) -> Fresh:
  """Fresh networks and random photos of a config's first stage."""
  stage = schedule.stages(config, mesh.size)[0]
  networks = generators.create(config), discriminators.create(config.discriminator)
  size = (stage.batch_size, stage.resolution, stage.resolution, 3)
  image = np.random.default_rng(0).integers(0, 256, size, np.uint8)
  return Fresh(stage, *networks, state_lib.create(config, *networks), image)


def losses_of(config, start: Fresh, inputs_of, theirs) -> dict:
  """{loss: (ours, PyTorch's)} of the phases of a step.

  Args:
    inputs_of: the name of a phase → its `recipes.Inputs`.
    theirs: by the same names, scalars of PyTorch.
  """
  networks, found = recipes.Networks(start.state.networks, start.state.buffers), {}
  recipe = recipes.create(config.recipe)
  for phase in recipe.phases(config, start.generator, start.discriminator, start.stage):
    own = jax.jit(
      lambda params, phase=phase: phase.loss(
        params, networks, inputs_of(phase.name), recipes.Now(0, 0)
      )[0]
    )
    found[phase.name] = float(own(networks.params[phase.network])), theirs[phase.name].item()
  return found


def compared(config, build):
  """(step(number), PyTorch's) of a config, whose losses are compared first.

  Args:
    build: (config, mesh) → (step(number), PyTorch's, {loss: (ours, theirs)}).
  """
  import torch

  # As `main` does; both sides compute the same images: none that do not count.
  cpu_devices.enable(device_count.largest(config, cpu_devices.cores()))
  number = device_count.largest(config, jax.device_count())
  ours, theirs, losses = build(config, parallel.make_mesh(jax.devices()[:number]))
  print(
    f'{torch.get_num_threads()} threads, {number} devices; batch {config.batch_size}; '
    f'torch {torch.__version__}, jax {jax.__version__}'
  )
  for name, (own, their) in losses.items():
    print(f'loss {name}: ours {own:.6f}, PyTorch {their:.6f}, apart {abs(own - their):.1e}')
  return ours, theirs


def report(own: float, their: float, batch: int) -> None:
  """Prints the seconds of a step."""
  print(
    f'a step: PyTorch {their:.3f} s, jax3dgan {own:.3f} s, ratio {their / own:.2f}; '
    f'{batch / own:.1f} images/s'
  )


def main(make_config, build, about):
  """The program of a training step here against plain PyTorch.

  Args:
    make_config: the config of a batch size.
    build: see `compared`.
    about: what it says of itself.
  """
  from benchmarks import style

  flags = argparse.ArgumentParser(description=about.splitlines()[0])
  flags.add_argument('--batch', type=int, default=16)
  flags.add_argument('--cycles', type=int, default=3)
  flags.add_argument('--processor_time', action='store_true', help='see `style.clock`')
  args = flags.parse_args()
  compilation.use_cache()
  now = style.clock(args.processor_time)
  report(*medians(compared(make_config(args.batch), build), args.cycles, now), args.batch)
