"""An interactive viewer in the browser: turn, mix, edit, invert photos, record.

python -m jax3dgan.apps.view --pretrained=toys
python -m jax3dgan.apps.view --workdir=runs/toys --port=8081 --seed=7

On a remote machine: ssh -L 8080:127.0.0.1:8080 that-machine, and open the address here.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from jax3dgan.apps import common
from jax3dgan.errors import UserError


def make(args: argparse.Namespace):
  """Returns the `viewer.server.Viewer` that the flags ask for, which does not serve yet."""
  from jax3dgan.runs import provenance
  from jax3dgan.viewer import savings, server
  from jax3dgan.viewer.identity import Styles

  server.check_port(args.host, args.port)  # before anything is loaded or compiled
  model = common.load(args)
  if args.resolution is not None:
    model.options(args.resolution)
    _check_resolution(model, args.resolution)
  styles, more = Styles(model), {}
  if args.repeat is not None:
    entry = provenance.read(args.repeat)
    start = savings.identity_of(entry, styles)
    more = {'start': start, 'camera': savings.camera_of(entry)}
    about = entry.get('view', {})
    more['kind'], more['look_at'] = about.get('kind', 'colour'), about.get('look_at', (0, 0, 0))
  if args.directions is not None:
    from jax3dgan import editing

    more['directions'] = editing.Directions.load(args.directions)
  kept = ('workdir', 'pretrained', 'ema', 'step', 'psi', 'resolution', 'seed', 'directions')
  flags = argparse.Namespace(**{name: getattr(args, name) for name in kept})
  return server.Viewer(
    model,
    args.host,
    args.port,
    args.seed,
    args.psi,
    args.resolution,
    flags,
    styles=styles,
    **more,
  )


def _check_resolution(model, resolution: int) -> None:
  from jax3dgan.viewer import quality

  if not 8 <= resolution <= 1024:
    raise UserError(
      f'{resolution}² is too small or too large. Set --resolution between 8 and 1024.'
    )
  if not quality.any_size(model) and resolution != model.resolution:
    raise UserError(
      f'{model.name} makes images of {model.resolution}² only. Leave out --resolution.'
    )


def _main(args: argparse.Namespace) -> None:
  viewer = make(args)
  if args.host not in ('127.0.0.1', 'localhost', '::1'):
    print(
      f'Warning: everybody who can connect to {args.host} can use this viewer.', file=sys.stderr
    )

  def opened():
    print(f'{viewer.model.name} at {viewer.url} (Ctrl-C ends it)', flush=True)

  viewer.run(opened)
  # Everything is closed. The end of Python would stop the web server's threads at any point, and in
  # the middle of XLA's C++ that aborts the process.
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(0)


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  flags = common.parser('view', __doc__, depth=False)
  flags.add_argument('--host', default='127.0.0.1', help='address to listen on; default: loopback')
  flags.add_argument('--port', type=int, default=8080, help='default: 8080; 0 takes any')
  flags.add_argument('--seed', type=int, default=0, help='that it starts with; default: 0')
  flags.add_argument('--directions', metavar='FILE', help='of an edit, instead of new ones')
  flags.add_argument('--repeat', metavar='FILE', help='start with the view of this snapshot')
  args = common.parse(flags, argv)
  if args.seed < 0:
    flags.error('--seed must be at least 0')
  try:
    _main(args)
  except UserError as error:
    sys.exit(f'Error: {error}')
  except KeyboardInterrupt:
    sys.exit(130)


if __name__ == '__main__':
  main()
