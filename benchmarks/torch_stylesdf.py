"""StyleSDF in plain PyTorch: what `benchmarks.style` compares with. Needs `pip install torch`.

Generator of both stages, the first stage's discriminator and its training step, written from the
formulas as a PyTorch user would write them: points as rows, the distance's gradient by
`torch.autograd.grad`. Nothing here is tuned, and nothing is slowed down. Weights are the library's
own, so that pictures and losses can be compared. Images are NCHW.
"""

import math

import torch
from torch.nn import functional as F

from benchmarks.torch_eg3d import _leaves, _tensors, dense, layer, to_rgb, upsample


class StyleSDF:
  """The generator of a library's `generators.stylesdf.StyleSDF` and its variables."""

  def __init__(self, generator, variables):
    self.fields, self.p = generator, _tensors(variables['params'])
    self.noise = []
    if generator.decoder_channels:
      low, count = generator.low_resolution, len(generator.decoder_channels)
      sizes = [low, *(low << i for i in range(1, count) for _ in range(2))]
      flat = _tensors(variables['buffers'])['noise_const']
      parts = flat.split([size**2 for size in sizes])
      self.noise = [part.reshape(1, 1, n, n) for part, n in zip(parts, sizes, strict=True)]

  def parameters(self):
    """All tensors that are trained."""
    return list(_leaves(self.p))

  def map(self, z):
    """z [b, z_dim] → the renderer's style [b, w_dim]."""
    for i in range(self.fields.mapping_layers):
      p = self.p['mapping'][f'hidden_{i}']
      z = F.leaky_relu(torch.addmm(p['bias'], z, p['kernel']), 0.2)
    return z

  def _film(self, name, x, w):
    p = self.p['field']
    gamma, shift = (
      torch.addmm(p[f'{name}_{part}_bias'], w, p[f'{name}_{part}_kernel'])[:, None]
      for part in ('gamma', 'beta')
    )
    x = x @ p[f'{name}_kernel'] + p[f'{name}_bias']
    return torch.sin((15 * gamma + 30) * x + 0.25 * shift)

  def distance(self, points, w):
    """Signed distances [b, n] of points [b, n, 3], and the features [b, n, h] that they are of."""
    x, p = points * self.fields.input_scale, self.p['field']
    for i in range(self.fields.num_layers):
      x = self._film(f'film_{i}', x, w)
    return (x @ p['distance_kernel'])[..., 0] + p['distance_bias'], x

  def beta(self):
    """The positive β."""
    return self.p['field']['beta'].abs() + self.fields.beta_floor

  def render(self, w, origins, directions, options, offset, penalised=False):
    """Rays [b, r, 3], directions of length 1 along the camera's axis; offset [b, r] in [0, 1).

    Returns:
      image [b, r, 3] in ±1, features [b, r, h]; with `penalised` (eikonal, minimal surface) too.
    """
    s, (b, r, _) = options.num_coarse, origins.shape
    cell = (options.far - options.near) / s
    depths = options.near + (torch.arange(s) + offset[..., None]) * cell  # [b, r, s]
    points = origins[:, :, None] + depths[..., None] * directions[:, :, None]
    points, terms = points.reshape(b, -1, 3), ()
    if penalised:
      points.requires_grad_(True)
    distance, x = self.distance(points, w)
    if penalised:
      (gradient,) = torch.autograd.grad(distance.sum(), points, create_graph=True)
      eikonal = ((gradient.square().sum(-1) + 1e-20).sqrt() - 1).square().mean()
      terms = (eikonal, torch.exp(-self.sharpness * distance.abs()).mean())
    beta, length = self.beta(), directions.norm(dim=-1, keepdim=True)
    density = (torch.sigmoid(-distance / beta) / beta).reshape(b, r, s)
    views = (directions / length)[:, :, None].expand(-1, -1, s, -1).reshape(b, -1, 3)
    x = self._film('view', torch.cat([x, views], -1), w)
    p = self.p['field']
    rgb = torch.sigmoid(x @ p['rgb_kernel'] + p['rgb_bias'])
    widths = torch.cat(
      [depths[..., 1:] - depths[..., :-1], torch.full_like(depths[..., :1], 1e10)], -1
    )
    alpha = 1 - torch.exp(-density * widths * length)
    light = torch.cumprod(
      torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha[..., :-1] + 1e-10], -1), -1
    )
    weights = (alpha * light)[..., None]
    image = 2 * (weights * rgb.reshape(b, r, s, 3)).sum(2) - 1
    features = (weights * x.reshape(b, r, s, -1)).sum(2)
    return image, features, *terms

  sharpness = 100.0

  def decode(self, features, w, noise=None):
    """Features [b, h, n, n] and the renderer's style [b, w_dim] → images; noise [b, 1, n, n] of
    each layer, None for the constant one."""
    return self.decode_styles(features, self.decoder_styles(w), noise)

  def decoder_styles(self, w):
    """The renderer's style [b, w_dim] → that of each of the decoder's layers, [b, n, c]."""
    w = w * torch.rsqrt(w.square().mean(1, keepdim=True) + 1e-8)
    for i in range(self.fields.decoder_mapping_layers):
      w = dense(w, self.p['decoder_mapping'][f'fc_{i}'], True, 0.01)
    return w[:, None].repeat(1, 2 * len(self.fields.decoder_channels), 1)

  def decode_styles(self, features, ws, noise=None):
    """`decode` of the styles [b, n, c] of its layers; to-RGB has that of the next block's first."""
    fields, noise = self.fields, iter(self.noise if noise is None else noise)
    x, image = features, None
    for i in range(len(fields.decoder_channels)):
      p = self.p['decoder'][f'b{fields.low_resolution << i}']
      if i:
        x = layer(x, p['conv0'], ws[:, 2 * i - 1], next(noise), up=True)
      x = layer(x, p['conv1'], ws[:, 2 * i], next(noise))
      rgb = to_rgb(x, p['torgb'], ws[:, 2 * i + 1])
      image = rgb if image is None else upsample(image) + rgb
    return image


