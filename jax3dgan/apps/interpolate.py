"""Interpolation between objects, as a video or a strip, and style mixing as a table.

python -m jax3dgan.apps.interpolate --pretrained=toys --out=x.mp4 --seeds=0,5,9
python -m jax3dgan.apps.interpolate --pretrained=toys --out=x.webp --seeds=0,5 --trajectory=orbit
python -m jax3dgan.apps.interpolate --pretrained=toys --out=x.png --seeds=0,5,9 --space=z
python -m jax3dgan.apps.interpolate --pretrained=toys --out=x.png --mix=fine --rows=0-2
"""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np
import tqdm

from jax3dgan import viz
from jax3dgan.apps import common, latents, turntable
from jax3dgan.errors import UserError
from jax3dgan.pictures import display, maps, paths
from jax3dgan.runs import provenance

SPACES = ('w', 'z')
_PER_KEY = {'.png': 4}  # frames from one seed to the next: a strip is read, a video is watched
_SECONDS_PER_KEY = 1.5
_FPS = 20
_STRIP_COLUMNS = 12


def styles(model, seeds: Sequence[int], num: int, space='w', psi=None, closed=True) -> np.ndarray:
  """Returns the styles [num, ...] of the frames of a path through seeds.

  Args:
    model: A `trained.Trained`.
    seeds: The path reaches them in this order, each exactly.
    num: Frames.
    space: 'w': straight lines between styles; 'z': arcs between latents.
    psi: Truncation; None takes the config's.
    closed: Whether the path returns to the first seed.
  """
  if space not in SPACES:
    raise UserError(f'There is no space {space!r}. Interpolate in one of {", ".join(SPACES)}.')
  if len(seeds) < 2:
    raise UserError('A path needs two seeds. Give two, as --seeds=0,5.')
  display.check_numbers(psi)
  z = model.latents(seeds)
  if space == 'z':
    return np.asarray(model.map(latents.along(z, num, closed, arc=True), psi))
  return latents.along(np.asarray(model.map(z, psi)), num, closed)


def render(
  model, w, path: paths.Path | None = None, resolution=None, kinds=('colour',), progress=False
) -> maps.Views:
  """Renders styles w [n, ...], each from its camera of the path: `maps.Views` [n].

  Args:
    model: A `trained.Trained`.
    w: [n, ...].
    path: n cameras, or one for all; None for the one that shows an object well.
    resolution, kinds: See `maps.render`.
    progress: Whether to show a bar.
  """
  display.check_kinds(model, kinds)
  display.check_numbers(resolution=resolution)
  path = path or paths.fixed(model, display.show_azimuth(model))
  with tqdm.tqdm(desc='interpolate', total=len(w), unit='view', disable=not progress) as bar:
    return maps.render_pairs(model, w, path.camera(model), resolution, kinds, bar)


def pictures(model, views: maps.Views, kinds) -> list[np.ndarray]:
  """Returns a picture of each of the views [n], the kinds beside each other."""
  limits = maps.depth_limits(model, views) if 'depth' in kinds else None
  factor = maps.enlargement(views)
  every = [maps.picture(model, views, kind, limits) for kind in kinds]
  return [maps.beside([x[i : i + 1] for x in every], 1, factor) for i in range(len(every[0]))]


def mixing_table(
  model, rows: Sequence[int], columns: Sequence[int], layers, psi=None, resolution=None,
  path: paths.Path | None = None, kinds=('colour',), progress: bool = False,
) -> np.ndarray:  # fmt: skip
  """Returns the table of style mixing (StyleGAN, Fig. 3) as a picture, uint8 [h, w, 3].

  On the left the rows' seeds, on top the columns'; in the table the row's styles, with those of
  `layers` from the column.

  Args:
    model: A `trained.Trained`.
    rows, columns: Seeds.
    layers: See `latents.layers_of`; they are counted along axis 1 of w.
    psi: Truncation; None takes the config's.
    resolution, kinds, progress: See `render`.
    path: One camera.
  """
  display.check_numbers(psi)
  w = np.asarray(model.map(model.latents([*rows, *columns]), psi))
  if w.ndim < 3:
    raise UserError(f'{model.name} has one style for all layers: there is nothing to mix.')
  layers = latents.layers_of(layers, w.shape[1])
  w_rows, w_columns = w[: len(rows)], w[len(rows) :]
  mixed = [latents.mix(w_rows[i : i + 1], w_columns, layers) for i in range(len(rows))]
  views = render(model, np.concatenate([w, *mixed]), path, resolution, kinds, progress)
  tiles = pictures(model, views, kinds)
  head = len(rows) + len(columns)
  blank = np.full_like(tiles[0], 255)
  table = [blank, *tiles[len(rows) : head]]
  for i in range(len(rows)):
    table += [tiles[i], *tiles[head + i * len(columns) :][: len(columns)]]
  names = ', '.join(map(str, layers))
  title = f'{model.name}: rows, with the styles of layers {names} of {w.shape[1]} from the columns'
  return viz.sheet([(title, viz.grid(np.stack(table), len(columns) + 1, pad=4))])


