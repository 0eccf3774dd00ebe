"""Samples of a ray against the error of what it shows, and against time.

  python -m benchmarks.samples
  python -m benchmarks.samples --models=toys --totals=8,16 --display

The rays are some of those of 64² pictures of packaged models, from several sides, untruncated. The
error is the root of the mean square, of colours from −1 to 1, against 192 even samples a ray. All
ways to sample have the same total of samples, half of them coarse and half fine where there are two
passes; everything else is as in the model's config. A grid is learned from other latents than those
that are rendered. Samples are jittered as in training, or deterministic with `--display`.

Then the processor's seconds, the least of several in turn, of a rendering and of its gradient in
the field: with the model's own way and number of samples, and with half of them and a grid.
"""

import argparse
import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np

from jax3dgan import generators, programs, trained
from jax3dgan.devices import compilation
from jax3dgan.generators import occupied
from jax3dgan.rendering import hierarchical, occupancy
from jax3dgan.rendering import rays as rays_lib

SIZE, REFERENCE, CELLS, GRID_LATENTS = 64, 192, 32, 16
# Of each way: whether there are two passes, whether there is a grid, fields of the options.
WAYS = {
  'one pass': (False, False, {}),
  'two passes': (True, False, {}),
  'two passes, strata': (True, False, {'fine_jitter': 'strata'}),
  'robust': (True, False, {'importance': 'robust'}),
  'grid, one pass': (False, True, {}),
  'grid, robust': (True, True, {'importance': 'robust'}),
}


class Case:
  """Some rays of a packaged model's pictures, and its grid."""

  def __init__(self, name: str, num_images: int, num_rays: int):
    model, rng = trained.load(pretrained=name), np.random.default_rng(0)
    self.name, prior = name, model.config.pose_prior
    options = generators.render_options(model.config, resolution=SIZE)
    self.options = dataclasses.replace(options, ray_chunk=0)
    self.generator = model.generator.without_super_resolution().clone(occupancy=CELLS)
    blank = {occupied.NAME: np.ones((CELLS,) * 3, np.float32)}
    self.variables = {**model.variables, 'buffers': model.variables.get('buffers', {}) | blank}
    w = jnp.asarray(model.map(model.latents(range(num_images + GRID_LATENTS)), 1.0))
    camera = model.orbit(
      rng.uniform(-1, 1, num_images) * min(prior.yaw_std, np.pi),
      model.mean_elevation + rng.uniform(-1, 1, num_images) * prior.pitch_std,
    )
    rays = rays_lib.camera_rays(camera, SIZE, options.align_corners)
    chosen = np.sort(rng.choice(SIZE**2, num_rays, replace=False))
    self.rays = jax.tree.map(lambda x: x[:, chosen], rays)
    self.field = jax.jit(self._field)(w[:num_images])
    self.grid = self._grid(w[num_images:])

  def _field(self, w):
    method = lambda generator, w: generator.radiance_field(generator.prepare(w))  # noqa: E731
    return self.generator.apply(self.variables, w, method=method)

  def _grid(self, w):
    box, own = self.generator.grid_box, (self.generator, self.variables, self.options)

    @jax.jit
    def opacities(w, key):
      generator, variables, options = own
      points = occupancy.cell_points(key, CELLS, box)[None]
      return generator.apply(variables, w[None], points, options, method='cell_opacities')[0]

    keys = jax.random.split(jax.random.key(1), len(w))
    mean = np.mean([opacities(*pair) for pair in zip(w, keys, strict=True)], axis=0)
    return occupancy.Occupancy(jnp.asarray(mean).reshape((CELLS,) * 3), box)

  def way(self, name: str, total: int):
    """(options, grid) of a way with so many samples."""
    two, has_grid, fields = WAYS[name]
    fine = total // 2 if two else 0
    options = dataclasses.replace(self.options, num_coarse=total - fine, num_fine=fine, **fields)
    return options, self.grid if has_grid else None

  def colours(self, field, options, grid=None, seed=None):
    """[b, r, 3] from −1 to 1; deterministic without a seed."""
    keys = None
    if seed is not None:
      keys = jax.random.split(jax.random.key(seed), self.rays.origins.shape[0])
    out = hierarchical.render_images(field, self.rays, options, keys, noise=False, grid=grid)
    return 2 * out.colour[..., :3] - 1

  def render(self, options, grid=None, seed=None):
    """`colours`, compiled in haste: each program runs once."""
    function = jax.jit(lambda field, grid: self.colours(field, options, grid, seed))
    haste = {'xla_backend_optimization_level': 0}
    return function.lower(self.field, grid).compile(haste)(self.field, grid)


