"""Renders many views of one object without its empty surroundings.

In a picture of a single object most rays often meet nothing. A small picture, of the coarse
samples alone, shows which; of the large one only the square tiles that are not empty are rendered,
tiles of many views at a time. A tile is a camera too (`cameras.crop`), so that this works with any
generator whose pixels depend on their own ray only.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from jax3dgan import cameras
from jax3dgan.devices import ray_parallel
from jax3dgan.generators import Rendering

# Opacity below which a pixel counts as empty: half of a grey level of 8 bits.
NOTHING = 1 / 512
_SMALL = 4  # pixels of the picture to one of the small picture
_TILES = 8  # on a side of the picture: smaller ones fit better, larger ones compute better
_PIXELS = 2**13  # of the tiles in one call, about: two pictures of 64²
_GROUP = 2**22  # pixels of the views that are in memory at a time


def tile_size(model, resolution: int) -> int:
  """Returns the pixels on a side of a tile; those of the picture if it must not be divided.

  It is not divided if a pixel depends on more than its ray (`ray_parallel.cuts_pictures`), if an
  empty ray has the colour of its last sample, or if it is small.
  """
  options = model.options(resolution)
  if (
    not ray_parallel.cuts_pictures(model.generator)
    or options.last_back
    or options.last_interval != 'far'
  ):
    return resolution
  sizes = [
    size
    for size in range(8, resolution // 4 + 1)
    if resolution % size == 0 and size >= resolution // _TILES
  ]
  return sizes[0] if sizes else resolution


def views(
  model,
  w,
  camera: cameras.Camera,
  resolution: int,
  report: Callable[[int], None] | None = None,
  skip_empty: bool = True,
  **overrides,
) -> Iterator[Rendering]:
  """Yields renderings of one object from many cameras, in batches of bounded memory.

  Args:
    model: A `trained.Trained`.
    w: [1, ...], a style or a scene.
    camera: n cameras.
    resolution: Pixels on a side.
    report: Called several times with the number of further views done, which may be a fraction.
    skip_empty: Whether to leave out rays that meet nothing, where the generator allows it. A speck
      of the object that is smaller than four pixels and apart from all else may be missed.
    **overrides: Fields of the rendering options.
  """
  report = report or (lambda num: None)
  size = tile_size(model, resolution) if skip_empty else resolution
  num = camera.cam2world.shape[0]
  if size == resolution:
    for rendering in model.render_batches(w, camera, resolution, **overrides):
      report(len(rendering.image))
      yield rendering
    return
  camera = jax.tree.map(np.asarray, camera)
  step = max(_GROUP // resolution**2, 1)
  for start in range(0, num, step):
    group = jax.tree.map(lambda x, i=start: x[i : i + step], camera)
    yield _group(model, w, group, resolution, size, report, overrides)


def _group(model, w, camera, resolution, size, report, overrides) -> Rendering:
  n, side = len(camera.cam2world), resolution // size
  options = model.options(resolution, **overrides)
  todo = _filled(model, w, camera, resolution, size, overrides)  # [n, side, side]
  done = np.zeros_like(todo)
  # Tiles first, [n, row, column, y, x, c]; empty rays have the values of `composite`.
  out = Rendering(
    image=np.full((n, side, side, size, size, 3), 1 if options.white_back else -1, np.float32),
    depth=np.zeros((n, side, side, size, size), np.float32),
    opacity=np.zeros((n, side, side, size, size), np.float32),
  )
  reported = 0.0
  while todo.any():
    index = np.argwhere(todo)
    batches = _render_tiles(model, w, camera, index, resolution, size, overrides)
    for rows, tiles in batches:
      at = tuple(index[rows].T)
      out.image[at], out.depth[at], out.opacity[at] = tiles.image, tiles.depth, tiles.opacity
      # Of the first round, which has nearly all of them.
      share = n * len(index[rows]) / len(index) if not reported else 0
      report(share)
    reported = n
    done |= todo
    todo = _beyond(out.opacity) & ~done  # the object extends into a tile that seemed empty
  return jax.tree.map(
    lambda x: np.swapaxes(x, 2, 3).reshape(n, resolution, resolution, *x.shape[5:]), out
  )


def _filled(model, w, camera, resolution, size, overrides) -> np.ndarray:
  """Returns which tiles [n, side, side] have something in them in a small picture.

  `_beyond` finds objects that extend a little into the next tile.
  """
  side, per_tile = resolution // size, max(size // _SMALL, 1)
  coarse = {**overrides, 'num_fine': 0}
  small = model.render(w, camera, side * per_tile, **coarse).opacity > NOTHING
  return small.reshape(-1, side, per_tile, side, per_tile).any(axis=(2, 4))


def _beyond(opacity) -> np.ndarray:
  """Returns the tiles [n, side, side] into which the object extends from a neighbour's edge."""
  solid = opacity > NOTHING  # [n, row, column, y, x]
  found = np.zeros(solid.shape[:3], bool)
  found[:, :-1] |= solid[:, 1:, :, 0].any(-1)
  found[:, 1:] |= solid[:, :-1, :, -1].any(-1)
  found[:, :, :-1] |= solid[:, :, 1:, :, 0].any(-1)
  found[:, :, 1:] |= solid[:, :, :-1, :, -1].any(-1)
  return found


def _render_tiles(model, w, camera, index, resolution, size, overrides):
  """Yields (which of the index's rows, their Rendering) of tiles [m, (view, row, column)]."""
  batch = max(_PIXELS // size**2, 1)
  align = model.options(resolution, **overrides).align_corners
  # Pixel centres of a tile are pixel centres of the picture; or first and last pixels are.
  scale, width = (resolution - 1, size - 1) if align else (resolution, size)
  every = jax.tree.map(lambda x: np.asarray(x, np.float64)[index[:, 0]], camera)
  top, left = index[:, 1] * size / scale, index[:, 2] * size / scale
  share = np.full(len(index), width / scale)
  tiles = cameras.crop(every, left, top, share, share)
  tiles = jax.tree.map(lambda x: x.astype(np.float32), tiles)
  # Always full batches, so that there is one program: the last tile pads.
  padding = -len(index) % batch
  tiles = jax.tree.map(lambda x: np.concatenate([x, np.repeat(x[-1:], padding, 0)]), tiles)
  start = 0
  for out in model.render_batches(w, tiles, size, batch, **overrides):
    rows = slice(start, min(start + len(out.image), len(index)))
    start += len(out.image)
    yield rows, jax.tree.map(lambda x, n=rows.stop - rows.start: x[:n], out)
