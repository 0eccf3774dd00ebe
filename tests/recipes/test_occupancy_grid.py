"""How a generator's grid of where something may be is learned."""

import importlib

import jax
import numpy as np
import pytest
import tiny_steps

from jax3dgan import config as config_lib
from jax3dgan import generators
from jax3dgan.devices import parallel
from jax3dgan.errors import UserError
from jax3dgan.generators import occupied
from jax3dgan.recipes import occupancy, pigan
from jax3dgan.recipes.base import Now
from jax3dgan.training import schedule
from jax3dgan.training.state import TrainState


def tiny(cells: int):
  config = config_lib.tiny(config_lib.base_config())
  config.model.occupancy = cells
  return config


def test_a_grid_is_the_mean_of_opacities_over_latents():
  """On all devices the same: after the first step the mean of the latents of this step, later a
  running one, and untouched where it is not due."""
  config = tiny(4)
  generator, stage = generators.create(config), schedule.stages(config, 1)[0]
  variables = jax.jit(lambda: generators.init(generator, jax.random.key(0)))()
  params, buffers = ({'generator': variables[name]} for name in ('params', 'buffers'))
  key = jax.random.key_data(jax.random.key(7))
  state = TrainState(np.int32(0), key, params, {}, {}, buffers)
  recipe, mesh = pigan.PiGAN(), parallel.make_mesh()
  assert np.all(state.buffers['generator'][occupied.NAME] == 1)

  def newer(state, step):
    new = occupancy.update_grid(state, recipe, config, stage, Now(step[0], 0))
    return state, new.buffers['generator'][occupied.NAME]

  run = jax.jit(parallel.data_parallel(newer, mesh))

  def cells(step):
    return np.asarray(run(state, np.full(mesh.size, step, np.int32))[1])

  first = cells(0)
  assert first.min() >= 0 and first.max() < 1 and first.std() > 0
  np.testing.assert_array_equal(cells(1), 1)
  # Of the other latents of other steps, from the grid of ones: half of them, then a tenth.
  assert np.all((cells(8) >= 0.5) & (cells(8) < 1))
  assert np.all((cells(800) >= 0.9 - 1e-6) & (cells(800) < 1))
  assert np.abs(2 * (cells(8) - 0.5) - first).max() > 1e-3


@pytest.mark.parametrize('name', ['pigan', 'eg3d', 'stylesdf_stage1'])
def test_steps_with_a_grid_keep_it(name):
  """Traced: the state after a step has what the state before it had, and a grid."""
  if name == 'stylesdf_stage1':
    config = importlib.import_module('configs.stylesdf_stage1_toys').get_test_config()
  else:
    config = getattr(tiny_steps, name)()
  config.model.occupancy = 4
  state, _ = tiny_steps.shapes(config)
  assert state.buffers['generator'][occupied.NAME].shape == (4, 4, 4)


def test_what_no_grid_can_be_is_refused():
  with pytest.raises(UserError, match='occupancy is 1'):
    generators.init(generators.create(tiny(1)), jax.random.key(0))
