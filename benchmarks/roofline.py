"""How fast could a training step be on a GPU? FLOPs, traffic and the floors that they set.

  python -m benchmarks.roofline                                  # an H200
  python -m benchmarks.roofline --tflops=790 --terabytes=3    # another device's figures

Nothing is run: two counts are compared, for every stage of the large configs.

- Arithmetic: the products of field, mapping network and discriminator, from the config's sizes, a
  multiply-add as two. 'one batch' is the step with neither micro-batches nor chunks of rays; 'as
  configured' adds what they repeat: a forward pass for top-k, a forward pass for rematerialisation.
- XLA: its own count for the lowered step of one batch, every operation included.

Traffic is that of the field's hidden activations, h numbers a point, when each FiLM layer is a
product and a sine that do not share a kernel: forward 2 reads and 2 writes, backward 4 and 3
(derivative of the sine: 2 and 1; each of the two products: reading the cotangent, and writing the
next one or reading the activation). 'half' has all of them in two bytes, a lower bound that no
policy offers; 'policy' has inputs of products in two bytes and phases and sums in four, as bfloat16
and float16 do; 'float32' is that policy. Only a kernel fused across layers goes below.
"""

import argparse
import dataclasses
import importlib
from typing import NamedTuple

import jax
import numpy as np

from jax3dgan import discriminators, generators
from jax3dgan.devices import parallel
from jax3dgan.nn import backend
from jax3dgan.rendering import hierarchical
from jax3dgan.training import schedule
from jax3dgan.training import state as state_lib
from jax3dgan.training import step as step_lib
from jax3dgan.training.batch_split import BatchSplit

CONFIGS = ('celeba', 'cats', 'carla')
# Bytes that one FiLM layer moves for each of its h activations of a point, forward and backward:
# product reads its input, writes the phase; sine reads it, writes the next input; backward reads
# cotangent and phase, writes their product as an input; two products read it, one of them writes
# a cotangent, the other reads the layer's input.
TRAFFIC = {
  'half': (2 + 2 + 2 + 2, 2 + 2 + 2 + 2 + 2 + 2 + 2),
  'policy': (2 + 4 + 4 + 2, 4 + 4 + 2 + 2 + 4 + 2 + 2),
  'float32': (4 + 4 + 4 + 4, 4 + 4 + 4 + 4 + 4 + 4 + 4),
}


class Passes(NamedTuple):
  """What a step does beside one generator pass with a gradient; the least is the default.

  Attributes:
    forward: passes through the generator without a gradient, or again for one.
    discriminator: passes through the discriminator without any gradient.
  """

  forward: int = 1  # D's images
  discriminator: int = 0


ONE_BATCH = Passes()


def field_flops(model):
  """(per point, per ray, of the first layer) FLOPs of one forward pass of the FiLM-SIREN."""
  h = model.hidden_dim
  first = 2 * 3 * h
  per_point = first + 2 * (model.num_layers * h * h + h + 3 * h)  # hidden and colour layers, heads
  return per_point, 2 * 3 * h, first


def mapping_flops(model):
  """FLOPs of the mapping network for one latent."""
  m, h = model.mapping_dim, model.hidden_dim
  out = (model.num_layers + 1) * 2 * h
  return 2 * (model.z_dim * m + (model.mapping_layers - 1) * m * m + m * out)


def generator_flops(config, stage):
  """(forward, backward) FLOPs of one image."""
  options = stage.options
  rays, samples = stage.resolution**2, options.num_coarse + options.num_fine
  per_point, per_ray, first = field_flops(config.model)
  per_ray *= 1 + bool(options.num_fine)
  forward = rays * (samples * per_point + per_ray) + mapping_flops(config.model)
  # Points and directions have no gradient.
  return forward, 2 * forward - rays * (samples * first + per_ray)


def _taps(size, kernel, stride, padding):
  """Taps of a kernel that fall on the image and not on its padding, in one dimension: what XLA
  counts."""
  starts = np.arange(-padding, size + padding - kernel + 1, stride)[:, None]
  taps = starts + np.arange(kernel)
  return int(np.sum((taps >= 0) & (taps < size)))


