"""What a mesh costs: seconds per stage and peak memory, by the resolution of the grid.

  python benchmarks/mesh.py --resolutions=128,256,512 --texture=0
  python benchmarks/mesh.py --chunks=1024,4096,8192,65536,262144

Each resolution runs in a process of its own, whose peak of resident memory is printed. `field` is
the grid (its first compilation included), `surface` marching cubes with welding and sorting of
components. With `--chunks`: points of the grid per second by the points of a query, compared with
`Trained.query` and with the renderer.
"""

import argparse
import resource
import subprocess
import sys
import time

import numpy as np


def stages(model, resolution: int, texture: int) -> dict[str, float]:
  """Seconds of each stage of one mesh, its faces, and the process's peak memory in MB."""
  from jax3dgan.meshes import meshing, surfaces, texturing

  seconds = {}

  def clock(name, function, *args):
    start = time.perf_counter()
    out = function(*args)
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start
    return out

  surfaces.require('trimesh', 'skimage.measure', 'scipy.sparse', 'scipy.spatial')
  w = model.map(model.latents([0]))
  scene = meshing.scene_of(model, w)
  cube = meshing.default_cube(model)
  level = clock('level', meshing.default_level, model, scene)
  slabs = meshing.grid_slabs(model, scene, resolution, cube)

  def values():
    while (slab := clock('field', next, slabs, None)) is not None:
      yield slab - level

  start = time.perf_counter()
  vertices, faces = surfaces.marching_cubes(values())
  vertices, faces, *_ = surfaces.keep_components(vertices, faces)
  seconds['surface'] = time.perf_counter() - start - seconds['field']
  trimesh = surfaces.require('trimesh')
  vertices = np.float32(vertices * (cube / (resolution - 1)) - cube / 2)
  mesh = trimesh.Trimesh(vertices, faces, process=False)
  smooth = mesh.vertex_normals
  mesh.vertex_normals = clock('normals', meshing.field_normals, model, scene, vertices, smooth)
  paint = texturing.painter(model, scene, cube / (resolution - 1))
  mesh = clock('colours', texturing.with_vertex_colours, mesh, paint)
  if texture:
    clock('texture', texturing.baked, mesh, paint, texture)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  return seconds | {'faces': len(faces), 'peak_mb': peak}


def points_per_second(model, chunks) -> None:
  """Prints how fast the field answers."""
  from jax3dgan.rendering import grid

  w, n, count = model.map(model.latents([0])), 128, 16

  def rate(num, function) -> float:
    function()
    times = []
    for _ in range(3):
      start = time.perf_counter()
      function()
      times.append(time.perf_counter() - start)
    return num / min(times) / 1e6

  for chunk in chunks:

    def planes(chunk=chunk):
      args = (model.generator, model.variables, w, 0, count, n, 0.9, chunk)
      grid.query_planes(*args).block_until_ready()

    print(f'grid, chunk {chunk:7,}: {rate(count * n**2, planes):6.2f} million points/s', flush=True)
  points = np.random.default_rng(0).uniform(-0.4, 0.4, (1, 2**18, 3)).astype(np.float32)
  print(f'Trained.query      : {rate(2**18, lambda: model.query(w, points)):6.2f}')
  options = model.options(64)
  samples = 64**2 * (options.num_coarse + options.num_fine)
  camera = model.orbit(0.3)
  print(f'renderer, samples  : {rate(samples, lambda: model.render(w, camera, 64)):6.2f}')


def main():
  flags = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  flags.add_argument('--pretrained', default='toys')
  flags.add_argument('--resolutions', default='128,256,512')
  flags.add_argument('--texture', type=int, default=0, help='texels on a side; 0 for none')
  flags.add_argument('--chunks', help='measure the field alone, asked so many points at a time')
  flags.add_argument('--one', type=int, help=argparse.SUPPRESS)  # a process of the measurement
  args = flags.parse_args()
  from jax3dgan import trained

  if args.chunks:
    points_per_second(trained.load(pretrained=args.pretrained), map(int, args.chunks.split(',')))
    return
  if args.one:
    found = stages(trained.load(pretrained=args.pretrained), args.one, args.texture)
    print(f'{args.one}³: ' + ', '.join(f'{key} {value:,.1f}' for key, value in found.items()))
    return
  for resolution in args.resolutions.split(','):
    command = [sys.executable, __file__, f'--one={resolution}', f'--texture={args.texture}']
    subprocess.run([*command, f'--pretrained={args.pretrained}'], check=True)


if __name__ == '__main__':
  main()
