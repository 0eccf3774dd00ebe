"""StyleSDF's second stage in plain PyTorch: what `benchmarks.stylesdf_stage2_step` compares with.
Needs `pip install torch`.

StyleGAN2's discriminator beside the generator of `torch_stylesdf`, and the four phases with their
own Adam steps, written as a PyTorch user would; nothing is tuned or slowed down. The renderer is
frozen and leaves no graph. Weights are the library's own, so that the losses can be compared.
"""

import torch
from torch.nn import functional as F

from benchmarks.torch_eg3d import _leaves, _tensors, dense
from benchmarks.torch_eg3d_step import lazy_adam, r1_loss, trunk, update


class Discriminator:
  """The discriminator of a library's `discriminators.StyleGAN2Discriminator` without labels and
  heads, and its parameters."""

  def __init__(self, discriminator, params):
    self.fields, self.p = discriminator, _tensors(params)

  def parameters(self):
    """All tensors."""
    return list(_leaves(self.p))

  def __call__(self, image):
    """image [b, 3, r, r] → logits [b]."""
    return dense(trunk(self.p, image, self.fields.group_size), self.p['b4']['out'])[:, 0]


class Trainer:
  """Steps of training, with Adam's state and one average of the decoder's weights."""

  def __init__(self, config, generator, discriminator, options):
    self.config, self.options = config, options
    self.generator, self.discriminator = generator, discriminator
    names = ('decoder', 'decoder_mapping')
    self.trained = list(_leaves({name: generator.p[name] for name in names}))
    for tensor in self.trained + discriminator.parameters():
      tensor.requires_grad_(True)
    own = config.optimizer
    self.optimizers = [
      lazy_adam(self.trained, own, own.lr_generator, config.stylesdf.path_length_every),
      lazy_adam(discriminator.parameters(), own, own.lr_discriminator, config.loss.r1_every),
    ]
    self.average = [tensor.detach().clone() for tensor in self.trained]
    self.mean = torch.zeros(())

  def _update(self, i, loss):
    networks = (self.trained, self.discriminator.parameters())
    update(self.optimizers[i], networks[1 - i], loss)

  def features(self, z, rays, offset):
    """(features [b, h, n, n] of the frozen renderer, its style)."""
    with torch.no_grad():
      w = self.generator.map(z)
      _, features = self.generator.render(w, *rays, self.options, offset)
    size = self.generator.fields.low_resolution
    return features.transpose(1, 2).reshape(len(z), -1, size, size), w

  def fakes(self, z, rays, offset, noise=None):
    """Images."""
    features, w = self.features(z, rays, offset)
    return self.generator.decode(features, w, noise)

  def g_loss(self, z, rays, offset, noise=None):
    """The generator against the discriminator."""
    return F.softplus(-self.discriminator(self.fakes(z, rays, offset, noise))).mean()

  def path_loss(self, z, rays, offset, directions, noise=None):
    """The weighted penalty of the paths' lengths; the running mean moves."""
    features, w = self.features(z, rays, offset)
    styles = self.generator.decoder_styles(w)
    image = self.generator.decode_styles(features, styles, noise)
    scale = (image.shape[2] * image.shape[3]) ** -0.5
    (gradient,) = torch.autograd.grad((image * directions * scale).sum(), styles, create_graph=True)
    lengths = gradient.square().sum(2).mean(1).sqrt()
    penalty = (lengths - self.mean).square().mean()
    self.mean = self.mean + 0.01 * (lengths.detach().mean() - self.mean)
    return self.config.stylesdf.path_length * penalty

  def d_loss(self, images, z, rays, offset, noise=None):
    """The discriminator on fakes and photos."""
    with torch.no_grad():
      fakes = self.fakes(z, rays, offset, noise)
    fake, real = self.discriminator(fakes), self.discriminator(images)
    return F.softplus(fake).mean() + F.softplus(-real).mean()

  def step(self, number, images, rays):
    """One step of training, lazy terms where they are due."""
    loss, own = self.config.loss, self.config.stylesdf

    def drawn(rays):
      b, r = rays[0].shape[:2]
      noise = [torch.randn(b, *x.shape[1:]) for x in self.generator.noise]
      return torch.randn(b, self.generator.fields.z_dim), torch.rand(b, r), noise

    z, offset, noise = drawn(rays)
    self._update(0, lambda: self.g_loss(z, rays, offset, noise))
    if number % own.path_length_every == 0:
      half = [x[::2] for x in rays]
      z, offset, noise = drawn(half)
      directions = torch.randn(len(z), *images.shape[1:])
      every = own.path_length_every
      self._update(0, lambda: every * self.path_loss(z, half, offset, directions, noise))
    z, offset, noise = drawn(rays)
    self._update(1, lambda: self.d_loss(images, z, rays, offset, noise))
    if number % loss.r1_every == 0:
      self._update(1, lambda: loss.r1_every * r1_loss(self.discriminator, loss.r1, images))
    with torch.no_grad():
      torch._foreach_lerp_(self.average, [x.detach() for x in self.trained], 0.005)
