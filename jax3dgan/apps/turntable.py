"""A video of objects that turn, as mp4, gif or webp by the file's ending.

python -m jax3dgan.apps.turntable --workdir=runs/toys --out=turntable.mp4 --seeds=0-3
python -m jax3dgan.apps.turntable --pretrained=toys --out=turntable.gif --frames=40 --depth
python -m jax3dgan.apps.turntable --pretrained=toys --out=x.webp --trajectory=figure-eight
python -m jax3dgan.apps.turntable --pretrained=toys --out=x.mp4 --trajectory=dolly --yaw=40
"""

import argparse
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm

from jax3dgan.apps import common, maps, paths, provenance
from jax3dgan.apps.paths import TRAJECTORIES

_COLUMNS = 4
_SECONDS = 3.0  # of a turn, where no frame rate is given


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
    show: What of each object, of `common.KINDS`.
    w: [n, ...] styles of the objects, in place of those of the seeds and psi.

  Raises:
    UserError: The generator has no camera, or nothing to show; impossible numbers.
  """
  from jax3dgan import viz

  if not isinstance(trajectory, paths.Path):
    trajectory = paths.make(model, frames, trajectory)
  common.check_kinds(model, kinds := common.with_depth(show, depth))
  common.check_numbers(psi, resolution)
  unique, index = trajectory.unique()  # a sweep passes each angle twice: render it once
  w = np.asarray(model.map(model.latents(seeds), psi) if w is None else w)
  pictures = list(_pictures(model, w, unique, resolution, kinds, progress))
  viz.write_video(path, (pictures[i] for i in index), fps or len(trajectory) / _SECONDS)


def render_path(model, w, path: paths.Path, resolution=None, kinds=('colour',), bar=None):
  """Renders objects w [m, ...] along a path of n frames: `maps.Views` [m, n]."""
  groups = path.depth_ranges(model)
  # Tiles are compiled for each group once more: not worth it for many groups of few frames.
  skip = len(groups) == 1
  parts = [
    maps.render(model, w, path[frames].camera(model), resolution, kinds, bar, skip, **ends)
    for frames, ends in groups
  ]
  order = np.argsort(np.concatenate([frames for frames, _ in groups]))
  return maps.concatenate(parts)[:, order]


def _pictures(model, w, path, resolution, kinds, progress) -> Iterator[np.ndarray]:
  """Yields one picture per frame, uint8 [h, w, 3], all objects in it."""
  with tqdm.tqdm(
    desc='turntable', total=len(w) * len(path), unit='view', disable=not progress
  ) as bar:
    views = render_path(model, w, path, resolution, kinds, bar)
  factor = maps.tile_factor(views)
  # Colours of depth go with a camera that goes back: they show the object, not the way.
  back = path.distance - model.config.render.radius
  limits = maps.depth_limits(model, views, back) if 'depth' in kinds else (0, 1)
  for i in range(len(path)):
    now, ends = views[:, i], tuple(limit + back[i] for limit in limits)
    yield maps.beside([maps.picture(model, now, k, ends) for k in kinds], _COLUMNS, factor)


def _main(args: argparse.Namespace) -> None:
  model = common.load(args)
  path = paths.make(model, args.frames, args.trajectory, args.yaw, args.pitch, args.dolly)
  write(
    model,
    args.out,
    args.seeds,
    psi=args.psi,
    fps=args.fps,
    resolution=args.resolution,
    trajectory=path,
    progress=True,
    show=common.kinds_of(args),
    w=common.styles(model, args)[0],
  )
  record = provenance.record('turntable', args, model, camera=path.record())
  provenance.save_beside(args.out, record)
  what = args.w or f'{len(args.seeds)} seeds'
  print(f'{args.out}: {what} of {model.name}, step {model.step:,}')


def add_path_flags(
  flags: argparse.ArgumentParser,
  frames: int | None = 60,
  fps: str = f'default: a loop of {_SECONDS:g} seconds',
) -> None:
  """Adds what says how the camera moves, see `paths.make`, and how fast.

  Args:
    flags: Of an app.
    frames: How many by default.
    fps: What is said about the default frame rate.
  """
  about = '' if frames is None else f'; default: {frames}'
  flags.add_argument(
    '--frames', type=common.parse_count, default=frames, help=f'how many in all{about}'
  )
  flags.add_argument('--fps', type=common.parse_rate, help=f'frames per second; {fps}')
  flags.add_argument(
    '--yaw',
    type=common.parse_degrees,
    help='azimuth in degrees, 0 in front: where from (40), or a range to swing through (-30,30)',
  )
  flags.add_argument(
    '--pitch',
    type=common.parse_degrees,
    help='degrees above the horizon: one (20), or a range to swing through (0,40)',
  )


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  endings = ('.mp4', '.gif', '.webp')
  flags = common.parser('turntable', __doc__, ', '.join(endings), seeds='0-3', show=True)
  add_path_flags(flags)
  flags.add_argument(
    '--trajectory',
    choices=TRAJECTORIES,
    help='default: orbit where the model was trained all round, else sweep',
  )
  flags.add_argument(
    '--dolly',
    type=common.parse_numbers,
    default=list(paths.DOLLY),
    help='nearest and farthest camera of the dolly zoom, in the distance of training',
  )
  common.add_w(flags)
  args = common.parse(flags, argv)
  if pathlib.Path(args.out).suffix.lower() not in endings:
    flags.error(f'--out={args.out} must end in one of {", ".join(endings)}')
  common.run(_main, args)


if __name__ == '__main__':
  main()
