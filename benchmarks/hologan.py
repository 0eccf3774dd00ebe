"""HoloGAN here against plain PyTorch, in one run.

  pip install torch
  python -m benchmarks.hologan                                # every case: seconds, ratio, GFLOP/s
  taskset -c 1 python -m benchmarks.hologan --processor_time  # a busy machine

| case | what |
|---|---|
| holo_64, holo_128 | the generators with the paper's sizes (random weights, batch 4): voxels, what makes images of them, and the whole |
| holo_gradient | the gradient of all parameters of the small generator (configs/hologan_toys.py, 64², batch 4) against its discriminator |

PyTorch's side is `benchmarks/torch_hologan.py`. Both sides have the same weights, cameras and
latents, take turns, and what they compute is compared; see `benchmarks.style`.
"""  # noqa: E501

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import style, torch_hologan
from jax3dgan import cameras, discriminators, generators
from jax3dgan.rendering import rigid_transform

BATCH = 4


class Holo:
  """HoloGAN with random weights on both sides."""

  def __init__(self, name):
    self.config = style.load(name)
    self.generator = generators.create(self.config)
    self.variables = generators.init(self.generator, jax.random.key(0))
    self.view = rigid_transform.view_of(
      cameras.orbit(np.linspace(-0.2, 2.3, BATCH), np.full(BATCH, 0.1)), self.size, 12.0
    )
    rng = np.random.default_rng(0)
    z = rng.standard_normal((BATCH, self.generator.z_dim), np.float32)
    self.w = np.asarray(self.generator.apply(self.variables, z, method='map'))
    self.theirs = torch_hologan.HoloGAN(self.generator, self.variables['params'])
    steps = jnp.arange(self.size, dtype=jnp.float32)
    y, z, x = jnp.meshgrid(steps[::-1], steps, steps, indexing='ij')
    places = rigid_transform.source_places(
      self.view, jnp.stack([x, y, z], axis=-1).reshape(-1, 3), self.size
    )
    self.places = style.tensor(places).reshape(BATCH, *[self.size] * 3, 3)

  @property
  def size(self):
    """Voxels on a side."""
    return self.generator.grid_size

  def voxels(self, variables, w):
    """Ours, before they are turned."""
    return self.generator.apply(variables, w, method='prepare').voxels

  def picture(self, variables, w):
    """Ours."""
    return self.generator.apply(
      variables, w, self.view, method=lambda g, w, view: g.project(g.prepare(w), view)
    )

  def image_of(self, variables, scene):
    """Ours, of voxels."""
    return self.generator.apply(variables, scene, self.view, method='project')

  def gflop(self):
    """(of the voxels' layers, of those behind) of the batch."""
    g = self.generator
    voxels, c, n = 0, g.constant_dim, 4
    for features in g.voxel_channels:
      voxels += n**3 * 27 * c * features
      c, n = features, 2 * n
    image = 0
    for features in g.projection_channels:
      image += n**3 * 27 * c * features
      c = features
    image += n**2 * n * c * g.fold_dim
    c = g.fold_dim
    for features in g.channels:
      image += n**2 * 16 * c * features
      c, n = features, 2 * n
    image += n**2 * 16 * c * 3
    return 2e-9 * BATCH * voxels, 2e-9 * BATCH * image


def parts_of(name):
  """{part: (ours, PyTorch's, GFLOP)} of a config's generator."""
  m = Holo(name)
  w, theirs = style.tensor(m.w), m.theirs
  voxels, image = m.gflop()
  ours, _ = style.forward(m.voxels, m.variables, m.w)
  scene = m.generator.apply(m.variables, m.w, method='prepare')
  drawn, _ = style.forward(m.image_of, m.variables, scene)
  whole, _ = style.forward(m.picture, m.variables, m.w)
  their_voxels = style.tensor(np.moveaxis(np.asarray(scene.voxels), -1, 1).copy())

  def their_prepare():
    return theirs.prepare(w).permute(0, 2, 3, 4, 1)

  return {
    'voxels': (ours, style.no_gradient(their_prepare), voxels),
    'turned and projected': (
      drawn, style.no_gradient(lambda: theirs.project(their_voxels, w, m.places)), image
    ),
    'whole': (
      whole, style.no_gradient(lambda: theirs.project(theirs.prepare(w), w, m.places)),
      voxels + image,
    ),
  }  # fmt: skip


def holo_gradient():
  """{part: (ours, PyTorch's, None)}."""
  m = Holo('hologan_toys')
  judge = discriminators.create(m.config.discriminator)
  variables = discriminators.init(judge, jax.random.key(1))
  their_judge = torch_hologan.Discriminator(judge, jax.tree.map(np.asarray, variables))
  w = style.tensor(m.w)

  def loss(own):
    logits = judge.apply(variables, m.picture({'params': own}, m.w)).logits
    return jnp.mean(jax.nn.softplus(-logits))

  def their_loss():
    image = m.theirs.project(m.theirs.prepare(w), w, m.places)
    return torch.nn.functional.softplus(-their_judge(image)).mean()

  leaf = m.theirs.p['fold']['kernel']
  ours, theirs = style.gradients(loss, their_loss, m.variables, m.theirs.parameters, leaf)
  return {
    'gradient': (
      lambda: ours()['fold']['kernel'].reshape(leaf.shape[2:]),
      lambda: theirs().reshape(leaf.shape[2:]),
      None,
    )
  }


CASES = {
  'holo_64': lambda: parts_of('hologan_celeba64'),
  'holo_128': lambda: parts_of('hologan_cars128'),
  'holo_gradient': holo_gradient,
}

if __name__ == '__main__':
  style.main(CASES, __doc__)
