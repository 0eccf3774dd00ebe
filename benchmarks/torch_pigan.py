"""π-GAN in plain PyTorch: what `benchmarks.speed` compares with. Needs `pip install torch`.

Written from the paper's formulas, the way a PyTorch user would write it: FiLM layers applied to
every point, torch's own sine, sort, convolutions, Adam and autograd. Nothing here is tuned, and
nothing is slowed down. Images are NCHW.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

_FREQUENCY_SCALE, _FREQUENCY_OFFSET = 15.0, 30.0


class FilmLayer(nn.Module):
  """sin(γ·(Wx + b) + β)."""

  def __init__(self, fan_in, features, first=False):
    super().__init__()
    self.linear = nn.Linear(fan_in, features)
    bound = 1 / fan_in if first else math.sqrt(6 / fan_in) / 25
    nn.init.uniform_(self.linear.weight, -bound, bound)

  def forward(self, x, gamma, beta):
    """x [b, n, fan_in]; gamma, beta [b, features]."""
    return torch.sin(gamma[:, None] * self.linear(x) + beta[:, None])


class Field(nn.Module):
  """FiLM-SIREN: points and view directions [b, n, 3] → colour and raw density [b, n, 4]."""

  def __init__(self, hidden, num_layers, input_scale):
    super().__init__()
    self.input_scale = input_scale
    sizes = [3] + [hidden] * num_layers
    self.layers = nn.ModuleList(FilmLayer(n, hidden, n == 3) for n in sizes[:-1])
    self.density = nn.Linear(hidden, 1)
    self.colour_film = FilmLayer(hidden + 3, hidden)
    self.colour = nn.Linear(hidden, 3)
    for layer in (self.density, self.colour):
      bound = math.sqrt(6 / hidden) / 25
      nn.init.uniform_(layer.weight, -bound, bound)

  def forward(self, points, directions, gamma, beta):
    x = points * self.input_scale
    for i, layer in enumerate(self.layers):
      x = layer(x, gamma[:, i], beta[:, i])
    density = self.density(x)
    x = self.colour_film(torch.cat([directions, x], -1), gamma[:, -1], beta[:, -1])
    return torch.cat([torch.sigmoid(self.colour(x)), density], -1)


class Generator(nn.Module):
  """Mapping network, field, hierarchical volume rendering."""

  def __init__(self, z_dim=256, hidden=256, num_layers=8, mapping_dim=256, input_scale=2 / 0.24):
    super().__init__()
    self.hidden, self.num_styles = hidden, num_layers + 1
    self.field = Field(hidden, num_layers, input_scale)
    layers, fan_in = [], z_dim
    for _ in range(3):
      layers += [nn.Linear(fan_in, mapping_dim), nn.LeakyReLU(0.2)]
      fan_in = mapping_dim
    layers.append(nn.Linear(fan_in, 2 * self.num_styles * hidden))
    for layer in layers[::2]:
      nn.init.kaiming_normal_(layer.weight, a=0.2)
    with torch.no_grad():
      layers[-1].weight *= 0.25
    self.mapping = nn.Sequential(*layers)

  def styles(self, z):
    """γ and β, [b, num_styles, hidden] each."""
    frequencies, phases = self.mapping(z).chunk(2, -1)
    shape = (-1, self.num_styles, self.hidden)
    gamma = frequencies * _FREQUENCY_SCALE + _FREQUENCY_OFFSET
    return gamma.reshape(shape), phases.reshape(shape)

  def forward(self, z, options):
    """Images [b, 3, h, h] of latents z [b, z_dim] from random cameras, and their (pitch, yaw)."""
    gamma, beta = self.styles(z)
    b, r = len(z), options.resolution**2
    origins, directions, pose = random_rays(b, options)
    s = options.num_coarse
    depths = torch.linspace(options.near, options.far, s).expand(b, r, s)
    spacing = (options.far - options.near) / (s - 1)
    depths = depths + (torch.rand(b, r, s) - 0.5) * spacing
    coarse = self._ask(origins, directions, depths, gamma, beta)
    with torch.no_grad():
      _, weights = integrate(coarse, depths, options.noise_std)
      fine_depths = importance_depths(depths, weights, options.num_fine)
    fine = self._ask(origins, directions, fine_depths, gamma, beta)
    depths, order = torch.sort(torch.cat([fine_depths, depths], -1), -1)
    samples = torch.gather(torch.cat([fine, coarse], 2), 2, order[..., None].expand(-1, -1, -1, 4))
    colour, _ = integrate(samples, depths, options.noise_std)
    image = colour.reshape(b, options.resolution, options.resolution, 3).permute(0, 3, 1, 2)
    return 2 * image.contiguous() - 1, pose

  def _ask(self, origins, directions, depths, gamma, beta):
    b, r, s = depths.shape
    points = origins[:, None, None] + depths[..., None] * directions[:, :, None]
    views = directions[:, :, None].expand(-1, -1, s, -1)
    out = self.field(points.reshape(b, -1, 3), views.reshape(b, -1, 3), gamma, beta)
    return out.reshape(b, r, s, 4)


def random_rays(b, options):
  """Origins [b, 3], unit directions [b, r, 3], (pitch, yaw) [b, 2] of gaussian poses."""
  yaw = math.pi / 2 + options.yaw_std * torch.randn(b)
  pitch = math.pi / 2 + options.pitch_std * torch.randn(b)
  origin = torch.stack([pitch.sin() * yaw.cos(), pitch.cos(), pitch.sin() * yaw.sin()], -1)
  forward = F.normalize(-origin, dim=-1)
  left = F.normalize(torch.cross(torch.tensor([[0.0, 1.0, 0.0]]), forward, dim=-1), dim=-1)
  up = torch.cross(forward, left, dim=-1)
  rotation = torch.stack([-left, up, -forward], -1)
  ticks = torch.linspace(-1, 1, options.resolution)
  y, x = torch.meshgrid(-ticks, ticks, indexing='ij')
  z = torch.full_like(x, -1 / math.tan(math.radians(options.fov_degrees) / 2))
  local = F.normalize(torch.stack([x, y, z], -1).reshape(-1, 3), dim=-1)
  return origin, torch.einsum('bij,rj->bri', rotation, local), torch.stack([pitch, yaw], -1)


def integrate(samples, depths, noise_std):
  """Colours [b, r, 3] and weights [b, r, s] of samples [b, r, s, 4] at ascending depths."""
  deltas = depths[..., 1:] - depths[..., :-1]
  deltas = torch.cat([deltas, torch.full_like(deltas[..., :1], 1e10)], -1)
  raw = samples[..., 3]
  density = F.softplus(raw + noise_std * torch.randn_like(raw))
  alpha = 1 - torch.exp(-deltas * density)
  passed = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + 1e-10], -1), -1)
  weights = alpha * passed[..., :-1]
  return torch.sum(weights[..., None] * samples[..., :3], -2), weights


def importance_depths(depths, weights, num):
  """Depths [b, r, num] drawn from the piecewise-constant density of the coarse weights."""
  bins = 0.5 * (depths[..., 1:] + depths[..., :-1])
  pdf = weights[..., 1:-1] + 2e-5
  cdf = torch.cumsum(pdf / pdf.sum(-1, keepdim=True), -1)
  cdf = torch.cat([torch.zeros_like(cdf[..., :1]), cdf], -1)
  u = torch.rand(*depths.shape[:-1], num)
  index = torch.searchsorted(cdf, u)
  below, above = (index - 1).clamp(min=0), index.clamp(max=cdf.shape[-1] - 1)
  low, high = cdf.gather(-1, below), cdf.gather(-1, above)
  width = torch.where(high - low < 1e-5, torch.ones_like(low), high - low)
  start, end = bins.gather(-1, below), bins.gather(-1, above)
  return start + (u - low) / width * (end - start)


class CoordConv(nn.Module):
  """3x3 convolution of an image with its coordinates."""

  def __init__(self, channels, features, stride):
    super().__init__()
    self.conv = nn.Conv2d(channels + 2, features, 3, stride, 1)
    nn.init.kaiming_normal_(self.conv.weight, a=0.2)

  def forward(self, x):
    b, _, h, w = x.shape
    rows = torch.linspace(-1, 1, h)[:, None].expand(b, 1, h, w)
    columns = torch.linspace(-1, 1, w).expand(b, 1, h, w)
    return self.conv(torch.cat([x, rows, columns], 1))


class Block(nn.Module):
  """Residual block that halves the size by its stride."""

  def __init__(self, channels, features):
    super().__init__()
    self.first = CoordConv(channels, features, 1)
    self.second = CoordConv(features, features, 2)
    self.shortcut = nn.Conv2d(channels, features, 1, 2)

  def forward(self, x):
    y = F.leaky_relu(self.second(F.leaky_relu(self.first(x), 0.2)), 0.2)
    return (y + self.shortcut(x)) / math.sqrt(2)


class Discriminator(nn.Module):
  """Strided CoordConv discriminator with heads for the latent and the pose."""

  def __init__(self, resolution, channels=(32, 64, 128, 256, 400, 400, 400, 400), latent_dim=256):
    super().__init__()
    channels = channels[-int(math.log2(resolution)) :]
    self.entry = nn.Conv2d(3, channels[0], 1)
    self.blocks = nn.Sequential(*map(Block, channels[:-1], channels[1:]))
    self.final = nn.Conv2d(channels[-1], 1 + latent_dim + 2, 2)

  def forward(self, image):
    """Logits [b] and (pitch, yaw) [b, 2]."""
    out = self.final(self.blocks(F.leaky_relu(self.entry(image), 0.2)))[:, :, 0, 0]
    return out[:, 0], out[:, -2:]


class Trainer:
  """Steps of training with the loss weights of CelebA."""

  def __init__(self, generator, discriminator, options):
    self.generator, self.discriminator, self.options = generator, discriminator, options
    adam = dict(betas=(0.0, 0.9), eps=1e-8)
    self.g_adam = torch.optim.Adam(generator.parameters(), lr=6e-5, **adam)
    self.d_adam = torch.optim.Adam(discriminator.parameters(), lr=2e-4, **adam)
    self.averages = [[p.detach().clone() for p in generator.parameters()] for _ in range(2)]

  def generate(self, b):
    """Fresh images of b random latents, and their poses."""
    return self.generator(torch.randn(b, 256), self.options)

  def discriminator_step(self, real):
    """One update of the discriminator, R1 included."""
    with torch.no_grad():
      fake, pose = self.generate(len(real))
    real = real.requires_grad_(True)
    real_logits, _ = self.discriminator(real)
    (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
    penalty = 0.5 * 0.2 * gradient.square().sum((1, 2, 3)).mean()
    fake_logits, guess = self.discriminator(fake)
    loss = F.softplus(fake_logits).mean() + F.softplus(-real_logits).mean() + penalty
    loss = loss + 15 * F.mse_loss(guess, pose)
    self._update(self.discriminator, self.d_adam, loss)

  def generator_step(self, b):
    """One update of the generator and its two averages."""
    fake, pose = self.generate(b)
    logits, guess = self.discriminator(fake)
    loss = F.softplus(-logits).mean() + 15 * F.mse_loss(guess, pose)
    self._update(self.generator, self.g_adam, loss)
    with torch.no_grad():
      for rate, average in zip((0.999, 0.9999), self.averages, strict=True):
        for old, new in zip(average, self.generator.parameters(), strict=True):
          old.lerp_(new, 1 - rate)

  def _update(self, network, adam, loss):
    for module in (self.generator, self.discriminator):
      module.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    adam.step()

  def step(self, real):
    """A whole training step."""
    self.discriminator_step(real)
    self.generator_step(len(real))
