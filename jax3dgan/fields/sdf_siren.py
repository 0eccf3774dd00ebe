"""StyleSDF's field: a FiLM-SIREN of a signed distance (Or-El et al., CVPR 2022, arXiv 2112.11427,
Sec. 3.1).

A trunk of FiLM layers sin(γ·(Wx + b) + β) gives the signed distance, negative inside; one more
layer, which gets the view direction too, gives the colour and the features for an up-sampler.
γ = 15 L(w) + 30 and β = 0.25 L'(w) of a style w. The density is the distance's own (eq. 3):
σ = sigmoid(−d/β)/β with a learned scalar β, and surfaces become sharp as β falls.

As in `fields.siren`, γ is multiplied into the weights of each example once, and points are columns.
"""

import math
from typing import NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.fields import signed_distance
from jax3dgan.fields.siren import FREQUENCY_OFFSET, FREQUENCY_SCALE
from jax3dgan.nn import phases, precision, siren_init, thin_products
from jax3dgan.nn.cpu import columns
from jax3dgan.nn.cpu.sine import sine

PHASE_SCALE = 0.25  # of β, as FREQUENCY_SCALE of γ


class Penalties(NamedTuple):
  """What of a distance is regularised while it is rendered.

  Attributes:
    every: of each so many neighbouring rays the samples of one count; 1 for all.
    sharpness: see `signed_distance.minimal_surface`.
  """

  every: int = 1
  sharpness: float = 100.0


