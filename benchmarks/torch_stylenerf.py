"""StyleNeRF in plain PyTorch: what `benchmarks.style` compares with. Needs `pip install torch`.

Generator and discriminator, written from the formulas as a PyTorch user would write them: every
sample has its colour and features before they are composited, 1x1 modulated convolutions are
products with a matrix for each example, the up-sampler concatenates, shuffles and blurs whole
images. Nothing here is tuned, and nothing is slowed down. Weights are the library's own, so that
pictures can be compared. Images are NCHW.
"""

import math

import torch
from torch.nn import functional as F

from benchmarks.torch_eg3d import _leaves, _tensors, dense, filter_2x, upsample
from benchmarks.torch_eg3d_step import conv


def encode(x, num):
  """[..., c] → [..., 2·num·c]."""
  parts = []
  for i in range(num):
    parts += [torch.sin(2**i * math.pi * x), torch.cos(2**i * math.pi * x)]
  return torch.cat(parts, -1)


def modulated(x, p, w, demodulate=True):
  """Rows x [b, n, c] times the kernel of each example."""
  kernel, style = p['kernel'], dense(w, p['affine'])
  if not demodulate:
    style = style / math.sqrt(len(kernel))
  own = kernel * style[:, :, None]
  if demodulate:
    own = own * torch.rsqrt(own.square().sum(1, keepdim=True) + 1e-8)
  return x @ own


def activation(x, clamp=None):
  """Leaky ReLU with its gain."""
  x = F.leaky_relu(x, 0.2) * math.sqrt(2)
  return x.clamp(-clamp, clamp) if clamp else x


