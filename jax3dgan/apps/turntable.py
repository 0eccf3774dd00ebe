"""A video of objects that turn, as mp4, gif or webp by the file's ending.

python -m jax3dgan.apps.turntable --workdir=runs/toys --out=turntable.mp4 --seeds=0-3
python -m jax3dgan.apps.turntable --pretrained=toys --out=turntable.gif --frames=40 --depth
"""

import argparse
import math
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from jax3dgan.apps import common, provenance

TRAJECTORIES = ('orbit', 'sweep')
_COLUMNS = 4
_SECONDS = 3.0  # of a turn, where no frame rate is given


def azimuths(trajectory: str, num: int, half_range: float) -> np.ndarray:
  """Returns azimuths [num] in radians of a loop without a seam.

  Args:
    trajectory: 'orbit', the full circle, or 'sweep', to one side, to the other and back.
    num: Frames.
    half_range: How far a sweep goes to each side.
  """
  turn = np.arange(num) / num
  if trajectory == 'orbit':
    return 2 * math.pi * turn
  return half_range * np.sin(2 * math.pi * turn)


def write(
  model,
  path,
  seeds: Sequence[int] = (0, 1, 2, 3),
  psi: float | None = None,
  frames: int = 60,
  fps: float | None = None,
  resolution: int | None = None,
  depth: bool = False,
  trajectory: str | None = None,
  progress: bool = False,
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
    trajectory: 'orbit' or 'sweep'; None for the full circle where the pose prior covers it.
    progress: Whether to show a bar.

  Raises:
    UserError: The generator has no camera.
  """
  from jax3dgan import viz

  common.check_camera(model, 'Use jax3dgan.apps.samples.')
  trajectory = trajectory or ('orbit' if common.goes_round(model) else 'sweep')
  angles = azimuths(trajectory, frames, model.yaw_half_range)
  # A sweep passes each angle twice: render it once.
  unique, index = np.unique(np.round(angles, 9), return_inverse=True)
  pictures = list(_pictures(model, seeds, psi, unique, resolution, depth, progress))
  viz.write_video(path, (pictures[i] for i in index), fps or frames / _SECONDS)


def _pictures(model, seeds, psi, angles, resolution, depth, progress) -> Iterator[np.ndarray]:
  """Yields one picture per angle, uint8 [h, w, 3], all seeds in it."""
  from jax3dgan import viz

  resolution = resolution or model.resolution
  factor = common.enlargement(resolution)
  num = len(seeds)
  w = np.asarray(model.map(model.latents(seeds), psi))
  every_w = np.tile(w, (len(angles), *[1] * (w.ndim - 1)))  # [angles · seeds, ...]
  camera = model.orbit(np.repeat(angles, num))
  out = _gather(model.render_batches(every_w, camera, resolution), len(every_w), progress)
  views = viz.to_uint8(out.image).reshape(len(angles), num, resolution, resolution, 3)
  maps = common.depth_picture(model, out).reshape(views.shape) if depth else None
  columns = min(num, _COLUMNS)
  for i, tiles in enumerate(views):
    picture = viz.grid(viz.enlarge(tiles, factor), columns)
    if depth:
      right = viz.grid(viz.enlarge(maps[i], factor), columns)
      picture = viz.grid(np.stack([picture, right]), 1 if num <= columns else 2)
    yield picture


def _gather(batches, total: int, progress: bool):
  import jax
  import tqdm

  parts = []
  with tqdm.tqdm(desc='turntable', total=total, unit='image', disable=not progress) as bar:
    for part in batches:
      parts.append(part)
      bar.update(len(part.image))
  return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _main(args: argparse.Namespace) -> None:
  model = common.load(args)
  write(
    model,
    args.out,
    args.seeds,
    psi=args.psi,
    frames=args.frames,
    fps=args.fps,
    resolution=args.resolution,
    depth=args.depth,
    trajectory=args.trajectory,
    progress=True,
  )
  provenance.save_beside(args.out, provenance.record('turntable', args, model))
  print(f'{args.out}: {len(args.seeds)} seeds of {model.name}, step {model.step:,}')


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  endings = ('.mp4', '.gif', '.webp')
  flags = common.parser('turntable', __doc__, ', '.join(endings), seeds='0-3')
  flags.add_argument('--frames', type=int, default=60, help='of the loop; default: 60')
  flags.add_argument('--fps', type=float, help='frames per second; default: a loop of 3 seconds')
  flags.add_argument(
    '--trajectory',
    choices=TRAJECTORIES,
    help='default: orbit where the model was trained all round',
  )
  args = common.parse(flags, argv)
  if pathlib.Path(args.out).suffix.lower() not in endings:
    flags.error(f'--out={args.out} must end in one of {", ".join(endings)}')
  if args.frames < 1:
    flags.error('--frames must be at least 1')
  common.run(_main, args)


if __name__ == '__main__':
  main()
