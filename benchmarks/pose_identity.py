"""Does turning an object change which object it is? A 2D GAN's best direction against a camera.

  python -m benchmarks.pose_identity --out=docs/images/pose_identity.png
  python -m benchmarks.pose_identity --two_d=none --also runs/hologan --out=pose_identity.png

Prints the table of docs/2d_against_3d.md and writes two figures: OUT, identity against the achieved
turn, and beside it OUT with `_strip` in its name, objects turning. A model is the name of a
pretrained one or the folder of a run. The probes know toy cars only. Images of models of `--also`
may be larger by a whole factor; the probes read means over their pixels.
"""

import argparse
import dataclasses
import pathlib

import numpy as np

from jax3dgan import atomic, programs, trained, viz
from jax3dgan.devices import compilation
from jax3dgan.errors import UserError
from jax3dgan.evaluation import identity, pose, pose_direction, probes, turning

_CURVE = np.arange(0, 166, 15)
_STRIP = (-90, -60, -30, 0, 30, 60, 90)
_COLOURS = ('#c23b22', '#e08e45', '#8b6bb1', '#b5a642', '#1f6fb2', '#2a9d6f', '#7fb5d6', '#444444')
_NONE = 'none'
_SHOWN = 4  # objects in the strip, the first seeds


def load(name: str) -> trained.Trained:
  """A pretrained model's name or a workdir."""
  if name in trained.pretrained_names():
    return trained.load(pretrained=name)
  return trained.load(workdir=name)


class Smaller:
  """A model whose images are means over squares of pixels.

  Args:
    model: A `trained.Trained`.
    resolution: Pixels on a side, which divides the model's.
  """

  def __init__(self, model, resolution: int):
    if model.resolution % resolution:
      raise UserError(
        f'{model.name} makes images of {model.resolution}², which do not shrink to {resolution}² '
        'in whole pixels. Compare models of such sizes.'
      )
    self._model, self.resolution = model, resolution

  def __getattr__(self, name):
    return getattr(self._model, name)

  def render(self, *args, **options):
    """`Trained.render`: its images, in [−1, 1]."""
    out = self._model.render(*args, **options)
    b, n, factor = len(out.image), self.resolution, self._model.resolution // self.resolution
    squares = out.image.reshape(b, n, factor, n, factor, 3)
    return out.replace(image=squares.mean((2, 4)))


def two_d_paths(model, reader, args, say):
  """[(label, Traversal)]: the best direction of all, and the best of each kind."""
  say(f'{model.name}: looking for the direction')
  found = pose_direction.find(
    model, reader, args.num_fit, args.num_scored, seed=10_000, psi=1.0, say=say
  )
  say(f'R² of sine and cosine of the azimuth, linear in w: {found.readable:.2f}')
  say(f'{len(found.ranking)} directions; the best:')
  for score, direction in found.ranking[:8]:
    say(f'  {score:.3f} {direction.name} in {direction.space.name}')
  z = model.latents(range(args.num_latents))
  w = np.asarray(model.map(z, 1.0))
  azimuth = pose.azimuth(reader.direction(model.render(w, model.orbit(0.0)).image))

  def one_for_all(direction):
    return not any(word in direction.name for word in ('tangent', 'circle', 'rotation'))

  kinds = {
    'best of all': lambda d: True,
    'best single line': one_for_all,
    'InterFaceGAN': lambda d: 'boundary' in d.name,
    'GANSpace': lambda d: 'component' in d.name,
  }
  paths, seen = [], {}
  for kind, fits in kinds.items():
    direction = next(d for _, d in found.ranking if fits(d))
    if direction not in seen:
      steps = args.num_steps
      seen[direction] = pose_direction.traverse(model, reader, direction, z, w, azimuth, steps)
    paths.append((f'2D, {kind}: {direction.name} in {direction.space.name}', seen[direction]))
  return paths


def row(label: str, path: turning.Traversal, real: turning.Traversal) -> str:
  """A line of the table."""
  identities = [path.identity_change(angle) for angle in turning.ANGLES]
  shares = [path.share(angle) for angle in turning.ANGLES]
  cells = [f'{i:.2f} ({100 * s:.0f} %)' for i, s in zip(identities, shares, strict=True)]
  noise = real.identity_change(60) * real.across
  above = (path.identity_change(60) * path.across - noise) / (path.across - noise)
  reach, error = np.median(path.reach()), path.calibrated_error(30)
  cells += [f'{above:.2f}', f'{path.score():.2f}', f'{reach:.0f}°']
  cells += ['–' if np.isnan(error) else f'{error:.1f}°']
  return f'| {label} | ' + ' | '.join(cells) + ' |'