class StyleNeRF:
  """The generator of a library's `generators.stylenerf.StyleNeRF` and its variables."""

  def __init__(self, generator, variables):
    self.fields, self.p = generator, _tensors(variables['params'])
    self.powers = _tensors(variables['buffers'])['powers']

  def parameters(self):
    """All tensors that are trained."""
    return list(_leaves(self.p))

  def map(self, z):
    """z [b, latent_dim] → w [b, w_dim]."""
    x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
    for i in range(self.fields.mapping_layers):
      x = dense(x, self.p['mapping'][f'fc_{i}'], True, 0.01)
    return x

  def foreground(self, points, w):
    """points [b, n, 3] → raw density [b, n], colour and features [b, n, 3 + f]."""
    p, f = self.p['foreground'], self.fields
    x = encode(points, f.num_frequencies)
    for i in range(f.num_layers):
      x = activation(modulated(x, p[f'fc_{i}'], w) + p[f'fc_{i}']['bias'])
    density = modulated(x, p['density'], w, False)[..., 0] + p['density']['bias']
    features = modulated(x, p['feature'], w, False) + p['feature']['bias']
    return f.density_gain * density, self._with_colour(features, p['rgb'])

  @staticmethod
  def _with_colour(features, p):
    rgb = features @ p['kernel'] / math.sqrt(features.shape[-1]) + p['bias']
    return torch.cat([rgb, features], -1)

  def background(self, points, code):
    """points [b, n, 4], code [b, d] → raw density [b, n], colour and features [b, n, 3 + f]."""
    p, f = self.p['background'], self.fields
    x = encode(points, f.background_frequencies)
    x = torch.cat([x, code[:, None].expand(-1, x.shape[1], -1)], -1)
    for i in range(f.background_layers):
      x = F.relu(x @ p[f'fc_{i}']['kernel'] + p[f'fc_{i}']['bias'])
    density = (x @ p['density']['kernel'])[..., 0] + p['density']['bias']
    features = x @ p['feature']['kernel'] + p['feature']['bias']
    return density, self._with_colour(features, p['rgb'])

  def render(self, w, code, origins, directions, options):
    """Rays [b, r, 3], directions of length 1 along the camera's axis where depths are measured
    along it; deterministic. Returns colour and features [b, r, 3 + f]."""
    weights, values, light = self.samples(w, origins, directions, options)
    out = (weights[..., None] * values).sum(2)
    b, r, _ = origins.shape
    length = directions.norm(dim=-1, keepdim=True)
    if not self.fields.background:
      if options.white_back:
        out = torch.cat([out[..., :3] + light, out[..., 3:]], -1)
      return out
    inverse = -torch.linspace(-1, 0, self.fields.background_samples) * 0.5
    points = _outside(origins, directions / length, inverse)
    density, values = self.background(points.reshape(b, -1, 4), code)
    density = density.reshape(b, r, -1)
    weights, _ = _weights(density, (-inverse).expand(b, r, -1), torch.ones_like(length), True)
    return out + light * (weights[..., None] * values.reshape(b, r, len(inverse), -1)).sum(2)

  def samples(self, w, origins, directions, options):
    """The foreground's samples of rays, see `render`: weights [b, r, s], colours and features
    [b, r, s, 3 + f], and the light [b, r, 1] that passes them."""
    b, r, _ = origins.shape
    length = directions.norm(dim=-1, keepdim=True)

    def ask(depths):
      points = origins[:, :, None] + depths[..., None] * directions[:, :, None]
      density, values = self.foreground(points.reshape(b, -1, 3), w)
      return density.reshape(depths.shape), values.reshape(*depths.shape, -1)

    depths = torch.linspace(options.near, options.far, options.num_coarse).expand(b, r, -1)
    density, values = ask(depths)
    with torch.no_grad():
      weights, _ = _weights(density, depths, length)
      fine = _sample_pdf(
        0.5 * (depths[..., 1:] + depths[..., :-1]), weights[..., 1:-1], options.num_fine
      )
    more_density, more = ask(fine)
    depths, order = torch.sort(torch.cat([depths, fine], -1), -1)
    density = torch.gather(torch.cat([density, more_density], -1), -1, order)
    values = torch.cat([values, more], 2)
    values = torch.gather(values, 2, order[..., None].expand(-1, -1, -1, values.shape[-1]))
    weights, light = _weights(density, depths, length)
    return weights, values, light

  def colours(self, values, w):
    """Colour and features [b, n, 3 + f] of single samples → their colours [b, n, 3], by the layers
    of the up-sampler; the mean squares of its layers' inputs are in `squares`."""
    f, rgb, x = self.fields, values[..., :3], values[..., 3:]
    clamp, self.squares = f.clamp or None, []
    for i in range(len(f.channels)):
      p, powers = self.p['upsampler'][f'b{f.low_resolution << (i + 1)}'], self.powers[i]
      for name, power in zip(('conv0', 'conv1'), powers, strict=True):
        self.squares.append(x.detach().square().mean())
        x = activation(modulated(x * torch.rsqrt(power), p[name], w) + p[name]['bias'], clamp)
      more = modulated(x, p['torgb'], w, False) + p['torgb']['bias']
      rgb = rgb + (more.clamp(-clamp, clamp) if clamp else more)
    return rgb

  def move_powers(self):
    """The running means of the squares, after those that were measured last."""
    squares = torch.stack(self.squares).reshape(-1, 2)
    self.powers = 0.999 * self.powers + 0.001 * squares

  def upsample(self, values, w, measure=False):
    """Colour and features [b, 3 + f, n, n] → images; with `measure` see `colours`."""
    f, self.squares = self.fields, []
    image, x = values[:, :3], values[:, 3:]
    clamp = f.clamp or None
    for i in range(len(f.channels)):
      p, powers = self.p['upsampler'][f'b{f.low_resolution << (i + 1)}'], self.powers[i]
      if measure:
        self.squares.append(x.detach().square().mean())
      x = self._layer(x, p['conv0'], w, powers[0])
      x = filter_2x(F.pad(self._double(x, p), (2, 1, 2, 1)), padding=0)
      x = activation(x + p['conv0']['bias'][:, None, None], clamp)
      if measure:
        self.squares.append(x.detach().square().mean())
      x = self._layer(x, p['conv1'], w, powers[1])
      x = activation(x + p['conv1']['bias'][:, None, None], clamp)
      rgb = _rows(x, lambda rows, p=p: modulated(rows, p['torgb'], w, False))
      rgb = rgb + p['torgb']['bias'][:, None, None]
      image = upsample(image) + (rgb.clamp(-clamp, clamp) if clamp else rgb)
    return image

  @staticmethod
  def _layer(x, p, w, power):
    return _rows(x * torch.rsqrt(power), lambda rows: modulated(rows, p, w))

  @staticmethod
  def _double(x, p):
    """Nearest neighbours plus the adapter of them and of the means of two neighbours."""
    y = F.pad(x, (1, 1, 1, 1))
    left, right = y[:, :, 1:-1, :-2], y[:, :, 1:-1, 2:]
    above, below = y[:, :, :-2, 1:-1], y[:, :, 2:, 1:-1]
    means = torch.stack([left + above, above + right, left + below, right + below], 2) / 2
    b, c, _, h, w = means.shape
    means = F.pixel_shuffle(means.reshape(b, 4 * c, h, w), 2)
    near = F.interpolate(x, scale_factor=2, mode='nearest')

    def one(x, p):
      kernel = (p['kernel'] / math.sqrt(len(p['kernel']))).T[:, :, None, None]
      return F.conv2d(x, kernel, p['bias'])

    t = activation(one(torch.cat([near, means], 1), p['adapter_0']))
    return near + one(t, p['adapter_1'])


