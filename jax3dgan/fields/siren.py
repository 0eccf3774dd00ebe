"""FiLM-SIREN: π-GAN's conditioned radiance field (π-GAN, Sec. 3.1 and Fig. 2).

Every layer is sin(γ·(Wx + b) + β) with frequencies γ and phases β from the mapping network. Folded
form: γ is multiplied into the weights of each example, W·γ and b·γ + β, once per image instead of
once per point. Per point there remain a batched matrix product, an addition and a sine; the
gradient of γ is taken on the small weights. The term of the view direction is computed once per ray
instead of once per sample.

Points are columns: features are [b, h, n], and every product has the small weights on the left and
the many points last, which is fastest on a CPU (`nn.cpu.columns`).
"""

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.nn import phases, siren_init, thin_products
from jax3dgan.nn.cpu import columns
from jax3dgan.nn.cpu.sine import sine
from jax3dgan.rendering.trilinear import sample_grid

# Raw frequencies f are used as γ = 15 f + 30 (π-GAN's release).
FREQUENCY_SCALE = 15.0
FREQUENCY_OFFSET = 30.0


def scale_frequencies(raw):
  """γ = 15 f + 30."""
  return raw * FREQUENCY_SCALE + FREQUENCY_OFFSET


@flax.struct.dataclass
class FoldedSiren:
  """A FiLM-SIREN with its styles folded in: one field per example, a pytree of arrays [b, ...]
  (or [1, ...] where all share them).

  Attributes:
    kernels, shifts: per layer [b, h, in] and [b, h, 1].
    density_kernel, density_bias: [b, 1, h], [b, 1].
    colour_direction: [b, h, 3]; colour_kernel, colour_shift: [b, h, h], [b, h, 1]: the colour
      layer.
    rgb_kernel, rgb_bias: [b, 3, h], [b, 3].
    embedding: [1, d, h, w, c] features of space, which come before the point in the first layer's
      input, or None; grid_scale: factor that takes points to its ±1.
    matmul_dtype: policy of `precision.einsum` for the products between hidden layers.
    saved_activations: 'all', or 'phases' for layers of which `phases.POLICY` can keep the phases
      alone.
  """

  kernels: tuple
  shifts: tuple
  density_kernel: jax.Array
  density_bias: jax.Array
  colour_direction: jax.Array
  colour_kernel: jax.Array
  colour_shift: jax.Array
  rgb_kernel: jax.Array
  rgb_bias: jax.Array
  embedding: jax.Array | None = None
  grid_scale: float = flax.struct.field(pytree_node=False, default=1.0)
  matmul_dtype: str = flax.struct.field(pytree_node=False, default='float32')
  saved_activations: str = flax.struct.field(pytree_node=False, default='all')

  def _sine(self, phase):
    return sine(phases.rounded(phase) if self.saved_activations == 'phases' else phase)

  @property
  def width(self) -> int:
    """Features of a point in each layer."""
    return self.colour_kernel.shape[-1]

  def trunk(self, points):
    """Features [b, h, n] of points [b, n, 3]."""
    points = self._inputs(points)
    # Positions are multiplied by frequencies of 30 and more: the first product is never rounded.
    x = self._sine(thin_products.product(self.kernels[0], points) + self.shifts[0])
    for kernel, shift in zip(self.kernels[1:], self.shifts[1:], strict=True):
      x = self._sine(columns.product(kernel, x, self.matmul_dtype) + shift)
    return x

  def _inputs(self, points):
    """The first layer's input for points [b, n, 3]: [b, n, 3], or [b, n, c + 3]."""
    if self.embedding is None:
      return points
    features = sample_grid(self.embedding[0], points * self.grid_scale)
    return jnp.concatenate([features, points], axis=-1)

  def density(self, points):
    """Raw density [b, n] of points [b, n, 3]: all that a mesh needs."""
    return self._density(self.trunk(points))

  def _density(self, features):
    density = columns.product(self.density_kernel, features, self.matmul_dtype)
    return density[:, 0] + self.density_bias

  def __call__(self, points, directions):
    """Raw density [b, r, s] and colour in [0, 1] [b, r, s, 3] of points on rays.

    Args:
      points: [b, r, s, 3].
      directions: [b, r, 3], unit length.
    """
    b, r, s, _ = points.shape
    x = self.trunk(points.reshape(b, r * s, 3))
    density = self._density(x).reshape(b, r, s)
    view = thin_products.product(self.colour_direction, directions) + self.colour_shift
    x = columns.product(self.colour_kernel, x, self.matmul_dtype)
    x = self._sine(x.reshape(b, -1, r, s) + view[..., None]).reshape(b, -1, r * s)
    rgb = columns.product(self.rgb_kernel, x, self.matmul_dtype) + self.rgb_bias[..., None]
    colour = jnp.moveaxis(jax.nn.sigmoid(rgb), 1, -1)
    return density, colour.reshape(b, r, s, 3)


