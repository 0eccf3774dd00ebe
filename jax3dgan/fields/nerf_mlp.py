"""NeRF's radiance field: an MLP of positionally encoded points, with a view branch (Mildenhall et
al., ECCV 2020, arXiv 2003.08934, Sec. 5.1 and Fig. 7).

Points are columns, as in `siren`; what depends on the view direction alone is computed once per
ray. One set of weights is shared by all examples, [1, ...]. What makes objects of it are their
codes, which are further inputs of some layers (GRAF, Schwarz et al., NeurIPS 2020, arXiv
2007.02442, Sec. 3.2): constant along all rays of an image, they are added as a bias of its own.
"""

from collections.abc import Callable

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.nn import precision
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
class Codes:
  """What the codes of objects add to layers before their activation.

  Attributes:
    first, skip: [b, h] of the shape code, to the first layer and the skip layer; `skip` is None
      without that layer.
    colour: [b, c] of the appearance code, to the first layer of the view branch.
  """

  first: jax.Array
  skip: jax.Array | None
  colour: jax.Array


def _plus(x, code):
  """x [1, h, b·n] plus a code [b, h] for each example's n columns."""
  if code is None:
    return x
  b, h = code.shape
  return (x.reshape(1, h, b, -1) + code.T[None, :, :, None]).reshape(x.shape)


@flax.struct.dataclass
class NerfField:
  """The weights of an MLP as a field: a pytree of arrays [1, ...], and codes [b, ...].

  Attributes:
    kernels, biases: of the trunk's layers, [1, h, in] and [1, h, 1]; the inputs of the skip layer
      are the encoded point, then the features.
    density, feature, colour, rgb: (kernel [1, out, in], bias [1, out, 1]) of the heads; inputs of
      `colour` are the features, then the encoded direction, if any.
    codes: of the examples; None without.
    encoding: static.
    skip_layer, first_activation, feature_activation, matmul_dtype: see `NerfMlp`.
  """

  kernels: tuple
  biases: tuple
  density: tuple
  feature: tuple
  colour: tuple
  rgb: tuple
  codes: Codes | None = None
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
    """Features [1, h, n] of points [1, n, 3], example by example where there are codes."""
    codes = self.codes or Codes(None, None, None)
    encoded = self.encoding(jnp.swapaxes(points, 1, 2), self.encoding.points)  # [1, e, n]
    size, x = encoded.shape[1], encoded
    for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
      if i and i == self.skip_layer:
        # Two products instead of one of a concatenated copy.
        x = self._product(kernel[..., :size], encoded) + self._product(kernel[..., size:], x)
      else:
        x = self._product(kernel, x)
      x = x + bias
      if not i:
        x = _plus(x, codes.first)
      elif i == self.skip_layer:
        x = _plus(x, codes.skip)
      if i or self.first_activation:
        x = jax.nn.relu(x)
    return x

  def __call__(self, points, directions):
    """Raw density [b, r, s] and colour in [0, 1] [b, r, s, 3] of points on rays.

    Args:
      points: [b, r, s, 3], of as many examples as there are codes; without codes of any number.
      directions: [b, r, 3], unit length.
    """
    b, r, s, _ = points.shape
    x = self.trunk(points.reshape(1, b * r * s, 3))
    density = self._product(self.density[0], x) + self.density[1]  # [1, 1, b·r·s]
    feature = self._product(self.feature[0], x) + self.feature[1]
    if self.feature_activation:
      feature = jax.nn.relu(feature)
    x = self._product(self.colour[0][..., : feature.shape[1]], feature).reshape(1, -1, b * r, s)
    x = jax.nn.relu(x + self._view(directions.reshape(1, b * r, 3), feature.shape[1])[..., None])
    rgb = self._product(self.rgb[0], x.reshape(1, -1, b * r * s)) + self.rgb[1]
    rgb = jnp.moveaxis(jax.nn.sigmoid(rgb), 1, -1)
    return density.reshape(b, r, s), rgb.reshape(b, r, s, 3)

  def _view(self, directions, size: int):
    """What the view branch's first layer takes of each ray [1, r, 3] and its object: [1, c, r];
    [1, c, 1] where there is nothing."""
    kernel, view = self.colour[0][..., size:], self.colour[1]
    if kernel.shape[-1]:
      encoded = self.encoding(jnp.swapaxes(directions, 1, 2), self.encoding.directions)
      view = self._product(kernel, encoded) + view
    if self.codes is None:
      return view
    return _plus(jnp.broadcast_to(view, (*view.shape[:2], directions.shape[1])), self.codes.colour)


