"""Pictures a second of a signed distance: volume rendering and sphere tracing at the same size.

  python -m benchmarks.sphere_tracing --workdir=runs/stylesdf_stage1_toys
  python -m benchmarks.sphere_tracing --width=256 --sizes=64,128

Without a workdir the field has StyleSDF's layers of that width with random weights, and its
distance is that of a bumpy ball plus nothing of theirs: all of it is computed, and rays end where
they would in a trained one. The processor's seconds depend less than the clock's on what else the
machine does.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import config as config_lib
from jax3dgan import generators, trained
from jax3dgan.generators.stylesdf import StyleSDF
from jax3dgan.pictures import traced
from jax3dgan.viewer import quality

_NOTHING = 1e-20  # share of the network's own distance


class BumpyBall(StyleSDF):
  """StyleSDF at the price of its field, with the surface of a bumpy ball of the usual size."""

  def query(self, w, points, directions=None):
    """See `Generator.query`."""
    distance, colour = super().query(w, points, directions)
    x, y, _ = jnp.moveaxis(points, -1, 0)
    ball = jnp.linalg.norm(points, axis=-1) - 0.06
    return ball - 0.003 * jnp.sin(70 * x) * jnp.sin(60 * y) + _NOTHING * distance, colour


def untrained(width: int) -> trained.Trained:
  """A model of this width and StyleSDF's cameras, marching and number of samples."""
  config = config_lib.base_config('stylesdf_stage1')
  name = f'{__name__ if __name__ != "__main__" else "benchmarks.sphere_tracing"}:BumpyBall'
  config_lib.set_model(config, name, z_dim=width, w_dim=width, hidden_dim=width)
  generator = generators.create(config)
  variables = generators.init(generator, jax.random.key(0))
  return trained.Trained(config, generator, variables, 0, f'bumpy ball, width {width}')


def measure(function, repeats: int) -> tuple[float, float]:
  """(seconds, seconds of the processor) of a call: the least of several."""
  function()
  times = []
  for _ in range(repeats):
    clock, processor = time.perf_counter(), time.process_time()
    function()
    times.append((time.perf_counter() - clock, time.process_time() - processor))
  return tuple(min(column) for column in zip(*times, strict=True))


def main(argv=None) -> None:
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--workdir', help='of a run with a signed distance')
  flags.add_argument('--width', type=int, default=256, help='without a workdir; default: 256')
  flags.add_argument('--sizes', default='64,128', help='pixels on a side; default: 64,128')
  flags.add_argument('--repeats', type=int, default=5)
  args = flags.parse_args(argv)
  model = trained.load(args.workdir) if args.workdir else untrained(args.width)
  w, camera = model.map(model.latents([0]), 1.0), model.orbit(0.3)
  tracer = traced.Tracer(model)
  moving = quality.moving_levels(model)[0].overrides()
  samples = {'at rest': {}, 'moving': moving}
  print(f'{model.name}, step {model.step:,}: Lipschitz factor {traced.lipschitz_of(model):.2f}')
  print('| picture | samples | ms | processor ms | pictures/s |\n|---|---|---|---|---|')
  for size in map(int, args.sizes.split(',')):
    rows = {}
    for name, overrides in samples.items():
      options = model.options(size, **overrides)
      count = f'{options.num_coarse} + {options.num_fine}'
      draw = functools.partial(model.render, w, camera, size, **overrides)
      rows[f'{size}², {name}'] = (count, draw)
    for kind in ('colour', 'normals', traced.SHADED):
      draw = functools.partial(tracer.render, w, camera, size, kind)
      rows[f'{size}², traced, {kind}'] = ('–', draw)
    for name, (count, draw) in rows.items():
      seconds, processor = measure(draw, args.repeats)
      print(
        f'| {name} | {count} | {1e3 * seconds:.0f} | {1e3 * processor:.0f} | {1 / seconds:.1f} |',
        flush=True,
      )
    out = tracer.render(w, camera, size, 'depth')
    far = np.isclose(out.depth, model.options().far, rtol=1e-2) | (out.opacity == 0)
    print(f'{size}²: {1 - far.mean():.0%} of the pixels show the surface')


if __name__ == '__main__':
  main()
