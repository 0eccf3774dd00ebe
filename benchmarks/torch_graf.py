"""GRAF in plain PyTorch: what `benchmarks.graf` compares with. Needs `pip install torch`.

Field, rendering and patch discriminator, written from the formulas as a PyTorch user would write
them: every point has its encoding and codes concatenated before its layers, rendering takes all
rays at once, spectral normalisation is PyTorch's own, R1 is `torch.autograd.grad` with a graph.
Nothing here is tuned, and nothing is slowed down. Weights are the library's own. Images are NCHW.
"""

import torch
from torch.nn import functional as F

from benchmarks.torch_eg3d import _leaves, _tensors


def encode(x, num):
  """[..., 3] → [..., 3 + 6·num]."""
  parts = [x]
  for i in range(num):
    parts += [torch.sin(2**i * x), torch.cos(2**i * x)]
  return torch.cat(parts, -1)


class Generator:
  """The field and its rendering of a library's `generators.graf.GRAF` and its variables."""

  def __init__(self, generator, variables):
    self.fields, p = generator, _tensors(variables['params']['field'])
    self.p = {}
    for name in {key.removesuffix('_kernel') for key in p if key.endswith('_kernel')}:
      if name.endswith('_code'):
        continue
      weight = p[f'{name}_kernel']
      if f'{name}_code_kernel' in p:  # the code's rows last
        weight = torch.cat([weight, p[f'{name}_code_kernel']])
      self.p[name] = {'weight': weight.T.contiguous(), 'bias': p[f'{name}_bias']}

  def parameters(self):
    """All tensors that are trained."""
    return list(_leaves(self.p))

  def layer(self, name, x):
    """A linear layer."""
    return F.linear(x, self.p[name]['weight'], self.p[name]['bias'])

  def field(self, points, directions, shape, appearance):
    """points, directions [n, 3] and codes [n, z] → raw density [n], colour [n, 3]."""
    f = self.fields
    encoded = encode(points, f.point_frequencies)
    h = F.relu(self.layer('layer_0', torch.cat([encoded, shape], -1)))
    for i in range(1, f.num_layers):
      if i == f.skip_layer:
        h = torch.cat([encoded, h, shape], -1)
      h = F.relu(self.layer(f'layer_{i}', h))
    view = encode(directions, f.direction_frequencies)
    h_view = torch.cat([self.layer('feature', h), view, appearance], -1)
    rgb = torch.sigmoid(self.layer('rgb', F.relu(self.layer('colour', h_view))))
    return self.layer('density', h)[..., 0], rgb

  def render(self, z, origins, directions, options, jitter=None):
    """Rays [b, r, 3], directions of length 1 along the camera's axis → colours [b, r, 3]."""
    b, r, _ = origins.shape
    num = options.num_coarse
    depths = torch.linspace(options.near, options.far, num).expand(b, r, num)
    if jitter is not None:
      middle = 0.5 * (depths[..., 1:] + depths[..., :-1])
      upper = torch.cat([middle, depths[..., -1:]], -1)
      lower = torch.cat([depths[..., :1], middle], -1)
      depths = lower + (upper - lower) * jitter
    points = origins[:, :, None] + depths[..., None] * directions[:, :, None]
    unit = directions / directions.norm(dim=-1, keepdim=True)

    def each(x, width):
      return x.expand(b, r, num, width).reshape(-1, width)

    n = self.fields.shape_dim
    density, rgb = self.field(
      points.reshape(-1, 3),
      each(unit[:, :, None], 3),
      each(z[:, None, None, :n], n),
      each(z[:, None, None, n:], z.shape[1] - n),
    )
    widths = torch.cat([depths[..., 1:] - depths[..., :-1], torch.full((b, r, 1), 1e10)], -1)
    widths = widths * directions.norm(dim=-1, keepdim=True)
    alpha = 1 - torch.exp(-F.relu(density.reshape(b, r, num)) * widths)
    light = torch.cumprod(torch.cat([torch.ones(b, r, 1), 1 - alpha + 1e-10], -1), -1)[..., :-1]
    weights = alpha * light
    colour = (weights[..., None] * rgb.reshape(b, r, num, 3)).sum(2)
    return colour + (1 - weights.sum(-1, keepdim=True)) if options.white_back else colour


def discriminator(module, variables) -> torch.nn.Module:
  """The network of a library's `discriminators.patch.PatchDiscriminator` and its variables."""
  layers, inputs = [], 3
  for i, features in enumerate((*module.channels, 1)):
    last = i == len(module.channels)
    own = variables['params'][f'conv_{i}']['kernel']
    conv = torch.nn.Conv2d(inputs, features, 4, 1 if last else 2, 0 if last else 1, bias=False)
    conv.weight.data = _tensors(own).permute(3, 2, 0, 1).contiguous()
    conv = torch.nn.utils.spectral_norm(conv)
    norm = _tensors(variables['buffers'][f'conv_{i}']['norm'])
    conv.weight_u.copy_(norm['u'])
    conv.weight_v.copy_(norm['v'].reshape(16, -1).T.reshape(-1))
    layers.append(conv)
    if not last:
      layers += [torch.nn.InstanceNorm2d(features)] * (i > 0 or module.norm_first)
      layers.append(torch.nn.LeakyReLU(0.2))
    inputs = features
  return torch.nn.Sequential(*layers)


def discriminator_loss(network, photos, fakes, r1):
  """The non-saturating loss with R1 (weight r1/2 of the squared norms of an image)."""
  photos = photos.clone().requires_grad_(True)
  real = network(photos).reshape(-1)
  (gradient,) = torch.autograd.grad(real.sum(), photos, create_graph=True)
  penalty = gradient.square().sum((1, 2, 3)).mean()
  fake = network(fakes).reshape(-1)
  return F.softplus(-real).mean() + F.softplus(fake).mean() + 0.5 * r1 * penalty
