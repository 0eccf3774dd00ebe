"""A video of objects that turn, as mp4, gif or webp by the file's ending."""

from collections.abc import Iterator, Sequence

import numpy as np
import tqdm

from jax3dgan.pictures import display, maps, paths

SECONDS = 3.0  # of a turn, where no frame rate is given
_COLUMNS = 4


def write(
  model,
  path,
  seeds: Sequence[int] = (0, 1, 2, 3),
  psi: float | None = None,
  frames: int = 60,
  fps: float | None = None,
  resolution: int | None = None,
  depth: bool = False,
  trajectory: str | paths.Path | None = None,
  progress: bool = False,
  show: Sequence[str] = ('colour',),
  w=None,
) -> None:
  """Writes the video.

  Args:
    model: A `trained.Trained`.
    path: The file; its ending says the format.
    seeds: Objects side by side, four in a row.
    psi: Truncation; None takes the config's.
    frames: How many in the loop.
    fps: Frames per second; None for a loop of three seconds.
    resolution: Pixels on a side of each object; None for that of training.
    depth: Whether depth maps turn beside the objects.
    trajectory: A path, or the name of one, see `paths.make`; None for the full circle where the
      pose prior covers it.
    progress: Whether to show a bar.
    show: What of each object, of `display.KINDS`.
    w: [n, ...] styles of the objects, in place of those of the seeds and psi.

  Raises:
    UserError: The generator has no camera, or nothing to show; impossible numbers.
  """
  from jax3dgan import viz

  if not isinstance(trajectory, paths.Path):
    trajectory = paths.make(model, frames, trajectory)
  display.check_kinds(model, kinds := display.with_depth(show, depth))
  display.check_numbers(psi, resolution)
  unique, index = trajectory.unique()  # a sweep passes each angle twice: render it once
  w = np.asarray(model.map(model.latents(seeds), psi) if w is None else w)
  pictures = list(_pictures(model, w, unique, resolution, kinds, progress))
  viz.write_video(path, (pictures[i] for i in index), fps or len(trajectory) / SECONDS)


def render_path(model, w, path: paths.Path, resolution=None, kinds=('colour',), bar=None):
  """Renders objects w [m, ...] along a path of n frames: `maps.Views` [m, n]."""
  groups = path.depth_ranges(model)
  # Tiles are compiled for each group once more: not worth it for many groups of few frames.
  skip = len(groups) == 1
  views_of_groups = [
    maps.render(model, w, path[frames].camera(model), resolution, kinds, bar, skip, **ends)
    for frames, ends in groups
  ]
  order = np.argsort(np.concatenate([frames for frames, _ in groups]))
  return maps.concatenate(views_of_groups)[:, order]


def _pictures(model, w, path, resolution, kinds, progress) -> Iterator[np.ndarray]:
  """Yields one picture per frame, uint8 [h, w, 3], all objects in it."""
  with tqdm.tqdm(
    desc='turntable', total=len(w) * len(path), unit='view', disable=not progress
  ) as bar:
    views = render_path(model, w, path, resolution, kinds, bar)
  factor = maps.enlargement(views)
  # The limits of depth move with the camera: colours show the object, not its distance.
  back = path.distance - model.config.render.radius
  limits = maps.depth_limits(model, views, back) if 'depth' in kinds else (0, 1)
  for i in range(len(path)):
    now, ends = views[:, i], tuple(limit + back[i] for limit in limits)
    yield maps.beside([maps.picture(model, now, k, ends) for k in kinds], _COLUMNS, factor)
