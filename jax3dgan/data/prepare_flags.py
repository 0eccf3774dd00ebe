"""The command line of `data.prepare`, and what of it decides the content of the shards."""

import argparse
import dataclasses

from jax3dgan.data import images, records, unfinished
from jax3dgan.data.posed import flags as posed_flags
from jax3dgan.errors import UserError

# Resolutions of GANs; a mistyped one should not fill a disk.
_MAX_RESOLUTION = 4096
ICT = 'ict:'


@dataclasses.dataclass(frozen=True)
class Options:
  """What decides the content of the shards."""

  resolution: int
  crop: str = 'centre'
  mirror: bool = False
  shard_size: int = 1024
  use_labels: bool = True
  resize: str = images.RESIZES[0]
  enlarge: bool = False
  masks: bool = False


def parse(argv, description: str):
  """(flags, `Options`) of a command line; UserError says what is wrong with it."""
  parser = argparse.ArgumentParser(
    prog='python -m jax3dgan.data.prepare',
    description=description,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument(
    '--source', required=True, help="folder, zip, '*.tfrecord', tfds:NAME or ict:FOLDER"
  )
  parser.add_argument('--out', required=True, help='folder of the shards')
  parser.add_argument('--resolution', required=True, type=int, help='pixels')
  parser.add_argument('--crop', help='centre, celeba, a fraction, or LEFT,TOP,SIZE')
  parser.add_argument(
    '--resize', default=images.RESIZES[0], choices=images.RESIZES, help='how; nearest aliases'
  )
  parser.add_argument('--enlarge', action='store_true', help='take images that are too small')
  parser.add_argument(
    '--max-left-out',
    type=float,
    metavar='SHARE',
    help=f'of the images, that may be left out (0 to 1; {unfinished.MAX_SKIPPED:g} by default)',
  )
  parser.add_argument('--align', choices=['face', 'head'], help='cut out faces, with cameras')
  parser.add_argument('--mirror', action='store_true', help='add each image mirrored')
  parser.add_argument('--masks', action='store_true', help='keep transparency as masks')
  parser.add_argument('--labels', help="a dataset.json, or 'none' to drop the source's labels")
  parser.add_argument('--split', help='of a TFDS data set, of faces, or of a scene: train, ...')
  parser.add_argument('--num-images', type=int, help='of faces, how many')
  parser.add_argument('--shard-size', type=int, help='images a shard')
  parser.add_argument('--workers', type=int, help='processes; by default one for each core')
  posed_flags.add(parser)
  args = parser.parse_args(argv)
  if not 1 <= args.resolution <= _MAX_RESOLUTION:
    raise UserError(f'--resolution={args.resolution} is not between 1 and {_MAX_RESOLUTION}.')
  if any(number is not None and number < 1 for number in (args.shard_size, args.workers)):
    raise UserError('--shard-size and --workers are at least 1. Set them so, or leave them out.')
  faces = args.source.startswith(ICT)
  if faces:
    given = (args.crop, args.labels, args.shard_size, args.max_left_out)
    flags = args.mirror or args.enlarge or args.resize != images.RESIZES[0]
    if flags or any(value is not None for value in given):
      raise UserError(
        'Faces are rendered as they are wanted. Leave out --crop, --resize, --enlarge, --mirror, '
        '--labels, --max-left-out and --shard-size.'
      )
  if args.align:
    _check_align(args, faces)
  if args.num_images is not None and not faces:
    raise UserError(f'--num-images is of faces alone. Set --source={ICT}FOLDER, or leave it out.')
  crop = args.crop or ('centre' if args.align else images.default_crop(args.source))
  try:
    images.parse_crop(crop)
  except ValueError as error:
    raise UserError(f'--crop: {error}.') from error
  use_labels = args.labels != 'none'
  shard_size = args.shard_size or records.default_shard_size(args.resolution)
  if args.max_left_out is not None and not 0 <= args.max_left_out <= 1:
    raise UserError(f'--max-left-out={args.max_left_out:g} is no share. Give 0 to 1, as 0.2.')
  options = Options(
    args.resolution,
    crop,
    args.mirror,
    shard_size,
    use_labels,
    args.resize,
    args.enlarge,
    args.masks,
  )
  return args, options


def _check_align(args, faces):
  """UserError for flags that do not go with --align."""
  given = {
    '--crop': args.crop,
    '--labels': args.labels,
    '--masks': args.masks,
    f'--source={ICT}': faces,
  }
  if refused := [flag for flag, value in given.items() if value]:
    raise UserError(
      f'{refused[0]} does not go with --align, which cuts the photos and makes their labels. Leave '
      'out either.'
    )
  from jax3dgan.data.faces import weights

  weights.paths()  # UserError where the detector is not installed
