"""People with expressions that they are told: a sheet, or a video, of a model with a face model.

python -m jax3dgan.apps.express --workdir=runs/faces --out=sheet.png --expressions=smile,jawOpen:0.7
python -m jax3dgan.apps.express --workdir=runs/faces --out=x.mp4 --seeds=0-3 --expressions=grin,sad
python -m jax3dgan.apps.express --workdir=runs/faces --out=x.mp4 --curve=talk.json --yaws=-20,20
python -m jax3dgan.apps.express --workdir=runs/faces --out=x.png --like=photo.png --seeds=0-3
python -m jax3dgan.apps.express --workdir=runs/faces --out=x.png --person=photo.png
python -m jax3dgan.apps.express --workdir=runs/faces --out=x.png --w=me.npz --expressions=laugh

Rows are people, each from several yaws; columns are expressions. WORD is a preset (smile, grin,
open, laugh, surprise, frown, sad, pucker, puff, stretch, sneer, neutral) or a weight of the face
model; WORD:0.7 is weaker, WORD+WORD both together. A curve is a JSON file of words over seconds,
{"seconds": 3, "jawOpen": [[0, 0], [1.5, 0.8], [3, 0]]}. --like gives everybody the expression of a
photo, which a network reads that is trained at first use, or that of styles, NAME.npz.
"""

import argparse
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from jax3dgan.apps import common
from jax3dgan.errors import UserError
from jax3dgan.pictures import display
from jax3dgan.runs import provenance

_FRAMES, _FPS = 48, 24.0
_STEPS = 200
_EXPRESSIONS = 'neutral,smile,open,surprise,frown'
_VIDEOS = ('.mp4', '.gif', '.webp')


def _people(model, faces, args):
  """(people, their names)."""
  if args.person:
    photo = _photo(args.person, model.resolution, '--person')
    read = _reader(model, faces, args)(photo)
    print(f'{args.person}: its codes are read, its style is searched, {args.steps} steps ...')
    from jax3dgan.inversion import coded
    from jax3dgan.inversion.descent import SearchOptions

    codes = read.identity[0], np.clip(read.expression[0], 0, 1)
    found = coded.find(faces, photo, *codes, options=SearchOptions(num_steps=args.steps))
    return faces.of_styles(found.w), [pathlib.Path(args.person).stem]
  if args.w:
    w, names = common.styles(model, args)
    return faces.of_styles(w), names
  return faces.of_seeds(args.seeds), [f'seed {seed}' for seed in args.seeds]


def _first_words(names, jaw) -> str:
  """Expressions of a face model without presets: its first weights, and its jaw open."""
  words = [f'{name}:2' for name in names if name not in jaw][:4]
  return ','.join(['neutral', *words, *(f'{name}:0.3' for name in names if name == jaw[0])])


def _is_styles(path: str) -> bool:
  return pathlib.Path(path).suffix.lower() in ('.npz', '.npy')


def _like(model, faces, args) -> dict[str, np.ndarray]:
  """{name: weights [e]} of the photo or the styles that --like names."""
  path = pathlib.Path(args.like)
  if _is_styles(args.like):
    w, _ = common.styles(model, argparse.Namespace(w=args.like), '--like')
    if len(w) != 1:
      raise UserError(
        f'--like={args.like} holds {len(w)} styles, and an expression is that of one. Save one of '
        'them in a file of its own.'
      )
    return {path.stem: np.asarray(faces.of_styles(w).expression[0])}
  from jax3dgan.evaluation import expression_reader

  photo = _photo(args.like, expression_reader.size_of(model.resolution), '--like')
  read = _reader(model, faces, args)(photo)
  return {path.stem: np.clip(read.expression[0], 0, 1).astype(np.float32)}


def _reader(model, faces, args):
  """The network that reads expressions, trained unless it is in the cache."""
  from jax3dgan.data import face_models, rendered_faces
  from jax3dgan.data.builders.ict_faces import generate
  from jax3dgan.evaluation import expression_reader

  config, flag = model.config, '--source=ict:FOLDER'
  if args.source:
    source = rendered_faces.with_model(args.source, '', flag)
  else:
    source = rendered_faces.of_config(config, flag)
  names = face_models.load(generate.parse(source).folder).expression_names
  if len(names) != len(faces.names):  # before the reader is trained
    raise UserError(f'{model.name} has another face model than {source}. Set --source to its.')
  steps, cache_dir = config.eval.probe_steps, config.data.cache_dir or None
  return expression_reader.train(source, model.resolution, steps, cache_dir=cache_dir, say=print)


def _photo(path: str, resolution: int, flag: str) -> np.ndarray:
  """A photo, float32 [1, resolution, resolution, 3] in [−1, 1]."""
  from jax3dgan.viewer import uploads

  try:
    content = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise UserError(f'{flag}={path} cannot be read: {error.strerror or error}.') from None
  return uploads.read_photo(pathlib.Path(path).name, content, resolution)


def _views(model, args) -> np.ndarray:
  """Azimuths, radians."""
  if args.yaws is not None:
    return np.radians(args.yaws)
  return np.linspace(-0.7, 0.7, 3) * min(model.yaw_half_range, math.pi / 2)


