"""A training step of StyleSDF's first stage at a small width here against plain PyTorch, in a run.

  pip install torch
  python -m benchmarks.style_step                    # configs/stylesdf_stage1_toys.py, batch 16
  python -m benchmarks.style_step --batch=4 --steps=50

The step is that of `recipes.stylesdf_stage1`: the discriminator with R1 and the view, the generator
with the view, eikonal and minimal-surface terms, Adam, an average, on as many devices as `main`
makes of the cores. PyTorch's is `benchmarks/torch_stylesdf.py`, with the same weights and all
cores. Both take turns at single steps, of which none has a lazy term. First the losses of both are
compared on the same inputs.
"""

import argparse
import functools

import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import eg3d, torch_stylesdf, turns
from benchmarks.style import camera_of, clock, load, nchw, tensor, their_rays
from jax3dgan import recipes
from jax3dgan.devices import compilation
from jax3dgan.rendering.hierarchical import Draws
from jax3dgan.training import step


def toys(batch):
  """configs/stylesdf_stage1_toys.py, as both sides can train it: with the paper's view, and all
  rays penalised."""
  return load(
    'stylesdf_stage1_toys',
    **{
      'batch_size': batch,
      'render.white_back': False, 'render.last_interval': 'infinite',
      'render.lock_view_direction': False, 'stylesdf.penalise_every': 1,
      'loss.pose_encoding': 'view', 'discriminator.pose_dim': 2,
      'stylesdf.sphere_steps': 0, 'stylesdf.sphere_rays': 256, 'stylesdf.sphere_lr': 1e-4,
    },
  )  # fmt: skip


def build(config, mesh):
  """(step(number), PyTorch's, {loss: (ours, theirs)})."""
  start = turns.fresh(config, mesh)
  stage, generator, discriminator, state, image = start
  b, params = stage.batch_size, start.networks.params
  trainer = torch_stylesdf.Trainer(
    config,
    torch_stylesdf.StyleSDF(generator, {'params': params['generator']}),
    torch_stylesdf.CoordConvDiscriminator(discriminator, params['discriminator']),
    stage.options,
  )
  camera = camera_of(config, b)
  rays = their_rays(camera, stage.resolution)
  view = torch.stack([torch.linspace(-0.2, 0.3, b), torch.full((b,), 0.1)], 1)
  theirs = functools.partial(trainer.step, images=nchw(image) / 127.5 - 1, rays=rays, view=view)
  found = compare_losses(config, start, trainer, camera)
  batch = {'image': jnp.asarray(image)}
  ours = turns.training_step(config, generator, discriminator, stage, state, batch, mesh)
  return ours, theirs, found


def compare_losses(config, start, trainer, camera):
  """{loss: (ours, PyTorch's)} on the same inputs."""
  stage, generator, image = start.stage, start.generator, start.image
  b, r = len(image), stage.resolution**2
  rng = np.random.default_rng(1)
  z = rng.standard_normal((b, generator.z_dim), np.float32)
  offset = rng.random((b, r), np.float32)
  azimuth, elevation = np.linspace(-0.2, 0.3, b), np.full(b, 0.1)
  inputs = recipes.Inputs(
    z=z,
    camera=camera,
    keys=Draws(jitter=jnp.asarray(offset[..., None])),
    images=step.to_float(jnp.asarray(image)),
    extras={'yaw': np.float32(np.pi / 2 - azimuth), 'pitch': np.float32(np.pi / 2 - elevation)},
  )
  view = torch.tensor(np.float32(np.stack([azimuth, elevation], 1)))
  rays = their_rays(camera, stage.resolution)
  their = (tensor(z), rays, tensor(offset), view)
  losses = {
    'discriminator': trainer.d_loss(nchw(image) / 127.5 - 1, *their),
    'generator': trainer.g_loss(*their),
  }
  return turns.losses_of(config, start, lambda phase: inputs, losses)


def main():
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--batch', type=int, default=16)
  flags.add_argument('--steps', type=int, default=20)
  flags.add_argument('--processor_time', action='store_true', help='see `style.clock`')
  args = flags.parse_args()
  compilation.use_cache()
  now = clock(args.processor_time)
  ours, theirs = turns.compared(toys(args.batch), build)
  own, their, _, _ = eg3d.measure(lambda: ours(0), lambda: theirs(0), args.steps, now)
  turns.report(own, their, args.batch)


if __name__ == '__main__':
  main()
