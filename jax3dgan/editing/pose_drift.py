"""Does an edit keep the pose? What changes from one picture to the next, rendered from one
camera: the orientation of the object, its silhouette, its depth, its colours.

The orientation is that of the field, not of a picture: the principal horizontal axis of the second
moments of what a density absorbs, or of the inside of a signed distance. It depends on the object's
rotation only, up to half a turn, and is not defined for an object that is round from above.
"""

import dataclasses

import numpy as np

_GRID = 24  # points on a side of the cube around the object
# Ratio of the two horizontal axes below which the orientation is not defined.
MIN_ELONGATION = 1.1


@dataclasses.dataclass(frozen=True)
class Drift:
  """Changes of n pictures from one of them; NaN where something cannot be measured.

  Attributes:
    azimuth: [n] degrees by which the principal horizontal axis has turned, −90 to 90.
    iou: [n] intersection over union of the silhouettes, Σ min / Σ max of two opacities; 1 for the
      same.
    shift: [n] distance that the silhouette's centre has moved, share of the picture's width.
    depth: [n] mean difference of depth where both are, share of the sampled range.
    colour: [n] mean difference of the colours where both are, of 255; without opacities, of the
      whole pictures.
    elongation: [n] ratio of the two horizontal axes.
  """

  azimuth: np.ndarray
  iou: np.ndarray
  shift: np.ndarray
  depth: np.ndarray
  colour: np.ndarray
  elongation: np.ndarray


def ball_points(radius: float, num: int = _GRID) -> tuple[np.ndarray, float]:
  """Returns the points [m, 3] of a grid of cells within a ball around the origin, and their
  spacing."""
  spacing = 2 * radius / num
  ticks = (np.arange(num) + 0.5) * spacing - radius
  points = np.stack(np.meshgrid(ticks, ticks, ticks, indexing='ij'), axis=-1).reshape(-1, 3)
  # A ball, not the cube: a uniform density in a cube would have a preferred axis.
  return points[(points**2).sum(axis=1) <= radius**2].astype(np.float32), spacing


def horizontal_axis(mass: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """The longer horizontal axis of masses [n, m] at points [m, 3] (y is up).

  Returns:
    azimuth [n] in radians from +z towards +x, within ±π/2; elongation [n], the ratio of the
    standard deviations along it and across it.
  """
  mass = np.asarray(mass, np.float64)
  mass = mass / np.maximum(mass.sum(axis=1, keepdims=True), 1e-30)
  x, z = points[:, 0].astype(np.float64), points[:, 2].astype(np.float64)
  mx, mz = mass @ x, mass @ z
  xx, zz, xz = mass @ (x * x) - mx**2, mass @ (z * z) - mz**2, mass @ (x * z) - mx * mz
  azimuth = 0.5 * np.arctan2(2 * xz, zz - xx)
  middle, half = (xx + zz) / 2, np.hypot((zz - xx) / 2, xz)
  elongation = np.sqrt((middle + half) / np.maximum(middle - half, 1e-12))
  return azimuth, elongation


def axes_of(model, scene) -> tuple[np.ndarray, np.ndarray]:
  """`horizontal_axis` of the fields of scenes or styles [n, ...]; NaN where there is no density."""
  import jax

  from jax3dgan.rendering import compositing

  num = len(jax.tree.leaves(scene)[0])
  nothing = np.full(num, np.nan)
  options = model.options() if model.has_field else None
  if options is None or options.density not in ('softplus', 'relu', 'field'):
    return nothing, nothing
  points, spacing = ball_points((options.far - options.near) / 2)
  raw, _ = model.query(scene, np.broadcast_to(points, (num, *points.shape)))
  if model.generator.field_kind == 'sdf':
    inside = np.clip(0.5 - np.asarray(raw, np.float64) / spacing, 0, 1)  # share of a cell
    return horizontal_axis(inside, points)
  density = np.asarray(compositing.activate_density(raw, options.density))
  return horizontal_axis(-np.expm1(-density * spacing), points)


def drift(model, scene, rendering, reference: int) -> Drift:
  """Measures what has changed from one picture to the others.

  Args:
    model: A `trained.Trained`.
    scene: [n, ...] what was rendered: styles, or scenes of `Trained.prepare`.
    rendering: The n pictures, all from one camera.
    reference: Which of them the others are compared with.
  """
  azimuth, elongation = axes_of(model, scene)
  turned = np.degrees((azimuth - azimuth[reference] + np.pi / 2) % np.pi - np.pi / 2)
  round_ = (elongation < MIN_ELONGATION) | (elongation[reference] < MIN_ELONGATION)
  image = (np.asarray(rendering.image, np.float64) + 1) * 127.5
  n, h, w, _ = image.shape
  if rendering.opacity is None:
    solid = both = np.ones((n, h, w))
    iou = shift = depth = np.full(n, np.nan)
  else:
    # Opacities instead of thresholded masks: half transparent pixels count half.
    solid = np.asarray(rendering.opacity, np.float64)
    both = np.minimum(solid, solid[reference])
    iou = both.sum(axis=(1, 2)) / _total(np.maximum(solid, solid[reference]))
    centre = _centres(solid) / w
    shift = np.linalg.norm(centre - centre[reference], axis=1)
    surface = np.asarray(rendering.depth, np.float64) / np.maximum(solid, 1e-3)
    options = model.options()
    depth = _mean(np.abs(surface - surface[reference]), both) / (options.far - options.near)
  colour = _mean(np.abs(image - image[reference]).mean(axis=-1), both)
  return Drift(np.where(round_, np.nan, turned), iou, shift, depth, colour, elongation)


def _total(weights) -> np.ndarray:
  return np.maximum(weights.sum(axis=(1, 2)), 1e-9)


def _mean(values, weights) -> np.ndarray:
  return (values * weights).sum(axis=(1, 2)) / _total(weights)


def _centres(weights) -> np.ndarray:
  """Centres [n, 2] of weights [n, h, w], pixels."""
  y, x = np.indices(weights.shape[1:])
  rows = [(weights * axis).sum(axis=(1, 2)) / _total(weights) for axis in (x, y)]
  return np.stack(rows, axis=1)