def _main(args: argparse.Namespace) -> None:
  from jax3dgan import viz
  from jax3dgan.trained import expressions

  model = common.load(args)
  faces = expressions.Faces(model)
  # All files first: a reader is trained for minutes, and a person's style is searched.
  if args.person:
    _photo(args.person, model.resolution, '--person')
  elif args.w:
    common.styles(model, args)
  if args.curve:
    weights = expressions.curve(args.curve, faces.names, args.fps)
  else:
    words = args.expressions
    if words == _EXPRESSIONS and not expressions.presets(faces.names):
      words = _first_words(faces.names, expressions.JAW)
    told = expressions.parse(words, faces.names)
    if args.like:
      for name, weights in _like(model, faces, args).items():
        told[f'like {name}' if name in told else name] = weights
  people, names = _people(model, faces, args)
  resolution = args.resolution or model.resolution
  factor, azimuths = display.enlargement(resolution), _views(model, args)
  record = provenance.record('express', args, model)

  def picture(styles, azimuth):
    """uint8 [n, h, w, 3] of styles [n, ...]."""
    images = model.render(styles, model.orbit(azimuth), args.resolution).image
    return viz.enlarge(viz.to_uint8(images), factor)

  if args.curve:
    frames = _curve(faces, people, weights, azimuths, args.psi, picture)
    _write_video(args, frames, len(weights), record)
    print(f'{args.out}: {len(names)} people of {model.name}, {len(weights)} frames')
    return
  if pathlib.Path(args.out).suffix.lower() == '.png':
    rows = [(' | '.join(told), np.full((1, 1, 3), 255, np.uint8))]
    for i, name in enumerate(names):
      one = people.rows([i] * len(told))
      styles = faces.styles(one, np.stack([*told.values()]), args.psi)
      tiles = np.concatenate([picture(styles, azimuth) for azimuth in azimuths])
      rows.append((name, viz.grid(tiles, columns=len(told))))
    viz.save_png(args.out, viz.sheet(rows), provenance.texts(record))
  else:
    frames = _there_and_back(faces, people, told, azimuths, args, picture)
    _write_video(args, frames, args.frames, record)
  who = '1 person' if len(names) == 1 else f'{len(names)} people'
  print(f'{args.out}: {who} of {model.name} with {len(told)} expressions')


def _curve(faces, people, weights, azimuths, psi, picture):
  """Frames of people side by side who follow a curve, a row for each yaw."""
  from jax3dgan import viz

  for row in weights:
    styles = faces.styles(people, row, psi)
    tiles = np.concatenate([picture(styles, azimuth) for azimuth in azimuths])
    yield viz.grid(tiles, columns=len(people.identity))


def _there_and_back(faces, people, told, azimuths, args, picture):
  """Frames of rows of people and columns of expressions, from neutral and back, while the camera
  swings between the yaws."""
  from jax3dgan import viz

  n, full = len(people.identity), np.stack([*told.values()])
  everybody = people.rows(np.repeat(np.arange(n), len(full)))
  for i in range(args.frames):
    turn = 2 * math.pi * i / args.frames
    share = np.float32(0.5 - 0.5 * math.cos(turn))
    low, high = float(min(azimuths)), float(max(azimuths))
    azimuth = (low + high) / 2 + (high - low) / 2 * math.sin(turn)
    styles = faces.styles(everybody, np.tile(share * full, (n, 1)), args.psi)
    yield viz.grid(picture(styles, azimuth), columns=len(full))


def _write_video(args, frames, total: int, record) -> None:
  import tqdm

  from jax3dgan import viz

  bar = tqdm.tqdm(frames, desc='express', total=total, unit='frame')
  viz.write_video(args.out, bar, args.fps)
  provenance.save_beside(args.out, record)


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  endings = ('.png', *_VIDEOS)
  flags = common.parser('express', __doc__, ', '.join(endings), seeds='0-3', depth=False)
  flags.add_argument(
    '--expressions',
    default=_EXPRESSIONS,
    metavar='WORDS',
    help=f'of the columns, as smile,jawOpen:0.7; default: {_EXPRESSIONS}, or the first weights of '
    'a face model without presets',
  )
  flags.add_argument('--curve', metavar='JSON', help='a video of weights over time, see below')
  flags.add_argument('--person', metavar='PHOTO', help='the person of a photo in place of seeds')
  flags.add_argument(
    '--steps', type=common.parse_count, default=_STEPS, help=f'of --person; default: {_STEPS}'
  )
  flags.add_argument('--like', metavar='FILE', help='one column more: the expression of a photo')
  flags.add_argument(
    '--source',
    metavar='ict:FOLDER',
    help='of the network that reads photos; default: that of the data it was trained with',
  )
  flags.add_argument(
    '--yaws', type=common.parse_degrees, help='azimuths in degrees, as -20,0,20; 0 is the front'
  )
  flags.add_argument(
    '--frames', type=common.parse_count, default=_FRAMES, help=f'of a video; default: {_FRAMES}'
  )
  flags.add_argument(
    '--fps', type=common.parse_rate, default=_FPS, help=f'of a video; default: {_FPS:g}'
  )
  common.add_w(flags)
  args = common.parse(flags, argv)
  common.refuse_beside_w(flags, args)
  ending = pathlib.Path(args.out).suffix.lower()
  if ending not in endings:
    flags.error(f'--out={args.out} must end in one of {", ".join(endings)}')
  if args.curve:
    if ending == '.png':
      flags.error(f'--curve is of a video: --out={args.out} must end in {", ".join(_VIDEOS)}')
    common.refuse(flags, args, ('expressions', 'like', 'frames'), 'with --curve, which says all')
  if args.person:
    common.refuse(flags, args, ('seeds', 'psi', 'w'), 'with --person, whose styles are shown')
  else:
    common.refuse(flags, args, ('steps',), 'without --person')
  if not (args.person or (args.like and not _is_styles(args.like))):
    common.refuse(flags, args, ('source',), 'without a photo of --like or --person')
  if ending == '.png':
    common.refuse(flags, args, ('frames', 'fps'), 'on a PNG: it is of a video')
  common.run(_main, args)


if __name__ == '__main__':
  main()
