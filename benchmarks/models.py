"""Trained models beside each other: one picture and one table.

  python -m benchmarks.models --models='π-GAN=runs/pigan,EG3D=runs/eg3d' --out=models.png
  python -m benchmarks.models --models=toys,toys_eg3d --seeds=0,3 --out=models.png

A model is LABEL=FOLDER of a run, or the name of a pretrained one. The picture shows each from
several sides, then its depth and normals; a model without a field has none. A generator trained
without poses has a front of its own: where the newest evaluation found it ('truth'), the sides are
counted from the objects' front.

The table is printed: figures of the newest `--mode=eval` of each run; what was not measured is a
dash. Protocols that differ between the runs are said below it.
"""

import argparse
import math
import pathlib

import jax
import numpy as np

from jax3dgan import programs, trained, viz
from jax3dgan.apps import common
from jax3dgan.devices import compilation
from jax3dgan.errors import UserError
from jax3dgan.evaluation import report
from jax3dgan.inversion import frames
from jax3dgan.pictures import display, maps, paths

# The rows of the table: the beginnings of figures' names.
_FIGURES = (
  'FID-',
  'KID-',
  'precision-',
  'recall-',
  'reprojection/mse',
  'reprojection/still',
  'reprojection/valid',
  'chamfer/median',
  'chamfer/spacing',
  'nfs_solid',
  'depth/aligned',
  'mask/iou',
  'second/depth/aligned',
  'second/mask/iou',
  'second/psnr',
  'pose/error_degrees_aligned',
  'pose/frame_spread_degrees',
  'identity/ratio',
)


def load(name: str) -> tuple[str, trained.Trained, dict]:
  """(label, model, record of its newest evaluation or {}) of LABEL=FOLDER or a pretrained name."""
  label, is_run, folder = name.partition('=')
  if not is_run:
    return label, trained.load(pretrained=label), {}
  records = report.history(pathlib.Path(folder))
  return label, trained.load(workdir=folder), records[-1] if records else {}


def cameras_of(model, azimuths, figures: dict):
  """Cameras at these azimuths from the objects' front, where an evaluation found it."""
  camera = paths.fixed(model, azimuths).camera(model)
  return frames.Frame(math.radians(figures.get('frame/yaw_degrees') or 0.0)).camera(camera)


def tiles(model, seeds, num_views: int, figures: dict, size: int, resolution=None) -> np.ndarray:
  """Each seed from `num_views` sides, then depth and normals: uint8 [seeds, n, size, size, 3].

  They are rendered at `resolution`², by default that of training, and enlarged to `size`².
  """
  psi = model.config.display.truncation_psi
  w = np.asarray(model.map(model.latents(seeds), psi))
  azimuths = display.show_views(model, num_views) if model.has_camera else np.zeros(1)
  turned = maps.render(model, w, cameras_of(model, azimuths, figures), resolution)
  pictures = [turned.image]
  if model.has_depth:
    camera = cameras_of(model, display.show_azimuth(model), figures)
    shape = maps.render(model, w, camera, resolution, kinds=('depth', 'normals'))
    pictures += [maps.picture(model, shape, kind) for kind in ('depth', 'normals')]
  images = np.concatenate(pictures, axis=1)
  missing = num_views + 2 - images.shape[1]
  images = np.pad(images, ((0, 0), (0, missing), *[(0, 0)] * 3), constant_values=255)
  if size % images.shape[-2]:
    raise UserError(f'--size={size} is not a multiple of the {images.shape[-2]}² of {model.name}.')
  return viz.enlarge(images, size // images.shape[-2])


def figure(figures: dict, start: str) -> str:
  """The first figure whose name begins so, for the table."""
  found = [v for k, v in sorted(figures.items()) if k.startswith(start) and v is not None]
  return f'{found[0]:.4g}' if found else '–'


def table(labels, models, records) -> str:
  """The Markdown table, and a line for each protocol that is not the same for all."""
  rows = [('', labels), ('steps', [f'{m.step:,}' for m in models])]
  for start in _FIGURES:
    cells = [figure(record.get('metrics', {}), start) for record in records]
    if set(cells) != {'–'}:
      name = next(k for r in records for k in sorted(r.get('metrics', {})) if k.startswith(start))
      rows.append((name, cells))
  lines = ['| ' + ' | '.join([name, *cells]) + ' |' for name, cells in rows]
  lines.insert(1, '|---' * (len(labels) + 1) + '|')
  protocols: dict[str, dict[str, list[str]]] = {}
  for label, record in zip(labels, records, strict=True):
    for metric, text in record.get('protocols', {}).items():
      protocols.setdefault(metric, {}).setdefault(text, []).append(label)
  for metric, texts in protocols.items():
    for text, who in texts.items():
      lines.append(f'{metric}{"" if len(texts) == 1 else " of " + ", ".join(who)}: {text}')
  return '\n'.join(lines)


def _main(args) -> None:
  compilation.use_cache()
  rows, labels, models, records = [], [], [], []
  for name in args.models.split(','):
    label, model, record = load(name.strip())
    figures = record.get('metrics', {})
    images = tiles(model, args.seeds, args.views, figures, args.size, args.resolution)
    rows.append((f'{label}, step {model.step:,}', viz.grid(np.concatenate(images), args.views + 2)))
    labels.append(label), models.append(model), records.append(record)
    jax.clear_caches()
  viz.save_png(args.out, viz.sheet(rows))
  print(table(labels, models, records))
  print(f'{args.out}: {len(rows)} models, seeds {args.seeds}')


def main(argv=None) -> None:
  """The program."""
  flags = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  flags.add_argument('--models', required=True, help='LABEL=FOLDER or pretrained names, by commas')
  flags.add_argument('--seeds', type=common.parse_seeds, default=[0, 1], help='as 0-3,7')
  flags.add_argument('--views', type=common.parse_count, default=5, help='sides of each object')
  flags.add_argument(
    '--resolution', type=common.parse_count, help='pixels rendered; default: as trained'
  )
  flags.add_argument('--size', type=common.parse_count, default=128, help='pixels of a picture')
  flags.add_argument('--out', required=True, help='PNG to write')
  args = flags.parse_args(programs.arguments(argv))
  try:
    _main(args)
  except UserError as error:
    flags.error(str(error))


if __name__ == '__main__':
  main()
