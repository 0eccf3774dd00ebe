"""Images of the surface of a signed distance: depth, colour, normals, by sphere tracing.

Bundles of rays begin together (`sphere_tracing.cone_depths`), then each goes on alone, in chunks of
some thousand. Pure functions; a distance is as in `rendering.sphere_tracing`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.rendering import rays as rays_lib
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.sphere_tracing import DEFAULT, Tracing, cone_depths, gradients, trace

_CHUNK = 2**12  # rays in memory together


class Traced(NamedTuple):
  """Images of a surface, n = resolution² pixels in their rows.

  Attributes:
    colour: [b, n, 3] in [0, 1], of the field at the surface; where there is none, white or black
      as the options say, or the field's at the far end; None where it is not wanted.
    depth: [b, n] distance along the ray; at the far end where there is no surface.
    hit: [b, n] whether there is one.
    normals: [b, n, 3] unit vectors, outwards, world space; 0 where there is no surface; None where
      they are not wanted, since they take a gradient.
    num_steps: [b, n] evaluations of each ray.
    directions: [b, n, 3] of the rays.
  """

  colour: jax.Array | None
  depth: jax.Array
  hit: jax.Array
  normals: jax.Array | None
  num_steps: jax.Array
  directions: jax.Array


def render(
  distance,
  colour,
  camera: Camera,
  options: RenderOptions,
  tracing: Tracing = DEFAULT,
  lipschitz=1.0,
  has_normals: bool = True,
) -> Traced:
  """Images of a surface from cameras [b], in the memory of some thousand rays.

  Args:
    distance: Points [b, n, 3] → signed distances [b, n].
    colour: Points and unit view directions [b, n, 3] → colours [b, n, 3] in [0, 1]; None for none.
    options: Its resolution, ends of rays (`limits_along`, not a box), pixel grid, view direction
      and white background.
    tracing, lipschitz: See `sphere_tracing.trace`.
    has_normals: Whether normals are wanted.
  """
  size, (b, *_) = options.resolution, camera.cam2world.shape
  side = tracing.cone if size % tracing.cone == 0 else 1
  uv = rays_lib.pixel_grid(size, options.align_corners).reshape(size, size, 2)
  tiles = uv.reshape(size // side, side, size // side, side, 2).transpose(0, 2, 1, 3, 4)
  tiles = tiles.reshape(-1, side**2, 2)  # bundle by bundle
  rays = rays_lib.rays_through(camera, tiles.reshape(-1, 2))
  bundles = size**2 // side**2
  near, far = _limits(rays, options)
  begin = near
  if side > 1:
    axes = rays_lib.rays_through(camera, tiles.mean(1))
    apart = rays.directions.reshape(b, bundles, side**2, 3) - axes.directions[:, :, None]
    spread = jnp.linalg.norm(apart, axis=-1).max(-1)
    # The rays of a bundle have ends that differ a little: all of them are between the outer ones.
    ends = near.reshape(b, bundles, -1).min(-1), far.reshape(b, bundles, -1).max(-1)
    free = cone_depths(
      distance, axes.origins, axes.directions, spread, *ends, tracing.cone_steps, lipschitz
    )
    begin = jnp.clip(jnp.repeat(free, side**2, axis=1), near, far)

  def background(rgb, hit):
    if options.white_back:
      return jnp.where(hit[..., None], rgb, 1.0)
    if options.last_interval == 'far' and not options.last_back:
      return jnp.where(hit[..., None], rgb, 0.0)
    return rgb  # the last sample's, at the far end

  def part(inputs):
    origins, directions, start, near, far = inputs
    hits = trace(distance, origins, directions, near, far, tracing, lipschitz, start)
    points = origins + hits.depth[..., None] * directions
    rgb, normals = None, None
    if colour is not None:
      front = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0], points.dtype), points.shape)
      rgb = colour(points, front if options.lock_view_direction else directions)
      rgb = background(rgb, hits.hit)
    if has_normals:
      normals = jnp.where(hits.hit[..., None], unit_normals(distance, points), 0.0)
    return Traced(rgb, hits.depth, hits.hit, normals, hits.num_steps, directions)

  out = _in_chunks(part, (rays.origins, rays.directions, begin, near, far), size**2)

  def in_rows(x):
    x = x.reshape(b, size // side, size // side, side, side, *x.shape[2:])
    return jnp.swapaxes(x, 2, 3).reshape(b, size**2, *x.shape[5:])

  return jax.tree.map(in_rows, out)


def _limits(rays, options: RenderOptions):
  """Ends [b, r] of each ray."""
  cosine = rays.axis_cosine[..., 0] if options.limits_along == 'axis' else 1.0
  shape = rays.origins.shape[:-1]
  return tuple(
    jnp.broadcast_to(x / cosine, shape).astype(rays.origins.dtype)
    for x in (options.near, options.far)
  )


def _in_chunks(function, inputs, num: int):
  """function(inputs), leaves [b, n, ...], chunk by chunk of the second axis."""
  if num <= _CHUNK:
    return function(inputs)
  count = -(-num // _CHUNK)
  size = -(-num // count)
  padded = [
    jnp.concatenate([x, jnp.repeat(x[:, -1:], count * size - num, axis=1)], axis=1) for x in inputs
  ]
  chunks = [jnp.moveaxis(x.reshape(len(x), count, size, *x.shape[2:]), 1, 0) for x in padded]
  out = jax.lax.map(function, tuple(chunks))

  def joined(x):
    x = jnp.moveaxis(x, 0, 1)
    return x.reshape(len(x), count * size, *x.shape[3:])[:, :num]

  return jax.tree.map(joined, out)


def unit_normals(distance, points):
  """Unit normals [..., 3] of the level sets through points [..., 3], towards larger distances; 0
  where the gradient is 0."""
  gradient = gradients(distance, points)
  length = jnp.sqrt(jnp.maximum(jnp.sum(gradient**2, axis=-1, keepdims=True), 1e-24))
  return gradient / length


def shade(normals, directions, hit, ambient: float = 0.25):
  """Greys [..., 3] in [0, 1] of a matt surface that is lit from the camera; white where there is
  none.

  Args:
    normals, directions: [..., 3] unit vectors; rays' directions, away from the camera.
    hit: [...].
    ambient: Light on what is seen edge on.
  """
  facing = jnp.maximum(-jnp.sum(normals * directions, axis=-1), 0.0)
  grey = jnp.where(hit, ambient + (1 - ambient) * facing, 1.0)
  return jnp.broadcast_to(grey[..., None], (*grey.shape, 3))
