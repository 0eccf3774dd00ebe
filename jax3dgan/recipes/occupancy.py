"""Keeps a generator's grid of where its fields may be opaque (`rendering.occupancy`): a running
mean over fresh latents, without gradients."""

import jax
import jax.numpy as jnp

from jax3dgan import generators
from jax3dgan.generators.occupied import NAME
from jax3dgan.recipes import base
from jax3dgan.rendering import occupancy
from jax3dgan.training import streams

# Each so many steps the fields of so many latents are looked at, at one point of each cell. On 32³
# cells that is 8,000 points a step.
EVERY, LATENTS = 8, 2
# The share of the newest in the mean, which so is over about 20 latents; the first ones are
# averaged alike.
RATE = 0.1


def update_grid(state, recipe, config, stage, now: base.Now):
  """The state with a newer grid, where the generator has one and it is due.

  Args:
    state: `training.state.TrainState` after the step `now`. Its key is the same on every device, so
      that all compute the same grid.
  """
  if not config.model.get('occupancy', 0):
    return state
  generator = generators.create(config)
  networks = base.Networks(state.networks, state.buffers)
  variables = networks.variables('generator')
  key = streams.named(streams.step_key(state.key, now.step), NAME)
  keys = jax.random.split(key, LATENTS)
  rate = jnp.maximum(RATE, 1 / (now.step // EVERY + 1))

  def of_latent(key):
    keys, label = key[None], None
    if generator.label_dim:
      prior = recipe.pose_prior(config, networks.params['generator'])
      angles = base.draw_angles(streams.named_keys(keys, 'camera'), prior)
      label = base.camera_of(config, *angles).label()
    z = base.draw_latents(keys, generator.z_dim)
    w = generator.apply(variables, z, label, method='map')
    points = occupancy.cell_points(
      streams.named(key, 'points'), generator.occupancy, generator.grid_box
    )
    return generator.apply(variables, w, points[None], stage.options, method='cell_opacities')[0]

  def newer(cells):
    mean = jax.lax.map(of_latent, keys).mean(0).reshape(cells.shape)
    return jax.lax.stop_gradient(cells + rate * (mean - cells))

  own = state.buffers['generator']
  cells = jax.lax.cond(now.step % EVERY == 0, newer, lambda cells: cells, own[NAME])
  return state.replace(buffers={**state.buffers, 'generator': {**own, NAME: cells}})
