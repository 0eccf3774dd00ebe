"""Normals of what a rendering shows, from a signed distance's gradient.

A distance has a normal everywhere, the direction of its gradient, which no grid of pixels blurs. It
is taken where a ray meets the surface, which sphere tracing finds: the mean depth of a rendering
lies inside where the density is not sharp yet, and there the gradient says nothing. A ray that
meets none has that of its mean depth. A density has no normals that are as good: its are those of
the depth map (`viz.normals_from_depth`).
"""

import jax
import numpy as np

from jax3dgan import viz
from jax3dgan.pictures import traced
from jax3dgan.rendering import grid, rays


def has_gradient(model) -> bool:
  """Whether a model's normals are those of its field: a signed distance."""
  return model.has_field and model.generator.field_kind == 'sdf'


def of_rendering(model, w, camera, depth, opacity) -> np.ndarray:
  """Unit normals [n, h, w, 3] of renderings in camera axes, as of `viz.normals_from_depth`.

  Args:
    model: A `trained.Trained` whose field is a signed distance.
    w: [n, ...] or [1, ...] what was rendered: styles, or scenes of `Trained.prepare`.
    camera: n cameras.
    depth, opacity: [n, h, w] of the renderings.
  """
  options = model.options()
  depth = np.asarray(depth, np.float32)
  if not (options.last_back or options.last_interval == 'infinite'):
    depth = viz.surface_depth(depth, opacity)
  n, size, _ = depth.shape
  # Behind an up-sampler the depth is that of fewer pixels, and so is what it shows of a surface.
  side = model.generator.low_resolution
  side = side if not model.generator.pixels_alone and side and size % side == 0 else size
  depth = depth.reshape(n, side, size // side, side, size // side).mean(axis=(2, 4))
  lines = jax.tree.map(np.asarray, _rays(camera, side, options.align_corners))
  points = lines.origins + depth.reshape(n, -1, 1) * lines.directions
  tracer = traced.Tracer(model)
  scenes = [jax.tree.map(lambda x, i=i: x[i % len(x)][None], w) for i in range(n)]
  gradients = np.stack(
    [
      grid.query_gradients(model.generator, model.variables, scene, own)
      for scene, own in zip(scenes, points, strict=True)
    ]
  )
  local = np.einsum('nji,npj->npi', np.asarray(camera.cam2world)[:, :3, :3], gradients)
  local = _unit(np.nan_to_num(local)).reshape(n, side, side, 3)
  views = [jax.tree.map(lambda x, i=i: np.asarray(x)[i : i + 1], camera) for i in range(n)]
  for i, (scene, view) in enumerate(zip(scenes, views, strict=True)):
    surface = tracer.render(scene, view, side, 'normals').normals[0]
    met = surface.any(-1, keepdims=True)
    local[i] = np.where(met, surface, local[i])
  if side != size:
    local = np.stack([_enlarged(picture, size) for picture in local])
  return _unit(local).astype(np.float32)


def _unit(v):
  return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


_rays = jax.jit(rays.camera_rays, static_argnums=(1, 2))


def _enlarged(picture, size: int) -> np.ndarray:
  """[h, w, 3] bilinear, pixel centres, as [size, size, 3]."""
  from scipy import ndimage

  factor = size / len(picture)
  at = np.stack(np.meshgrid(*[(np.arange(size) + 0.5) / factor - 0.5] * 2, indexing='ij'))
  channels = [
    ndimage.map_coordinates(picture[..., c], at, order=1, mode='nearest') for c in range(3)
  ]
  return np.stack(channels, axis=-1)