class FilmSiren(nn.Module):
  """The parameters of a FiLM-SIREN.

  Attributes:
    hidden_dim: width h; num_layers: FiLM layers before the density branch (the colour branch has
      one more).
    input_scale: factor on the points. 2/0.24 maps ±0.12 around the object to ±1 (π-GAN's 'spatial'
      field, for faces); 1 leaves them as they are (the 'tall' field, for objects that fill the
      scene).
    density_gain: factor on the raw density. Opaque surfaces need raw densities of several over the
      distance between two samples; where that distance is in hundredths, a gain saves the last
      layer from having to grow there.
    matmul_dtype: precision policy of the hidden products.
    embedding_channels, embedding_resolution, embedding_scale: π-GAN's variant with a learned grid
      of features over the points that input_scale takes to ±1 (zero outside): its channels (0 for
      none), its samples on a side, and the standard deviation of its initial values. The release
      has 32 channels, 64 samples and .1 at hidden_dim 256, and 96 samples and .01 at 128.
  """

  hidden_dim: int = 256
  num_layers: int = 8
  input_scale: float = 2 / 0.24
  density_gain: float = 1.0
  matmul_dtype: str = 'float32'
  embedding_channels: int = 0
  embedding_resolution: int = 64
  embedding_scale: float = 0.1

  @property
  def num_styles(self) -> int:
    """FiLM layers, the colour layer included."""
    return self.num_layers + 1

  def setup(self):
    h, c = self.hidden_dim, self.embedding_channels
    if c:
      init = nn.initializers.normal(self.embedding_scale)
      side = self.embedding_resolution
      self.embedding = self.param('spatial_embeddings', init, (side, side, side, c))
    layers = []
    for i in range(self.num_layers):
      fan_in = h if i else c + 3  # the embedding's features come first
      init = siren_init.film_siren(fan_in) if i else siren_init.first_film_siren(fan_in)
      layers.append(self._linear(f'film_{i}', fan_in, h, init))
    self.layers = tuple(layers)
    self.density_layer = self._linear('density', h, 1, siren_init.film_siren(h))
    # Inputs of the colour layer: the view direction first, then the features.
    self.colour_film = self._linear('colour_film', 3 + h, h, siren_init.film_siren(3 + h))
    self.colour = self._linear('colour', h, 3, siren_init.film_siren(h))

  def _linear(self, name, fan_in, features, init):
    kernel = self.param(f'{name}_kernel', init, (fan_in, features))
    bias = self.param(f'{name}_bias', siren_init.uniform_fan_in(fan_in), (features,))
    return kernel, bias

  def fold(self, styles) -> FoldedSiren:
    """Folds raw styles [b, n, 2, h] (frequencies, phases) into per-example weights."""
    gamma = scale_frequencies(styles[:, :, 0])  # [b, n, h]
    beta = styles[:, :, 1]

    def film(layer, i):
      kernel, bias = layer
      return kernel.T * gamma[:, i, :, None], (bias * gamma[:, i] + beta[:, i])[..., None]

    folded = [film(layer, i) for i, layer in enumerate(self.layers)]
    kernels, shifts = map(list, zip(*folded, strict=True))
    c = self.embedding_channels
    scaled = kernels[0][..., c:] * self.input_scale
    kernels[0] = jnp.concatenate([kernels[0][..., :c], scaled], axis=-1) if c else scaled
    colour_kernel, colour_shift = film(self.colour_film, self.num_layers)

    def shared(layer):
      kernel, bias = layer
      b = styles.shape[0]
      return (jnp.broadcast_to(x, (b, *x.shape)) for x in (kernel.T, bias))

    density_kernel, density_bias = shared(self.density_layer)
    rgb_kernel, rgb_bias = shared(self.colour)
    return FoldedSiren(
      kernels=tuple(kernels),
      shifts=tuple(shifts),
      density_kernel=density_kernel * self.density_gain,
      density_bias=density_bias * self.density_gain,
      colour_direction=colour_kernel[..., :3],
      colour_kernel=colour_kernel[..., 3:],
      colour_shift=colour_shift,
      rgb_kernel=rgb_kernel,
      rgb_bias=rgb_bias,
      matmul_dtype=self.matmul_dtype,
      embedding=self.embedding[None] if c else None,
      grid_scale=self.input_scale,
    )

  def __call__(self, points, directions, styles):
    """Raw density and colour of points [b, r, s, 3] on rays with directions [b, r, 3]."""
    return self.fold(styles)(points, directions)
