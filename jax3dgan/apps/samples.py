"""A sheet of samples as PNG: a grid of seeds, some of them from several sides, their depth maps.

python -m jax3dgan.apps.samples --workdir=runs/toys --out=samples.png --seeds=0-15 --depth
python -m jax3dgan.apps.samples --pretrained=toys --out=samples.png --yaws=-90,0,90,180
"""

import argparse
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from jax3dgan.apps import common, provenance

_NUM_TURNED = 4  # seeds that are shown from several sides


def write(
  model,
  path,
  seeds: Sequence[int] = tuple(range(16)),
  psi: float | None = None,
  yaws: Sequence[float] | None = None,
  resolution: int | None = None,
  depth: bool = False,
  record: dict | None = None,
) -> None:
  """Writes the sheet.

  Args:
    model: A `trained.Trained`.
    path: The PNG file.
    seeds: The grid's; the first four are shown from several sides too.
    psi: Truncation; None takes the config's.
    yaws: Azimuths in degrees, 0 in front; None for five that suit the pose prior, or none where
      the generator has no camera; () for none.
    resolution: Pixels on a side; None for that of training.
    depth: Whether to add the depth map to each view.
    record: How it was made, to be kept in the file; see `provenance`.
  """
  from jax3dgan import viz

  psi = model.config.display.truncation_psi if psi is None else psi
  image = sheet(model, seeds, psi, yaws, resolution, depth)
  about = {'model': model.name, 'step': model.step, 'seeds': list(seeds), 'psi': psi}
  about = {key: str(value) for key, value in about.items()}
  viz.save_png(path, image, about | (provenance.texts(record) if record else {}))


def sheet(model, seeds, psi, yaws=None, resolution=None, depth=False) -> np.ndarray:
  """Returns the sheet that `write` writes, uint8 [h, w, 3]."""
  from jax3dgan import viz

  resolution = resolution or model.resolution
  factor = common.enlargement(resolution)
  if yaws is None:
    azimuths = common.show_views(model, 5 if model.has_camera else 0)
  else:
    if len(yaws):
      common.check_camera(model, 'Leave out --yaws.')
    azimuths = np.radians(yaws)
  w = np.asarray(model.map(model.latents(seeds), psi))
  turned = w[: _NUM_TURNED if len(azimuths) else 0]
  # All in one go: one compilation, full batches.
  every_w = np.concatenate([w, np.repeat(turned, len(azimuths), axis=0)])
  every_azimuth = np.concatenate(
    [np.full(len(w), common.show_azimuth(model)), np.tile(azimuths, len(turned))]
  )
  out = model.render(every_w, model.orbit(every_azimuth), resolution)
  images = viz.to_uint8(out.image)
  columns = min(len(seeds), 2 * max(len(azimuths), 1) if depth else 8)
  rows = [(f'{model.name}, step {model.step:,}, truncation {psi:g}', images[: len(w)], columns)]
  if len(turned):
    degrees = ', '.join(f'{math.degrees(a):.0f}°' for a in azimuths)
    views = images[len(w) :].reshape(len(turned), -1, *images.shape[1:])
    title, columns = f'the same seed from {degrees}', len(azimuths)
    if depth:
      maps = common.depth_picture(model, out)[len(w) :].reshape(views.shape)
      views = np.concatenate([views, maps], axis=1)
      title, columns = f'{title}; depth, near is light', 2 * columns
    rows.append((title, views.reshape(-1, *images.shape[1:]), columns))
  elif depth:
    rows.append(('depth, near is light', common.depth_picture(model, out), columns))
  return viz.sheet([(title, viz.grid(viz.enlarge(tiles, factor), n)) for title, tiles, n in rows])


def _main(args: argparse.Namespace) -> None:
  model = common.load(args)
  record = provenance.record('samples', args, model)
  write(model, args.out, args.seeds, args.psi, args.yaws, args.resolution, args.depth, record)
  print(f'{args.out}: {len(args.seeds)} seeds of {model.name}, step {model.step:,}')


def main(argv: Sequence[str] | None = None) -> None:
  """The program."""
  flags = common.parser('samples', __doc__, '.png', seeds='0-15')
  flags.add_argument('--yaws', type=common.parse_degrees, help='azimuths in degrees, as -40,0,40')
  args = common.parse(flags, argv)
  if pathlib.Path(args.out).suffix.lower() != '.png':
    flags.error(f'--out={args.out} must end in .png')
  common.run(_main, args)


if __name__ == '__main__':
  main()
