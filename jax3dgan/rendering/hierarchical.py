"""Hierarchical volume rendering of any radiance field (NeRF, Sec. 5.2).

A coarse pass evaluates the field at stratified depths; its weights say where the fine pass samples.
With one field, as in π-GAN, samples of both passes are integrated together and none is evaluated
twice. With a `fine_field` of its own, as in NeRF, the fine pass evaluates that one at all depths.
No gradient goes through the choice of the fine depths.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.nn import phases
from jax3dgan.nn.cpu import tiles
from jax3dgan.rendering import merging, occupancy, passes, sampling
from jax3dgan.rendering.compositing import Composite
from jax3dgan.rendering.draws import Draws, draw
from jax3dgan.rendering.occupancy import EmphasisedLimits, Occupancy
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.rays import Rays
from jax3dgan.rendering.sampling import Limits

# field(points [b, r, s, 3], directions [b, r, 3]) -> (raw density [b, r, s], colour [b, r, s, c]);
# the density itself instead of a raw one with RenderOptions.density 'field'. A third result, where
# there is one, is a dict of numbers of the samples, [b, r, s] by name: the Composite has the mean
# of each over a ray's samples (terms that regularise a field where it is rendered).
Field = Callable[[jax.Array, jax.Array], tuple[jax.Array, ...]]

_DETERMINISTIC = Draws()

__all__ = ['Draws', 'Field', 'RenderOptions', 'draw', 'render_images', 'render_rays']


def points_at(rays: Rays, depths):
  """World points [b, r, s, 3] at distances [b, r, s] along rays [b, r]."""
  return rays.origins[..., None, :] + depths[..., None] * rays.directions[..., None, :]


def ray_limits(
  rays: Rays, options: RenderOptions, grid: Occupancy | None = None
) -> Limits | EmphasisedLimits | None:
  """Where rays [b, r] are sampled, leaves [b, r, 1]; None where that is from near to far for all.

  A ray's limits are its own, except with `compat_box_limits`, where they are those of all these
  rays.

  Args:
    grid: says where samples are denser, see `occupancy`; None for evenly.

  Raises:
    UserError: Limits along the axis of a camera that is not known, or a grid and samples that are
      even in 1/depth.
  """
  limits = _ends(rays, options)
  if grid is None:
    return limits
  if limits is None:
    ends = jnp.ones_like(rays.origins[..., :1])
    limits = Limits(options.near * ends, options.far * ends, jnp.ones(ends.shape, bool))
  return occupancy.emphasised(rays, limits, grid, options)


def _ends(rays: Rays, options: RenderOptions) -> Limits | None:
  near, far = options.near, options.far
  if options.limits_radius:
    farther = jnp.linalg.norm(rays.origins, axis=-1, keepdims=True) - options.limits_radius
    near, far = near + farther, far + farther
  if options.limits_along == 'axis':
    if rays.axis_cosine is None:
      raise UserError(
        "limits_along 'axis' needs the rays' angles to their camera's axis. Make them with "
        'rays.rays_through or rays.camera_rays.'
      )
    return sampling.axis_limits(rays.axis_cosine, near, far)
  if options.limits_radius:
    return Limits(near, far, jnp.ones(near.shape, bool))
  if not options.box:
    return None
  limits = sampling.release_box_limits if options.compat_box_limits else sampling.box_limits
  return limits(rays.origins, rays.directions, options.box)


def render_rays(
  field: Field,
  rays: Rays,
  options: RenderOptions,
  draws: Draws = _DETERMINISTIC,
  noise_std=0.0,
  limits: Limits | None = None,
  fine_field: Field | None = None,
  return_coarse: bool = False,
  return_samples: bool = False,
) -> Composite:
  """Renders rays [b, r] through a field.

  Args:
    field: see `Field`.
    rays: origins and unit directions [b, r, 3]; what they meet of a surface is a sample of the last
      pass, which does not say where others are.
    options: how to render.
    draws: random numbers; `Draws()` renders deterministically.
    noise_std: standard deviation of the density noise, scalar.
    limits: see `ray_limits`; None for those without a grid.
    fine_field: another field for the fine pass, which then evaluates coarse and fine depths (NeRF);
      None: `field` at the fine depths, together with the coarse samples (π-GAN).
    return_coarse: whether the result's `coarse` has the Composite of the coarse pass, for a loss of
      its own; None without a fine pass.
    return_samples: whether the result has the colours of all samples too (`Composite.samples`).

  Returns:
    Composite with leaves [b, r, ...].

  Raises:
    UserError: density noise for a field that returns densities, which could make one negative; a
      surface, with samples that stand for what is between them.
  """
  if rays.surface is not None and options.marcher != 'samples':
    raise UserError(
      f"A surface is one more sample, and the marcher '{options.marcher}' has means of neighbours. "
      "Set render.marcher to 'samples'."
    )
  if options.density == 'field' and any(x is not None for x in (draws[1], *draws[3:])):
    raise UserError(
      "Density noise goes before an activation, and render.density 'field' has none. Set "
      'loss.density_noise to 0.'
    )
  batch = rays.directions.shape[:-1]
  directions = rays.directions
  if options.lock_view_direction:
    directions = jnp.broadcast_to(jnp.array([0.0, 0.0, -1.0], directions.dtype), directions.shape)
  limits = ray_limits(rays, options) if limits is None else limits
  spread = None
  if isinstance(limits, EmphasisedLimits):  # all depths from here on are stretched
    spread, limits = limits, occupancy.stretched_limits(limits)

  def points_along(depths):
    return points_at(rays, passes.placed(depths, options, limits, spread)[0])

  near, far = (options.near, options.far) if limits is None else limits[:2]
  depths = sampling.stratified_depths(
    near, far, options.num_coarse, draws.jitter, options.strata, options.spacing
  )
  depths = jnp.broadcast_to(depths, (*batch, options.num_coarse))
  raw, colour, *terms = field(points_along(depths), directions)
  # Whether the noise is each pass's, or that of the integration.
  of_passes = options.marcher == 'midpoints' or draws.fine_noise is not None
  coarse_noise = None if draws.coarse_noise is None else noise_std * draws.coarse_noise
  if of_passes and coarse_noise is not None:
    raw, coarse_noise = raw + coarse_noise, None
  final_noise = None if draws.final_noise is None else noise_std * draws.final_noise
  if not options.num_fine:
    out = passes.march(
      raw, colour, depths, options, limits, final_noise, spread, surface=rays.surface
    )
    means = out.means | _means(terms)
    return out._replace(means=means, samples=colour if return_samples else None)

  weights = passes.weights(
    jax.lax.stop_gradient(raw), depths, options, limits, coarse_noise, spread
  )
  fine = passes.fine_depths(depths, weights, draws.pdf, options)
  merged = merging.merge(fine, depths)
  coarse = None
  if return_coarse:
    coarse = passes.march(raw, colour, depths, options, limits, coarse_noise, spread)
  if fine_field is None:
    fine_raw, fine_colour, *more = field(points_along(fine), directions)
    terms += more
    if of_passes and draws.fine_noise is not None:
      fine_raw = fine_raw + noise_std * draws.fine_noise
    raw, colour = merged.together(fine_raw, raw), (fine_colour, colour)
    out = passes.march(
      raw, colour, merged.depths, options, limits, final_noise, spread, merged, rays.surface
    )
    colour = merged.together(*colour) if return_samples else None
  else:
    raw, colour, *terms = fine_field(points_along(merged.depths), directions)
    if of_passes and draws.fine_noise is not None:
      raw = raw + noise_std * merged.together(draws.fine_noise, draws.coarse_noise)
    out = passes.march(
      raw, colour, merged.depths, options, limits, final_noise, spread, surface=rays.surface
    )
  means = out.means | _means(terms)
  return out._replace(coarse=coarse, means=means, samples=colour if return_samples else None)


def _means(terms: list) -> dict:
  """Means [b, r] over the samples of what fields returned beside density and colour, by name."""
  names = terms[0] if terms else {}
  return {name: jnp.concatenate([of[name] for of in terms], -1).mean(-1) for name in names}


def divisor(total: int, limit: int) -> int:
  """The largest divisor of `total` that is at most `limit`; `total` itself for a limit of 0."""
  if not limit or limit >= total:
    return total
  return next(size for size in range(limit, 0, -1) if total % size == 0)


def render_chunked(
  field: Field,
  rays: Rays,
  options: RenderOptions,
  keys=None,
  noise_std=0.0,
  noise=True,
  limits: Limits | None = None,
  fine_field: Field | None = None,
  return_coarse: bool = False,
) -> Composite:
  """`render_rays` in chunks of rays, each rematerialised in the backward pass.

  Memory, also of a gradient, is that of one chunk, and of the phases where they are kept. With one
  chunk nothing is recomputed that was kept.

  Args:
    keys: per-example keys [b], the numbers themselves as `Draws`, or None for a deterministic
      rendering.
    noise: whether to draw density noise at all (static; noise_std may be traced).
    The rest: see `render_rays`.

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

  def render(chunk):
    rays, draws, limits = chunk
    out = render_rays(
      field, rays, options, draws, noise_std, limits, fine_field, return_coarse
    )._replace(weights=None)
    return out if out.coarse is None else out._replace(coarse=out.coarse._replace(weights=None))

  limits = ray_limits(rays, options) if limits is None else limits
  if size == r:
    if options.saved_activations == 'phases':
      render = jax.checkpoint(render, policy=phases.POLICY)
    return render((rays, draws, limits))
  chunks = jax.tree.map(
    lambda x: jnp.moveaxis(x.reshape(b, r // size, size, x.shape[-1]), 1, 0), (rays, draws, limits)
  )
  out = jax.lax.map(jax.checkpoint(render, policy=phases.POLICY), chunks)
  return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(b, r, *x.shape[3:]), out)


def tile(
  field: Field, num_images: int, num_rays: int, options: RenderOptions, fine_field=None
) -> tuple[int, int]:
  """How many of the images, and at most how many rays of each, `render_images` takes at a time."""
  samples, width = max(options.num_coarse, options.num_fine), field.width
  if fine_field is not None:
    samples = options.num_coarse + options.num_fine
    width = max(width, fine_field.width)
  images, rays = tiles.tile(num_images, num_rays, samples * width)
  return divisor(num_images, images), min(rays, options.ray_chunk or num_rays)


def render_images(
  field: Field,
  rays: Rays,
  options: RenderOptions,
  keys=None,
  noise_std=0.0,
  noise=True,
  limits: Limits | None = None,
  fine_field: Field | None = None,
  return_coarse: bool = False,
  grid: Occupancy | None = None,
) -> Composite:
  """`render_chunked` in tiles of a size that suits the platform: some images, some rays of each.

  Args:
    field, fine_field: pytrees of arrays [b, ...], or [1, ...] where all images share them, with the
      static attribute `width`, the features of a point in each layer.
    options: `ray_chunk` bounds the rays of a tile.
    grid: see `ray_limits`, where no limits are given.
    The rest and the result: see `render_chunked`.
  """
  b, r = rays.directions.shape[:2]
  limits = ray_limits(rays, options, grid) if limits is None else limits
  rays = rays.replace(axis_cosine=None)  # has done its work
  images, num_rays = tile(field, b, r, options, fine_field)
  options = dataclasses.replace(options, ray_chunk=num_rays)

  def chunked(fields, rays, keys, limits):
    return render_chunked(
      fields[0], rays, options, keys, noise_std, noise, limits, fields[1], return_coarse
    )

  if images == b:
    return chunked((field, fine_field), rays, keys, limits)
  leaves, structure = jax.tree.flatten((field, fine_field))
  shared = [leaf.shape[0] == 1 for leaf in leaves]
  own = [None if common else leaf for leaf, common in zip(leaves, shared, strict=True)]

  def render(group):
    own, *rest = group
    parts = [common if mine is None else mine for mine, common in zip(own, leaves, strict=True)]
    return chunked(jax.tree.unflatten(structure, parts), *rest)

  # Chunks of rays, and tiles that keep phases, are rendered again in the backward pass already.
  if num_rays == r and options.saved_activations == 'all':
    render = jax.checkpoint(render)
  groups = jax.tree.map(
    lambda x: x.reshape(b // images, images, *x.shape[1:]), (own, rays, keys, limits)
  )
  out = jax.lax.map(render, groups)
  return jax.tree.map(lambda x: x.reshape(b, *x.shape[2:]), out)