def curves(paths, file: pathlib.Path) -> None:
  """Identity change and share of latents against the achieved turn."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot

  figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.8), constrained_layout=True)
  for (label, path), colour in zip(paths, _COLOURS, strict=False):
    change = [0.0] + [path.identity_change(a) for a in _CURVE[1:]]
    share = [1.0] + [path.share(a) for a in _CURVE[1:]]
    # A mean over a few latents that got so far says little.
    change = [c if s >= 0.1 else np.nan for c, s in zip(change, share, strict=True)]
    left.plot(_CURVE, change, 'o-', color=colour, label=label, markersize=3)
    right.plot(_CURVE, share, 'o-', color=colour, markersize=3)
  left.axhline(1, color='0.7', linestyle='--', linewidth=1)
  left.text(1, 1.02, 'two random objects', color='0.5', fontsize=8)
  left.set(xlabel='achieved turn, degrees', ylabel='squared identity change', ylim=(0, 1.15))
  right.set(xlabel='turn, degrees', ylabel='objects that can be turned so far', ylim=(0, 1.05))
  left.legend(fontsize=7, loc='upper left', bbox_to_anchor=(0, 0.86), frameon=False)
  with atomic.replacing(file) as temporary:
    figure.savefig(temporary, dpi=110, format='png')
  pyplot.close(figure)


def strip(paths) -> np.ndarray:
  """Objects at equal achieved turns, the first seeds of every model, uint8 [h, w, 3]."""
  rows = []
  for label, path in paths:
    tiles = np.concatenate([path.strip(i, _STRIP) for i in range(_SHOWN)])
    factor = max(64 // tiles.shape[1], 1)
    rows.append((label, viz.grid(viz.enlarge(tiles, factor), columns=len(_STRIP))))
  return viz.sheet(rows)


def main(args: argparse.Namespace) -> None:
  compilation.use_cache()

  def say(line):
    print(line, flush=True)

  two_d = None if args.two_d == _NONE else load(args.two_d)
  three_d = load(args.three_d)
  if two_d is not None and two_d.resolution != three_d.resolution:
    raise UserError('The models differ in resolution. Compare two of the same.')
  also = [Smaller(load(name), three_d.resolution) for name in args.also]
  reader = probes.toys(three_d.resolution, args.probe_steps, say=say)
  say(reader.protocol)
  grid = turning.camera_grid(args.num_steps)
  start = turning.starts(args.num_latents, three_d.yaw_half_range, 0)
  # What the probes make of a perfect generator: real objects turned by their renderer.
  photos = reader.views(len(start), start[:, None] + np.radians(grid), 0)
  real = turning.read(reader, grid, photos)
  say('real cars turned')
  paths = [] if two_d is None else two_d_paths(two_d, reader, args, say)
  for model in (three_d, *also):
    w = model.map(model.latents(range(args.num_latents)), 1.0)
    camera = turning.by_camera(model, reader, w, start, grid)
    say(f'{model.name} turned by its camera')
    paths.append((f'3D, {model.config.model.name}: camera', camera))
  paths.append(('real cars, renderer', real))

  angles = ' | '.join(f'{angle}°' for angle in turning.ANGLES)
  say(f'\n| turned by | {angles} | 60°, noise off | score | reach | error at 30° |')
  say('|---' * (5 + len(turning.ANGLES)) + '|')
  for label, path in paths:
    say(row(label, path, real))
  for part in ('colours', 'shape'):
    kept = [(n[:-2] in ('body', 'roof')) == (part == 'colours') for n in reader.names]
    say(f'\n| {part} alone | {angles} |')
    say('|---' * (1 + len(turning.ANGLES)) + '|')
    for label, path in paths:
      only = dataclasses.replace(path, embedded=path.embedded[..., kept])
      cells = ' | '.join(f'{only.identity_change(angle):.2f}' for angle in turning.ANGLES)
      say(f'| {label} | {cells} |')
  say('')
  for model in (*([] if two_d is None else [two_d]), three_d, *also):
    for module in (pose, identity):
      result = module.measure(model, reader, args.num_latents)
      for name, value in result.values.items():
        say(f'{model.name} {name} {value:.3f}')

  file = pathlib.Path(args.out)
  file.parent.mkdir(parents=True, exist_ok=True)
  curves(paths, file)
  cameras = [path for path in paths if not path[0].startswith('2D')]
  picked = cameras if two_d is None else [paths[0], *cameras]
  viz.save_png(file.with_name(f'{file.stem}_strip.png'), strip(picked))


def flags() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(prog='python -m benchmarks.pose_identity', description=__doc__)
  parser.add_argument(
    '--two_d', default='toys_2d', help='the generator without a camera; none leaves it out'
  )
  parser.add_argument('--three_d', default='toys', help='the generator with a camera')
  parser.add_argument('--also', nargs='*', default=(), help='more generators with a camera')
  parser.add_argument('--out', required=True, help='PNG file of the curves')
  parser.add_argument('--num_latents', type=int, default=64, help='objects in every row')
  parser.add_argument('--num_steps', type=int, default=33, help='images along a path; odd')
  parser.add_argument('--num_fit', type=int, default=2048, help='latents behind the directions')
  parser.add_argument('--num_scored', type=int, default=16, help='latents that choose among them')
  parser.add_argument('--probe_steps', type=int, default=1500, help='training of the probes')
  return parser


if __name__ == '__main__':
  main(flags().parse_args(programs.arguments()))