def rmse(a, b) -> float:
  """The root of the mean square of a difference."""
  return float(np.sqrt(np.mean(np.square(np.asarray(a) - np.asarray(b)))))


def errors(case: Case, totals, seed) -> None:
  """Prints the errors of all ways."""
  even = dataclasses.replace(case.options, num_coarse=REFERENCE, num_fine=0)
  truth = case.render(even)
  emphasis = hierarchical.ray_limits(case.rays, case.options, case.grid).emphasis
  kind = 'deterministic' if seed is None else 'jittered'
  floor = rmse(case.render(even, case.grid), truth)
  print(
    f'\n{case.name}, {kind}; with the grid rays are {float(emphasis.mean()):.2f} as long, and '
    f'{REFERENCE} samples are off by {floor:.4f}\n'
  )
  print('| samples | ' + ' | '.join(map(str, totals)) + ' |\n|---' + '|---' * len(totals) + '|')
  for name in WAYS:
    cells = [f'{rmse(case.render(*case.way(name, n), seed), truth):.4f}' for n in totals]
    print(f'| {name} | ' + ' | '.join(cells) + ' |', flush=True)


def times(case: Case, repeats: int) -> None:
  """Prints the processor's seconds of the model's own samples, and of half of them with a grid."""
  own = case.options
  total = own.num_coarse + own.num_fine
  half = 'grid, robust' if own.marcher == 'midpoints' else 'grid, one pass'
  ways = {f'own, {total}': (own, None), f'{half}, {total // 2}': case.way(half, total // 2)}
  programs_of = {}
  for name, (options, grid) in ways.items():
    for kind in ('picture', 'gradient'):
      function = lambda field, grid, o=options: jnp.sum(case.colours(field, o, grid, 0) ** 2)  # noqa: E731
      function = jax.grad(function) if kind == 'gradient' else function
      programs_of[name, kind] = (jax.jit(function), grid)
  best = dict.fromkeys(programs_of, np.inf)
  for repeat in range(repeats + 1):
    for key, (function, grid) in programs_of.items():
      began = time.process_time()
      jax.block_until_ready(function(case.field, grid))
      if repeat:
        best[key] = min(best[key], time.process_time() - began)
  print('\n| way | picture, processor ms | gradient, processor ms |\n|---|---|---|')
  for name in ways:
    print(
      f'| {name} | '
      + ' | '.join(f'{1e3 * best[name, k]:.0f}' for k in ('picture', 'gradient'))
      + ' |'
    )


def main(argv=None) -> None:
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--models', default='toys,toys_eg3d,toys_stylesdf', help='packaged ones')
  flags.add_argument('--totals', default='8,12,16', help='samples a ray')
  flags.add_argument('--images', type=int, default=4)
  flags.add_argument('--rays', type=int, default=384, help='of each image')
  flags.add_argument('--repeats', type=int, default=5, help='of the times; 0 for none')
  flags.add_argument('--display', action='store_true', help='samples without jitter')
  args = flags.parse_args(programs.arguments(argv))
  compilation.use_cache()
  totals = [int(total) for total in args.totals.split(',')]
  for name in args.models.split(','):
    case = Case(name, args.images, args.rays)
    errors(case, totals, None if args.display else 0)
    if args.repeats:
      times(case, args.repeats)
    jax.clear_caches()


if __name__ == '__main__':
  main()
