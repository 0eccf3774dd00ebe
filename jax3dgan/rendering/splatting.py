"""Images of 3D Gaussians (Kerbl et al., SIGGRAPH 2023, arXiv 2308.04079): a second way to draw,
beside the ray renderer, with the same Camera and the same Composite.

Pure functions of arrays: static shapes, no randomness, and what one image shows never depends on
the other images of its batch.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.errors import UserError
from jax3dgan.nn import backend
from jax3dgan.rendering import rays, splatting_dense, splatting_projection, splatting_tiles
from jax3dgan.rendering.compositing import Composite
from jax3dgan.rendering.splatting_projection import Gaussians

__all__ = ['Gaussians', 'Splats', 'Splatting', 'splat']


class Splatting(NamedTuple):
  """How to draw; hashable. The defaults are smooth and do not depend on any tile.

  Attributes:
    stop: Ends a pixel before the Gaussian behind which its transmittance would be below 1e-4, as
      the CUDA rasteriser does: up to .0099 of weight is lost, and images have steps.
    straight_through: Passes gradients through the bound of α at .99, as the CUDA rasteriser does.
    cuda_tiles: Draws a Gaussian only in the tiles of 16² pixels that a square of 3 σ touches, as
      the CUDA rasteriser does: up to .0056 of a pixel is cut off, at tiles' borders.
    tile: pixels on a side of a tile; with `cuda_tiles` a divisor of 16. What is drawn does not
      depend on it, nor on `chunk` and `block`. None, of each, for what suits a CPU at the size.
    chunk: Gaussians of a tile that are composited together.
    block: chunks at a time. Memory is that of block · chunk · tile² numbers.
  """

  stop: bool = False
  straight_through: bool = False
  cuda_tiles: bool = False
  tile: int | None = None
  chunk: int | None = None
  block: int | None = None


DEFAULT = Splatting()


class Splats(NamedTuple):
  """What `splat` returns.

  Attributes:
    composite: Composite with leaves [..., h, w, ...]: `colour` with the background, `depth` Σ w·t
      along the ray, `opacity` Σ w; no `weights`.
    features: [..., h, w, f] Σ w·feature without any background; None for none.
  """

  composite: Composite
  features: jax.Array | None


# Up to a number of pixels: sides of tiles, Gaussians of a chunk, chunks of a block. Larger tiles:
# more pairs of a pixel and a Gaussian, fewer lists.
_CUTS = ((64**2, (4, 16, 256)), (256**2, (8, 32, 64)), (math.inf, (16, 32, 16)))


def _complete(options: Splatting, size: tuple[int, int]) -> Splatting:
  """Options with what suits a size where they leave it open."""
  cut = next(cut for pixels, cut in _CUTS if size[0] * size[1] <= pixels)
  names = ('tile', 'chunk', 'block')
  open_ones = {k: v for k, v in zip(names, cut, strict=True) if getattr(options, k) is None}
  return options._replace(**open_ones)


def _check(gaussians: Gaussians, camera: Camera, options: Splatting):
  """UserError in one line for what cannot be drawn."""
  if (gaussians.colours is None) == (gaussians.harmonics is None):
    raise UserError('Gaussians have either colours or harmonics. Set the other one to None.')
  batch, cameras = gaussians.opacities.shape[:-1], camera.cam2world.shape[:-2]
  if cameras[: len(batch)] != batch:
    raise UserError(
      f'Cameras of batch shape {cameras} do not fit Gaussians of {batch}: the shape of the cameras '
      'begins with that of the Gaussians, and what follows counts the views of each scene.'
    )
  if options.cuda_tiles and 16 % options.tile:
    raise UserError(
      f'Tiles of {options.tile} pixels do not fit those of 16 of cuda_tiles: take a divisor of 16.'
    )


def splat(
  gaussians: Gaussians,
  camera: Camera,
  size: tuple[int, int],
  background=None,
  options: Splatting = DEFAULT,
  offsets=None,
) -> Splats:
  """Draws Gaussians from cameras, nearest first; equal depths by index.

  Args:
    gaussians: Leaves [*scenes, n, ...].
    camera: [*scenes, *views]: any number of views of each scene.
    size: (height, width) pixels.
    background: Colours that broadcast to [*scenes, *views, height, width, 3], for the light that
      passes all Gaussians; None for black.
    options: See `Splatting`.
    offsets: [*scenes, *views, n, 2] pixels, added to where the means are on the images: zeros,
      whose gradient is that of these places, which says where Gaussians lack (Sec. 5.2).

  Returns:
    Splats with leaves [*scenes, *views, height, width, ...].

  Raises:
    UserError: Both colours and harmonics or none, or batch shapes or tiles that do not fit.
  """
  options = _complete(options, size)
  _check(gaussians, camera, options)
  scenes = gaussians.opacities.shape[:-1]
  batch = camera.cam2world.shape[:-2]
  images = math.prod(batch)

  def of_images(x):
    shape = x.shape[len(scenes) :]
    x = x.reshape(*scenes, *[1] * (len(batch) - len(scenes)), *shape)
    return jnp.broadcast_to(x, (*batch, *shape)).reshape(images, *shape)

  gaussians = jax.tree.map(of_images, gaussians)
  camera = jax.tree.map(lambda x: x.reshape(images, *x.shape[len(batch) :]), camera)

  projected = splatting_projection.project(gaussians, camera, size)
  if offsets is not None:
    offsets = offsets.reshape(projected.means.shape)
    projected = projected._replace(means=projected.means + offsets)
  table = [splatting_projection.seen_colours(gaussians, camera), projected.depths[..., None]]
  if gaussians.features is not None:
    table.append(gaussians.features)
  composite = splatting_tiles.composite
  choices = options._asdict()
  if backend.form('splatting') == 'dense':
    composite = splatting_dense.composite
    choices = {k: v for k, v in choices.items() if k not in ('tile', 'chunk', 'block')}
  total, transmittance = composite(projected, jnp.concatenate(table, axis=-1), size, **choices)

  total = total.reshape(*batch, *size, -1)
  transmittance = transmittance.reshape(*batch, *size)
  colour = total[..., :3]
  if background is not None:
    colour = colour + transmittance[..., None] * jnp.asarray(background, colour.dtype)
  lengths = _ray_lengths(camera, size).reshape(*batch, *size)
  composite = Composite(colour, total[..., 3] * lengths, 1 - transmittance, weights=None)
  return Splats(composite, None if gaussians.features is None else total[..., 4:])


def _ray_lengths(camera: Camera, size: tuple[int, int]):
  """Distance along the ray for each unit of depth along the camera's axis, [i, h·w]."""
  height, width = size
  v, u = jnp.meshgrid(
    (jnp.arange(height) + 0.5) / height, (jnp.arange(width) + 0.5) / width, indexing='ij'
  )
  uv = jnp.stack([u.ravel(), v.ravel()], axis=-1)
  return 1 / rays.rays_through(camera, uv).axis_cosine[..., 0]
