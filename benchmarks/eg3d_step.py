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

import argparse
import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import eg3d, torch_eg3d, torch_eg3d_step, turns
from configs import eg3d_toys
from jax3dgan import cameras, discriminators, generators
from jax3dgan.devices import compilation, cpu_devices, parallel
from jax3dgan.recipes import eg3d_losses
from jax3dgan.recipes.base import Inputs, Networks, Now
from jax3dgan.rendering import rays
from jax3dgan.rendering.hierarchical import Draws
from jax3dgan.training import device_count, schedule
from jax3dgan.training import state as state_lib


def toys(batch):
  """The config, as both sides can train it."""
  config = eg3d_toys.get_config()
  config.batch_size = batch
  config.render.white_back = False
  config.eg3d.update(blur=0.0, pose_swap_images=0, pose_swap=0.0)
  return config


def build(config):
  """(step(number), PyTorch's, {loss: (ours, theirs)})."""
  # Both sides compute the same images: none that do not count.
  number = device_count.largest(config, jax.device_count())
  mesh = parallel.make_mesh(jax.devices()[:number])
  stage = schedule.stages(config, mesh.size)[0]
  generator = generators.create(config)
  discriminator = discriminators.create(config.discriminator)
  state = state_lib.create(config, generator, discriminator)
  options = generators.render_options(config, low_resolution=generator.low_resolution)
  networks = Networks(*jax.tree.map(np.asarray, (state.networks, state.buffers)))
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
  image = rng.integers(0, 256, (b, stage.resolution, stage.resolution, 3), np.uint8)
  batch = {'image': jnp.asarray(image), 'label': label}
  # The same for PyTorch.
  their_image = torch.tensor(np.moveaxis(image, -1, 1)) / 127.5 - 1
  their_label = torch.tensor(np.asarray(label))
  size = generator.low_resolution
  their_rays = [
    torch.tensor(np.asarray(x)) for x in dataclasses.astuple(rays.camera_rays(camera, size))
  ]

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


def main():
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--batch', type=int, default=16)
  flags.add_argument('--cycles', type=int, default=3)
  args = flags.parse_args()
  compilation.use_cache()
  config = toys(args.batch)
  cpu_devices.enable(device_count.largest(config, cpu_devices.cores()))  # as `main` does
  ours, theirs, losses_of = build(config)
  print(
    f'{torch.get_num_threads()} threads, {jax.device_count()} devices; batch {args.batch}; '
    f'torch {torch.__version__}, jax {jax.__version__}'
  )
  for name, (own, their) in losses_of.items():
    print(f'loss {name}: ours {own:.6f}, PyTorch {their:.6f}, apart {abs(own - their):.1e}')
  own, their = turns.medians((ours, theirs), args.cycles)
  print(
    f'a step: PyTorch {their:.3f} s, jax3dgan {own:.3f} s, ratio {their / own:.2f}; '
    f'{args.batch / own:.1f} images/s'
  )


if __name__ == '__main__':
  main()
