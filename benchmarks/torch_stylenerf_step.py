"""StyleNeRF's training step in plain PyTorch: what `benchmarks.stylenerf_step` compares with. Needs
`pip install torch`.

The three phases of the generator with its NeRF path, the discriminator and R1, with Adam and the
running means, beside the networks of `torch_stylenerf`, written as a PyTorch user would; nothing is
tuned or slowed down. Samples along rays are not jittered. Weights are the library's own, so that
the losses can be compared.
"""

import torch
from torch.nn import functional as F

from benchmarks.torch_eg3d_step import lazy_adam, r1_loss, update


class Trainer:
  """Steps of training, with Adam's state and one average of the weights.

  Args:
    config: without background, mixing, density noise, poses and growth.
    rays: (origins, directions) of the rendering's pixels, [b, r, 3].
    path: the same of the NeRF path's pixels, and their index [b, n] in an image.
  """

  def __init__(self, config, generator, discriminator, options, rays, path):
    self.config, self.options, self.rays, self.path = config, options, rays, path
    self.generator, self.discriminator = generator, discriminator
    for tensor in generator.parameters() + discriminator.parameters():
      tensor.requires_grad_(True)
    own = config.optimizer
    self.optimizers = [
      torch.optim.Adam(generator.parameters(), own.lr_generator, (own.beta1, own.beta2)),
      lazy_adam(discriminator.parameters(), own, own.lr_discriminator, config.loss.r1_every),
    ]
    self.average = [tensor.detach().clone() for tensor in generator.parameters()]
    self.w_average = torch.zeros(generator.fields.w_dim)

  def _update(self, i, loss):
    networks = (self.generator, self.discriminator)
    update(self.optimizers[i], networks[1 - i].parameters(), loss)

  def images(self, w, measure=False):
    """Images of styles [b, w_dim]."""
    values = self.generator.render(w, None, *self.rays, self.options).transpose(1, 2)
    size = self.generator.fields.low_resolution
    return self.generator.upsample(values.reshape(len(w), -1, size, size), w, measure)

  def path_loss(self, w, images):
    """Pixels of images beside colours that are made of each sample and composited last."""
    *rays, index = self.path
    weights, values, light = self.generator.samples(w, *rays, self.options)
    b, n, s, c = values.shape
    colours = self.generator.colours(values.reshape(b, n * s, c), w).reshape(b, n, s, 3)
    colours = (weights[..., None] * colours).sum(2)
    colours = colours + light if self.options.white_back else colours
    pixels = images.flatten(2).transpose(1, 2)
    pixels = torch.gather(pixels, 1, index[..., None].expand(-1, -1, 3))
    return 2 * (pixels - colours).square().sum(-1).mean()

  def g_loss(self, z, moves=False):
    """The generator against the discriminator, and its NeRF path; `moves` the running means."""
    own, w = self.config.stylenerf, self.generator.map(z)
    powers = self.generator.powers
    images = self.images(w, True)
    if moves:
      self.generator.move_powers()
    moved, self.generator.powers = self.generator.powers, powers
    adversarial = F.softplus(-self.discriminator(images)).mean()
    total = adversarial + own.nerf_path * self.path_loss(w, images)
    if moves:
      self.generator.powers = moved
      self.generator.move_powers()
      self.w_average = torch.lerp(w.detach().mean(0), self.w_average, own.w_average_decay)
    return total

  def d_loss(self, images, z):
    """The discriminator on fakes and photos."""
    with torch.no_grad():
      fakes = self.images(self.generator.map(z))
    fake, real = self.discriminator(fakes), self.discriminator(images)
    return F.softplus(fake).mean() + F.softplus(-real).mean()

  def step(self, number, images):
    """One step of training, R1 where it is due."""
    z_dim, every = self.generator.fields.latent_dim, self.config.loss.r1_every
    self._update(0, lambda: self.g_loss(torch.randn(len(images), z_dim), moves=True))
    self._update(1, lambda: self.d_loss(images, torch.randn(len(images), z_dim)))
    if number % every == 0:
      self._update(1, lambda: every * r1_loss(self.discriminator, self.config.loss.r1, images))
    with torch.no_grad():
      torch._foreach_lerp_(self.average, [x.detach() for x in self.generator.parameters()], 0.005)
