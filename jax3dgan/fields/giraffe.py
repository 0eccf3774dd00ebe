"""GIRAFFE's feature fields (Niemeyer & Geiger, CVPR 2021, arXiv 2011.12100, Sec. 3.1 and Fig. 4 of
its supplement): NeRF's layers with codes of shape and appearance added to them.

One set of weights is shared by all objects; the background has a smaller network of its own. The
last layer is linear, and so is the aggregation along a ray: what is composited are hidden features,
and `FieldLayers.head` makes the features of each pixel instead of each sample.
"""

import flax.linen as nn
import flax.struct
import jax

from jax3dgan.nn import precision
from jax3dgan.nn.conv import torch_uniform
from jax3dgan.nn.positional_encoding import encode, num_features


class Dense(nn.Module):
  """Parameters `kernel` [c, f] and `bias` [f] of a layer, initialised as in PyTorch."""

  features: int

  @nn.compact
  def __call__(self, width: int):
    """(kernel, bias) of a layer of `width` inputs."""
    init = torch_uniform(width)
    kernel = self.param('kernel', init, (width, self.features))
    return kernel, self.param('bias', init, (self.features,))


@flax.struct.dataclass
class FieldLayers:
  """The layers of a feature field, (kernel [c, f], bias [f]) each.

  Attributes:
    points, shape: of the encoded point and of the shape code, whose sum is the first layer.
    blocks: hidden layers.
    skip_points, skip_shape: the same once more behind the block `skip`; None without.
    density: to the raw density.
    view, view_directions, view_appearance: of the hidden features, of the encoded direction (None
      where nothing depends on it) and of the appearance code; their sum is the last hidden layer.
    features: to the features.
    point_frequencies, direction_frequencies, scale: of the encodings: coordinates and unit
      directions are divided by `scale`.
    skip: the number of the block that the skip follows, from 0.
    activates_view: whether the last hidden layer has a ReLU.
    squashes: whether features go through a sigmoid.
    matmul_dtype: policy of `nn.precision`.
  """

  points: tuple
  shape: tuple
  blocks: tuple
  skip_points: tuple | None
  skip_shape: tuple | None
  density: tuple
  view: tuple
  view_directions: tuple | None
  view_appearance: tuple
  features: tuple
  point_frequencies: int = flax.struct.field(pytree_node=False, default=10)
  direction_frequencies: int = flax.struct.field(pytree_node=False, default=4)
  scale: float = flax.struct.field(pytree_node=False, default=2.0)
  skip: int = flax.struct.field(pytree_node=False, default=3)
  activates_view: bool = flax.struct.field(pytree_node=False, default=True)
  squashes: bool = flax.struct.field(pytree_node=False, default=False)
  matmul_dtype: str = flax.struct.field(pytree_node=False, default='float32')

  @property
  def width(self) -> int:
    """Features of a point in a layer."""
    return max(layer[0].shape[1] for layer in (self.points, self.view, *self.blocks))

  def _layer(self, layer, x):
    return precision.rows_product(x, layer[0], self.matmul_dtype) + layer[1]

  def _encode(self, x, num_frequencies):
    return encode(x / self.scale, num_frequencies, include_input=False, use_pi=True)

  def __call__(self, points, directions, shape, appearance):
    """Raw density [m, r, s] and hidden features [m, r, s, h] of m fields.

    Args:
      points: [m, r, s, 3] in the field's own box, which is ±1.
      directions: [m, r, 3] unit directions there.
      shape, appearance: [m, d] codes.
    """
    encoded = self._encode(points, self.point_frequencies)
    shape, appearance = shape[:, None, None], appearance[:, None, None]
    x = jax.nn.relu(self._layer(self.points, encoded) + self._layer(self.shape, shape))
    for i, block in enumerate(self.blocks):
      x = jax.nn.relu(self._layer(block, x))
      if i == self.skip and self.skip_points is not None:
        x = x + self._layer(self.skip_points, encoded) + self._layer(self.skip_shape, shape)
    raw = self._layer(self.density, x)[..., 0]
    code = self._layer(self.view_appearance, appearance)  # [m, 1, 1, h]
    if self.view_directions is not None:
      viewed = self._encode(directions[:, :, None], self.direction_frequencies)
      code = code + self._layer(self.view_directions, viewed)  # [m, r, 1, h]
    x = self._layer(self.view, x) + code
    return raw, jax.nn.relu(x) if self.activates_view else x

  def head(self, hidden, weight=1.0):
    """Σ w·hidden [..., h] and Σ w [...] → Σ w·features [..., f]; without a sum where they are
    squashed."""
    kernel, bias = self.features
    out = precision.rows_product(hidden, kernel, self.matmul_dtype)
    if self.squashes:
      return jax.nn.sigmoid(out + bias)
    return out + (bias if isinstance(weight, float) else weight[..., None] * bias)


class FeatureField(nn.Module):
  """The parameters of a feature field: `points`, `shape`, `block_{i}`, `skip_points`, `skip_shape`,
  `density`, `view`, `view_directions`, `view_appearance`, `features`; each `kernel` and `bias`.

  Attributes:
    hidden: width of the layers.
    num_layers: how many there are before the density.
    skip: after so many of them, the first one not counted, point and shape code are added again; 0
      for never.
    num_features: of the result.
    use_directions: whether features depend on the direction.
    matmul_dtype, point_frequencies, direction_frequencies, scale, squashes: see `FieldLayers`.
    compat_linear_view: without directions the last hidden layer has no ReLU, as in the release.
  """

  hidden: int = 128
  num_layers: int = 8
  skip: int = 4
  num_features: int = 128
  use_directions: bool = True
  point_frequencies: int = 10
  direction_frequencies: int = 4
  scale: float = 2.0
  squashes: bool = False
  compat_linear_view: bool = False
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, code_dim: int) -> FieldLayers:
    """The layers for codes of a length."""
    num_points = num_features(3, self.point_frequencies, include_input=False)
    num_directions = num_features(3, self.direction_frequencies, include_input=False)

    def layer(name, width, features=self.hidden):
      return Dense(features, name=name)(width)

    has_skip = 0 < self.skip < self.num_layers
    return FieldLayers(
      points=layer('points', num_points),
      shape=layer('shape', code_dim),
      blocks=tuple(layer(f'block_{i}', self.hidden) for i in range(self.num_layers - 1)),
      skip_points=layer('skip_points', num_points) if has_skip else None,
      skip_shape=layer('skip_shape', code_dim) if has_skip else None,
      density=layer('density', self.hidden, 1),
      view=layer('view', self.hidden),
      view_directions=layer('view_directions', num_directions) if self.use_directions else None,
      view_appearance=layer('view_appearance', code_dim),
      features=layer('features', self.hidden, self.num_features),
      point_frequencies=self.point_frequencies,
      direction_frequencies=self.direction_frequencies,
      scale=self.scale,
      skip=self.skip - 1,
      activates_view=self.use_directions or not self.compat_linear_view,
      squashes=self.squashes,
      matmul_dtype=self.matmul_dtype,
    )
