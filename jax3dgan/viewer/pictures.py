"""Pictures of a rendering: its colour, its depth, its normals, its opacity."""

import math

import numpy as np

from jax3dgan import viz
from jax3dgan.pictures import maps, traced

KINDS = ('colour', 'depth', 'normals', 'opacity')


def kinds(model) -> tuple[str, ...]:
  """Returns the kinds of pictures that a model has; of a signed distance its shape in grey too."""
  if traced.can_trace(model):
    return (*KINDS, traced.SHADED)
  if model.generator.parallel_rays:
    return tuple(kind for kind in KINDS if kind != 'normals')
  return KINDS if model.has_depth else KINDS[:1]


def picture(model, rendering, kind: str, camera, limits=None) -> np.ndarray:
  """Returns a picture of a rendering's first image, uint8 [h, w, 3].

  Args:
    model: A `trained.Trained`.
    rendering: [1, ...], NumPy arrays.
    kind: One of `kinds(model)`.
    camera: That it was rendered from, [1].
    limits: (near, far) of the colours of depth; None takes those of this picture.
  """
  if kind in ('colour', traced.SHADED):
    return viz.to_uint8(rendering.image[0])
  opacity = rendering.opacity[0]
  if kind == 'opacity':
    return viz.to_uint8(np.repeat(2 * opacity[..., None] - 1, 3, axis=-1))
  # With last_back transmitted light counts as the last sample: every pixel is solid.
  solid = model.options().last_back
  depth = rendering.depth[0] if solid else viz.surface_depth(rendering.depth[0], opacity)
  alpha = None if solid else opacity
  if kind == 'depth':
    return viz.colour_depth(depth, alpha, limits)
  if rendering.normals is not None:
    return viz.colour_normals(rendering.normals[0], alpha)
  fov = 2 * math.atan(0.5 / float(camera.intrinsics[0, 1, 1]))
  return viz.colour_normals(viz.normals_from_depth(depth, math.degrees(fov)), alpha)


def depth_limits(model, rendering, before=None) -> tuple[float, float]:
  """Returns (near, far) of the colours of depth, which only widen, so that they do not flicker."""
  near, far = maps.depth_limits(model, rendering)
  return (near, far) if before is None else (min(near, before[0]), max(far, before[1]))


def on_canvas(image: np.ndarray, aspect: float, ground=(255, 255, 255)) -> np.ndarray:
  """Returns a square image in the middle of a canvas of this aspect (width / height).

  The ground fills the rest; the image keeps its pixels.
  """
  size = image.shape[0]
  aspect = min(max(aspect, 0.2), 5.0)  # beyond the aspect of any window: bounds the canvas
  height = size if aspect >= 1 else round(size / aspect)
  width = size if aspect <= 1 else round(size * aspect)
  canvas = np.empty((height, width, 3), np.uint8)
  canvas[:] = ground
  top, left = (height - size) // 2, (width - size) // 2
  canvas[top : top + size, left : left + size] = image
  return canvas
