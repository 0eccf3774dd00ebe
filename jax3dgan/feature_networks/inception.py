"""The Inception network of FID, and the resizing in front of it.

FID (Heusel et al. 2017, arXiv 1706.08500) is defined with the activations of one network:
TensorFlow's Inception v3 (Szegedy et al. 2015, arXiv 1512.00567), graph inception-2015-12-05. It
differs from the Inception v3 of today's libraries: other weights, average pools that do not count
their padding, and a maximum pool where the paper averages in the last block. pytorch-fid agrees
with it, and this module with pytorch-fid.

Layers have the names of `inception_layers`; batch norm (epsilon 1e-3) is folded into the
convolutions. On CPUs the speed of XLA's convolutions depends on details, such as padding, by
a factor of seven; `_correlate` chooses the fast ones (`benchmarks/inception.py` times the whole).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan.feature_networks.inception_layers import Layer, blocks, layers
from jax3dgan.nn import backend, conv

SIZE = 299  # of the images that the network was trained on
RESIZES = ('half_pixel', 'tensorflow')
MIN_SIZE = 75  # smaller images have no pixels left after the pools and strides


def resize_matrix(size: int, target: int = SIZE, resize: str = 'half_pixel') -> np.ndarray:
  """The matrix [target, size] that resizes one axis bilinearly, without antialiasing.

  Args:
    size, target: Pixels before and after.
    resize: 'half_pixel': pixel centres at halves, as `F.interpolate(align_corners=False)` and so
      pytorch-fid have it; 'tensorflow': target pixel i samples at i · size / target, as the graph's
      own ResizeBilinear does. The two shift an image against each other (see Parmar et al. 2022,
      arXiv 2104.11222, on what resizing does to FID).
  """
  position = np.arange(target)
  if resize == 'half_pixel':
    position = np.maximum((position + 0.5) * size / target - 0.5, 0)
  else:
    position = position * size / target
  low = np.minimum(np.floor(position).astype(np.int64), size - 1)
  high = np.minimum(low + 1, size - 1)
  share = position - low
  matrix = np.zeros((target, size))
  np.add.at(matrix, (np.arange(target), low), 1 - share)
  np.add.at(matrix, (np.arange(target), high), share)
  return matrix.astype(np.float32)


def preprocess(images, size: int = SIZE, resize: str = 'half_pixel'):
  """The input of the network, from images.

  pytorch-fid maps values v of 0 to 255 to 2v/255 − 1, TensorFlow's graph to (v − 128)/128; each
  is used with its resizing.

  Args:
    images: [b, h, w, c], uint8 or float in [−1, 1].
    size: Pixels of a side afterwards; 0 leaves them.
    resize: See `resize_matrix`.

  Returns:
    float32 [b, size, size, c].
  """
  whole_numbers = images.dtype == jnp.uint8
  x = images.astype(jnp.float32)
  for axis, spec in ((1, 'oi,bihc->bohc'), (2, 'oi,bhic->bhoc')):
    # Resizing to the same size changes nothing in either convention.
    if size and x.shape[axis] != size:
      matrix = resize_matrix(x.shape[axis], size, resize)
      x = jnp.einsum(spec, matrix, x, precision=jax.lax.Precision.HIGHEST)
  if resize == 'half_pixel':
    return x / 127.5 - 1 if whole_numbers else x
  values = x if whole_numbers else (x + 1) * 127.5
  return (values - 128) / 128


def _lax(x, kernel, stride, padding):
  return jax.lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    precision=jax.lax.Precision.HIGHEST,  # without TF32, which is off by 1e-3
  )


def _correlate(x, kernel, stride, same):
  """x [b, h, w, c] with kernel [kh, kw, c, f], computed in the fastest way on this platform."""
  height, width = kernel.shape[:2]
  if height == width == 1:
    return jnp.einsum('bhwc,cf->bhwf', x, kernel[0, 0], precision=jax.lax.Precision.HIGHEST)
  if same or not backend.cpu_forms():
    return _lax(x, kernel, stride, 'SAME' if same else 'VALID')
  if stride > 1:
    return conv.conv2d(x, kernel, stride=stride)
  # Without padding XLA's CPU convolution takes four to seven times as long as with it (conv_1,
  # conv_4): compute the border too and cut it off.
  return _lax(x, kernel, 1, 'SAME')[:, height // 2 : -(height // 2), width // 2 : -(width // 2)]


def _stencil(x, combine, stride):
  """combine(combine(three rows), three columns): a 3 × 3 window as slices, unpadded.

  XLA's CPU reduce_window, which goes pixel by pixel, is much slower.
  """
  for axis in (1, 2):
    count = (x.shape[axis] - 3) // stride + 1
    window = (
      jax.lax.slice_in_dim(x, i, i + (count - 1) * stride + 1, stride, axis) for i in range(3)
    )
    first, second, third = window
    x = combine(combine(first, second), third)
  return x


def _pad(x, value):
  return jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=value)


def max_pool(x, stride: int = 2, same: bool = False):
  """Maximum over 3 × 3 of x [b, h, w, c]; 'SAME' padding or none."""
  if not backend.cpu_forms():
    return nn.max_pool(x, (3, 3), (stride, stride), 'SAME' if same else 'VALID')
  return _stencil(_pad(x, -jnp.inf) if same else x, jnp.maximum, stride)


def average_pool(x):
  """Mean over 3 × 3 of x [b, h, w, c], stride 1; at the border over what is inside only."""
  counts = [np.full(n, 3, np.float32) for n in x.shape[1:3]]
  for count in counts:
    count[0] -= 1
    count[-1] -= 1
  weight = 1 / (counts[0][:, None] * counts[1])
  return _stencil(_pad(x, 0), jnp.add, 1) * weight[..., None]


class _Weights(nn.Module):
  """The kernel and the bias of a layer."""

  layer: Layer

  @nn.compact
  def __call__(self):
    init = nn.initializers.he_normal()
    return (
      self.param('kernel', init, self.layer.shape),
      self.param('bias', nn.initializers.zeros, (self.layer.features,)),
    )


class Inception(nn.Module):
  """The network up to its pooled features.

  Attributes:
    dims: 2048, the features of FID (pool_3), or 768, the means over mixed_7 (pytorch-fid's
      `--dims 768`): another scale, called FID-768, which must not be compared with FID.
    size: Side of the square that images are resized to; 0 leaves them as they are, at least
      `MIN_SIZE` a side.
    resize: See `resize_matrix`.
  """

  dims: int = 2048
  size: int = SIZE
  resize: str = 'half_pixel'

  @nn.compact
  def __call__(self, images):
    """Features float32 [b, dims] of images [b, h, w, 3], uint8 or float in [−1, 1]."""
    table = layers(self.dims)
    weights = {name: _Weights(layer, name=name)() for name, layer in table.items()}

    def layer(name, x):
      kernel, bias = weights[name]
      return nn.relu(_correlate(x, kernel, table[name].stride, table[name].same) + bias)

    def chain(x, *names):
      for name in names:
        x = layer(name, x)
      return x

    def pointwise(x, block, names, pooled=None):
      """All 1 × 1 layers of the same x in one product, and `pooled` where there is one.

      A mean over pixels and a product over channels commute: the average pool is computed after the
      product, whose result has a fraction of the channels of x.
      """
      every = [f'{block}_{name}' for name in (*names, *([pooled] if pooled else []))]
      kernel = jnp.concatenate([weights[name][0] for name in every], axis=-1)
      ends = np.cumsum([table[name].features for name in every])[:-1]
      parts = jnp.split(_correlate(x, kernel, 1, True), ends, axis=-1)
      if pooled:
        parts[-1] = average_pool(parts[-1])
      return [nn.relu(y + weights[name][1]) for name, y in zip(every, parts, strict=True)]

    def block_35(x, b):
      names = ('conv', 'tower_conv', 'tower_1_conv')
      plain, tower, tower_1, pool = pointwise(x, b, names, 'tower_2_conv')
      tower = layer(f'{b}_tower_conv_1', tower)
      tower_1 = chain(tower_1, f'{b}_tower_1_conv_1', f'{b}_tower_1_conv_2')
      return plain, tower, tower_1, pool

    def block_17(x, b):
      names = ('conv', 'tower_conv', 'tower_1_conv')
      plain, tower, tower_1, pool = pointwise(x, b, names, 'tower_2_conv')
      tower = chain(tower, f'{b}_tower_conv_1', f'{b}_tower_conv_2')
      tower_1 = chain(tower_1, *(f'{b}_tower_1_conv_{i}' for i in range(1, 5)))
      return plain, tower, tower_1, pool

    def block_8(x, b):
      names = ('conv', 'tower_conv', 'tower_1_conv')
      if b == 'mixed_10':  # its pool takes the maximum, only in this graph
        plain, tower, tower_1 = pointwise(x, b, names)
        pool = layer(f'{b}_tower_2_conv', max_pool(x, 1, True))
      else:
        plain, tower, tower_1, pool = pointwise(x, b, names, 'tower_2_conv')
      tower_1 = layer(f'{b}_tower_1_conv_1', tower_1)
      split = ('mixed_conv', 'mixed_conv_1')
      towers = [layer(f'{b}_tower_{name}', tower) for name in split]
      return plain, *towers, *(layer(f'{b}_tower_1_{name}', tower_1) for name in split), pool

    def mixed_3(x, b):
      tower = chain(x, *(f'{b}_tower_{name}' for name in ('conv', 'conv_1', 'conv_2')))
      return layer(f'{b}_conv', x), tower, max_pool(x)

    def mixed_8(x, b):
      tower, tower_1 = pointwise(x, b, ('tower_conv', 'tower_1_conv'))
      tower = layer(f'{b}_tower_conv_1', tower)
      tower_1 = chain(tower_1, *(f'{b}_tower_1_conv_{i}' for i in range(1, 4)))
      return tower, tower_1, max_pool(x)

    kinds = dict.fromkeys(('mixed', 'mixed_1', 'mixed_2'), block_35)
    kinds |= dict.fromkeys(('mixed_4', 'mixed_5', 'mixed_6', 'mixed_7'), block_17)
    kinds |= dict(mixed_3=mixed_3, mixed_8=mixed_8, mixed_9=block_8, mixed_10=block_8)

    x = preprocess(images, self.size, self.resize)
    x = max_pool(chain(x, 'conv', 'conv_1', 'conv_2'))
    x = max_pool(chain(x, 'conv_3', 'conv_4'))
    for block in blocks(self.dims):
      x = jnp.concatenate(kinds[block](x, block), axis=-1)
    return x.mean((1, 2))
