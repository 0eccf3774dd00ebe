"""Hierarchical volume rendering of any radiance field (NeRF, Sec. 5.2, as π-GAN does it).

The field is asked at stratified depths, its weights say where to ask again, and both sets are
integrated together: the coarse answers are kept and re-used. No gradient goes through the choice
of the fine depths.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.nn import backend, phases
from jax3dgan.rendering import compositing, merging, sampling
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.rays import Rays

# field(points [b, r, s, 3], directions [b, r, 3]) -> (raw density [b, r, s], colour [b, r, s, c])
Field = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


class Draws(NamedTuple):
  """The random numbers of one rendering; None in a place means deterministic there.

  Attributes:
    jitter: [b, r, s] uniforms that place the coarse samples in their strata.
    coarse_noise: [b, r, s] normals added to the coarse density, times noise_std.
    pdf: [b, r, k] uniforms of the importance sampling.
    final_noise: [b, r, s + k] normals of the final integration, in ascending depth.
    fine_noise: [b, r, k] normals added to the fine densities as they are asked (EG3D, which keeps
      the noise of both passes and has none of its own in the integration).
  """

  jitter: jax.Array | None = None
  coarse_noise: jax.Array | None = None
  pdf: jax.Array | None = None
  final_noise: jax.Array | None = None
  fine_noise: jax.Array | None = None


_DETERMINISTIC = Draws()


def draw(keys, num_rays: int, options: RenderOptions, noise: bool = True) -> Draws:
  """Draws for per-example keys [b]: each example's numbers depend on its own key alone."""
  s, k = options.num_coarse, options.num_fine

  def one(key):
    jitter, coarse, pdf, final = jax.random.split(key, 4)
    of_queries = options.marcher == 'midpoints'
    return Draws(
      jax.random.uniform(jitter, (num_rays, s)),
      jax.random.normal(coarse, (num_rays, s)) if noise and (k or of_queries) else None,
      jax.random.uniform(pdf, (num_rays, k)) if k else None,
      jax.random.normal(final, (num_rays, s + k)) if noise and not of_queries else None,
      jax.random.normal(final, (num_rays, k)) if noise and of_queries and k else None,
    )

  return jax.vmap(one)(keys)


def _last_interval(depths, options: RenderOptions):
  if options.last_interval == 'infinite':
    return compositing.INFINITE_INTERVAL
  half_stratum = 0.5 * (options.far - options.near) / max(options.num_coarse - 1, 1)
  return jnp.maximum(options.far + half_stratum - depths[..., -1], 0.0)


def _density(raw, noise, noise_std, options: RenderOptions):
  return compositing.activate_density(
    raw, options.density, None if noise is None else noise_std * noise
  )


def points_at(rays: Rays, depths):
  """World points [b, r, s, 3] at distances [b, r, s] along rays [b, r]."""
  return rays.origins[..., None, :] + depths[..., None] * rays.directions[..., None, :]


def ray_limits(rays: Rays, options: RenderOptions):
  """near and far [b, r, 1] of rays, or None where they are those of the options.

  Of all rays at once: those that miss the box take theirs from the others.
  """
  if not options.box:
    return None
  limits = sampling.box_limits(rays.origins, rays.directions, options.box)
  return sampling.fill_missing_limits(*limits)


def render_rays(
  field: Field,
  rays: Rays,
  options: RenderOptions,
  draws: Draws = _DETERMINISTIC,
  noise_std=0.0,
  limits=None,
):
  """Renders rays [b, r] through a field.

  Args:
    field: see `Field`.
    rays: origins and unit directions [b, r, 3].
    options: how to render.
    draws: random numbers; `Draws()` renders deterministically.
    noise_std: standard deviation of the density noise, scalar.
    limits: near and far [b, r, 1], see `ray_limits`.

  Returns:
    Composite with leaves [b, r, ...].
  """
  batch = rays.directions.shape[:-1]
  directions = rays.directions
  if options.lock_view_direction:
    directions = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0], directions.dtype), directions.shape)
  if options.box and limits is None:
    limits = ray_limits(rays, options)
  near, far = (options.near, options.far) if limits is None else limits
  depths = sampling.stratified_depths(
    near, far, options.num_coarse, draws.jitter, options.strata, options.spacing
  )
  depths = jnp.broadcast_to(depths, (*batch, options.num_coarse))
  raw, colour = field(points_at(rays, depths), directions)
  march = _march_midpoints if options.marcher == 'midpoints' else _march_samples
  if options.marcher == 'midpoints':
    raw = _noisy(raw, draws.coarse_noise, noise_std)
  if options.num_fine:
    weights = march(
      jax.lax.stop_gradient(raw), None, depths, options, draws.coarse_noise, noise_std
    ).weights
    u = sampling.midpoint_uniforms(options.num_fine) if draws.pdf is None else draws.pdf
    u = jnp.broadcast_to(u, (*batch, options.num_fine)).astype(depths.dtype)
    choose = sampling.importance_depths
    if options.importance == 'smoothed':
      choose = sampling.smoothed_importance_depths
    fine = jax.lax.stop_gradient(choose(depths, weights, u))
    fine_raw, fine_colour = field(points_at(rays, fine), directions)
    if options.marcher == 'midpoints':
      fine_raw = _noisy(fine_raw, draws.fine_noise, noise_std)
    merged = merging.merge(fine, depths)
    raw, colour = merged.together(fine_raw, raw), (fine_colour, colour)
    return march(raw, colour, merged.depths, options, draws.final_noise, noise_std, merged)
  return march(raw, colour, depths, options, draws.final_noise, noise_std)


