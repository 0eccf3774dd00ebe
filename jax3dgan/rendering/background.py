"""What is outside of the unit sphere, as in NeRF++ (Zhang et al. 2020, arXiv 2010.07492, Sec. 4).

A point at distance r > 1 from the origin is (x, y, z, 1/r) with (x, y, z) on the unit sphere: the
whole outside is bounded, and samples at even steps of 1/r are dense where it is near. Pure
functions of arrays; random numbers come in as arrays, None means deterministic.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.nn.cpu import tiles
from jax3dgan.rendering import compositing, sampling
from jax3dgan.rendering.compositing import Composite
from jax3dgan.rendering.hierarchical import divisor
from jax3dgan.rendering.rays import Rays

# 1/r of the nearest sample (StyleNeRF's: twice as far from the origin as its cameras).
NEAREST = 0.5

# field(points [b, r, s, 4]) -> (raw density [b, r, s], colour [b, r, s, c]), with a `width`.
BackgroundFn = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


class BackgroundDraws(NamedTuple):
  """The random numbers of a background; None in a place means deterministic there.

  Attributes:
    jitter: [b, r, s] uniforms that place the samples in their strata.
    noise: [b, r, s] normals added to the raw density, times noise_std.
  """

  jitter: jax.Array | None = None
  noise: jax.Array | None = None


_DETERMINISTIC = BackgroundDraws()


def draw(keys, num_rays: int, num_samples: int, noise: bool = True) -> BackgroundDraws:
  """Draws for per-example keys [b]."""

  def one(key):
    jitter, own = jax.random.split(key)
    shape = (num_rays, num_samples)
    return BackgroundDraws(
      jax.random.uniform(jitter, shape), jax.random.normal(own, shape) if noise else None
    )

  return jax.vmap(one)(keys)


def points_outside(origins, directions, inverse):
  """Where rays are at a distance of 1/inverse from the world's origin, ahead of their nearest point
  to it.

  Args:
    origins, directions: [..., 3]; directions of unit length.
    inverse: [...] in [0, 1): 0 is infinitely far. 1/inverse is more than the ray's least distance.

  Returns:
    [..., 4]: the point as a unit vector, and `inverse`.
  """
  along = jnp.sum(origins * directions, axis=-1, keepdims=True)
  nearest = origins - along * directions  # [..., 3] the ray's point nearest to the origin
  inverse = inverse[..., None]
  # p = nearest + √(1/inverse² − |nearest|²) direction, times inverse: finite at 0.
  rest = 1 - jnp.square(inverse) * jnp.sum(jnp.square(nearest), axis=-1, keepdims=True)
  unit = inverse * nearest + jnp.sqrt(jnp.maximum(rest, 1e-6)) * directions
  return jnp.concatenate([unit, jnp.broadcast_to(inverse, (*unit.shape[:-1], 1))], axis=-1)


def render_rays(
  field: BackgroundFn,
  rays: Rays,
  num_samples: int,
  draws: BackgroundDraws = _DETERMINISTIC,
  noise_std=0.0,
  return_samples: bool = False,
) -> Composite:
  """Renders rays [b, r] through a background whose last sample is opaque.

  Its quadrature is over −1/r, from −NEAREST to 0, as are the `depth`s of the result.

  Args:
    field: see `BackgroundFn`; its density is activated by ReLU.
    noise_std: standard deviation of the density noise, scalar.
    return_samples: see `hierarchical.render_rays`.

  Returns:
    Composite with leaves [b, r, ...]; weights sum to 1.
  """
  depths = sampling.stratified_depths(-NEAREST, 0.0, num_samples, draws.jitter, 'between')
  depths = jnp.broadcast_to(depths, (*rays.directions.shape[:-1], num_samples))
  points = points_outside(
    rays.origins[..., None, :], rays.directions[..., None, :], -depths
  )  # [b, r, s, 4]
  raw, colour = field(points)
  noise = None if draws.noise is None else noise_std * draws.noise
  density = compositing.activate_density(raw, 'relu', noise)
  out = compositing.composite(density, colour, depths, last_interval=0.0, last_back=True)
  return out._replace(samples=colour) if return_samples else out


def render_images(
  field: BackgroundFn,
  rays: Rays,
  num_samples: int,
  draws: BackgroundDraws = _DETERMINISTIC,
  noise_std=0.0,
  ray_chunk: int = 0,
):
  """The colours [b, r, c] of `render_rays`, in chunks of rays, each rematerialised in the backward
  pass.

  Args:
    field: as of `render_rays`, with the static attribute `width`, the features of a point.
    ray_chunk: at most so many rays at a time; 0 for as many as suit the platform.
  """
  b, r = rays.directions.shape[:2]
  images, num_rays = tiles.tile(b, r, num_samples * field.width)
  num_rays = max(num_rays // (b if images < b else 1), 1)  # all images at once
  size = divisor(r, min(num_rays, ray_chunk or r))
  rays = rays.replace(axis_cosine=None)

  def render(chunk):
    return render_rays(field, chunk[0], num_samples, chunk[1], noise_std).colour

  if size == r:
    return render((rays, draws))
  chunks = jax.tree.map(
    lambda x: jnp.moveaxis(x.reshape(b, r // size, size, x.shape[-1]), 1, 0), (rays, draws)
  )
  out = jax.lax.map(jax.checkpoint(render), chunks)  # [r/size, b, size, c]
  return jnp.moveaxis(out, 0, 1).reshape(b, r, -1)
