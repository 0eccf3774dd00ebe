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

from jax3dgan.errors import UserError
from jax3dgan.nn import backend, phases
from jax3dgan.rays import Rays
from jax3dgan.rendering import compositing, sampling

# field(points [b, r, s, 3], directions [b, r, 3]) -> (raw density [b, r, s], colour [b, r, s, c])
Field = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class RenderOptions:
  """How to render; hashable, so that it can be static under jit.

  Attributes:
    resolution: pixels on a side.
    near, far: ends of the sampled part of a ray, world units along the unit ray.
    num_coarse, num_fine: samples per ray of the two passes; no second pass with num_fine = 0.
    density: 'softplus' or 'relu'.
    last_interval: 'far': the last sample's interval ends half a stratum behind `far`, so that a
      ray can pass; 'infinite': 1e10 as in π-GAN's release (any density at the last sample is
      opaque there).
    white_back, last_back: what a ray that passes sees, see `compositing.composite`.
    lock_view_direction: the field is always asked from the front, direction (0, 0, −1).
    align_corners: pixel grid with both ends included (π-GAN's release) instead of pixel centres.
    ray_chunk: at most so many rays of an image are rendered at a time, which bounds memory, also of
      gradients; 0 for as many as the platform likes.
    saved_activations: what a gradient finds of a SIREN's activations. 'all': everything, or, with
      chunks, nothing, so that each chunk is rendered again; 'phases': two bytes each, of which the
      rest follows without another hidden product, see `nn.phases`.
  """

  resolution: int = 64
  near: float = 0.88
  far: float = 1.12
  num_coarse: int = 12
  num_fine: int = 12
  density: str = 'softplus'
  last_interval: str = 'far'
  white_back: bool = False
  last_back: bool = False
  lock_view_direction: bool = False
  align_corners: bool = False
  ray_chunk: int = 0
  saved_activations: str = 'all'

  def __post_init__(self):
    if self.last_interval not in ('far', 'infinite'):
      raise UserError(
        f"No last_interval is called '{self.last_interval}'. Choose one of far, infinite."
      )
    if self.saved_activations not in ('all', 'phases'):
      raise UserError(
        f"No saved_activations are called '{self.saved_activations}'. Choose one of all, phases."
      )
    if not self.near < self.far:
      raise UserError(
        f'Rays from near {self.near} to far {self.far} are empty. Set near below far.'
      )
    if self.num_coarse < (3 if self.num_fine else 1):
      raise UserError(
        f'num_coarse {self.num_coarse} is too small. '
        'Set at least 1, and at least 3 where num_fine refines between them.'
      )


class Draws(NamedTuple):
  """The random numbers of one rendering; None in a place means deterministic there.

  Attributes:
    jitter: [b, r, s] uniforms that place the coarse samples in their strata.
    coarse_noise: [b, r, s] normals added to the coarse density, times noise_std.
    pdf: [b, r, k] uniforms of the importance sampling.
    final_noise: [b, r, s + k] normals of the final integration, in ascending depth.
  """

  jitter: jax.Array | None = None
  coarse_noise: jax.Array | None = None
  pdf: jax.Array | None = None
  final_noise: jax.Array | None = None


_DETERMINISTIC = Draws()


def draw(keys, num_rays: int, options: RenderOptions, noise: bool = True) -> Draws:
  """Draws for per-example keys [b]: each example's numbers depend on its own key alone."""
  s, k = options.num_coarse, options.num_fine

  def one(key):
    jitter, coarse, pdf, final = jax.random.split(key, 4)
    return Draws(
      jax.random.uniform(jitter, (num_rays, s)),
      jax.random.normal(coarse, (num_rays, s)) if noise and k else None,
      jax.random.uniform(pdf, (num_rays, k)) if k else None,
      jax.random.normal(final, (num_rays, s + k)) if noise else None,
    )

  return jax.vmap(one)(keys)


def merge_samples(depths_a, depths_b, values_a, values_b):
  """Sorts two sets of samples by depth.

  Args:
    depths_a, depths_b: [..., m], [..., n].
    values_a, values_b: pytrees of the same structure with leaves [..., m(, c)] and [..., n(, c)].

  Returns:
    depths [..., m + n] ascending, and the pytree in that order.
  """
  depths = jnp.concatenate([depths_a, depths_b], axis=-1)
  order = jnp.argsort(depths, axis=-1)
  axis = depths.ndim - 1

  def merge(a, b):
    both = jnp.concatenate([a, b], axis=axis)
    index = order if both.ndim == depths.ndim else order[..., None]
    return jnp.take_along_axis(both, index, axis=axis)

  return jnp.take_along_axis(depths, order, axis=-1), jax.tree.map(merge, values_a, values_b)


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


def render_rays(
  field: Field, rays: Rays, options: RenderOptions, draws: Draws = _DETERMINISTIC, noise_std=0.0
):
  """Renders rays [b, r] through a field.

  Args:
    field: see `Field`.
    rays: origins and unit directions [b, r, 3].
    options: how to render.
    draws: random numbers; `Draws()` renders deterministically.
    noise_std: standard deviation of the density noise, scalar.

  Returns:
    Composite with leaves [b, r, ...].
  """
  batch = rays.directions.shape[:-1]
  directions = rays.directions
  if options.lock_view_direction:
    directions = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0], directions.dtype), directions.shape)
  depths = sampling.stratified_depths(options.near, options.far, options.num_coarse, draws.jitter)
  depths = jnp.broadcast_to(depths, (*batch, options.num_coarse))
  raw, colour = field(points_at(rays, depths), directions)
  if options.num_fine:
    density = _density(jax.lax.stop_gradient(raw), draws.coarse_noise, noise_std, options)
    weights = compositing.ray_weights(
      density, compositing.intervals(depths, _last_interval(depths, options))
    )
    u = sampling.midpoint_uniforms(options.num_fine) if draws.pdf is None else draws.pdf
    u = jnp.broadcast_to(u, (*batch, options.num_fine)).astype(depths.dtype)
    fine = jax.lax.stop_gradient(sampling.importance_depths(depths, weights, u))
    fine_raw, fine_colour = field(points_at(rays, fine), directions)
    depths, (raw, colour) = merge_samples(fine, depths, (fine_raw, fine_colour), (raw, colour))
  return compositing.composite(
    _density(raw, draws.final_noise, noise_std, options),
    colour,
    depths,
    last_interval=_last_interval(depths, options),
    white_back=options.white_back,
    last_back=options.last_back,
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
    return render_rays(field, part[0], options, part[1], noise_std)._replace(weights=None)

  if size == r:
    if options.saved_activations == 'phases':
      render = jax.checkpoint(render, policy=phases.POLICY)
    return render((rays, draws))
  chunks = jax.tree.map(
    lambda x: jnp.moveaxis(x.reshape(b, r // size, size, x.shape[-1]), 1, 0), (rays, draws)
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