def _noisy(raw, noise, noise_std):
  return raw if noise is None else raw + noise_std * noise


def _march_samples(raw, colour, depths, options: RenderOptions, noise, noise_std, merged=None):
  """The Composite of samples, or, without colours, one that has their weights alone."""
  density = _density(raw, noise, noise_std, options)
  last = _last_interval(depths, options)
  if colour is None:
    deltas = compositing.intervals(depths, last)
    return compositing.Composite(None, None, None, compositing.ray_weights(density, deltas))
  return compositing.composite(
    density,
    colour,
    depths,
    last_interval=last,
    white_back=options.white_back,
    last_back=options.last_back,
    merged=merged,
  )


def _march_midpoints(raw, colour, depths, options: RenderOptions, noise, noise_std, merged=None):
  del noise, noise_std  # the densities have it already
  if colour is None:
    colour = jnp.zeros((*raw.shape, 0), raw.dtype)
  return compositing.march_midpoints(
    raw, colour, depths, white_back=options.white_back, merged=merged
  )


def divisor(total: int, limit: int) -> int:
  """The largest divisor of `total` that is at most `limit`; `total` itself for a limit of 0."""
  if not limit or limit >= total:
    return total
  return next(size for size in range(limit, 0, -1) if total % size == 0)


def render_chunked(
  field: Field, rays: Rays, options: RenderOptions, keys=None, noise_std=0.0, noise=True
):
  """`render_rays` in chunks of rays, each rematerialised in the backward pass.

  Memory, also of a gradient, is that of one chunk, and of the phases where they are kept. With one
  chunk nothing is recomputed that was kept.

  Args:
    keys: per-example keys [b], the numbers themselves as `Draws`, or None for a deterministic
      rendering.
    noise: whether to draw density noise at all (static; noise_std may be traced).

  Returns:
    Composite without weights (None), leaves [b, r, ...].
  """
  b, r = rays.directions.shape[:2]
  size = divisor(r, options.ray_chunk)
  # All at once and outside of what is computed again: numbers do not depend on the chunks.
  if keys is None:
    draws = _DETERMINISTIC
  else:
    draws = keys if isinstance(keys, Draws) else draw(keys, r, options, noise)

  def render(part):
    out = render_rays(field, part[0], options, part[1], noise_std, limits=part[2])
    return out._replace(weights=None)

  limits = ray_limits(rays, options)
  if size == r:
    if options.saved_activations == 'phases':
      render = jax.checkpoint(render, policy=phases.POLICY)
    return render((rays, draws, limits))
  chunks = jax.tree.map(
    lambda x: jnp.moveaxis(x.reshape(b, r // size, size, x.shape[-1]), 1, 0), (rays, draws, limits)
  )
  out = jax.lax.map(jax.checkpoint(render, policy=phases.POLICY), chunks)
  return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(b, r, *x.shape[3:]), out)


def tile(field: Field, num_images: int, num_rays: int, options: RenderOptions) -> tuple[int, int]:
  """How many of the images, and at most how many rays of each, `render_images` takes at a time."""
  samples = max(options.num_coarse, options.num_fine)
  images, rays = backend.tile(num_images, num_rays, samples * field.width)
  return divisor(num_images, images), min(rays, options.ray_chunk or num_rays)


def render_images(
  field: Field, rays: Rays, options: RenderOptions, keys=None, noise_std=0.0, noise=True
):
  """`render_chunked` in tiles of the size that the platform likes: some images, some rays of each.

  Args:
    field: a pytree of arrays [b, ...], or [1, ...] where all images share them, with the static
      attribute `width`, the features of a point in each layer.
    options: `ray_chunk` bounds the rays of a tile.
    The rest and the result: see `render_chunked`.
  """
  b, r = rays.directions.shape[:2]
  images, num_rays = tile(field, b, r, options)
  options = dataclasses.replace(options, ray_chunk=num_rays)
  if images == b:
    return render_chunked(field, rays, options, keys, noise_std, noise)
  leaves, structure = jax.tree.flatten(field)
  shared = [leaf.shape[0] == 1 for leaf in leaves]
  own = [None if common else leaf for leaf, common in zip(leaves, shared, strict=True)]

  def render(part):
    own, rays, keys = part
    parts = [every if mine is None else mine for mine, every in zip(own, leaves, strict=True)]
    tile = jax.tree.unflatten(structure, parts)
    return render_chunked(tile, rays, options, keys, noise_std, noise)

  # Chunks of rays, and tiles that keep phases, are rendered again in the backward pass already.
  if num_rays == r and options.saved_activations == 'all':
    render = jax.checkpoint(render)
  groups = jax.tree.map(lambda x: x.reshape(b // images, images, *x.shape[1:]), (own, rays, keys))
  out = jax.lax.map(render, groups)
  return jax.tree.map(lambda x: x.reshape(b, *x.shape[2:]), out)
