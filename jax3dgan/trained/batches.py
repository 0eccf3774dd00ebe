"""Rendering any number of images of a model, in batches that devices share."""

from collections.abc import Iterator

import jax
import numpy as np

from jax3dgan import generators
from jax3dgan.devices import ray_parallel
from jax3dgan.generators import scene_cache


def render(model, w, camera, options, batch: int | None = None) -> Iterator[generators.Rendering]:
  """Yields the images of a `trained.Trained` as they get ready, NumPy arrays.

  Args:
    w, camera, batch: See `trained.Trained.render`.
    options: `RenderOptions`.
  """
  num = max(jax.tree.leaves(w)[0].shape[0], camera.cam2world.shape[0])
  # About the pixels of sixteen 64² images at a time: enough to keep a device busy.
  devices = model.mesh.size
  batch = min(batch or max(devices * 16 * 64**2 // options.resolution**2, 1), num)
  batch = ray_parallel.even_batch(model.generator, batch, devices)
  camera = _broadcast(camera, num)
  # A scene is large: one for all cameras stays one, and where it is.
  prepared = model.generator.prepares_scene
  one = devices == 1 and prepared and (num > 1 or isinstance(w, generators.Scene))
  one = one and all(x.shape[0] == 1 for x in jax.tree.leaves(w))
  scenes = None
  if one:
    w = model.prepare(w)
  else:
    w = _broadcast(w, num)
    # Views of the same object share what no camera changes.
    scenes = scene_cache.of(model.prepare, w) if prepared else None
  for start in range(0, num, batch):
    rows = np.minimum(np.arange(start, start + batch), num - 1)  # the last image pads
    if scenes is None:
      styles = w if one else _rows(w, rows)
    else:
      styles = scenes.take(rows, min(batch, num - start))
      if devices > 1:  # from where they were made
        styles = jax.tree.map(np.asarray, styles)
    variables = model.variables_on_mesh()
    out = model.compiled.synthesize(variables, styles, _rows(camera, rows), options)
    out = ray_parallel.whole_pictures(jax.tree.map(np.asarray, out), options.resolution)
    yield _rows(out, slice(num - start))


def _broadcast(tree, num: int):
  tree = jax.tree.map(np.asarray, tree)
  return jax.tree.map(lambda x: np.broadcast_to(x, (num, *x.shape[1:])), tree)


def _rows(tree, index):
  return jax.tree.map(lambda x: x[index], tree)
