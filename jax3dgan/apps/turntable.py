"""A video of objects that turn, as mp4, gif or webp by the file's ending.

python -m jax3dgan.apps.turntable --workdir=runs/toys --out=turntable.mp4 --seeds=0-3
python -m jax3dgan.apps.turntable --pretrained=toys --out=turntable.gif --frames=40 --depth
python -m jax3dgan.apps.turntable --pretrained=toys --out=x.webp --trajectory=figure-eight
python -m jax3dgan.apps.turntable --pretrained=toys --out=x.mp4 --trajectory=dolly --yaw=40
python -m jax3dgan.apps.turntable --workdir=runs/scenes --out=x.mp4 --object=1
"""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np

from jax3dgan.apps import common
from jax3dgan.pictures import display, paths, turntables
from jax3dgan.pictures.paths import TRAJECTORIES
from jax3dgan.runs import provenance


def _main(args: argparse.Namespace) -> None:
  model = common.load(args)
  if args.object is not None:
    _turn_object(model, args)
    return
  path = paths.make(model, args.frames, args.trajectory, args.yaw, args.pitch, args.dolly)
  turntables.write(
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
  what = args.w or common.num_seeds(args.seeds)
  print(f'{args.out}: {what} of {model.name}, step {model.step:,}')


def _turn_object(model, args: argparse.Namespace) -> None:
  """`--object`: it turns about itself, without the other objects, before a camera that stands
  still."""
  from jax3dgan import viz
  from jax3dgan.editing import objects

  objects.check(model)
  w, _ = common.styles(model, args)
  scenes = [objects.turning(model, each[None], args.object, args.frames) for each in w]
  camera = model.orbit(0.0)
  images = [model.render(of, camera, args.resolution).image for of in scenes]
  factor = display.enlargement(args.resolution or model.resolution)
  pictures = (
    viz.grid(viz.enlarge(viz.to_uint8(np.stack(now)), factor)) for now in zip(*images, strict=True)
  )
  viz.write_video(args.out, pictures, args.fps or args.frames / turntables.SECONDS)
  provenance.save_beside(args.out, provenance.record('turntable', args, model))
  print(f'{args.out}: object {args.object} of {len(w)} scenes of {model.name}')


def add_path_flags(
  flags: argparse.ArgumentParser,
  frames: int | None = 60,
  fps: str = f'default: a loop of {turntables.SECONDS:g} seconds',
) -> None:
  """Adds the flags of the camera path, see `paths.make`, and of its speed.

  Args:
    flags: Of an app.
    frames: The default number.
    fps: The help text about the default frame rate.
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
  flags.add_argument(
    '--object',
    type=common.parse_count,
    metavar='NUMBER',
    help='turn this object of a scene alone, from 1, instead of moving the camera',
  )
  common.add_w(flags)
  common.add_expression(flags)
  args = common.parse(flags, argv)
  if args.object is not None:
    still = ('trajectory', 'yaw', 'pitch', 'dolly', 'show', 'depth')
    because = 'with --object: the camera stands still, and colours are shown'
    common.refuse(flags, args, still, because)
  if args.trajectory != 'dolly':
    common.refuse(flags, args, ('dolly',), 'without --trajectory=dolly')
  common.refuse_beside_w(flags, args)
  if pathlib.Path(args.out).suffix.lower() not in endings:
    flags.error(f'--out={args.out} must end in one of {", ".join(endings)}')
  common.run(_main, args)


if __name__ == '__main__':
  main()
