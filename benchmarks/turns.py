"""Training steps that take turns, so that what else a machine does falls on all of them."""

import time

import jax
import numpy as np

from jax3dgan.devices import parallel
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
