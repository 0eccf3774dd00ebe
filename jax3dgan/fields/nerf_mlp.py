"""NeRF's radiance field: an MLP of positionally encoded points, with a view branch (Mildenhall et
al., ECCV 2020, arXiv 2003.08934, Sec. 5.1 and Fig. 7).

Points are columns, as in `siren`; what depends on the view direction alone is computed once per
ray. There are no styles: one set of weights is shared by all examples, [1, ...].
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.nn.cpu import columns
from jax3dgan.nn.positional_encoding import encode, num_features


@flax.struct.dataclass
class Encoding:
  """How points and directions are encoded, see `positional_encoding.encode`; static.

  Attributes:
    points, directions: frequencies of points and of view directions.
    include_input, use_pi: see `encode`.
  """

  points: int = flax.struct.field(pytree_node=False, default=10)
  directions: int = flax.struct.field(pytree_node=False, default=4)
  include_input: bool = flax.struct.field(pytree_node=False, default=True)
  use_pi: bool = flax.struct.field(pytree_node=False, default=False)

  def sizes(self) -> tuple[int, int]:
    """Features of a point and of a direction."""
    return tuple(num_features(3, n, self.include_input) for n in (self.points, self.directions))

  def __call__(self, x, num_frequencies: int):
    """[b, 3, n] → [b, features, n]."""
    return encode(x, num_frequencies, self.include_input, self.use_pi, axis=1)


@flax.struct.dataclass
class NerfField:
  """The weights of an MLP as a field: a pytree of arrays [1, ...].

  Attributes:
    kernels, biases: of the trunk's layers, [1, h, in] and [1, h, 1]; the inputs of the skip layer
      are the encoded point, then the features.
    density, feature, colour, rgb: (kernel [1, out, in], bias [1, out, 1]) of the heads; inputs of
      `colour` are the features, then the encoded direction.
    encoding: static.
    skip_layer, first_activation, feature_activation, matmul_dtype: see `NerfMlp`.
  """

  kernels: tuple
  biases: tuple
  density: tuple
  feature: tuple
  colour: tuple
  rgb: tuple
  encoding: Encoding = Encoding()
  skip_layer: int = flax.struct.field(pytree_node=False, default=5)
  first_activation: bool = flax.struct.field(pytree_node=False, default=True)
  feature_activation: bool = flax.struct.field(pytree_node=False, default=False)
  matmul_dtype: str = flax.struct.field(pytree_node=False, default='float32')

  @property
  def width(self) -> int:
    """Features of a point in each layer."""
    return self.kernels[0].shape[1]

  def _product(self, kernel, x):
    return columns.product(kernel, x, self.matmul_dtype)

  def trunk(self, points):
    """Features [1, h, n] of points [1, n, 3]."""
    encoded = self.encoding(jnp.swapaxes(points, 1, 2), self.encoding.points)  # [1, e, n]
    size, x = encoded.shape[1], encoded
    for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
      if i and i == self.skip_layer:
        # Two products instead of one of a concatenated copy.
        x = self._product(kernel[..., :size], encoded) + self._product(kernel[..., size:], x)
      else:
        x = self._product(kernel, x)
      x = x + bias
      if i or self.first_activation:
        x = jax.nn.relu(x)
    return x

  def __call__(self, points, directions):
    """Raw density [1, r, s] and colour in [0, 1] [1, r, s, 3] of points on rays.

    Args:
      points: [1, r, s, 3].
      directions: [1, r, 3], unit length.
    """
    _, r, s, _ = points.shape
    x = self.trunk(points.reshape(1, r * s, 3))
    density = self._product(self.density[0], x) + self.density[1]  # [1, 1, r·s]
    feature = self._product(self.feature[0], x) + self.feature[1]
    if self.feature_activation:
      feature = jax.nn.relu(feature)
    size = feature.shape[1]
    encoded = self.encoding(jnp.swapaxes(directions, 1, 2), self.encoding.directions)
    view = self._product(self.colour[0][..., size:], encoded) + self.colour[1]  # [1, c, r]
    x = self._product(self.colour[0][..., :size], feature).reshape(1, -1, r, s)
    x = jax.nn.relu(x + view[..., None]).reshape(1, -1, r * s)
    rgb = jax.nn.sigmoid(self._product(self.rgb[0], x) + self.rgb[1])
    return density.reshape(1, r, s), jnp.moveaxis(rgb, 1, -1).reshape(1, r, s, 3)


class NerfMlp(nn.Module):
  """The parameters: `NAME_kernel` [in, out] and `NAME_bias` [out] of each layer.

  Attributes:
    hidden_dim, num_layers: width and layers of the trunk.
    skip_layer: the layer, from 0, that gets the encoded point again (NeRF: 5); 0 for none.
    colour_dim: width of the view branch.
    encoding: of points and directions.
    first_activation: whether the first layer has a ReLU (NeRF: yes).
    feature_activation: whether the features that enter the view branch have one (NeRF: no).
    matmul_dtype: precision policy, see `nn.precision`.
  """

  hidden_dim: int = 256
  num_layers: int = 8
  skip_layer: int = 5
  colour_dim: int = 128
  encoding: Encoding = Encoding()
  first_activation: bool = True
  feature_activation: bool = False
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self) -> NerfField:
    """The field of the parameters."""
    h, (points, directions) = self.hidden_dim, self.encoding.sizes()

    def layer(name, fan_in, fan_out):
      kernel = self.param(f'{name}_kernel', nn.initializers.glorot_uniform(), (fan_in, fan_out))
      bias = self.param(f'{name}_bias', nn.initializers.zeros, (fan_out,))
      return kernel.T[None], bias[None, :, None]

    def fan_in(i):
      if not i:
        return points
      return points + h if i == self.skip_layer else h

    trunk = [layer(f'layer_{i}', fan_in(i), h) for i in range(self.num_layers)]
    kernels, biases = map(tuple, zip(*trunk, strict=True))
    return NerfField(
      kernels=kernels,
      biases=biases,
      density=layer('density', h, 1),
      feature=layer('feature', h, h),
      colour=layer('colour', h + directions, self.colour_dim),
      rgb=layer('rgb', self.colour_dim, 3),
      encoding=self.encoding,
      skip_layer=self.skip_layer,
      first_activation=self.first_activation,
      feature_activation=self.feature_activation,
      matmul_dtype=self.matmul_dtype,
    )
