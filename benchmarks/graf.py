"""GRAF here against plain PyTorch, with the paper's sizes, in one run.

  pip install torch
  python -m benchmarks.graf                                       # every case
  taskset -c 1 python -m benchmarks.graf --processor_time         # a busy machine

| case | what |
|---|---|
| rendering | a patch of 32², 64 samples a ray, batch 1 |
| generator | the gradient of its loss through the discriminator, batch 1 |
| discriminator | the gradient of its loss of 8 photos and 8 fakes, with R1 |

PyTorch's side is `benchmarks/torch_graf.py`. Both sides have the same weights, cameras and draws,
take turns, and what they compute is compared. The matrix peak is that of a product of 2048²
matrices in the same run; FLOPs of the rendering are counted by hand.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import eg3d, torch_graf
from benchmarks.style import apart, camera_of, clock, load, nchw, no_gradient, tensor, their_rays
from jax3dgan import discriminators, generators, recipes
from jax3dgan.devices import compilation
from jax3dgan.losses import adversarial
from jax3dgan.recipes import base, graf, loss_terms
from jax3dgan.rendering.hierarchical import Draws

CASES = ('rendering', 'generator', 'discriminator')


class Both:
  """Networks with the same random weights on both sides."""

  def __init__(self, config, b):
    self.generator = generators.create(config)
    self.judge = discriminators.create(config.discriminator)
    self.size = self.judge.resolution
    self.variables = generators.init(self.generator, jax.random.key(0))
    self.judges = discriminators.init(self.judge, jax.random.key(1))
    self.options = generators.render_options(config, resolution=self.size)
    self.camera = camera_of(config, b)
    rng = np.random.default_rng(0)
    self.z = rng.standard_normal((b, self.generator.z_dim), np.float32)
    jitter = rng.random((b, self.size**2, self.options.num_coarse), np.float32)
    self.draws, self.jitter = Draws(jitter=jnp.asarray(jitter)), tensor(jitter)
    self.theirs = torch_graf.Generator(self.generator, jax.tree.map(np.asarray, self.variables))
    self.their_judge = torch_graf.discriminator(
      self.judge, jax.tree.map(np.asarray, self.judges)
    ).eval()  # vectors as they are
    self.rays = their_rays(self.camera, self.size)

  def picture(self, variables):
    """Ours."""
    apply = functools.partial(self.generator.apply, variables)
    w = apply(self.z, method='map')
    return apply(w, self.camera, self.draws, self.options, method='synthesize').image

  def their_picture(self):
    """PyTorch's, NCHW."""
    colour = self.theirs.render(tensor(self.z), *self.rays, self.options, self.jitter)
    return 2 * colour.transpose(1, 2).reshape(len(self.z), 3, self.size, self.size) - 1

  def gflop(self):
    """Of the products of a rendering as it is computed here: codes and view directions are not
    multiplied for each sample."""
    f = self.generator
    points, h = 3 + 6 * f.point_frequencies, f.hidden_dim
    sample = 2 * points * h + (f.num_layers - 1) * h**2 + h + h**2 + h * f.colour_dim
    sample += 3 * f.colour_dim
    return len(self.z) * self.size**2 * self.options.num_coarse * 2 * sample / 1e9


def rendering(config):
  """(ours, PyTorch's, GFLOP)."""
  both = Both(config, 1)
  ours = jax.jit(both.picture).lower(both.variables).compile()
  return (
    functools.partial(ours, both.variables), no_gradient(both.their_picture), both.gflop(),
  )  # fmt: skip


def generator(config):
  """(ours, PyTorch's, GFLOP) of the gradient of its loss."""
  both = Both(config, 1)

  def loss(params, judges):
    logits = both.judge.apply(judges, both.picture({'params': params})).logits
    return adversarial.generator_loss(logits)

  args = both.variables['params'], both.judges
  ours = jax.jit(jax.grad(loss)).lower(*args).compile()
  own = both.theirs.p['layer_1']['weight']
  for value in both.theirs.parameters():
    value.requires_grad_(True)

  def theirs():
    for value in both.theirs.parameters():
      value.grad = None
    torch.nn.functional.softplus(-both.their_judge(both.their_picture())).mean().backward()
    return own.grad.T

  # The backward products are twice the forward ones; those of the discriminator are a hundredth.
  return (
    lambda: ours(*args)['field']['layer_1_kernel'], theirs, 3 * both.gflop(),
  )  # fmt: skip


def discriminator(config):
  """(ours, PyTorch's, GFLOP) of the gradient of its loss with R1."""
  both, b = Both(config, 1), 8
  rng = np.random.default_rng(1)
  photos, fakes = (
    rng.uniform(-1, 1, (b, both.size, both.size, 3)).astype(np.float32) for _ in range(2)
  )
  networks = recipes.Networks(
    {'discriminator': both.judges['params']}, {'discriminator': both.judges['buffers']}
  )

  def loss(params, buffers):
    moved = networks._replace(buffers={'discriminator': buffers})
    for_photos = base.advanced(both.judge, moved)
    for_fakes = base.advanced(both.judge, for_photos)

    def logits(params, images, of=for_photos):
      return both.judge.apply(of.variables('discriminator', params), images).logits

    real = loss_terms.of_photos(both.judge, logits, params, photos, has_r1=True)
    fake = logits(params, fakes, for_fakes)
    return real.loss + adversarial.fake_loss(fake) + 0.5 * graf.Loss().r1 * real.r1

  args = both.judges['params'], both.judges['buffers']
  ours = jax.jit(jax.grad(loss)).lower(*args).compile()
  network = both.their_judge.train()
  start = {name: x.clone() for name, x in network.named_buffers()}
  images = nchw(photos), nchw(fakes)

  def theirs():
    for name, x in network.named_buffers():
      x.copy_(start[name])
    network.zero_grad()
    torch_graf.discriminator_loss(network, *images, graf.Loss().r1).backward()
    return network[3].weight_orig.grad.permute(2, 3, 1, 0).reshape(-1, network[3].out_channels)

  def own():
    kernel = ours(*args)['conv_1']['kernel']
    return kernel.reshape(-1, kernel.shape[-1])

  return own, theirs, None


def main():
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--cases', default=','.join(CASES))
  flags.add_argument('--config', default='graf_carla')
  flags.add_argument('--repeats', type=int, default=3)
  flags.add_argument('--processor_time', action='store_true', help='see `style.clock`')
  args = flags.parse_args()
  compilation.use_cache()
  now = clock(args.processor_time)
  top = eg3d.peak(now)
  print(f'{torch.get_num_threads()} threads; matrix peak {top:.0f} GFLOP/s')
  print('| case | PyTorch | jax3dgan | ratio | GFLOP | of the peak | apart |')
  print('|---|---|---|---|---|---|---|')
  for case in args.cases.split(','):
    ours, theirs, gflop = globals()[case](load(args.config))
    own, their, a, b = eg3d.measure(ours, theirs, args.repeats, now)
    share = f'{gflop:.1f} | {gflop / own / top:.0%}' if gflop else '|'
    print(
      f'| {case} | {their:.3f} s | {own:.3f} s | {their / own:.2f} | {share} | {apart(a, b):.1e} |',
      flush=True,
    )


if __name__ == '__main__':
  main()
