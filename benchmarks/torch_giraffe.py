"""GIRAFFE in plain PyTorch: what `benchmarks.giraffe` compares with. Needs `pip install torch`.

The generator, written from the formulas as a PyTorch user would write it: every field is evaluated
at every sample and masked outside of its box, and has its features before they are composited.
Weights are the library's own, so that pictures can be compared. Images are NCHW.
"""

import torch
from torch.nn import functional as F

from benchmarks.torch_eg3d import _leaves, _tensors
from benchmarks.torch_stylenerf import encode

MARGIN = 1.1


def linear(x, p):
  """[..., c] → [..., f]."""
  return x @ p['kernel'] + p['bias']


def turned(x, angle):
  """Vectors [..., 3] turned by −angle about the vertical axis."""
  cos, sin = torch.cos(angle), torch.sin(angle)
  return torch.stack(
    [cos * x[..., 0] - sin * x[..., 2], x[..., 1], sin * x[..., 0] + cos * x[..., 2]], -1
  )


class GIRAFFE:
  """The generator of a library's `generators.giraffe.GIRAFFE` and its variables."""

  def __init__(self, generator, variables):
    self.fields, self.p = generator, _tensors(variables['params'])

  def parameters(self):
    """All tensors that are trained."""
    return list(_leaves(self.p))

  def field(self, p, points, directions, shape, appearance, scale):
    """Points and directions [b, n, 3] → raw density [b, n], features [b, n, f]."""
    f = self.fields
    encoded = encode(points / scale, f.point_frequencies)
    shape, appearance = shape[:, None], appearance[:, None]
    x = F.relu(linear(encoded, p['points']) + linear(shape, p['shape']))
    for i in range(sum(name.startswith('block_') for name in p)):
      x = F.relu(linear(x, p[f'block_{i}']))
      if 'skip_points' in p and i == f.skip - 1:
        x = x + linear(encoded, p['skip_points']) + linear(shape, p['skip_shape'])
    density = linear(x, p['density'])[..., 0]
    directions = F.normalize(directions, dim=-1)
    viewed = encode(directions / scale, f.direction_frequencies)
    x = linear(x, p['view']) + linear(viewed, p['view_directions'])
    x = F.relu(x + linear(appearance, p['view_appearance']))
    return density, linear(x, p['features'])

  def render(self, scene, origins, directions, options):
    """Features [b, f, r, r] of rays [b, r², 3], directions of length 1 along the camera's axis."""
    f, (b, r, _) = self.fields, origins.shape
    depths = torch.linspace(options.near, options.far, options.num_coarse)
    points = origins[:, :, None] + depths[:, None] * directions[:, :, None]
    points = points.reshape(b, -1, 3)
    along = directions[:, :, None].expand(-1, -1, len(depths), -1).reshape(b, -1, 3)
    densities, features = [], []
    for i in range(f.num_objects):
      size, turn = scene['size'][:, i, None], scene['turn'][:, i, None]
      own = turned(points - scene['position'][:, i, None], turn) / size
      density, feature = self.field(
        self.p['objects'], own, turned(along, turn) / size, scene['shape'][:, i],
        scene['appearance'][:, i], 2.0,
      )  # fmt: skip
      inside = (own.abs() <= MARGIN).all(-1)
      densities.append(F.relu(density) * inside * scene['presence'][:, i, None])
      features.append(feature)
    density, feature = self.field(
      self.p['background'], points, along, scene['background_shape'],
      scene['background_appearance'], f.background_scale,
    )  # fmt: skip
    densities, features = (
      torch.stack([*densities, F.relu(density)]),
      torch.stack([*features, feature]),
    )
    total = densities.sum(0)
    mean = (densities[..., None] * features).sum(0) / torch.where(total == 0, 1e-4, total)[
      ..., None
    ]
    total, mean = total.reshape(b, r, -1), mean.reshape(b, r, len(depths), -1)
    deltas = torch.cat([depths[1:] - depths[:-1], torch.full((1,), 1e10)])
    alpha = 1 - torch.exp(-total * deltas * directions.norm(dim=-1, keepdim=True))
    before = torch.cumprod(torch.cat([torch.ones(b, r, 1), 1 - alpha + 1e-10], -1), -1)[..., :-1]
    out = ((alpha * before)[..., None] * mean).sum(2)
    side = f.low_resolution
    return out.transpose(1, 2).reshape(b, -1, side, side)

  def image(self, x):
    """Features [b, f, h, w] → images [b, 3, h', w'] in [0, 1]."""
    p, f = self.p['renderer'], self.fields

    def conv(x, name):
      return F.conv2d(x, p[name]['kernel'].permute(3, 2, 0, 1), p[name]['bias'], padding=1)

    def larger(x):
      x = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
      taps = torch.tensor([1.0, 2.0, 1.0]) / 4
      kernel = (taps[:, None] * taps).expand(x.shape[1], 1, 3, 3)
      return F.conv2d(F.pad(x, (1, 1, 1, 1), 'reflect'), kernel, groups=x.shape[1])

    rgb = larger(conv(x, 'rgb_0'))
    for i in range(len(f.channels)):
      x = F.leaky_relu(conv(F.interpolate(x, scale_factor=2), f'conv_{i}'), 0.2)
      rgb = rgb + conv(x, f'rgb_{i + 1}')
      rgb = larger(rgb) if i + 1 < len(f.channels) else rgb
    return torch.sigmoid(rgb)
