"""A sheet of samples as PNG: a grid of seeds, some of them from several sides, their depth maps.

python -m jax3dgan.apps.samples --workdir=runs/toys --out=samples.png --seeds=0-15 --depth
python -m jax3dgan.apps.samples --pretrained=toys --out=samples.png --yaws=-90,0,90,180
python -m jax3dgan.apps.samples --pretrained=toys --out=x.png --seeds=0,3 --pitches=0,30,60
python -m jax3dgan.apps.samples --pretrained=toys --out=x.png --seeds=0-3 --psis=0,0.35,0.7,1
"""

import argparse
import pathlib
from collections.abc import Sequence

from jax3dgan.apps import common
from jax3dgan.pictures import sheets
from jax3dgan.runs import provenance


def _main(args: argparse.Namespace) -> None:
  model = common.load(args)
  more = {'pitches': args.pitches, 'pitch': args.pitch}
  views = sheets.cameras_of(model, args.yaws, default=args.psis is None, **more)
  views = {name: path.record() for name, path in views.items() if len(path)}
  record = provenance.record(
    'samples', args, model, **({'camera': views} if model.has_camera else {})
  )
  more |= {'psis': args.psis, 'show': common.kinds_of(args)}
  if args.w:
    more['w'] = common.styles(model, args)[0]
  sheets.write(
    model, args.out, args.seeds, args.psi, args.yaws, args.resolution, record=record, **more
  )
  what = args.w or common.num_seeds(args.seeds)
  print(f'{args.out}: {what} of {model.name}, step {model.step:,}')


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  flags = common.parser('samples', __doc__, '.png', seeds='0-15', show=True)
  flags.add_argument('--yaws', type=common.parse_degrees, help='azimuths in degrees, as -40,0,40')
  flags.add_argument(
    '--pitches', type=common.parse_degrees, help='degrees above the horizon to sweep, as 0,30,60'
  )
  flags.add_argument(
    '--pitch', type=common.parse_number, help='degrees above the horizon of all other pictures'
  )
  flags.add_argument('--psis', type=common.parse_numbers, help='truncations to sweep, as 0,0.5,1')
  common.add_w(flags)
  args = common.parse(flags, argv)
  common.refuse_beside_w(flags, args)
  if pathlib.Path(args.out).suffix.lower() != '.png':
    flags.error(f'--out={args.out} must end in .png')
  common.run(_main, args)


if __name__ == '__main__':
  main()
