"""A training step of EG3D at a small width here against plain PyTorch, in one run.

  pip install torch
  python -m benchmarks.eg3d_step                     # configs/eg3d_toys.py, its whole batch of 16
  python -m benchmarks.eg3d_step --batch=4 --cycles=5

The step is that of `recipes.eg3d`: generator, density every 4 steps, discriminator, R1 every 16,
Adam, one average, on as many devices as `main` makes of the cores. PyTorch's is
`benchmarks/torch_eg3d_step.py`, with the same weights and all cores. Both take turns at cycles of
16 steps, so that each lazy term counts as often as in training. First the losses of both are
compared on the same inputs. White background and blur, which the PyTorch version does not have, are
off.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import eg3d, torch_eg3d, torch_eg3d_step, turns
from configs import eg3d_toys
from jax3dgan import cameras, generators
from jax3dgan.recipes import eg3d_losses
from jax3dgan.recipes.base import Inputs, Now
from jax3dgan.rendering import rays
from jax3dgan.rendering.hierarchical import Draws


def toys(batch):
  """The config, as both sides can train it."""
  config = eg3d_toys.get_config()
  config.batch_size = batch
  config.render.white_back = False
  config.eg3d.update(blur=0.0, pose_swap_images=0, pose_swap=0.0)
  return config


def build(config, mesh):
  """(step(number), PyTorch's, {loss: (ours, theirs)})."""
  start = turns.fresh(config, mesh)
  stage, generator, discriminator, state, image = start
  options = generators.render_options(config, low_resolution=generator.low_resolution)
  networks = start.networks
  trainer = torch_eg3d_step.Trainer(
    config,
    torch_eg3d.EG3D(eg3d._Fields(generator), networks.variables('generator')),
    torch_eg3d_step.DualDiscriminator(discriminator, networks.params['discriminator']),
    options,
  )

  b, rng = stage.batch_size, np.random.default_rng(0)
  render = config.render
  camera = cameras.orbit(rng.uniform(-3, 3, b), np.full(b, 0.4), render.radius, render.fov_degrees)
  label = camera.label()
  batch = {'image': jnp.asarray(image), 'label': label}
  # The same for PyTorch.
  their_image = torch.tensor(np.moveaxis(image, -1, 1)) / 127.5 - 1
  their_label = torch.tensor(np.asarray(label))
  their_rays = eg3d.tensors_of(rays.camera_rays(camera, generator.low_resolution))

  found = compare(
    config, generator, discriminator, stage, networks, trainer, batch, their_image, their_rays
  )
  ours = turns.training_step(config, generator, discriminator, stage, state, batch, mesh)
  theirs = functools.partial(trainer.step, images=their_image, label=their_label, rays=their_rays)
  return ours, theirs, found


def compare(
  config, generator, discriminator, stage, networks, trainer, batch, their_image, their_rays
):
  """{loss: (ours, theirs)} on the same inputs."""
  rng = np.random.default_rng(1)
  b, r = len(batch['label']), their_rays[0].shape[1]
  z = rng.standard_normal((b, generator.z_dim), np.float32)
  jitter = rng.random((b, r, config.render.num_coarse), np.float32)
  pdf = rng.random((b, r, config.render.num_fine), np.float32)
  draws = Draws(jitter=jnp.asarray(jitter), pdf=jnp.asarray(pdf))
  label = batch['label']
  losses = eg3d_losses.make_losses(config, generator, discriminator, stage)
  image = batch['image'] / np.float32(127.5) - 1
  inputs = Inputs(z, cameras.from_label(label), label, label, draws, image, label)

  def value(loss, network):
    return jax.jit(loss)(networks.params[network], networks, inputs, Now(0, 0))[0]

  own = {
    'generator': value(losses.generator, 'generator'),
    'discriminator': value(losses.discriminator, 'discriminator'),
    'R1': value(losses.r1, 'discriminator'),
  }
  z, label = torch.tensor(z), torch.tensor(np.asarray(label))
  draws = torch.tensor(jitter), torch.tensor(pdf)
  with torch.no_grad():
    their = {
      'generator': trainer.g_loss(z, label, their_rays, draws),
      'discriminator': trainer.d_loss(their_image, label, z, their_rays, draws),
    }
  their['R1'] = trainer.r1_loss(their_image, label).detach()
  return {name: (float(own[name]), float(their[name])) for name in own}


if __name__ == '__main__':
  turns.main(toys, build, __doc__)
