"""Gaussians as NumPy arrays, and other axes."""

from typing import NamedTuple

import numpy as np

from jax3dgan.errors import UserError
from jax3dgan.harmonics import C0, COUNTS

LEAST = 1e-6  # opacities and scales have logarithms
# What a turn by 180° about x does to each spherical harmonic of degree 0 to 3: its sign by the
# powers of y and z in it.
_SIGNS = np.float32([1, -1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1])


class Cloud(NamedTuple):
  """n Gaussians, float32.

  Attributes:
    means: [n, 3] world units.
    scales: [n, 3] standard deviations, above 0.
    quaternions: [n, 4] unit rotations (w, x, y, z), w not negative.
    opacities: [n] in [0, 1].
    harmonics: [n, k, 3] coefficients of spherical harmonics, k of `COUNTS`: the colour, sRGB,
      is half a unit more than their sum, see `rendering.spherical_harmonics`.
  """

  means: np.ndarray
  scales: np.ndarray
  quaternions: np.ndarray
  opacities: np.ndarray
  harmonics: np.ndarray

  @property
  def degree(self) -> int:
    """Of the spherical harmonics."""
    return COUNTS.index(self.harmonics.shape[1])

  @property
  def colours(self) -> np.ndarray:
    """[n, 3] in [0, 1], those of degree 0 alone."""
    return np.clip(0.5 + C0 * self.harmonics[:, 0], 0, 1)


def cloud(means, scales, quaternions, opacities, harmonics) -> Cloud:
  """A `Cloud` of arrays: rotations become of unit length, opacities and scales come into bounds.

  Raises:
    UserError: Numbers that are not finite, or no rotation.
  """
  arrays = [np.asarray(x, np.float32) for x in (means, scales, quaternions, opacities, harmonics)]
  if not all(np.isfinite(x).all() for x in arrays):
    raise UserError('Gaussians have numbers that are not finite. Take an earlier checkpoint.')
  means, scales, quaternions, opacities, harmonics = arrays
  lengths = np.linalg.norm(quaternions, axis=-1, keepdims=True)
  if not (lengths > 0).all():
    raise UserError('a rotation is four zeros. Give Gaussians with rotations.')
  signs = np.where(quaternions[:, :1] < 0, -1, 1)
  return Cloud(
    means,
    np.maximum(scales, np.float32(LEAST)),
    np.float32(signs * quaternions / lengths),
    np.clip(opacities, 0, 1),
    harmonics,
  )


def of_gaussians(gaussians, index: int = 0) -> Cloud:
  """The Gaussians of one scene of a batch, without those of no opacity, which nothing draws.

  Args:
    gaussians: `rendering.splatting.Gaussians`, leaves [b, n, ...].
    index: Which one.
  """
  harmonics = gaussians.harmonics
  if harmonics is None:
    harmonics = (np.asarray(gaussians.colours)[..., None, :] - 0.5) / C0
  parts = (gaussians.means, gaussians.scales, gaussians.quaternions, gaussians.opacities, harmonics)
  shown = np.asarray(gaussians.opacities)[index] > 0
  return cloud(*(np.asarray(x)[index][shown] for x in parts))


def turned(own: Cloud) -> Cloud:
  """The same with y and z reversed: turned by 180° about x. Its own inverse."""
  w, x, y, z = np.moveaxis(own.quaternions, -1, 0)
  return cloud(
    own.means * np.float32([1, -1, -1]),
    own.scales,
    np.stack([-x, w, -z, y], axis=-1),
    own.opacities,
    own.harmonics * _SIGNS[: own.harmonics.shape[1], None],
  )
