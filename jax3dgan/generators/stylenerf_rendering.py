"""StyleNeRF's rendering: pixels for the up-sampler, samples for the NeRF path (Gu et al., ICLR
2022, arXiv 2110.08985, Sec. 3.2 and 3.3). Pure functions of layers, rays and random numbers."""

import dataclasses
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.fields.stylenerf import BackgroundField, ForegroundField
from jax3dgan.generators.base import Rendering
from jax3dgan.nn import stylenerf_upsampler
from jax3dgan.rendering import background, hierarchical
from jax3dgan.rendering.background import BackgroundDraws
from jax3dgan.rendering.options import RenderOptions
from jax3dgan.rendering.rays import Rays

# How StyleNeRF samples and composites, in RenderOptions' fields.
MARCHING = dict(
  align_corners=False,
  density='relu',
  importance='nerf',
  last_interval='none',
  limits_along='axis',
  strata='between',
)
# Floats of a layer of the NeRF path's samples that are in memory at a time: 64 MiB.
_PATH_FLOATS = 2**24


class Draws(NamedTuple):
  """The random numbers of a rendering."""

  foreground: hierarchical.Draws = hierarchical.Draws()
  background: BackgroundDraws = BackgroundDraws()


class Layers(NamedTuple):
  """The layers of scenes [b]: pytrees of arrays.

  Attributes:
    foreground: see `ForegroundField`.
    background: None where there is none.
    blocks: of the up-sampler, see `stylenerf_upsampler.Block`; () without one.
  """

  foreground: ForegroundField
  background: BackgroundField | None
  blocks: tuple[stylenerf_upsampler.Block, ...]


class Path(NamedTuple):
  """Rays whose samples go through the layers of the up-sampler one by one.

  Attributes:
    uv: [b, n, 2] where they pass the image, see `losses.nerf_path.pixel_grid`.
    key: per-example keys [b], the numbers themselves (`Draws`, of n rays), or None.
    fade: instead of the image's; None for the same.
  """

  uv: jax.Array
  key: Any = None
  fade: Any = None


@flax.struct.dataclass
class Training:
  """Images for a training step.

  Attributes:
    rendering: see `Rendering`.
    path_colours: [b, n, 3] of a `Path`; None without one. `losses.nerf_path` compares them with the
      image.
    powers: [num_blocks, 2] the buffer `powers` after this batch.
  """

  rendering: Rendering
  path_colours: jax.Array | None
  powers: jax.Array


class Pixels(NamedTuple):
  """What rays [b, r] show.

  Attributes:
    rgb: [b, r, 3] in about ±1.
    features: [b, r, f].
    depth, opacity: [b, r] of the foreground.
  """

  rgb: jax.Array
  features: jax.Array
  depth: jax.Array
  opacity: jax.Array


class Samples(NamedTuple):
  """What samples along rays [b, r] show: the foreground's in ascending depth, the background's.

  Attributes:
    rgb: [b, r, s, 3] in about ±1.
    features: [b, r, s, f].
    weights: [b, r, s].
    light: [b, r, 1] what passes them all.
  """

  rgb: jax.Array
  features: jax.Array
  weights: jax.Array
  light: jax.Array


def check_options(options: RenderOptions, has_background: bool) -> None:
  """UserError for two things behind the foreground."""
  if options.white_back and (has_background or options.last_back):
    raise UserError(
      'render.white_back would be ignored: what passes the foreground shows the background, or '
      'with last_back the last sample. Set white_back=False, or background=False in config.model '
      'and last_back=False.'
    )


def draw(keys, num_rays: int, options: RenderOptions, num_background: int, noise_std) -> Draws:
  """The numbers themselves of per-example keys [b], of `Draws`, or of None (deterministic)."""
  if keys is None or isinstance(keys, Draws):
    return keys or Draws()
  noise = not (isinstance(noise_std, int | float) and noise_std == 0)
  first, second = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
  return Draws(
    hierarchical.draw(first, num_rays, options, noise, of_passes=True),
    background.draw(second, num_rays, num_background, noise),
  )


def _behind(layers: Layers, options: RenderOptions) -> BackgroundField | None:
  """The background where it is shown."""
  return None if options.last_back else layers.background