def discriminator_flops(config, stage):
  """(forward, of that its entry) FLOPs of one image."""

  def conv(size, kernel, stride, padding, c_in, c_out):
    return 2 * _taps(size, kernel, stride, padding) ** 2 * c_in * c_out

  d = config.discriminator
  widths = dict(zip((2**i for i in range(len(d.channels), 0, -1)), d.channels, strict=True))
  size = stage.resolution
  entry = total = conv(size, 1, 1, 0, 3, widths[size])
  while size > 2:
    c_in, c_out, pool = widths[size], widths[size // 2], d.block == 'progressive'
    total += conv(size, 3, 1, 1, c_in, c_out)
    total += conv(size, 3, 1 if pool else 2, 1, c_out, c_out)
    size //= 2
    if not pool or c_in != c_out:
      total += conv(size, 1, 1, 0, c_in, c_out)  # behind the pooling, or with stride 2
  return total + conv(2, 2, 1, 0, widths[2], 1 + d.latent_dim + d.pose_dim), entry


def configured_passes(config, stage):
  """`Passes` of the step as it is configured."""
  rays = stage.resolution**2
  top_k = bool(config.loss.top_k_interval) and stage.micro_batches > 1
  again = hierarchical.divisor(rays, stage.options.ray_chunk) < rays
  again = again and stage.options.saved_activations == 'all'
  return Passes(1 + top_k + again, int(top_k))


def step_flops(config, stage, passes=ONE_BATCH):
  """FLOPs of the products of a whole step: forward passes, gradients, R1."""
  forward, backward = generator_flops(config, stage)
  generator = (passes.forward + 1) * forward + backward
  once, entry = discriminator_flops(config, stage)
  # D: real and fake images forward and backward, but for the images' own gradient.
  discriminator = 2 * (3 * once - entry)
  # R1: that gradient, which comes with the loss's, and backward through it alone: the slopes of a
  # leaky ReLU have no gradient.
  if config.loss.r1:
    discriminator += (2 * once + entry) / max(config.loss.r1_every, 1)
  discriminator += (2 + passes.discriminator) * once  # G's images: forward, and their gradient
  return stage.batch_size * (generator + discriminator)


def step_traffic(config, stage, kind, passes=ONE_BATCH):
  """Bytes that the field's hidden activations move in a step."""
  samples = stage.options.num_coarse + stage.options.num_fine
  points = stage.batch_size * stage.resolution**2 * samples
  forward, backward = TRAFFIC[kind]
  layers = config.model.num_layers + 1
  layer = (passes.forward + 1) * forward + backward
  return points * layers * config.model.hidden_dim * layer


def xla_cost(config, stage):
  """XLA's cost analysis of a step in one batch, lowered with an accelerator's forms.

  The body of a loop is counted once, whatever its trip count; so there are no micro-batches and no
  chunks.
  """
  options = dataclasses.replace(stage.options, ray_chunk=0)
  split = BatchSplit(stage.batch_size, 1, 1, stage.batch_size)
  stage = dataclasses.replace(stage, split=split, options=options)
  mesh = parallel.make_mesh(jax.devices()[:1])
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  state = jax.eval_shape(lambda: state_lib.create(config, generator, discriminator))
  size = (stage.batch_size, stage.resolution, stage.resolution, 3)
  batch = {'image': jax.ShapeDtypeStruct(size, np.uint8)}
  step = step_lib.make_train_step(config, generator, discriminator, stage)
  # Polynomials and comparisons in place of sines and gathers are operations that XLA counts.
  plain = {'sine': 'xla', 'take': 'gather', 'permuted': 'gather'}
  with backend.lowering_for('cuda'), backend.choose(**plain):
    traced = jax.jit(parallel.data_parallel(step, mesh)).trace(state, batch)
    return traced.lower().cost_analysis()


def main():
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--tflops', type=float, default=790.0, help='10^12 FLOP/s that products reach')
  flags.add_argument(
    '--terabytes', type=float, default=4.3, help='10^12 byte/s that memory reaches'
  )
  args = flags.parse_args()
  print(f'Floors for {args.tflops:g} TFLOP/s and {args.terabytes:g} TB/s.\n')
  head = ['config', 'TFLOP, one batch', 'TFLOP by XLA', 'TFLOP, as configured']
  head += ['ms by arithmetic (as configured)', *(f'traffic, {kind}: GB (ms)' for kind in TRAFFIC)]
  head += ['traffic by XLA, unfused, float32: GB']
  print('| ' + ' | '.join(head) + ' |\n' + '|---' * len(head) + '|')
  for name in CONFIGS:
    config = importlib.import_module(f'configs.{name}').get_config()
    for stage in schedule.stages(config):
      flops = step_flops(config, stage)
      configured = step_flops(config, stage, configured_passes(config, stage))
      cost = xla_cost(config, stage)
      row = [f'{name} {stage.resolution}², batch {stage.batch_size}']
      row += [f'{x / 1e12:.1f}' for x in (flops, cost['flops'], configured)]
      row += [f'{flops / args.tflops / 1e9:.0f} ({configured / args.tflops / 1e9:.0f})']
      for kind in TRAFFIC:
        traffic = step_traffic(config, stage, kind)
        row += [f'{traffic / 1e9:.0f} ({traffic / args.terabytes / 1e9:.0f})']
      row += [f'{cost["bytes accessed"] / 1e9:.0f}']
      print('| ' + ' | '.join(row) + ' |', flush=True)


if __name__ == '__main__':
  main()
