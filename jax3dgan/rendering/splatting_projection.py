"""Gaussians as a camera sees them: EWA splatting (Zwicker et al. 2001; Kerbl et al., SIGGRAPH 2023,
arXiv 2308.04079, Sec. 4).

A Gaussian of covariance Σ becomes an ellipse of covariance J Rᵀ Σ R Jᵀ + .3 I in square pixels,
with J the Jacobian of the projection at its mean. A pixel at distance d from the ellipse's centre
has α = min(.99, o exp(−½ dᵀ V⁻¹ d)), and none below 1/255.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax3dgan.cameras import Camera
from jax3dgan.nn.cpu.apart import apart
from jax3dgan.rendering import spherical_harmonics

NEAR = 0.2  # Gaussians whose mean is nearer than this are not drawn
LOW_PASS = 0.3  # px², added to the diagonal: no splat is narrower than a pixel
CLIP = 1.3  # J is taken within this many half fields of view of the axis
LEAST_ALPHA = 1 / 255
LARGEST_ALPHA = 0.99
STOP = 1e-4  # transmittance at which the CUDA rasteriser ends a pixel


class Gaussians(NamedTuple):
  """3D Gaussians, with leaves [..., n, ...] of one batch shape.

  Attributes:
    means: [..., n, 3] world units.
    scales: [..., n, 3] standard deviations along the axes of each, 0 or more.
    quaternions: [..., n, 4] rotations (w, x, y, z) of any length above 0.
    opacities: [..., n] in [0, 1].
    colours: [..., n, 3], the same from everywhere; or
    harmonics: [..., n, k, 3] spherical harmonics of degree 0 to 3, see
      `spherical_harmonics.colours`. Exactly one of the two is not None.
    features: [..., n, f] what else is composited as colours are; None for nothing.
  """

  means: jax.Array
  scales: jax.Array
  quaternions: jax.Array
  opacities: jax.Array
  colours: jax.Array | None = None
  harmonics: jax.Array | None = None
  features: jax.Array | None = None


class Projected(NamedTuple):
  """Ellipses on images, leaves [i, n, ...].

  Attributes:
    means: [i, n, 2] pixels (x right, y down) from the image's corner; 0 where not valid.
    conics: [i, n, 3] xx, xy and yy of the inverse covariance, 1/px².
    opacities: [i, n]; 0 where not valid.
    depths: [i, n] along the camera's axis.
    covariances: [i, n, 3] xx, xy and yy, px².
    valid: [i, n] whether there is anything to draw: before the camera, and not too transparent.
  """

  means: jax.Array
  conics: jax.Array
  opacities: jax.Array
  depths: jax.Array
  covariances: jax.Array
  valid: jax.Array


def axis_angle_quaternions(v):
  """Quaternions (w, x, y, z) of rotations about axes v [..., 3] by |v| radians."""
  square = jnp.sum(v**2, axis=-1, keepdims=True)
  small = square < 1e-12
  angle = jnp.sqrt(jnp.where(small, 1, square))
  share = jnp.where(small, 0.5, jnp.sin(angle / 2) / angle)
  return jnp.concatenate([jnp.where(small, 1, jnp.cos(angle / 2)), v * share], axis=-1)


def rotation_rows(quaternions):
  """The entries [...] of `rotations`, row by row."""
  w, x, y, z = (quaternions[..., i] for i in range(4))
  two = 2 / (w * w + x * x + y * y + z * z)
  return [
    [1 - two * (y * y + z * z), two * (x * y - w * z), two * (x * z + w * y)],
    [two * (x * y + w * z), 1 - two * (x * x + z * z), two * (y * z - w * x)],
    [two * (x * z - w * y), two * (y * z + w * x), 1 - two * (x * x + y * y)],
  ]


def rotations(quaternions):
  """Rotation matrices [..., 3, 3] of quaternions [..., 4] (w, x, y, z) of any length above 0."""
  rows = rotation_rows(quaternions)
  return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def _dot(a, b):
  """Of vectors as tuples of their coordinates, which XLA merges into one loop, as it would not
  products of small matrices."""
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _cross(a, b):
  return (
    a[1] * b[2] - a[2] * b[1],
    a[2] * b[0] - a[0] * b[2],
    a[0] * b[1] - a[1] * b[0],
  )


def project(gaussians: Gaussians, camera: Camera, size: tuple[int, int]) -> Projected:
  """Ellipses of Gaussians [i, n] on images of size (height, width) from cameras [i]."""
  height, width = size
  k = camera.intrinsics[:, None]  # [i, 1, 3, 3]
  fx, skew, fy = k[..., 0, 0], k[..., 0, 1], k[..., 1, 1]
  cx, cy = k[..., 0, 2], k[..., 1, 2]
  # The camera's axes in the world.
  axes = [[camera.cam2world[:, None, i, j] for i in range(3)] for j in range(3)]
  offset = [gaussians.means[..., i] - camera.origin[:, None, i] for i in range(3)]
  x, y, z = (_dot(axis, offset) for axis in axes)
  valid = (z > NEAR) & (gaussians.opacities > LEAST_ALPHA)
  # Before anything is divided by it: the gradient of a branch that is not taken counts, too.
  z = jnp.where(valid, z, 1)
  x, y = jnp.where(valid, x, 0) / z, jnp.where(valid, y, 0) / z
  means = [(fx * x + skew * y + cx) * width, (fy * y + cy) * height]

  # The Jacobian of what is far outside of the image would be beyond all bounds.
  beyond = 0.5 * (CLIP - 1)
  x = jnp.clip(x, -(cx + beyond) / fx, (1 - cx + beyond) / fx)
  y = jnp.clip(y, -(cy + beyond) / fy, (1 - cy + beyond) / fy)
  # Its rows, turned into the world, then into each Gaussian's own axes.
  a, b, c = (fx * width / z, skew * width / z, fy * height / z)
  a, b, c, x, y = apart((a, b, c, x, y))
  first = [a * (axes[0][i] - x * axes[2][i]) + b * (axes[1][i] - y * axes[2][i]) for i in range(3)]
  second = [c * (axes[1][i] - y * axes[2][i]) for i in range(3)]
  columns = list(zip(*rotation_rows(gaussians.quaternions), strict=True))
  columns, first, second = apart((columns, first, second))
  first, second = (
    [jnp.where(valid, _dot(row, columns[i]) * gaussians.scales[..., i], 0) for i in range(3)]
    for row in (first, second)
  )
  first, second = apart((first, second))
  xx, xy, yy = _dot(first, first), _dot(first, second), _dot(second, second)
  # xx·yy − xy² would cancel for needles, to errors of 4e-4 of an image.
  cross = _cross(first, second)
  determinant = _dot(cross, cross) + LOW_PASS * (xx + yy) + LOW_PASS**2
  xx, yy = xx + LOW_PASS, yy + LOW_PASS
  return Projected(
    means=jnp.stack([jnp.where(valid, mean, 0) for mean in means], axis=-1),
    conics=jnp.stack([yy / determinant, -xy / determinant, xx / determinant], axis=-1),
    opacities=jnp.where(valid, gaussians.opacities, 0),
    depths=z,
    covariances=jnp.stack([xx, xy, yy], axis=-1),
    valid=valid,
  )


def seen_colours(gaussians: Gaussians, camera: Camera):
  """Colours [i, n, 3] of Gaussians [i, n] from cameras [i]."""
  if gaussians.harmonics is None:
    return gaussians.colours
  if gaussians.harmonics.shape[-2] == 1:  # the same from everywhere
    directions = jnp.zeros_like(gaussians.means)
  else:
    offsets = gaussians.means - camera.origin[:, None]
    squares = jnp.sum(offsets**2, axis=-1, keepdims=True)
    # A Gaussian in the camera's very place is not drawn; its direction must not be NaN.
    directions = offsets / jnp.sqrt(jnp.where(squares > 0, squares, 1))
  return spherical_harmonics.colours(gaussians.harmonics, directions)


def cuda_tiles(projected: Projected, size: tuple[int, int]):
  """The tiles of 16² pixels that the CUDA rasteriser of 3D Gaussian splatting draws each in.

  Returns:
    [i, n, 4] integers: first column and row, and those after the last.
  """
  xx, xy, yy = (jax.lax.stop_gradient(projected.covariances[..., i]) for i in range(3))
  middle = 0.5 * (xx + yy)
  root = jnp.sqrt(jnp.maximum(0.1, middle**2 - (xx * yy - xy**2)))
  radius = jnp.ceil(3 * jnp.sqrt(middle + root))
  height, width = size
  tiles = jnp.array([-(-width // 16), -(-height // 16)])
  centre = jax.lax.stop_gradient(projected.means) - 0.5
  # Whole numbers towards 0, as CUDA converts them.
  first = jnp.trunc((centre - radius[..., None]) / 16).astype(jnp.int32)
  last = jnp.trunc((centre + radius[..., None] + 15) / 16).astype(jnp.int32)
  return jnp.concatenate([jnp.clip(first, 0, tiles), jnp.clip(last, 0, tiles)], axis=-1)
