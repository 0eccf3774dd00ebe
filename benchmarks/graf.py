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
take turns, and what they compute is compared. FLOPs of the rendering are counted by hand, its
gradient's are three times as many.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import style, torch_graf
from benchmarks.style import (
  camera_of,
  forward,
  load,
  nchw,
  no_gradient,
  tensor,
  their_rays,
)
from jax3dgan import discriminators, generators, recipes
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
    # Not about 0: behind the last sample, in an interval of 1e10, rounding there is all or nothing.
    self.variables['params']['field']['density_bias'] = jnp.ones(1)
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


def rendering():
  """{part: (ours, PyTorch's, GFLOP)}."""
  both = Both(load('graf_carla'), 1)
  ours, _ = forward(both.picture, both.variables)
  return {'patch': (ours, no_gradient(both.their_picture), both.gflop())}


def generator():
  """{part: (ours, PyTorch's, GFLOP)}."""
  both = Both(load('graf_carla'), 1)

  def loss(params, judges):
    logits = both.judge.apply(judges, both.picture({'params': params})).logits
    return adversarial.generator_loss(logits)

  ours, _ = forward(jax.grad(loss), both.variables['params'], both.judges)
  own = both.theirs.p['layer_1']['weight']
  for value in both.theirs.parameters():
    value.requires_grad_(True)

  def theirs():
    for value in both.theirs.parameters():
      value.grad = None
    torch.nn.functional.softplus(-both.their_judge(both.their_picture())).mean().backward()
    return own.grad.T

  return {'gradient': (lambda: ours()['field']['layer_1_kernel'], theirs, 3 * both.gflop())}


def discriminator():
  """{part: (ours, PyTorch's, GFLOP)}."""
  both, b = Both(load('graf_carla'), 1), 8
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

  ours, _ = forward(jax.grad(loss), both.judges['params'], both.judges['buffers'])
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
    kernel = ours()['conv_1']['kernel']
    return kernel.reshape(-1, kernel.shape[-1])

  return {'gradient': (own, theirs, None)}


def main():
  """The program."""
  style.main({case: globals()[case] for case in CASES}, __doc__)


if __name__ == '__main__':
  main()
