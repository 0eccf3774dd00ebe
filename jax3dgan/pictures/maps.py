"""Pictures of a trained model: colour, depth, normals, opacity.

Views are rendered one object at a time, with the parts that do not depend on the camera computed
once, and converted to pictures immediately; only what is asked for is kept of each view.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import numpy as np
import tqdm

from jax3dgan import cameras
from jax3dgan.pictures import display, normals, tiles


@dataclasses.dataclass(eq=False)
class Views:
  """Rendered views.

  Attributes:
    image: uint8 [..., h, w, 3].
    depth, opacity: float32 [..., h, w], see `generators.Rendering`; None where not asked for.
    fov_degrees: [...] full field of view.
    normals: float32 [..., h, w, 3] of the field, in camera axes; None where the field has none, or
      not asked for.
  """

  image: np.ndarray
  depth: np.ndarray | None
  opacity: np.ndarray | None
  fov_degrees: np.ndarray
  normals: np.ndarray | None = None

  def reshape(self, *shape: int) -> 'Views':
    """Returns the same with other leading axes."""
    old = self.fov_degrees.ndim
    return self._map(lambda x: x.reshape(*shape, *x.shape[old:]))

  def __getitem__(self, index) -> 'Views':
    return self._map(lambda x: x[index])

  def _map(self, function) -> 'Views':
    values = [getattr(self, field.name) for field in dataclasses.fields(self)]
    return Views(*(None if x is None else function(x) for x in values))


def render(
  model,
  w,
  camera: cameras.Camera,
  resolution: int | None = None,
  kinds: Sequence[str] = ('colour',),
  bar: tqdm.tqdm | None = None,
  skip_empty: bool = False,
  **overrides,
) -> Views:
  """Renders every object of w from every camera.

  Args:
    model: A `trained.Trained`.
    w: [m, ...] styles.
    camera: n cameras.
    resolution: Pixels on a side; None for that of training.
    kinds: What will be shown, of `display.KINDS`.
    bar: A progress bar, advanced by one for each view.
    skip_empty: See `tiles.views`; useful for many views.
    **overrides: Fields of the rendering options.

  Returns:
    Views [m, n].
  """
  resolution = resolution or model.resolution
  batches = []
  for i in range(len(w)):
    scene, start = model.prepare(w[i : i + 1]), 0
    for out in tiles.views(model, scene, camera, resolution, _report(bar), skip_empty, **overrides):
      end = start + len(out.image)
      batches.append(_kept(model, scene, _rows(camera, slice(start, end)), out, kinds))
      start = end
  return _joined(batches, camera, len(w))


def render_pairs(
  model, w, camera, resolution=None, kinds: Sequence[str] = ('colour',), bar=None
) -> Views:
  """Renders each w [n, ...] from its own camera of n, or all from the same one: Views [n]."""
  report, batches, start = _report(bar), [], 0
  if camera.cam2world.shape[0] == 1:
    camera = jax.tree.map(lambda x: np.repeat(np.asarray(x), len(w), axis=0), camera)
  for out in model.render_batches(w, camera, resolution or model.resolution):
    rows = slice(start, start := start + len(out.image))
    batches.append(_kept(model, _rows(w, rows), _rows(camera, rows), out, kinds))
    report(len(out.image))
  return _joined(batches, camera, 1)[0]


def _report(bar):
  if bar is None:
    return lambda num: None
  start, total = bar.n, 0.0

  def report(num):  # whole views, of batches of some
    nonlocal total
    total += num
    bar.update(start + round(total) - bar.n)

  return report


def _rows(tree, rows):
  return jax.tree.map(lambda x: x[rows], tree)


def _kept(model, w, camera, out, kinds):
  """(image, depth, opacity, normals) of a rendering, in the smallest types that a picture needs."""
  from jax3dgan import viz

  depth = out.depth if {'depth', 'normals'} & set(kinds) else None
  opacity = out.opacity if set(kinds) != {'colour'} else None
  own = None
  if 'normals' in kinds and normals.has_gradient(model):
    own = normals.of_rendering(model, w, camera, depth, opacity)
  return viz.to_uint8(out.image), depth, opacity, own


def _joined(batches, camera, m: int) -> Views:
  columns = list(zip(*batches, strict=True))
  image, depth, opacity, own = (None if c[0] is None else np.concatenate(c) for c in columns)
  focal = np.asarray(camera.intrinsics, np.float64)[:, 1, 1]
  fov = np.degrees(2 * np.arctan(0.5 / focal))
  views = Views(image, depth, opacity, np.tile(fov, m), own)
  return views.reshape(m, len(fov))


def concatenate(batches: Sequence[Views], axis: int = 1) -> Views:
  """Joins views [m, n] along one of their axes."""
  if len(batches) == 1:
    return batches[0]
  columns = zip(
    *([getattr(p, f.name) for f in dataclasses.fields(p)] for p in batches), strict=True
  )
  return Views(*(None if c[0] is None else np.concatenate(c, axis=axis) for c in columns))


def depth_limits(model, views: Views, back=0.0) -> tuple[float, float]:
  """Returns the (near, far) of the colours of depth maps that should be comparable.

  Args:
    model, views: See `picture`; a Rendering will do.
    back: [...] distance of each camera minus the one that the limits are for.
  """
  from jax3dgan import viz

  depth = _surface(model, views) - np.asarray(back)[..., None, None]
  return viz.depth_range(depth, None if model.options().last_back else views.opacity)


def _surface(model, views: Views) -> np.ndarray:
  """Distance of the visible surface [..., h, w]."""
  from jax3dgan import viz

  if model.options().last_back:  # transmitted light counts as the last sample: every pixel is solid
    return views.depth
  return viz.surface_depth(views.depth, views.opacity)


def picture(model, views: Views, kind: str, limits: tuple[float, float] | None = None):
  """Returns the pictures of views, uint8 [..., h, w, 3].

  Args:
    model: A `trained.Trained`.
    views: Of it, rendered for this kind.
    kind: Of `display.KINDS`.
    limits: Of depth; None takes them from these views together.
  """
  from jax3dgan import viz

  if kind == 'colour':
    return views.image
  if kind == 'opacity':
    return viz.colour_opacity(views.opacity)
  solid = None if model.options().last_back else views.opacity
  if kind == 'depth':
    limits = limits or depth_limits(model, views)
    return viz.colour_depth(_surface(model, views), solid, limits)
  own = views.normals
  if own is None:
    own = viz.normals_from_depth(_surface(model, views), views.fov_degrees)
  return viz.colour_normals(own, solid)


def enlargement(views: Views) -> int:
  """Returns the integer factor by which pictures of the views are enlarged for display."""
  return display.enlargement(views.image.shape[-3])


TITLES = {
  'colour': 'colour',
  'depth': 'depth, near is light',
  'normals': 'normals',
  'opacity': 'opacity',
}


def beside(pictures: Sequence[np.ndarray], columns: int, factor: int) -> np.ndarray:
  """Arranges the kinds of some objects in one picture.

  Args:
    pictures: For each kind uint8 [n, h, w, 3].
    columns: Objects in a row. With one row the kinds are below each other, with more beside.
    factor: Enlargement.

  Returns:
    uint8 [h, w, 3].
  """
  from jax3dgan import viz

  num = len(pictures[0])
  columns = min(num, columns)
  grids = [viz.grid(viz.enlarge(tiles_, factor), columns) for tiles_ in pictures]
  if len(grids) == 1:
    return grids[0]
  if num == 1:  # one object: a square of its kinds, or two beside each other
    across = 2 if len(grids) in (2, 4) else len(grids)
  else:
    across = 1 if num <= columns else math.ceil(math.sqrt(len(grids)))
  return viz.grid(np.stack(grids), across)
