"""Depth maps as arrays of NumPy in float64: the surface that they show, and whether there is depth.

A pixel is `solid` where its opacity Σ w exceeds `SOLID`. What is less opaque has no surface: at a
silhouette the expected distance Σ w·t is a mean of the object and of what is behind it.
"""

import numpy as np

from jax3dgan.errors import UserError

SOLID = 0.9
NUM_BINS = 64  # of `histogram`, as in 3DGP


def surface(rendering, options) -> tuple[np.ndarray, np.ndarray]:
  """Returns the distance [..., h, w] of the visible surface, and where it is solid (bool).

  Args:
    rendering: A `generators.Rendering`. Its depth is Σ w·t; with `last_back` the light that passes
      all samples counts in it at the last one, which is at `far`, and is taken out again.
    options: The rendering options it was made with.

  Raises:
    UserError: It has no depth, or NaN in it.
  """
  if rendering.depth is None or rendering.opacity is None:
    raise UserError('This generator renders no depth. Leave the measures of geometry out.')
  depth, opacity = (np.asarray(x, np.float64) for x in (rendering.depth, rendering.opacity))
  for name, values in (('depth', depth), ('opacity', opacity)):
    if not np.isfinite(values).all():
      raise UserError(
        f'The {name} has NaN or infinite pixels. Take a checkpoint before it diverged.'
      )
  if options.last_back:
    depth = depth - (1 - opacity) * options.far
  return depth / np.maximum(opacity, 1e-3), opacity > SOLID


def with_background(rendering, options) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the depth [..., h, w] with the background at `far`, and both of `surface`."""
  distance, solid = surface(rendering, options)
  opacity = np.asarray(rendering.opacity, np.float64)
  return distance * opacity + (1 - opacity) * options.far, distance, solid


def histogram(depth: np.ndarray, near: float, far: float) -> np.ndarray:
  """Shares [64] of the depths in even bins of [near, far], clamped to it."""
  depth = np.clip(np.asarray(depth, np.float64).ravel(), near, far)
  counts = np.histogram(depth, NUM_BINS, (near, far))[0]
  return counts / max(counts.sum(), 1)


def perplexity(shares: np.ndarray) -> float:
  """exp(−Σ p log p) of shares [n] that sum to one."""
  shares = shares[shares > 0]
  return float(np.exp(-np.sum(shares * np.log(shares))))


def non_flatness(depth: np.ndarray, near: float, far: float) -> float:
  """The non-flatness score of a depth map, or of any set of depths; NaN of none.

  The perplexity of its histogram, from 1 for a plane that faces the camera to 64 (3DGP,
  Skorokhodov et al., ICLR 2023, arXiv 2303.01416, Sec. 4).
  """
  return perplexity(histogram(depth, near, far)) if np.size(depth) else float('nan')
