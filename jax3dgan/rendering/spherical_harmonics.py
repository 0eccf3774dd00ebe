"""Colours that depend on the direction they are seen from: real spherical harmonics to degree 3.

Coefficients are along the axis before the channels, in the order and with the signs of 3D Gaussian
splatting (Kerbl et al., SIGGRAPH 2023, arXiv 2308.04079), in which splat files store them.
"""

import jax
import jax.numpy as jnp

from jax3dgan.errors import UserError
from jax3dgan.harmonics import C0, COUNTS
from jax3dgan.nn import precision

_C1 = 0.4886025119029199  # √(3/4π)
_C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
_C3 = (
  *(0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154),
  1.445305721320277,
)


def degree(coefficients) -> int:
  """The degree of coefficients [..., k, c].

  Raises:
    UserError: k is not 1, 4, 9 or 16.
  """
  count = coefficients.shape[-2]
  if count not in COUNTS:
    raise UserError(
      f'Spherical harmonics of degree 0 to 3 have 1, 4, 9 or 16 coefficients, not {count}.'
    )
  return COUNTS.index(count)


def basis(directions, degree: int):
  """The functions [..., (degree + 1)²] at unit vectors [..., 3]."""
  x, y, z = (directions[..., i] for i in range(3))
  xx, yy, zz = x * x, y * y, z * z
  functions = [jnp.full_like(x, C0)]
  if degree > 0:
    functions += [-_C1 * y, _C1 * z, -_C1 * x]
  if degree > 1:
    a, b, c = _C2
    functions += [a * x * y, -a * y * z, b * (2 * zz - xx - yy), -a * x * z, c * (xx - yy)]
  if degree > 2:
    a, b, c, d, e = _C3
    functions += [
      -a * y * (3 * xx - yy),
      b * x * y * z,
      -c * y * (4 * zz - xx - yy),
      d * z * (2 * zz - 3 * xx - 3 * yy),
      -c * x * (4 * zz - xx - yy),
      e * z * (xx - yy),
      -a * x * (xx - 3 * yy),
    ]
  return jnp.stack(functions, axis=-1)


def colours(coefficients, directions):
  """max(0, .5 + Σ coefficient · basis), [..., c].

  Args:
    coefficients: [..., k, c], k of `COUNTS`.
    directions: [..., 3] unit vectors from the camera to the point.
  """
  functions = basis(directions, degree(coefficients))
  total = precision.einsum('...k,...kc->...c', functions, coefficients)
  return jax.nn.relu(total + 0.5)
