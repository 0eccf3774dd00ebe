"""A training step of StyleNeRF at a small width here against plain PyTorch, in one run.

  pip install torch
  python -m benchmarks.stylenerf_step                     # configs/stylenerf_toys.py, 64², batch 16
  taskset -c 1 python -m benchmarks.stylenerf_step --batch=4 --cycles=1 --processor_time

The step is that of `recipes.stylenerf` at the largest size: the generator with its NeRF path, the
discriminator, R1 every 16 steps, Adam, the running means, an average. Styles are not mixed, there
is no density noise and no head for poses, and borders of the up-sampler are zeros, as in the paper.
PyTorch's is `benchmarks/torch_stylenerf_step.py`, with the same weights. Both take turns at cycles
of 16 steps, so that R1 counts as often as in training. First the losses of both are compared on
the same inputs.
"""

import jax.numpy as jnp
import numpy as np

from benchmarks import torch_stylenerf, torch_stylenerf_step, turns
from benchmarks.style import camera_of, load, nchw, tensor, their_rays
from benchmarks.torch_eg3d_step import r1_loss
from jax3dgan import recipes
from jax3dgan.generators.stylenerf import Draws
from jax3dgan.losses import nerf_path
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.training import step


def toys(batch, **fields):
  """configs/stylenerf_toys.py at its largest size, as both sides can train it."""
  own = {
    'batch_size': batch, 'resolution': 64, 'stages': (), 'model.upsampling_border': 'zeros',
    'discriminator.pose_dim': 0, 'discriminator.group_size': 4, 'loss.pose': 0.0,
    'loss.density_noise': 0.0, 'loss.fade_steps': 0, 'stylenerf.mixing': 0.0,
  }  # fmt: skip
  return load('stylenerf_toys', **own | fields)


def build(config, mesh):
  """(step(number), PyTorch's, {loss: (ours, theirs)})."""
  start = turns.fresh(config, mesh)
  stage, generator, discriminator, state, image = start
  b, size, variables = stage.batch_size, stage.resolution, start.networks
  camera, places = camera_of(config, b), np.random.default_rng(1).random((b, 2), np.float32)
  index, uv = nerf_path.pixel_grid(places, size, config.stylenerf.nerf_path_pixels)
  path = rays_lib.rays_through(camera, uv)
  rays = their_rays(camera, generator.low_resolution)
  rays[1] = rays[1] / rays[1].norm(dim=-1, keepdim=True)
  trainer = torch_stylenerf_step.Trainer(
    config,
    torch_stylenerf.StyleNeRF(generator, variables.variables('generator')),
    torch_stylenerf.Discriminator(discriminator, variables.params['discriminator']),
    stage.options,
    rays,
    (tensor(path.origins), tensor(path.directions), tensor(index).long()),
  )
  images = nchw(image) / 127.5 - 1
  z = np.random.default_rng(2).standard_normal((b, generator.z_dim), np.float32)
  inputs = recipes.Inputs(
    z=z,
    camera=camera,
    keys=Draws(),
    images=step.to_float(jnp.asarray(image)),
    extras={'places': places, 'path keys': Draws()},
  )
  losses = {
    'generator': trainer.g_loss(tensor(z)),
    'discriminator': trainer.d_loss(images, tensor(z)),
    'r1': r1_loss(trainer.discriminator, config.loss.r1, images),
  }
  found = turns.losses_of(config, start, lambda phase: inputs, losses)
  batch = {'image': jnp.asarray(image)}
  ours = turns.training_step(config, generator, discriminator, stage, state, batch, mesh)
  return ours, lambda number: trainer.step(number, images), found


if __name__ == '__main__':
  turns.main(toys, build, __doc__)