class CoordConvDiscriminator:
  """The first stage's discriminator and its parameters."""

  def __init__(self, discriminator, params):
    self.fields, self.p = discriminator, _tensors(params)

  def parameters(self):
    """All tensors."""
    return list(_leaves(self.p))

  def __call__(self, image):
    """image [b, 3, r, r] → logits [b] and the view [b, k]."""
    x = F.leaky_relu(_conv(image, self.p['from_rgb']), 0.2)
    size = self.fields.resolution
    while size > 2:
      p = self.p[f'block_{size}']
      y = F.leaky_relu(_conv(_with_places(x), p['conv_0'], 1), 0.2)
      y = F.leaky_relu(_conv(_with_places(y), p['conv_1'], 1), 0.2)
      skip = F.avg_pool2d(x, 2)
      skip = _conv(skip, p['shortcut']) if 'shortcut' in p else skip
      x, size = (F.avg_pool2d(y, 2) + skip) * math.sqrt(0.5), size // 2
    out = _conv(x, self.p['final'])[:, :, 0, 0]
    return out[:, 0], out[:, 1:]


def _conv(x, p, padding=0):
  return F.conv2d(x, p['kernel'].permute(3, 2, 0, 1), p['bias'], padding=padding)


def _with_places(x):
  b, _, h, w = x.shape
  rows = torch.linspace(-1, 1, h)[:, None].expand(b, 1, h, w)
  columns = torch.linspace(-1, 1, w)[None].expand(b, 1, h, w)
  return torch.cat([x, rows, columns], 1)


class Trainer:
  """Steps of the first stage, with Adam's state and one average of the weights."""

  def __init__(self, config, generator, discriminator, options):
    self.config, self.options = config, options
    self.generator, self.discriminator = generator, discriminator
    generator.sharpness = config.stylesdf.sharpness
    for tensor in generator.parameters() + discriminator.parameters():
      tensor.requires_grad_(True)
    own = config.optimizer
    self.optimizers = [
      torch.optim.Adam(network.parameters(), rate, (own.beta1, own.beta2))
      for network, rate in (
        (discriminator, own.lr_discriminator), (generator, own.lr_generator),
      )
    ]  # fmt: skip
    self.average = [tensor.detach().clone() for tensor in generator.parameters()]

  def _images(self, z, rays, offset, penalised=False):
    w = self.generator.map(z)
    image, _, *terms = self.generator.render(w, *rays, self.options, offset, penalised)
    size = self.options.resolution
    return image.reshape(len(z), size, size, 3).permute(0, 3, 1, 2), terms

  def d_loss(self, images, z, rays, offset, view):
    """The discriminator, with R1 and the view."""
    loss = self.config.loss
    with torch.no_grad():
      fakes, _ = self._images(z, rays, offset)
    fake, guess = self.discriminator(fakes)
    images = images.detach().requires_grad_(True)
    real, _ = self.discriminator(images)
    (gradient,) = torch.autograd.grad(real.sum(), images, create_graph=True)
    r1 = gradient.square().sum((1, 2, 3)).mean()
    total = F.softplus(fake).mean() + F.softplus(-real).mean() + 0.5 * loss.r1 * r1
    return total + loss.pose * F.smooth_l1_loss(guess, view)

  def g_loss(self, z, rays, offset, view):
    """The generator, with the view and the terms of the distance."""
    loss = self.config.loss
    fakes, (eikonal, surface) = self._images(z, rays, offset, True)
    fake, guess = self.discriminator(fakes)
    total = F.softplus(-fake).mean() + loss.pose * F.smooth_l1_loss(guess, view)
    return total + loss.eikonal * eikonal + loss.minimal_surface * surface

  def step(self, number, images, rays, view):
    """One step of training."""
    del number
    networks = (self.discriminator, self.generator)
    b, r = rays[0].shape[:2]
    for i in range(2):
      for tensor in networks[1 - i].parameters():
        tensor.requires_grad_(False)
      z, offset = torch.randn(b, self.generator.fields.z_dim), torch.rand(b, r)
      self.optimizers[i].zero_grad(set_to_none=True)
      if i == 0:
        self.d_loss(images, z, rays, offset, view).backward()
      else:
        self.g_loss(z, rays, offset, view).backward()
      self.optimizers[i].step()
      for tensor in networks[1 - i].parameters():
        tensor.requires_grad_(True)
    with torch.no_grad():
      torch._foreach_lerp_(self.average, [x.detach() for x in self.generator.parameters()], 0.005)
