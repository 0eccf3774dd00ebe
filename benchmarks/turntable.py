"""A turntable's frames against the loops that people write, on the same device in one run.

  python -m benchmarks.turntable                         # 60 frames of 64² of the toys' model
  python -m benchmarks.turntable --config=celeba --frames=12 --repeats=3
  python -m benchmarks.turntable --seeds=0-3 --resolution=128 --trajectories=orbit

The same frames of the same options on all sides, as uint8 pictures on the host: 'loop' calls one
jitted rendering for each frame, 'eager' the module itself, without jit (a few frames, and
their time extrapolated to all). All take turns, so that a machine which is busy for a
while slows all: compare the ratios of the medians. 'apart' is the largest difference between a
pixel of ours and of the loop's, in grey levels of 255, before rounding: empty tiles
are left out (`pictures/tiles.py`).
"""

import argparse
import importlib
import time

import jax
import numpy as np

from jax3dgan import generators, trained, viz
from jax3dgan.apps import common
from jax3dgan.devices import compilation
from jax3dgan.pictures import paths, tiles, turntables

_EAGER_FRAMES = 3


def load(name: str) -> trained.Trained:
  """The pretrained toys, or a config's networks, untrained."""
  if name == 'toys':
    return trained.load(pretrained='toys')
  config = importlib.import_module(f'configs.{name}').get_config()
  generator = generators.create(config)
  return trained.Trained(config, generator, generators.init(generator, jax.random.key(0)), 1, name)


def sides(model, seeds, path, resolution):
  """({name: function that renders pictures}, apart): ours, loop, eager."""
  w = np.asarray(model.map(model.latents(seeds), 0.7))
  camera = path.camera(model)
  cameras = [jax.tree.map(lambda x, i=i: x[i : i + 1], camera) for i in range(len(path))]
  options = model.options(resolution)

  def synthesize(variables, w, camera):
    inputs = (variables, w, camera)
    return model.generator.apply(*inputs, options=options, method='synthesize').image

  jitted = jax.jit(synthesize)

  def loop(function=jitted, cameras=cameras):
    return [
      viz.to_uint8(function(model.variables, w[i : i + 1], camera))
      for i in range(len(w))
      for camera in cameras
    ]

  def ours():
    unique, index = path.unique()
    return turntables.render_path(model, w, unique, resolution).image[:, index]

  def apart():
    unique, index = path.unique()
    (part,) = tiles.views(model, w[:1], unique.camera(model), resolution)
    image = part.image[index]
    # A few frames are enough: all would take longer than the rest of the benchmark.
    every = max(len(cameras) // 12, 1)
    return max(
      np.abs(np.asarray(jitted(model.variables, w[:1], cameras[i]))[0] - image[i]).max() * 127.5
      for i in range(0, len(cameras), every)
    )

  some = cameras[:_EAGER_FRAMES]
  return {'ours': ours, 'loop': loop, 'eager': lambda: loop(synthesize, some)}, apart


def main(argv=None) -> None:
  """The program."""
  flags = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  flags.add_argument('--config', default='toys', help='toys, or a module of configs, untrained')
  flags.add_argument('--trajectories', default='orbit,sweep,figure-eight')
  flags.add_argument('--frames', type=int, default=60)
  flags.add_argument('--resolution', type=int, default=64)
  flags.add_argument('--seeds', type=common.parse_seeds, default='0')
  flags.add_argument('--repeats', type=int, default=5)
  args = flags.parse_args(argv)
  compilation.use_cache()
  model = load(args.config)
  device = jax.devices()[0]
  print(f'{device.device_kind}, {args.config}, {args.frames} frames of {args.resolution}²')
  print(
    f'{"path":14}{"ours":>10}{"loop":>10}{"eager":>10}{"loop/ours":>11}{"eager/ours":>12}  apart'
  )
  for name in args.trajectories.split(','):
    path = paths.make(model, args.frames, name)
    functions, apart = sides(model, args.seeds, path, args.resolution)
    distance = apart()  # compiles too
    for function in functions.values():
      function()
    seconds = {side: [] for side in functions}
    for _ in range(args.repeats):
      for side, function in functions.items():
        start = time.perf_counter()
        function()
        seconds[side].append(time.perf_counter() - start)
    ours, loop, eager = (np.median(seconds[side]) for side in ('ours', 'loop', 'eager'))
    eager *= args.frames / min(_EAGER_FRAMES, args.frames)
    print(
      f'{name:14}{ours:9.2f}s{loop:9.2f}s{eager:9.2f}s{loop / ours:11.2f}{eager / ours:12.1f}'
      f'  {distance:.2f}',
      flush=True,
    )


if __name__ == '__main__':
  main()
