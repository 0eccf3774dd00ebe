"""What the z-buffer of a morphable model costs, beside the NumPy rasteriser that renders faces.

  python -m benchmarks.mesh_raster --model=data/ict_face

prints processor time for each picture of a batch, and whether both see the same triangles.
"""

import time

import jax
import numpy as np
from absl import app, flags

from jax3dgan import cameras
from jax3dgan.data import face_models
from jax3dgan.data.builders.ict_faces import looks, raster
from jax3dgan.rendering import mesh_raster

FLAGS = flags.FLAGS
flags.DEFINE_string('model', 'data/ict_face', 'Folder of the ICT Face Model Light.')
flags.DEFINE_integer('batch', 8, 'Pictures at a time.')
flags.DEFINE_multi_integer('resolution', [32, 64, 128], 'Pixels on a side.')
flags.DEFINE_integer('repeats', 10, 'Of which the fastest counts.')


def fastest(function) -> float:
  """Processor time of the fastest call, ms."""
  times = []
  for _ in range(FLAGS.repeats):
    start = time.process_time()
    jax.block_until_ready(function())
    times.append(time.process_time() - start)
  return 1e3 * min(times)


def main(argv):
  del argv
  model, b = face_models.load(FLAGS.model).of_region(), FLAGS.batch
  rng = np.random.default_rng(0)
  shape = rng.normal(size=(b, len(model.shape_basis))).astype(np.float32)
  expression = rng.uniform(0, 0.2, (b, len(model.expression_basis))).astype(np.float32)
  arrays = jax.device_put(model)
  vertices_of = jax.jit(lambda model, *codes: model.vertices(*codes))
  vertices = jax.block_until_ready(vertices_of(arrays, shape, expression))
  ms = fastest(lambda: vertices_of(arrays, shape, expression))
  print(f'{len(model.region):,} triangles; {vertices.shape[1]:,} vertices {ms / b:.2f} ms')
  camera = cameras.from_label(np.stack([looks.camera_label(rng) for _ in range(b)]))
  places, depth = jax.device_get(jax.jit(cameras.project)(camera, vertices))
  for size in FLAGS.resolution:
    run = jax.jit(
      lambda camera, vertices, size=size: mesh_raster.rasterize_camera(
        camera, vertices, model.region, (size, size)
      )
    )
    face = np.asarray(run(camera, vertices).face).reshape(b, -1)
    ms = fastest(lambda run=run: run(camera, vertices))
    points = size * places.astype(np.float64)
    of_numpy = [raster.rasterize(points[i], depth[i], model.region, size) for i in range(b)]
    numpy_ms = fastest(
      lambda points=points, size=size: [
        raster.rasterize(points[i], depth[i], model.region, size) for i in range(b)
      ]
    )
    expected = np.full_like(face, -1)
    for i, (pixel, triangle, _) in enumerate(of_numpy):
      expected[i, pixel] = triangle
    print(
      f'{size}²: {ms / b:.2f} ms, NumPy {numpy_ms / b:.2f} ms; '
      f'{(face != expected).sum()} of {(expected >= 0).sum():,} pixels have another triangle'
    )


if __name__ == '__main__':
  app.run(main)
