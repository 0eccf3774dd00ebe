"""A small network that reads expressions: two pictures of one person → how the landmarks moved.

  python -m jax3dgan.evaluation.expression_reader --source=ict:FOLDER

It is trained on true renders, with other people than any data set has, and sees nothing of a
generator or its discriminator. What it can read of true pictures is the floor and the ceiling of
every figure (`Reader.report`); of an expression that it cannot read nothing is said of a generator.
"""

import argparse
import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import cameras, programs, viz
from jax3dgan.data import face_models, images
from jax3dgan.data.builders.ict_faces import expressions, generate, model
from jax3dgan.devices import compilation
from jax3dgan.errors import UserError
from jax3dgan.evaluation import expression_figures, expression_network, identity, probes
from jax3dgan.evaluation.expression_network import Landmarks, Reading

NUM_PEOPLE, NUM_HELD_OUT = 1600, 64  # five pictures each, and twelve
STEPS = 1500
READABLE = 0.5  # correlation with the truth of true pictures, from which on a preset is reported
_SIZE = 64  # pixels that are read; larger pictures are shrunk
_BATCH = 64  # pictures that are read at a time
_VERSION = 2  # to be raised with every change of network, pictures or training


class Reader:
  """Reads pictures of one size.

  Attributes:
    resolution: pixels on a side of the pictures that are read; others are shrunk by whole numbers.
    landmarks: `Landmarks` of the face model.
    presets: {name: weights [e]} of the expressions that it was measured with.
    report: figures of true pictures, those of `measured`; 'r2/identity0' to 'r2/identity9' and
      'r2/NAME' of the weights of expression that vary.
    about: how it was trained, in a few words.
  """

  def __init__(self, params, spread, resolution, landmarks, report=None, about=''):
    self.resolution, self.landmarks = resolution, landmarks
    self.report, self.about = report or {}, about
    self.presets = landmarks.presets
    self._spread = spread
    network = expression_network.network(landmarks.model)
    pairs = expression_network.pairs
    self._apply = jax.jit(lambda first, second: network.apply(params, pairs(first, second)))

  @property
  def readable(self) -> tuple[str, ...]:
    """The presets whose true movements it reads."""
    return tuple(n for n in self.presets if self.report.get(f'correlation/{n}', 0) > READABLE)

  def __call__(self, first, second=None) -> Reading:
    """Reads pictures [n, h, w, 3], uint8 or float in [−1, 1]; without a second one the first twice.

    Raises:
      UserError: they are of another size, which does not shrink to the reader's.
    """
    first = self._fitted(first)
    if second is None:
      read = self._read(first, first)
      read.movement = np.zeros_like(read.movement)
      return read
    second = self._fitted(second)
    # Of both ways round: of two equal pictures it is 0 then.
    read, back = self._read(first, second), self._read(second, first)
    read.movement = 0.5 * (read.movement - back.movement)
    return read

  def _read(self, first, second) -> Reading:
    out = []
    for start in range(0, len(first), _BATCH):
      pair = [x[start : start + _BATCH] for x in (first, second)]
      room = ((0, _BATCH - len(pair[0])), (0, 0), (0, 0), (0, 0))  # one shape
      out.append(np.asarray(self._apply(*(np.pad(x, room) for x in pair)))[: len(pair[0])])
    out = np.concatenate(out).astype(np.float64)
    return expression_network.reading(out, self._spread, self.landmarks.model)

  def _fitted(self, pictures):
    pictures = viz.to_uint8(pictures)
    size = pictures.shape[1]
    if pictures.ndim != 4 or pictures.shape[1:] != (size, size, 3) or size % self.resolution:
      raise UserError(
        f'Pictures of shape {pictures.shape} do not shrink to {self.resolution}² in whole pixels. '
        f'Give square ones of a multiple of {self.resolution}.'
      )
    return images.box_downscale(pictures, size // self.resolution)


def measured(reader: Reader, pictures, true) -> dict[str, float]:
  """What the reader says of pictures of people, neutral and with each preset.

  Args:
    pictures: uint8 [1 + p, n, r, r, 3], neutral ones first, then those of `reader.presets`.
    true: [1 + p, n, l, 2] of the face model.

  Returns:
    'placement', those of `expression_figures.movement`, and 'identity', the squared distance
    between two expressions of one person over that between two people: 0 kept, 1 another person.
  """
  first = pictures[0]
  pairs = [reader(first, moved) for moved in pictures[1:]]
  read = np.stack([pair.movement for pair in pairs])
  alone = [reader(x) for x in pictures]
  placed = np.stack([x.landmarks for x in alone])
  embedded = np.stack([x.identity for x in alone], axis=1)  # [n, 1 + p, 10]
  values = expression_figures.movement(
    read, true[1:] - true[:1], reader.resolution, [*reader.presets]
  )
  if true.shape[2] > max(expression_figures.EYES):
    values['placement'] = expression_figures.placement(placed, true)
  if len(first) > 1:
    within, across = (f(embedded) for f in (identity.within_distance, identity.across_distance))
    values['identity'] = within / max(across, 1e-300)
  return values


def size_of(resolution: int) -> int:
  """Pixels that are read of pictures of this resolution."""
  return _SIZE if resolution % _SIZE == 0 else resolution


def train(
  source: str,
  resolution: int = _SIZE,
  steps: int = STEPS,
  num_people: int = NUM_PEOPLE,
  num_held_out: int = NUM_HELD_OUT,
  seed: int = 0,
  cache_dir=None,
  say: Callable[[str], None] | None = None,
) -> Reader:
  """The reader of a source of faces, trained unless it is in the cache.

  Args:
    source: see `generate.parse`.
    resolution: pixels of the pictures that will be read (`size_of`).
    steps: of 64 pairs.
    num_people, num_held_out: rendered to train on, and to measure with.
    seed: of initial values and order.
    cache_dir: see `compilation.cache_root`; the file is in `eval/`.
    say: called with lines of progress.
  """
  say = say or (lambda line: None)
  folder, resolution = generate.parse(source).folder, size_of(resolution)
  landmarks = Landmarks(face_models.load(folder))
  what = dict(model=model.checksum(folder), background=generate.parse(source).background)
  what |= dict(version=_VERSION, resolution=resolution, steps=steps, seed=seed)
  what |= dict(num_people=num_people, num_held_out=num_held_out)
  outputs = expression_network.layout(landmarks.model)
  templates = {
    'params': expression_network.template(landmarks.model, resolution),
    'spread': {key: [jax.ShapeDtypeStruct((n,), jnp.float32)] * 2 for key, n in outputs.items()},
  }

  def make():
    presets = np.stack([*landmarks.presets.values()])
    count = num_people * 5 + num_held_out * (1 + len(presets))
    say(f'expression reader: rendering {count:,} pictures of {resolution}²')
    made = expressions.training(source, presets, num_people, resolution)
    params, spread = expression_network.fit(made, landmarks, steps, seed, say)
    reader = Reader(params, spread, resolution, landmarks)
    report = floors(reader, expressions.held_out(source, presets, num_held_out, resolution))
    return {'params': params, 'spread': spread}, report

  found, report = probes.cached('expression', what, templates, make, cache_dir)
  about = f'expression reader trained on {num_people:,} people for {steps:,} steps'
  if report['correlation'] <= READABLE:
    say(
      f'The expression reader hardly reads true pictures: a correlation of '
      f'{report["correlation"]:.2f} with their movements. What follows says nothing of a generator.'
    )
  return Reader(found['params'], found['spread'], resolution, landmarks, report, about)


def floors(reader: Reader, held_out: expressions.Pictures) -> dict[str, float]:
  """The reader's own figures on true pictures: see `Reader.report`."""
  pictures, codes = (np.swapaxes(x, 0, 1) for x in (held_out.images, held_out.expression))
  true = reader.landmarks.of_each(held_out.identity, codes, cameras.from_label(held_out.label))
  values = measured(reader, pictures, true)
  read = [reader(x) for x in pictures]
  score = probes.r_squared(held_out.identity[:, : read[0].identity.shape[1]], read[0].identity)
  values |= {f'r2/identity{i}': float(r) for i, r in enumerate(score)}
  found, codes = np.concatenate([x.expression for x in read]), np.concatenate(codes)
  score = probes.r_squared(codes, found)
  names = reader.landmarks.model.expression_names
  varies = codes.std(0) > 0
  return values | {f'r2/{names[i]}': float(score[i]) for i in np.flatnonzero(varies)}


# The program


def table(report) -> str:
  """The figures of true pictures as lines."""
  names = [key.partition('/')[2] for key in report if key.startswith('gain/')]
  lines = [f'{"true pictures":14}{"pixels":>8}{"gain":>8}{"corr.":>8}{"wrong":>8}{"known":>8}']
  for name in (*names, ''):
    key = f'/{name}' if name else ''
    row = [
      report.get(f'{x}{key}') for x in ('pixels', 'gain', 'correlation', 'wrong', 'recognised')
    ]
    lines.append(
      f'{name or "all":14}' + ''.join(f'{"" if x is None else f"{x:.2f}":>8}' for x in row)
    )
  score = [report[key] for key in sorted(report) if key.startswith('r2/identity')]
  rest = {key: report[key] for key in ('placement', 'identity', 'still_pixels') if key in report}
  lines.append(', '.join(f'{key} {value:.3f}' for key, value in rest.items()))
  lines.append('R² of identity weights: ' + ' '.join(f'{x:.2f}' for x in score))
  return '\n'.join(lines)


def main(argv=None) -> int:
  """Runs the command line; returns the exit status."""
  flags = argparse.ArgumentParser(
    prog='python -m jax3dgan.evaluation.expression_reader',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  flags.add_argument('--source', default='ict:', help='ict:FOLDER, by default $ICT_FACE_MODEL')
  flags.add_argument('--resolution', type=int, default=_SIZE, help='pixels of the pictures')
  flags.add_argument('--steps', type=int, default=STEPS, help='of 64 pairs')
  flags.add_argument('--people', type=int, default=NUM_PEOPLE, help='five pictures of each')
  flags.add_argument('--held-out', type=int, default=NUM_HELD_OUT, help='people to measure with')
  flags.add_argument('--seed', type=int, default=0)
  flags.add_argument('--cache-dir', help='folder of the caches')
  args = flags.parse_args(programs.arguments(argv))
  compilation.use_cache()
  try:
    if min(args.steps, args.people, args.held_out - 1) < 1 or args.resolution < 16:
      raise UserError(
        '--steps and --people are at least 1, --held-out 2 and --resolution 16. Set them so.'
      )
    reader = train(
      args.source,
      args.resolution,
      args.steps,
      args.people,
      args.held_out,
      args.seed,
      args.cache_dir,
      lambda line: print(line, flush=True),
    )
  except UserError as error:
    print(f'Error: {error}', file=sys.stderr)
    return 1
  print(f'{reader.about}\n{table(reader.report)}')
  return 0


if __name__ == '__main__':
  sys.exit(main())
