"""HoloGAN in plain PyTorch: what `benchmarks.hologan` compares with. Needs `pip install torch`.

Generator and discriminator, written from the formulas as a PyTorch user would write them:
transposed convolutions and `grid_sample` are PyTorch's own. Nothing here is tuned, and nothing is
slowed down. Weights are the library's own, so that pictures can be compared. Images are NCHW,
voxels NCDHW.
"""

import torch
from torch.nn import functional as F

from benchmarks.torch_eg3d import _leaves, _tensors


def linear(x, p):
  """A dense layer of parameters {'kernel', 'bias'}."""
  return torch.addmm(p['bias'], x, p['kernel'])


def transposed(x, p, stride):
  """A transposed convolution to stride times the size, of {'kernel' [k, ..., c, f], 'bias'}."""
  kernel = p['kernel']
  num, k = kernel.ndim - 2, kernel.shape[0]
  weight = kernel.permute(num, num + 1, *range(num))
  function = F.conv_transpose3d if num == 3 else F.conv_transpose2d
  x, size = function(x, weight, p['bias'], stride, (k - stride) // 2), x.shape[2:]
  for axis, n in enumerate(size):
    x = x.narrow(2 + axis, 0, n * stride)
  return x


def normalised(x, epsilon):
  """Mean 0 and variance 1 of each channel of each example."""
  axes = tuple(range(2, x.ndim))
  mean, variance = x.mean(axes, keepdim=True), x.var(axes, unbiased=False, keepdim=True)
  return (x - mean) * torch.rsqrt(variance + epsilon)


class HoloGAN:
  """The generator of a library's `generators.hologan.HoloGAN` and its parameters."""

  def __init__(self, generator, params):
    self.fields, self.p = generator, _tensors(params)
    self.act = F.relu if generator.activation == 'relu' else lambda x: F.leaky_relu(x, 0.2)

  def parameters(self):
    """All tensors that are trained."""
    return list(_leaves(self.p))

  def adain(self, x, i, w):
    """With the style of a row."""
    style = F.relu(linear(w[:, i], self.p[f'style_{i}']))
    style = style.reshape(*style.shape, *(1,) * (x.ndim - 2))
    scale, offset = style.chunk(2, 1)
    return normalised(x, 1e-8) * scale + offset

  def prepare(self, w):
    """Styles w [b, num_ws, z_dim] → voxels [b, c, n, n, n]."""
    x = self.p['constant'].permute(3, 0, 1, 2)[None]
    x = self.act(self.adain(x, 0, w))
    for i in range(len(self.fields.voxel_channels)):
      x = self.act(self.adain(transposed(x, self.p[f'voxels_{i}'], 2), i + 1, w))
    if not self.fields.sphere:
      return x
    half = x.shape[-1] // 2
    steps = torch.arange(-half, half, dtype=x.dtype)
    axes = torch.meshgrid(steps, steps, steps, indexing='ij')
    radius = sum(axis.square() for axis in axes).sqrt()
    return x * (half - 0.5 - radius).clamp(0, 1)

  def project(self, voxels, w, places):
    """Voxels and places (x, y, z) [b, rows, columns, depth, 3] → images [b, 3, r, r]."""
    n, first = voxels.shape[-1], len(self.fields.voxel_channels) + 1
    inside = ((places >= 0) & (places < n - 1)).all(-1)
    x = F.grid_sample(voxels, 2 * places / (n - 1) - 1, align_corners=True)
    x = x * inside[:, None]
    for i in range(len(self.fields.projection_channels)):
      x = self.act(transposed(x, self.p[f'projection_{i}'], 1))
    x = x.permute(0, 4, 1, 2, 3).flatten(1, 2)  # a channel is depth·c + its own number
    x = self.act(transposed(x, self.p['fold'], 1))
    for i in range(len(self.fields.channels)):
      x = self.act(self.adain(transposed(x, self.p[f'image_{i}'], 2), first + i, w))
    return torch.tanh(transposed(x, self.p['rgb'], 1))


class Discriminator:
  """That of a library's `discriminators.hologan.HoloGANDiscriminator`, its logit alone."""

  def __init__(self, discriminator, variables):
    self.num = len(discriminator.channels)
    self.p = _tensors(variables['params'])
    self.u = _tensors(variables['buffers'])

  def __call__(self, image):
    """Images [b, 3, r, r] → logits [b]."""
    x = image
    for i in range(self.num):
      p = self.p[f'block_{i}']
      kernel = p['kernel']
      if i:
        matrix = kernel.flatten(0, 2)
        v = F.normalize(matrix @ self.u[f'block_{i}']['norm']['u'], dim=0)
        u = F.normalize(v @ matrix, dim=0)
        kernel = kernel / (v @ matrix @ u)
      x = F.conv2d(F.pad(x, (1, 2, 1, 2)), kernel.permute(3, 2, 0, 1), p['bias'], 2)
      if i:
        x = normalised(x, 1e-5) * p['scale'][:, None, None] + p['offset'][:, None, None]
      x = F.leaky_relu(x, 0.2)
    return linear(x.permute(0, 2, 3, 1).flatten(1), self.p['logit'])[:, 0]
