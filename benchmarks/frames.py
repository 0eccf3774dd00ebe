"""Frames per second of Gaussians beside those of a rendered field, at several sizes.

  NPROC=1 python -m benchmarks.frames --processor_time  # one thread, on a busy machine
  python -m benchmarks.frames --models=toys --sizes=64 --repeats=9

Networks of random weights, one picture at a time: from the latent, and from a scene that is
prepared, as a viewer turns it. GGHead draws pictures of any size; so do EG3D's toys beyond 64²,
without their up-sampler. EG3D's picture of 512² is its own, rendered smaller and up-sampled, of the
size of the release. The models of a size take turns; minima of --repeats turns, and ratios of
those.
"""

import argparse
import functools
import importlib
import time

import jax
import numpy as np

from jax3dgan import generators, trained
from jax3dgan.devices import compilation

# {pair: {label: (config, sizes of its pictures)}}, ratios are to a pair's first.
MODELS = {
  'toys': {
    'GGHead, 4,096 Gaussians': ('gaussians_toys', (64, 128, 256, 512)),
    'EG3D of the toys': ('eg3d_toys', (64, 128, 256)),
  },
  'ffhq': {
    'GGHead, 262,144 Gaussians': ('gghead_ffhq512', (512,)),
    'EG3D of FFHQ': ('eg3d_ffhq', (512,)),
  },
}


def load(name: str) -> trained.Trained:
  """A config's model at random weights."""
  config = importlib.import_module(f'configs.{name}').get_config()
  generator = generators.create(config)
  fresh = jax.jit(lambda: generators.init(generator, jax.random.key(0))).lower()
  # It runs once.
  variables = fresh.compile({'xla_backend_optimization_level': 0})()
  return trained.Trained(config, generator, variables, 1, name)


def prepared(model):
  """(a function without arguments that makes a scene of a latent, compiled; the scene)."""
  z, label = np.asarray(model.latents([0])), None
  if model.generator.label_dim:
    label = model.orbit(0.3).label()

  def prepare(variables, z):
    w = model.generator.apply(variables, z, label, method='map')
    return model.generator.apply(variables, w, method='prepare')

  compiled = jax.jit(prepare).lower(model.variables, z).compile()
  return functools.partial(compiled, model.variables, z), compiled(model.variables, z)


def drawn(model, scene, resolution: int):
  """A function without arguments that draws one picture of a scene, compiled; a field's up-sampler
  is left out at sizes that it does not make."""
  options, camera, generator = model.options(resolution), model.orbit(0.3), model.generator
  if generator.resolution not in (None, resolution):
    generator = generator.without_super_resolution()

  def draw(variables, scene):
    return generator.apply(variables, scene, camera, options=options, method='synthesize').image

  compiled = jax.jit(draw).lower(model.variables, scene).compile()
  image = np.asarray(compiled(model.variables, scene))
  assert image.shape == (1, resolution, resolution, 3) and np.isfinite(image).all()
  return functools.partial(compiled, model.variables, scene)


def least_seconds(functions, now, repeats: int) -> dict:
  """{name: the least time} of functions that take turns."""
  times = {name: [] for name in functions}
  for _ in range(repeats):
    for name, function in functions.items():
      start = now()
      jax.block_until_ready(function())
      times[name].append(now() - start)
  return {name: min(each) for name, each in times.items()}


def main(argv=None) -> None:
  """Prints a table."""
  flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  flags.add_argument('--models', default=','.join(MODELS))
  flags.add_argument('--sizes', default='64,128,256,512')
  flags.add_argument('--repeats', type=int, default=5)
  flags.add_argument(
    '--processor_time', action='store_true', help="the processor's, of all threads"
  )
  args = flags.parse_args(argv)
  compilation.use_cache()
  now = time.process_time if args.processor_time else time.perf_counter
  device = jax.devices()[0].device_kind
  print(f'{device}, jax {jax.__version__}, {time.strftime("%Y-%m-%d")}, minima of {args.repeats}')
  print('| size | model | from the latent | a second | from the scene | a second |')
  print('|---|---|---|---|---|---|', flush=True)
  for pair in args.models.split(','):
    models = {label: (load(name), sizes) for label, (name, sizes) in MODELS[pair].items()}
    scenes = {label: prepared(model) for label, (model, _) in models.items()}
    for size in map(int, args.sizes.split(',')):
      functions = {}
      for label, (model, sizes) in models.items():
        if size in sizes:
          functions[label, 'prepare'] = scenes[label][0]
          functions[label, 'draw'] = drawn(model, scenes[label][1], size)
      least = least_seconds(functions, now, args.repeats)
      drawing = {label: least[label, 'draw'] for label, kind in functions if kind == 'draw'}
      whole = {label: least[label, 'prepare'] + s for label, s in drawing.items()}
      for label in drawing:
        cells = [f'{size}²', label]
        for s in (whole[label], drawing[label]):
          cells += [f'{1e3 * s:.1f} ms', f'{1 / s:.3g}']
        print(f'| {" | ".join(cells)} |', flush=True)
      if len(drawing) == 2:
        ours, theirs = drawing
        a, b = whole[theirs] / whole[ours], drawing[theirs] / drawing[ours]
        print(f'{size}²: {theirs} takes {a:.3g} and {b:.3g} times as long', flush=True)


if __name__ == '__main__':
  main()
