"""The sizes that fit a machine, and how they are chosen while it is busy."""

import time
import types

from jax3dgan.generators import Generator
from jax3dgan.viewer import quality
from jax3dgan.viewer.quality import Ladder, Level


def planar(model):
  """The same model, as if it were one of images of a fixed size."""
  return types.SimpleNamespace(
    generator=Generator(), resolution=model.resolution, has_field=False, options=model.options
  )


def test_levels(tiny_model):
  levels = quality.moving_levels(tiny_model)
  assert [level.resolution for level in levels] == [16, 32, 64, 128]
  assert {(level.num_coarse, level.num_fine) for level in levels} == {(4, 0)}
  assert levels[0].overrides() == {'num_coarse': 4, 'num_fine': 0} and Level(64).overrides() == {}
  assert quality.still_sizes(tiny_model) == [16, 64, 128, 256, 512]
  flat = planar(tiny_model)
  assert quality.moving_levels(flat) == [Level(16)] and quality.still_sizes(flat) == [16]


def machine(ladder, speed):
  """A machine that draws so many pixels a second; returns what it drew."""
  drawn = []

  def render(level):
    drawn.append(level.resolution)
    time.sleep(level.resolution**2 / speed)

  return drawn, render


def test_a_fast_machine_gets_every_size(tiny_model):
  ladder = Ladder(tiny_model, target=1.0)
  drawn, render = machine(ladder, 1e7)
  reports = []
  ladder.warm_up(render, reports.append)
  assert sorted(set(drawn)) == [32, 64, 128]  # 16² is not worth its compilation
  assert [level and level.resolution for level in reports] == [32, 64, 128, None]
  assert ladder.moving().resolution == 128


def test_a_slow_machine_gets_the_smallest_and_nothing_larger(tiny_model):
  ladder = Ladder(tiny_model, target=0.005)
  drawn, render = machine(ladder, 1024 / 0.01)  # 32² takes twice as long as it may
  ladder.warm_up(render)
  assert sorted(set(drawn)) == [16, 32]
  assert ladder.moving().resolution == 16


def test_load_comes_and_goes(tiny_model):
  ladder = Ladder(tiny_model, target=0.05)
  for level in ladder.levels:
    ladder.measured(level, level.resolution**2 * 2e-6)  # 128² in 33 ms
  assert ladder.moving().resolution == 128
  assert ladder.moving(clients=2).resolution == 64
  for _ in range(30):  # four times slower: 64² is what fits
    level = ladder.moving()
    ladder.measured(level, level.resolution**2 * 8e-6)
  assert ladder.moving().resolution == 64
  assert ladder.still() == Level(128)  # at rest nobody minds
  for _ in range(30):
    level = ladder.moving()
    ladder.measured(level, level.resolution**2 * 2e-6)
  assert ladder.moving().resolution == 128


def test_the_size_at_rest(tiny_model):
  ladder = Ladder(tiny_model)
  assert ladder.still(256) == Level(256)
  assert Ladder(tiny_model, still=96).still() == Level(96)
  assert 96 in Ladder(tiny_model, still=96).sizes
  ladder.measured(ladder.levels[1], 2.0)  # 32² with half the samples in two seconds
  assert ladder.still() == Level(16)
  assert ladder.still(64) == Level(64)


def test_nothing_measured_yet(tiny_model):
  assert Ladder(tiny_model).moving().resolution == 16
