"""A photo's intrinsics and its lens distortion, as files give them; other projections by name."""

import dataclasses
import math

import numpy as np

from jax3dgan.data import images
from jax3dgan.errors import UserError

# Beyond these numbers are damaged, and their squares may overflow.
LARGEST, _SMALLEST = 1e9, 1e-6
# Photos are resized by whole pixels: a side may be half a pixel longer or shorter than exactly.
_ROUNDING = 0.51


@dataclasses.dataclass(frozen=True)
class Lens:
  """Intrinsics of a photo. What is None follows from the rest.

  Attributes:
    fx, fy: focal lengths in pixels; without them from angle_x, angle_y; one serves for both.
    angle_x, angle_y: fields of view in radians.
    cx, cy: principal point in pixels from the image's corner; by default the middle.
    width, height: of the image that the pixels are counted in; by default the photo's own. A photo
      may be a resized copy of it.
    distortion: (k1, k2, p1, p2, k3, k4, k5, k6) of OpenCV's model; () for none.
  """

  fx: float | None = None
  fy: float | None = None
  angle_x: float | None = None
  angle_y: float | None = None
  cx: float | None = None
  cy: float | None = None
  width: float | None = None
  height: float | None = None
  distortion: tuple[float, ...] = ()

  def __post_init__(self):
    if self.distortion and not any(self.distortion):
      object.__setattr__(self, 'distortion', ())

  def check(self, where):
    """UserError where this is no camera; `where` is the file and the frame."""
    numbers = [v for v in dataclasses.astuple(self)[:-1] if v is not None] + list(self.distortion)
    if not np.all(np.abs(np.array(numbers, np.float64)) <= LARGEST):  # nor NaN
      raise UserError(
        f'{where} has intrinsics that are not finite, or beyond {LARGEST:g}. Mend or remove it.'
      )
    lengths = [v for v in (self.fx, self.fy, self.width, self.height) if v is not None]
    angles = [v for v in (self.angle_x, self.angle_y) if v is not None]
    if any(v < _SMALLEST for v in lengths) or not all(_SMALLEST <= v < math.pi for v in angles):
      raise UserError(
        f'{where} has a focal length or a size that is not above 0, or a field of view that is '
        'not between 0 and π. Mend or remove it.'
      )
    if self.fx is None and self.fy is None and not angles:
      raise UserError(
        f'{where} has no intrinsics. Add fl_x (pixels) with w and h, or camera_angle_x (radians).'
      )

  def intrinsics(self, height, width):
    """Normalised intrinsics [3, 3], float64, of a photo of height x width pixels.

    Raises:
      ImageError: where the photo has another shape than the image that the pixels are counted in.
    """
    from jax3dgan.cameras import formats  # Imports JAX: only where photos are read.

    w, h = self.width or width, self.height or height
    apart = min(abs(height - h * width / w), abs(width - w * height / h))
    if apart > _ROUNDING:
      raise images.ImageError(f'not of the shape of its camera ({width} x {height}, {w:g} x {h:g})')
    fx, fy = self.fx, self.fy
    if fx is None and self.angle_x is not None:
      fx = 0.5 * w / math.tan(self.angle_x / 2)
    if fy is None and self.angle_y is not None:
      fy = 0.5 * h / math.tan(self.angle_y / 2)
    fx, fy = (fy if fx is None else fx), (fx if fy is None else fy)
    cx, cy = (w / 2 if self.cx is None else self.cx), (h / 2 if self.cy is None else self.cy)
    return formats.pixel_intrinsics(fx, fy, cx, cy, w, h)

  def numbers(self):
    """All that it is, float64 [8 + 8], NaN where it says nothing."""
    values = dataclasses.astuple(self)[:-1] + self.distortion + (0.0,) * 8
    return np.array([np.nan if v is None else v for v in values[:16]], np.float64)