def render(
  layers: Layers, rays: Rays, draws: Draws, options: RenderOptions, num_background: int, noise_std=0
) -> Pixels:
  """Renders rays [b, r], in tiles of a size that suits the platform and `options.ray_chunk`.

  Args:
    num_background: samples of the background along a ray.
    noise_std: standard deviation of the density noise, scalar.
  """
  field, behind = layers.foreground, _behind(layers, options)
  own = dataclasses.replace(options, white_back=False)
  out = hierarchical.render_images(field, rays, own, draws.foreground, noise_std)
  rgb, features = field.head(out.colour, 1.0 if options.last_back else out.opacity)
  light = (1 - out.opacity)[..., None]
  if behind is not None:
    hidden = background.render_images(
      behind, rays, num_background, draws.background, noise_std, options.ray_chunk
    )
    far = behind.head(hidden)
    rgb, features = rgb + light * far[0], features + light * far[1]
  elif options.white_back:
    rgb = rgb + light
  return Pixels(rgb, features, out.depth, out.opacity)


def render_samples(
  layers: Layers,
  rays: Rays,
  draws: Draws,
  options: RenderOptions,
  num_background: int,
  noise_std=0,
  limits=None,
) -> Samples:
  """The samples along rays [b, r]; all are in memory at once. See `render`.

  Args:
    limits: see `hierarchical.render_rays`.
  """
  field, behind = layers.foreground, _behind(layers, options)
  own = dataclasses.replace(options, white_back=False)
  out = hierarchical.render_rays(
    field, rays, own, draws.foreground, noise_std, limits, return_samples=True
  )
  samples = Samples(*field.head(out.samples), out.weights, (1 - out.opacity)[..., None])
  if behind is None:
    return samples
  far = background.render_rays(
    behind, rays, num_background, draws.background, noise_std, return_samples=True
  )
  others = (*behind.head(far.samples), samples.light * far.weights)
  joined = (jnp.concatenate(pair, axis=2) for pair in zip(samples[:3], others, strict=True))
  return Samples(*joined, jnp.zeros_like(samples.light))


def render_path(
  layers: Layers,
  rays: Rays,
  draws: Draws,
  options: RenderOptions,
  num_background: int,
  noise_std,
  powers,
  fade=1.0,
  **run,
):
  """Colours of rays whose samples go through the up-sampler's layers one by one.

  In chunks of rays, each rematerialised in the backward pass.

  Args:
    powers, fade, run: see `stylenerf_upsampler.upsample`.
    The rest: see `render`.

  Returns:
    (colours [b, r, 3], mean squares as of `upsample`).
  """
  b, r = rays.directions.shape[:2]
  limits = hierarchical.ray_limits(rays, options)
  rays = rays.replace(axis_cosine=None)  # has done its work

  def colours(chunk):
    rays, limits, draws = chunk
    samples = render_samples(layers, rays, draws, options, num_background, noise_std, limits)
    rgb, squares = stylenerf_upsampler.upsample(
      layers.blocks, samples.features, samples.rgb, powers, fade, double=False, **run
    )
    rgb = jnp.sum(samples.weights[..., None] * rgb, axis=2)
    return rgb + samples.light if options.white_back else rgb, squares

  field = layers.foreground
  widths = [field.width, field.head.feature_bias.shape[-1]]
  widest = max(*widths, *(block.conv0[0].shape[-1] for block in layers.blocks))
  num_samples = options.num_coarse + options.num_fine + num_background
  limit = max(_PATH_FLOATS // (b * num_samples * widest), 1)
  size = hierarchical.divisor(r, min(options.ray_chunk or r, limit))
  if size == r:
    return colours((rays, limits, draws))
  chunks = jax.tree.map(
    lambda x: jnp.moveaxis(x.reshape(b, r // size, size, x.shape[-1]), 1, 0), (rays, limits, draws)
  )
  rgb, squares = jax.lax.map(jax.checkpoint(colours), chunks)
  squares = None if squares is None else squares.mean(0)
  return jnp.moveaxis(rgb, 0, 1).reshape(b, r, 3), squares
