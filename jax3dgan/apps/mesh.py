"""Meshes from a model's field, with colours or a texture, as .ply, .obj or .glb.

python -m jax3dgan.apps.mesh --pretrained=toys --out=car.glb --preview=car.png
python -m jax3dgan.apps.mesh --workdir=runs/toys --out=car.obj --seeds=0-3 --texture=1024
python -m jax3dgan.apps.mesh --pretrained=toys --out=car.glb --cameras=orbit:60
python -m jax3dgan.apps.mesh --workdir=runs/faces --out=face.ply --frustum
python -m jax3dgan.apps.mesh --workdir=runs/faces --out=smile.glb --expression=smile:0.8
"""

import argparse
import copy
import pathlib
from collections.abc import Sequence

from jax3dgan.apps import camera_export, common
from jax3dgan.errors import UserError
from jax3dgan.meshes import frustum, mesh_files, meshing
from jax3dgan.runs import provenance

_RESOLUTION = 128


def keep_of(text: str) -> str | float:
  """'largest', 'all', or the share that '0.01' is."""
  if text in ('largest', 'all'):
    return text
  try:
    share = float(text)
  except ValueError:
    share = -1.0
  if not 0 <= share <= 1:
    raise argparse.ArgumentTypeError(f'{text!r} is none of largest, all, and shares such as 0.01')
  return share


def _main(args: argparse.Namespace) -> None:
  model = common.load(args)
  meshing.check(model)
  film = camera_export.film(model, args.cameras) if args.cameras else None
  out = pathlib.Path(args.out)
  if args.w:
    styles, names = common.styles(model, args)
    numbers = range(len(styles))
  else:
    # One by one: in a batch the last digits, and so the bytes of the file, would differ.
    styles = [
      common.with_expression(model, args, model.map(model.latents([seed]), args.psi), [seed])[0]
      for seed in args.seeds
    ]
    numbers, names = args.seeds, [f'seed {seed}' for seed in args.seeds]
  previews = common.paths_of(args.preview, numbers) if args.preview else [None] * len(numbers)
  files = zip(styles, names, numbers, common.paths_of(out, numbers), previews, strict=True)
  for w, name, number, path, preview in files:
    own = copy.copy(args)  # the record is of this file alone
    own.preview, own.seeds = None, args.seeds if args.w else [number]
    _one(own, model, w[None], name, path, preview, film)
  if film is not None:
    camera_export.save_json(out.with_name(f'{out.stem}_cameras.json'), film)
    if out.suffix.lower() != '.glb':
      camera_export.save_glb(out.with_name(f'{out.stem}_cameras.glb'), film)


def _one(args, model, w, name, path, preview, film) -> None:
  scene = model.prepare(w)
  render = model.config.render
  seen = frustum.Frustum(model.front, render.near, render.far) if args.frustum else None
  mesh = meshing.extract(
    model,
    scene,
    args.resolution,
    args.level,
    cube=args.cube,
    keep=args.keep,
    close=args.close,
    normals=args.normals,
    colours=args.directions if args.colour else None,
    texture=args.texture,
    progress=True,
    frustum=seen,
  )
  record = provenance.record('mesh', args, model, surface=mesh.metadata)
  mesh_files.save(mesh, path, film)
  provenance.save_beside(path, record)
  about = mesh.metadata
  parts = '' if about['parts'] == 1 else f', {about["kept"]} of {about["parts"]} parts'
  where = 'frustum' if args.frustum else f'cube {about["cube"]:.4g}'
  print(
    f'{path}: {name} of {model.name}, step {model.step:,}: {len(mesh.vertices):,} vertices, '
    f'{len(mesh.faces):,} faces{parts}, level {about["level"]:.4g}, {where}'
  )
  if about['opacity'] < 0.5:
    print(
      f'A density of the level {about["level"]:.4g} takes {about["opacity"]:.0%} of the light of a '
      'whole ray: pictures show no surface there.'
      + ('' if args.level is None else ' Leave out --level.')
    )
  if about['at_border'] > 0.01:
    cause = '' if args.frustum else ', or --cube is too small'
    print(
      f'{about["at_border"]:.0%} of the surface is on the faces of the '
      f'{"frustum" if args.frustum else "cube"}: the field continues beyond. It is a '
      f'background{cause}.'
    )
  if preview is not None:
    from jax3dgan import viz
    from jax3dgan.meshes import mesh_preview

    picture = mesh_preview.sheet(model, scene, mesh, title=name)
    viz.save_png(preview, picture, provenance.texts(record))


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  flags = common.parser('mesh', __doc__, ', '.join(mesh_files.ENDINGS), seeds='0', depth=False)
  number = next(a for a in flags._actions if a.dest == 'resolution')
  number.default, number.help = _RESOLUTION, f'points of the grid on a side; default: {_RESOLUTION}'
  flags.add_argument(
    '--level',
    type=float,
    help='density, or signed distance, of the surface; default: of the field, 0 for a distance',
  )
  flags.add_argument(
    '--cube', type=float, help='side; default: the view of the cameras of training'
  )
  flags.add_argument(
    '--frustum',
    action='store_true',
    help='a grid in what the camera in front sees, from near to far, instead of a cube',
  )
  flags.add_argument(
    '--keep', type=keep_of, default='largest', help='largest (default) part, all, or a least share'
  )
  flags.add_argument(
    '--close', action=argparse.BooleanOptionalAction, default=True, help="at the cube's faces"
  )
  flags.add_argument(
    '--normals', choices=('field', 'mesh'), default='field', help='from what; default: field'
  )
  flags.add_argument('--colour', action=argparse.BooleanOptionalAction, default=True)
  flags.add_argument(
    '--directions',
    choices=meshing.texturing.DIRECTIONS,
    default='auto',
    help='view directions of colours; default: normal if cameras of training go all round, '
    'otherwise the mean over its cameras',
  )
  flags.add_argument('--texture', type=int, help='texels on a side; default: colours at vertices')
  flags.add_argument('--cameras', help='orbit:60, sweep:60, or the .json beside a turntable')
  flags.add_argument('--preview', metavar='PNG', help='picture of the mesh beside its renderings')
  common.add_w(flags)
  common.add_expression(flags)
  args = common.parse(flags, argv)
  if args.preview and pathlib.Path(args.preview).suffix.lower() != '.png':
    flags.error(f'--preview={args.preview} must end in .png')
  try:
    mesh_files.check(args.out, bool(args.texture))
  except UserError as error:
    flags.error(str(error))
  if args.frustum and args.cube is not None:
    flags.error('--cube has no effect with --frustum: leave one of them out')
  common.refuse_beside_w(flags, args)
  if not args.colour:
    common.refuse(flags, args, ('directions',), 'with --no-colour')
  if args.texture and not args.colour:
    flags.error('--texture needs colours: leave out --no-colour')
  common.run(_main, args)


if __name__ == '__main__':
  main()
