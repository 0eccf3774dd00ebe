"""The training step of a stage, compiled without running it, and the largest batch that fits.

Memory is affine in the micro-batch, so that a few compilations find the largest.
"""

import dataclasses
import math
import time
from collections.abc import Callable

import jax

from jax3dgan import discriminators, generators
from jax3dgan.data import feed
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.nn import backend
from jax3dgan.tools import hlo
from jax3dgan.training import batch_split, schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib
from jax3dgan.training.batch_split import BatchSplit

# The search ends here if memory hardly grows with the batch (rendering in chunks on a CPU).
MAX_BATCH = 4096
_MAX_COMPILATIONS = 6


class Step:
  """The training step of a stage as one device runs it, for any micro-batch."""

  def __init__(self, config, stage: schedule.Stage, platform: str):
    self._config, self.stage, self.platform = config, stage, platform
    self.generator = generators.create(config)
    self._discriminator = discriminators.create(config.discriminator)
    # Images that the discriminator compares: a micro-batch has whole groups of them.
    self.group_size = (self._discriminator and self._discriminator.group_size) or 1
    self.state = jax.eval_shape(
      lambda: state_lib.create(config, self.generator, self._discriminator)
    )

  def trace(
    self,
    batch: int,
    platform: str | None = None,
    ray_chunk: int | None = None,
    micro_batches: int | None = None,
  ):
    """The step traced for `batch` images of one device; micro-batches and `ray_chunk` as in the
    stage unless they are given."""
    options = self.stage.options
    if ray_chunk is not None:
      options = dataclasses.replace(options, ray_chunk=ray_chunk)
    micro_batches = micro_batches or self.stage.micro_batches
    split = BatchSplit(batch, 1, micro_batches, batch // micro_batches)
    stage = dataclasses.replace(self.stage, split=split, options=options)
    step = step_lib.make_train_step(self._config, self.generator, self._discriminator, stage)
    mesh = parallel.make_mesh(jax.local_devices()[:1])
    examples = feed.shapes(self._config, batch, stage.resolution)
    step = jax.jit(parallel.data_parallel(step, mesh, feed.specs(self._config)), donate_argnums=0)
    with backend.lowering_for(platform or self.platform):
      return step.trace(self.state, examples)

  def compile(self, micro_batch: int):
    """(compiled step, seconds of its compilation) for micro-batches of that many images."""
    batch = micro_batch * self.stage.micro_batches
    with backend.lowering_for(self.platform):
      lowered = self.trace(batch).lower()
      began = time.perf_counter()
      return lowered.compile(step_lib.compiler_options(self._config)), time.perf_counter() - began


def num_parameters(tree) -> int:
  """Numbers in a pytree of arrays or shapes."""
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def num_bytes(tree) -> int:
  """Bytes of a pytree of arrays or shapes."""
  return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def peak_bytes(compiled) -> int:
  """Peak bytes of a compiled program: arguments, results, temporaries; donated arrays count
  once."""
  memory = compiled.memory_analysis()
  peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
  return peak - memory.alias_size_in_bytes


def largest_batch(peak_of: Callable[[int], int], start: int, limit: int) -> tuple[int, dict]:
  """The largest micro-batch that fits, found with few compilations.

  Memory is affine in the micro-batch: two points give the line, and the third is the largest
  according to it. If it does not fit, the line through the nearest points gives the next size.

  Args:
    peak_of: bytes of a micro-batch; each call is a compilation.
    start: where to begin.
    limit: available bytes.

  Returns:
    The largest micro-batch that was compiled and fits, 0 if none does, MAX_BATCH if all do; and
    {'points': bytes by micro-batch, 'deviation': the third point's, relative to the line, None
    where the line was not needed, 'exact': whether the next larger one is known not to fit}.
  """
  points = {size: peak_of(size) for size in (start, 2 * start)}
  deviation = None
  while True:
    fits = max((m for m, used in points.items() if used <= limit), default=0)
    over = min((m for m, used in points.items() if used > limit), default=MAX_BATCH + 1)
    if over == fits + 1 or fits >= MAX_BATCH or len(points) == _MAX_COMPILATIONS:
      break
    # The two points nearest to the limit: at the end they are on both sides of it.
    near = sorted(points, key=lambda m: abs(points[m] - limit))[:2]
    low, high = sorted(near)
    slope = (points[high] - points[low]) / (high - low)
    guess = low + (limit - points[low]) / slope if slope > 0 else MAX_BATCH
    guess = min(max(math.floor(min(guess, MAX_BATCH)), fits + 1), over - 1)
    # A point that fits and is the last by the line: the line is checked where it matters.
    points[guess] = peak_of(guess)
    if deviation is None:
      deviation = points[guess] / (points[low] + slope * (guess - low)) - 1
    if points[guess] <= limit < points[guess] + slope:
      fits, over = guess, guess + 1
      break
  return fits, {
    'points': dict(sorted(points.items())),
    'deviation': deviation,
    'exact': over == fits + 1 and fits < MAX_BATCH,
  }


def plan_memory(step: Step, batch: int, limit: int, say: Callable[[str], None]) -> dict:
  """Compiles the step of a stage; the memory that it needs, and the largest batch that fits.

  Args:
    batch: images of a device.
    limit: bytes that a device has.
    say: Called with what is being compiled.
  """
  size, configured = step.stage.resolution, batch // step.stage.micro_batches
  group, programs = step.group_size, {}

  def peak_of(micro_batch):
    say(f'{size}²: compiling micro-batches of {micro_batch} ...')
    compiled, seconds = step.compile(micro_batch)
    memory = compiled.memory_analysis()
    programs[micro_batch] = {
      'seconds': seconds,
      'arguments': memory.argument_size_in_bytes,
      'temporaries': memory.temp_size_in_bytes,
    }
    if micro_batch == configured:
      programs[micro_batch]['flops'] = hlo.read(compiled.as_text()).flops / batch
    return peak_bytes(compiled)

  # On several devices a micro-batch may be less than a group.
  peak = peak_of(configured) if configured % group else None
  largest, line = largest_batch(lambda n: peak_of(n * group), max(configured // group, 1), limit)
  largest, line['points'] = largest * group, {n * group: x for n, x in line['points'].items()}
  own, peak = programs[configured], peak or line['points'][configured]
  if peak <= limit:
    largest = max(largest, configured)
  result = {
    'arguments_bytes': own['arguments'],
    'temporary_bytes': own['temporaries'],
    'peak_bytes': peak,
    'fits': peak <= limit,
    'largest_micro_batch': largest,
    'largest_batch': largest * step.stage.micro_batches,
    'fit': line,
    'compilation_seconds': own['seconds'],
    'compiled_flops_per_image': own['flops'],
  }
  if not result['fits'] and (fitting := _micro_batches(step, largest)):
    result['micro_batches_that_fit'] = fitting
  return result


def _micro_batches(step: Step, largest: int) -> int | None:
  """The least `config.micro_batches` with at most so many images in each; None if there is none."""
  whole, num_devices = step.stage.batch_size, step.stage.split.num_devices
  for number in range(-(-whole // largest) if largest else whole + 1, whole + 1):
    try:
      split = batch_split.split(whole, number, num_devices, step.group_size)
    except UserError:
      return None
    if split.micro_batch_size <= largest:
      return number
  return None
