"""EG3D's generator in plain PyTorch: what `benchmarks.eg3d` compares with. Needs `pip install
torch`.

Written from the formulas, the way a PyTorch user would write it: modulated convolutions as grouped
ones with a kernel for each example, up-sampling by a transposed convolution and a filter,
`grid_sample` for the planes, sort for the samples. Nothing here is tuned, and nothing is slowed
down. Images are NCHW. Weights are the library's own (`load`), so that pictures can be compared.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F


def dense(x, p, activation=False, multiplier=1.0):
  """Equalised dense layer of parameters {'kernel', 'bias'}."""
  kernel = p['kernel'] * (multiplier / math.sqrt(p['kernel'].shape[0]))
  x = torch.addmm(p['bias'] * multiplier, x, kernel)
  return F.leaky_relu(x, 0.2) * math.sqrt(2) if activation else x


def filter_2x(x, gain=1.0, padding=1):
  """The binomial filter, each channel on its own; by default as after a transposed convolution."""
  taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
  kernel = torch.outer(taps, taps) / 64 * gain
  c = x.shape[1]
  return F.conv2d(x, kernel.expand(c, 1, 4, 4), padding=padding, groups=c)


def upsample(x):
  """Twice the size: zeros in, filter."""
  b, c, h, w = x.shape
  y = x.new_zeros(b, c, h, 2, w, 2)
  y[:, :, :, 0, :, 0] = x
  y = F.pad(y.reshape(b, c, 2 * h, 2 * w), (2, 1, 2, 1))
  taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
  kernel = torch.outer(taps, taps) / 16
  return F.conv2d(y, kernel.expand(c, 1, 4, 4), groups=c)


def modulated_conv(x, p, w, up=False, demodulate=True):
  """Each example with its own kernel, in one grouped convolution."""
  style = dense(w, p['affine'])
  kernel = p['kernel'].permute(3, 2, 0, 1)  # [f, c, k, k]
  f, c, k, _ = kernel.shape
  if not demodulate:
    style = style / math.sqrt(c * k * k)
  own = kernel[None] * style[:, None, :, None, None]
  if demodulate:
    own = own * torch.rsqrt(own.square().sum((2, 3, 4), keepdim=True) + 1e-8)
  b, _, h, width = x.shape
  x = x.reshape(1, b * c, h, width)
  if up:
    own = own.transpose(1, 2).flip(3, 4).reshape(b * c, f, k, k)
    x = filter_2x(F.conv_transpose2d(x, own, stride=2, groups=b), 4)
  else:
    x = F.conv2d(x, own.reshape(b * f, c, k, k), padding=k // 2, groups=b)
  return x.reshape(b, f, *x.shape[2:])


def layer(x, p, w, noise=None, up=False, clamp=None):
  """Modulated convolution, noise, bias, leaky ReLU."""
  x = modulated_conv(x, p['conv'], w, up)
  if noise is not None:
    x = x + noise * p['noise_strength']
  x = F.leaky_relu(x + p['bias'][:, None, None], 0.2) * math.sqrt(2)
  return x if clamp is None else x.clamp(-clamp, clamp)


def to_rgb(x, p, w, clamp=None):
  """1x1 modulated convolution without demodulation, and a bias."""
  x = modulated_conv(x, p['conv'], w, demodulate=False) + p['bias'][:, None, None]
  return x if clamp is None else x.clamp(-clamp, clamp)


class EG3D:
  """The generator of a library's `generators.eg3d.EG3D` and its variables."""

  def __init__(self, generator, variables):
    self.fields, self.p = generator, _tensors(variables['params'])
    sizes = generator.backbone_noise_sizes
    ends = np.cumsum([n * n for n in sizes])
    noise = _tensors(variables['buffers'])['noise_const']
    parts = torch.tensor_split(noise, list(ends[:-1]))
    self.noise = [part.reshape(1, 1, n, n) for part, n in zip(parts, sizes, strict=True)]

  def parameters(self):
    """All tensors that are trained."""
    return list(_leaves(self.p))

  def map(self, z, label):
    """z [b, z_dim], label [b, 25] → w [b, w_dim]."""
    p = self.p['mapping']

    def normal(x):
      return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)

    x = torch.cat([normal(z), normal(dense(label, p['embed']))], 1)
    for i in range(self.fields.mapping_layers):
      x = dense(x, p[f'fc_{i}'], True, 0.01)
    return x

  def planes(self, w):
    """w [b, w_dim] → [b, 3, c, h, h]."""
    p, x, image, noise = self.p['backbone'], None, None, iter(self.noise)
    for i in range(len(self.fields.channels)):
      block = p[f'b{4 << i}']
      if i == 0:
        x = block['const'].permute(2, 0, 1).expand(len(w), -1, -1, -1)
      else:
        x = layer(x, block['conv0'], w, next(noise), up=True)
      x = layer(x, block['conv1'], w, next(noise))
      rgb = to_rgb(x, block['torgb'], w)
      image = rgb if image is None else upsample(image) + rgb
    b, _, h, _ = image.shape
    return image.reshape(b, 3, self.fields.plane_features, h, h)

  def decode(self, planes, points):
    """planes [b, 3, c, h, h], points [b, n, 3] → raw density [b, n], features [b, n, f]."""
    b, _, c, h, _ = planes.shape
    x, y, z = (points * (2 / self.fields.box)).unbind(-1)
    third = (z, x) if self.fields.plane_axes == 'official' else (z, y)
    places = torch.stack([torch.stack(pair, -1) for pair in ((x, y), (x, z), third)], 1)
    found = F.grid_sample(
      planes.reshape(3 * b, c, h, h),
      places.reshape(3 * b, 1, -1, 2),
      padding_mode='zeros',
      align_corners=False,
    )
    found = found.reshape(b, 3, c, -1).mean(1).transpose(1, 2)  # [b, n, c]
    p = self.p['decoder']
    x = F.softplus(found @ (p['fc_0_kernel'] / math.sqrt(c)) + p['fc_0_bias'])
    x = x @ (p['fc_1_kernel'] / math.sqrt(x.shape[-1])) + p['fc_1_bias']
    return x[..., 0], torch.sigmoid(x[..., 1:]) * 1.002 - 0.001

  def render(self, planes, origins, directions, options, u_coarse, u_fine):
    """Rays [b, r, 3] → features [b, r, f] in ±1; uniforms [b, r, s] and [b, r, k]."""
    b, r, _ = origins.shape
    s, k = options.num_coarse, options.num_fine
    depths = torch.linspace(options.near, options.far, s)
    depths = depths + u_coarse * ((options.far - options.near) / (s - 1))

    def ask(depths):
      points = origins[:, :, None] + depths[..., None] * directions[:, :, None]
      density, features = self.decode(planes, points.reshape(b, -1, 3))
      return density.reshape(depths.shape), features.reshape(*depths.shape, -1)

    density, features = ask(depths)
    with torch.no_grad():
      weights = march(density, None, depths)
      weights = F.max_pool1d(weights.reshape(b * r, 1, -1), 2, 1, padding=1)
      weights = (F.avg_pool1d(weights, 2, 1).squeeze(1) + 0.01)[:, 1:-1] + 1e-5
      middle = 0.5 * (depths[..., 1:] + depths[..., :-1]).reshape(b * r, -1)
      cdf = torch.cumsum(weights / weights.sum(-1, keepdim=True), -1)
      cdf = F.pad(cdf, (1, 0))
      u = u_fine.reshape(b * r, k).contiguous()
      index = torch.searchsorted(cdf, u, right=True)
      below, above = (index - 1).clamp(min=0), index.clamp(max=cdf.shape[1] - 1)
      low, high = cdf.gather(1, below), cdf.gather(1, above)
      width = torch.where(high - low < 1e-5, torch.ones_like(low), high - low)
      start = middle.gather(1, below)
      fine = start + (u - low) / width * (middle.gather(1, above) - start)
      fine = fine.reshape(b, r, k)
    more, more_features = ask(fine)
    depths, order = torch.sort(torch.cat([depths, fine], -1), -1)
    density = torch.cat([density, more], -1).gather(-1, order)
    features = torch.cat([features, more_features], 2)
    features = features.gather(2, order[..., None].expand_as(features))
    return 2 * march(density, features, depths) - 1

  def superresolve(self, features, w):
    """features [b, c, h, h] → image [b, 3, r, r]."""
    p, fields = self.p['superresolution'], self.fields
    clamp = fields.super_clamp or None
    x = features
    if x.shape[-1] != fields.super_input:
      size = (fields.super_input,) * 2
      x = F.interpolate(x, size, mode='bilinear', align_corners=False, antialias=True)
    image = x[:, :3]
    for i, up in enumerate(fields.super_ups):
      block = p[f'block{i}']
      x = layer(x, block['conv0'], w, up=up > 1, clamp=clamp)
      x = layer(x, block['conv1'], w, clamp=clamp)
      image = (upsample(image) if up > 1 else image) + to_rgb(x, block['torgb'], w, clamp)
    return image

  def synthesize(self, w, origins, directions, options, u_coarse, u_fine, planes=None):
    """The picture [b, 3, r, r], and the rendering."""
    planes = self.planes(w) if planes is None else planes
    features = self.render(planes, origins, directions, options, u_coarse, u_fine)
    size = math.isqrt(features.shape[1])
    features = features.transpose(1, 2).reshape(len(w), -1, size, size)
    return self.superresolve(features, w), features[:, :3]


def march(density, features, depths):
  """Mid-point quadrature: the weights, or with features their sum."""
  deltas = depths[..., 1:] - depths[..., :-1]
  middle = F.softplus(0.5 * (density[..., 1:] + density[..., :-1]) - 1)
  alpha = 1 - torch.exp(-middle * deltas)
  through = torch.cumprod(F.pad(1 - alpha + 1e-10, (1, 0), value=1.0), -1)[..., :-1]
  weights = alpha * through
  if features is None:
    return weights
  return (weights[..., None] * 0.5 * (features[:, :, 1:] + features[:, :, :-1])).sum(2)


def _tensors(tree):
  if isinstance(tree, dict):
    return {key: _tensors(value) for key, value in tree.items()}
  return torch.tensor(np.asarray(tree))


def _leaves(tree):
  for value in tree.values():
    if isinstance(value, dict):
      yield from _leaves(value)
    else:
      yield value
