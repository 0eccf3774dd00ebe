"""From densities along rays to pixels: the quadrature of the volume rendering integral.

Pure functions of arrays; samples are along the axis before the channels, in ascending depth.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.nn import precision
from jax3dgan.nn.cpu.softplus import softplus
from jax3dgan.rendering.merging import Merged
from jax3dgan.rendering.rays import Surface

# Keeps the product of transmittances, and its gradient, from vanishing behind an opaque sample
# (π-GAN's value).
_TRANSMITTANCE_FLOOR = 1e-10
# π-GAN's and NeRF's last interval: any density there is opaque.
INFINITE_INTERVAL = 1e10

_ACTIVATIONS = {'relu': jax.nn.relu, 'softplus': jax.nn.softplus, 'field': lambda density: density}


class Composite(NamedTuple):
  """The integrals along rays.

  Attributes:
    colour: [..., c].
    depth: [...] expected distance Σ w·t; with `last_back` the background's share counts at the
      last sample.
    opacity: [...] Σ w before any background is added.
    weights: [..., s], with the background's share on the last sample under `last_back`; a surface's
      is in `means`.
    coarse: the Composite of the coarse pass alone, where `hierarchical.render_rays` was called with
      `return_coarse`; else None.
    means: [...] by name, of what else a field returned, see `hierarchical.Field`; 'surface' is the
      weight of a surface; empty for nothing.
    samples: [..., s, c] the colours of the samples in ascending depth, where it was called with
      `return_samples`; else None.
  """

  colour: jax.Array
  depth: jax.Array
  opacity: jax.Array
  weights: jax.Array
  coarse: 'Composite | None' = None
  means: dict[str, jax.Array] = {}
  samples: jax.Array | None = None


def activate_density(raw, activation: str = 'softplus', noise=None):
  """Density [..., s] from the field's output.

  Args:
    raw: [..., s].
    activation: 'softplus' or 'relu'; 'field': `raw` is a density already, as fields return it whose
      density is their own function of something else (a signed distance).
    noise: [..., s] added before the activation (NeRF, App. A); None for none.

  Raises:
    UserError: an unknown activation.
  """
  if activation not in _ACTIVATIONS:
    raise UserError(
      f"No density activation is called '{activation}'. Choose one of {', '.join(_ACTIVATIONS)}."
    )
  return _ACTIVATIONS[activation](raw if noise is None else raw + noise)


def intervals(depths, last_interval):
  """δ_i = t_{i+1} − t_i, [..., s], with `last_interval` (scalar or [...]) behind the last
  sample."""
  last = jnp.broadcast_to(jnp.asarray(last_interval, depths.dtype), depths.shape[:-1])
  return jnp.concatenate([depths[..., 1:] - depths[..., :-1], last[..., None]], axis=-1)


def ray_weights(density, deltas, hit=None):
  """w_i = α_i Π_{j<i} (1 − α_j), α_i = 1 − exp(−σ_i δ_i). (NeRF, eq. 3.) [..., s].

  Args:
    density, deltas: [..., s] σ and δ.
    hit: [...] whether a ray meets the volume; weights of the others are 0. None for all.
  """
  optical = density * deltas
  if hit is not None:
    optical = jnp.where(hit[..., None], optical, 0.0)
  alpha = -jnp.expm1(-optical)  # 1 − exp(−x) is 0 in float32 for x below 6e-8
  transmittance = jnp.cumprod(1 - alpha + _TRANSMITTANCE_FLOOR, axis=-1)
  before = jnp.concatenate([jnp.ones_like(alpha[..., :1]), transmittance[..., :-1]], axis=-1)
  return alpha * before


def midpoint_weights(raw, depths, activation: str = 'softplus', hit=None, deltas=None):
  """EG3D's weights [..., s − 1] of the intervals between samples, see `march_midpoints`."""
  mean = 0.5 * (raw[..., 1:] + raw[..., :-1])
  density = softplus(mean - 1) if activation == 'softplus' else activate_density(mean, activation)
  deltas = depths[..., 1:] - depths[..., :-1] if deltas is None else deltas
  return ray_weights(density, deltas, hit)


def blend(weights, colour, merged: Merged | None = None):
  """Σ w·c [..., c] of weights [..., s] in ascending depth and colours [..., s, c].

  With `merged` the colours are those of its two sets, ([..., m, c], [..., n, c]), as they are.
  """
  if merged is not None:
    weights, colour = merged.apart(weights), jnp.concatenate(colour, axis=-2)
  return precision.einsum('...s,...sc->...c', weights, colour)