@flax.struct.dataclass
class SDFField:
  """A field with its styles folded in, one per example: a pytree of arrays [b, ...], or [1, ...]
  where all share them.

  Attributes:
    kernels, shifts: of each FiLM layer, [b, h, in] and [b, h, 1].
    distance_kernel, distance_bias: [b, 1, h], [b, 1].
    view_kernel, view_direction, view_shift: of the layer with the view direction, [b, h, h],
      [b, h, 3], [b, h, 1].
    rgb_kernel, rgb_bias: [b, 3, h], [b, 3].
    beta: [1] the β of the density, world units.
    has_features: whether the last layer's output comes behind the colour.
    penalties: what of the distance is regularised, see `__call__`; None for nothing.
    matmul_dtype, saved_activations: see `siren.FoldedSiren`.
  """

  kernels: tuple
  shifts: tuple
  distance_kernel: jax.Array
  distance_bias: jax.Array
  view_kernel: jax.Array
  view_direction: jax.Array
  view_shift: jax.Array
  rgb_kernel: jax.Array
  rgb_bias: jax.Array
  beta: jax.Array
  has_features: bool = flax.struct.field(pytree_node=False, default=False)
  penalties: Penalties | None = flax.struct.field(pytree_node=False, default=None)
  matmul_dtype: str = flax.struct.field(pytree_node=False, default='float32')
  saved_activations: str = flax.struct.field(pytree_node=False, default='all')

  @property
  def width(self) -> int:
    """Features of a point in each layer."""
    return self.view_kernel.shape[-1]

  def _sine(self, phase):
    return sine(phases.rounded(phase) if self.saved_activations == 'phases' else phase)

  def trunk(self, points):
    """Features [b, h, n] of points [b, n, 3]."""
    # Positions are multiplied by frequencies of 30 and more: the first product is never rounded.
    x = self._sine(thin_products.product(self.kernels[0], points) + self.shifts[0])
    for kernel, shift in zip(self.kernels[1:], self.shifts[1:], strict=True):
      x = self._sine(columns.product(kernel, x, self.matmul_dtype) + shift)
    return x

  def _distance(self, features):
    distance = columns.product(self.distance_kernel, features, self.matmul_dtype)
    return distance[:, 0] + self.distance_bias

  def distance(self, points):
    """Signed distances [b, n] of points [b, n, 3], negative inside, world units."""
    return self._distance(self.trunk(points))

  def distance_and_gradient(self, points):
    """Signed distances [b, n] and their gradients [b, n, 3] in the points [b, n, 3].

    A gradient is the normal of the surface, outwards, times its length, which the eikonal term
    draws to one.
    """
    return self._with_gradient(points)[:2]

  def _with_gradient(self, points):
    """(distances, gradients, features of the trunk)."""

    def of_points(points):
      x = self.trunk(points)
      return self._distance(x), x

    distance, pull_back, x = jax.vjp(of_points, points, has_aux=True)
    return distance, pull_back(jnp.ones_like(distance))[0], x

  def surface_colour(self, points, directions):
    """Signed distances [b, n] and colours [b, n, 3] in [0, 1] of points and directions
    [b, n, 3]."""
    x = self.trunk(points)
    return self._distance(x), self._colour(x, directions, 1)[..., :3]

  def _colour(self, x, directions, samples: int):
    """Colour, and the features behind it with `has_features`, [b, n, c] of features [b, h, n]."""
    b, _, n = x.shape
    view = thin_products.product(self.view_direction, directions) + self.view_shift  # [b, h, r]
    x = columns.product(self.view_kernel, x, self.matmul_dtype)
    x = self._sine(x.reshape(b, -1, n // samples, samples) + view[..., None]).reshape(b, -1, n)
    rgb = columns.product(self.rgb_kernel, x, self.matmul_dtype) + self.rgb_bias[..., None]
    colour = jax.nn.sigmoid(rgb)
    if self.has_features:
      colour = jnp.concatenate([colour, x], axis=1)
    return jnp.moveaxis(colour, 1, -1)

  def __call__(self, points, directions):
    """Densities [b, r, s] and colours, in [0, 1], with the features behind them [b, r, s, c].

    Args:
      points: [b, r, s, 3].
      directions: [b, r, 3], unit length.

    Returns:
      (density, colour), and with `penalties` the terms of each sample [b, r, s] by name: 'eikonal'
      and 'minimal_surface', see `signed_distance`, and 'inside', 1 where the distance is negative.
    """
    if self.penalties is None:
      return self._render(points, directions)[:2]
    b, r, s, _ = points.shape
    every = math.gcd(r, self.penalties.every)
    if every == 1:
      return self._render(points, directions, penalised=True)
    # Of each group of neighbouring rays the first one is regularised, which costs a gradient.
    points = points.reshape(b, r // every, every, s, 3)
    directions = directions.reshape(b, r // every, every, 3)
    one = self._render(points[:, :, 0], directions[:, :, 0], penalised=True)
    rest = self._render(
      points[:, :, 1:].reshape(b, -1, s, 3), directions[:, :, 1:].reshape(b, -1, 3)
    )

    def together(one, rest):
      rest = rest.reshape(b, r // every, every - 1, *rest.shape[2:])
      return jnp.concatenate([one[:, :, None], rest], axis=2).reshape(b, r, *one.shape[2:])

    terms = {name: jnp.repeat(term, every, axis=1) for name, term in one[2].items()}
    return together(one[0], rest[0]), together(one[1], rest[1]), terms

  def _render(self, points, directions, penalised: bool = False):
    b, r, s, _ = points.shape
    flat, terms = points.reshape(b, r * s, 3), {}
    if penalised:
      distance, gradient, x = self._with_gradient(flat)
      terms = {
        'eikonal': signed_distance.eikonal(gradient),
        'minimal_surface': signed_distance.minimal_surface(distance, self.penalties.sharpness),
        'inside': (distance < 0).astype(distance.dtype),
      }
    else:
      x = self.trunk(flat)
      distance = self._distance(x)
    density = signed_distance.density(distance, self.beta[:, None]).reshape(b, r, s)
    colour = self._colour(x, directions, s).reshape(b, r, s, -1)
    return density, colour, {name: term.reshape(b, r, s) for name, term in terms.items()}


class SDFSiren(nn.Module):
  """The parameters of StyleSDF's field.

  Of each FiLM layer `film_{i}` and of the one with the view direction, `view`: `_kernel` [in, h],
  `_bias`; `_gamma_kernel` and `_beta_kernel` [style, h] with biases. `distance`, `rgb`: kernel and
  bias. `beta`: a scalar.

  Attributes:
    hidden_dim: width h; num_layers: FiLM layers before the distance.
    input_scale: factor on the points: 2/(far − near) takes those that are rendered to ±1.
    beta, beta_floor: β at first, and what is always added to it, see `signed_distance.width`.
    style_scale: factor on the initial weights that make γ and β of a style: how far apart the
      fields of fresh latents are; 0.25 is the paper's.
    matmul_dtype: precision policy of the hidden products.
  """

  hidden_dim: int = 256
  num_layers: int = 8
  input_scale: float = 2 / 0.24
  beta: float = 0.1
  beta_floor: float = 0.0
  style_scale: float = 0.25
  matmul_dtype: str = 'float32'

  @nn.compact
  def __call__(self, w) -> SDFField:
    """The field of styles w [b, style_dim]."""
    h, b = self.hidden_dim, w.shape[0]

    def linear(name, fan_in, features, init):
      kernel = self.param(f'{name}_kernel', init, (fan_in, features))
      bias = self.param(f'{name}_bias', siren_init.uniform_fan_in(fan_in), (features,))
      return kernel, bias

    def film(name, fan_in, init, scale=1.0):
      """Kernel [b, h, in] and shift [b, h, 1] of a layer."""
      kernel, bias = linear(name, fan_in, h, init)

      def of_style(part):
        init = siren_init.kaiming_normal(0.2, self.style_scale)
        kernel, bias = linear(f'{name}_{part}', w.shape[-1], h, init)
        return precision.einsum('bi,io->bo', w, kernel) + bias

      gamma = FREQUENCY_SCALE * of_style('gamma') + FREQUENCY_OFFSET
      shift = bias * gamma + PHASE_SCALE * of_style('beta')
      return kernel.T * (scale * gamma[:, :, None]), shift[..., None]

    def shared(layer):
      kernel, bias = layer
      return (jnp.broadcast_to(x, (b, *x.shape)) for x in (kernel.T, bias))

    later = siren_init.film_siren(h)
    trunk = [film('film_0', 3, siren_init.first_film_siren(3), self.input_scale)]
    trunk += [film(f'film_{i}', h, later) for i in range(1, self.num_layers)]
    kernels, shifts = map(tuple, zip(*trunk, strict=True))
    distance_kernel, distance_bias = shared(linear('distance', h, 1, later))
    # Inputs of the last layer: the features, then the view direction.
    view_kernel, view_shift = film('view', h + 3, siren_init.film_siren(h + 3))
    rgb_kernel, rgb_bias = shared(linear('rgb', h, 3, later))
    beta = self.param('beta', nn.initializers.constant(self.beta), ())
    return SDFField(
      kernels=kernels,
      shifts=shifts,
      distance_kernel=distance_kernel,
      distance_bias=distance_bias,
      view_kernel=view_kernel[..., :h],
      view_direction=view_kernel[..., h:],
      view_shift=view_shift,
      rgb_kernel=rgb_kernel,
      rgb_bias=rgb_bias,
      beta=signed_distance.width(beta, self.beta_floor)[None],
      matmul_dtype=self.matmul_dtype,
    )
