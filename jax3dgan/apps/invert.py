"""Finds the latents and cameras of photos, and shows the objects from other sides.

python -m jax3dgan.apps.invert --pretrained=toys --input=car.png --out=inverted
python -m jax3dgan.apps.invert --workdir=runs/cats --input=photos/ --out=inverted --batch=8
python -m jax3dgan.apps.invert --pretrained=toys --input=car.png --out=inverted --yaw=30 --pitch=20
python -m jax3dgan.apps.invert --pretrained=toys --input=one_car/ --out=inverted --one-identity

Of each photo: NAME.npz (style and camera, see jax3dgan.inversion.load), NAME.png (photo,
reconstruction, error, depth, other sides), NAME.npz.json (how it was made); of all: summary.csv and
summary.json. Finished photos are not repeated: the same command continues a killed run.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from jax3dgan.apps import common
from jax3dgan.errors import UserError


def _add_flags(flags: argparse.ArgumentParser) -> None:
  add = flags.add_argument
  add('--input', metavar='PHOTO', help='a photo, or a folder of photos at any depth')
  add('--one-identity', action='store_true', help='all photos show one object: one style for them')
  add('--space', default='w+', help='z, w (one style for all layers) or w+; default: w+')
  add('--yaw', type=common.parse_degrees, help='azimuth of the camera in degrees, 0 in front')
  add('--pitch', type=common.parse_degrees, help='its elevation in degrees; default: the middle')
  add('--labels', metavar='FILE', help="dataset.json (default: the folder's), 25 numbers, none")
  add('--no-labels', action='store_true', help="ignore the folder's own dataset.json")
  add('--fit-frame', action='store_true', help="fit the labels' world to the generator's first")
  add('--find', metavar='LIST', help='what of the cameras to search: yaw,pitch,roll,distance, none')
  add('--perceptual', default='auto', help='auto, lpips, inception, pyramid or none')
  add('--lpips', default='', metavar='FILE', help='weights of LPIPS: VGG16.pth,HEADS.pth or one')
  add('--inception', default='', metavar='FILE', help='weights of the Inception network')
  add('--steps', type=int, default=200, help='of the search; default: 200')
  add('--learning-rate', type=float, help='in standard deviations of the styles')
  add('--samples', type=int, help='per ray while searching; default: 12')
  add('--starts', type=int, default=8, help='sides to start from for a camera; default: 8')
  add('--tune', type=int, default=0, metavar='STEPS', help='pivotal tuning of the weights, too')
  add('--batch', type=int, default=4, help='photos at a time; default: 4')
  add('--crop', default='centre', help='centre, celeba, a fraction, or LEFT,TOP,SIZE in pixels')
  add('--seed', type=int, default=0, help='of the noise of the search; default: 0')
  add('--overwrite', action='store_true', help='repeat what was made with other settings')


def _check(flags: argparse.ArgumentParser, args: argparse.Namespace) -> None:
  from jax3dgan.data import images

  if not args.input:
    flags.error('the argument --input is required')
  if args.psi is not None:
    flags.error('--psi: inversion searches all styles, without truncation')
  for name in ('steps', 'samples', 'starts', 'batch'):
    if (value := getattr(args, name)) is not None and value < 1:
      flags.error(f'--{name} must be at least 1')
  if args.tune < 0:
    flags.error('--tune must be at least 0')
  if args.pitch is not None and args.yaw is None:
    flags.error('--pitch needs --yaw')
  if not args.one_identity and any(len(x or ()) > 1 for x in (args.yaw, args.pitch)):
    flags.error('several angles need --one-identity; cameras of a folder come from --labels')
  if args.labels == 'none':  # as of `prepare`
    args.labels, args.no_labels = None, True
  if args.yaw is not None and args.labels:
    flags.error('--yaw and --labels both give the cameras: leave out one')
  if args.learning_rate is not None and not args.learning_rate > 0:
    flags.error('--learning-rate must be positive')
  if pathlib.Path(args.out).suffix.lower() in ('.png', '.npz', '.json', '.jpg'):
    flags.error(f'--out={args.out} must be a folder')
  try:
    images.parse_crop(args.crop)
  except ValueError as error:
    flags.error(f'--crop: {error}')


def _main(args: argparse.Namespace) -> None:
  from jax3dgan.inversion import folder

  model = common.load(args)
  say = lambda line: print(line, file=sys.stderr)  # noqa: E731  two words for one thing
  summary = folder.run(model, args, say)
  done, failed, without = (summary[key] for key in ('photos', 'left_out', 'no_result'))
  if not done and not without:
    first = next(iter(failed.items()))
    raise UserError(f'No photo of {args.input} can be used: {first[0]}: {first[1]}.')
  left = f', {len(failed)} left out' if failed else ''
  if done:
    mean = f'mean PSNR {summary["mean_psnr"]:.1f} dB by {model.name}'
    print(f'{args.out}: {len(done)} photos{left}; {mean}')
  if without:
    path, cause = next(iter(without.items()))
    raise UserError(f'{len(without)} photos have no result, such as {path}: {cause}.')


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  flags = common.parser('invert', __doc__, 'a folder', depth=False)
  _add_flags(flags)
  args = common.parse(flags, argv)
  _check(flags, args)
  common.run(_main, args)


if __name__ == '__main__':
  main()
