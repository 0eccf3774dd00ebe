"""FiLM-SIREN: π-GAN's conditioned radiance field (π-GAN, Sec. 3.1 and Fig. 2).

Every layer is sin(γ·(Wx + b) + β) with frequencies γ and phases β from the mapping network. Folded
form: γ goes into the weights of each sample, W·γ and b·γ + β, once per image instead of once per
point. What is left per point is a batched matrix product, an addition and a sine; the gradient of
γ is taken on the small weights. The term of the view direction is computed once per ray instead of
once per sample.
"""

import flax.linen as nn
import flax.struct
import jax

from jax3dgan.nn import phases, precision, siren_init
from jax3dgan.nn.sine import sine

# Raw frequencies f are used as γ = 15 f + 30 (π-GAN's release).
FREQUENCY_SCALE = 15.0
FREQUENCY_OFFSET = 30.0


def scale_frequencies(raw):
  """γ = 15 f + 30."""
  return raw * FREQUENCY_SCALE + FREQUENCY_OFFSET


@flax.struct.dataclass
class FoldedSiren:
  """A FiLM-SIREN with its styles folded in: one field per example, a pytree of arrays and nothing
  else.

  Attributes:
    kernels, shifts: per layer [b, in, h] and [b, 1, h].
    density_kernel, density_bias: [h, 1], [1].
    colour_direction: [b, 3, h]; colour_kernel, colour_shift: [b, h, h], [b, 1, h]: the colour
      layer.
    rgb_kernel, rgb_bias: [h, 3], [3].
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
  matmul_dtype: str = flax.struct.field(pytree_node=False, default='float32')
  saved_activations: str = flax.struct.field(pytree_node=False, default='all')

  def _sine(self, phase):
    return sine(phases.rounded(phase) if self.saved_activations == 'phases' else phase)

  def trunk(self, points):
    """Features [b, n, h] of points [b, n, 3]."""
    # Positions meet frequencies of 30 and more: the first product is never rounded.
    x = self._sine(precision.einsum('bnk,bkh->bnh', points, self.kernels[0]) + self.shifts[0])
    for kernel, shift in zip(self.kernels[1:], self.shifts[1:], strict=True):
      x = self._sine(precision.einsum('bnk,bkh->bnh', x, kernel, self.matmul_dtype) + shift)
    return x

  def density(self, points):
    """Raw density [b, n] of points [b, n, 3]: all that a mesh needs."""
    return self._density(self.trunk(points))

  def _density(self, features):
    return (
      precision.einsum('bnh,ho->bno', features, self.density_kernel, self.matmul_dtype)[..., 0]
      + self.density_bias
    )

  def __call__(self, points, directions):
    """Raw density [b, r, s] and colour in [0, 1] [b, r, s, 3] of points on rays.

    Args:
      points: [b, r, s, 3].
      directions: [b, r, 3], unit length.
    """
    b, r, s, _ = points.shape
    x = self.trunk(points.reshape(b, r * s, 3))
    density = self._density(x).reshape(b, r, s)
    view = precision.einsum('brk,bkh->brh', directions, self.colour_direction) + self.colour_shift
    x = precision.einsum('bnk,bkh->bnh', x, self.colour_kernel, self.matmul_dtype)
    x = self._sine(x.reshape(b, r, s, -1) + view[:, :, None])
    rgb = precision.einsum('brsh,hc->brsc', x, self.rgb_kernel, self.matmul_dtype) + self.rgb_bias
    return density, jax.nn.sigmoid(rgb)


class FilmSiren(nn.Module):
  """The parameters of a FiLM-SIREN.

  Attributes:
    hidden_dim: width h; num_layers: FiLM layers before the density branch (the colour branch has
      one more).
    input_scale: factor on the points. 2/0.24 maps ±0.12 around the object to ±1 (π-GAN's 'spatial'
      field, for faces); 1 leaves them as they are (the 'tall' field, for objects that fill the
      scene).
    density_gain: factor on the raw density. Opaque surfaces want raw densities of several over the
      distance between two samples; where that distance is in hundredths, a gain saves the last
      layer from having to grow there.
    matmul_dtype: precision policy of the hidden products.
  """

  hidden_dim: int = 256
  num_layers: int = 8
  input_scale: float = 2 / 0.24
  density_gain: float = 1.0
  matmul_dtype: str = 'float32'

  @property
  def num_styles(self) -> int:
    """FiLM layers, the colour layer included."""
    return self.num_layers + 1

  def setup(self):
    h = self.hidden_dim
    layers = []
    for i in range(self.num_layers):
      fan_in = h if i else 3
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
      return kernel * gamma[:, i, None, :], (bias * gamma[:, i] + beta[:, i])[:, None, :]

    folded = [film(layer, i) for i, layer in enumerate(self.layers)]
    kernels, shifts = map(list, zip(*folded, strict=True))
    kernels[0] = kernels[0] * self.input_scale
    colour_kernel, colour_shift = film(self.colour_film, self.num_layers)
    return FoldedSiren(
      tuple(kernels),
      tuple(shifts),
      *(parameter * self.density_gain for parameter in self.density_layer),
      colour_kernel[:, :3],
      colour_kernel[:, 3:],
      colour_shift,
      *self.colour,
      matmul_dtype=self.matmul_dtype,
    )

  def __call__(self, points, directions, styles):
    """Raw density and colour of points [b, r, s, 3] on rays with directions [b, r, 3]."""
    return self.fold(styles)(points, directions)
