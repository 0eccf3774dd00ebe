"""The arithmetic of a step against XLA's count of the lowered one."""

import importlib

import pytest

from benchmarks import roofline
from jax3dgan.training import schedule


def load(name, **fields):
  config = importlib.import_module(f'configs.{name}').get_config()
  with config.unlocked():
    config.update_from_flattened_dict(fields)
  return config, schedule.stages(config)[0]


SMALL = {'batch_size': 2, 'micro_batches': 1}
# A field so small that the discriminator makes the cost.
THIN = {'model.hidden_dim': 4, 'model.num_layers': 1, 'model.mapping_dim': 4}
THIN |= {
  'render.num_coarse': 1,
  'render.num_fine': 0,
  'batch_size': 64,
  'micro_batches': 1,
}


@pytest.mark.parametrize(
  'name, fields, share',
  [
    ('celeba', SMALL, (0.7, 0.9)),
    ('carla', SMALL, (0.8, 0.9)),
    ('celeba', THIN, (0.0, 0.01)),
    ('carla', THIN, (0.0, 0.01)),
  ],
)
def test_arithmetic_is_xlas_count(name, fields, share):
  """Within 3 %: XLA counts additions, activations, compositing and the optimizer as well."""
  config, stage = load(name, **fields)
  flops = roofline.step_flops(config, stage)
  forward, backward = roofline.generator_flops(config, stage)
  assert share[0] <= stage.batch_size * (2 * forward + backward) / flops <= share[1]
  counted = roofline.xla_cost(config, stage)['flops']
  assert flops < counted < 1.03 * flops, (flops / 1e9, counted / 1e9)


def test_a_points_cost():
  """1.054 MFLOP at hidden 256 where the view direction is multiplied for each point, 103.6 GFLOP
  for an image of 64² at 12 + 12 samples; once per ray and pass saves a little of it."""
  config, stage = load('celeba')
  per_point, per_ray, _ = roofline.field_flops(config.model)
  assert per_point + per_ray == pytest.approx(1.054e6, rel=5e-4)
  per_image = 64**2 * 24 * (per_point + per_ray)
  assert per_image == pytest.approx(103.6e9, rel=5e-4)
  forward, _ = roofline.generator_flops(config, stage)
  assert forward - roofline.mapping_flops(config.model) == per_image - 64**2 * 22 * per_ray


def test_micro_batches_and_chunks_repeat_passes():
  config, stage = load('celeba')
  assert roofline.configured_passes(config, stage) == (3, 1)  # top-k, rematerialisation
  plain = {'micro_batches': 1, 'render.ray_chunk': 0}
  assert roofline.configured_passes(*load('celeba', **plain)) == roofline.ONE_BATCH
  saved = {'render.saved_activations': 'phases'}
  assert roofline.configured_passes(*load('celeba', **saved)) == (2, 1)
  forward, _ = roofline.generator_flops(config, stage)
  once, _ = roofline.discriminator_flops(config, stage)
  more = roofline.step_flops(config, stage, roofline.Passes(3, 1))
  assert more - roofline.step_flops(config, stage) == 56 * (2 * forward + once)


def test_traffic():
  """56 images · 64² · 24 points · 9 layers · 256 numbers of two bytes, moved 4 + 4 + 7 times."""
  config, stage = load('celeba')
  array = 56 * 64**2 * 24 * 9 * 256
  assert roofline.step_traffic(config, stage, 'half') == 2 * 15 * array
  assert roofline.step_traffic(config, stage, 'float32') == 4 * 15 * array
  assert roofline.step_traffic(config, stage, 'half', roofline.Passes(3)) == 2 * 23 * array
