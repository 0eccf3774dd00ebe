"""Edits of styles along directions: a sheet that shows whether the pose stays, or a video.

python -m jax3dgan.apps.edit --pretrained=toys --out=edits.png --directions=pca --count=5
python -m jax3dgan.apps.edit --pretrained=toys --out=edits.png --labels=labels.csv --layers=1-3
python -m jax3dgan.apps.edit --pretrained=toys --out=red.mp4 --measure=red,size --names=red
python -m jax3dgan.apps.edit --pretrained=toys --out=mine.png --w=found.npz --directions=mine.npz
python -m jax3dgan.apps.edit --workdir=runs/scenes --out=x.png --objects="1:x=0.1; 2:away"

--objects edits the objects of a GIRAFFE one after another: NUMBER:EDITS, from 1, or
background:EDITS; of x=, y=, z= (world units), turn= (degrees), size= (factor), seed= (another
object in its place), away, there, alone. --directions=objects has a direction for each pose.
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

_SECONDS = 4.0  # of a video's loop
_STRENGTHS = '-3,-2,-1,0,1,2,3'
_OF_DIRECTIONS = ('directions', 'labels', 'measure', 'conditional', 'names', 'count', 'num', 'save')
_OF_DIRECTIONS += ('strengths', 'layers')


def find(model, args: argparse.Namespace):
  """Returns the directions that the flags ask for."""
  from jax3dgan import editing

  if args.labels or args.measure:
    if args.labels and args.measure:
      raise UserError('--labels and --measure both give the attributes. Leave out one of them.')
    if args.labels:
      seeds, labels = editing.read_labels(args.labels)
    else:
      seeds = range(args.num or 512)
      w = model.map(model.latents(seeds), psi=1)
      labels = editing.measure(model, w, args.measure.split(','), display.show_azimuth(model))
    found = editing.probe(model, seeds, labels, args.conditional)
  elif args.directions == 'objects':
    found = editing.objects.directions(model)
  elif args.directions == 'pca':
    found = editing.pca(model, args.num or editing.NUM_STYLES, count=args.count)
  elif args.directions == 'sefa':
    layers = _layers(args)
    found = editing.sefa(model, args.count, layers, args.num or editing.NUM_STYLES)
  else:
    found = editing.Directions.load(args.directions)
  return found.select(args.names.split(',')) if args.names else found


def _layers(args):
  from jax3dgan.editing import directions

  return directions.parse_layers(args.layers) if args.layers else None


def _main(args: argparse.Namespace) -> None:
  from jax3dgan import viz
  from jax3dgan.editing import sheets

  model = common.load(args)
  w, labels = common.styles(model, args)
  if args.objects is not None:
    _edit_objects(model, w, labels, args)
    return
  directions = find(model, args)
  if args.save:
    directions.save(args.save)
  layers, azimuth = _layers(args), None
  if args.azimuth is not None:
    display.check_camera(model, 'Leave out --azimuth.')
    azimuth = math.radians(args.azimuth)
  about = {'source': directions.source, 'report': directions.report}
  for name, figures in directions.report.items():
    if args.labels or args.measure:
      print(f'{name}: ' + ', '.join(f'{key} {value:.3f}' for key, value in figures.items()))
  if pathlib.Path(args.out).suffix.lower() == '.png':
    image, rows = sheets.sheet(
      model, w, directions, args.strengths, layers, azimuth, args.resolution, True, labels
    )
    means = sheets.summary(rows)
    for name, figures in means.items():
      print(f'{name}: mean ' + ', '.join(f'{key} {v:.2f}' for key, v in figures.items()))
    # JSON has no NaN.
    for row in rows:
      for key, value in row.items():
        if isinstance(value, np.ndarray):
          row[key] = [round(float(v), 4) if np.isfinite(v) else None for v in value]
    record = provenance.record('edit', args, model, directions=about, drift=rows, means=means)
    viz.save_png(args.out, image, provenance.texts(record))
  else:
    extent = max(map(abs, args.strengths))
    pictures = sheets.frames(
      model, w, directions, args.frames, extent, layers, azimuth, args.resolution
    )
    viz.write_video(args.out, _bar(pictures, args.frames), args.frames / _SECONDS)
    provenance.save_beside(args.out, provenance.record('edit', args, model, directions=about))
  print(f'{args.out}: {len(directions)} directions of {model.name}, {directions.source}')


def _edit_objects(model, w, labels, args: argparse.Namespace) -> None:
  """`--objects`: a sheet with a column for each edit, or a video from before to after and back."""
  from jax3dgan import viz
  from jax3dgan.editing import objects

  edits = objects.parse(args.objects)
  steps = [w]
  for edit in edits:
    steps.append(objects.apply(model, steps[-1], [edit], args.psi))
    if unseen := objects.without_effect(model, steps[-1], edit):
      scenes = ', '.join(labels[i] for i in unseen)
      of = edit.number or objects.BACKGROUND
      print(f'{edit.text!r} is not seen in {scenes}: it is away there. Add it by {of}:there.')
  azimuth = display.show_azimuth(model) if args.azimuth is None else math.radians(args.azimuth)
  camera = model.orbit(azimuth)
  factor = display.enlargement(args.resolution or model.resolution)

  def picture(images, columns=None):
    return viz.grid(viz.enlarge(viz.to_uint8(images), factor), columns)

  record = provenance.record('edit', args, model)
  if pathlib.Path(args.out).suffix.lower() == '.png':
    images = [model.render(step, camera, args.resolution).image for step in steps]
    caption = ' | '.join(['before', *(edit.text for edit in edits)])
    rows = [
      (f'{labels[i]}: {caption}', picture(np.stack([x[i] for x in images]), len(images)))
      for i in range(len(w))
    ]
    viz.save_png(args.out, viz.sheet(rows), provenance.texts(record))
  else:
    shares = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(args.frames) / args.frames)
    pictures = (
      picture(model.render((1 - t) * w + t * steps[-1], camera, args.resolution).image)
      for t in shares.astype(np.float32)
    )
    viz.write_video(args.out, _bar(pictures, args.frames), args.frames / _SECONDS)
    provenance.save_beside(args.out, record)
  print(f'{args.out}: {len(edits)} edits of objects of {model.name}')


def _bar(pictures, total: int):
  import tqdm

  return tqdm.tqdm(pictures, desc='edit', total=total, unit='frame')


def _strengths(text: str) -> list[float]:
  try:
    values = [float(part) for part in text.split(',')]
  except ValueError:
    values = []
  if not values or not np.isfinite(values).all():
    raise argparse.ArgumentTypeError(f'{text!r} is not a list of strengths such as -3,0,3')
  return values


def _refuse_unused(flags, args) -> None:
  """Flags of one way to find directions beside another one."""
  if args.labels or args.measure:
    fits = ('directions', 'count', *(('num',) if args.labels else ()))
    common.refuse(flags, args, fits, 'with --labels or --measure, which fit directions')
    return
  common.refuse(flags, args, ('conditional',), 'without --labels or --measure')
  if args.directions not in ('pca', 'sefa'):
    common.refuse(flags, args, ('count', 'num'), f'with --directions={args.directions}')


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  endings = ('.png', '.mp4', '.gif', '.webp')
  flags = common.parser('edit', __doc__, ', '.join(endings), seeds='0', depth=False)
  flags.add_argument(
    '--directions', default='pca', metavar='pca|sefa|objects|FILE', help='which; default: pca'
  )
  flags.add_argument('--objects', metavar='EDITS', help='of the objects of a scene, see below')
  flags.add_argument('--labels', metavar='FILE', help='CSV of seed,attribute,...: fits a direction')
  flags.add_argument('--measure', metavar='NAMES', help='fits directions to measures, as red,size')
  flags.add_argument('--conditional', action='store_true', help='each orthogonal to the others')
  flags.add_argument('--names', help='only these directions, as pca0,pca3')
  flags.add_argument('--count', type=int, default=5, help='of pca or sefa; default: 5')
  flags.add_argument(
    '--num', type=int, help='number of latents to find them with; default: 2048, 512 for measures'
  )
  flags.add_argument('--save', metavar='FILE', help='keep the directions in this npz file')
  flags.add_argument(
    '--strengths',
    type=_strengths,
    default=_strengths(_STRENGTHS),
    help='standard deviations, as -3,0,3',
  )
  flags.add_argument('--layers', help='change these alone, as 0-3')
  common.add_w(flags)
  flags.add_argument(
    '--azimuth', type=common.parse_number, help='of the camera, degrees; 0 is the front'
  )
  flags.add_argument('--frames', type=int, default=48, help='of a video; default: 48')
  args = common.parse(flags, argv)
  if args.objects is not None:
    common.refuse(flags, args, _OF_DIRECTIONS, 'with --objects, which edits by numbers')
    common.refuse_beside_w(flags, args, ('seeds',))  # psi is of the objects of `seed=`
  else:
    common.refuse_beside_w(flags, args)
    _refuse_unused(flags, args)
  if pathlib.Path(args.out).suffix.lower() == '.png':
    common.refuse(flags, args, ('frames',), 'on a PNG: it is of a video')
  if pathlib.Path(args.out).suffix.lower() not in endings:
    flags.error(f'--out={args.out} must end in one of {", ".join(endings)}')
  if args.frames < 1:
    flags.error('--frames must be at least 1')
  common.run(_main, args)


if __name__ == '__main__':
  main()