def _path(model, args, num) -> paths.Path | None:
  """The cameras of num frames; None where the model has none."""
  if args.trajectory != 'fixed':
    return paths.make(model, num, args.trajectory, args.yaw, args.pitch)
  if args.yaw or args.pitch:
    display.check_camera(model, 'Leave out --yaw and --pitch.')
    display.check_pitch(args.pitch)
    if len(args.yaw or [0]) > 1 or len(args.pitch or [0]) > 1:
      raise UserError('A fixed camera has one yaw and one pitch. Or set --trajectory=sweep.')
  azimuth = np.radians(args.yaw[0]) if args.yaw else display.show_azimuth(model)
  return paths.fixed(model, azimuth, np.radians(args.pitch[0]) if args.pitch else None)


def _main(args: argparse.Namespace) -> None:
  model = common.load(args)
  model.check_latents()
  kinds = common.kinds_of(args)
  display.check_kinds(model, kinds)
  if args.mix is not None:
    path = _path(model, args, 1)
    image = mixing_table(
      model, args.rows, args.columns, args.mix, args.psi, args.resolution, path, kinds, True
    )
    _save_png(args, model, path, image)
    print(f'{args.out}: {len(args.rows)} × {len(args.columns)} mixed, of {model.name}')
    return
  ending = pathlib.Path(args.out).suffix.lower()
  ways = len(args.seeds) - (not args.loop)
  num = args.frames or ways * _PER_KEY.get(ending, round(_SECONDS_PER_KEY * _FPS)) + (not args.loop)
  path = _path(model, args, num)
  w = styles(model, args.seeds, num, args.space, args.psi, args.loop)
  frames = pictures(model, render(model, w, path, args.resolution, kinds, True), kinds)
  if ending == '.png':
    columns = num if num <= _STRIP_COLUMNS else num // ways if ways else num
    _save_png(args, model, path, viz.grid(np.stack(frames), min(columns, _STRIP_COLUMNS)))
  else:
    viz.write_video(args.out, frames, args.fps or _FPS)
    provenance.save_beside(args.out, _record(args, model, path))
  print(f'{args.out}: {num} frames through {common.num_seeds(args.seeds)} of {model.name}')


def _record(args, model, path) -> dict:
  camera = {'camera': path.record()} if model.has_camera else {}
  return provenance.record('interpolate', args, model, **camera)


def _save_png(args, model, path, image) -> None:
  viz.save_png(args.out, image, provenance.texts(_record(args, model, path)))


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  endings = (*viz.ANIMATED, '.png')
  flags = common.parser('interpolate', __doc__, ', '.join(endings), seeds='0-3', show=True)
  flags.add_argument(
    '--space', choices=SPACES, default='w', help='lines between styles (w), or arcs in z'
  )
  flags.add_argument(
    '--loop', action=argparse.BooleanOptionalAction, default=True, help='back to the first seed'
  )
  turntable.add_path_flags(flags, frames=None, fps=f'default: {_FPS}')
  flags.add_argument(
    '--trajectory', choices=('fixed', *paths.MOVING), default='fixed', help='of the camera'
  )
  flags.add_argument(
    '--mix',
    metavar='LAYERS',
    help='style mixing: layers that come from the columns: coarse, middle, fine, or as 0-2,5',
  )
  flags.add_argument(
    '--rows', type=common.parse_seeds, default='0-3', help='seeds of --mix; default: 0-3'
  )
  flags.add_argument(
    '--columns', type=common.parse_seeds, default='4-8', help='seeds of --mix; default: 4-8'
  )
  args = common.parse(flags, argv)
  ending = pathlib.Path(args.out).suffix.lower()
  if ending not in endings:
    flags.error(f'--out={args.out} must end in one of {", ".join(endings)}')
  if args.mix is None:
    common.refuse(flags, args, ('rows', 'columns'), 'without --mix')
  else:
    path = ('seeds', 'space', 'loop', 'frames')
    common.refuse(flags, args, path, 'with --mix, a table of --rows and --columns')
  if ending == '.png':
    common.refuse(flags, args, ('fps',), 'on a PNG: it is of a video')
  if args.mix is not None and ending != '.png':
    flags.error(f'--out={args.out} must end in .png: with --mix it is a table')
  common.run(_main, args)


if __name__ == '__main__':
  main()
