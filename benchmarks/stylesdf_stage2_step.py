"""A step of StyleSDF's second stage at a small width here against plain PyTorch, in one run.

  pip install torch
  python -m benchmarks.stylesdf_stage2_step               # configs/stylesdf_toys.py, batch 16
  taskset -c 1 python -m benchmarks.stylesdf_stage2_step --batch=4 --cycles=1 --processor_time

The step is that of `recipes.stylesdf`: the generator, the length of its paths every 4 steps, the
discriminator, R1 every 16, Adam, an average; the renderer is frozen (random weights here), and
styles are not mixed. PyTorch's is `benchmarks/torch_stylesdf_stage2.py`, with the same weights.
Both take turns at cycles of 16 steps, so that each lazy term counts as often as in training. First
the losses of both are compared on the same inputs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import torch_stylesdf, torch_stylesdf_stage2, turns
from benchmarks.style import camera_of, load, nchw, tensor, their_rays
from benchmarks.torch_eg3d_step import r1_loss
from jax3dgan import recipes
from jax3dgan.rendering import hierarchical
from jax3dgan.training import step


def toys(batch, **fields):
  """configs/stylesdf_toys.py, as both sides can train it."""
  own = {
    'batch_size': batch, 'init_from': '', 'stylesdf.random_renderer': True, 'stylesdf.mixing': 0.0,
    'render.white_back': False, 'render.last_interval': 'infinite',
    'render.lock_view_direction': False,
  }  # fmt: skip
  return load('stylesdf_toys', **own | fields)


def build(config, mesh):
  """(step(number), PyTorch's, {loss: (ours, theirs)})."""
  start = turns.fresh(config, mesh)
  stage, generator, discriminator, state, image = start
  variables = start.networks
  trainer = torch_stylesdf_stage2.Trainer(
    config,
    torch_stylesdf.StyleSDF(generator, variables.variables('generator')),
    torch_stylesdf_stage2.Discriminator(discriminator, variables.params['discriminator']),
    stage.options,
  )
  rays = their_rays(camera_of(config, stage.batch_size), generator.low_resolution)
  found = compare_losses(config, start, trainer, rays)
  theirs = functools.partial(trainer.step, images=nchw(image) / 127.5 - 1, rays=rays)
  batch = {'image': jnp.asarray(image)}
  ours = turns.training_step(config, generator, discriminator, stage, state, batch, mesh)
  return ours, theirs, found


def compare_losses(config, start, trainer, rays):
  """{loss: (ours, PyTorch's)} on the same inputs."""
  stage, generator, _, state, image = start
  b, r, rng = len(image), generator.low_resolution**2, np.random.default_rng(1)
  z = rng.standard_normal((b, generator.z_dim), np.float32)
  offset = rng.random((b, r), np.float32)
  directions = rng.standard_normal(image.shape, np.float32)
  inputs = recipes.Inputs(
    z=z,
    camera=camera_of(config, b),
    keys=hierarchical.Draws(jitter=jnp.asarray(offset[..., None])),
    images=step.to_float(jnp.asarray(image)),
  )
  # What the path's phase draws of its keys, every second image's.
  keys = jax.random.split(jax.random.key(0), b)
  networks = recipes.Networks(state.networks, state.buffers)
  noise_keys, render_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys[::2]), 1, 0)
  noise = generator.apply(networks.variables('generator'), noise_keys, method='draw_noise')
  drawn = hierarchical.draw(render_keys, r, stage.options, noise=False)
  of_paths = inputs._replace(keys=keys, extras={'directions': directions, 'number': np.arange(b)})
  half = [x[::2] for x in rays]
  images = nchw(image) / 127.5 - 1
  losses = {
    'generator': trainer.g_loss(tensor(z), rays, tensor(offset)),
    'path_length': trainer.path_loss(
      tensor(z[::2]), half, tensor(drawn.jitter)[..., 0], nchw(directions[::2]),
      [nchw(x) for x in noise],
    ),
    'discriminator': trainer.d_loss(images, tensor(z), rays, tensor(offset)),
    'r1': r1_loss(trainer.discriminator, config.loss.r1, images),
  }  # fmt: skip
  trainer.mean = torch.zeros(())
  given = {'path_length': of_paths}
  return turns.losses_of(config, start, lambda phase: given.get(phase, inputs), losses)


if __name__ == '__main__':
  turns.main(toys, build, __doc__)