def surface_weights(weights, optical, depths, surface: Surface):
  """Weights [..., s] of samples that a surface among them hides in part, and its own [...].

  Args:
    weights: [..., s] without it, see `ray_weights`.
    optical: [..., s] density times length of each sample's interval, up to the next sample.
    depths: [..., s].
    surface: leaves [..., 1].
  """
  behind = depths > surface.depth
  before = jnp.sum(jnp.where(behind, 0.0, optical), axis=-1)
  own = surface.alpha[..., 0] * jnp.exp(-before)
  return weights * jnp.where(behind, 1 - surface.alpha, 1.0), own


def composite(
  density,
  colour,
  depths,
  *,
  last_interval=INFINITE_INTERVAL,
  white_back=False,
  last_back=False,
  hit=None,
  merged: Merged | None = None,
  deltas=None,
  surface: Surface | None = None,
):
  """Integrates samples into pixels.

  Args:
    density: [..., s] non-negative (see `activate_density`).
    colour: [..., s, c].
    depths: [..., s] ascending distances.
    last_interval: length of the interval behind the last sample; 1e10 makes any density there
      opaque.
    white_back: adds the light that passes all samples as white (colour 1).
    last_back: gives it the last sample's colour. As in π-GAN's release, both together count it
      twice.
    hit: see `ray_weights`.
    merged: see `blend`.
    deltas: [..., s] lengths of the intervals, where they are not those between the depths.
    surface: leaves [..., k], one more sample with an alpha of its own; the others' are those of
      their intervals without it (Exp-GAN, ACCV 2022).
  """
  deltas = intervals(depths, last_interval) if deltas is None else deltas
  weights = ray_weights(density, deltas, hit)
  means, opacity, own = {}, jnp.sum(weights, axis=-1), None
  if surface is not None:
    optical = density * deltas
    optical = optical if hit is None else jnp.where(hit[..., None], optical, 0.0)
    weights, own = surface_weights(weights, optical, depths, surface)
    opacity = jnp.sum(weights, axis=-1) + own
  if last_back:
    rest = 1 - opacity
    if surface is not None:
      deepest = surface.depth[..., 0] > depths[..., -1]
      own = own + jnp.where(deepest, rest, 0.0)
      rest = jnp.where(deepest, 0.0, rest)
    weights = weights.at[..., -1].add(rest)
  pixel, depth = blend(weights, colour, merged), jnp.sum(weights * depths, axis=-1)
  if surface is not None:
    pixel = pixel + own[..., None] * surface.colour
    depth, means = depth + own * surface.depth[..., 0], {'surface': own}
  if white_back:
    pixel = pixel + (1 - opacity)[..., None]
  return Composite(pixel, depth, opacity, weights, means=means)


def march_midpoints(
  raw,
  colour,
  depths,
  *,
  activation: str = 'softplus',
  white_back=False,
  hit=None,
  merged: Merged | None = None,
  deltas=None,
):
  """EG3D's quadrature: density and colour are means of neighbouring samples.

  α_i = 1 − exp(−softplus(mean raw density − 1) δ_i), δ_i = t_{i+1} − t_i.

  Args:
    raw: [..., s] the field's raw density.
    colour: [..., s, c].
    depths: [..., s] ascending distances.
    activation: 'softplus', or 'field' where `raw` is a density already.
    white_back: adds the light that passes all samples as white (colour 1).
    hit: see `ray_weights`.
    merged: see `blend`.
    deltas: [..., s − 1] lengths of the intervals, where they are not those between the depths.

  Returns:
    Composite; weights [..., s − 1], depth Σ w·t of the mid-points (see `clamped_depth`).
  """
  weights = midpoint_weights(raw, depths, activation, hit, deltas)
  opacity = jnp.sum(weights, axis=-1)
  # The weighted mean of neighbours is a sum over samples with shared weights: no copy of colours.
  zero = jnp.zeros_like(weights[..., :1])
  shared = 0.5 * (
    jnp.concatenate([weights, zero], axis=-1) + jnp.concatenate([zero, weights], axis=-1)
  )  # [..., s]
  pixel = blend(shared, colour, merged)
  if white_back:
    pixel = pixel + (1 - opacity)[..., None]
  return Composite(pixel, jnp.sum(shared * depths, axis=-1), opacity, weights)


def clamped_depth(depth, opacity, nearest, farthest):
  """The distance [...] of what a pixel shows: Σ w·t / Σ w within [nearest, farthest].

  A ray without opacity has the far end's (EG3D's depth clamp).
  """
  mean = jnp.where(opacity == 0, jnp.inf, depth / jnp.where(opacity == 0, 1, opacity))
  return jnp.clip(mean, nearest, farthest)
