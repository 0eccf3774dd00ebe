"""EG3D's training step in plain PyTorch: what `benchmarks.eg3d_step` compares with. Needs
`pip install torch`.

The dual discriminator beside the generator of `torch_eg3d`, the four phases with their own Adam
steps, and the averages, written as a PyTorch user would; nothing is tuned or slowed down. Weights
are the library's own, so that the losses can be compared.
"""

import math

import torch
from torch.nn import functional as F

from benchmarks import torch_eg3d
from benchmarks.torch_eg3d import dense, filter_2x


def conv(x, p, down=False, activation=True, gain=1.0):
  """Equalised convolution, with a stride after the filter."""
  kernel = p['kernel'].permute(3, 2, 0, 1)
  f, c, k, _ = kernel.shape
  kernel = kernel / math.sqrt(c * k * k)
  if not down:
    x = F.conv2d(x, kernel, padding=k // 2)
  elif k == 1:
    x = F.conv2d(filter_2x(x)[:, :, ::2, ::2], kernel)
  else:
    x = F.conv2d(filter_2x(x, padding=2), kernel, stride=2)
  if 'bias' in p:
    x = x + p['bias'][:, None, None]
  return (F.leaky_relu(x, 0.2) * math.sqrt(2) if activation else x) * gain


def trunk(p, x, group_size):
  """The residual discriminator before its verdict: images [b, c, r, r] → [b, features]."""
  size = x.shape[-1]
  while size > 4:
    block = p[f'b{size}']
    if 'fromrgb' in block:
      x = conv(x, block['fromrgb'])
    y = conv(x, block['skip'], True, False, math.sqrt(0.5))
    x = conv(conv(x, block['conv0']), block['conv1'], True, True, math.sqrt(0.5))
    x, size = x + y, size // 2
  block, group = p['b4'], min(group_size, len(x))
  y = x.reshape(-1, group, *x.shape[1:])
  y = (y - y.mean(1, keepdim=True)).square().mean(1).add(1e-8).sqrt().mean((1, 2, 3))
  y = y.repeat_interleave(group)[:, None, None, None].expand(-1, 1, 4, 4)
  x = conv(torch.cat([x, y], 1), block['conv'])
  # The library's weights are for pixels with contiguous channels (NHWC).
  return dense(x.permute(0, 2, 3, 1).reshape(len(x), -1), block['fc'], True)


class DualDiscriminator:
  """The discriminator of a library's `discriminators.DualDiscriminator` and its parameters."""

  def __init__(self, discriminator, params):
    self.fields, self.p = discriminator, torch_eg3d._tensors(params)

  def parameters(self):
    """All tensors."""
    return list(torch_eg3d._leaves(self.p))

  def __call__(self, image, raw, label):
    """image [b, 3, r, r], raw [b, 3, n, n], label [b, 25] → logits [b]."""
    p, size = self.p, image.shape[-1]
    raw = F.interpolate(raw, (size, size), mode='bilinear', align_corners=False, antialias=True)
    x = torch.cat([image, raw], 1)
    cmap = dense(label, p['mapping']['embed'])
    cmap = cmap * torch.rsqrt(cmap.square().mean(1, keepdim=True) + 1e-8)
    for i in range(self.fields.mapping_layers):
      cmap = dense(cmap, p['mapping'][f'fc_{i}'], True, 0.01)
    x = trunk(p, x, self.fields.group_size)
    return (dense(x, p['b4']['out']) * cmap).sum(1) / math.sqrt(cmap.shape[1])


def lazy_adam(parameters, optimizer, rate, every):
  """Adam with StyleGAN2's correction for a term that is due each `every` steps; `optimizer` of a
  config."""
  share = every / (every + 1)
  betas = (optimizer.beta1**share, optimizer.beta2**share)
  return torch.optim.Adam(parameters, share * rate, betas)


def update(optimizer, others, loss):
  """A step of an optimizer, the parameters `others` frozen meanwhile; the loss, of the function."""
  for tensor in others:
    tensor.requires_grad_(False)
  optimizer.zero_grad(set_to_none=True)
  value = loss()
  value.backward()
  optimizer.step()
  for tensor in others:
    tensor.requires_grad_(True)
  return value.detach()


def r1_loss(discriminator, weight, *images):
  """Half the squared gradient of the logits in all of the images, weighted."""
  images = [x.detach().requires_grad_(True) for x in images]
  gradient = torch.autograd.grad(discriminator(*images).sum(), images, create_graph=True)
  norms = sum(x.square().sum((1, 2, 3)) for x in gradient)
  return 0.5 * weight * norms.mean()


class Trainer:
  """Steps of training, with Adam's state and one average of the weights."""

  def __init__(self, config, generator, discriminator, options):
    self.config, self.options = config, options
    self.generator, self.discriminator = generator, discriminator
    for tensor in self.generator.parameters() + self.discriminator.parameters():
      tensor.requires_grad_(True)
    own, optimizer = config.eg3d, config.optimizer
    self.optimizers = [
      lazy_adam(generator.parameters(), optimizer, optimizer.lr_generator, own.density_every),
      lazy_adam(
        discriminator.parameters(), optimizer, optimizer.lr_discriminator, config.loss.r1_every
      ),
    ]
    self.average = [tensor.detach().clone() for tensor in generator.parameters()]

  def _update(self, i, loss):
    others = (self.generator, self.discriminator)[1 - i]
    return update(self.optimizers[i], others.parameters(), loss)

  def fakes(self, z, label, rays, draws):
    """The picture and the rendering, in that order."""
    w = self.generator.map(z, label)
    return self.generator.synthesize(w, *rays, self.options, *draws)

  def g_loss(self, z, label, rays, draws):
    """The generator against the discriminator."""
    return F.softplus(-self.discriminator(*self.fakes(z, label, rays, draws), label)).mean()

  def density_loss(self, z, label):
    """Of neighbouring points."""
    own = self.config.eg3d
    planes = self.generator.planes(self.generator.map(z, label))
    points = 2 * torch.rand(len(z), own.density_points, 3) - 1
    near = points + own.density_std * torch.randn_like(points)
    density, _ = self.generator.decode(planes, torch.cat([points, near], 1))
    a, b = density.chunk(2, 1)
    return own.density * F.l1_loss(a, b)

  def d_loss(self, images, label, z, rays, draws):
    """The discriminator on fakes and photos."""
    with torch.no_grad():
      pair = self.fakes(z, label, rays, draws)
    fake = self.discriminator(*pair, label)
    real = self.discriminator(images, self.small(images), label)
    return F.softplus(fake).mean() + F.softplus(-real).mean()

  def small(self, images):
    """Photos as if they had been rendered."""
    size = (self.options.low_resolution,) * 2
    return F.interpolate(images, size, mode='bilinear', align_corners=False, antialias=True)

  def r1_loss(self, images, label):
    """Half the squared gradient, weighted."""
    return r1_loss(
      lambda *pair: self.discriminator(*pair, label),
      self.config.loss.r1,
      images,
      self.small(images),
    )

  def step(self, number, images, label, rays):
    """One step of training, lazy terms where they are due."""
    b, own, options = len(images), self.config.eg3d, self.options

    def z():
      return torch.randn(b, self.generator.fields.z_dim)

    def draws():
      r = rays[0].shape[1]
      return torch.rand(b, r, options.num_coarse), torch.rand(b, r, options.num_fine)

    g = self.generator
    self._update(0, lambda: self.g_loss(z(), label, rays, draws()))
    if number % own.density_every == 0:
      self._update(0, lambda: own.density_every * self.density_loss(z(), label))
    loss = self._update(1, lambda: self.d_loss(images, label, z(), rays, draws()))
    every = self.config.loss.r1_every
    if number % every == 0:
      self._update(1, lambda: every * self.r1_loss(images, label))
    with torch.no_grad():
      torch._foreach_lerp_(self.average, [x.detach() for x in g.parameters()], 0.005)
    return loss