def _rows(x, function):
  """Applies a function of rows [b, n, c] to images [b, c, h, w]."""
  b, c, h, w = x.shape
  out = function(x.reshape(b, c, h * w).transpose(1, 2))
  return out.transpose(1, 2).reshape(b, -1, h, w)


def _weights(density, depths, length, last=False):
  widths = torch.cat([depths[..., 1:] - depths[..., :-1], torch.zeros_like(depths[..., :1])], -1)
  alpha = 1 - torch.exp(-F.relu(density) * widths * length)
  if last:
    alpha = torch.cat([alpha[..., :-1], torch.ones_like(alpha[..., :1])], -1)
  light = torch.cumprod(torch.cat([torch.ones_like(alpha[..., :1]), 1 - alpha + 1e-10], -1), -1)
  return alpha * light[..., :-1], light[..., -1:]


def _sample_pdf(bins, weights, num):
  weights = weights + 1e-5
  cdf = torch.cumsum(weights / weights.sum(-1, keepdim=True), -1)
  cdf = torch.cat([torch.zeros_like(cdf[..., :1]), cdf], -1)
  u = torch.linspace(0, 1, num).expand(*cdf.shape[:-1], num).contiguous()
  above = torch.searchsorted(cdf, u, right=True)
  below = (above - 1).clamp(min=0)
  above = above.clamp(max=cdf.shape[-1] - 1)
  low, high = torch.gather(cdf, -1, below), torch.gather(cdf, -1, above)
  start, end = torch.gather(bins, -1, below), torch.gather(bins, -1, above)
  span = torch.where(high - low < 1e-5, torch.ones_like(low), high - low)
  return start + (u - low) / span * (end - start)


def _outside(origins, directions, inverse):
  """NeRF++'s points [b, r, s, 4] at distances 1/inverse [s] from the origin."""
  along = (origins * directions).sum(-1, keepdim=True)
  nearest = (origins - along * directions)[:, :, None]
  inverse = inverse[:, None]
  rest = (1 - inverse.square() * nearest.square().sum(-1, keepdim=True)).clamp(min=1e-6)
  unit = inverse * nearest + rest.sqrt() * directions[:, :, None]
  return torch.cat([unit, inverse.expand(*unit.shape[:-1], 1)], -1)


class Discriminator:
  """The discriminator of the largest images, without a pose head, and its parameters."""

  def __init__(self, discriminator, params):
    self.fields, self.p = discriminator, _tensors(params)

  def parameters(self):
    """All tensors."""
    return list(_leaves(self.p))

  def __call__(self, image):
    """image [b, 3, r, r] → logits [b]."""
    p, size, clamp = self.p, image.shape[-1], self.fields.clamp

    def bounded(x):
      return x.clamp(-clamp, clamp) if clamp else x

    x = bounded(conv(image, p[f'from_rgb_{size}']))
    while size > 4:
      block = p[f'b{size}']
      x = bounded(conv(bounded(conv(x, block['conv0'])), block['conv1'], True))
      image, size = filter_2x(image)[:, :, ::2, ::2], size // 2
      entry = conv(image, p[f'from_rgb_{size}'])
      x = x + (bounded(entry) if size > 4 else entry)
    block, group = p['b4'], min(self.fields.group_size, len(x))
    y = x.reshape(-1, group, *x.shape[1:])
    y = (y - y.mean(1, keepdim=True)).square().mean(1).add(1e-8).sqrt().mean((1, 2, 3))
    y = y.repeat_interleave(group)[:, None, None, None].expand(-1, 1, 4, 4)
    x = bounded(conv(torch.cat([x, y], 1), block['conv']))
    # The library's weights are for pixels with contiguous channels (NHWC).
    x = dense(x.permute(0, 2, 3, 1).reshape(len(x), -1), block['fc'], True)
    return dense(x, block['out'])[:, 0]
