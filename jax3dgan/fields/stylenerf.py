"""StyleNeRF's fields (Gu et al., ICLR 2022, arXiv 2110.08985, Sec. 3): a foreground of modulated
layers, and NeRF++'s background (Zhang et al. 2020, arXiv 2010.07492).

Neither has a view direction. The layers behind the last hidden one are linear, and so is the
aggregation along a ray: what is composited are hidden features, and `Head` makes features and a
colour of each pixel instead of each sample. That is the same number, in a fraction of the products.
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.nn import positional_encoding
from jax3dgan.nn.equalized import activate
from jax3dgan.nn.modulated_dense import Linear, ModulatedDense, product


@flax.struct.dataclass
class Head:
  """Hidden features to a colour and features, both linear; leaves [b, ...], or [1, ...] for all.

  Attributes:
    feature_kernel, feature_bias: [b, h, f], [1, f].
    rgb_kernel, rgb_bias: [1, f, 3], [1, 3].
    matmul_dtype: policy of `nn.precision`.
  """

  feature_kernel: jax.Array
  feature_bias: jax.Array
  rgb_kernel: jax.Array
  rgb_bias: jax.Array
  matmul_dtype: str = flax.struct.field(pytree_node=False, default='float32')

  def __call__(self, hidden, weight=1.0):
    """Σ w·hidden [b, n, h] and Σ w [b, n] → Σ w·colour [b, n, 3] and Σ w·features [b, n, f].

    Colours are in about ±1. Samples alone have a weight of 1.
    """
    weight = jnp.broadcast_to(weight, hidden.shape[:-1])[..., None]
    features = product(hidden, self.feature_kernel, self.matmul_dtype) + weight * self.feature_bias
    rgb = product(features, self.rgb_kernel) + weight * self.rgb_bias
    return rgb, features


@flax.struct.dataclass
class ForegroundField:
  """The foreground of styles: a pytree of arrays [b, ...], or [1, ...] for all.

  Attributes:
    kernels, biases: of the hidden layers, [b, c, h] and [1, h].
    density_kernel, density_bias: [b, h, 1], [1, 1].
    head: see `Head`.
    num_frequencies: of the positional encoding.
    density_gain: factor on the raw density.
    matmul_dtype: policy of `nn.precision`.
  """

  kernels: tuple
  biases: tuple
  density_kernel: jax.Array
  density_bias: jax.Array
  head: Head
  num_frequencies: int = flax.struct.field(pytree_node=False, default=10)
  density_gain: float = flax.struct.field(pytree_node=False, default=1.0)
  matmul_dtype: str = flax.struct.field(pytree_node=False, default='float32')

  @property
  def width(self) -> int:
    """Features of a point in a layer."""
    return max(kernel.shape[-1] for kernel in self.kernels)

  def __call__(self, points, directions=None):
    """Raw density [b, r, s] and hidden features [b, r, s, h] at points [b, r, s, 3]."""
    del directions
    x = positional_encoding.encode(points, self.num_frequencies, include_input=False, use_pi=True)
    for kernel, bias in zip(self.kernels, self.biases, strict=True):
      x = activate(product(x, kernel, self.matmul_dtype) + bias)
    raw = product(x, self.density_kernel)[..., 0] + self.density_bias[..., 0]
    return raw * self.density_gain if self.density_gain != 1 else raw, x


@flax.struct.dataclass
class BackgroundField:
  """The background of codes: a pytree of arrays [b, ...], or [1, ...] for all.

  Attributes:
    kernels: of the hidden layers, [1, c, h]; the first one's without the code's rows.
    biases: [1, h]; the first one's is [b, h], with the code's share in it.
    density_kernel, density_bias: [1, h, 1], [1, 1].
    head: see `Head`.
    num_frequencies: of the positional encoding.
    matmul_dtype: policy of `nn.precision`.
  """

  kernels: tuple
  biases: tuple
  density_kernel: jax.Array
  density_bias: jax.Array
  head: Head
  num_frequencies: int = flax.struct.field(pytree_node=False, default=10)
  matmul_dtype: str = flax.struct.field(pytree_node=False, default='float32')

  @property
  def width(self) -> int:
    """Features of a point in a layer."""
    return max(4 * 2 * self.num_frequencies, *(kernel.shape[-1] for kernel in self.kernels))

  def __call__(self, points):
    """Raw density [b, r, s] and hidden features [b, r, s, h] at points of the inverted sphere
    [b, r, s, 4], see `background.points_outside`."""
    x = positional_encoding.encode(points, self.num_frequencies, include_input=False, use_pi=True)
    for kernel, bias in zip(self.kernels, self.biases, strict=True):
      x = jax.nn.relu(product(x, kernel, self.matmul_dtype) + bias[:, None, None])
    return product(x, self.density_kernel)[..., 0] + self.density_bias[..., 0], x


class Foreground(nn.Module):
  """The foreground's parameters: `fc_0` ..., `density`, `feature` (`ModulatedDense` all), `rgb`.

  Attributes:
    hidden: width of the layers.
    num_layers: how many hidden ones there are.
    num_frequencies: of the positional encoding.
    features: of a pixel, for the up-sampler.
    density_gain: see `ForegroundField`.
    matmul_dtype: policy of `nn.precision`.
  """

  hidden: int = 128
  num_layers: int = 8
  num_frequencies: int = 10
  features: int = 256
  density_gain: float = 1.0
  matmul_dtype: str = 'float32'

  @property
  def num_ws(self) -> int:
    """Styles: of the layers, of the density, of the features."""
    return self.num_layers + 2

  @nn.compact
  def __call__(self, w) -> ForegroundField:
    """The field of styles w [b, num_ws, w_dim]."""
    width = positional_encoding.num_features(3, self.num_frequencies, include_input=False)
    kernels, biases = [], []
    for i in range(self.num_layers):
      kernel, bias = ModulatedDense(self.hidden, name=f'fc_{i}')(width, w[:, i])
      kernels.append(kernel)
      biases.append(bias)
      width = self.hidden
    of_density = ModulatedDense(1, demodulate=False, name='density')(width, w[:, -2])
    of_feature = ModulatedDense(self.features, demodulate=False, name='feature')(width, w[:, -1])
    return ForegroundField(
      tuple(kernels),
      tuple(biases),
      *of_density,
      Head(*of_feature, *Linear(3, True, name='rgb')(self.features), self.matmul_dtype),
      self.num_frequencies,
      self.density_gain,
      self.matmul_dtype,
    )


class Background(nn.Module):
  """The background's parameters: `fc_0` ..., `density`, `feature`, `rgb` (`Linear` all).

  Attributes:
    hidden, num_layers, num_frequencies, features, matmul_dtype: as of `Foreground`.
  """

  hidden: int = 64
  num_layers: int = 4
  num_frequencies: int = 10
  features: int = 256
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, code) -> BackgroundField:
    """The field of codes [b, d]."""
    encoded = positional_encoding.num_features(4, self.num_frequencies, include_input=False)
    kernels, biases = [], []
    for i in range(self.num_layers):
      width = self.hidden if i else encoded + code.shape[-1]
      kernel, bias = Linear(self.hidden, name=f'fc_{i}')(width)
      if i == 0:  # the code is the same at all points
        bias = bias + product(code, kernel[:, encoded:])
        kernel = kernel[:, :encoded]
      kernels.append(kernel)
      biases.append(bias)
    of_density = Linear(1, name='density')(self.hidden)
    of_feature = Linear(self.features, name='feature')(self.hidden)
    return BackgroundField(
      tuple(kernels),
      tuple(biases),
      *of_density,
      Head(*of_feature, *Linear(3, True, name='rgb')(self.features), self.matmul_dtype),
      self.num_frequencies,
      self.matmul_dtype,
    )