class NerfMlp(nn.Module):
  """The parameters: `NAME_kernel` [in, out] and `NAME_bias` [out] of each layer, and
  `NAME_code_kernel` [code, out] of those that take a code.

  Attributes:
    hidden_dim, num_layers: width and layers of the trunk.
    skip_layer: the layer, from 0, that gets the encoded point again (NeRF: 5); 0 for none.
    colour_dim: width of the view branch.
    encoding: of points and directions.
    first_activation: whether the first layer has a ReLU (NeRF: yes).
    feature_activation: whether the features that enter the view branch have one (NeRF: no).
    matmul_dtype: precision policy, see `nn.precision`.
    use_directions: whether colours depend on the view direction.
    init_of: init_of(inputs of a layer, codes included) → the initializer of its kernels and bias;
      None for Glorot's, with biases of 0.
  """

  hidden_dim: int = 256
  num_layers: int = 8
  skip_layer: int = 5
  colour_dim: int = 128
  encoding: Encoding = Encoding()
  first_activation: bool = True
  feature_activation: bool = False
  matmul_dtype: str = 'float32'
  use_directions: bool = True
  init_of: Callable | None = None

  @nn.compact
  def __call__(self, shape=None, appearance=None) -> NerfField:
    """The field of the parameters, and of codes [b, n] of the objects' shape and appearance where
    it is given these."""
    h, (points, directions) = self.hidden_dim, self.encoding.sizes()
    codes = {}

    def layer(name, fan_in, fan_out, code=None):
      fan = fan_in + (0 if code is None else code.shape[-1])
      of_kernel, of_bias = nn.initializers.glorot_uniform(), nn.initializers.zeros
      if self.init_of is not None:
        of_kernel = of_bias = self.init_of(fan)
      kernel = self.param(f'{name}_kernel', of_kernel, (fan_in, fan_out))
      bias = self.param(f'{name}_bias', of_bias, (fan_out,))
      if code is not None:
        of_code = self.param(f'{name}_code_kernel', of_kernel, (code.shape[-1], fan_out))
        codes[name] = precision.einsum('bz,zh->bh', code, of_code, self.matmul_dtype)
      return kernel.T[None], bias[None, :, None]

    def fan_in(i):
      if not i:
        return points
      return points + h if i == self.skip_layer else h

    def code_of(i):
      return shape if i in (0, self.skip_layer) else None

    trunk = [layer(f'layer_{i}', fan_in(i), h, code_of(i)) for i in range(self.num_layers)]
    kernels, biases = map(tuple, zip(*trunk, strict=True))
    field = NerfField(
      kernels=kernels,
      biases=biases,
      density=layer('density', h, 1),
      feature=layer('feature', h, h),
      colour=layer('colour', h + directions * self.use_directions, self.colour_dim, appearance),
      rgb=layer('rgb', self.colour_dim, 3),
      encoding=self.encoding,
      skip_layer=self.skip_layer,
      first_activation=self.first_activation,
      feature_activation=self.feature_activation,
      matmul_dtype=self.matmul_dtype,
    )
    if not codes:
      return field
    skip = codes.get(f'layer_{self.skip_layer}') if self.skip_layer else None
    return field.replace(codes=Codes(codes['layer_0'], skip, codes['colour']))
